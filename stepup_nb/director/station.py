"""Runs jobs beside a worker of a cluster: the executor of this machine, at the end of a line to the worker.

Below a guard of its own, so that no process of any job outlives the worker. Knows nothing of Dask, steps or pools.

On the line go frames. In: ``{"op": "start", "job", "argv", "cwd", "env"}`` and ``{"op": "stop", "job"}``. Out, with
the number of the job: ``{"is": "started", "at"}`` or ``{"is": "refused", "words", "is_transient", "is_full"}``; then
``{"is": "output", "totals", "tails"}`` a few times a second while it writes; in the end ``{"is": "ended"}`` with the
fields of `JobEnded`, ``totals`` and ``lines`` of its output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import socket
from contextlib import ExitStack
from typing import Any

from stepup_nb.core.frames import Frames, frame
from stepup_nb.core.messages import JobEnded, JobNotStarted
from stepup_nb.director import processes
from stepup_nb.director.executor import CannotStart
from stepup_nb.director.local import LocalExecutor
from stepup_nb.director.output import LogFolder
from stepup_nb.director.reactor import Reactor, steady_clock

TELL_EVERY = 0.25
"""Seconds between two messages on what one job writes."""
TOLD = 2048
"""Bytes of the end of each stream in such a message."""


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
    """

    def __init__(
        self, reactor: Reactor, line: socket.socket, *, logs: str, cap: int, grace: float, marker: str
    ) -> None:
        self.is_ending = False
        self._reactor = reactor
        self._line = line
        self._frames = Frames()
        self._clock = steady_clock()
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
        reactor.watch(line.fileno(), selectors.EVENT_READ, self._read)

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
            else:
                self._start(order)
        if not data:
            self.end()

    def _start(self, order: dict[str, Any]) -> None:
        job = order["job"]
        try:
            self.executor.start(job, order["argv"], order["cwd"], order["env"])
        except CannotStart as cannot:
            self._say(
                job, "refused", words=cannot.words, is_transient=cannot.is_transient, is_full=cannot.is_full
            )
        else:
            self._say(job, "started", at=self._clock())

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
        fields = {name: value for name, value in dataclasses.asdict(report).items() if name != "job"}
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
        ends.callback(station.executor.close)
        processes.watch_parent(reactor, station.end, guard)
        station.run()
    return 0
