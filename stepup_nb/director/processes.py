"""Processes as Linux shows them: who descends from whom, and how to signal none but who is meant.

Knows nothing of jobs (`local`) and starts nothing (`spawn`). A process that is our own child keeps its
number until we reap it, so it may be signalled by number. Every other one is held by a pidfd first and
looked at again.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from stepup_nb.director.reactor import READ, Reactor

RUN_VARIABLE = "STEPUP_NB_RUN"
JOB_VARIABLE = "STEPUP_NB_JOB"

_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

_PAGE = os.sysconf("SC_PAGE_SIZE")

# The container's own counter where it has one; the machine's also counts the neighbours'. That of the first
# version of control groups is left out: it does not count what groups below have lost.
_OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/proc/vmstat")


class Look(NamedTuple):
    """What ``/proc/PID/stat`` says of a process."""

    name: str
    state: str
    parent: int
    group: int
    session: int
    ticks: int
    """Clock ticks of processor time that it has had."""
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
        int(words[3]),
        int(words[11]) + int(words[12]),
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
    """Signal a process that was found below this parent, unless it belongs to the group."""
    us = os.getpid()
    if parent == us:
        found = look(pid)
        if found is not None and found.group != except_group:
            send_child(pid, number)
        return
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # Between the reading of the number and now it may have gone to a stranger. One that has become our
        # own child because its parent died is still meant.
        found = look(pid)
        if found is not None and found.parent in (parent, us) and found.group != except_group:
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


def environment(pid: int) -> dict[str, str]:
    """Return the variables that a process was started with; none where they cannot be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return {}
    return {name: value for name, sign, value in (word.partition("=") for word in text.split("\0")) if sign}


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
    run = environment(pid).get(RUN_VARIABLE, "")
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

    reactor.watch(fd, READ, end)
    # Only now is it sure that the descriptor is the parent's: its number was its own until here.
    if os.getppid() != parent:
        end()


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
