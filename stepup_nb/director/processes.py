"""Processes as Linux shows them: how to start one, who descends from whom, how to signal without mistaking.

Knows nothing of jobs; see `local`. A process that is our own child keeps its number until we reap it, so
it may be signalled by number. Every other one is held by a pidfd first and looked at again through it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import selectors
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from stepup_nb.director.executor import CannotStart
from stepup_nb.director.reactor import Reactor

RUN_VARIABLE = "STEPUP_NB_RUN"
JOB_VARIABLE = "STEPUP_NB_JOB"

_PR_SET_CHILD_SUBREAPER = 36
_CLONE_FS = 0x200
_libc = ctypes.CDLL(None, use_errno=True)

_PAGE = os.sysconf("SC_PAGE_SIZE")

# The container's own counter where it has one; the machine's also counts the neighbours'.
_OOM_COUNTERS = (
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/proc/vmstat",
)

_CATCHABLE = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]

# Linux keeps this limit (on file locks, RLIMIT_LOCKS) for each process and has not used it since 2.4.25. That
# makes it the one mark that a whole tree inherits and that neither `env -i` nor `setsid` takes off.
_MARK_LIMIT = 10


class Look(NamedTuple):
    """What ``/proc/PID/stat`` says of a process."""

    name: str
    state: str
    parent: int
    group: int
    born: int
    """Clock ticks since boot."""


def become_subreaper() -> None:
    """Have processes that lose their parent below us become our children."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def keep_descriptors() -> None:
    """Have no descriptor but the first three inherited, also of those that we were started with."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                # It was that of the listing.
                pass


def look(pid: int) -> Look | None:
    """Look at a process; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(1024)
    except OSError:
        return None
    # The name may hold anything, brackets and blanks too.
    name, _, rest = text.rpartition(b") ")
    words = rest.split()
    if len(words) < 20:
        return None
    return Look(
        name.partition(b" (")[2].decode("utf-8", "replace"),
        words[0].decode(),
        int(words[1]),
        int(words[2]),
        int(words[19]),
    )


def children(pid: int) -> list[int]:
    """Return the children of a process: those of each of its threads."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found.extend(map(int, file.read().split()))
        except OSError:
            continue
    return found


def descendants(pid: int) -> Iterator[tuple[int, int]]:
    """Yield each descendant of a process with the parent it had when looked at, parents first."""
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for child in children(parent):
            yield child, parent
            waiting.append(child)


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds now; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int(file.read(128).split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def send(pid: int, parent: int, number: int, except_group: int = 0) -> None:
    """Signal a descendant that was found below this parent, unless it belongs to the group."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # Between the reading of the number and now it may have gone to a stranger. One that has become our
        # own child because its parent died is still meant.
        found = look(pid)
        if found is not None and found.parent in (parent, os.getpid()) and found.group != except_group:
            signal.pidfd_send_signal(fd, number)
    except OSError:
        pass
    finally:
        os.close(fd)


def send_child(pid: int, number: int) -> None:
    """Signal an own child that was not reaped yet."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def send_group(pid: int, number: int) -> None:
    """Signal the process group of an own child that was not reaped yet and that leads it."""
    try:
        os.killpg(pid, number)
    except OSError:
        pass


def environment_word(pid: int, variable: str) -> str | None:
    """Return the value of a variable when the process was started; None where that cannot be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            text = file.read()
    except OSError:
        return None
    start = f"{variable}=".encode()
    for word in text.split(b"\0"):
        if word.startswith(start):
            return word[len(start) :].decode("utf-8", "replace")
    return None


class Nursery:
    """The list of our own children: where a process turns up that lost its parent below us.

    A list read in one go by the only thread that starts and reaps is complete: a child leaves it only when
    we reap it.
    """

    def __init__(self) -> None:
        # Orphans fall to the first thread of a process, whichever thread started their ancestors.
        self._fd = os.open(f"/proc/{os.getpid()}/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)

    def pids(self) -> set[int]:
        """Return the numbers of all children."""
        text = piece = os.pread(self._fd, 4096, 0)
        while len(piece) > 4096 - 16:
            piece = os.pread(self._fd, 4096, len(text))
            text += piece
        return set(map(int, text.split()))

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self._fd)


class Spawner:
    """Starts processes in sessions of their own, with nothing inherited but what is given.

    Parameters
    ----------
    run
        The marker of the run; see `run_marker`. Belongs, as all of this, to the thread that starts.
    """

    def __init__(self, run: str) -> None:
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._run = zlib.crc32(run.encode()) >> 1 << 32
        self._limit = resource.getrlimit(_MARK_LIMIT)
        if threading.current_thread() is not threading.main_thread():
            # A current directory of this thread's own. Where it is refused (some containers), the others see
            # ours change for some 100 µs; that concerns tests and debugging only.
            _libc.unshare(_CLONE_FS)

    def start(
        self, argv: Sequence[str], cwd: str, env: Mapping[str, str], job: int, stdout: int, stderr: int
    ) -> int:
        """Start a command and return its process number; raise `CannotStart`."""
        try:
            os.chdir(cwd)
        except (OSError, ValueError) as error:
            raise CannotStart(*_cwd_words(error, cwd)) from None
        try:
            program = argv[0] if "/" in argv[0] else _find(argv[0], env.get("PATH", os.defpath))
            self._mark(self._run | job & 0xFFFFFFFF)
            return os.posix_spawn(
                program,
                list(argv),
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, self._null, 0),
                    (os.POSIX_SPAWN_DUP2, stdout, 1),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_CATCHABLE,
            )
        except (OSError, ValueError) as error:
            raise CannotStart(*spawn_words(error, argv[0])) from None
        finally:
            self._mark(self._limit[0])
            os.fchdir(self._home)

    def job_of(self, pid: int) -> int | None:
        """Return the job of this run that an unreaped child descends from; None where the mark is missing."""
        try:
            mark = resource.prlimit(pid, _MARK_LIMIT)[0]
        except OSError:
            return None
        return mark & 0xFFFFFFFF if mark >> 32 << 32 == self._run and mark >= 0 else None

    def close(self) -> None:
        """Give back the descriptors."""
        os.close(self._null)
        os.close(self._home)

    def _mark(self, soft: int) -> None:
        try:
            resource.setrlimit(_MARK_LIMIT, (soft, self._limit[1]))
        except (OSError, ValueError):
            # A lower hard limit: orphans are told apart by their environment then.
            pass


def run_marker(database: str) -> str:
    """Return what marks the processes of a run of this process: ``<database>.<its number>-<its birth>``.

    Parameters
    ----------
    database
        What tells this database from others; no dots are needed, none forbidden.
    """
    pid = os.getpid()
    found = look(pid)
    return f"{database}.{pid}-{found.born if found else 0}"


def sweep(marker: str) -> tuple[str, ...]:
    """Kill what earlier runs of a database left running, and return the names of what was killed.

    Only for the case that director and guard were killed together. Takes some 10 µs for each process of
    this user, and waits for the ends, two seconds at most.

    Parameters
    ----------
    marker
        The marker of this run. Runs whose director is still alive are left alone: their database is a copy
        of ours, or ours a copy of theirs.
    """
    database = marker.rpartition(".")[0]
    ours = _lineage()
    names: list[str] = []
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        # Again and again, because what was about to fork while we looked has a child that we did not see.
        ends = _sweep_once(database, ours, names)
        if not ends:
            break
        with selectors.DefaultSelector() as selector:
            for fd in ends:
                selector.register(fd, selectors.EVENT_READ)
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    selector.unregister(key.fd)
        for fd in ends:
            os.close(fd)
    return tuple(names)


def _sweep_once(database: str, ours: set[int], names: list[str]) -> list[int]:
    """Kill once; return a pidfd of each process that was killed."""
    user = os.geteuid()
    ends: list[int] = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in ours:
            continue
        pid = int(entry.name)
        try:
            if entry.stat().st_uid != user or not _is_left(pid, database):
                continue
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        found = look(pid)
        # Looked at again now that the number cannot go to another process unnoticed.
        if found is None or found.state == "Z" or not _is_left(pid, database):
            os.close(fd)
            continue
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except OSError:
            os.close(fd)
            continue
        names.append(found.name)
        ends.append(fd)
    return ends


def _is_left(pid: int, database: str) -> bool:
    """Whether a process carries the marker of a run of this database whose director is gone."""
    run = environment_word(pid, RUN_VARIABLE) or ""
    start, dot, director = run.rpartition(".")
    number, dash, born = director.partition("-")
    if start != database or not dot or not dash or not number.isdigit():
        return False
    found = look(int(number))
    return found is None or str(found.born) != born or found.state == "Z"


def _lineage() -> set[int]:
    """Return the numbers of this process and of all it descends from."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        seen = look(pid)
        pid = seen.parent if seen else 0
    return found


def watch_parent(reactor: Reactor, call: Callable[[], None], parent: int) -> None:
    """Call a function once the parent has ended, at once where it has already.

    Parameters
    ----------
    parent
        Number of the process that forked this one, taken before the fork.
    """
    try:
        fd = os.pidfd_open(parent)
    except ProcessLookupError:
        call()
        return

    def end() -> None:
        reactor.unwatch(fd)
        os.close(fd)
        call()

    reactor.watch(fd, selectors.EVENT_READ, end)
    # Only now is it sure that the descriptor is the parent's: its number was its own until here.
    if os.getppid() != parent:
        end()


def _find(name: str, path: str) -> str:
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


_TRANSIENT = {
    errno.EAGAIN: "the system refused a new process (a limit on their number?)",
    errno.ENOMEM: "there is no memory for a new process",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open on this machine",
    errno.ETXTBSY: "its program is being written by another process",
}


def oom_kills() -> int:
    """Return how many processes the system has killed here, so far, because memory ran out."""
    for path in _OOM_COUNTERS:
        try:
            with open(path, "rb", buffering=0) as file:
                lines = file.read().split(b"\n")
        except OSError:
            continue
        for line in lines:
            key, _, number = line.partition(b" ")
            if key == b"oom_kill":
                return int(number)
    return 0


def is_transient(error: Exception) -> bool:
    """Whether the machine may have room later."""
    return isinstance(error, OSError) and error.errno in _TRANSIENT


def _cwd_words(error: Exception, cwd: str) -> tuple[str, bool]:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT:
        return f"its directory '{cwd}' is not there; create it, or give another --workdir", False
    if number == errno.ENOTDIR:
        return f"'{cwd}' is not a directory; give another --workdir", False
    if number == errno.EACCES:
        return f"its directory '{cwd}' may not be entered: permission denied", False
    return f"its directory '{cwd}' cannot be used: {_plain(error)}", is_transient(error)


def spawn_words(error: Exception, program: str) -> tuple[str, bool]:
    """Return why a command could not be started, and whether that may pass."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _TRANSIENT:
        return f"{_TRANSIENT[number]}: {_plain(error)}", True
    if number == errno.ENOENT:
        if "/" in program and os.path.lexists(program):
            return f"the interpreter that the first line of '{program}' names is not there", False
        return f"there is no command '{program}'; check its spelling and the PATH", False
    if number == errno.EACCES:
        return f"'{program}' may not be executed: permission denied; try chmod +x", False
    if number == errno.ENOTDIR:
        return f"there is no command '{program}': a part of its path is not a directory", False
    if number == errno.ENOEXEC:
        return f"'{program}' is neither a program nor a script with a first line like #!/bin/sh", False
    if number == errno.E2BIG:
        return "its command line or its environment is too long; pass long lists by a file", False
    return f"'{program}' cannot be started: {_plain(error)}", False


def _plain(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
