"""Runs jobs beside a worker of a cluster: the executor of this machine, at the end of a line to the worker.

Below a guard of its own, so that no process of any job outlives the worker. Knows nothing of Dask, steps or pools.

On the line go frames. In: ``{"op": "start", "job", "argv", "cwd", "env"}`` and ``{"op": "stop", "job"}``. Out, with
the number of the job: ``{"is": "started", "at"}`` or ``{"is": "refused", "words", "is_transient", "is_full"}``; then
``{"is": "output", "totals", "tails"}`` a few times a second while it writes; in the end ``{"is": "ended"}`` with the
fields of `JobEnded`, ``totals`` and ``lines`` of its output. Both ways, ``{"op" or "is": "talk", "call", "data"}``:
what a job and its director say to each other where the director's socket is on another machine; no data ends it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from stepup_nb.core.frames import Frames, frame
from stepup_nb.core.messages import JobEnded, JobNotStarted
from stepup_nb.director import processes
from stepup_nb.director.executor import CannotStart
from stepup_nb.director.local import LocalExecutor
from stepup_nb.director.output import LogFolder
from stepup_nb.director.reactor import READ, Reactor, steady_clock

DOOR = "STEPUP_DIRECTOR_SOCKET"
"""Tells a job where its director is."""
TELL_EVERY = 0.25
"""Seconds between two messages on what one job writes."""
TOLD = 2048
"""Bytes of the end of each stream in such a message."""


class Relay:
    """A socket that stands for the director's, on a machine where that one is not.

    Parameters
    ----------
    reactor
        The loop.
    say
        Takes the number of a call and what a job has said, nothing when it has hung up.
    """

    def __init__(self, reactor: Reactor, say: Callable[[int, bytes], None]) -> None:
        self._reactor = reactor
        self._say = say
        self._calls: dict[int, socket.socket] = {}
        self._count = 0
        # 0700, and short enough for a socket's path.
        self._folder = tempfile.mkdtemp(prefix="stepup-nb-", dir="/tmp")
        self.path = os.path.join(self._folder, "socket")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(64)
        reactor.watch(self._listener.fileno(), READ, self._accept)

    def hear(self, call: int, data: bytes) -> None:
        """Hand on what the director says, or that it has hung up."""
        line = self._calls.get(call)
        if line is None:
            return
        try:
            if data:
                line.sendall(data)
                return
        except OSError:
            pass
        self._hang_up(call)

    def close(self) -> None:
        """Hang up, and remove the socket."""
        for call in list(self._calls):
            self._hang_up(call)
        self._reactor.unwatch(self._listener.fileno())
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        line, _ = self._listener.accept()
        # A job that does not read its answers shall not keep the others waiting for long.
        line.settimeout(1.0)
        self._count += 1
        call = self._count
        self._calls[call] = line
        self._reactor.watch(line.fileno(), READ, lambda: self._read(call, line))

    def _read(self, call: int, line: socket.socket) -> None:
        try:
            data = line.recv(1 << 16)
        except OSError:
            data = b""
        self._say(call, data)
        if not data:
            self._hang_up(call)

    def _hang_up(self, call: int) -> None:
        line = self._calls.pop(call, None)
        if line is not None:
            self._reactor.unwatch(line.fileno())
            line.close()


class Station:
    """The far end of the line.

    Parameters
    ----------
    reactor
        The loop.
    line
        A stream socket; when the worker closes it, this station ends.
    logs
        Folder of the logs, the same as on the director's machine.
    cap, grace
        See `LogFolder` and `LocalExecutor`.
    marker
        The run of the director.
    is_far
        Whether the director's socket is out of reach even if a path says otherwise: for tests.
    """

    def __init__(
        self,
        reactor: Reactor,
        line: socket.socket,
        *,
        logs: str,
        cap: int,
        grace: float,
        marker: str,
        is_far: bool = False,
    ) -> None:
        self.is_ending = False
        self._reactor = reactor
        self._line = line
        self._frames = Frames()
        self._clock = steady_clock()
        self._is_far = is_far
        self._relay: Relay | None = None
        self._writers: set[int] = set()
        """Jobs that wrote something since the last message about them."""
        self.executor = LocalExecutor(
            reactor,
            self._report,
            logs=LogFolder(logs, cap),
            marker=marker,
            clock=self._clock,
            on_output=self._wrote,
            grace=grace,
        )
        # Sending waits for the worker, whose only task on this line is to read.
        line.setblocking(True)
        reactor.watch(line.fileno(), READ, self._read)

    def end(self) -> None:
        """Make the current turn the last one."""
        self.is_ending = True

    def run(self) -> None:
        """Turn until the worker or the guard is gone."""
        while not self.is_ending:
            self._reactor.turn()

    def _read(self) -> None:
        try:
            data = self._line.recv(1 << 16)
            orders = self._frames.feed(data)
        except (OSError, ValueError):
            data, orders = b"", []
        for order in orders:
            if order["op"] == "stop":
                self.executor.stop(order["job"])
            elif order["op"] == "talk":
                if self._relay is not None:
                    self._relay.hear(order["call"], order["data"].encode("latin-1"))
            else:
                self._start(order)
        if not data:
            self.end()

    def _start(self, order: dict[str, Any]) -> None:
        job = order["job"]
        try:
            self.executor.start(job, order["argv"], order["cwd"], self._with_door(order["env"]))
        except CannotStart as cannot:
            self._say(
                job, "refused", words=cannot.words, is_transient=cannot.is_transient, is_full=cannot.is_full
            )
        else:
            self._say(job, "started", at=self._clock())

    def _with_door(self, env: dict[str, str]) -> dict[str, str]:
        """Return a job's environment with a socket that is here."""
        if DOOR not in env or (not self._is_far and os.path.exists(env[DOOR])):
            return env
        if self._relay is None:
            self._relay = Relay(self._reactor, self._talk)
        return {**env, DOOR: self._relay.path}

    def _talk(self, call: int, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._line.sendall(frame({"is": "talk", "call": call, "data": data.decode("latin-1")}))

    def close(self) -> None:
        """End all jobs, and let go of everything."""
        self.executor.close()
        if self._relay is not None:
            self._relay.close()

    def _wrote(self, job: int) -> None:
        if job not in self._writers:
            self._writers.add(job)
            self._reactor.call_after(TELL_EVERY, lambda: self._tell(job))

    def _tell(self, job: int) -> None:
        if job in self._writers:
            self._writers.discard(job)
            self._say(job, "output", **self._written(job))

    def _written(self, job: int) -> dict[str, Any]:
        sums = self.executor.sums(job)
        return {
            "totals": sums.totals,
            "lines": sums.lines,
            "tails": [tail[-TOLD:] for tail in self.executor.tail(job)],
        }

    def _report(self, report: JobEnded | JobNotStarted) -> None:
        self._writers.discard(report.job)
        fields = {name: value for name, value in report._asdict().items() if name != "job"}
        self._say(report.job, "ended", **fields, **self._written(report.job))

    def _say(self, job: int, what: str, **fields: Any) -> None:
        # A worker that is gone ends this process soon enough.
        with contextlib.suppress(OSError):
            self._line.sendall(frame({"job": job, "is": what, **fields}))


def main(given: dict[str, Any]) -> int:
    """Run as the process that a guard forked; return the exit status.

    ``line`` is the number of an inherited descriptor; the others are the parameters of `Station`.
    """
    guard, line = given.pop("guard"), socket.socket(fileno=given.pop("line"))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    # What goes wrong here is told where the worker's own troubles are.
    os.dup2(null, 0)
    os.dup2(null, 1)
    with ExitStack() as ends:
        reactor = Reactor()
        ends.callback(reactor.close)
        station = Station(reactor, line, **given)
        ends.callback(station.close)
        processes.watch_parent(reactor, station.end, guard)
        station.run()
    return 0
