"""A notebook's folder and the sessions of its kernels: with a director process, or with one in a thread."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from director.helpers_processes import alive, until

import stepup_nb
from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.client.launch import Host, ProcessHost
from stepup_nb.client.session import Place, Session
from stepup_nb.core.model import ScopeKind
from stepup_nb.director import host
from stepup_nb.director.loop import Director

__all__ = [
    "LAUNCHES",
    "KernelProcess",
    "Notebook",
    "ThreadedHost",
    "alive",
    "cell",
    "director_of",
    "on_both_hosts",
    "overlap",
    "parent_of",
    "ran",
    "state_of",
    "until",
    "with_processes",
]

Launch = Callable[[Place, int], Host]


class ThreadedHost:
    """A director in a thread of this process, for a session to live with."""

    token = "t0ken"

    def __init__(self, place: Place, workers: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="stepup-nb-")
        try:
            arguments = host.Arguments(
                kernel=os.getpid(),
                root=place.root,
                notebook=place.notebook,
                database=place.database,
                state=place.state,
                folder=self._folder,
                token=self.token,
                workers=workers,
            )
            # Tests may look at what a process would keep to itself.
            with mock.patch.object(host, "Director", self._make):
                self._host = host.ThreadHost(arguments)
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        self.socket = self._host.socket
        self.notes = self._host.notes

    def _make(self, *args: Any, **options: Any) -> Director:
        self.director = Director(*args, **options)
        return self.director

    def end(self, patience: float = 0.0) -> None:
        """Ask it to end, and wait for that."""
        try:
            Connection(self.socket, self.token).send("shutdown")
        except DirectorGone:
            pass
        self._host.join()
        shutil.rmtree(self._folder, ignore_errors=True)


LAUNCHES: dict[str, Launch] = {"thread": ThreadedHost, "process": ProcessHost}

on_both_hosts = pytest.mark.parametrize("notebook", ["thread", "process"], indirect=True)
with_processes = pytest.mark.parametrize("notebook", ["process"], indirect=True)


class Notebook:
    """A folder, and the sessions that kernels begin there, one after the other or at once."""

    def __init__(self, folder: Path, launch: Launch) -> None:
        self.folder = folder
        self.launch = launch
        self.news: list[str] = []
        self._sessions: list[Session] = []

    @property
    def place(self) -> Place:
        """Where its sessions work."""
        return Place(
            root=str(self.folder),
            notebook=str(self.folder / "a.ipynb"),
            database=str(self.folder / "a.stepup.db"),
            state=str(self.folder / ".stepup" / "a"),
        )

    def begin(self, workers: int = 2) -> Session:
        """Begin a session; no director is started yet."""
        session = Session(self.place, workers=workers, on_news=self.news.append, launch=self.launch)
        self._sessions.append(session)
        return session

    def again(self, session: Session) -> Session:
        """End a session as a kernel's restart does, and begin the next one."""
        session.close()
        return self.begin()

    def write(self, name: str, text: str) -> Path:
        """Write a file, and make sure that its marks tell it from what was there before."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        """Return what is in a file, nothing if it is not there."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        """End all sessions."""
        for session in self._sessions:
            session.close()


def cell(session: Session, name: str, is_ok: bool = True):
    """Return a context in which a cell of that id executes."""
    return _Cell(session, f"cell:{name}", is_ok)


class _Cell:
    def __init__(self, session: Session, scope: str, is_ok: bool) -> None:
        self._session, self._scope, self._is_ok = session, scope, is_ok

    def __enter__(self) -> Session:
        self._session.open_scope(self._scope, ScopeKind.CELL, f"cell '{self._scope}'")
        return self._session

    def __exit__(self, kind: object, *rest: object) -> None:
        self._session.close_scope(self._scope, is_ok=self._is_ok and kind is None)


def ran(session: Session, since: int = 0) -> list[str]:
    """Return the steps of all jobs that ran after that many, in the order of their starts."""
    rows = sorted(session.history()[since:], key=lambda row: row["started"])
    return [row["step"].removeprefix("runsh ") for row in rows]


def overlap(rows: Iterable[dict[str, Any]]) -> int:
    """Return how many jobs ran at once at most, from rows of the history."""
    # At equal times the end comes first: a slot is given on in the same moment.
    moments = [moment for row in rows for moment in ((row["started"], 1), (row["ended"], -1))]
    most = now = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def state_of(session: Session, name: str) -> str:
    """Return a step's state."""
    return str(session.rows([name])[0]["state"])


def director_of(session: Session) -> int:
    """Return the number of a session's director process."""
    return int(session.status()["director_pid"])


def parent_of(pid: int) -> int:
    """Return the number of a process' parent."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[1])


KERNEL = """
    import sys
    sys.path[:0] = {path!r}
    from stepup_nb.client.session import Place, Session
    from stepup_nb.core.errors import StepUpError
    place = Place(*{place!r})
    session = Session(place, workers={workers}, on_news=lambda words: print("news", words, flush=True))
"""


class KernelProcess:
    """Another process that owns a session: it runs Python and says what that prints, line by line."""

    def __init__(self, notebook: Notebook, code: str, workers: int = 4) -> None:
        place = notebook.place
        words = (place.root, place.notebook, place.database, place.state)
        path = [str(Path(stepup_nb.__file__).parent.parent), *sys.path]
        begin = textwrap.dedent(KERNEL).format(path=path, place=words, workers=workers)
        self.process = subprocess.Popen(
            [sys.executable, "-c", begin + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def says(self) -> str:
        """Return the next line that it prints; nothing at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tells(self) -> Any:
        """Return the JSON value that it prints next."""
        return json.loads(self.says())

    def go_on(self) -> None:
        """Let it go on where it reads a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it as `kill -9` does, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End it in order."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
