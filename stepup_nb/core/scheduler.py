"""Messages in, decisions out.

Deterministic: the same messages and times give the same decisions. Time is an argument (seconds since the epoch,
never going backwards). Knows nothing of processes, sockets, SQL or notebooks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from stepup_nb.core.declaring import Declaring
from stepup_nb.core.engine import coarse
from stepup_nb.core.errors import UsageError, no_pool
from stepup_nb.core.looking import searches
from stepup_nb.core.messages import (
    Amend,
    Cancel,
    Capacity,
    Clean,
    CloseScope,
    Decision,
    Declare,
    DeclareGlob,
    DeclareStatic,
    DefinePool,
    Drain,
    DropPool,
    Ending,
    FilesLooked,
    FilesRemoved,
    Forget,
    Hold,
    JobBegan,
    JobEnded,
    JobLost,
    JobNotStarted,
    LogLine,
    LookAgain,
    Looked,
    Message,
    OpenScope,
    Pause,
    Release,
    RemoveFiles,
    Rerun,
    Resume,
    Run,
    SetPhase,
    SetWorkers,
    StopWaiting,
    Tick,
    Wait,
    WaitEnded,
)
from stepup_nb.core.model import (
    CANCELLED,
    CHECKING,
    FAILED,
    FINISHED,
    PENDING,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    Content,
    File,
    FileState,
    Glob,
    Outcome,
    Pool,
    Step,
    Stop,
)
from stepup_nb.core.moving import RUN, STARTUP, WATCH, Looking
from stepup_nb.core.narration import Narrator


@dataclass(slots=True)
class _Waiting:
    """Somebody waits."""

    token: int
    steps: list[Step] | None
    scope: str
    deadline: float | None
    unfinished: deque[Step] = field(default_factory=deque)
    """While the first of these is unfinished, nobody else need be asked."""
    movers: deque[Step] = field(default_factory=deque)
    """While the first of these can move, likewise."""


@dataclass(slots=True)
class Restored:
    """What a new scheduler takes over from the database."""

    steps: list[Step] = field(default_factory=list)
    scopes: dict[str, str] = field(default_factory=dict)
    """Key of a step to the id of the identified cell that declared it last."""
    files: list[File] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    workers: int | None = None
    next_job: int = 1


def _all_made(step: Step) -> dict[str, Content]:
    """Return what a step has made, as far as it is known, with its content."""
    if step.record is None:
        return step.made
    return {**step.made, **step.record.made()}


class Scheduler(Declaring):
    """The door of the core: every message passes through `handle`."""

    def __init__(
        self,
        workers: int,
        restored: Restored | None = None,
    ) -> None:
        super().__init__(workers)
        self._is_capacity_set = False
        """Somebody has said how many steps may run at once in the cluster."""
        self.ending: list[str] = []
        """How a plan's session was asked to end, each time: ``join`` or ``shutdown``."""
        self._next_phase = ""
        self._waits: dict[int, _Waiting] = {}
        self._cleaning: dict[int, Clean] = {}
        self._causes: dict[str, str] = {}
        """Root causes found since the last message."""
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            OpenScope: self._open_scope,
            CloseScope: self._close_scope,
            Declare: self._declare,
            DeclareStatic: self._declare_static,
            DeclareGlob: self._declare_glob,
            Amend: self._amend,
            DefinePool: self._define_pool,
            DropPool: self._drop_pool,
            Hold: self._begin_hold,
            Release: self._release,
            Cancel: self._cancel,
            Rerun: self._rerun,
            Pause: self._pause,
            Resume: self._resume,
            SetWorkers: self._set_workers,
            Drain: self._drain,
            Run: self._run,
            SetPhase: self._set_phase,
            Ending: self._ask_to_end,
            LookAgain: self._look_again,
            Forget: self._forget,
            Clean: self._clean,
            Wait: self._wait,
            StopWaiting: self._stop_waiting,
            FilesLooked: self._files_looked,
            JobNotStarted: self._job_not_started,
            JobBegan: self._job_began,
            JobLost: self._job_lost,
            JobEnded: self._job_ended,
            FilesRemoved: self._files_removed,
            Capacity: self._set_capacity,
            Tick: lambda m: None,
        }
        if restored is not None:
            self._restore(restored)

    # --- the door ------------------------------------------------------------------------------

    def handle(self, message: Message, now: float, decision: Decision | None = None) -> Decision:
        """Take one message, and return what is to be committed, done and told.

        Parameters
        ----------
        message
            A command or a report.
        now
            Seconds since the epoch; never less than before.
        decision
            A decision to add to: what one turn of the loop handles is committed together.

        Raises
        ------
        UsageError
            The command is refused: it changed nothing. What time brought is in the decision that was handed in.
        """
        self._out = Decision() if decision is None else decision
        self._out.reply = {}
        self._now = max(now, self._now)
        self._turn += 1
        self._causes.clear()
        self._expire()
        refusal = None
        try:
            self._handlers[type(message)](message)
        except UsageError as error:
            refusal = error
        self._reunite()
        self._settle()
        if self._next_phase and not self._looking:
            self._enter_phase()
            self._settle()
        if self._waits:
            self._end_waits()
        if refusal is not None:
            raise refusal
        return self._out

    def use_env(self, hash_env: Callable[[str, str], str | None]) -> None:
        """Say what the values of variables are: given an environment and a name, a keyed hash, or None."""
        self._hash_env = hash_env

    def narrate(self, is_on: bool) -> None:
        """Have the next decisions put into sentences, or no longer: `Decision.said`."""
        self.narrator = Narrator(self.pools, self.jobs, self._label) if is_on else None

    def next_time(self) -> float | None:
        """Return when the scheduler wants a `Tick` at the latest, or None."""
        return self._timers[0][0] if self._timers else None

    def is_idle(self) -> bool:
        """Tell whether nothing is under way: no job, no look, nothing that starts by itself."""
        return not (self.jobs or self._looking or self._delayed)

    # --- pools, workers, pauses ----------------------------------------------------------------

    def _drop_pool(self, m: DropPool) -> None:
        pool = self._existing(m.name)
        pool.is_paused = False
        self._change_pool(pool, None)

    def _existing(self, name: str) -> Pool:
        pool = self.pools.pools.get(name)
        if pool is None or not pool.is_defined:
            raise no_pool(name, [p.name for p in self.pools.defined()])
        return pool

    def _pause(self, m: Pause) -> None:
        self._set_pause(m.pool, True)

    def _resume(self, m: Resume) -> None:
        self._set_pause(m.pool, False)
        if m.pool is None:
            self.pools.is_draining = False

    def _set_pause(self, name: str | None, is_paused: bool) -> None:
        if name is None:
            self.pools.is_paused = is_paused
            self._out.settings = True
            for pool in self.pools.defined():
                self._out.pools[pool.name] = pool
        else:
            pool = self._existing(name)
            pool.is_paused = is_paused
            self._out.pools[name] = pool
        for step in self.pools.waiting(name):
            self._touch(step)

    def _set_workers(self, m: SetWorkers) -> None:
        self.pools.workers = m.number
        if self.pools.capacity is not None:
            # Said for the cluster: from now on its own size does not count.
            self.pools.capacity, self._is_capacity_set = m.number, True
        self._out.settings = True

    def _set_capacity(self, m: Capacity) -> None:
        if not m.number:
            self._is_capacity_set = False
        self.pools.machines = dict(m.machines)
        if not self._is_capacity_set:
            self.pools.capacity = m.number
        self._out.settings = self._may_be_stuck = True
        for pool in self.pools.defined():
            if pool.is_per_machine:
                self._out.pools[pool.name] = pool
        for step in self.pools.waiting(None):
            self._touch(step)

    def _drain(self, m: Drain) -> None:
        self.pools.is_draining = True
        self._out.settings = True
        self._may_be_stuck = True
        for step in self.pools.waiting():
            self._touch(step)

    def _run(self, m: Run) -> None:
        if self._next_phase == WATCH:
            # It was about to begin: whoever asks for a run now means the next one.
            self._enter_phase()
        self.pools.is_draining = False
        self._out.settings = True
        if self.phase == WATCH:
            self._out.lines.append(LogLine("PHASE", RUN))
            self._change_phase(RUN)
            for step in self.graph.steps.values():
                if step.is_live and step.state in (FAILED, CANCELLED):
                    self._forget_attempts(step)
                    self._pend(step, "to be run again")
        self._look_at_all(self.graph.steps.values())

    # --- phases of a plan's session ------------------------------------------------------------

    def _set_phase(self, m: SetPhase) -> None:
        if m.phase not in (STARTUP, RUN, WATCH):
            raise UsageError("SNB-204", f"There is no phase '{m.phase}'.", "", "use a client of this release")
        if m.phase == STARTUP:
            self._change_phase(STARTUP)
        else:
            # What is being looked at still belongs to the phase before.
            self._next_phase = m.phase

    def _enter_phase(self) -> None:
        phase, self._next_phase = self._next_phase, ""
        self._out.lines.append(LogLine("PHASE", phase))
        self._change_phase(phase)
        if phase == WATCH:
            # What was changed while steps ran is told now (StepUp 3.0).
            self._look_at_all(self.graph.steps.values())

    def _change_phase(self, phase: str) -> None:
        self.phase = phase
        self.pools.is_starting = phase == STARTUP
        self._out.settings = True
        for step in self.graph.steps.values():
            if step.is_live and step.state in (PENDING, QUEUED):
                self._review.append(step)

    def _ask_to_end(self, m: Ending) -> None:
        if m.how not in ("join", "shutdown"):
            raise UsageError("SNB-204", f"There is no '{m.how}'.", "", "use a client of this release")
        self.ending.append(m.how)
        self._out.settings = True
        if m.how == "shutdown":
            self._drain(Drain())
        self._out.reply = {"times": self.ending.count(m.how)}

    def _look_again(self, m: LookAgain) -> None:
        """Look at what somebody knows to have changed; of patterns at all, since a new file is in none."""
        if m.paths is None:
            token = self._look_at_all(self.graph.steps.values(), "watch" if m.is_watching else "look")
        else:
            paths = [path for path in m.paths if path in self.graph.files]
            token = self._look(paths, Looking("look"), self._all_globs())
        if token is None:
            if m.token:
                self._out.looked.append(Looked(m.token))
        else:
            self._looking[token].token = m.token

    def _looked(self, report: FilesLooked, looking: Looking) -> None:
        super()._looked(report, looking)
        if looking.token and looking.purpose in ("look", "watch"):
            self._out.looked.append(Looked(looking.token))

    def _begin_hold(self, m: Hold) -> None:
        self.holds.add(m.hold)

    def _release(self, m: Release) -> None:
        self.holds.discard(m.hold)
        for step in self._held.pop(m.hold, {}).values():
            if step.hold == m.hold:
                step.hold = ""
                self._review.append(step)

    # --- cancelling, running again, forgetting -------------------------------------------------

    def _cancel(self, m: Cancel) -> None:
        if m.steps is None:
            steps = [s for s in self.graph.steps.values() if not self.is_idle_option(s)]
        else:
            steps = [self.graph.find(name) for name in m.steps]
        cancelled = []
        for step in steps:
            if not step.is_live or step.state in FINISHED:
                continue
            cancelled.append(step.key)
            if step.state is RUNNING:
                self._stop(step, Stop.CANCEL)
                if step.job is not None:
                    self._touch(step, "is being cancelled")
                    continue
            step.token = 0
            self._move(step, CANCELLED, "cancelled by the user")
            self._let_down(step)
        self._out.reply = {"steps": cancelled}

    def _rerun(self, m: Rerun) -> None:
        live = [s for s in self.graph.steps.values() if s.is_live]
        if m.all:
            steps = live
        elif m.failed:
            steps = [s for s in live if s.state in (FAILED, CANCELLED)]
        else:
            steps = [self.graph.find(name) for name in m.steps]
            for step in steps:
                if not step.is_live:
                    raise UsageError(
                        "SNB-121",
                        f"Step '{step.label}' is not declared in this session.",
                        "it is only known from the database",
                        "run the cell that declares it",
                    )
        for step in steps:
            self._forget_attempts(step)
            if step.state is RUNNING and (step.job is None or step.job.stop is None):
                continue
            step.force = step.force or not m.failed
            self._pend(step, "to be run again")
        self._out.reply = {"steps": [s.key for s in steps]}

    def _forget(self, m: Forget) -> None:
        steps = [self.graph.find(name) for name in m.steps]
        for step in steps:
            if step.job is not None:
                raise UsageError(
                    "SNB-122",
                    f"Step '{step.label}' cannot be forgotten now.",
                    "a job of it is running",
                    f"stop it first with '%stepup cancel {step.label}'",
                )
        for step in steps:
            self._retire(step)
            self._drop(step)
        self._out.reply = {"steps": [s.key for s in steps]}

    def _drop(self, step: Step) -> None:
        if (cell := self._cell_of.pop(step.key, None)) is not None:
            del self._dormant[cell][step.key]
        self.graph.remove(step)
        self._out.steps.pop(step.key, None)
        self._out.forgotten[step.key] = step
        for path in step.spec.out:
            if (file := self.graph.files.get(path)) is not None:
                self._out.files[path] = file
                self._review_readers(file)

    # --- cleaning ------------------------------------------------------------------------------

    def outdated_outputs(self) -> list[tuple[str, Content]]:
        """Return the recorded outputs and volatiles of steps that are gone, and that no other step needs."""
        needed = self._needed()
        found = {}
        for step in self.graph.steps.values():
            for path, content in _all_made(step).items() if step.job is None else ():
                if path not in needed and not self._is_static(path):
                    found[path] = content
        return sorted(found.items())

    def doubtful(self) -> list[tuple[str, float]]:
        """Return where an interrupted job of a step that is gone may have left something, and when it began.

        It was killed with all that could tell when. What the user wrote there since then looks like what it left,
        so that nothing of it is removed.
        """
        needed = self._needed()
        found: dict[str, float] = {}
        for step in self.graph.steps.values():
            last = step.last
            if (
                step.is_retired
                and step.job is None
                and last is not None
                and last.outcome is Outcome.INTERRUPTED
            ):
                for path in {*step.spec.out, *step.spec.vol}.difference(needed, _all_made(step)):
                    if not path.endswith("/") and not self._is_static(path):
                        found[path] = min(last.started, found.get(path, last.started))
        return sorted(found.items())

    def _needed(self) -> set[str]:
        """Return the files that steps read or make which are not gone."""
        needed: set[str] = set()
        for step in self.graph.steps.values():
            if not step.is_retired:
                # Also of a step that is only known from the database: its cell may still be executed.
                needed.update(step.spec.inp, step.spec.out, step.spec.vol)
        return needed

    def _is_static(self, path: str) -> bool:
        # Its folder may be static: steps still write there, and what they wrote goes with them (StepUp 3.0).
        file = self.graph.files.get(path)
        return file is not None and self.graph.is_static(file)

    def made_from(self, paths: Iterable[str]) -> list[tuple[str, Content]]:
        """Return the recorded outputs at these paths or below, and all that was made from them (StepUp's ``clean``)."""
        makers: dict[str, list[Step]] = {}
        for step in self.graph.steps.values():
            for path in step.spec.inp:
                makers.setdefault(path, []).append(step)
        found: dict[str, Content] = {}
        wanted = [path.rstrip("/") for path in paths]
        whole = "." in wanted

        def is_wanted(path: str) -> bool:
            return whole or any(path.rstrip("/") == one or path.startswith(one + "/") for one in wanted)

        todo = [path for path in makers if is_wanted(path)]
        for step in self.graph.steps.values():
            for path, content in _all_made(step).items():
                if is_wanted(path):
                    found[path] = content
                    todo.append(path)
        while todo:
            for step in makers.get(todo.pop(), ()):
                for path, content in _all_made(step).items():
                    if path not in found:
                        found[path] = content
                        todo.append(path)
        return sorted(found.items())

    def _unneeded(self) -> list[Step]:
        """Return the optional steps that nobody needs (any more), and that have made something."""
        return [
            s
            for s in self.graph.steps.values()
            if s.is_live and s.spec.optional and not s.is_needed and _all_made(s)
        ]

    def _clean(self, m: Clean) -> None:
        self._cleaning[m.token] = m
        files = dict(self.outdated_outputs() if m.paths is None else self.made_from(m.paths))
        if m.options:
            for step in self._unneeded():
                files.update(_all_made(step))
        doubtful = self.doubtful() if m.paths is None else ()
        self._out.instructions.append(
            RemoveFiles(m.token, tuple(sorted(files.items(), reverse=m.options)), m.dry_run, tuple(doubtful))
        )

    def _files_removed(self, report: FilesRemoved) -> None:
        self._out.removed.append(report)
        asked = self._cleaning.pop(report.token, None)
        if asked is None or asked.dry_run:
            return
        gone = {*report.removed, *report.gone}
        offered = gone.union(path for path, _ in report.kept)
        for path in (*report.removed, *report.gone):
            if (file := self.graph.files.get(path)) is not None:
                self._see(file, None)
        for path in report.removed:
            self._out.lines.append(LogLine("CLEAN", path))
        for step in list(self.graph.steps.values()):
            made = _all_made(step).keys()
            for path in gone.intersection(step.made):
                del step.made[path]
                self._touch(step)
            # A plan's session forgets what is gone, and with it what was changed since: that is the user's now. But
            # what somebody still reads is to be cleaned one day.
            if asked.options:
                is_done = all(path in offered or self._belongs_to_another(path, step) for path in made)
            else:
                is_done = bool(made) and made <= gone
            if step.is_retired and step.job is None and is_done:
                self._drop(step)

    def _belongs_to_another(self, path: str, step: Step) -> bool:
        file = self.graph.files.get(path)
        maker = None if file is None else file.producer
        return maker is not None and maker is not step and maker.is_live

    # --- looking around and waiting ------------------------------------------------------------

    def _all_globs(self) -> tuple[Glob, ...]:
        return searches(
            dict.fromkeys(glob for scope in self.graph.scopes.values() if scope.owner for glob in scope.globs)
        )

    def _look_at_all(self, steps: Iterable[Step], purpose: str = "look") -> int | None:
        """Look at every file that the live ones of these steps read, or have made; return the look, if any."""
        paths: dict[str, None] = {}
        for step in steps:
            if step.is_live:
                if step.state is not CANCELLED:
                    # Perhaps because one of its inputs hangs, on a disk that nobody wants to wait for.
                    paths.update(dict.fromkeys(step.spec.inp))
                if step.state is SUCCEEDED:
                    paths.update(dict.fromkeys(step.spec.out))
                if step.round is not None:
                    paths.update(dict.fromkeys(sorted(step.round.statics)))
        globs = self._all_globs()
        return self._look(paths, Looking(purpose), globs) if paths or globs else None

    def _with_suppliers(self, steps: Iterable[Step]) -> list[Step]:
        """Return the steps and all that they wait for, through whatever others."""
        found: dict[str, Step] = {}
        todo = list(steps)
        while todo:
            step = todo.pop()
            if step.key not in found:
                found[step.key] = step
                todo += self._suppliers(step)
        return list(found.values())

    def _suppliers(self, step: Step) -> list[Step]:
        files = (self.graph.files.get(path) for path in step.spec.inp)
        makers = (file.producer for file in files if file is not None)
        creator = None if step.scope is None else step.scope.owner
        suppliers = (*makers, *step.needs_after.values(), creator)
        return [maker for maker in suppliers if maker is not None and maker.is_live]

    def _wait(self, m: Wait) -> None:
        steps = None if m.steps is None else [self.graph.find(name) for name in m.steps]
        scope = self.graph.scopes.get(m.scope)
        if scope is not None and scope.is_open and scope.leaving:
            scope.released = True
            self._review.extend(s for s in scope.steps.values() if s.state is PENDING)
        self._waits[m.token] = _Waiting(m.token, steps, m.scope, m.deadline)
        if m.deadline is not None:
            self._at(m.deadline, lambda: None)
        self._may_be_stuck = True
        self._look_at_all(self.graph.steps.values() if steps is None else self._with_suppliers(steps))

    def _stop_waiting(self, m: StopWaiting) -> None:
        self._waits.pop(m.token, None)

    def awaited(self, steps: list[Step] | None, scope: str) -> Iterable[Step]:
        """Yield the steps that a wait is for: those named, else all live ones that the scope has decided on."""
        asking = self.graph.scopes.get(scope)
        undecided = asking.undecided if asking is not None else {}
        for step in self.graph.steps.values() if steps is None else steps:
            if step.is_live and step.key not in undecided:
                yield step

    def _end_waits(self) -> None:
        for wait in list(self._waits.values()):
            how = ""
            if not self._plain_looks:
                how = self._how_far(wait)
            if not how and wait.deadline is not None and wait.deadline <= self._now:
                how = "timeout"
            if how:
                del self._waits[wait.token]
                self._out.ended.append(WaitEnded(wait.token, how))
        if not self._plain_looks:
            self._may_be_stuck = False

    def _how_far(self, wait: _Waiting) -> str:
        if self._next(wait, wait.unfinished, lambda step: True) is None:
            return "done"
        if not self._can_move():
            return "stuck"
        if self._may_be_stuck and not self._is_anything_running_for(wait):
            mover = self._next(wait, wait.movers, lambda step: not self.root_cause(step))
            return "stuck" if mover is None else ""
        return ""

    def _next(self, wait: _Waiting, some: deque[Step], test: Callable[[Step], bool]) -> Step | None:
        """Return an unfinished awaited step that passes the test, if there is one.

        In the long run each step is tested once or twice, not once for each message: `some` are those that were
        not tested since all of them were.
        """
        scope = self.graph.scopes.get(wait.scope)
        undecided = {} if scope is None else scope.undecided
        for _ in range(2):
            while some:
                step = some[0]
                if step.is_live and step.key not in undecided and self._is_unfinished(step) and test(step):
                    return step
                some.popleft()
            some.extend(s for s in self.awaited(wait.steps, wait.scope) if self._is_unfinished(s))
        return None

    def _is_unfinished(self, step: Step) -> bool:
        return step.state not in FINISHED and not self.is_idle_option(step)

    def _is_anything_running_for(self, wait: _Waiting) -> bool:
        scope = self.graph.scopes.get(wait.scope)
        undecided = {} if scope is None else scope.undecided
        steps = (self.graph.steps.get(job.step) for job in self.jobs.values() if job.step not in undecided)
        return wait.steps is None and any(step is not None and step.state is RUNNING for step in steps)

    def family(self, step: Step) -> list[Step]:
        """Return a step, what it declared, what that declared in turn, and so on."""
        found = [step]
        for at in found:
            if at.round is not None:
                found += at.round.steps.values()
        return found

    def number_of_idle_options(self) -> int:
        """Return how many steps are optional and not needed."""
        return sum(self.is_idle_option(step) for step in self._options.values())

    def is_idle_option(self, step: Step) -> bool:
        """Tell whether a step is optional and nobody needs it: no wait is for it."""
        return step.spec.optional and step.state is PENDING and not step.is_needed

    def _can_move(self) -> bool:
        """Tell whether anything is under way that may still change a step's state."""
        return bool(
            self.jobs
            or self._looking
            or self._delayed
            or self.counts[CHECKING]
            or self.counts[RUNNING]
            or self.pools.would_go_on()
        )

    def root_cause(self, step: Step) -> str:
        """Say what keeps a waiting step from ever running as things are, or return an empty text if it may.

        Goes upstream to the first supplier that cannot move: "7 steps wait for it" is told once.
        """
        at = step
        passed: dict[str, None] = {}
        while (cause := self._causes.get(at.key)) is None:
            passed[at.key] = None
            supplier = self._broken_supplier(at) if at.is_live and at.state is PENDING else None
            if supplier is None or supplier.key in passed:
                cause = self._own_cause(at)
                break
            at = supplier
        self._causes.update(dict.fromkeys(passed, cause))
        return cause

    def _own_cause(self, step: Step) -> str:
        if step.state in (FAILED, CANCELLED):
            what = "failed" if step.state is FAILED else "was cancelled"
            return f"step '{step.label}' {what}: {step.reason}"
        if step.state is QUEUED:
            return "draining" if self.pools.is_draining else self.pools.closed(step.spec.pool)
        if step.state is not PENDING:
            return ""
        if not step.is_live:
            return self.reason(step)
        scope = step.scope
        is_undecided = scope is not None and bool(scope.leaving) and not scope.released
        if step.job is not None or step.not_before > self._now or self._dying or is_undecided:
            return ""
        return self._obstacle(step, is_told=True)

    def _broken_supplier(self, step: Step) -> Step | None:
        """Return a supplier that has not succeeded, one that never will by itself before others."""
        waiting = [s for s in self._suppliers(step) if s.state is not SUCCEEDED]
        broken = [s for s in waiting if s.state in (FAILED, CANCELLED)]
        return next(iter(broken or waiting), None)

    # --- taking over from the database ---------------------------------------------------------

    def _restore(self, restored: Restored) -> None:
        for file in restored.files:
            self.graph.files[file.path] = file
        for pool in restored.pools:
            self.pools.pools[pool.name] = pool
        for step in restored.steps:
            self._seq = max(self._seq, step.seq)
            if step.record is not None:
                step.env_hashes = step.record.manifest.env
            self.graph.add(step)
            step.creator = restored.scopes.get(step.key, "")
            cell = restored.scopes.get(step.key)
            if cell is not None and not step.is_retired:
                self._dormant.setdefault(cell, {})[step.key] = step
                self._cell_of[step.key] = cell
            if (
                step.last is not None
                and step.last.ended is not None
                and step.last.outcome is Outcome.SUCCEEDED
            ):
                step.estimate = coarse(step.last.ended - step.last.started)
        # Where two of them made one file, the claim of the one that is gone yields.
        for step in sorted(restored.steps, key=lambda step: not step.is_retired):
            self.graph.link(step)
            for path in step.spec.out:
                if step.record is not None:
                    self.graph.files[path].state = FileState.BUILT
        if restored.workers is not None:
            self.pools.workers = restored.workers
        self._next_job = restored.next_job
