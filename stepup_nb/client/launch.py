"""Starts a director below a guard of its own, and ends both."""

from __future__ import annotations

import contextlib
import importlib.machinery
import json
import os
import secrets
import select
import shutil
import site
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stepup_nb.core.errors import InternalError, UsageError, from_json

START_WITHIN = 20.0
"""Seconds that a director may take to start."""

_INSIST_AFTER = 2.0
"""Seconds that a guard gets to end everything before it is told more firmly."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session works: what `notebook.locate` finds out."""

    root: str
    notebook: str | None
    database: str
    state: str
    """Folder for logs and the lock."""


class Host(Protocol):
    """A director that was started."""

    socket: str
    """Where it listens."""
    token: str
    """What lets its clients in."""
    notes: list[str]
    """What it said when it started, in words for people."""

    def end(self, patience: float = 0.0) -> None:
        """Have it end by itself for so many seconds, then end it and all that it runs."""


class ProcessHost:
    """A director in a process of its own, which ends with this one, in whatever way.

    Parameters
    ----------
    place
        Where it works.
    workers
        Steps running at once, where the database remembers nothing else.

    Raises
    ------
    StepUpError
        It cannot start: SNB-210 where another kernel has one, SNB-213 where the machine gives it no process or
        no folder, SNB-3xx where its database cannot be used.
    """

    def __init__(self, place: Place, workers: int) -> None:
        self.token = secrets.token_hex(16)
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder = ""
        try:
            self._folder = _runtime_folder()
            ready = self._start(place, workers)
            if "error" in ready:
                raise from_json(ready["error"])
            self.socket: str = ready["socket"]
            self.notes: list[str] = ready["notes"]
        except BaseException as error:
            self.end()
            if isinstance(error, OSError):
                raise _refused(error) from error
            raise

    def _start(self, place: Place, workers: int) -> dict[str, Any]:
        arguments = {
            "kernel": os.getpid(),
            "root": place.root,
            "notebook": place.notebook,
            "database": place.database,
            "state": place.state,
            "folder": self._folder,
            "workers": workers,
        }
        given = json.dumps({"path": _search_path(), "arguments": arguments})
        script = Path(__file__).parent.parent / "director" / "guard.py"
        self._guard = guard = subprocess.Popen(
            [sys.executable, "-I", "-S", os.fspath(script), str(os.getpid()), given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        assert guard.stdin is not None
        assert guard.stdout is not None
        assert guard.stderr is not None
        with guard.stdout as stdout, guard.stderr as stderr:
            with contextlib.suppress(BrokenPipeError), guard.stdin as stdin:
                # Everybody may read a command line: the token goes through the pipe.
                stdin.write(self.token.encode() + b"\n")
            return _first_line(stdout.fileno(), stderr.fileno())

    def end(self, patience: float = 0.0) -> None:
        """Have it end by itself for so many seconds, then end it and all that it runs."""
        guard, self._guard = self._guard, None
        if guard is not None and not _has_ended(guard, patience):
            guard.terminate()
            if not _has_ended(guard, _INSIST_AFTER):
                # The director notices, and ends everything in the guard's place.
                guard.kill()
                guard.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _has_ended(guard: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        guard.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _runtime_folder() -> str:
    """Make a folder that only this user can enter, with a path short enough for a socket in it."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        found = os.stat(base) if base else None
        if found is not None and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700:
            folder = tempfile.mkdtemp(prefix="stepup-nb-", dir=base)
            if len(os.fsencode(folder)) < 90:
                return folder
            os.rmdir(folder)
    # The temporary folder may have been swept away, or have filled up, since Python found it.
    with contextlib.suppress(OSError):
        folder = tempfile.mkdtemp(prefix="stepup-nb-")
        if len(os.fsencode(folder)) < 90:
            return folder
        os.rmdir(folder)
    return tempfile.mkdtemp(prefix="stepup-nb-", dir="/tmp")


def _refused(error: OSError) -> UsageError:
    return UsageError(
        "SNB-213",
        "The director cannot be started.",
        f"the system says: {(error.strerror or str(error)).lower()}"
        + (f" ('{error.filename}')" if error.filename else ""),
        "nothing was declared: mend that, and do it again",
    )


def _search_path() -> list[str]:
    """Return where an isolated interpreter finds what the director imports."""
    installed = {*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])}
    # What is installed goes first: PYTHONPATH and the folder of a script may hold anything. The current folder,
    # which is the notebook's, has an empty name, and no say at all.
    path = sorted(filter(os.path.isabs, map(str, sys.path)), key=lambda entry: entry not in installed)
    found = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]
    for module in ("blake3", "psutil"):
        spec = importlib.machinery.PathFinder.find_spec(module, path)
        if spec is not None and spec.origin is not None:
            found.append(os.path.dirname(os.path.dirname(os.path.abspath(spec.origin))))
    return list(dict.fromkeys(found))


def _first_line(stdout: int, stderr: int) -> dict[str, Any]:
    """Return what the director says when it is ready, or why it is not."""
    deadline = time.monotonic() + START_WITHIN
    said = b""
    while not said.endswith(b"\n"):
        piece = _read(stdout, deadline)
        if piece is None:
            raise InternalError("The director did not start in time.", f"waited {START_WITHIN:g} s")
        if not piece:
            trouble = b""
            while piece := _read(stderr, deadline):
                trouble += piece
            words = trouble.decode(errors="replace").strip()[-2000:]
            raise InternalError("The director could not be started.", words)
        said += piece
    line: dict[str, Any] = json.loads(said)
    return line


def _read(fd: int, deadline: float) -> bytes | None:
    """Return what came, nothing at the end of the stream, None when the time is over."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        return None
    return os.read(fd, 65536)
