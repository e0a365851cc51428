"""Keeps interpreters that have started already and only wait to become a Python step; see `stepup_nb.plan.warm`.

One server for each set of variables that Python steps are started with, from the second such step on. Whatever is not
as it should be (a server that is slow, stopped, dead or not fit, an interpreter that has changed) means that a step is
started afresh, as every other command; nothing waits for a server.
"""

from __future__ import annotations

import array
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from stepup_nb.director import processes
from stepup_nb.director.executor import CannotStart
from stepup_nb.director.reactor import Reactor, Timer
from stepup_nb.director.spawn import NO_JOB, Spawner

SPARES = 8
"""Processes that wait at most, for each set of variables."""

_SERVERS = 3
"""Sets of variables that there are processes for: the one that was used least lately makes room."""
_FIRST = 2
"""Python steps of one set of variables that are started afresh before there is a server: one plan is worth none."""
_IDLE = 60.0
"""Seconds without a Python step after which all are sent home."""
_CHANCES = 3
"""Servers that may end by themselves, or find something changed, before none is tried any more."""
_REMEMBERED = 64
"""Sets of variables of which is known how often they were used."""
_WORTH = 20
"""Steps after which a server was worth it, whatever became of it then."""
_TICK = 20_000_000
"""Nanoseconds by which files may be stamped too early."""
_SOON = 0.2
_LIMIT = 100_000
"""Bytes of a step's words and variables; more goes the other way."""

_ASK = "--wait-for-steps"
_NAME = "stepup-warm"
_OWN = frozenset({"HERE", "ROOT", "STEPUP_NB_TOKEN", "STEPUP_STEP_I", processes.JOB_VARIABLE})
_OWN_PREFIX = "STEPUP_POOL_"
"""Variables that each step has its own value of: an interpreter that starts takes no notice of them."""

Kind = tuple[tuple[str, str], ...]
"""The variables that steps share, in order."""
_Origin = tuple[int, int, int, int] | None


class Keeper(Protocol):
    """Who watches descriptors and reaps children: the executor."""

    def own(self, pid: int, fd: int, call: Callable[[], None]) -> None:
        """Know a process as one of ours that is no job's, and call when its descriptor is ready."""

    def disown(self, fd: int) -> None:
        """Watch a descriptor no longer."""

    def bury(self, pid: int) -> None:
        """Reap a process that has ended."""

    def adopt(self) -> None:
        """Look for processes whose parents have ended."""


class _Spare(NamedTuple):
    """A process that waits for its step."""

    pid: int
    pidfd: int
    door: socket.socket


@dataclass(eq=False, slots=True)
class _Server:
    kind: Kind
    pid: int
    pidfd: int
    control: socket.socket
    began: int
    """Nanoseconds since the epoch."""
    used: float
    """When a step last asked for it, by the monotonic clock."""
    origins: dict[str, _Origin] | None = None
    """What it has started from; None until it is ready."""
    folders: dict[str, tuple[_Origin, dict[str, _Origin]]] = field(default_factory=dict)
    """Those on Python's path in which others write, too, and what in each would change how it starts."""
    is_asked: bool = False
    """It is about to send spares."""
    served: int = 0
    spares: dict[int, _Spare] = field(default_factory=dict)


@dataclass(slots=True)
class _Past:
    """What is remembered of a set of variables."""

    steps: int = 0
    failures: int = 0
    unfit: str = ""
    """Why its steps are always started afresh."""


class Warm:
    """Starts Python steps in processes that wait for them.

    Parameters
    ----------
    reactor
        The loop, for its timers.
    keeper
        Watches and reaps.
    spawner
        Starts servers, and marks processes.
    command
        The words that a Python step begins with, interpreter and runner; none: there is nothing to be warm for.
    is_on
        False: everything is started afresh.
    """

    def __init__(
        self, reactor: Reactor, keeper: Keeper, spawner: Spawner, command: Sequence[str], *, is_on: bool
    ) -> None:
        self._reactor = reactor
        self._keeper = keeper
        self._spawner = spawner
        self._command = tuple(command)
        self._is_on = is_on
        self._servers: dict[Kind, _Server] = {}
        self._past: dict[Kind, _Past] = {}
        self._ends: set[int] = set()
        """All pidfds that are ours to close."""
        self._timer: Timer | None = None
        self.count = 0
        """Steps that were started here."""

    def use(self, is_on: bool) -> None:
        """Start steps here from now on, or afresh."""
        self._is_on = is_on
        if not is_on:
            self.make_room()

    def make_room(self) -> None:
        """Send everybody home: there is no room on this machine for a process that has something to do."""
        for server in list(self._servers.values()):
            self._retire(server)

    @property
    def pids(self) -> dict[int, list[int]]:
        """The servers, each with those that wait for it."""
        return {server.pid: list(server.spares) for server in self._servers.values()}

    @property
    def reasons(self) -> list[str]:
        """Why steps of some sets of variables are always started afresh."""
        return [past.unfit for past in self._past.values() if past.unfit]

    # --- steps ----------------------------------------------------------------------------------

    def start(
        self, argv: Sequence[str], cwd: str, env: Mapping[str, str], job: int, stdout: int, stderr: int
    ) -> tuple[int, int] | None:
        """Start a Python step; return its process and a pidfd of it, or None where it has to be started afresh."""
        if not self._is_on or not self._command or tuple(argv[:2]) != self._command:
            return None
        kind, own = _taken_apart(env)
        server = self._servers.get(kind)
        if server is None:
            self._consider(kind)
            return None
        server.used = time.monotonic()
        if server.origins is None:
            return None
        if not _is_as_it_was(server):
            self._fail(server, "what Python starts from changes all the time")
            return None
        message = b"\0".join([b"%d" % len(argv[2:]), *map(os.fsencode, argv[2:]), *map(os.fsencode, own)])
        if len(message) > _LIMIT:
            return None
        try:
            folder = self._spawner.enter(cwd)
        except CannotStart:
            # Who starts it afresh finds the words for that.
            return None
        try:
            return self._hand_over(server, message, job, (stdout, stderr, folder))
        finally:
            os.close(folder)
            self._ask(server)

    def _hand_over(
        self, server: _Server, message: bytes, job: int, fds: tuple[int, int, int]
    ) -> tuple[int, int] | None:
        while server.spares:
            spare = server.spares.pop(next(iter(server.spares)))
            # That it was killed a dead one's door may not tell: the server still has it open for a moment.
            if os.waitid(os.P_PIDFD, spare.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                spare.door.close()
                continue
            self._spawner.mark(spare.pid, job)
            try:
                # From here on it is the step's; what could not be sent as a whole was not sent at all.
                _send(spare.door, message, fds)
            except OSError:
                self._send_home(spare)
                continue
            spare.door.close()
            self._keeper.disown(spare.pidfd)
            self._ends.discard(spare.pidfd)
            self.count += 1
            server.served += 1
            return spare.pid, spare.pidfd
        return None

    # --- servers --------------------------------------------------------------------------------

    def _consider(self, kind: Kind) -> None:
        """Take note of a step that has no server, and start one where that is worth it."""
        past = self._past.pop(kind, None) or _Past()
        self._past[kind] = past
        if len(self._past) > _REMEMBERED:
            del self._past[next(iter(self._past))]
        past.steps += 1
        if past.unfit or past.steps < _FIRST:
            return
        past.steps = 0
        if len(self._servers) >= _SERVERS:
            self._retire(min(self._servers.values(), key=lambda server: server.used))
        try:
            self._serve(kind)
        except (CannotStart, OSError):
            # No room; there may be some at the next step.
            pass

    def _serve(self, kind: Kind) -> None:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # As the streams of steps are, since what Python finds out about them at its start stays.
        heard, told = os.pipe2(os.O_CLOEXEC)
        try:
            began = time.time_ns()
            shared = {**dict(kind), processes.JOB_VARIABLE: str(NO_JOB)}
            words = [*self._command, _ASK, "3"]
            pid = self._spawner.start(words, "/", shared, NO_JOB, told, told, theirs.fileno())
        except BaseException:
            control.close()
            raise
        finally:
            theirs.close()
            os.close(heard)
            os.close(told)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            # It ends by itself, and is reaped as whoever turns up among our children.
            control.close()
            raise
        server = _Server(kind, pid, pidfd, control, began, time.monotonic())
        self._servers[kind] = server
        self._ends.add(pidfd)
        self._keeper.own(pid, pidfd, partial(self._on_server_end, server))
        self._keeper.own(pid, control.fileno(), partial(self._on_word, server))
        if self._timer is None:
            self._timer = self._reactor.call_after(_IDLE, self._tidy)

    def _ask(self, server: _Server) -> None:
        """Have it fork, as long as there are few."""
        if (
            server.is_asked
            or len(server.spares) > SPARES // 2
            or self._servers.get(server.kind) is not server
        ):
            return
        try:
            server.control.send(b"%d" % (SPARES - len(server.spares)), socket.MSG_DONTWAIT)
            server.is_asked = True
        except OSError:
            # Its end is told by its pidfd.
            pass

    def _on_word(self, server: _Server) -> None:
        while self._servers.get(server.kind) is server:
            try:
                text, fds = _receive(server.control)
            except BlockingIOError:
                return
            except OSError:
                text, fds = b"", []
            word, _, rest = text.partition(b"\0")
            if word == b"spare":
                self._take(server, int(rest), fds)
            elif word == b"done":
                server.is_asked = False
            elif word == b"ready":
                paths, folders, names = (
                    [os.fsdecode(path) for path in group.split(b"\0") if path]
                    for group in rest[1:].split(b"\0\0")
                )
                self._on_ready(server, paths, folders, names)
            elif word == b"unfit":
                self._give_up(server, rest.decode(errors="replace"))
            else:
                self._keeper.disown(server.control.fileno())
                return

    def _on_ready(self, server: _Server, paths: list[str], folders: list[str], names: list[str]) -> None:
        server.origins = {path: _origin(path) for path in paths}
        for folder in folders:
            found = _origin(folder)
            server.folders[folder] = found, {path: _origin(path) for path in _joined(folder, names)}
        seen = [server.origins, *(inside for _, inside in server.folders.values())]
        newest = max(
            (origin[3] for some in seen for origin in some.values() if origin is not None), default=0
        )
        if newest > server.began - _TICK:
            # It may have read what was there before.
            self._fail(server, "what Python starts from changes all the time")
        else:
            self._ask(server)

    def _take(self, server: _Server, pid: int, fds: list[int]) -> None:
        """Take a new spare."""
        if not fds:
            # No descriptor was left for it. It ends by itself, and is reaped with whoever turns up.
            return
        door = socket.socket(fileno=fds[0])
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            door.close()
            return
        found = processes.look(pid)
        if found is None or found.parent != os.getpid() or found.name != _NAME:
            # It has died and was reaped, and its number is another one's now.
            os.close(pidfd)
            door.close()
            return
        spare = server.spares[pid] = _Spare(pid, pidfd, door)
        self._ends.add(pidfd)
        self._keeper.own(pid, pidfd, partial(self._on_spare_end, server, spare))

    # --- ends -----------------------------------------------------------------------------------

    def _on_spare_end(self, server: _Server, spare: _Spare) -> None:
        server.spares.pop(spare.pid, None)
        spare.door.close()
        self._end(spare.pid, spare.pidfd)

    def _on_server_end(self, server: _Server) -> None:
        self._end(server.pid, server.pidfd)
        # Spares that we have not heard of end now, and nobody tells.
        self._reactor.call_after(_SOON, self._keeper.adopt)
        if self._servers.get(server.kind) is server:
            self._fail(server, "those that wait for steps end by themselves", is_dead=True)

    def _end(self, pid: int, pidfd: int) -> None:
        self._keeper.disown(pidfd)
        self._ends.discard(pidfd)
        os.close(pidfd)
        self._keeper.bury(pid)

    def _send_home(self, spare: _Spare) -> None:
        # Ours until it is reaped, and that is done when its pidfd says so.
        processes.send_child(spare.pid, signal.SIGKILL)
        spare.door.close()

    def _retire(self, server: _Server, *, is_dead: bool = False) -> None:
        del self._servers[server.kind]
        self._keeper.disown(server.control.fileno())
        server.control.close()
        if not is_dead:
            processes.send_child(server.pid, signal.SIGKILL)
        for spare in server.spares.values():
            self._send_home(spare)
        server.spares.clear()

    def _fail(self, server: _Server, words: str, *, is_dead: bool = False) -> None:
        """Do without a server; and without another one, if this happens again and again."""
        self._retire(server, is_dead=is_dead)
        past = self._past.setdefault(server.kind, _Past())
        past.failures = 1 if server.served > _WORTH else past.failures + 1
        if past.failures >= _CHANCES:
            past.unfit = words

    def _give_up(self, server: _Server, words: str) -> None:
        self._retire(server)
        self._past.setdefault(server.kind, _Past()).unfit = words

    def _tidy(self) -> None:
        """Send home what nobody has needed for a while."""
        now = time.monotonic()
        for server in list(self._servers.values()):
            if now - server.used >= _IDLE:
                self._retire(server)
        self._timer = self._reactor.call_after(_IDLE, self._tidy) if self._servers else None

    def close(self) -> None:
        """Give back all descriptors; the processes have been killed."""
        for server in self._servers.values():
            self._keeper.disown(server.control.fileno())
            server.control.close()
            for spare in server.spares.values():
                spare.door.close()
        self._servers.clear()
        for fd in self._ends:
            self._keeper.disown(fd)
            os.close(fd)
        self._ends.clear()
        if self._timer is not None:
            self._timer.cancel()


def _taken_apart(env: Mapping[str, str]) -> tuple[Kind, list[str]]:
    """Return the variables that steps share, and a step's own, each after its place among all and a colon."""
    shared, own = [], []
    for place, item in enumerate(env.items()):
        if item[0] in _OWN or item[0].startswith(_OWN_PREFIX):
            own.append(f"{place}:{item[0]}={item[1]}")
        else:
            shared.append(item)
    return tuple(shared), own


# Not `socket.send_fds` and `recv_fds`: Python 3.11 takes their flags and forgets them.
def _send(sock: socket.socket, message: bytes, fds: Sequence[int]) -> None:
    numbers = array.array("i", fds)
    sock.sendmsg(
        [message],
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)],
        socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL,
    )


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    numbers = array.array("i")
    room = socket.CMSG_SPACE(numbers.itemsize)
    text, more, _, _ = sock.recvmsg(1 << 16, room, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    for _, _, given in more:
        numbers.frombytes(given[: len(given) - len(given) % numbers.itemsize])
    return text, list(numbers)


def _joined(folder: str, names: Iterable[str]) -> list[str]:
    return [os.path.join(folder, name) for name in names]


def _is_as_it_was(server: _Server) -> bool:
    """Whether a fresh interpreter would start as the server has."""
    assert server.origins is not None
    if any(_origin(path) != origin for path, origin in server.origins.items()):
        return False
    for folder, (before, inside) in server.folders.items():
        now = _origin(folder)
        if now != before:
            if any(_origin(path) != origin for path, origin in inside.items()):
                return False
            server.folders[folder] = now, inside
    return True


def _origin(path: str) -> _Origin:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
