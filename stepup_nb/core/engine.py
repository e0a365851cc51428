"""How steps move: one function moves them, one predicate says what they wait for.

Checked, queued, started, verified, put back: everything that follows from reports and from changed conditions. What
clients ask for is in `declaring` and `scheduler`. Knows nothing of processes, sockets, SQL or notebooks.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count

from stepup_nb.core import nglob, uptodate
from stepup_nb.core.critical import CriticalPath
from stepup_nb.core.errors import InternalError, UsageError
from stepup_nb.core.graph import Graph
from stepup_nb.core.messages import (
    Amend,
    Amended,
    Decision,
    FilesLooked,
    JobEnded,
    JobNotStarted,
    LogLine,
    LookAt,
    StartJob,
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
    FileHash,
    FileProblem,
    FileState,
    Glob,
    Job,
    Look,
    Outcome,
    Scope,
    Step,
    StepSpec,
    StepState,
    Stop,
)
from stepup_nb.core.pools import Pools
from stepup_nb.core.words import did_you_mean, ending

PUT_BACKS = 2
"""So often an input that changed during a job puts its step back; the next time the step fails (SPEC 4.5)."""


DEFERS = 100
"""So often an amended input that is not there puts its step back; the next time it fails (StepUp 4.0's cap)."""

WATCH, STARTUP, RUN = "watch", "startup", "run"
"""Phases of a plan's session. In `WATCH` nothing moves, in `STARTUP` nothing starts."""


def coarse(seconds: float) -> float:
    """Return a power of two near a measured duration.

    Recorded durations only order what may start; on a fine scale noise would reorder equal steps from run to run.
    """
    return float(2.0 ** max(-4, round(math.log2(max(seconds, 1e-6)))))


@dataclass(slots=True)
class Looking:
    """A look at files that is under way, and what it is for."""

    purpose: str
    """``check``, ``confirm``, ``verify``, ``amend``, ``made``, ``glob`` or ``look``."""
    step: Step | None = None
    job: Job | None = None
    scope: Scope | None = None
    token: int = 0
    """What somebody waits for with it."""
    is_read: bool = False
    """What is amended has been read before."""


class Engine:
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
        self._out = Decision()
        self._looking: dict[int, Looking] = {}
        self._plain_looks = 0
        """Looks under way that no step waits for, but every wait."""
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
        """Steps that pause before another attempt."""
        self._held: dict[str, dict[str, Step]] = {}
        """Steps that were declared under a hold, by that hold; until its end."""
        self._pool_waiters: dict[str, dict[str, Step]] = {}
        """PENDING steps that wait for a pool's definition, or for a larger size of it."""
        self._hash_env: Callable[[str, str], str | None] = lambda environment, name: None
        """Returns the keyed hash of a variable's value in an environment; None where it is not set."""
        self._may_be_stuck = False
        """Since waits were looked at, something that steps wait for may have come to nothing."""

    # --- time and the loop ---------------------------------------------------------------------

    def _expire(self) -> None:
        while self._timers and self._timers[0][0] <= self._now:
            heapq.heappop(self._timers)[2]()

    def _at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time, next(self._timer_numbers), call))

    def _settle(self) -> None:
        while True:
            while self._review:
                self._review_step(self._review.popleft())
            if self.pools.is_contended():
                for step in self.critical.work_out():
                    if step.state is QUEUED:
                        self.pools.rerank(step)
            best = self.pools.next_start()
            if best is None:
                break
            self._start(best)

    # --- moving --------------------------------------------------------------------------------

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
        self._out.steps[step.key] = step
        self._out.forgotten.pop(step.key, None)

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
                self._set_file(file, _state_while_making(file))
                readers = [reader for reader in file.consumers.values() if reader.state in RELYING]
                if readers:
                    words = f"input '{path}' is to be made again by step '{at.label}'"
                    todo += [(reader, words) for reader in readers]

    def _set_file(self, file: File, state: FileState) -> None:
        if file.state is not state:
            file.state = state
            self._out.files[file.path] = file

    def _review_readers(self, file: File) -> None:
        self._review.extend(reader for reader in file.consumers.values() if reader.state is PENDING)

    # --- optional steps ------------------------------------------------------------------------

    def _optional_suppliers(self, step: Step) -> list[Step]:
        files = (self.graph.files.get(path) for path in step.spec.inp)
        makers = [file.producer for file in files if file is not None]
        return [s for s in (*makers, *step.needs_after.values()) if s is not None and s.spec.optional]

    def _review_need(self, steps: Iterable[Step]) -> None:
        """Find out anew whether optional steps are needed, and the optional ones they need in turn."""
        todo = list(steps)
        while todo:
            step = todo.pop()
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

    # --- waiting: one predicate ----------------------------------------------------------------

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
                return "pauses: the machine had no room for its process"
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
                return Engine._supplier(owner, "was declared by")
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

    # --- reviewing, checking, starting ---------------------------------------------------------

    def _review_step(self, step: Step) -> None:
        """Move a step on if its conditions changed."""
        if not step.is_live or self.graph.steps.get(step.key) is not step:
            return
        if step.state is PENDING:
            obstacle = self._obstacle(step)
            if obstacle and step.unamended is not None and self._waits_for_itself(step):
                self._out.lines.append(LogLine("DROPAMEND", step.key))
                self._drop_amended(step)
                obstacle = self._obstacle(step)
            if obstacle:
                if obstacle != step.reason:
                    self._touch(step, obstacle)
            else:
                self._check(step)
        elif step.state is QUEUED:
            obstacle = self._obstacle(step)
            if obstacle:
                self._move(step, PENDING, obstacle)

    def _waits_for_itself(self, step: Step) -> bool:
        """Tell whether a plan amended what a step of its own makes, and that one waits for the plan.

        The plan may succeed without it: it amends anew what it needs (StepUp 3.0). One that was put back only
        now is not tried again: it would go round for ever.
        """
        if step.record is None or step.job is not None or self.phase in (STARTUP, WATCH):
            return False
        files = (self.graph.files[path] for path in set(step.spec.inp).difference(step.declared.inp))
        makers = [file.producer for file in files if self._missing(file, step)]
        return any(
            maker is not None
            and not (maker.is_live and maker.state is not PENDING)
            and self._made(step, maker)
            for maker in makers
        )

    def _made(self, creator: Step, step: Step | None) -> bool:
        """Tell whether a step declared another one, directly or through others."""
        while step is not None and step.creator.startswith("step:"):
            key = step.creator.removeprefix("step:")
            if key == creator.key:
                return True
            step = self.graph.steps.get(key)
        return False

    def _check(self, step: Step) -> None:
        spec = step.spec
        self._move(step, CHECKING, "its files are being looked at")
        is_to_run = step.force or step.record is None
        paths = spec.inp if is_to_run else (*spec.inp, *spec.out)
        globs = () if is_to_run or step.products is None else searches(step.products.globs)
        if paths or globs:
            step.token = self._look(paths, Looking("check", step), globs)
        else:
            self._checked(step, {})

    def _look(self, paths: Iterable[str], looking: Looking, globs: tuple[Glob, ...] = ()) -> int:
        token = self._next_token
        self._next_token += 1
        self._plain_looks += looking.step is None
        self._looking[token] = looking
        files = tuple((path, self._known(path)) for path in paths)
        self._out.instructions.append(LookAt(token, files, globs))
        return token

    def _known(self, path: str) -> FileHash | None:
        file = self.graph.files.get(path)
        return file.look if file is not None and isinstance(file.look, FileHash) else None

    def _files_looked(self, report: FilesLooked) -> None:
        looking = self._looking.pop(report.token, None)
        if looking is None:
            return
        step, job = looking.step, looking.job
        self._plain_looks -= step is None
        if looking.purpose == "made" and step is not None and job is not None:
            self._leave(step, job, report.looks)
            return
        is_verifying = step is not None and job is not None and looking.purpose == "verify"
        before = {path: self._known(path) for path in report.looks} if is_verifying else {}
        if step is not None and job is not None and is_verifying and step.token == report.token:
            # Before their makers are told: what a step does to its own inputs is its own fault.
            self._judge_inputs(step, job, report)
        again = []
        for path, look in report.looks.items():
            file = self.graph.files.get(path)
            if file is None:
                continue
            if report.token < file.token and not _is_same(look, file.look):
                # A look that began later has told otherwise. Which of the two is the older truth?
                again.append(path)
                continue
            file.token = max(report.token, file.token)
            self._see(file, look)
        if again:
            self._look(again, Looking("look"))
        if looking.purpose == "amend" and step is not None and job is not None:
            self._amended(step, job, report, looking)
            return
        if step is None:
            self._looked(report, looking)
            return
        if step.token != report.token:
            return
        step.token = 0
        if looking.purpose == "check":
            self._checked(step, report.found)
        elif looking.purpose == "confirm" and job is not None:
            self._confirmed(step, job)
        elif job is not None:
            self._verified(step, job, report, before)

    def _looked(self, report: FilesLooked, looking: Looking) -> None:
        """A look that no step waits for: does any pattern match anything else than before?"""
        if looking.scope is not None:
            self._globbed(report, looking, looking.scope)
            return
        for found in report.found.items() if self.graph.scopes else ():
            self._see_matches(*found)

    def _globbed(self, report: FilesLooked, looking: Looking, scope: Scope) -> None:
        raise NotImplementedError

    def _see_matches(self, glob: Glob, found: tuple[tuple[str, ...], ...]) -> None:
        for scope in list(self.graph.scopes.values()):
            owner = scope.owner
            for known in scope.globs if owner is not None and owner.state is SUCCEEDED else ():
                if known.patterns == glob.patterns and known.subs == glob.subs and not known.is_deferred:
                    if words := self._other_matches(known, found):
                        assert owner is not None
                        self._pend(owner, words)
                        break

    def _other_matches(self, known: Glob, found: tuple[tuple[str, ...], ...]) -> str:
        """Say which match is new or gone, or return an empty text."""
        now = nglob.consistent(known.patterns, dict(known.subs), self._without_outputs(found))
        before = nglob.consistent(known.patterns, dict(known.subs), known.found)
        if now.canonical() == before.canonical():
            return ""
        old, new = {str(p) for p in before.files()}, {str(p) for p in now.files()}
        pattern = " ".join(known.patterns)
        for path in sorted(new - old) if self.phase != RUN else ():
            file = self.graph.files.get(path)
            if file is None or not self.graph.is_static(file):
                self._out.lines.append(LogLine("UPDATED", path))
        some = sorted(new - old) or sorted(old - new)
        what = "now matches" if new - old else "no longer matches"
        return (
            f"'{some[0]}' {what} the pattern '{pattern}'"
            if some
            else f"pattern '{pattern}' matches otherwise"
        )

    def _without_outputs(self, found: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        left = self.graph.left_behind()

        def is_made(path: str) -> bool:
            # At what a job left that failed, nobody has looked since.
            is_left = path in left and self._known_content(path) in (None, left[path])
            return is_left or self.graph.is_output(path)

        return tuple(tuple(path for path in paths if not is_made(path)) for paths in found)

    def _known_content(self, path: str) -> Content | None:
        known = self._known(path)
        return None if known is None else known.content

    def _see(self, file: File, look: Look) -> None:
        """Take note of what a file is now, and of what follows for its maker and its readers."""
        before, was_seen = file.content, file.seen
        if self.phase in (STARTUP, WATCH):
            self._tell_change(file, look)
        if file.look != look or not was_seen:
            self._out.files[file.path] = file
        file.look = look
        file.seen = True
        content = file.content
        maker = file.producer
        if maker is None:
            self._set_file(file, FileState.MISSING if content is None else FileState.STATIC)
        elif not maker.is_live:
            self._set_file(file, self._state_without_maker(file))
        else:
            if file.state is not FileState.VOLATILE:
                self._see_output(file, maker)
            return
        if content != before or not was_seen:
            self._content_changed(file, was_seen)

    def _tell_change(self, file: File, look: Look) -> None:
        """Tell of a change that was made while nothing ran: of a static file, or of an output."""
        before, now = file.content, look.content if isinstance(look, FileHash) else None
        if before == now or file.state is FileState.VOLATILE:
            return
        maker = file.producer
        if before is None and (maker is not None or not file.seen):
            # Made by its step meanwhile, or new to us.
            return
        if maker is None and not self.graph.is_static(file):
            return
        self._out.lines.append(LogLine("DELETED" if now is None else "UPDATED", file.path))

    def _see_output(self, file: File, maker: Step) -> None:
        content = file.content
        if maker.state is SUCCEEDED and maker.record is not None:
            if maker.record.content_of_output(file.path) != content:
                what = "is missing" if content is None else "changed"
                self._pend(maker, f"output '{file.path}' {what}")
        else:
            self._set_file(file, _state_while_making(file))

    def _content_changed(self, file: File, was_seen: bool) -> None:
        content = file.content
        words = f"input '{file.path}' {'is missing' if content is None else 'changed'}"
        for reader in list(file.consumers.values()):
            if reader.state is SUCCEEDED:
                if reader.record is None or reader.record.content_of_input(file.path) != content:
                    self._pend(reader, words)
            elif reader.state is QUEUED:
                self._pend(reader, words)
            elif reader.state is FAILED and was_seen:
                self._revive(reader, file, words)
            elif reader.state is PENDING:
                reader.is_outdated = False
                self._review.append(reader)

    def _revive(self, step: Step, file: File, words: str) -> None:
        """A step that failed gets another chance if an input is not what its last job read."""
        read = None if step.last is None else step.last.inputs.get(file.path)
        # One that changes its own inputs would go on for ever.
        is_hopeless = step.putbacks > PUT_BACKS or step.defers > DEFERS
        if (read is None or read.content != file.content) and not is_hopeless:
            step.attempts = 0
            self._pend(step, words)

    def _contents(self, paths: Iterable[str]) -> dict[str, Content | None]:
        return {path: self.graph.files[path].content for path in paths}

    def _checked(self, step: Step, found: Mapping[Glob, tuple[tuple[str, ...], ...]]) -> None:
        """All its files were looked at: is it up to date?"""
        spec = step.spec
        if obstacle := self._obstacle(step):
            self._move(step, PENDING, obstacle)
            return
        inputs = {path: content for path, content in self._contents(spec.inp).items() if content is not None}
        if len(inputs) < len(spec.inp):
            # A supplier's output went away between its success and this look: the look has told the supplier.
            self._move(step, PENDING, "an input is missing")
            self._review.append(step)
            return
        now = uptodate.manifest(spec, inputs, step.env_hashes)
        outputs = self._contents(spec.out)
        if step.force:
            why = [uptodate.ASKED]
        else:
            is_equal = step.record is not None and uptodate.is_up_to_date(step.record, now, outputs)
            why = [] if is_equal else uptodate.reasons(step.record, now, outputs)
            why = why or self._outdated_products(step, found)
            if not why:
                self._skip(step)
                return
        if step.record is not None:
            self._out.lines.append(
                LogLine("NOSKIP", step.key, pages=(("Changes causing rerun", "\n".join(why)),))
            )
        step.why = tuple(why)
        step.is_outdated = True
        step.checked = self._turn
        if words := self._pool_obstacle(step):
            self._move(step, PENDING, words)
        else:
            self._move(step, QUEUED, "; ".join(why[:3]))

    def _outdated_products(self, step: Step, found: Mapping[Glob, tuple[tuple[str, ...], ...]]) -> list[str]:
        """Say why what a step declared cannot be what it was, or return nothing."""
        if step.products is None:
            return []
        for glob in searches(step.products.globs):
            if glob in found and (words := self._other_matches(glob, found[glob])):
                return [words]
        if step.round is None:
            return self._unrestorable(step)
        words = self._conflicting_products(step, step.round)
        return [words] if words else []

    # What a step declares is the matter of `Declaring`.

    def _retire(self, step: Step) -> None:
        raise NotImplementedError

    def _unrestorable(self, step: Step) -> list[str]:
        raise NotImplementedError

    def _conflicting_products(self, step: Step, scope: Scope) -> str:
        raise NotImplementedError

    def _restore_products(self, step: Step) -> None:
        raise NotImplementedError

    def _end_round(self, step: Step, *, is_ok: bool) -> None:
        raise NotImplementedError

    def _begin_round(self, step: Step) -> None:
        raise NotImplementedError

    def _skip(self, step: Step) -> None:
        step.skipped = True
        step.why = ()
        self._succeed(step, "up to date")
        if not step.is_restored:
            self._out.lines.append(LogLine("SKIP", step.key))
        if step.products is not None and step.round is None:
            self._restore_products(step)

    def _succeed(self, step: Step, reason: str) -> None:
        step.force = False
        step.is_outdated = False
        step.attempts = 0
        step.putbacks = 0
        step.defers = 0
        self._move(step, SUCCEEDED, reason)
        for path in step.spec.out:
            file = self.graph.files[path]
            self._set_file(file, FileState.BUILT)
            self._review_readers(file)
        self._review.extend(follower for follower in step.followers.values() if follower.state is PENDING)

    def _start(self, step: Step) -> None:
        spec = step.spec
        job = Job(self._next_job, step.key, queued=step.queued_at, started=self._now)
        self._next_job += 1
        job.why = "; ".join(step.why[:3])
        job.reads, job.writes = spec.inp, (*spec.out, *spec.vol)
        self.pools.take(step, job)
        self._move(step, RUNNING, job.why)
        step.job = job
        step.skipped = False
        self.jobs[job.id] = job
        self._out.jobs[job.id] = job
        if spec.inp and step.checked != self._turn:
            # It stood in line for a while: are the inputs still those of the check?
            step.token = self._look(spec.inp, Looking("confirm", step, job))
        else:
            self._launch(step, job)

    def _confirmed(self, step: Step, job: Job) -> None:
        missing = [path for path in job.reads if self._known(path) is None]
        if missing:
            self._pend(step, f"input '{missing[0]}' is missing")
        else:
            self._launch(step, job)

    def _launch(self, step: Step, job: Job) -> None:
        self._drop_amended(step)
        spec = step.spec
        job.started = self._now
        job.is_launched = True
        job.reads, job.writes = spec.inp, (*spec.out, *spec.vol, *step.fading)
        # From here on its outputs may be half-written: whatever becomes of the job, the old result is gone.
        if step.record is not None:
            step.made.update(step.record.outputs)
            step.made.update(step.record.volatiles)
        step.record = None
        step.products = None
        self._touch(step)
        self._begin_round(step)
        job.inputs = {path: known for path in spec.inp if (known := self._known(path)) is not None}
        step.attempts += 1
        if spec.timeout is not None:
            job.timeout = spec.timeout
            self._at(self._now + spec.timeout, lambda: self._time_out(step, job))
        self._out.instructions.append(StartJob(job, spec, step.environment, tuple(self._slot_variables(job))))
        self._out.lines.append(LogLine("START", step.key, job.id))

    # --- amending ------------------------------------------------------------------------------

    def _drop_amended(self, step: Step) -> None:
        """A job begins: what the last one amended is to be amended anew (StepUp 3.0)."""
        if step.unamended is None:
            return
        spec = step.spec
        step.fading = tuple(sorted(set(spec.out).difference(step.declared.out)))
        for path in set(spec.vol).difference(step.declared.vol):
            self.graph.release(path, step)
        self.critical.mark_suppliers(step)
        self.graph.respecify(step, step.declared)
        step.unamended = None
        names = set(step.declared.env)
        step.env_hashes = tuple(pair for pair in step.env_hashes if pair[0] in names)
        self._review_need(self._optional_makers(set(spec.inp).difference(step.spec.inp)))

    def _keep_amended(self, step: Step) -> None:
        """A job did not succeed: what it has not amended (yet) may still be what its step makes."""
        if step.fading:
            spec = replace(step.spec, out=tuple(sorted({*step.spec.out, *step.fading})))
            step.fading, step.unamended = (), step.declared
            self.graph.respecify(step, spec)

    def _fade(self, step: Step) -> None:
        """A job succeeded: what an earlier one amended, and it did not, is the step's no more."""
        for path in step.fading:
            if path not in step.spec.out:
                file = self.graph.files[path]
                self.graph.release(path, step)
                self._out.files[path] = file
                self._lose_supply(file, "is no longer made by any step")
        step.fading = ()

    def _lose_supply(self, file: File, words: str) -> None:
        """A file has lost its maker, or nobody calls it static any more."""
        for reader in list(file.consumers.values()):
            if reader.state is PENDING:
                self._review.append(reader)
            elif reader.is_strict and reader.state in (SUCCEEDED, QUEUED, CHECKING):
                if self._missing(file, reader):
                    self._pend(reader, f"input '{file.path}' {words}")

    def _optional_makers(self, paths: Iterable[str]) -> list[Step]:
        files = (self.graph.files.get(path) for path in paths)
        makers = [file.producer for file in files if file is not None]
        return [maker for maker in makers if maker is not None and maker.spec.optional]

    def _amend(self, m: Amend) -> None:
        job = self.jobs.get(m.job)
        step = None if job is None else self.graph.steps.get(job.step)
        if (
            job is None
            or step is None
            or step.job is not job
            or job.ended is not None
            or job.stop is not None
        ):
            raise over()
        old = step.spec
        graph = self.graph
        inp = set(m.inp).difference(old.inp)
        for path in set(m.optional).difference(old.inp, inp, old.out):
            # What nobody declares is, where StepUp's rules hold, none of our business.
            file = graph.files.get(path) or File(path)
            is_made = file.producer is not None and file.producer.is_live
            if not step.is_strict or is_made or graph.is_static(file):
                inp.add(path)
        out, vol = set(m.out).difference(old.out, old.vol), set(m.vol).difference(old.out, old.vol)
        # What is new, with that part of the old which could be at odds with it.
        more = replace(
            old,
            inp=tuple(sorted(inp | ((out | vol) & {*old.inp}))),
            out=tuple(sorted(out | (inp & {*old.out}))),
            vol=tuple(sorted(vol | (inp & {*old.vol}))),
        )
        spec = replace(
            old,
            inp=tuple(sorted({*old.inp, *inp})),
            out=tuple(sorted({*old.out, *out})),
            vol=tuple(sorted({*old.vol, *vol})),
            env=tuple(sorted({*old.env, *m.env})),
        )
        scope = step.scope
        assert scope is not None
        yielding = graph.check_claims(more, step.key, scope)
        if inp or out:
            graph.check_circle(spec, step.key, scope, yielding)
        # Nothing is refused below this line.
        for other in yielding.values():
            self._retire(other)
        known = dict(step.env_hashes)
        step.env_hashes = tuple(sorted({**dict(m.env_hashes), **known}.items()))
        step.unamended = step.declared
        graph.respecify(step, spec)
        step.fading = tuple(path for path in step.fading if path not in out)
        job.reads, job.writes = spec.inp, (*spec.out, *spec.vol, *step.fading)
        for path in sorted(out | vol):
            for declarer in list(graph.files[path].static):
                if (owner := graph.scopes.get(declarer)) is not None:
                    graph.recall_static(path, owner)
            graph.files[path].static.clear()
            self._out.files[path] = graph.files[path]
        for path in sorted(out):
            for reader in list(graph.files[path].consumers.values()):
                if reader.state in RELYING or reader.state is FAILED:
                    self._pend(reader, f"input '{path}' is now made by step '{step.label}'")
                elif reader.state is PENDING:
                    self._review.append(reader)
        if out:
            self._review_need([step])
        self._review_need(self._optional_makers(inp))
        self.critical.mark_suppliers(step)
        self._touch(step)
        missing = [path for path in sorted(inp) if self._is_hopeless(graph.files[path], step)]
        job.lacking.update(dict.fromkeys(missing))
        paths = sorted(inp.difference(missing))
        if paths:
            self._look(paths, Looking("amend", step, job, token=m.token, is_read=m.is_read))
        else:
            self._out.amended.append(Amended(m.token, tuple(missing)))

    def _is_hopeless(self, file: File, reader: Step) -> bool:
        """Tell whether a file is no input now, whatever a look at it would tell."""
        return bool(self._missing(file, reader)) and not self._is_to_appear(file, reader)

    def _amended(self, step: Step, job: Job, report: FilesLooked, looking: Looking) -> None:
        """What a job amended was looked at: is it there, and was it there when it was read?"""
        if step.job is job and self.jobs.get(job.id) is job:
            for path, look in report.looks.items():
                file = self.graph.files.get(path)
                if file is None or self._missing(file, step) or not isinstance(look, FileHash):
                    job.lacking[path] = None
                    continue
                if looking.is_read and look.ctime_ns > job.started * 1e9:
                    # It was read at some moment before: perhaps what it was then is not what it is now.
                    look = look._replace(inode=-1)
                job.inputs[path] = look
        self._out.amended.append(Amended(looking.token, tuple(sorted(job.lacking))))

    def _defer(self, step: Step, job: Job) -> None:
        """A job ended that had amended inputs which were not there: its step runs again when they are."""
        step.token = 0
        step.defers += 1
        lacking = sorted(job.lacking)
        self._gone(job)
        words = f"amended input '{lacking[0]}' was not there"
        if step.defers > DEFERS:
            self._end(step, job, Outcome.FAILED, f"{words}, {step.defers} times", is_final=True)
            return
        job.outcome = Outcome.CANCELLED
        job.notes = (*job.notes, f"put back: {words}")
        self._out.jobs[job.id] = job
        step.last, step.job = job, None
        step.attempts -= 1
        self._end_round(step, is_ok=False)
        self._keep_amended(step)
        self._out.lines.append(
            LogLine(
                "RESCHEDULE",
                step.key,
                job.id,
                (("Rescheduling due to unavailable amended inputs", _lacking(lacking)),),
            )
        )
        self._look_at_made(step, job)
        self._pend(step, f"{words}: runs again when it is")

    def _look_at_made(self, step: Step, job: Job) -> None:
        """A job did not succeed: what it left in place of its outputs is to be cleaned one day."""
        paths = [path for path in (*step.spec.out, *step.spec.vol) if not path.endswith("/")]
        if paths:
            self._look(paths, Looking("made", step, job))

    def _leave(self, step: Step, job: Job, looks: Mapping[str, Look]) -> None:
        """Take note of what a job that did not succeed wrote; what it did not write may be somebody else's."""
        if step.record is not None or step.job is not None:
            return
        for path, look in looks.items():
            if isinstance(look, FileHash) and look.ctime_ns >= job.started * 1e9:
                step.made[path] = look.content
            elif not isinstance(look, FileHash) or step.made.get(path) != look.content:
                step.made.pop(path, None)
        self._touch(step)

    # --- starting, the rest --------------------------------------------------------------------

    def _slot_variables(self, job: Job) -> Iterable[tuple[str, str]]:
        for name, numbers in job.slots.items():
            tokens = self.pools.pools[name].tokens
            words = [tokens[n] if n < len(tokens) else str(n) for n in numbers]
            yield slot_variable(name), ",".join(words)

    def _unstart(self, step: Step, job: Job) -> None:
        """Take back a start that made no process: there was no job."""
        self._gone(job)
        step.job = None
        self._out.jobs.pop(job.id, None)
        self._out.dropped_jobs.add(job.id)

    # --- ending --------------------------------------------------------------------------------

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

    def _time_out(self, step: Step, job: Job) -> None:
        if job.id in self.jobs and job.ended is None and job.stop is None:
            self._stop(step, Stop.TIMEOUT)
            self._touch(step, f"its time-out of {job.timeout:g} s is over; it is being stopped")

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

    def _job_not_started(self, report: JobNotStarted) -> None:
        job = self.jobs.get(report.job)
        if job is None:
            return
        step = self.graph.steps.get(job.step)
        if report.is_transient and job.stop is None and step is not None and step.job is job:
            self._unstart(step, job)
            step.attempts -= 1
            self._delay(step, 1.0)
            self._pend(step, f"{report.words}; tries again")
            return
        self._gone(job)
        job.ended = self._now
        job.notes = (report.words,)
        if job.stop is not None:
            self._stopped(step, job)
        else:
            self._end(step, job, Outcome.FAILED, report.words)

    def _stopped(self, step: Step | None, job: Job) -> None:
        if job.stop is Stop.TIMEOUT:
            self._end(step, job, Outcome.TIMED_OUT, f"stopped after its time-out of {job.timeout:g} s")
        else:
            self._end(step, job, Outcome.CANCELLED, "cancelled by the user")

    def _job_ended(self, report: JobEnded) -> None:
        job = self.jobs.get(report.job)
        if job is None:
            return
        job.ended = max(report.ended, job.started)
        job.returncode = report.returncode
        job.peak_rss, job.cpu = report.peak_rss, report.cpu
        job.leftovers, job.notes = report.leftovers, report.notes
        self._out.jobs[job.id] = job
        step = self.graph.steps.get(job.step)
        if job.lacking and job.stop is None and step is not None and step.job is job:
            # Whatever it made of that: StepUp's mark, which nothing takes back.
            self._defer(step, job)
            return
        if report.returncode == 0 and job.stop is None and (job.reads or job.writes):
            if step is not None and step.job is job:
                # It holds its slots until its result is known (StepUp 3.0): who looks at a pool of one never
                # sees two of its steps under way.
                step.token = self._look((*job.reads, *job.writes), Looking("verify", step, job))
                return
        self._gone(job)
        if job.stop is not None:
            self._stopped(step, job)
        elif report.returncode != 0:
            self._end(step, job, Outcome.FAILED, ending(report.returncode))
        elif step is None or step.job is not job:
            self._end(step, job, Outcome.CANCELLED, "no longer declared")
        else:
            self._record(step, job, (), ())
            self._end(step, job, Outcome.SUCCEEDED, job.why)

    def _judge_inputs(self, step: Step, job: Job, report: FilesLooked) -> None:
        """The command ended with 0: were its inputs left alone, even if they are the same again?"""
        changed = [path for path in job.reads if not _is_same(report.looks.get(path), job.inputs.get(path))]
        if not changed:
            return
        step.token = 0
        step.putbacks += 1
        self._gone(job)
        words = f"input '{changed[0]}' changed while it ran"
        if step.putbacks > PUT_BACKS:
            page = ("Invalid inputs", "\n".join(f"Input changed unexpectedly: {path}" for path in changed))
            words = f"{words}, {step.putbacks} times"
            self._end(step, job, Outcome.FAILED, words, is_final=True, pages=(page,))
            return
        job.outcome = Outcome.CANCELLED
        job.notes = (*job.notes, f"{words}; result not recorded")
        self._out.jobs[job.id] = job
        step.last, step.job = job, None
        step.attempts -= 1
        self._end_round(step, is_ok=False)
        self._keep_amended(step)
        self._out.lines.append(LogLine("RESCHEDULE", step.key, job.id))
        self._pend(step, f"{words}; runs again ({step.putbacks} of {PUT_BACKS})")

    def _verified(
        self, step: Step, job: Job, report: FilesLooked, before: dict[str, FileHash | None]
    ) -> None:
        """The command ended with 0 and left its inputs alone: are all outputs there?"""
        self._gone(job)
        looks = report.looks
        outputs: list[tuple[str, Content]] = []
        problems = []
        for path in step.spec.out:
            look = looks.get(path)
            if isinstance(look, FileHash):
                outputs.append((path, look.content))
                old = before.get(path)
                if old is not None and not path.endswith("/") and old.mark == look.mark:
                    job.notes = (*job.notes, f"output '{path}' was there before and was not written")
                continue
            problems.append(
                f"'{path}' {look.words}" if isinstance(look, FileProblem) else f"did not create '{path}'"
            )
        if problems:
            missing = [path for path in step.spec.out if not isinstance(looks.get(path), FileHash)]
            page = ("Expected outputs not created", "\n".join(missing))
            self._end(step, job, Outcome.FAILED, f"ended with 0 but {problems[0]}", pages=(page,))
            return
        volatiles = tuple(
            (path, look.content) for path in step.spec.vol if isinstance(look := looks.get(path), FileHash)
        )
        self._record(step, job, tuple(outputs), volatiles)
        self._end(step, job, Outcome.SUCCEEDED, job.why)

    def _record(
        self,
        step: Step,
        job: Job,
        outputs: tuple[tuple[str, Content], ...],
        volatiles: tuple[tuple[str, Content], ...],
    ) -> None:
        """Write down what a success was made of, and what it made."""
        inputs = {path: kept.content for path, kept in job.inputs.items()}
        manifest = uptodate.manifest(step.spec, inputs, step.env_hashes)
        step.record = uptodate.make_record(manifest, outputs, job.id, job.ended or self._now, volatiles)
        for path, _ in (*outputs, *volatiles):
            step.made.pop(path, None)

    def _end(
        self,
        step: Step | None,
        job: Job,
        outcome: Outcome,
        words: str,
        *,
        is_final: bool = False,
        pages: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """A job is over: record it, and move its step if the job is still the current one."""
        job.outcome = outcome
        self._out.jobs[job.id] = job
        if step is None or step.job is not job:
            return
        step.job = None
        step.last = job
        self._touch(step)
        is_ok = outcome is Outcome.SUCCEEDED and step.state is RUNNING
        self._end_round(step, is_ok=is_ok)
        if is_ok:
            self._fade(step)
        else:
            self._keep_amended(step)
            if job.is_launched:
                self._look_at_made(step, job)
        if step.state is not RUNNING:
            # Put back or retired while the job was being stopped.
            self._review.append(step)
            return
        if outcome is Outcome.SUCCEEDED:
            if step.spec.duration is None and job.ended is not None:
                self._set_estimate(step, coarse(job.ended - job.started))
            self._succeed(step, words)
            self._out.lines.append(LogLine("SUCCESS", step.key, job.id))
            for path in step.spec.out:
                for reader in list(self.graph.files[path].consumers.values()):
                    if reader.state is FAILED:
                        self._revive(reader, self.graph.files[path], f"input '{path}' was made again")
            if step.is_strict and (lacking := self._missing_input(step)):
                # That was taken back while it ran.
                self._pend(step, lacking)
        elif outcome is Outcome.CANCELLED:
            self._move(step, CANCELLED, words)
            self._out.lines.append(LogLine("FAIL", step.key, job.id))
            self._let_down(step)
        else:
            self._out.lines.append(LogLine("FAIL", step.key, job.id, pages))
            if step.attempts <= step.spec.retry and not is_final:
                self._delay(step, min(0.1 * 2 ** (step.attempts - 1), 10.0))
                self._pend(step, words)
            else:
                self._move(step, FAILED, words)
                self._let_down(step)

    def _let_down(self, step: Step) -> None:
        """Tell the steps that wait for it that it will not deliver."""
        for path in step.spec.out:
            file = self.graph.files[path]
            self._set_file(file, _state_while_making(file))
            self._review_readers(file)
        self._review.extend(follower for follower in step.followers.values() if follower.state is PENDING)

    def _delay(self, step: Step, seconds: float) -> None:
        step.not_before = self._now + seconds
        self._delayed += 1

        def go_on() -> None:
            self._delayed -= 1
            self._may_be_stuck = True
            self._review.append(step)

        self._at(step.not_before, go_on)

    def _forget_attempts(self, step: Step) -> None:
        """The user asks for a step (again): what it went through before does not count."""
        job = step.job
        is_running = job is not None and job.is_launched and job.stop is None
        step.attempts = 1 if is_running else 0
        step.putbacks = step.defers = 0
        step.not_before = 0.0

    def _hold(self, step: Step) -> None:
        if step.hold:
            self._held.setdefault(step.hold, {})[step.key] = step

    def _set_estimate(self, step: Step, seconds: float) -> None:
        if step.estimate != seconds:
            step.estimate = seconds
            self.critical.mark(step)


_VALID = (RUNNING, SUCCEEDED)
"""The states of a step in which what it declared may go on."""


def over() -> UsageError:
    """Return the refusal for a job that is not running any more."""
    return UsageError(
        "SNB-130",
        "The job that says so is over, or is being stopped.",
        "only a step that runs may declare steps, or amend itself",
        "wait in the script for all that calls stepup_nb",
    )


def _lacking(paths: list[str]) -> str:
    return "\n".join(("Missing inputs and/or required directories:", *paths))


def searches(globs: Iterable[Glob]) -> tuple[Glob, ...]:
    """Return those for which there is anything to search."""
    return tuple(glob for glob in globs if not glob.is_deferred)


def _is_same(look: Look, other: Look) -> bool:
    """Tell whether two looks saw the same: content, and the marks by which a touch is known."""
    if isinstance(look, FileHash) and isinstance(other, FileHash):
        return look.content == other.content and look.mark == other.mark
    return look == other


def _state_while_making(file: File) -> FileState:
    """Return the state of an output whose live step has not succeeded."""
    return FileState.OUTDATED if file.look is not None else FileState.AWAITED


def slot_variable(pool: str) -> str:
    """Return the environment variable that tells a job its slots of a pool."""
    return "STEPUP_POOL_" + "".join(c.upper() if c.isascii() and c.isalnum() else "_" for c in pool)
