"""Finds out what files are: by their marks where those can be believed, else by reading them.

Everything that may wait for a disk or a network happens in a few threads, so that the loop never does.
"""

from __future__ import annotations

import hashlib
import os
import queue
import stat
import threading
import time
from collections.abc import Callable
from functools import partial

from blake3 import blake3

from stepup_nb.core import nglob
from stepup_nb.core.messages import FilesLooked, LookAt, Report
from stepup_nb.core.model import FOLDER, TICK_NS, FileHash, FileProblem, Look
from stepup_nb.director import faults
from stepup_nb.director.folders import FULL, lister
from stepup_nb.director.glance import Glance, is_as_known
from stepup_nb.director.reactor import Reactor

_CHUNK = 1 << 18
"""Bytes read at once of a large file. To map the file would be faster by a fifth, but kills this process (SIGBUS)
when somebody cuts the file meanwhile."""

_ATTEMPTS = 3
"""Readings of a file that keeps changing."""

_MOST_PARTS = 10_000
"""Parts of a path, with those of all links on the way: beyond that it goes round in a circle."""

_PATIENCE = 0.5
"""Seconds without an answer after which waiting orders get one more thread."""

_MOST_THREADS = 32

_LONGEST_PAUSE = 1.0
"""Seconds at most between two tries to look, where the machine has no descriptors left."""


class Hasher:
    """A small pool of threads that looks at files and reports through the reactor.

    Parameters
    ----------
    reactor
        Its turning thread makes all reports, and is the only one that may call this object.
    report
        Takes each answer.
    root
        The folder that relative paths are relative to.
    threads
        How many there are as long as no file keeps one waiting. More are not faster, as small files need
        the interpreter more than the disk; but while an order waits and nothing is answered, as on a network
        file system that hangs, one is added after the other.
    tick_ns
        See `TICK_NS`.
    """

    def __init__(
        self,
        reactor: Reactor,
        report: Callable[[Report], None],
        root: str,
        *,
        threads: int = 2,
        tick_ns: int = TICK_NS,
    ) -> None:
        self._reactor = reactor
        self._report = report
        self._root = os.path.abspath(root)
        self._tick_ns = tick_ns
        self._glance = Glance(self._root, tick_ns)
        self._orders: queue.SimpleQueue[Callable[[], Report] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._least = threads
        self._given = 0
        self._answered = 0
        self._is_watched = False
        self._is_over = threading.Event()

    def look_at(self, order: LookAt) -> None:
        """Look at the paths of an order, and report `FilesLooked`: at once where a glance is enough."""
        seen = None if order.globs else self._glance.sees(order.files)
        if seen is None:
            self.run(lambda: self._look_at(order))
        else:
            self._given += 1
            self._answer(FilesLooked(order.token, seen, {}))

    def run(self, work: Callable[[], Report]) -> None:
        """Have a thread do something else that may wait for a disk, and report what it returns."""
        self._given += 1
        if self._given - self._answered > len(self._threads) < self._least:
            self._add_thread()
        self._orders.put(work)
        if not self._is_watched:
            self._watch()

    def close(self) -> None:
        """Report nothing any more. A thread that waits for a disk is left to it."""
        self._report = lambda report: None
        self._is_over.set()
        for _ in self._threads:
            self._orders.put(None)

    def _add_thread(self) -> None:
        number = len(self._threads) + 1
        thread = threading.Thread(target=self._work, name=f"stepup-hash-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system has no room for it now: the others do its work, and if there is none, `_watch` tries again.
            return
        self._threads.append(thread)

    def _work(self) -> None:
        while (work := self._orders.get()) is not None:
            try:
                report = self._done(work)
            except BaseException as error:
                self._reactor.post(partial(self._fail, error))
            else:
                self._reactor.post(partial(self._answer, report))

    def _done(self, work: Callable[[], Report]) -> Report:
        """Do some work, as often as the machine has no descriptors or memory for it."""
        pause = 0.02
        while True:
            try:
                return work()
            except OSError as error:
                if error.errno not in FULL or self._is_over.wait(pause):
                    raise
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _answer(self, report: Report) -> None:
        self._answered += 1
        faults.reach("looked")
        self._report(report)

    def _fail(self, error: BaseException) -> None:
        self._answered += 1
        raise error

    def _watch(self) -> None:
        self._is_watched = True
        answered = self._answered

        def look_again() -> None:
            self._is_watched = False
            waiting = self._given - self._answered
            if not waiting:
                return
            if answered == self._answered and waiting > len(self._threads) < _MOST_THREADS:
                self._add_thread()
            self._watch()

        self._reactor.call_after(_PATIENCE, look_again)

    def _look_at(self, order: LookAt) -> FilesLooked:
        root = self._root + "/"
        tick_ns = self._tick_ns
        links: Links = {self._root: 0}
        looks = {
            path: look(path if path.startswith("/") else root + path, known, tick_ns, links)
            for path, known in order.files
        }
        found = {}
        for glob in order.globs:
            # Each folder is read once a glob, not once for all: between two of them time goes by.
            found[glob] = nglob.search(glob.patterns, dict(glob.subs), lister(self._root, is_sure=True))
        return FilesLooked(order.token, looks, found)


Links = dict[str, int]
"""Folders, and when the youngest symbolic link on the way to each of them was made; 0 where there is none."""


def look(
    path: str, known: FileHash | None = None, tick_ns: int = TICK_NS, links: Links | None = None
) -> Look:
    """Return what is at a path now; symbolic links are followed. Never waits for a writer of a pipe.

    The content is not read again if inode, size, mode and times are all as they are known, and the known
    reading began so much later than both times that no write can have come after it unseen. A link that leads
    elsewhere for a while and back touches no file: that it was made anew counts as a change of what it leads to.

    Parameters
    ----------
    path
        Absolute, or relative to the folder of this process.
    known
        What is known of the file.
    tick_ns
        See `TICK_NS`.
    links
        What is known of folders on the way, from a moment ago; what is found out is added.

    Raises
    ------
    OSError
        One of `folders.FULL`: what is there cannot be told now.
    """
    if path.endswith("/"):
        return _look_at_folder(path)
    try:
        found = os.lstat(path)
        linked_ns = _linked_ns(path, {} if links is None else links)
        if stat.S_ISLNK(found.st_mode):
            found = os.stat(path)
            linked_ns = max(linked_ns, _youngest_link(path))
        if known is not None and is_as_known(found, known, linked_ns, tick_ns):
            return known
        # Only what is a regular file is opened: to open a device may do something.
        seen = _problem(found.st_mode) or _read(path)
        if isinstance(seen, FileHash) and linked_ns > seen.ctime_ns:
            return seen._replace(ctime_ns=linked_ns)
        return seen
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in FULL:
            raise
        return FileProblem(f"cannot be read ({(error.strerror or str(error)).lower()})")
    except ValueError:
        return FileProblem("is no possible file name")


def _linked_ns(path: str, links: Links) -> int:
    """Return when the youngest symbolic link on the way to a file's folder was made, 0 where there is none."""
    folder = path.rpartition("/")[0]
    newest = links.get(folder)
    if newest is None:
        newest = links[folder] = _youngest_link(folder)
    return newest


def _youngest_link(path: str) -> int:
    newest = 0
    at = "/" if path.startswith("/") else ""
    rest = path.split("/")[::-1]
    for _ in range(_MOST_PARTS):
        if not rest:
            break
        name = rest.pop()
        if name in ("", "."):
            continue
        here = os.path.join(at, name)
        own = os.lstat(here)
        if not stat.S_ISLNK(own.st_mode):
            at = here
            continue
        newest = max(newest, own.st_ctime_ns)
        target = os.readlink(here)
        at = "/" if target.startswith("/") else at
        rest += target.split("/")[::-1]
    return newest


def _look_at_folder(path: str) -> Look:
    try:
        return FOLDER if stat.S_ISDIR(os.stat(path).st_mode) else FileProblem("is no directory")
    except NotADirectoryError:
        return FileProblem("is no directory")
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in FULL:
            raise
        return FileProblem(f"cannot be read ({(error.strerror or str(error)).lower()})")
    except ValueError:
        return FileProblem("is no possible file name")


def _problem(mode: int) -> FileProblem | None:
    if stat.S_ISREG(mode):
        return None
    for is_kind, words in _KINDS:
        if is_kind(mode):
            return FileProblem(words)
    return None


_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a named pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


def _read(path: str) -> Look:
    for _ in range(_ATTEMPTS):
        looked_ns = time.time_ns()
        # It may have become a pipe meanwhile, whose opening must not wait.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            before = os.fstat(fd)
            problem = _problem(before.st_mode)
            if problem is not None:
                return problem
            digest = digest_of(fd, before.st_size)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if is_same(before, after):
            return FileHash(
                digest,
                after.st_size,
                after.st_mode,
                after.st_ino,
                after.st_mtime_ns,
                after.st_ctime_ns,
                looked_ns,
            )
    return FileProblem("keeps changing while it is read")


def is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Tell whether a file was neither replaced nor written nor given another mode between two looks."""
    return (
        before.st_ctime_ns == after.st_ctime_ns
        and before.st_mtime_ns == after.st_mtime_ns
        and before.st_ino == after.st_ino
        and before.st_dev == after.st_dev
        and before.st_size == after.st_size
        and before.st_mode == after.st_mode
    )


def digest_of(fd: int, size: int) -> str:
    """Return the digest of a regular file just opened; `size` is what it is expected to have."""
    if size <= _CHUNK:
        # One byte more than expected: a short answer is then the end of the file.
        words = os.read(fd, size + 1)
        if len(words) == size:
            return "blake3:" + blake3(words).hexdigest()
        os.lseek(fd, 0, os.SEEK_SET)
    hasher = blake3()
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    while length := os.readv(fd, [buffer]):
        hasher.update(view[:length])
    return "blake3:" + hasher.hexdigest()


def hash_env(key: bytes, name: str, value: str) -> str:
    """Return the keyed hash of an environment variable: equal values are told, none can be guessed."""
    words = name.encode("utf-8", "surrogateescape") + b"=" + value.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(words, digest_size=16, key=key).hexdigest()
