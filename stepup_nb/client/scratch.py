"""A copy of the project in a temporary folder, with a director of its own: nothing that runs there is the user's.

Files are copied, never linked, so that no step can change an original; where the disk can share blocks of copies
it does. Knows files and how a director is talked to, nothing of what is compared.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.client.launch import Place, ProcessHost
from stepup_nb.core.errors import UsageError

_LEFT_OUT = frozenset({".stepup", ".git", ".ipynb_checkpoints"})
"""What belongs to others, at any depth: state of ours, of git, of Jupyter."""
_STATE_FILE = ".stepup.db"
_CHUNK = 1 << 24
"""Bytes copied at once: after so many, an interrupt is looked for."""


class Stopped(Exception):
    """Somebody does not want it any more."""


@dataclass(frozen=True, slots=True)
class Project:
    """What is to be copied."""

    root: str
    folders: tuple[str, ...]
    """Relative to the root, each before what is in it."""
    files: tuple[str, ...]
    links: tuple[str, ...]
    outside: tuple[str, ...]
    """Absolute paths of inputs elsewhere: steps may name them relative to the project."""
    size: int
    """Bytes."""
    unread: tuple[str, ...]
    """What may not be read, and is left out."""


def survey(root: str, left_out: Collection[str], outside: Iterable[str]) -> Project:
    """Find out what belongs to a project.

    Parameters
    ----------
    root
        Its folder, without links on the way.
    left_out
        Paths relative to it that are not copied: what steps make.
    outside
        Absolute paths of inputs that lie elsewhere.
    """
    folders: list[str] = []
    files: list[str] = []
    links: list[str] = []
    unread: list[str] = []
    size = 0
    left = [""]
    while left:
        folder = left.pop()
        try:
            entries = sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name)
        except OSError:
            unread.append(folder)
            continue
        folders.append(folder)
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if entry.name in _LEFT_OUT or _STATE_FILE in entry.name or path in left_out:
                continue
            if entry.is_symlink():
                links.append(path)
            elif entry.is_dir():
                left.append(path)
            elif entry.is_file():
                if os.access(entry.path, os.R_OK):
                    files.append(path)
                    size += entry.stat().st_size
                else:
                    unread.append(path)
    elsewhere = tuple(path for path in outside if os.path.isfile(path))
    size += sum(os.stat(path).st_size for path in elsewhere)
    return Project(root, tuple(folders), tuple(files), tuple(links), elsewhere, size, tuple(unread))


def check_outputs(root: str, outputs: Iterable[str]) -> None:
    """Refuse outputs that a symbolic link leads out of the project.

    Raises
    ------
    UsageError
        SNB-161: in a copy, the link would lead there as well.
    """
    for path in outputs:
        folder = os.path.realpath(os.path.join(root, os.path.dirname(path)))
        if os.path.commonpath([root, folder]) != root:
            raise UsageError(
                "SNB-161",
                f"The output '{path}' is written outside of the project, to '{folder}'.",
                "a symbolic link leads there, from a copy of the project as well",
                "give the steps to audit by name, and leave that one out",
            )


class Scratch:
    """A temporary folder with copies of a project.

    Parameters
    ----------
    project
        What is copied.
    is_stopped
        Asked now and then.
    """

    def __init__(self, project: Project, is_stopped: Callable[[], bool]) -> None:
        self._project = project
        self._is_stopped = is_stopped
        self._top = os.path.realpath(tempfile.mkdtemp(prefix="stepup-nb-audit-"))
        # Whatever becomes of the thread that works with it.
        atexit.register(self.end)

    def run_folder(self, number: int) -> str:
        """Return the folder of a run: in it lies a copy at the place that the project has in the file system."""
        return os.path.join(self._top, f"run{number}")

    def root(self, number: int) -> str:
        """Return the project's folder in the copy of a run."""
        return self.run_folder(number) + self._project.root

    def copy(self, number: int) -> str:
        """Make the copy for a run; return its project's folder.

        Raises
        ------
        UsageError
            SNB-162: it cannot be made.
        Stopped
            Nobody wants it any more.
        """
        root, copy = self._project.root, self.root(number)
        try:
            for folder in self._project.folders:
                os.makedirs(os.path.join(copy, folder), exist_ok=True)
            for path in self._project.files:
                source = os.path.join(root, path)
                # What went meanwhile is somebody's by-product.
                if os.path.lexists(source):
                    self._copy_file(source, os.path.join(copy, path))
            for path in self._project.outside:
                target = self.run_folder(number) + path
                os.makedirs(os.path.dirname(target), exist_ok=True)
                self._copy_file(path, target)
            for path in self._project.links:
                os.symlink(_link_in_copy(root, copy, path), os.path.join(copy, path))
            # Last, and from the inside out: a folder that may not be written could not be filled.
            for folder in reversed(self._project.folders):
                shutil.copystat(os.path.join(root, folder), os.path.join(copy, folder))
        except OSError as error:
            raise UsageError(
                "SNB-162",
                "The project cannot be copied.",
                f"the system says: {(error.strerror or str(error)).lower()} ('{error.filename}')",
                f"mend that, or set TMPDIR to a folder with room (now '{tempfile.gettempdir()}')",
            ) from error
        return copy

    def _copy_file(self, source: str, target: str) -> None:
        with open(source, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
            while _copy_some(old.fileno(), new.fileno()):
                if self._is_stopped():
                    raise Stopped
        if self._is_stopped():
            raise Stopped
        shutil.copystat(source, target)

    def remove(self, number: int) -> None:
        """Remove what a run has left."""
        _remove(self.run_folder(number))

    def keep(self, runs: int) -> tuple[str, ...]:
        """Leave everything where it is, for good; return the project's folder of each run."""
        atexit.unregister(self.end)
        return tuple(map(self.root, range(runs)))

    def end(self) -> None:
        """Remove everything."""
        atexit.unregister(self.end)
        _remove(self._top)


def _copy_some(old: int, new: int) -> int:
    """Copy what comes next; return how many bytes that were."""
    with contextlib.suppress(OSError, AttributeError):
        # Btrfs, XFS and others share the blocks until one of the two is written.
        if number := os.copy_file_range(old, new, _CHUNK):
            return number
    piece = os.read(old, _CHUNK)
    left = memoryview(piece)
    while left:
        left = left[os.write(new, left) :]
    return len(piece)


def _link_in_copy(root: str, copy: str, path: str) -> str:
    """Return where a symbolic link leads in a copy: what was in the project is in the copy, the rest where it is."""
    target = os.readlink(os.path.join(root, path))
    full = os.path.normpath(os.path.join(root, os.path.dirname(path), target))
    if full != root and not full.startswith(f"{root}/"):
        return full
    return os.path.relpath(copy + full.removeprefix(root), os.path.dirname(os.path.join(copy, path)))


def _remove(folder: str) -> None:
    """Remove a folder, also where a step has taken the right to write from a folder in it."""
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def director(folder: str, root: str, workers: int) -> Iterator[Callable[[], Connection]]:
    """Have a director of its own for a copy, and what connects to it; in the end, end it and all that it runs.

    Parameters
    ----------
    folder
        Where its database and its logs go.
    root
        The project's folder in the copy.
    workers
        Steps running at once.
    """
    place = Place(
        root=root,
        notebook=None,
        database=os.path.join(folder, "audit.stepup.db"),
        state=os.path.join(folder, "logs"),
    )
    host = ProcessHost(place, workers)
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(Connection(host.socket, host.token))
        return opened[-1]

    try:
        yield connect
    finally:
        for connection in opened:
            with contextlib.suppress(DirectorGone):
                connection.send("shutdown")
            connection.close()
        host.end(patience=1.0)
