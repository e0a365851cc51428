"""The rules of the house: who may import whom, what has a docstring, how long a file may get.

ARCHITECTURE.md says why. The first half checks the package, the second half checks the checker.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "stepup_nb"

PURE = frozenset(
    """
    __future__ abc ast base64 binascii bisect collections contextlib copy dataclasses difflib enum fnmatch
    fractions functools graphlib hashlib heapq hmac itertools json keyword math numbers operator posixpath re
    shlex statistics string struct textwrap types typing unicodedata
    """.split()
)
"""The part of the standard library that only computes: no files, no clock, no threads, no chance."""

DOORS = frozenset({"open", "print", "input", "breakpoint", "__import__", "exec", "eval"})
"""Builtins by which I/O and what it brings would enter the core without an import."""

EVERYTHING = frozenset({"*"})
STDLIB = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True)
class Room:
    """What the files of one folder of the package may import, and where else the code belongs."""

    ours: frozenset[str]
    others: frozenset[str]
    advice: str


ROOMS = {
    "core": Room(
        ours=frozenset({"core"}),
        others=PURE,
        advice="core decides, the director acts: move the I/O to director/.",
    ),
    "client": Room(
        ours=frozenset({"core", "client"}),
        others=STDLIB,
        advice="client asks, and is light to import: move what shows to notebook/, what acts to director/.",
    ),
    "plan": Room(
        ours=frozenset({"core", "client", "plan", "front"}),
        others=STDLIB | {"jinja2", "path"},
        advice="scripts lean on plan, light to import: what shows goes to notebook/, what acts to director/.",
    ),
    "shim": Room(
        ours=frozenset({"core", "plan", "front"}),
        others=STDLIB,
        advice="shim only gives names of ours the places that StepUp's have.",
    ),
    "director": Room(
        ours=frozenset({"core", "director"}),
        others=STDLIB | {"blake3", "psutil", "watchfiles"},
        advice="director acts, and knows no client: move what shows to notebook/, what both say to core/.",
    ),
    "notebook": Room(
        ours=frozenset({"core", "client", "notebook", "front"}),
        others=EVERYTHING,
        advice="notebook shows what it is told: ask the director through client/.",
    ),
    "front": Room(
        ours=frozenset({"core", "client", "notebook", "plan", "front"}),
        others=EVERYTHING,
        advice="the front doors (api, cli, the package itself) ask the director through client/.",
    ),
}
"""Room by folder; the modules directly in the package are the "front"."""

ALLOWED_IN_ONE_FILE = {
    # The options of a step are written down once, for the magics, the command line and their help alike.
    ("core/declare.py", "argparse"),
    # For the names of signals; nothing is sent or caught.
    ("core/words.py", "signal"),
    # A program of its own, to which what lies beside it has no longer name.
    ("plan/runner.py", "warm"),
    ("plan/warm.py", "ending"),
    # Loaded only when somebody asks for a cluster, and in the processes of its workers.
    *(
        (f"director/{name}.py", "distributed")
        for name in ("clusters", "dask_cluster", "dask_executor", "dask_worker")
    ),
}

LONGEST = 900
ONE_THING: dict[str, str] = {}
"""Files that are longer than that, and why they are one thing all the same."""


# --- the package ----------------------------------------------------------------------------------


def test_every_room_imports_only_what_it_may():
    _none([line for path, tree in _modules() for line in bad_imports(path, tree)])


def test_every_public_name_says_what_it_is_for():
    _none([line for path, tree in _modules() for line in missing_docstrings(path, tree)])


def test_no_file_is_long_without_a_reason():
    lengths = {path: text.count("\n") for path, text in _sources()}
    _none([line for path, length in lengths.items() for line in too_long(path, length)])
    outlived = [path for path in ONE_THING if lengths.get(path, 0) <= LONGEST]
    assert not outlived, f"no longer that long, take them out of ONE_THING: {outlived}"


def _sources() -> Iterator[tuple[str, str]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file.relative_to(PACKAGE).as_posix(), file.read_text(encoding="utf-8")


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path, text in _sources():
        yield path, ast.parse(text, path)


def _none(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


# --- the checker ----------------------------------------------------------------------------------


def bad_imports(path: str, tree: ast.Module) -> list[str]:
    """Tell which imports of the file at `path` (relative to the package) its room does not allow."""
    name = path.split("/")[0] if "/" in path else "front"
    if name not in ROOMS:
        return [f"{path}: a new room: say in ROOMS, and in ARCHITECTURE.md, what '{name}' may import."]
    room = ROOMS[name]
    complaints = [
        f"{path}:{line}: imports {module}. {room.advice}"
        for line, module in _imports(path, tree)
        if not _may_import(path, room, module)
    ]
    if name == "core":
        complaints += [
            f"{path}:{node.lineno}: calls {node.func.id}(). {room.advice}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DOORS
        ]
    return complaints


def _may_import(path: str, room: Room, module: str) -> bool:
    top, *rest = module.split(".")
    if top != "stepup_nb":
        return top in room.others or room.others is EVERYTHING or (path, top) in ALLOWED_IN_ONE_FILE
    if rest == ["__version__"]:
        return True
    target = rest[0] if rest and rest[0] in ROOMS else "front"
    return target in room.ours


def _imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Find line and absolute name of all that is imported, at the top, in functions and for type checkers."""
    package = ("stepup_nb/" + path).split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            # Only in our own package may what is imported be a room itself: from stepup_nb import director.
            for name in [f".{alias.name}" for alias in node.names] if module == "stepup_nb" else [""]:
                yield node.lineno, module + name


def missing_docstrings(path: str, tree: ast.Module) -> list[str]:
    """Tell which public module, classes, functions and methods of the file at `path` have no docstring."""
    found = (
        [] if ast.get_docstring(tree) else [f"{path}:1: the module does not open by saying what it is for."]
    )
    return found + [
        f"{path}:{node.lineno}: {name} has no docstring: say what a caller needs, or make it private."
        for name, node in _public(tree)
        if not ast.get_docstring(node)
    ]


_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public(parent: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, _Definition]]:
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or _is_told_elsewhere(node):
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node, f"{prefix}{node.name}.")


def _is_told_elsewhere(node: _Definition) -> bool:
    """Whether the first definition of the name, which this one repeats or overrides, has the docstring."""
    words = {word for decorator in node.decorator_list for word in ast.unparse(decorator).split(".")}
    return bool(words & {"overload", "override", "setter", "deleter"})


def too_long(path: str, length: int) -> list[str]:
    """Complain of a file that is long and not known to be one thing."""
    if length <= LONGEST or path in ONE_THING:
        return []
    return [
        f"{path}: {length} lines. Is it one thing? If so, say why in ONE_THING; "
        "if not, split it by responsibility, not by length."
    ]


# --- the checker, checked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("core/graph.py", "import os"),
        ("core/graph.py", "import os.path"),
        ("core/graph.py", "from time import monotonic"),
        ("core/graph.py", "import argparse"),
        ("core/graph.py", "import blake3"),
        ("core/graph.py", "def f():\n    import random"),
        ("core/graph.py", "def f(path):\n    return open(path)"),
        ("core/graph.py", "from stepup_nb import director"),
        ("core/graph.py", "from ..director import store"),
        ("core/graph.py", "from stepup_nb.client.session import Session"),
        ("client/session.py", "import psutil"),
        ("client/session.py", "from .. import director"),
        ("client/session.py", "import stepup_nb.notebook.magics"),
        ("client/session.py", "import stepup_nb"),
        ("director/loop.py", "from IPython.display import display"),
        ("director/loop.py", "import ipywidgets as w"),
        ("director/loop.py", "from stepup_nb.client import connection"),
        ("director/deep/loop.py", "from ...client import connection"),
        ("notebook/magics.py", "from stepup_nb.director.loop import Loop"),
        ("cli.py", "from .director import loop"),
        ("api.py", "import stepup_nb.director"),
        ("__init__.py", "def f():\n    from stepup_nb.director import loop"),
        ("attic/x.py", ""),
    ],
)
def test_a_bad_import_is_found(path, code):
    assert len(bad_imports(path, ast.parse(code))) == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("core/graph.py", "import json, re\nfrom collections.abc import Mapping"),
        (
            "core/graph.py",
            "from stepup_nb.core.model import Step\nfrom .model import File\nfrom . import errors",
        ),
        ("core/declare.py", "import argparse"),
        ("client/session.py", "import os, socket\nfrom stepup_nb.core import messages"),
        ("client/session.py", "from stepup_nb import __version__"),
        ("director/hashing.py", "import blake3, psutil, threading\nfrom stepup_nb.core.model import File"),
        ("notebook/magics.py", "import IPython\nfrom stepup_nb.client.session import Session"),
        ("notebook/magics.py", "from stepup_nb import api"),
        ("cli.py", "import nbclient\nfrom stepup_nb.client import session"),
    ],
)
def test_a_good_import_is_let_through(path, code):
    assert bad_imports(path, ast.parse(code)) == []


def test_the_complaint_says_where_and_what_to_do():
    complaint = bad_imports("core/graph.py", ast.parse("import re\nimport os"))
    assert complaint == [
        "core/graph.py:2: imports os. core decides, the director acts: move the I/O to director/."
    ]


def test_what_has_no_docstring_is_named():
    code = '''
class Bare:
    def method(self): ...
    def _private(self): ...
    def __repr__(self): ...

class Told:
    """Is told."""

    @property
    def size(self):
        """Slots."""

    @size.setter
    def size(self, value): ...

    @typing.override
    def close(self): ...

async def run():
    def inner(): ...

def _private(): ...
'''
    lines = missing_docstrings("client/x.py", ast.parse(code))
    assert [line.split(" has ")[0] for line in lines] == [
        "client/x.py:1: the module does not open by saying what it is for.",
        "client/x.py:2: Bare",
        "client/x.py:3: Bare.method",
        "client/x.py:20: run",
    ]


def test_a_long_file_is_asked_whether_it_is_one_thing():
    assert too_long("core/x.py", LONGEST) == []
    assert "Is it one thing?" in too_long("core/x.py", LONGEST + 1)[0]
