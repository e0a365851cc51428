"""Sees to it that a database has one director: whoever holds the lock is the director, and says who it is.

The machine lets the lock go when its holder dies, in whatever way. What is written in the file only informs:
it may be out of date, the lock itself never is.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import time
from typing import Any

from stepup_nb.core import places
from stepup_nb.core.errors import OwnerError, UsageError

GRACE = 3.0
"""Seconds that the director of a dead kernel gets to end its steps and let go."""

_PAUSE = 0.02
"""Seconds between two tries."""

_LEAST = 0.3
"""Seconds that every holder gets: it may be writing down who it is, or only ask whether the lock is held."""


def lock_path(database: str | os.PathLike[str]) -> str:
    """Return where the lock of a database is: ``.stepup/analysis/lock`` beside ``analysis.stepup.db``.

    A plan's database is in ``.stepup`` itself, and its lock in ``.stepup/graph/``.
    """
    return places.lock_path(os.path.abspath(os.fspath(database)))


class Lock:
    """The right to be a database's director, held until `release` or the end of the process.

    Attributes
    ----------
    path
        Of the file that is locked.
    note
        Why nobody can be kept out, in words for people; empty when all is well.
    """

    def __init__(self, path: str, fd: int, content: dict[str, Any], note: str = "") -> None:
        self.path = path
        self.note = note
        self._fd = fd
        self._content = content

    def tell(self, **facts: Any) -> None:
        """Add facts to what the file says about its holder, such as the path of its socket."""
        self._content |= facts
        if self._fd < 0:
            return
        # A new file, locked before it gets the old name: a reader finds the old text or the new one, and
        # whoever has just opened the old file finds that it is no longer the lock.
        new = self.path + ".new"
        if os.path.lexists(new):
            os.unlink(new)
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, json.dumps(self._content).encode())
            os.rename(new, self.path)
        except OSError:
            os.close(fd)
            os.unlink(new)
            raise
        os.close(self._fd)
        self._fd = fd

    def release(self) -> None:
        """Let another director in. The file stays: it means nothing without the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def acquire(
    path: str | os.PathLike[str],
    *,
    notebook: str,
    kernel_pid: int,
    wait: float = GRACE,
    **facts: Any,
) -> Lock:
    """Become the one director of a database.

    Where another one holds the lock and its kernel is alive, refuse at once; where that kernel is dead, or is
    the very one that asks, wait for it to end its steps.

    Parameters
    ----------
    path
        Of the lock, see `lock_path`; its folders are made.
    notebook
        What the database belongs to, for people.
    kernel_pid
        The process whose director this is to be.
    wait
        Most seconds to wait for a director that is about to end.
    facts
        What else the file is to say, any JSON.

    Raises
    ------
    OwnerError
        SNB-210: somebody else holds it.
    UsageError
        SNB-211: the lock's folder is not safe to use.
    """
    path = os.path.abspath(os.fspath(path))
    content = {
        "host": socket.gethostname(),
        "director_pid": os.getpid(),
        "kernel_pid": kernel_pid,
        "kernel_start": _start_of(kernel_pid),
        "started": time.time(),
        "notebook": notebook,
        **facts,
    }
    try:
        _make_folders(os.path.dirname(path))
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        return Lock(path, -1, content, f"no lock can be made here ({words})")
    begin = time.monotonic()
    while True:
        try:
            fd = _try(path)
        except OSError as error:
            # A file system without locks, or one that cannot be written.
            words = (error.strerror or str(error)).lower()
            return Lock(path, -1, content, f"no lock can be made here ({words})")
        if fd is not None:
            lock = Lock(path, fd, content)
            lock.tell()
            return lock
        holder = read_holder(path)
        passed = time.monotonic() - begin
        if passed >= _patience(holder, kernel_pid, wait):
            raise _refusal(holder, notebook, waited=passed >= wait)
        time.sleep(_PAUSE)


def _patience(holder: dict[str, Any] | None, kernel_pid: int, wait: float) -> float:
    if holder is not None and holder["host"] == socket.gethostname():
        pid = holder["kernel_pid"]
        if pid == kernel_pid or not _is_alive(pid, holder["kernel_start"]):
            return wait
    return min(_LEAST, wait)


def _refusal(holder: dict[str, Any] | None, notebook: str, *, waited: bool) -> OwnerError:
    what = f"The director of '{notebook}' belongs to another kernel."
    if holder is None:
        return OwnerError(
            "SNB-210",
            what,
            "its lock is held, but the holder does not say who it is",
            "try again in a moment; if it stays so, work in a copy of the notebook",
        )
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["started"]))
    pid, director = holder["kernel_pid"], holder["director_pid"]
    why = f"kernel pid {pid} on {holder['host']} has held it since {since}"
    fix = "shut that kernel down, or work in a copy of the notebook; '%stepup status' can be read meanwhile"
    if waited:
        why += f"; that kernel is gone, but its director (pid {director}) has not ended yet"
        fix = f"try again in a moment; if it stays so, end process {director}"
    return OwnerError("SNB-210", what, why, fix)


def read_holder(path: str) -> dict[str, Any] | None:
    """Return what the lock's file says about its holder, who may be gone; see `places.holder`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return places.holder(os.read(fd, 1 << 16))
    except OSError:
        return None
    finally:
        os.close(fd)


def is_held(path: str) -> bool:
    """Tell whether a director lives, without getting in its way."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    finally:
        os.close(fd)
    return False


def _try(path: str) -> int | None:
    """Return a descriptor that holds the lock, or None while somebody else does."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "the lock is no regular file")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.lstat(path)):
                return fd
            # The holder put a new file in its place while this one was opened: try that one.
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        os.close(fd)


def _make_folders(folder: str) -> None:
    """Make the lock's folder and the one around it, both for this user only."""
    outer = os.path.dirname(folder)
    for path in (outer, folder):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise UsageError(
                "SNB-211",
                f"'{path}' is not a folder of stepup_nb.",
                "it is a symbolic link or a file; logs and locks are not written through it",
                "remove it, or move it away",
            )
        if found.st_uid != os.geteuid():
            raise UsageError(
                "SNB-211",
                f"'{path}' belongs to another user (uid {found.st_uid}).",
                "that user could read or exchange what is written there",
                "work in a folder of your own",
            )
    try:
        fd = os.open(
            os.path.join(outer, ".gitignore"), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
    except FileExistsError:
        return
    os.write(fd, b"# made by stepup_nb: logs and locks are no sources\n*\n")
    os.close(fd)


def _start_of(pid: int) -> str:
    """Return what tells a process from a later one with the same number; empty where nobody tells."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in brackets, may itself hold blanks and brackets.
            words = file.read().rpartition(b")")[2].split()
        if words[0] in (b"Z", b"X"):
            return ""  # dead, only its parent has not asked yet
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {int(words[19])}"
    except (OSError, ValueError, IndexError):
        return ""


def _is_alive(pid: int, start: str) -> bool:
    now = _start_of(pid)
    if start and os.path.exists("/proc/self/stat"):
        return now == start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
