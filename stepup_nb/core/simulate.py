"""The scheduler under a virtual clock: how long would these steps take, with other pools and workers?

Runs the real `Scheduler` over known durations, so that its decisions are the real ones: priority, critical path, order
of declaration, reservations, all slots at once or none. Knows nothing of processes and disks: every command succeeds
after its time, and every file is as its step made it.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, Generic, TypeVar

from stepup_nb.core import bounds, view
from stepup_nb.core.critical import CriticalPath
from stepup_nb.core.graph import Graph
from stepup_nb.core.messages import (
    CloseScope,
    Decision,
    Declare,
    DefinePool,
    DropPool,
    JobEnded,
    Message,
    OpenScope,
    Rerun,
    SetPhase,
    SetWorkers,
)
from stepup_nb.core.model import Content, Glob, Job, Outcome, ScopeKind, Step, StepSpec
from stepup_nb.core.moving import RUN, STARTUP, Looking
from stepup_nb.core.scheduler import Scheduler
from stepup_nb.core.workload import Work, Workload

T = TypeVar("T")


class Agenda(Generic[T]):
    """What is to come, by its time; what is to come at one time, in the order in which it was put down."""

    def __init__(self) -> None:
        self._now = -math.inf
        self._soon: deque[T] = deque()
        """What was put down for this very moment: it comes behind all that was put down for it earlier."""
        self._later: list[tuple[float, int, T]] = []
        self._numbers = count()

    def put(self, time: float, what: T) -> None:
        """Put something down."""
        if time <= self._now:
            self._soon.append(what)
        else:
            heapq.heappush(self._later, (time, next(self._numbers), what))

    def take(self) -> tuple[float, T]:
        """Take what comes next, with its time."""
        if self._soon and not (self._later and self._later[0][0] <= self._now):
            return self._now, self._soon.popleft()
        self._now, _, what = heapq.heappop(self._later)
        return self._now, what

    @property
    def due(self) -> float | None:
        """When something comes next, or None."""
        if self._soon:
            return self._now
        return self._later[0][0] if self._later else None

    def __bool__(self) -> bool:
        return bool(self._soon or self._later)


class _Exact(Graph):
    """A graph in which ``after`` gives whole names: which step a part of one means has been found out before."""

    def meanings(
        self, name: str, asking: Step | None = None, gone: Container[str] = frozenset()
    ) -> list[Step]:
        step = self.steps.get(name)
        return [] if step is None or not step.is_live or step is asking or name in gone else [step]

    def _awaiting(self, key: str) -> list[tuple[Step, str]]:
        return [(step, key) for step in self._awaited.get(key, {}).values() if step.key != key]


class _Imagined(Scheduler):
    """The scheduler in a world where commands take their time and succeed, and files are as they should be.

    Looks are asked for and answered as ever: who needs one before it may start comes later than who waits already.
    Left out is what would be compared, told and written down.
    """

    def __init__(self, workload: Workload, handover: float) -> None:
        super().__init__(1)
        self.graph = _Exact()
        self.critical = CriticalPath(self.graph)
        self._durations = {step.name: step.duration for step in workload.steps}
        self._handover = handover
        self._agenda: Agenda[JobEnded | Looking] = Agenda()
        self._launched: list[Job] = []
        self._is_settled = False
        """The message at hand has changed nothing that anybody waits for."""
        messages: list[Message] = [SetPhase(STARTUP), OpenScope("", ScopeKind.CELL)]
        messages += [DefinePool(name, None, "") for name in workload.pools]
        messages += [Declare(_spec(step), "") for step in workload.steps]
        decision = Decision()
        for message in (*messages, CloseScope("")):
            self.handle(message, 0.0, decision)
        # Declared one by one in a notebook, the steps would have been ranked as they came.
        self.critical.work_out(at_any_price=True)

    def suppliers(self) -> dict[str, tuple[str, ...]]:
        """Return which steps each step waits for."""
        return {key: tuple(s.key for s in self._suppliers(step)) for key, step in self.graph.steps.items()}

    def play(self, pools: Mapping[str, int | None], workers: int) -> list[Job]:
        """Run everything from nothing, and return the jobs in order of their start."""
        self._now, self._launched, self._agenda = 0.0, [], Agenda()
        messages: list[Message] = [SetPhase(STARTUP), SetWorkers(workers), Rerun(all=True)]
        messages += [DropPool(pool.name) for pool in self.pools.defined() if pool.name not in pools]
        messages += [DefinePool(name, size, "") for name, size in pools.items()]
        # One decision for all messages: nobody commits it.
        decision = Decision()
        for message in messages:
            self.handle(message, 0.0, decision)
        # Nobody waits for anybody else than before.
        self.critical.be_sure()
        self.handle(SetPhase(RUN), 0.0, decision)
        while self._agenda:
            now, report = self._agenda.take()
            if isinstance(report, Looking):
                self._look_back(report, now)
            else:
                self.handle(report, now, decision)
        return self._launched

    def _settle(self) -> None:
        if self._is_settled:
            self._is_settled = False
        else:
            super()._settle()

    def _look(self, paths: Iterable[str], looking: Looking, globs: tuple[Glob, ...] = ()) -> int:
        self._agenda.put(self._now, looking)
        return 1

    def _look_back(self, looking: Looking, now: float) -> None:
        """Take the answer to a look: a turn of its own, as for a message."""
        self._now = now
        self._turn += 1
        step, job = looking.step, looking.job
        if step is None:
            return
        step.token = 0
        is_verifying = looking.purpose == "verify"
        for path in (*step.spec.inp, *step.spec.out) if is_verifying else step.spec.inp:
            self.graph.files[path].told = self._turn
        if job is None:
            self._checked(step, {})
        elif not is_verifying:
            self._launch(step, job)
            return
        else:
            self._gone(job)
            self._end(step, job, Outcome.SUCCEEDED, job.why)
        self._settle()

    def _launch(self, step: Step, job: Job) -> None:
        job.started = self._now
        job.is_launched = True
        self._launched.append(job)
        ended = self._now + self._durations[step.key]
        self._agenda.put(ended + self._handover, JobEnded(job.id, 0, ended))

    def _job_ended(self, report: JobEnded) -> None:
        super()._job_ended(report)
        # Its slots are its own until its outputs have been looked at.
        self._is_settled = report.job in self.jobs

    def _contents(self, paths: Iterable[str]) -> dict[str, Content | None]:
        return dict.fromkeys(paths, ("", 0, 0))

    def _record(self, step: Step, job: Job, *_: object) -> None:
        pass

    def _touch(self, step: Step, reason: str | None = None) -> None:
        if reason is not None:
            step.reason = reason

    def _touch_pools(self, spec: StepSpec) -> None:
        pass


@dataclass(frozen=True)
class Prediction:
    """What would have been. Times are seconds from the beginning."""

    pools: Mapping[str, int | None]
    """Sizes by pool; None is no limit."""
    workers: int | None
    """Steps running at once; None is no limit."""
    makespan: float
    """When the last step ends."""
    bounds: Mapping[str, float]
    """When it ends at the earliest, for the ``critical path``, the ``workers``, and each ``pool NAME``."""
    path: Sequence[str]
    """The steps on the critical path: the longest chain of those that wait for each other."""
    stuck: Sequence[Mapping[str, Any]]
    """What would never run, by root cause: ``cause``, ``number``, and as ``steps`` the first few."""
    shares: Mapping[str, float]
    """How many seconds of the time each limit, by the name of its bound, has set; the largest comes first."""
    workload: Workload = field(repr=False)
    jobs: Sequence[Job] = field(repr=False)
    """In order of their start; none where they were thrown away."""

    @cached_property
    def timeline(self) -> list[dict[str, Any]]:
        """A row per job, as in ``history``."""
        first = self.jobs[0].id if self.jobs else 0
        rows = [{**view.job_row(job), "job": job.id - first + 1} for job in self.jobs]
        for row in rows:
            del row["why"]
        return rows

    @property
    def limit(self) -> tuple[str, float]:
        """What sets most of the time, by the name of its bound, and which part of it."""
        name, seconds = next(iter(self.shares.items()), ("", 0.0))
        return name, seconds / self.makespan if self.makespan else 1.0

    @property
    def bottleneck(self) -> str:
        """What sets the time, in words."""
        name, part = self.limit
        sets = "sets the time" if part >= bounds.MOSTLY else f"sets {bounds.percent(part)} of the time"
        return bounds.limit_words(name, self.path, sets)


class World:
    """Steps that are declared once, and run from nothing as often as one likes.

    Parameters
    ----------
    workload
        The steps. Files that none of them makes are there.
    handover
        Seconds that each job keeps its slots after its end.

    Raises
    ------
    UsageError
        SNB-401 to SNB-406: they could not be declared together.
    """

    def __init__(self, workload: Workload, handover: float = 0.0) -> None:
        self._workload = workload
        self._handover = handover
        self._scheduler = _Imagined(workload, handover)
        self._suppliers = self._scheduler.suppliers()
        self._path: tuple[str, ...] = ()
        """The critical path when everything runs, once that is known."""

    def run(self, pools: Mapping[str, int | None], workers: int | None = None) -> Prediction:
        """Run all steps from nothing.

        Parameters
        ----------
        pools
            Sizes; None is no limit. A pool that is not among them is not defined: its steps never run.
        workers
            Steps running at once; None is no limit.
        """
        durations = {step.name: step.duration for step in self._workload.steps}
        jobs = self._scheduler.play(pools, max(1, len(durations)) if workers is None else workers)
        ran = {job.step: durations[job.step] for job in jobs}
        path = self._path if len(ran) == len(durations) else ()
        if not path:
            path = bounds.longest_path(ran, self._suppliers, self._handover)
            self._path = path if len(ran) == len(durations) else ()
        steps = [(step.duration, step.pool) for step in self._workload.steps if step.name in ran]
        return Prediction(
            pools=dict(pools),
            workers=workers,
            makespan=max((job.ended or 0.0 for job in jobs), default=0.0),
            bounds=bounds.bounds(steps, [ran[name] for name in path], pools, workers, self._handover),
            path=path,
            stuck=view.root_causes(self._scheduler) if len(jobs) < len(durations) else (),
            shares=bounds.shares(jobs, self._suppliers, pools, workers, self._handover),
            workload=self._workload,
            jobs=jobs,
        )


def _spec(step: Work) -> StepSpec:
    return StepSpec(
        action="runsh",
        command=step.name,
        name=step.name,
        inp=step.inp,
        out=step.out,
        after=step.after,
        pool=step.pool,
        priority=step.priority,
        duration=step.estimate,
        block=step.block,
    )
