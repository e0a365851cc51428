"""Messages in, decisions out.

Deterministic: the same messages and times give the same decisions. Time is an argument (seconds since the epoch,
never going backwards). Knows nothing of processes, sockets, SQL or notebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from stepup_nb.core.declaring import Declaring
from stepup_nb.core.engine import Looking
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import (
    Cancel,
    Clean,
    CloseScope,
    Decision,
    Declare,
    DeclareStatic,
    DefinePool,
    Drain,
    DropPool,
    FilesLooked,
    FilesRemoved,
    Forget,
    Hold,
    JobEnded,
    JobNotStarted,
    Message,
    OpenScope,
    Pause,
    Release,
    RemoveFiles,
    Rerun,
    Resume,
    Run,
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
    Pool,
    Step,
    StepState,
    Stop,
)
from stepup_nb.core.words import counted, did_you_mean


@dataclass(slots=True)
class _Waiting:
    """Somebody waits."""

    token: int
    steps: list[Step] | None
    scope: str
    deadline: float | None


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


class Scheduler(Declaring):
    """The door of the core: every message passes through `handle`."""

    def __init__(self, workers: int, restored: Restored | None = None) -> None:
        super().__init__(workers)
        self._waits: dict[int, _Waiting] = {}
        self._cleaning: dict[int, bool] = {}
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            OpenScope: self._open_scope,
            CloseScope: self._close_scope,
            Declare: self._declare,
            DeclareStatic: self._declare_static,
            DefinePool: self._define_pool,
            DropPool: self._drop_pool,
            Hold: lambda m: self.holds.add(m.hold),
            Release: self._release,
            Cancel: self._cancel,
            Rerun: self._rerun,
            Pause: self._pause,
            Resume: self._resume,
            SetWorkers: self._set_workers,
            Drain: self._drain,
            Run: self._run,
            Forget: self._forget,
            Clean: self._clean,
            Wait: self._wait,
            StopWaiting: self._stop_waiting,
            FilesLooked: self._files_looked,
            JobNotStarted: self._job_not_started,
            JobEnded: self._job_ended,
            FilesRemoved: self._files_removed,
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
            The command is refused; nothing changed.
        """
        self._out = Decision() if decision is None else decision
        self._out.reply = {}
        self._now = max(now, self._now)
        self._turn += 1
        self._expire()
        self._handlers[type(message)](message)
        self._settle()
        if self._waits:
            self._end_waits()
        return self._out

    def next_time(self) -> float | None:
        """Return when the scheduler wants a `Tick` at the latest, or None."""
        return self._timers[0][0] if self._timers else None

    def is_idle(self) -> bool:
        """Tell whether nothing is under way: no job, no look, nothing that starts by itself."""
        return not (self.jobs or self._looking or self._delayed)

    # --- pools, workers, pauses ----------------------------------------------------------------

    def _define_pool(self, m: DefinePool) -> None:
        pool = self.pools.named(m.name)
        title = self._scope(m.scope).title
        notes = []
        if pool.is_defined and pool.size != m.size and pool.scope and pool.scope != title:
            notes.append(
                f"pool '{m.name}' had {_size(pool.size)} by {pool.scope}; the one executed last counts: {_size(m.size)}"
            )
        pool.size, pool.is_defined, pool.scope = m.size, True, title
        if m.tokens or m.size is None or len(pool.tokens) < m.size:
            pool.tokens = m.tokens
        self._pool_changed(pool)
        self._out.reply = {"pool": m.name, "notes": notes}

    def _pool_changed(self, pool: Pool) -> None:
        self._out.pools[pool.name] = pool
        for step in self.graph.steps.values():
            if step.state in (PENDING, QUEUED) and any(name == pool.name for name, _ in step.spec.pool):
                self._review.append(step)
                self._touch(step)
        for step in list(self.pools.waiting(pool.name)):
            if words := self.pools.obstacle(step.spec.pool):
                self._move(step, PENDING, words)

    def _drop_pool(self, m: DropPool) -> None:
        pool = self._existing(m.name)
        pool.is_defined, pool.size, pool.tokens, pool.is_paused = False, None, (), False
        self._pool_changed(pool)

    def _existing(self, name: str) -> Pool:
        pool = self.pools.pools.get(name)
        if pool is None or not pool.is_defined:
            hint = did_you_mean(name, [p.name for p in self.pools.defined()])
            raise UsageError(
                "SNB-502", f"There is no pool '{name}'{hint}", "", f"define it with '%pool {name} 2'"
            )
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
        self._out.settings = True

    def _drain(self, m: Drain) -> None:
        self.pools.is_draining = True
        self._out.settings = True
        for step in self.pools.waiting():
            self._touch(step)

    def _run(self, m: Run) -> None:
        self.pools.is_draining = False
        self._out.settings = True
        self._look_at_all()

    def _release(self, m: Release) -> None:
        self.holds.discard(m.hold)
        self._work_out_tails()
        for step in self.graph.steps.values():
            if step.hold == m.hold:
                self._review.append(step)

    # --- cancelling, running again, forgetting -------------------------------------------------

    def _cancel(self, m: Cancel) -> None:
        if m.steps is None:
            steps = [s for s in self.graph.steps.values() if s.is_live and s.state not in FINISHED]
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
            step.attempts = step.putbacks = 0
            step.not_before = 0.0
            if step.state is RUNNING:
                continue
            step.force = not m.failed
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
        self.graph.remove(step)
        self._out.steps.pop(step.key, None)
        self._out.forgotten[step.key] = step
        for path in step.spec.out:
            if (file := self.graph.files.get(path)) is not None:
                self._review_readers(file)

    # --- cleaning ------------------------------------------------------------------------------

    def outdated_outputs(self) -> list[tuple[str, Content]]:
        """Return the recorded outputs and volatiles of steps that are gone, and that no live step uses."""
        found = {}
        for step in self.graph.steps.values():
            if step.record is None:
                continue
            declared = {*step.spec.out, *step.spec.vol}
            for path, content in (*step.record.outputs, *step.record.volatiles):
                if step.is_retired or path not in declared:
                    file = self.graph.files.get(path)
                    maker = None if file is None else file.producer
                    is_used = file is not None and (file.consumers or file.static)
                    if not is_used and (maker is None or maker is step):
                        found[path] = content
        return sorted(found.items())

    def _clean(self, m: Clean) -> None:
        self._cleaning[m.token] = m.dry_run
        self._out.instructions.append(RemoveFiles(m.token, tuple(self.outdated_outputs()), m.dry_run))

    def _files_removed(self, report: FilesRemoved) -> None:
        self._out.removed.append(report)
        if self._cleaning.pop(report.token, True):
            return
        removed = set(report.removed)
        for path in report.removed:
            if (file := self.graph.files.get(path)) is not None:
                self._see(file, None)
        for step in list(self.graph.steps.values()):
            if step.is_retired and step.record is not None and step.job is None:
                made = {path for path, _ in (*step.record.outputs, *step.record.volatiles)}
                if made and made <= removed:
                    self._drop(step)

    # --- looking around and waiting ------------------------------------------------------------

    def _look_at_all(self) -> None:
        """Look at every known file that a live step reads, or has made."""
        paths = {}
        for step in self.graph.steps.values():
            if step.is_live:
                paths.update(dict.fromkeys(step.spec.inp))
                if step.state is SUCCEEDED:
                    paths.update(dict.fromkeys(step.spec.out))
        if paths:
            self._look(paths, Looking("look"))

    def _wait(self, m: Wait) -> None:
        steps = None if m.steps is None else [self.graph.find(name) for name in m.steps]
        scope = self.graph.scopes.get(m.scope)
        if scope is not None and scope.is_open and scope.leaving:
            scope.released = True
            self._review.extend(s for s in scope.steps.values() if s.state is PENDING)
        self._waits[m.token] = _Waiting(m.token, steps, m.scope, m.deadline)
        if m.deadline is not None:
            self._at(m.deadline, lambda: None)
        self._new_failures = True
        self._look_at_all()

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
        can_move = self._can_move()
        for wait in list(self._waits.values()):
            how = ""
            if not self._plain_looks:
                if not self._number_unfinished():
                    how = "done"
                elif not can_move:
                    unfinished = any(
                        s.state not in FINISHED and not self.is_idle_option(s)
                        for s in self.awaited(wait.steps, wait.scope)
                    )
                    how = "stuck" if unfinished else "done"
                elif wait.steps is not None or self.graph.scopes.get(wait.scope):
                    how = self._how_far(wait)
            if not how and wait.deadline is not None and wait.deadline <= self._now:
                how = "timeout"
            if how:
                del self._waits[wait.token]
                self._out.ended.append(WaitEnded(wait.token, how))
        self._new_failures = False

    def _how_far(self, wait: _Waiting) -> str:
        if wait.steps is None:
            asking = self.graph.scopes[wait.scope]
            if not asking.undecided:
                return ""
        unfinished = [
            s
            for s in self.awaited(wait.steps, wait.scope)
            if s.state not in FINISHED and not self.is_idle_option(s)
        ]
        if not unfinished:
            return "done"
        if self._new_failures and all(self.root_cause(s) for s in unfinished):
            return "stuck"
        return ""

    def is_idle_option(self, step: Step) -> bool:
        return step.spec.optional and step.state is PENDING and not self._is_needed(step)

    def _number_unfinished(self) -> int:
        return sum(self.counts[state] for state in StepState if state not in FINISHED)

    def _can_move(self) -> bool:
        """Tell whether anything is under way that may still change a step's state."""
        if self.jobs or self._looking or self._delayed or self.counts[CHECKING] or self.counts[RUNNING]:
            return True
        is_paused = self.pools.is_paused or any(pool.is_paused for pool in self.pools.pools.values())
        return is_paused and self.counts[QUEUED] > 0

    def root_cause(self, step: Step) -> str:
        """Say what keeps a waiting step from ever running as things are, or return an empty text if it may.

        Goes upstream to the first supplier that cannot move: "7 steps wait for it" is told once.
        """
        at, done = step, set()
        while at.key not in done:
            done.add(at.key)
            if at.state in (FAILED, CANCELLED):
                return f"step '{at.label}' {'failed' if at.state is FAILED else 'was cancelled'}: {at.reason}"
            if at.state is QUEUED:
                return "draining" if self.pools.is_draining else self.pools.closed(at.spec.pool)
            if at.state is not PENDING:
                return ""
            supplier = self._first_unfinished_supplier(at)
            if supplier is not None:
                at = supplier
                continue
            if at.job is not None or at.not_before > self._now or self._dying:
                return ""
            return self._obstacle(at)
        return ""

    def _first_unfinished_supplier(self, step: Step) -> Step | None:
        suppliers = [
            maker
            for path in step.spec.inp
            if (maker := self.graph.files[path].producer) is not None and maker.is_live
        ]
        suppliers += [target for target in step.needs_after.values() if target is not None]
        waiting = [s for s in suppliers if s.state is not SUCCEEDED]
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
            self.graph.add(step)
            self.graph.link(step)
            for path in step.spec.out:
                if step.record is not None:
                    self.graph.files[path].state = FileState.BUILT
            cell = restored.scopes.get(step.key)
            if cell is not None:
                self._dormant_cells.setdefault(cell, {})[step.key] = step
        if restored.workers is not None:
            self.pools.workers = restored.workers
        self._next_job = restored.next_job


def _size(size: int | None) -> str:
    return "no limit" if size is None else counted(size, "slot")
