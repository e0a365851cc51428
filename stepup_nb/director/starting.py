"""What a job needs before its process can be: words, folders, environment, a script that can be run.

Knows declarations and the disk, nothing of processes.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from dataclasses import dataclass

from stepup_nb.core.declare import LINE_SHELL, argv
from stepup_nb.core.model import StepSpec
from stepup_nb.director.executor import CannotStart
from stepup_nb.director.server import job_token

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUNNER = os.path.join(_PACKAGE, "plan", "runner.py")
_SHIM = os.path.join(_PACKAGE, "shim")
"""What lets scripts import ``stepup.core.api``."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a director works."""

    root: str
    """Absolute folder that relative paths start from."""
    notebook: str | None
    database: str
    state: str
    """Folder of logs and lock."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where and how the steps of a director come back to it."""

    socket: str = ""
    token: str = ""
    python: str = "python3"
    """The interpreter of what is Python."""


def prepare(spec: StepSpec, root: str, python: str, *, is_strict: bool) -> list[str]:
    """Make the folders of a step's outputs, and return the words that start its command.

    Raises
    ------
    CannotStart
        A folder cannot be made, or the command is no command.
    """
    folders = {posixpath.dirname(path.rstrip("/")) for path in (*spec.out, *spec.vol)}
    if is_strict:
        # Folders are not tracked (StepUp 4.0): that of a plan's step is made as those of its outputs are.
        folders.add(spec.workdir)
    try:
        for folder in folders:
            if folder:
                os.makedirs(posixpath.join(root, folder), exist_ok=True)
        words = argv(spec, python, RUNNER)
    except OSError as error:
        raise CannotStart(
            f"cannot make the folder of an output: {error.strerror} ('{error.filename}')"
        ) from None
    except ValueError as error:
        raise CannotStart(f"cannot be started: {error}") from None
    if (said := trouble(spec, root)) is not None:
        raise CannotStart(said)
    return words


def variables(spec: StepSpec, root: str, door: Door, job: int, python_path: str | None) -> dict[str, str]:
    """Return what the environment of every job has on top: StepUp's variables, and the way back to the director."""
    return {
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": f"{_SHIM}{os.pathsep}{python_path}" if python_path else _SHIM,
        "STEPUP_ROOT": root,
        "STEPUP_DIRECTOR_SOCKET": door.socket,
        "STEPUP_NB_TOKEN": job_token(door.token, job),
        "STEPUP_STEP_I": str(job),
        "HERE": spec.workdir,
        "ROOT": "." if spec.workdir == "." else posixpath.relpath(root, posixpath.join(root, spec.workdir)),
    }


def trouble(spec: StepSpec, root: str) -> str | None:
    """Return what is wrong with the script that a step runs, or None.

    StepUp 3.0: only what exists as a file is looked at, the first word of a ``runsh`` command or the script of
    ``runpy``: it must be executable, and begin with ``#!/``.
    """
    is_script = (spec.action == "runsh" and spec.shell == LINE_SHELL) or (
        spec.action == "runpy" and spec.shell[1:] == ()
    )
    if not is_script:
        return None
    if "/" not in spec.command:
        # No path, whatever its first word is.
        return None
    try:
        word = shlex.split(spec.command)[0]
    except (ValueError, IndexError):
        return None
    workdir = posixpath.join(root, spec.workdir)
    path = posixpath.join(workdir, word)
    if "/" not in word or not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            is_fine = os.access(path, os.X_OK) and (file.read(4) == b"\x7fELF" or _begins_well(file))
    except OSError:
        return None
    return (
        None
        if is_fine
        else f"Script does not start with a shebang: {word} (wd={posixpath.normpath(workdir)})"
    )


def _begins_well(file: object) -> bool:
    file.seek(0)  # type: ignore[attr-defined]
    return bool(file.read(3) == b"#!/")  # type: ignore[attr-defined]
