"""The tools that stepup_nb is measured beside: each in an environment of its own, made when it is first asked for.

A peer that cannot be installed is absent, and said to be so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from measure import Figures, command, write

ENVIRONMENTS = Path(__file__).parent.parent / ".venvs"

PACKAGES = {
    "ninja": ["ninja==1.13.0"],
    "doit": ["doit==0.37.0"],
    "stepup3": ["stepup==3.0.9"],
    "stepup4": ["stepup==4.0.3"],
    "dask": ["distributed==2026.8.0"],
}


class Absent(Exception):
    """A peer is not to be had."""


@cache
def environment(peer: str) -> Path:
    """Return the folder of programs of a peer's environment; raise Absent where it cannot be made."""
    folder = ENVIRONMENTS / f"bench-{peer}"
    stamp = folder / ".ready"
    wanted = " ".join(PACKAGES[peer])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"setting up {wanted} (once)", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run(
                [folder / "bin" / "pip", "install", "-qq", *PACKAGES[peer]],
                check=True,
                env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise Absent(f"{wanted} cannot be installed ({error})") from error
        stamp.write_text(wanted)
    return folder / "bin"


def program(peer: str, name: str) -> str:
    """Return the path of a peer's program."""
    if peer == "make":
        found = shutil.which("make")
        if found is None:
            raise Absent("there is no make")
        return found
    return os.fspath(environment(peer) / name)


@dataclass(frozen=True)
class Edge:
    """One command, what it reads and what it makes."""

    command: str
    inp: tuple[str, ...] = ()
    out: str = ""
    pool: str = ""


Graph = Sequence[Edge]
"""Commands, each after those whose outputs it reads."""


Pools = dict[str, int]


@dataclass(frozen=True)
class Peer:
    """A tool: how it is told what to do, and how it is run."""

    name: str
    prepare: Callable[[str, Graph, Pools], None]
    """Writes what it reads into a folder."""
    words: Callable[[int, Pools], list[str]]
    """The command, for so many jobs at a time."""

    def run(self, folder: str, jobs: int, pools: Pools | None = None) -> Figures:
        """Let it do all that is to be done in a prepared folder."""
        return command(self.words(jobs, pools or {}), folder)


def _ninja(folder: str, graph: Graph, pools: Pools) -> None:
    lines = ["rule run", "  command = $cmd"]
    for name, size in pools.items():
        lines += [f"pool {name}", f"  depth = {size}"]
    for number, edge in enumerate(graph):
        lines.append(f"build {edge.out or f'phony{number}'}: run {' '.join(edge.inp)}")
        lines.append(f"  cmd = {edge.command}")
        if edge.pool:
            lines.append(f"  pool = {edge.pool}")
    write(folder, "build.ninja", "\n".join(lines) + "\n")


def _make(folder: str, graph: Graph, pools: Pools) -> None:
    names = [edge.out or f"phony{number}" for number, edge in enumerate(graph)]
    lines = [f"all: {' '.join(names)}"]
    for name, edge in zip(names, graph, strict=True):
        lines += [f"{name}: {' '.join(edge.inp)}", f"\t@{edge.command}"]
    write(folder, "Makefile", "\n".join(lines) + "\n")


def _doit(folder: str, graph: Graph, pools: Pools) -> None:
    rows = [(edge.command, list(edge.inp), [edge.out] if edge.out else []) for edge in graph]
    write(
        folder,
        "dodo.py",
        f"""
DOIT_CONFIG = {{"verbosity": 0}}
def task_all():
    for number, (command, inp, out) in enumerate({rows!r}):
        yield {{"name": str(number), "actions": [command], "file_dep": inp, "targets": out}}
""",
    )


def _stepup3(folder: str, graph: Graph, pools: Pools) -> None:
    head = [
        "from stepup.core.api import pool, runsh, static",
        *(f"pool({p!r}, {n})" for p, n in pools.items()),
    ]
    _stepup(folder, graph, head, "pool")


def _stepup4(folder: str, graph: Graph, pools: Pools) -> None:
    head = [
        "from functools import partial",
        "from stepup.core.api import run, static",
        "runsh = partial(run, shell=True)",
    ]
    _stepup(folder, graph, head, "resources")


def _stepup(folder: str, graph: Graph, head: list[str], limit: str) -> None:
    made = {edge.out for edge in graph}
    given = sorted({path for edge in graph for path in edge.inp} - made)
    rows = []
    for number, edge in enumerate(graph):
        # Equal commands without files would be one step twice.
        text = edge.command if edge.out else f"{edge.command} # {number}"
        rows.append((text, list(edge.inp), [edge.out] if edge.out else [], edge.pool))
    lines = [
        "#!/usr/bin/env python3",
        *head,
        f"given = {given!r}",
        "if given:",
        "    static(*given)",
        f"for command, inp, out, limit in {rows!r}:",
        f"    runsh(command, inp=inp, out=out, **({{{limit!r}: limit}} if limit else {{}}))",
    ]
    write(folder, "plan.py", "\n".join(lines) + "\n", 0o755)


def _stepup4_words(jobs: int, pools: Pools) -> list[str]:
    limits = [f"--resources={name}:{size}" for name, size in pools.items()]
    return [program("stepup4", "stepup"), "build", f"-j{jobs}", *limits]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("ninja", _ninja, lambda jobs, pools: [program("ninja", "ninja"), "--quiet", f"-j{jobs}"]),
        Peer("make", _make, lambda jobs, pools: [program("make", "make"), "-s", f"-j{jobs}"]),
        Peer("doit", _doit, lambda jobs, pools: [program("doit", "doit"), "-n", str(jobs), "-P", "thread"]),
        Peer(
            "stepup3", _stepup3, lambda jobs, pools: [program("stepup3", "stepup"), "boot", "-n", str(jobs)]
        ),
        Peer("stepup4", _stepup4, _stepup4_words),
    )
}
