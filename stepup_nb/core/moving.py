"""How steps move from state to state: one function moves them, one predicate says what they wait for.

Also what follows at once: consumers and products that are put back, jobs that are stopped, slots that are free. Knows
nothing of when files are looked at, nor of processes, sockets, SQL or notebooks.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, count

from stepup_nb.core.critical import CriticalPath
from stepup_nb.core.errors import InternalError
from stepup_nb.core.graph import Graph
from stepup_nb.core.messages import (
    Decision,
    StopJob,
)
from stepup_nb.core.model import (
    ALLOWED,
    CANCELLED,
    CHECKING,
    FAILED,
    FINISHED,
    PENDING,
    QUEUED,
    RELYING,
    RUNNING,
    SUCCEEDED,
    Content,
    File,
    FileProblem,
    FileState,
    Job,
    Outcome,
    Scope,
    Step,
    StepSpec,
    StepState,
    Stop,
)
from stepup_nb.core.narration import Narrator
from stepup_nb.core.pools import Pools
from stepup_nb.core.words import did_you_mean

WATCH, STARTUP, RUN = "watch", "startup", "run"
"""Phases of a plan's session. In `WATCH` nothing moves, in `STARTUP` nothing starts."""

_VALID = (RUNNING, SUCCEEDED)
"""The states of a step in which what it declared may go on."""

LONGEST_REST = 8.0
"""Seconds until a start is tried again at most, where the machine has no room for a process."""


@dataclass(slots=True)
class Looking:
    """A look at files that is under way, and what it is for."""

    purpose: str
    """``check``, ``confirm``, ``verify``, ``amend``, ``made``, ``glob``, ``look``; ``watch``: no wait is for that."""
    step: Step | None = None
    job: Job | None = None
    scope: Scope | None = None
    token: int = 0
    """What somebody waits for with it."""
    is_read: bool = False
    """What is amended has been read before."""


class Moving:
    """The graph, the pools, the live jobs, and the rules by which steps move."""

    def __init__(self, workers: int) -> None:
        self.graph = Graph()
        self.pools = Pools(workers)
        self.critical = CriticalPath(self.graph)
        self.jobs: dict[int, Job] = {}
        """Live jobs: those that hold slots, from their choice to the verification of their result."""
        self.holds: set[str] = set()
        self.phase = ""
        """Where a plan's session is; empty in a notebook's."""
        self.counts: dict[StepState, int] = dict.fromkeys(StepState, 0)
        """Live steps by state: a view, verified against the steps in tests."""
        self._next_job = 1
        self._next_token = 1
        self._turn = 0
        self._now = 0.0
        self._wall_ns: int | None = None
        self._by_inode: dict[int, str] = {}
        """The output that had an inode when it was verified last."""
        self._out = Decision()
        self._looking: dict[int, Looking] = {}
        self._plain_looks = 0
        """Looks under way that no step waits for, but every wait."""
        self._left_behind: tuple[int, dict[str, Content | None]] = (-1, {})
        """What failed jobs and gone steps have left, as of a turn."""
        self._options: dict[str, Step] = {}
        """Live optional steps."""
        self._review: deque[Step] = deque()
        """PENDING and QUEUED steps whose conditions may have changed."""
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_numbers = count()
        self._dying: dict[str, dict[int, Job]] = {}
        """Paths that a job which is being stopped reads or writes."""
        self._leaving: dict[int, Scope] = {}
        """Live jobs that a cell's new round has not decided on (yet), with that cell."""
        self._delayed = 0
        """Pauses before another attempt: of steps, and of all of them where the machine is full."""
        self._refusals = 0
        """So often the machine had no room for a process since a job has ended last."""
        self._held: dict[str, dict[str, Step]] = {}
        """Steps that were declared under a hold, by that hold; until its end."""
        self._pool_waiters: dict[str, dict[str, Step]] = {}
        """PENDING steps that wait for a pool's definition, or for a larger size of it."""
        self._hash_env: Callable[[str, str], str | None] = lambda environment, name: None
        """Returns the keyed hash of a variable's value in an environment; None where it is not set."""
        self.narrator: Narrator | None = None
        """Is told of every decision, while somebody listens."""
        self._may_be_stuck = False
        """Since waits were looked at, something that steps wait for may have come to nothing."""

    # --- time ------------------------------------------------------------------------------------

    def _expire(self) -> None:
        while self._timers and self._timers[0][0] <= self._now:
            heapq.heappop(self._timers)[2]()

    def _at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time, next(self._timer_numbers), call))

    def _delay(self, step: Step, seconds: float) -> None:
        step.not_before = self._now + seconds
        self._delayed += 1

        def go_on() -> None:
            self._delayed -= 1
            self._may_be_stuck = True
            self._review.append(step)

        self._at(step.not_before, go_on)

    def use_wall(self, wall_ns: int) -> None:
        """Say what time it is for files, in nanoseconds: unlike other times it may jump, and go backwards."""
        self._wall_ns = wall_ns

    def _delay_all(self, words: str) -> None:
        """Start nothing for a while, the longer the more often the machine had no room."""
        if self.pools.shortage:
            return
        seconds = min(2.0**self._refusals, LONGEST_REST)
        self._refusals += 1
        self._delayed += 1
        self._set_shortage(f"{words}; tries again in {seconds:g} s")

        def go_on() -> None:
            self._delayed -= 1
            self._may_be_stuck = True
            self._set_shortage("")

        self._at(self._now + seconds, go_on)

    def _set_shortage(self, words: str) -> None:
        self.pools.shortage = words
        for step in self.pools.waiting():
            self._touch(step)

    # --- moving ----------------------------------------------------------------------------------

    def _move(self, step: Step, state: StepState, reason: str) -> None:
        """Move a step: the only assignment of a state after its birth."""
        if state not in ALLOWED[step.state]:
            raise InternalError(f"{step.key}: {step.state} -> {state} ({reason})")
        if step.is_live:
            self.counts[step.state] -= 1
            self.counts[state] += 1
        old = step.state
        if old in FINISHED:
            self.critical.mark(step)
        elif state is CANCELLED:
            self.critical.mark_suppliers(step)
        if step.state is QUEUED:
            if state is not RUNNING:
                self.pools.dequeue(step)
            self._touch_pools(step.spec)
        if state in (PENDING, FAILED, CANCELLED):
            self._may_be_stuck = True
        step.state = state
        self._touch(step, reason)
        if step.round is not None and (old in _VALID) is not (state in _VALID):
            self._review_products(step)
        if state is QUEUED:
            step.queued_at = self._now
            self.pools.enqueue(step)
            if self.pools.is_draining or self.pools.closed(step.spec.pool):
                self._may_be_stuck = True
            self._touch_pools(step.spec)
        if self.narrator is not None:
            self.narrator.moved(step, old, reason)

    def _review_products(self, creator: Step) -> None:
        """What a step declared goes on as long as it, and its own creator in turn, runs or has succeeded."""
        todo = [creator]
        while todo:
            scope = todo.pop().round
            for step in () if scope is None else (*scope.steps.values(), *scope.undecided.values()):
                if step.state in (PENDING, QUEUED):
                    self._review.append(step)
                if step.round is not None:
                    todo.append(step)

    def _touch(self, step: Step, reason: str | None = None) -> None:
        if reason is not None:
            step.reason = reason
        out = self._out
        out.steps[step.key] = step
        if out.forgotten:
            out.forgotten.pop(step.key, None)

    def _touch_pools(self, spec: StepSpec) -> None:
        for name, _ in spec.pool:
            self._out.pools[name] = self.pools.pools[name]

    def _pend(self, step: Step, reason: str, *, is_restored: bool = False) -> None:
        """Make a step PENDING from wherever it is, and let its consumers know that its outputs are outdated.

        A running job is stopped. Works through chains of any length without recursion.
        """
        todo = [(step, reason)]
        while todo:
            at, words = todo.pop()
            if at is not step and at.state is CANCELLED:
                continue  # by another of its inputs, just before
            had_outputs = at.state in (SUCCEEDED, RUNNING)
            at.token = 0
            at.is_outdated = False
            at.skipped = False
            at.is_restored = is_restored
            if at is not step and at.job is not None and at.job.stop is Stop.CANCEL:
                # Whatever goes on upstream of it: the user does not want it.
                self._move(at, CANCELLED, "cancelled by the user")
                self._let_down(at)
                continue
            if at.state is RUNNING:
                self._stop(at, Stop.PUT_BACK)
            if at.state is not PENDING:
                self._move(at, PENDING, words)
            else:
                self._touch(at, words)
            self._review.append(at)
            if not had_outputs:
                continue
            self._review.extend(follower for follower in at.followers.values() if follower.state is QUEUED)
            for path in at.spec.out:
                file = self.graph.files.get(path)
                if file is None or file.producer is not at:
                    continue  # another step took it over, while this one was not declared
                self._set_file(file, state_while_making(file))
                readers = [reader for reader in file.consumers.values() if reader.state in RELYING]
                if readers:
                    words = f"input '{path}' is to be made again by step '{at.label}'"
                    todo += [(reader, words) for reader in readers]

    def _let_down(self, step: Step) -> None:
        """Tell the steps that wait for it that it will not deliver."""
        for path in step.spec.out:
            file = self.graph.files[path]
            self._set_file(file, state_while_making(file))
            self._review_readers(file)
        self._review.extend(follower for follower in step.followers.values() if follower.state is PENDING)

    def _lose_supply(self, file: File, words: str) -> None:
        """A file has lost its maker, or nobody calls it static any more."""
        for reader in list(file.consumers.values()):
            if reader.state is PENDING:
                self._review.append(reader)
            elif reader.is_strict and reader.state in (SUCCEEDED, QUEUED, CHECKING):
                if self._missing(file, reader):
                    self._pend(reader, f"input '{file.path}' {words}")

    def _set_file(self, file: File, state: FileState) -> None:
        if file.state is not state:
            file.state = state
            self._out.files[file.path] = file

    def _review_readers(self, file: File) -> None:
        self._review.extend(reader for reader in file.consumers.values() if reader.state is PENDING)

    def _set_estimate(self, step: Step, seconds: float) -> None:
        if step.estimate != seconds:
            step.estimate = seconds
            self.critical.mark(step)

    def _forget_attempts(self, step: Step) -> None:
        """The user asks for a step (again): what it went through before does not count."""
        job = step.job
        is_running = job is not None and job.is_launched and job.stop is None
        step.attempts = 1 if is_running else 0
        step.putbacks = step.defers = step.losses = 0
        step.not_before = 0.0

    def _hold(self, step: Step) -> None:
        if step.hold:
            self._held.setdefault(step.hold, {})[step.key] = step

    # --- stopping --------------------------------------------------------------------------------

    def _stop(self, step: Step, stop: Stop) -> None:
        """Have the step's live job ended, if it has one that is not ended already."""
        job = step.job
        if job is None:
            return
        if job.ended is not None:
            # The command has ended; its result is being verified and will not be recorded.
            self._gone(job)
            job.outcome = Outcome.CANCELLED
            self._out.jobs[job.id] = job
            step.last, step.job = job, None
            self._end_round(step, is_ok=False)
            self._keep_amended(step)
            return
        if not job.is_launched:
            self._unstart(step, job)
            return
        is_first = job.stop is None
        job.stop = stop
        for path in (*job.reads, *job.writes):
            self._dying.setdefault(path, {})[job.id] = job
        if is_first:
            self._out.instructions.append(StopJob(job.id))
        self._out.jobs[job.id] = job

    def _unstart(self, step: Step, job: Job) -> None:
        """Take back a start that made no process: there was no job."""
        self._gone(job)
        step.job = None
        self._out.jobs.pop(job.id, None)
        self._out.dropped_jobs.add(job.id)

    def _gone(self, job: Job) -> None:
        """A job holds nothing any more: give its slots back and wake whoever waited for its end."""
        del self.jobs[job.id]
        self.pools.give_back(job)
        for name in job.pool:
            self._out.pools[name] = self.pools.pools[name]
        if job.stop is not None:
            for path in (*job.reads, *job.writes):
                if (dying := self._dying.get(path)) is not None:
                    dying.pop(job.id, None)
                    if not dying:
                        del self._dying[path]
            # What waited for its end, or upstream of it, is perhaps stuck now.
            self._may_be_stuck = True
        for key in job.blocks:
            if (waiting := self.graph.steps.get(key)) is not None:
                self._review.append(waiting)
        if (scope := self._leaving.pop(job.id, None)) is not None:
            self._left(scope, job.id)

    def _left(self, scope: Scope, job: int) -> None:
        if job in scope.leaving:
            scope.leaving.discard(job)
            if not scope.leaving:
                self._review.extend(s for s in scope.steps.values() if s.state is PENDING)

    def _keep_amended(self, step: Step) -> None:
        """A job did not succeed: what it has not amended (yet) may still be what its step makes."""
        if step.fading:
            spec = step.spec._replace(out=tuple(sorted({*step.spec.out, *step.fading})))
            step.fading, step.unamended = (), step.declared
            self.graph.respecify(step, spec)

    def _end_round(self, step: Step, *, is_ok: bool) -> None:
        raise NotImplementedError

    # --- optional steps --------------------------------------------------------------------------

    def _optional_suppliers(self, step: Step) -> list[Step]:
        if not self._options:
            return []
        files = (self.graph.files.get(path) for path in step.spec.inp)
        makers = [file.producer for file in files if file is not None]
        return [s for s in (*makers, *step.needs_after.values()) if s is not None and s.spec.optional]

    def _optional_makers(self, paths: Iterable[str]) -> list[Step]:
        files = (self.graph.files.get(path) for path in paths)
        makers = [file.producer for file in files if file is not None]
        return [maker for maker in makers if maker is not None and maker.spec.optional]

    def _review_need(self, steps: Iterable[Step]) -> None:
        """Find out anew whether optional steps are needed, and the optional ones they need in turn."""
        todo = list(steps)
        while todo:
            step = todo.pop()
            if not step.spec.optional and not step.is_needed:
                continue
            files = (self.graph.files[path] for path in step.spec.out) if step.is_live else ()
            readers = chain.from_iterable(file.consumers.values() for file in files)
            is_needed = (
                step.is_live
                and step.spec.optional
                and any(not s.spec.optional or s.is_needed for s in chain(readers, step.followers.values()))
            )
            if is_needed is not step.is_needed:
                step.is_needed = is_needed
                self._review.append(step)
                todo += self._optional_suppliers(step)

    # --- waiting: one predicate ------------------------------------------------------------------

    def _obstacle(self, step: Step, *, is_told: bool = False) -> str:
        """Say what keeps a live step from being checked, or return an empty text.

        Where people are told, it guesses what they meant, which takes a while.
        """
        spec = step.spec
        if step.job is not None:
            return "waits for the end of its earlier job"
        if self.phase in (STARTUP, WATCH):
            return "waits for the next run"
        if spec.block:
            return "blocked (--block)"
        if spec.optional and not step.is_needed:
            return "optional: no step needs its outputs"
        if step.hold and step.hold in self.holds:
            return "held until the end of its hold() block"
        scope = step.scope
        if scope is not None and scope.owner is not None and (words := self._creator_obstacle(step)):
            return words
        if words := self._missing_supply(step, is_told=is_told):
            return words
        if self._dying and (job := self._dying_job(spec)) is not None:
            job.blocks.add(step.key)
            return f"waits until the stopped job of '{self._label(job.step)}' is gone"
        if scope is not None and scope.leaving and not scope.released:
            return "waits until what an earlier run of its cell started is decided"
        if step.not_before > self._now:
            if not step.attempts:
                return "pauses before another try to start it"
            return f"pauses before attempt {step.attempts + 1} of {spec.retry + 1}"
        return self._pool_obstacle(step) if step.is_outdated else ""

    @staticmethod
    def _creator_obstacle(step: Step) -> str:
        """Say which of the steps that declared it, one through the other, keeps a step back, or nothing."""
        at = step
        while (scope := at.scope) is not None and (owner := scope.owner) is not None:
            if at.key in scope.undecided:
                return f"waits until step '{owner.label}' declares it again"
            # What was ready while its plan still ran goes on (StepUp 3.0): the plan may even wait for it.
            is_on_its_way = step.state in (CHECKING, QUEUED) and owner.state is not CANCELLED
            if owner.state not in _VALID and not is_on_its_way:
                return Moving._supplier(owner, "was declared by")
            at = owner
        return ""

    def _missing_supply(self, step: Step, *, is_told: bool) -> str:
        """Say which input, or which step of its ``after``, a step lacks, or return an empty text."""
        inp, after = step.spec.inp, step.spec.after
        number = len(inp) + len(after)
        # What was missing last mostly still is: of thousands of suppliers, one is looked at.
        for place in range(step.at, step.at + number):
            at = place % number
            if at < len(inp):
                words = self._missing(self.graph.files[inp[at]], step)
            else:
                words = self._not_yet(step, after[at - len(inp)], is_told=is_told)
            if words:
                step.at = at
                return words
        return ""

    def _missing_input(self, step: Step) -> str:
        """Say why any of its inputs is no usable one, or return an empty text."""
        return next(
            (words for path in step.spec.inp if (words := self._missing(self.graph.files[path], step))), ""
        )

    def _not_yet(self, step: Step, name: str, *, is_told: bool) -> str:
        """Say why what ``after`` names does not let a step go, or return an empty text."""
        target = step.needs_after[name]
        if target is not None:
            return "" if target.state is SUCCEEDED else self._supplier(target, "waits for")
        if is_told:
            known = self.graph.meanings(name, step)
            if len(known) > 1:
                return f"--after names '{name}', which is a part of the names of {len(known)} steps"
            if not known:
                others = (s for s in self.graph.steps.values() if s.is_live and s is not step)
                hint = did_you_mean(name, (s.spec.name or s.spec.command for s in others))
                return f"--after names a step '{name}' that is not declared{hint}"
        return f"--after names a step '{name}' that is not declared"

    def _dying_job(self, spec: StepSpec) -> Job | None:
        """Return a job that is being stopped and is in the way: they do not just read the same."""
        for path in spec.inp:
            for job in self._dying.get(path, {}).values():
                if path in job.writes:
                    return job
        for path in (*spec.out, *spec.vol):
            for job in self._dying.get(path, {}).values():
                return job
        return None

    def _pool_obstacle(self, step: Step) -> str:
        """Say why its pools, as they are defined, cannot serve a step, or return an empty text."""
        words = self.pools.obstacle(step.spec.pool)
        if words:
            for name, _ in step.spec.pool:
                self._pool_waiters.setdefault(name, {})[step.key] = step
        return words

    def _missing(self, file: File, reader: Step | None = None) -> str:
        """Say why a file is no usable input (yet), of that step, or return an empty text."""
        maker = file.producer
        if maker is not None and maker.is_live:
            if maker.is_undecided and maker.scope is not None and maker.scope.owner is not None:
                return f"input '{file.path}' waits for step '{maker.scope.owner.label}'"
            if maker.state is SUCCEEDED:
                return ""
            return self._supplier(maker, f"input '{file.path}' waits for")
        if reader is not None and reader.is_strict and not self.graph.is_static(file):
            return f"input '{file.path}' is not declared: no step builds it, and nobody calls it static"
        if not file.seen:
            return ""
        if isinstance(file.look, FileProblem):
            return f"input '{file.path}' {file.look.words}"
        what = "is missing" if file.look is None else "is not as it was built"
        if maker is not None and file.state is not FileState.BUILT:
            return (
                f"input '{file.path}' {what}; it was made by step '{maker.label}', which is not declared now"
            )
        return f"input '{file.path}' is missing, and no step builds it" if file.look is None else ""

    def _is_to_appear(self, file: File, reader: Step) -> bool:
        """Tell whether only a look can find that a file has become a usable input."""
        is_made = file.producer is not None and file.producer.is_live
        is_allowed = not reader.is_strict or self.graph.is_static(file)
        return file.seen and not is_made and is_allowed and bool(self._missing(file))

    def _state_without_maker(self, file: File) -> FileState:
        """Return the state of an output whose step is not live: it counts as built as long as it is as recorded."""
        maker = file.producer
        recorded = (
            None if maker is None or maker.record is None else maker.record.content_of_output(file.path)
        )
        if file.content is None:
            return FileState.AWAITED
        return FileState.BUILT if file.content == recorded else FileState.OUTDATED

    @staticmethod
    def _supplier(step: Step, words: str) -> str:
        if step.state is FAILED:
            return f"{words} step '{step.label}', which failed"
        if step.state is CANCELLED:
            return f"{words} step '{step.label}', which was cancelled"
        return f"{words} step '{step.label}'"

    def reason(self, step: Step) -> str:
        """Say in words why a step is where it is."""
        if step.state is QUEUED:
            return self.pools.why(step)
        if step.state is not PENDING:
            return step.reason
        if not step.is_live:
            return step.reason or "not declared in this session"
        return self._obstacle(step, is_told=True) or self.pools.obstacle(step.spec.pool) or step.reason

    def _label(self, key: str) -> str:
        step = self.graph.steps.get(key)
        return step.label if step is not None else key


def state_while_making(file: File) -> FileState:
    """Return the state of an output whose live step has not succeeded."""
    return FileState.OUTDATED if file.look is not None else FileState.AWAITED
