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
from functools import lru_cache
from typing import Any

from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import MOST_SLOTS, PoolRequest, StepSpec
from stepup_nb.core.words import did_you_mean

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
    Option(
        ("--vol",),
        "PATH",
        "volatile outputs: by-products that no step may read",
        is_list=True,
        is_repeated=True,
    ),
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

ACTIONS = ("runsh", "runpy", "copy", "mkdir", "render-jinja")

PYTHON = ("python",)
"""In place of a shell: the command of ``runpy`` is a script with its arguments."""
PYTHON_CODE = ("python", "-c")
"""The same for the body of a cell, which is Python itself."""

_POOL_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LISTS = ("inp", "out", "vol")
_KEYWORDS = frozenset(option.dest for option in OPTIONS)

MOST = 1_000_000_000
"""No number that a user gives may be larger, of slots, of attempts, of seconds."""
_LONGEST = 128 * 1024 - 1
"""Bytes of one word of a command line (Linux: MAX_ARG_STRLEN)."""
_LONGEST_PATH = 4096


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
    slots = _int(size)
    if slots is None or not 0 <= slots <= MOST:
        raise UsageError(
            "SNB-111",
            f"{_quoted(size)} is no size for a pool.",
            "a pool has a whole number of slots",
            "give 1 or more, 0 to close the pool, or 'none' for no limit",
        )
    return slots


def pool_requests(pool: object, resources: object = None) -> tuple[PoolRequest, ...]:
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
    given = resources.split(",") if isinstance(resources, str) and resources else resources
    for name, slots in [*_asked(pool), *_asked(given)]:
        what = f"number of slots of pool '{pool_name(name)}'"
        asked = found.get(name, 0) + whole_number(slots, what, least=1, most=MOST_SLOTS)
        found[name] = whole_number(asked, what, most=MOST_SLOTS)
    return tuple(PoolRequest(name, slots) for name, slots in sorted(found.items()))


def _asked(pool: object) -> list[tuple[str, object]]:
    if pool is None:
        return []
    if isinstance(pool, str):
        name, colon, slots = pool.strip().rpartition(":")
        return [(name, slots)] if colon else [(slots, 1)]
    if isinstance(pool, Mapping):
        return list(pool.items())
    if isinstance(pool, Iterable) and not isinstance(pool, bytes):
        return [asked for one in pool for asked in _asked(one)]
    raise UsageError(
        "SNB-112", f"{_quoted(pool)} is no request for a pool.", "", "give a name, 'mem:4', a list or a dict"
    )


def _int(value: object) -> int | None:
    """Return the whole number that a value is or spells; None where it does neither."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


def whole_number(value: object, what: str, *, least: int = -MOST, most: int = MOST) -> int:
    """Return a whole number between these two, both included, or refuse what is none (SNB-112)."""
    number = _int(value)
    if number is None or not least <= number <= most:
        limits = f" from {least}" if least > -MOST else ""
        limits += f" to {most}" if number is not None and number > most else ""
        raise UsageError("SNB-112", f"{_quoted(value)} is no {what}.", "", f"give a whole number{limits}")
    return number


def seconds(value: object, option: str, *, least: float = 0.0) -> float:
    """Return a time in seconds, or refuse what is none (SNB-113)."""
    try:
        number = float(value) if isinstance(value, int | float | str) else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or not least <= number < MOST:
        raise UsageError(
            "SNB-113", f"{_quoted(value)} is no time for '{option}'.", "", "give seconds, for instance 2.5"
        )
    return number


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
    text = _path(path, option)
    # No character takes more than four bytes: most names are measured without a copy.
    is_short = 4 * len(text) < _LONGEST_PATH or len(text.encode(errors="replace")) < _LONGEST_PATH
    if not text.strip() or "\0" in text or not is_short:
        raise _no_path(path, option)
    if text[0] == "~" and text.partition("/")[0] == "~":
        raise UsageError(
            "SNB-102",
            f"{_quoted(path)} in {option} begins with '~'.",
            "only a shell makes the home directory of that",
            "write the path in full, or './~' for a folder of that name",
        )
    base, top, prefix = _base(root, _path(workdir, "--workdir"))
    full = _normal(posixpath.join(base, text))
    if full == top:
        return "."
    found = full.removeprefix(prefix)
    if not found.strip():
        # As of "./ ": possible, and a mistake.
        raise _no_path(path, option)
    return found


@lru_cache(maxsize=64)
def _base(root: str, workdir: str) -> tuple[str, str, str]:
    """Return where relative paths start, and the root without and with a slash at its end."""
    top = _normal(root)
    return posixpath.join(top, workdir), top, top if top.endswith("/") else top + "/"


def pattern_in(root: str, here: str, pattern: str) -> str:
    """Return a glob's pattern as the graph knows paths: relative to the root below it, absolute elsewhere.

    Parameters
    ----------
    root, here
        Absolute folder, and what the pattern is relative to, itself relative to the root.
    pattern
        What the user gave.
    """
    top = _normal(root)
    full = _normal(posixpath.join(top, here, pattern))
    found = "." if full == top else full.removeprefix(top if top.endswith("/") else top + "/")
    return found + "/" if pattern.endswith("/") else found


def match_from(root: str, here: str, pattern: str, path: str) -> str:
    """Return a match of `pattern_in` as the user's pattern has it: relative if that is, else absolute."""
    if posixpath.isabs(pattern):
        return path
    start = posixpath.join(root, here)
    found = posixpath.relpath(posixpath.join(root, path), start)
    return found + "/" if path.endswith("/") else found


def _normal(path: str) -> str:
    # POSIX lets two leading slashes mean something else; on Linux they do not, and one file has one name.
    return posixpath.normpath("/" + path.lstrip("/"))


def _path(path: object, option: str) -> str:
    found = path.__fspath__() if hasattr(path, "__fspath__") else path
    if isinstance(found, str):
        return found
    raise _no_path(path, option)


def _no_path(path: object, option: str) -> UsageError:
    return UsageError("SNB-102", f"{_quoted(path)} in {option} is no path.", "", "give the path of a file")


def make_spec(
    action: str,
    command: str,
    options: Mapping[str, Any],
    *,
    root: str,
    here: str = ".",
    is_outside_allowed: bool = False,
    has_folders: bool = False,
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
        Absolute folder that paths are relative to in the graph.
    here
        What ``workdir`` is relative to, itself relative to the root.
    is_outside_allowed
        Whether outputs may lie outside the root.
    has_folders
        Whether a path may be that of a folder, with a slash at its end: StepUp's plans have such.

    Raises
    ------
    UsageError
        SNB-101 to SNB-119: the option's value, and what to give instead.
    """
    _check_names(action, options)
    workdir = path_in(root, here, options.get("workdir") or ".", option="--workdir")
    given = {kind: [_path(path, f"--{kind}") for path in _words(options.get(kind))] for kind in _LISTS}
    paths = {
        kind: tuple(sorted({file_in(root, workdir, path, f"--{kind}", has_folders) for path in given[kind]}))
        for kind in _LISTS
    }
    if not is_outside_allowed:
        for path in (*paths["out"], *paths["vol"]):
            if posixpath.isabs(path):
                raise UsageError(
                    "SNB-103",
                    f"The output {_quoted(path)} lies outside the notebook's folder.",
                    f"outputs are kept below '{root}', so that nothing else is overwritten or cleaned",
                    "choose a path below it, or allow it with '%config StepUp.outside = True'",
                )
    name = options.get("name")
    duration, timeout = options.get("duration"), options.get("timeout")
    shell = _shell(options.get("shell") or (PYTHON if action == "runpy" else LINE_SHELL), action)
    return StepSpec(
        action=action,
        # In the text of a program, the shell's quotes would mean something else.
        command=_command(action, command, {} if shell == PYTHON_CODE else given),
        workdir=workdir,
        shell=shell,
        name=None if name is None else _name(name, "name for a step"),
        inp=paths["inp"],
        out=paths["out"],
        vol=paths["vol"],
        env=tuple(sorted({_variable(word) for word in _words(options.get("env"))})),
        after=tuple(
            dict.fromkeys(_name(word, "step to come after") for word in _words(options.get("after")))
        ),
        pool=pool_requests(options.get("pool"), options.get("resources")),
        optional=bool(options.get("optional")),
        block=bool(options.get("block")),
        priority=whole_number(options.get("priority") or 0, "priority"),
        duration=None if duration is None else seconds(duration, "--duration"),
        timeout=None if timeout is None else seconds(timeout, "--timeout", least=1e-3),
        retry=whole_number(options.get("retry") or 0, "number of attempts", least=0),
        force=bool(options.get("force")),
    )


def _check_names(action: str, options: Mapping[str, Any]) -> None:
    if action not in ACTIONS:
        raise UsageError(
            "SNB-118",
            f"There is no action {_quoted(action)}{did_you_mean(str(action), ACTIONS) or '.'}",
            "",
            f"use one of {', '.join(ACTIONS)}",
        )
    for option in sorted(options.keys() - _KEYWORDS) if not options.keys() <= _KEYWORDS else ():
        hint = did_you_mean(option, _KEYWORDS) or "."
        raise UsageError(
            "SNB-119",
            f"There is no option '{option}='{hint or '.'}",
            "",
            f"use one of {', '.join(sorted(_KEYWORDS))}",
        )


def _words(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str | bytes) or not isinstance(value, tuple | list | Iterable):
        return [value]
    return [word for one in value for word in _words(one)]


def file_in(root: str, workdir: str, path: str, option: str, has_folders: bool = False) -> str:
    """Return the path of a file as `path_in` does, and refuse that of a folder, unless folders are meant, too."""
    found = path_in(root, workdir, path, option=option)
    if has_folders and (path.endswith("/") or found == "."):
        return "./" if found == "." else f"{found.rstrip('/')}/"
    if found == "." or posixpath.basename(path) in ("", ".", ".."):
        raise UsageError(
            "SNB-104",
            f"{_quoted(path)} in {option} is a directory.",
            "files are tracked, directories are not; those of outputs are created",
            "name the files in it, or a pattern such as '*.txt'",
        )
    return found


def _variable(name: object) -> str:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise UsageError(
            "SNB-114", f"{_quoted(name)} is no name of an environment variable.", "", "give its name alone"
        )
    return name


def _name(name: object, what: str) -> str:
    text = str(name).strip() if isinstance(name, str | int) else ""
    if not text or any(c in text for c in "\n\r\0"):
        raise UsageError("SNB-115", f"{_quoted(name)} is no {what}.", "", "give one line of text")
    return text


def _shell(shell: object, action: str) -> tuple[str, ...]:
    if shell is LINE_SHELL:
        return LINE_SHELL
    why = "it has no words"
    words: list[Any] = []
    if action == "runpy":
        if shell in (PYTHON, PYTHON_CODE):
            return tuple(shell)
        raise UsageError("SNB-116", "A Python step has no shell.", "", "leave '--shell' out, or use 'runsh'")
    if isinstance(shell, str):
        try:
            words = shlex.split(shell)
        except ValueError as error:
            why = str(error).lower()
        if words and words[-1] != "-c":
            words.append("-c")
    elif isinstance(shell, list | tuple):
        words = list(shell)
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise UsageError(
            "SNB-116", f"{_quoted(shell)} is no shell.", why, "give a command, for instance 'bash -eu'"
        )
    return tuple(words)


def _command(action: str, command: object, given: Mapping[str, list[str]]) -> str:
    if not isinstance(command, str) or not command.strip():
        raise UsageError(
            "SNB-101", "There is no command.", "the step would do nothing", "write what it is to run"
        )
    if "\0" in command:
        raise UsageError(
            "SNB-101", "The command has a NUL character in it.", "no shell can take it", "leave it out"
        )
    text = fill_in(command.strip("\n"), given)
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    if size > _LONGEST:
        raise UsageError(
            "SNB-101",
            f"The command is {size} bytes long.",
            f"the system starts nothing with a command of more than {_LONGEST} bytes",
            "write it into a file, and run that",
        )
    if action == "copy" and len(_copied(text)) != 2:
        raise UsageError(
            "SNB-101", f"{_quoted(text)} is no copy.", "", "give two paths, what is copied and where to"
        )
    return text


def _copied(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def fill_in(command: str, given: Mapping[str, list[str]]) -> str:
    """Put in the declared lists, quoted for the shell, as given (StepUp 3.0; but ``$$`` is left alone)."""

    def put_in(match: re.Match[str]) -> str:
        paths = given.get(match[1] or match[2])
        return " ".join(shlex.quote(path) for path in paths) if paths else match[0]

    return _LISTED.sub(put_in, command) if "$" in command else command


_LISTED = re.compile(r"(?<!\$)\$(?:\{(inp|out|vol)\}|(inp|out|vol)\b)")


def argv(spec: StepSpec, python: str = "python3", runner: str = "runner.py") -> list[str]:
    """Return the words that start the step's command; raise ValueError where it cannot be taken apart.

    Parameters
    ----------
    spec
        The declaration.
    python
        The interpreter for what is Python.
    runner
        The program that runs scripts, see `stepup_nb.plan.runner`.
    """
    if spec.action == "copy":
        return ["cp", "-p", "--", *shlex.split(spec.command)]
    if spec.action == "mkdir":
        return ["mkdir", "-p", "--", *shlex.split(spec.command)]
    if spec.action == "render-jinja":
        return [python, "-m", "stepup_nb.plan.jinja", *shlex.split(spec.command)]
    if spec.action == "runpy":
        words = ["-c", spec.command] if spec.shell == PYTHON_CODE else shlex.split(spec.command)
        return [python, runner, *words]
    return [*spec.shell, spec.command]


def _quoted(value: object) -> str:
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value)[:100])
    return f"'{text if len(text) <= 60 else text[:59] + '…'}'"
