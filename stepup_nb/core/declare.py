"""Options in, `StepSpec` out: what magics, Python calls and the command line mean by the same words.

Works on texts alone. Expanding patterns and looking whether a path exists needs a disk, and is done by the
caller before.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import PoolRequest, StepSpec

LINE_SHELL = ("/bin/sh", "-c")
"""What runs a command of one line (StepUp's choice)."""
SCRIPT_SHELL = ("bash", "-eo", "pipefail", "-c")
"""What runs the body of a cell: a failing line in the middle fails the step."""
PLAIN_SCRIPT_SHELL = ("sh", "-e", "-c")
"""The same where there is no bash."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a step, the same everywhere."""

    flags: tuple[str, ...]
    metavar: str
    """Empty for a switch."""
    help: str
    is_list: bool = False
    """Takes one or more words."""
    is_repeated: bool = False
    """May be given several times."""

    @property
    def dest(self) -> str:
        """The keyword of the Python calls."""
        return self.flags[-1].lstrip("-")


OPTIONS: tuple[Option, ...] = (
    Option(("--name",), "NAME", "the step's own name; without it, its command is its identity"),
    Option(("-p", "--pool"), "NAME[:SLOTS]", "a pool whose slots it needs (repeatable)", is_repeated=True),
    Option(("--resources",), "gpu:1,mem:4", "StepUp 4's way to ask for several pools"),
    Option(("-i", "--inp"), "PATH", "input files; patterns are expanded", is_list=True, is_repeated=True),
    Option(("-o", "--out"), "PATH", "output files", is_list=True, is_repeated=True),
    Option(("--vol",), "PATH", "volatile outputs: by-products that no step may read", is_list=True, is_repeated=True),
    Option(("--env",), "VAR", "environment variables whose values matter", is_list=True, is_repeated=True),
    Option(("-C", "--workdir"), "DIR", "where it runs; paths are relative to it"),
    Option(("--after",), "STEP", "steps that must have succeeded before", is_list=True, is_repeated=True),
    Option(("--optional",), "", "run it only if another step needs its outputs"),
    Option(("--block",), "", "declare it, but do not run it"),
    Option(("--priority",), "N", "among startable steps, higher numbers start first (default 0)"),
    Option(("--duration",), "S", "expected seconds, until a run has been measured"),
    Option(("--timeout",), "S", "stop a run that takes more seconds than this"),
    Option(("--retry",), "N", "how many more attempts a failing step gets"),
    Option(("--shell",), "CMD", "what runs the command, for instance 'bash -eu'"),
    Option(("--force",), "", "run it even if it is up to date"),
)
"""The options that belong to the step itself. How its cell shows and waits is the magics' own matter."""

_POOL_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LISTS = ("inp", "out", "vol")


def pool_name(name: object) -> str:
    """Return a pool's name, or refuse it (SNB-110)."""
    if not isinstance(name, str) or not _POOL_NAME.fullmatch(name):
        raise UsageError(
            "SNB-110",
            f"{_quoted(name)} is no name for a pool.",
            "a name is made of letters, digits, '_', '-' and '.'",
            "choose another name, for instance 'test'",
        )
    return name


def pool_size(size: object) -> int | None:
    """Return a pool's size: a count of slots, or None for no limit.

    Raises
    ------
    UsageError
        SNB-111 for anything but a whole number from 0, ``none`` or None.
    """
    if size is None or (isinstance(size, str) and size.strip().lower() == "none"):
        return None
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    if isinstance(size, str) and size.strip().isascii() and size.strip().isdigit():
        return int(size)
    raise UsageError(
        "SNB-111",
        f"{_quoted(size)} is no size for a pool.",
        "a pool has a whole number of slots",
        "give 1 or more, 0 to close the pool, or 'none' for no limit",
    )


def pool_requests(pool: object, resources: str | None = None) -> tuple[PoolRequest, ...]:
    """Return what a step asks of pools.

    Parameters
    ----------
    pool
        A name, ``"mem:4"``, a mapping of names to slots, a list of any of these, or None.
    resources
        StepUp 4's spelling, ``"gpu:1,mem:4"``.

    Raises
    ------
    UsageError
        SNB-110 for a bad name, SNB-112 for a number of slots that is none.
    """
    found: dict[str, int] = {}
    for name, slots in [*_asked(pool), *_asked(resources.split(",") if resources else None)]:
        found[pool_name(name)] = found.get(name, 0) + _positive(slots, f"slots of pool '{name}'")
    return tuple(PoolRequest(name, slots) for name, slots in sorted(found.items()))


def _asked(pool: object) -> list[tuple[str, object]]:
    if pool is None:
        return []
    if isinstance(pool, str):
        name, colon, slots = pool.strip().rpartition(":")
        return [(name, slots)] if colon else [(slots, 1)]
    if isinstance(pool, Mapping):
        return list(pool.items())
    if isinstance(pool, Iterable):
        return [asked for one in pool for asked in _asked(one)]
    raise UsageError(
        "SNB-112", f"{_quoted(pool)} is no request for a pool.", "", "give a name, 'mem:4', a list or a dict"
    )


def _positive(value: object, what: str) -> int:
    number = _whole(value, what)
    if number < 1:
        raise UsageError("SNB-112", f"{_quoted(value)} is no number of {what}.", "", "give a whole number from 1")
    return number


def _whole(value: object, what: str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]+", text):
        raise UsageError("SNB-112", f"{_quoted(value)} is no number of {what}.", "", "give a whole number")
    return int(text)


def _seconds(value: object, option: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    if not 0.0 < seconds < 1e9:
        raise UsageError(
            "SNB-113", f"{_quoted(value)} is no time for '{option}'.", "", "give seconds, for instance 2.5"
        )
    return seconds


def path_in(root: str, workdir: str, path: object, *, option: str = "a path") -> str:
    """Return a path as the graph knows it: relative to the root below it, absolute elsewhere, normalised.

    Parameters
    ----------
    root
        Absolute folder of the notebook or plan.
    workdir
        What a relative path is relative to, itself relative to the root, or absolute.
    path
        What the user gave.
    option
        Where it was given, for the message.

    Raises
    ------
    UsageError
        SNB-102 for what cannot be a path of a file.
    """
    text = str(path)
    if not text.strip() or "\0" in text or len(text) > 4096:
        raise UsageError("SNB-102", f"{_quoted(text)} in {option} is no path.", "", "give the path of a file")
    full = posixpath.normpath(posixpath.join(root, workdir, text))
    if full == root:
        return "."
    prefix = root if root.endswith("/") else root + "/"
    return full[len(prefix) :] if full.startswith(prefix) else full


def make_spec(
    action: str, command: str, options: Mapping[str, Any], *, root: str, is_outside_allowed: bool = False
) -> StepSpec:
    """Return the declaration of a step.

    Parameters
    ----------
    action
        ``runsh``, ``runpy`` or ``copy``.
    command
        The user's text; ``${inp}``, ``${out}`` and ``${vol}`` in it are replaced where that list is declared.
    options
        Values by keyword, as in `OPTIONS`; ``shell`` may be a tuple of words.
    root
        Absolute folder that relative paths start from.
    is_outside_allowed
        Whether outputs may lie outside the root.

    Raises
    ------
    UsageError
        SNB-101 to SNB-119: the option's value, and what to give instead.
    """
    if not command.strip():
        raise UsageError("SNB-101", "There is no command.", "the step would do nothing", "write what it is to run")
    if "\0" in command:
        raise UsageError("SNB-101", "The command has a NUL character in it.", "no shell can take it", "leave it out")
    workdir = path_in(root, ".", options.get("workdir") or ".", option="--workdir")
    given = {kind: [str(path) for path in _words(options.get(kind))] for kind in _LISTS}
    paths = {
        kind: tuple(sorted({_file(root, workdir, path, f"--{kind}") for path in given[kind]})) for kind in _LISTS
    }
    if not is_outside_allowed:
        for path in (*paths["out"], *paths["vol"]):
            if posixpath.isabs(path):
                raise UsageError(
                    "SNB-103",
                    f"The output '{path}' lies outside the notebook's folder.",
                    f"outputs are kept below '{root}', so that nothing else is overwritten or cleaned",
                    "choose a path below it, or allow it with '%config StepUp.outside = True'",
                )
    env = tuple(sorted({str(name) for name in _words(options.get("env"))}))
    for name in env:
        if not _VARIABLE.fullmatch(name):
            raise UsageError("SNB-114", f"'{name}' is no name of an environment variable.", "", "give its name alone")
    name = options.get("name")
    if name is not None and (not str(name).strip() or "\n" in str(name)):
        raise UsageError("SNB-115", f"{_quoted(name)} is no name for a step.", "", "give one line of text")
    retry = _whole(options.get("retry") or 0, "attempts for '--retry'")
    if retry < 0:
        raise UsageError("SNB-112", f"'{retry}' is no number of attempts.", "", "give 0 or more")
    shell = options.get("shell") or LINE_SHELL
    return StepSpec(
        action=action,
        command=_substitute(command.strip("\n"), given),
        workdir=workdir,
        shell=_shell(shell),
        name=None if name is None else str(name).strip(),
        inp=paths["inp"],
        out=paths["out"],
        vol=paths["vol"],
        env=env,
        after=tuple(dict.fromkeys(str(step) for step in _words(options.get("after")))),
        pool=pool_requests(options.get("pool"), options.get("resources")),
        optional=bool(options.get("optional")),
        block=bool(options.get("block")),
        priority=_whole(options.get("priority") or 0, "priority"),
        duration=_seconds(options.get("duration"), "--duration"),
        timeout=_seconds(options.get("timeout"), "--timeout"),
        retry=retry,
        force=bool(options.get("force")),
    )


def _words(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    return [word for one in value for word in (_words(one) if not isinstance(one, str) else [one])]


def _file(root: str, workdir: str, path: str, option: str) -> str:
    if path.endswith("/") or path in (".", ".."):
        raise UsageError(
            "SNB-104",
            f"'{path}' in {option} is a directory.",
            "files are tracked, directories are not; those of outputs are created",
            "name the files in it, or a pattern such as '*.txt'",
        )
    return path_in(root, workdir, path, option=option)


def _shell(shell: str | tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(shell, tuple):
        return shell
    try:
        words = shlex.split(shell)
    except ValueError as error:
        words = []
        why = str(error)
    else:
        why = "it has no words"
    if not words:
        raise UsageError("SNB-116", f"'{shell}' is no shell.", why, "give a command, for instance 'bash -eu'")
    return tuple(words) if words[-1] == "-c" else (*words, "-c")


def _substitute(command: str, given: Mapping[str, list[str]]) -> str:
    """Put in the declared lists, quoted for the shell, in the given order (StepUp 3.0; ``$$`` is left alone)."""

    def put_in(match: re.Match[str]) -> str:
        paths = given[match[1] or match[2]]
        return " ".join(shlex.quote(path) for path in paths) if paths else match[0]

    return re.sub(r"(?<!\$)\$(?:\{(inp|out|vol)\}|(inp|out|vol)\b)", put_in, command)


def argv(spec: StepSpec) -> list[str]:
    """Return the words that start the step's command."""
    if spec.action == "copy":
        return ["cp", "-p", "--", *shlex.split(spec.command)]
    return [*spec.shell, spec.command]


def _quoted(value: object) -> str:
    text = str(value)
    return f"'{text if len(text) <= 60 else text[:59] + '…'}'"
