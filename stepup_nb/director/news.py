"""Tells subscribers what has changed: coalesced, bounded, a few times a second; and keeps the log lines.

Knows nothing of requests: who asks for the whole gets it elsewhere (`queries`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from stepup_nb.core import view
from stepup_nb.core.messages import Decision, LogLine
from stepup_nb.core.model import CANCELLED, FAILED, SUCCEEDED, Job, Step
from stepup_nb.core.scheduler import Scheduler
from stepup_nb.director.reactor import Reactor, Timer
from stepup_nb.director.server import Server

TELL_EVERY = 0.05
"""Seconds between two events to a subscriber."""
TELL_ROWS = 250
"""Rows of steps in one event."""
TELL_BYTES = 1 << 20
"""Characters of commands and outputs in one event, beyond which the other rows wait for the next one."""
LINES_KEPT = 5000
"""Log lines that are kept for clients that come late or cannot keep up."""
LINES = 200
"""Log lines in one answer or event."""
SAID = 200
"""Sentences in one event: the newest."""
LINE_WORDS = 2000
"""Characters of a command or a reason in a log line."""


@dataclass(slots=True)
class _Untold:
    """What subscribers have not been told yet."""

    steps: dict[str, None] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    pools: dict[str, None] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    said: list[tuple[float, str]] = field(default_factory=list)
    """When, and what."""
    has_settings: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.steps or self.gone or self.pools or self.jobs or self.lines or self.said or self.has_settings
        )


class News:
    """What is new, for those who follow.

    Parameters
    ----------
    reactor
        Whose thread everything here belongs to.
    scheduler
        Whose state is told.
    server
        Its subscribers are told.
    clock
        Seconds since the epoch.
    row
        Makes the row of a step.
    notes
        Tells what there is to be said about the session.
    """

    def __init__(
        self,
        reactor: Reactor,
        scheduler: Scheduler,
        server: Server,
        clock: Callable[[], float],
        row: Callable[[Step], dict[str, Any]],
        notes: Callable[[], list[str]],
    ) -> None:
        self._reactor = reactor
        self._scheduler = scheduler
        self._server = server
        self._clock = clock
        self._row = row
        self._notes = notes
        self._untold = _Untold()
        self._lines: deque[dict[str, Any]] = deque(maxlen=LINES_KEPT)
        self._last_line = 0
        self._timer: Timer | None = None

    def take(self, decision: Decision) -> None:
        """Take over what a turn decided, to be told soon."""
        lines = self._written(decision) if decision.lines else []
        if decision.said:
            now = self._clock()
            self._untold.said = [*self._untold.said, *((now, words) for words in decision.said)][-SAID:]
        if not self._server.has_subscribers():
            # Whoever wants sentences is about to subscribe: a director that replaces another is not followed yet.
            if self._untold:
                self._untold = _Untold(said=self._untold.said)
            return
        untold = self._untold
        untold.steps.update(dict.fromkeys(decision.steps))
        untold.gone.update(dict.fromkeys(decision.forgotten))
        untold.pools.update(dict.fromkeys(decision.pools))
        untold.jobs.update(decision.jobs)
        for dropped in decision.dropped_jobs:
            untold.jobs.pop(dropped, None)
        untold.lines += lines
        untold.has_settings = untold.has_settings or decision.settings
        self._tell_soon()

    def wrote(self, job: int) -> None:
        """Have the row of a job's step told, because the job wrote something."""
        live = self._scheduler.jobs.get(job)
        if live is not None and self._server.has_subscribers():
            self._untold.steps[live.step] = None
            self._tell_soon()

    def stir(self) -> None:
        """Have something told soon: a note is new, or a subscriber is to see that it missed an event."""
        self._untold.has_settings = True
        self._tell_soon()

    def tell_all(self) -> None:
        """Tell now what was to be told soon."""
        while self._untold:
            self._tell()

    def lines_since(self, since: int) -> dict[str, Any]:
        """Return the oldest log lines after a number, from those that are kept."""
        first = self._lines[0]["number"] if self._lines else since + 1
        start = max(0, since + 1 - first)
        return {
            "lines": list(islice(self._lines, start, start + LINES)),
            "missed": max(0, first - since - 1),
            "phase": self._scheduler.phase,
            "ending": self._scheduler.ending,
        }

    def _written(self, decision: Decision) -> list[dict[str, Any]]:
        """Write lines down as things are now: when somebody reads them, their steps may have moved on."""
        scheduler = self._scheduler
        counts = scheduler.counts
        now = {
            "at": self._clock(),
            "done": counts[SUCCEEDED],
            "total": sum(counts.values())
            - counts[FAILED]
            - counts[CANCELLED]
            - scheduler.number_of_idle_options(),
        }
        lines = [self._line(line, decision.jobs.get(line.job or 0), now) for line in decision.lines]
        self._lines += lines
        return lines

    def _line(self, line: LogLine, job: Job | None, now: dict[str, Any]) -> dict[str, Any]:
        step = self._scheduler.graph.steps.get(line.step)
        self._last_line += 1
        written = {
            "number": self._last_line,
            "tag": line.tag,
            "step": line.step,
            "label": (step.label if step is not None else line.step)[:LINE_WORDS],
            "key": line.step[:LINE_WORDS],
            "job": line.job,
            **now,
        }
        if line.pages:
            written["pages"] = [(title, text[: 10 * LINE_WORDS]) for title, text in line.pages]
        if line.tag in ("FAIL", "RESCHEDULE") and step is not None:
            written["command"] = step.spec.command[:LINE_WORDS]
            written["workdir"] = step.spec.workdir
            written["reason"] = step.reason[:LINE_WORDS]
        if job is not None:
            written["returncode"] = job.returncode
            written["notes"] = view.notes(job)
        return written

    def _tell_soon(self) -> None:
        if self._untold and self._timer is None:
            self._timer = self._reactor.call_after(TELL_EVERY, self._tell)

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        untold, scheduler = self._untold, self._scheduler
        rows: list[dict[str, Any]] = []
        size = 0
        for key in list(untold.steps):
            if len(rows) >= TELL_ROWS or size > TELL_BYTES:
                break
            del untold.steps[key]
            step = scheduler.graph.steps.get(key)
            if step is not None:
                row = self._row(step)
                size += 3 * len(row["command"]) + len(row["stdout_tail"]) + len(row["stderr_tail"])
                rows.append(row)
        self._server.tell(
            {
                "event": "changes",
                "at": self._clock(),
                "steps": rows,
                "gone": [key for key in untold.gone if key not in scheduler.graph.steps],
                "pools": [view.pool_row(scheduler, pool) for pool in scheduler.pools.defined()],
                "counts": view.counts(scheduler),
                "workers": scheduler.pools.limit,
                "paused": scheduler.pools.is_paused,
                "draining": scheduler.pools.is_draining,
                "phase": scheduler.phase,
                "ending": scheduler.ending,
                "notes": self._notes(),
                "jobs": [view.job_row(job) for job in islice(untold.jobs.values(), TELL_ROWS)],
                "lines": untold.lines[:LINES],
                "said": untold.said,
            }
        )
        jobs = dict(islice(untold.jobs.items(), TELL_ROWS, None))
        self._untold = _Untold(steps=untold.steps, jobs=jobs, lines=untold.lines[LINES:])
        self._tell_soon()
