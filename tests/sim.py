"""A small world for the core: files are a dict, commands take time and have an exit code, an agenda plays reports back.

Nothing here sleeps, spawns or reads. `Sim` carries out a scheduler's decisions and keeps a story of what happened,
in lines ``TIME STEP STATE``; after every message it checks the invariants of SPEC parts 4 and 5.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import Any

from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import (
    Cancel,
    Clean,
    CloseScope,
    Command,
    Decision,
    Declare,
    DeclareStatic,
    DefinePool,
    FilesLooked,
    FilesRemoved,
    JobEnded,
    JobNotStarted,
    LookAt,
    OpenScope,
    RemoveFiles,
    Report,
    StartJob,
    StopJob,
    Tick,
    Wait,
)
from stepup_nb.core.model import (
    FINISHED,
    QUEUED,
    RELYING,
    RUNNING,
    SUCCEEDED,
    File,
    FileHash,
    Job,
    Look,
    Outcome,
    Pool,
    PoolRequest,
    Scope,
    ScopeKind,
    Step,
    StepSpec,
    StepState,
)
from stepup_nb.core.scheduler import Restored, Scheduler


@dataclass
class Behaviour:
    """What a simulated command does."""

    takes: float = 1.0
    returncode: int = 0
    writes: dict[str, str] | None = None
    """Content of each output; None: a content that is a function of the inputs."""
    dies_after: float = 0.1
    """How long it lives on after it was told to stop."""
    leaves_half: bool = False
    """Told to stop, it leaves its outputs half-written."""
    touches: Callable[[Sim], None] | None = None
    """Somebody's deed while it runs."""
    cannot_start: int = 0
    """So often the machine has no room for it."""


@dataclass
class Sim:
    """The world and its scheduler."""

    pools: dict[str, int | None] = field(default_factory=dict)
    workers: int = 8
    takes_look: float = 0.0
    """How long a look at files takes."""
    looks_early: bool = False
    """A look sees what was there when it began, not when it ends."""
    restored: Restored | None = None
    files: dict[str, str] = field(default_factory=dict)
    is_checking: bool = True
    is_comparing: bool = True
    """Whether a refused command is checked to have changed nothing; takes a while."""

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.workers, self.restored)
        self.now = 0.0
        self.lines: list[str] = []
        self.commands: dict[str, Behaviour] = {}
        self.started: list[str] = []
        self.history: list[Job] = []
        self.waits: dict[int, str] = {}
        self.removed: FilesRemoved | None = None
        self.refused: set[int] = set()
        """Jobs that could not be started, whether or not that was reported."""
        self.running: dict[int, StartJob] = {}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._states: dict[str, StepState] = {}
        self._inodes: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._tokens = count(1)
        self._scope = "session"
        for name, size in self.pools.items():
            self.do(DefinePool(name, size, self._scope))

    # --- what a test says ---

    def cell(self, id: str, *, kind: ScopeKind = ScopeKind.CELL, deleted: Iterable[str] = ()) -> Sim:
        """Begin a cell; the one that was open ends well."""
        self.end_cell()
        self._scope = id
        self.do(OpenScope(id, kind, f"cell {id}", tuple(deleted)))
        return self

    def end_cell(self, *, is_ok: bool = True) -> Sim:
        """End the cell that is open."""
        if self._scope != "session":
            self.do(CloseScope(self._scope, is_ok))
            self._scope = "session"
        return self

    def step(
        self,
        command: str,
        *,
        pool: str | dict[str, int] | None = None,
        env_hashes: tuple[tuple[str, str | None], ...] = (),
        hold: str = "",
        **options: object,
    ) -> str:
        """Declare a step and return its key; ``takes``, ``returncode`` and the like say what its command does."""
        names = Behaviour.__dataclass_fields__
        behaviour = Behaviour(**{k: options.pop(k) for k in list(options) if k in names})  # type: ignore[arg-type]
        self.commands[command] = behaviour
        requests = {pool: 1} if isinstance(pool, str) else (pool or {})
        for name in ("inp", "out", "vol", "after", "env"):
            if name in options:
                value = options[name]
                options[name] = (value,) if isinstance(value, str) else tuple(sorted(value))  # type: ignore[call-overload]
        asked = tuple(PoolRequest(name, slots) for name, slots in sorted(requests.items()))
        spec = StepSpec(action="runsh", command=command, pool=asked, **options)  # type: ignore[arg-type]
        decision = self.do(Declare(spec, self._scope, "", env_hashes, hold))
        return str(decision.reply["step"])

    def static(self, *paths: str) -> Sim:
        """Declare files static."""
        self.do(DeclareStatic(paths, self._scope))
        return self

    def pool(self, name: str, size: int | None, tokens: tuple[str, ...] = ()) -> Sim:
        """Define a pool or resize it."""
        self.do(DefinePool(name, size, self._scope, tokens))
        return self

    def clean(self, *, dry_run: bool = False) -> list[str]:
        """Clean, and return what was removed (or would be)."""
        self.do(Clean(next(self._tokens), dry_run))
        assert self.removed is not None
        return list(self.removed.removed)

    def restart(self) -> Sim:
        """Return the world after the end of the session: no job lives on, the database remembers."""
        old = self.scheduler
        steps = [_dormant(step) for step in old.graph.steps.values()]
        restored = Restored(
            steps=sorted(steps, key=lambda step: step.seq),
            scopes={
                key: step.scope.id
                for key, step in old.graph.steps.items()
                if step.scope is not None and step.scope.kind is ScopeKind.CELL
            },
            files=[
                File(f.path, look=f.look) for f in old.graph.files.values() if isinstance(f.look, FileHash)
            ],
            pools=[
                Pool(p.name, p.size, True, p.tokens, scope=p.scope)
                for p in old.pools.pools.values()
                if p.is_defined
            ],
            workers=old.pools.workers,
            next_job=max((job.id for job in self.history), default=0) + 1,
        )
        # What was never declared in the new session was still declared by its cell.
        restored.scopes |= {key: cell for key, cell in old._cell_of.items() if key not in restored.scopes}
        for start in self.running.values():
            self._leave_half(start)
        new = Sim(
            workers=self.workers,
            takes_look=self.takes_look,
            looks_early=self.looks_early,
            restored=restored,
            files=self.files,
            is_checking=self.is_checking,
            is_comparing=self.is_comparing,
        )
        new.commands, new._inodes, new._numbers = self.commands, self._inodes, self._numbers
        new._written = self._written
        new.now = self.now
        return new

    def write(self, path: str, content: str) -> Sim:
        """Write a file as the user would."""
        self.files[path] = content
        self._inodes[path] = next(self._numbers) + 1
        self._written[path] = int(self.now * 1e9)
        return self

    def remove(self, path: str) -> Sim:
        """Remove a file as the user would."""
        self.files.pop(path, None)
        self._inodes.pop(path, None)
        return self

    def do(self, command: Command) -> Decision:
        """Send a command, and let what needs no time happen."""
        decision = self._hand_in(command)
        self._drain()
        return decision

    def cancel(self, *steps: str) -> Sim:
        """Cancel steps."""
        self.do(Cancel(steps))
        return self

    def wait(self, *steps: str, timeout: float | None = None, scope: str = "") -> str:
        """Wait as ``%stepup wait`` does, and return how the wait ended."""
        token = next(self._tokens)
        deadline = None if timeout is None else self.now + timeout
        self.do(Wait(token, steps or None, scope, deadline))
        while token not in self.waits:
            if not self._advance():
                raise AssertionError(f"a wait hangs; {self.states()}")
        self._drain()
        return self.waits[token]

    def run(self, until: float | None = None) -> Sim:
        """Let the world go on until nothing happens any more, or until that time."""
        while self._advance(until):
            pass
        if until is not None:
            self.now = max(self.now, until)
        return self

    # --- what a test reads ---

    def state(self, key: str) -> str:
        """Return the state of a step."""
        return str(self[key].state)

    def __getitem__(self, key: str) -> Step:
        steps = self.scheduler.graph.steps
        return steps[key] if key in steps else steps[f"runsh {key}"]

    def states(self) -> dict[str, str]:
        """Return the state of all live steps, by command."""
        return {
            key.removeprefix("runsh "): str(step.state)
            for key, step in self.scheduler.graph.steps.items()
            if step.is_live
        }

    def reason(self, key: str) -> str:
        """Say why a step is where it is."""
        return self.scheduler.reason(self[key])

    def story(self, word: str = "") -> list[str]:
        """Return the lines with that word."""
        return [line for line in self.lines if word in line]

    def ran(self) -> list[str]:
        """Return what was started since this was last asked."""
        self.started, started = [], self.started
        return started

    def overlap(self, pool: str) -> int:
        """Return the greatest number of slots of a pool that were held at once."""
        moments = []
        for job in self.history:
            if pool in job.pool and job.ended is not None:
                moments += [(job.started, 1, job.pool[pool]), (job.ended, 0, -job.pool[pool])]
        used = most = 0
        for _, _, change in sorted(moments):
            used += change
            most = max(most, used)
        return most

    # --- the world ---

    def _look(self, path: str) -> Look:
        if path not in self.files:
            return None
        inode = self._inodes.setdefault(path, 0)
        content = self.files[path]
        written = self._written.get(path, -1)
        return FileHash(f"sim:{content}", len(content), 0o100644, inode, inode, written, 0)

    def _advance(self, until: float | None = None) -> bool:
        due = self._agenda[0][0] if self._agenda else None
        wake = self.scheduler.next_time()
        if wake is not None and (due is None or wake < due):
            if until is not None and wake > until:
                return False
            self.now = max(self.now, wake)
            self._hand_in(Tick())
            return True
        if due is None or (until is not None and due > until):
            return False
        self.now = due
        heapq.heappop(self._agenda)[2]()
        return True

    def _drain(self) -> None:
        while self._agenda and self._agenda[0][0] <= self.now:
            heapq.heappop(self._agenda)[2]()

    def _at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._numbers), call))

    def _hand_in(self, message: Command | Report) -> Decision:
        before = snapshot(self.scheduler) if self.is_comparing and self.is_checking else None
        decision = Decision()
        due = self.scheduler.next_time()
        refusal = None
        try:
            self.scheduler.handle(message, self.now, decision)
        except UsageError as error:
            refusal = error
            if before is not None and (due is None or due > self.now):
                assert snapshot(self.scheduler) == before, "a refusal changed something"
        for key, step in decision.steps.items():
            if step.state is not self._states.get(key):
                self._states[key] = step.state
                self.lines.append(f"{self.now:g} {key.removeprefix('runsh ')} {step.state.lower()}")
        for key in decision.forgotten:
            self._states.pop(key, None)
        for instruction in decision.instructions:
            self._carry_out(instruction)
        for ended in decision.ended:
            self.waits[ended.token] = ended.how
        for report in decision.removed:
            self.removed = report
        if self.is_checking:
            check_invariants(self)
        if refusal is not None:
            raise refusal
        return decision

    def _carry_out(self, instruction: object) -> None:
        if isinstance(instruction, LookAt):
            looks = {path: self._look(path) for path, _ in instruction.files} if self.looks_early else None
            self._at(self.now + self.takes_look, lambda: self._answer(instruction, looks))
        elif isinstance(instruction, StartJob):
            self._begin(instruction)
        elif isinstance(instruction, StopJob):
            if instruction.job in self.refused:
                # It has no process, and the report that says so is on its way.
                return
            begun = self.running.get(instruction.job)
            assert begun is not None, "a job is stopped that nobody started"
            self._at(self.now + self.commands[begun.spec.command].dies_after, lambda: self._end(begun, -15))
        elif isinstance(instruction, RemoveFiles):
            self._remove(instruction)

    def _answer(self, instruction: LookAt, looks: Mapping[str, Look] | None) -> None:
        if looks is None:
            looks = {path: self._look(path) for path, _ in instruction.files}
        self._hand_in(FilesLooked(instruction.token, looks))

    def _begin(self, start: StartJob) -> None:
        behaviour = self.commands[start.spec.command]
        if behaviour.cannot_start:
            behaviour.cannot_start -= 1
            self.refused.add(start.job.id)
            self._at(self.now, lambda: self._refuse(start))
            return
        assert start.job.id not in self.running
        spec = start.spec
        for other in self.running.values():
            assert other.job.step != start.job.step, f"two live jobs of {start.job.step}"
            writes = {*spec.out, *spec.vol}
            shared = (writes & {*other.spec.inp, *other.spec.out, *other.spec.vol}) | (
                {*spec.inp} & {*other.spec.out, *other.spec.vol}
            )
            assert not shared, f"{start.job.step} starts while {other.job.step} uses {shared}"
        self.running[start.job.id] = start
        self.started.append(start.job.step.removeprefix("runsh "))
        self.history.append(start.job)
        if behaviour.touches is not None:
            deed = behaviour.touches
            self._at(
                self.now + behaviour.takes / 2, lambda: deed(self) if start.job.id in self.running else None
            )
        self._at(self.now + behaviour.takes, lambda: self._end(start, behaviour.returncode))

    def _refuse(self, start: StartJob) -> None:
        self._hand_in(JobNotStarted(start.job.id, "the system refused a new process", is_transient=True))

    def _end(self, start: StartJob, returncode: int) -> None:
        if self.running.pop(start.job.id, None) is None:
            return
        spec = start.spec
        if returncode != 0:
            self._leave_half(start)
        else:
            writes = self.commands[spec.command].writes
            made_of = "+".join(self.files.get(path, "?") for path in spec.inp)
            for path in spec.out:
                if writes is None:
                    self.write(path, f"{spec.command}({made_of})")
                elif path in writes:
                    self.write(path, writes[path])
        self._hand_in(JobEnded(start.job.id, returncode, self.now))

    def _leave_half(self, start: StartJob) -> None:
        if self.commands[start.spec.command].leaves_half:
            for path in start.spec.out:
                self.write(path, "half")

    def _remove(self, instruction: RemoveFiles) -> None:
        removed, kept = [], []
        for path, content in instruction.files:
            look = self._look(path)
            if isinstance(look, FileHash) and look.content == content:
                removed.append(path)
                if not instruction.dry_run:
                    self.remove(path)
            else:
                kept.append((path, "it was changed"))
        report = FilesRemoved(instruction.token, tuple(removed), tuple(kept))
        self._at(self.now, lambda: self._hand_in(report))  # type: ignore[arg-type, return-value]


def _dormant(step: Step) -> Step:
    """Return a step as the database gives it back."""
    job = step.job
    last = step.last
    if job is not None and job.is_launched:
        last = replace(job, outcome=Outcome.INTERRUPTED, stop=None)
    return Step(
        step.key,
        step.spec,
        step.seq,
        step.number,
        cell=step.cell,
        is_retired=step.is_retired,
        state=step.state if step.state in FINISHED else StepState.PENDING,
        reason=step.reason if step.state in FINISHED else "",
        record=step.record,
        last=last,
    )


def snapshot(scheduler: Scheduler) -> dict[str, Any]:
    """Return all that a refused command must leave as it was, in a form that can be compared."""
    graph, pools = scheduler.graph, scheduler.pools
    return {
        "steps": [(key, _frozen(step)) for key, step in graph.steps.items()],
        "files": {path: _frozen(file) for path, file in graph.files.items()},
        "scopes": {id: _frozen(scope) for id, scope in graph.scopes.items()},
        "pools": {name: _frozen(pool) for name, pool in pools.pools.items()},
        "jobs": {id: _frozen(job) for id, job in scheduler.jobs.items()},
        "rest": (dict(pools.busy), pools.workers, pools.is_paused, pools.is_draining, set(scheduler.holds)),
        "counts": dict(scheduler.counts),
        "looks": list(scheduler._looking),
        "waits": list(scheduler._waits),
        "dormant": {cell: list(steps) for cell, steps in scheduler._dormant.items()},
    }


_UNTOLD = {"at", "overtaken", "previous", "elsewhere"}


def _frozen(noun: Step | File | Scope | Pool | Job) -> dict[str, Any]:
    return {f.name: _plain(getattr(noun, f.name)) for f in fields(noun) if f.name not in _UNTOLD}


def _plain(value: Any) -> Any:
    if isinstance(value, Step):
        return value.key
    if isinstance(value, Scope | Job):
        return value.id
    if isinstance(value, dict):
        return [(key, _plain(one)) for key, one in value.items()]
    if isinstance(value, set):
        return frozenset(value)
    return value


_NONE = dict.fromkeys(StepState, 0)


def check_invariants(sim: Sim) -> None:
    """Assert what must hold after every message."""
    scheduler = sim.scheduler
    pools, graph = scheduler.pools, scheduler.graph
    held: dict[str, dict[int, int]] = {}
    dying: dict[str, set[int]] = {}
    for job in scheduler.jobs.values():
        for name, numbers in job.slots.items():
            assert len(numbers) == job.pool[name]
            for number in numbers:
                assert number not in held.setdefault(name, {}), "a slot is held twice"
                held[name][number] = job.id
        if job.stop is not None:
            for path in (*job.reads, *job.writes):
                dying.setdefault(path, set()).add(job.id)
    for pool in pools.pools.values():
        assert pool.held == held.get(pool.name, {}), "a pool's occupancy is not what its jobs hold"
    assert {path: set(jobs) for path, jobs in scheduler._dying.items()} == dying
    assert sorted(pools.busy.values()) == sorted(scheduler.jobs), "a worker is busy without a job"
    counts = _NONE.copy()
    waiting = {step.key for step in pools.waiting()}
    number_waiting = 0
    for key, step in graph.steps.items():
        state, spec = step.state, step.spec
        if state is QUEUED:
            number_waiting += 1
            assert key in waiting
        if not step.is_live:
            assert state is StepState.PENDING or state in FINISHED, f"{key} moves without being declared"
            assert not step.followers
            continue
        counts[state] += 1
        scope = step.scope
        assert scope is not None
        assert scope.steps.get(key) is step or scope.undecided.get(key) is step
        if state is RUNNING:
            assert step.job is not None
        for path in (*spec.out, *spec.vol):
            assert graph.files[path].producer is step, f"{path} has two makers"
        for path in spec.inp:
            file = graph.files[path]
            assert file.consumers.get(key) is step
            if state in RELYING:
                maker = file.producer
                if maker is not None and maker.is_live:
                    assert maker.state is SUCCEEDED, f"{key} relies on {path} before it is made"
        for name, target in step.needs_after.items():
            assert name in spec.after
            if target is not None:
                assert target.is_live
                assert target.followers[key] is step
                assert state is not QUEUED or target.state is SUCCEEDED
    assert number_waiting == len(waiting)
    assert counts == scheduler.counts
    can_start = not pools.is_paused and not pools.is_draining and len(pools.busy) < pools.workers
    if can_start:
        assert pools.next_start() is None, "a step could start and does not"
