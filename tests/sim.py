"""A small world for the core: files are a dict, commands take time and have an exit code, an agenda plays reports back.

Nothing here sleeps, spawns or reads. `Sim` carries out a scheduler's decisions and keeps a story of what happened,
in lines ``TIME STEP STATE``; after every message it checks the invariants of SPEC parts 4 and 5. A command may be
a plan: a function that declares steps through its `Script` while its job runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import Any

from stepup_nb.core import nglob
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import (
    Amend,
    Cancel,
    Clean,
    CloseScope,
    Command,
    Decision,
    Declare,
    DeclareGlob,
    DeclareStatic,
    DefinePool,
    FilesLooked,
    FilesRemoved,
    JobEnded,
    JobLost,
    JobNotStarted,
    LogLine,
    LookAgain,
    LookAt,
    OpenScope,
    RemoveFiles,
    Report,
    SetPhase,
    StartJob,
    StopJob,
    Tick,
    Wait,
)
from stepup_nb.core.model import (
    CHECKING,
    FINISHED,
    FOLDER,
    PENDING,
    QUEUED,
    RELYING,
    RUNNING,
    SUCCEEDED,
    Content,
    File,
    FileHash,
    Glob,
    Job,
    Look,
    Outcome,
    Pool,
    PoolRequest,
    Products,
    Scope,
    ScopeKind,
    Step,
    StepSpec,
    StepState,
)
from stepup_nb.core.scheduler import Restored, Scheduler
from stepup_nb.core.simulate import Agenda
from stepup_nb.core.uptodate import Record

Plan = Callable[["Script"], object]
"""What a command does besides taking time, in the words of its `Script`.

A generator lets time go by (``yield 0.5``) and waits for answers (``missing = yield script.amend("a")``).
"""


class GaveUp(Exception):
    """A plan fails half-way."""


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
    plan: Plan | None = None
    """What it declares and amends; it ends when that, and what it takes, is over."""


class Script:
    """What a running job may say."""

    def __init__(self, sim: Sim, start: StartJob) -> None:
        self.sim, self.job = sim, start.job.id
        self._environment = start.environment

    @property
    def _scope(self) -> str:
        return self.sim.scheduler.scope_of_job(self.job)

    def step(self, command: str, *, hold: str = "", **options: Any) -> str:
        """Declare a step and return its key."""
        spec = self.sim.spec(command, options)
        hashes = self.sim.hashes(spec.env)
        decision = self.sim.do(Declare(spec, self._scope, self._environment, hashes, hold))
        return str(decision.reply["step"])

    def script(self, command: str, plan: Plan, **options: Any) -> str:
        """Declare a step that is a plan, whose text is the file ``COMMAND.py``; nobody calls that static."""
        inp = {f"{command}.py", *_words(options.pop("inp", ()))}
        return self.step(command, inp=tuple(inp), plan=plan, **options)

    def static(self, *paths: str) -> None:
        """Declare files static."""
        self.sim.do(DeclareStatic(paths, self._scope))

    def pool(self, name: str, size: int | None) -> None:
        """Define a pool."""
        self.sim.do(DefinePool(name, size, self._scope))

    def glob(self, *patterns: str, is_deferred: bool = False, **subs: str) -> Answer:
        """Search for patterns; what matches is the answer."""
        glob = Glob(patterns, tuple(sorted(subs.items())), (), is_deferred)
        token = self.sim.token()
        self.sim.do(DeclareGlob(token, glob, self._scope))
        return Answer(token)

    def amend(
        self,
        inp: str | Iterable[str] = (),
        *,
        out: str | Iterable[str] = (),
        vol: str | Iterable[str] = (),
        env: str | Iterable[str] = (),
        is_read: bool = False,
        optional: str | Iterable[str] = (),
    ) -> Answer:
        """Amend the step; the inputs that are not there are the answer."""
        token = self.sim.token()
        names = _words(env)
        hashes = self.sim.hashes(names)
        words = (_words(inp), _words(out), _words(vol), names)
        self.sim.do(Amend(token, self.job, *words, hashes, is_read, _words(optional)))
        return Answer(token)


class Answer(int):
    """The token of an answer that comes later; a plan that yields it gets it."""


def _words(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(sorted(value))


@dataclass
class Saved:
    """What the database keeps of a step, by the rules of `director.store`."""

    declared: dict[str, Any]
    scope: str = ""
    ended: tuple[StepState, str, Job | None] = (PENDING, "", None)
    kept: tuple[Record | None, Products | None, dict[str, Content]] = (None, None, {})


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
    variables: dict[str, str] = field(default_factory=dict)
    """The environment."""
    writes_volatiles: bool = False
    """Commands write their by-products, too."""
    is_narrated: bool = False
    """Somebody listens to why each thing is decided as it is."""

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.workers, self.restored)
        self.scheduler.use_env(lambda environment, name: self.variables.get(name))
        self.now = 0.0
        self.lines: list[str] = []
        self.log: list[LogLine] = []
        self.said: list[str] = []
        self.scheduler.narrate(self.is_narrated)
        self.commands: dict[str, Behaviour] = {}
        self.started: list[str] = []
        self.history: list[Job] = []
        self.waits: dict[int, str] = {}
        self.removed: FilesRemoved | None = None
        self.refused: set[int] = set()
        """Jobs that could not be started, whether or not that was reported."""
        self.running: dict[int, StartJob] = {}
        self._agenda: Agenda[Callable[[], None]] = Agenda()
        self._numbers = count()
        self._states: dict[str, StepState] = {}
        self._inodes: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._tokens = count(1)
        self._asking: dict[int, Callable[[Any], None]] = {}
        """What goes on when an answer is there."""
        self.answers: dict[int, Any] = {}
        self.saved: dict[str, Saved] = {}
        self._saved_files: dict[str, FileHash] = {}
        self._unfinished: dict[int, Job] = {}
        self._scope = "session"
        if self.restored is not None:
            self._take_over(self.restored)
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
        spec = self.spec(command, {"pool": pool, **options})
        decision = self.do(Declare(spec, self._scope, "", env_hashes, hold))
        return str(decision.reply["step"])

    def spec(self, command: str, options: Mapping[str, Any]) -> StepSpec:
        """Return a declaration, and take note of what its command does."""
        given = dict(options)
        names = Behaviour.__dataclass_fields__
        self.commands[command] = Behaviour(**{k: given.pop(k) for k in list(given) if k in names})
        pool = given.pop("pool", None)
        requests = {pool: 1} if isinstance(pool, str) else (pool or {})
        for name in ("inp", "out", "vol", "after", "env"):
            if name in given:
                given[name] = _words(given[name])
        asked = tuple(PoolRequest(name, slots) for name, slots in sorted(requests.items()))
        return StepSpec(action="runsh", command=command, pool=asked, **given)

    def hashes(self, names: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
        """Return the values of variables."""
        return tuple((name, self.variables.get(name)) for name in names)

    def token(self) -> int:
        """Return a token that nobody else has."""
        return next(self._tokens)

    def boot(self, plan: Plan | None = None, **options: Any) -> Sim:
        """Begin a plan's session as ``boot`` does: look at all that is known, then run ``plan.py``.

        Without a plan, that of the session before.
        """
        if plan is not None:
            self.edit("plan", plan)
        self.do(SetPhase("startup"))
        self.do(OpenScope("root", ScopeKind.STEP, "boot"))
        self.do(DeclareStatic(("plan.py",), "root"))
        behaviour = self.commands["plan"]
        self.do(Declare(self.spec("plan", {"inp": "plan.py", **options}), "root"))
        self.commands["plan"] = behaviour
        self.do(CloseScope("root"))
        self.do(SetPhase("run"))
        return self

    def edit(self, command: str, plan: Plan, **behaviour: Any) -> Sim:
        """Edit a plan, whose text is the file ``COMMAND.py``."""
        self.commands[command] = Behaviour(plan=plan, **behaviour)
        return self.write(f"{command}.py", f"{command} {next(self._numbers)}")

    def look_again(self, *paths: str) -> Sim:
        """Tell of changed files, as who watches them does."""
        self.do(LookAgain(0, paths or None))
        return self

    def static(self, *paths: str) -> Sim:
        """Declare files static."""
        self.do(DeclareStatic(paths, self._scope))
        return self

    def pool(self, name: str, size: int | None, tokens: tuple[str, ...] = ()) -> Sim:
        """Define a pool or resize it."""
        self.do(DefinePool(name, size, self._scope, tokens))
        return self

    def clean(
        self, *, dry_run: bool = False, options: bool = False, paths: tuple[str, ...] | None = None
    ) -> list[str]:
        """Clean, and return what was removed (or would be)."""
        self.do(Clean(next(self._tokens), dry_run, options, paths))
        assert self.removed is not None
        return list(self.removed.removed)

    def restart(self) -> Sim:
        """Return the world after the end of the session: no job lives on, the database remembers."""
        old = self.scheduler
        for job in self._unfinished.values():
            self._interrupt(job)
        restored = Restored(
            steps=sorted(map(_dormant, self.saved.values()), key=lambda step: step.seq),
            scopes={key: saved.scope for key, saved in self.saved.items() if saved.scope},
            files=[File(path, look=look) for path, look in self._saved_files.items()],
            pools=[
                Pool(p.name, p.size, True, p.tokens, scope=p.scope)
                for p in old.pools.pools.values()
                if p.is_defined
            ],
            workers=old.pools.workers,
            next_job=max((job.id for job in self.history), default=0) + 1,
        )
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
            variables=self.variables,
            writes_volatiles=self.writes_volatiles,
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

    # --- the database ---

    def _take_over(self, restored: Restored) -> None:
        for step in restored.steps:
            kept = (step.record, step.products, dict(step.made))
            scope = restored.scopes.get(step.key, "")
            self.saved[step.key] = Saved(_declared(step), scope, (step.state, step.reason, step.last), kept)
        self._saved_files = {f.path: f.look for f in restored.files if isinstance(f.look, FileHash)}

    def _save(self, decision: Decision) -> None:
        """Write down what the store would: only what the decision says has changed."""
        for key in decision.forgotten:
            self.saved.pop(key, None)
        for key, step in decision.steps.items():
            old = self.saved.get(key) or Saved(_declared(step))
            kept = (step.record, step.products, dict(step.made))
            if step.record is None and not step.made:
                kept = (None, None, {})
            is_new = kept != old.kept
            if step.state in FINISHED:
                ended = (step.state, step.reason, step.last)
            elif not is_new or step.state is RUNNING:
                ended, kept = old.ended, old.kept
            else:
                ended = (PENDING, "", old.ended[2])
            scope = old.scope
            if step.scope is not None:
                scope = step.scope.id if step.scope.kind in (ScopeKind.CELL, ScopeKind.STEP) else ""
            self.saved[key] = Saved(_declared(step), scope, ended, kept)
        for file in decision.files.values():
            if isinstance(file.look, FileHash):
                self._saved_files[file.path] = file.look
            else:
                self._saved_files.pop(file.path, None)
        for number, job in decision.jobs.items():
            if job.outcome is None:
                self._unfinished[number] = job
            else:
                self._unfinished.pop(number, None)
        for number in decision.dropped_jobs:
            self._unfinished.pop(number, None)

    def _interrupt(self, job: Job) -> None:
        """It ran when the session ended: what its step made is its own still, and proves nothing."""
        saved = self.saved.get(job.step)
        if saved is not None:
            record, _, made = saved.kept
            if record is not None:
                made = {**made, **record.made()}
            saved.kept = (None, None, made)
            saved.ended = (PENDING, "", replace(job, outcome=Outcome.INTERRUPTED))

    # --- the world ---

    def _look(self, path: str) -> Look:
        if path.endswith("/"):
            is_there = path == "./" or any(other.startswith(path) for other in self.files)
            return FOLDER if is_there else None
        if path not in self.files:
            return None
        inode = self._inodes.setdefault(path, 0)
        content = self.files[path]
        written = self._written.get(path, -1)
        return FileHash(f"sim:{content}", len(content), 0o100644, inode, inode, written, 0)

    def _advance(self, until: float | None = None) -> bool:
        due = self._agenda.due
        wake = self.scheduler.next_time()
        if wake is not None and (due is None or wake < due):
            if until is not None and wake > until:
                return False
            self.now = max(self.now, wake)
            self._hand_in(Tick())
            return True
        if due is None or (until is not None and due > until):
            return False
        self.now, call = self._agenda.take()
        call()
        return True

    def _drain(self) -> None:
        while self._agenda.due is not None and self._agenda.due <= self.now:
            self._agenda.take()[1]()

    def _at(self, time: float, call: Callable[[], None]) -> None:
        self._agenda.put(time, call)

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
        self._save(decision)
        self.log += decision.lines
        self.said += decision.said
        for key, step in decision.steps.items():
            if step.state is not self._states.get(key):
                if step.state is CHECKING and self.is_checking:
                    check_creators(step)
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
        for amended in decision.amended:
            self._tell(amended.token, amended.missing)
        for globbed in decision.globbed:
            self._tell(globbed.token, globbed.found)
        for looked in decision.looked:
            self._tell(looked.token, True)
        if refusal is not None:
            raise refusal
        return decision

    def _tell(self, token: int, answer: Any) -> None:
        assert token not in self.answers, "somebody is answered twice"
        self.answers[token] = answer
        if (go_on := self._asking.pop(token, None)) is not None:
            self._at(self.now, lambda: go_on(answer))

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
        found = {
            glob: nglob.search(glob.patterns, dict(glob.subs), self._listing) for glob in instruction.globs
        }
        self._hand_in(FilesLooked(instruction.token, looks, found))

    def _listing(self, folder: str) -> list[tuple[str, bool]]:
        start = f"{folder}/" if folder else ""
        names: dict[str, bool] = {}
        for path in self.files:
            if path.startswith(start) and path != start:
                name, slash, _ = path.removeprefix(start).partition("/")
                names[name] = bool(slash)
        return list(names.items())

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
        if behaviour.plan is not None:
            plan = behaviour.plan
            self._at(self.now, lambda: self._plan(start, plan, behaviour))
        else:
            self._at(self.now + behaviour.takes, lambda: self._end(start, behaviour.returncode))

    def _plan(self, start: StartJob, plan: Plan, behaviour: Behaviour) -> None:
        """Let a plan say what it says, until it has to wait; then end its job."""
        script = Script(self, start)
        ends = self.now + behaviour.takes

        said: object = None

        def go_on(answer: Any = None) -> None:
            nonlocal said
            if start.job.id not in self.running:
                return
            try:
                if answer is _NOTHING:
                    said = plan(script)
                    answer = None
                if not isinstance(said, Generator):
                    raise StopIteration
                asked = said.send(answer)
            except StopIteration:
                self._at(max(self.now, ends), lambda: self._end(start, behaviour.returncode))
                return
            except (GaveUp, UsageError) as why:
                self.lines.append(f"{self.now:g} {start.spec.command} gave up: {why}")
                self._end(start, behaviour.returncode or 1)
                return
            if not isinstance(asked, Answer):
                self._at(self.now + asked, go_on)
            elif asked in self.answers:
                self._at(self.now, lambda: go_on(self.answers[asked]))
            else:
                self._asking[asked] = go_on

        go_on(_NOTHING)

    def _refuse(self, start: StartJob) -> None:
        # Now and then it is the machine that is full, not something about this step.
        is_full = start.job.id % 2 == 0
        self._hand_in(JobNotStarted(start.job.id, "there was no room", is_transient=True, is_full=is_full))

    def lose(self, job: int, words: str) -> None:
        """Let the machine go away on which a job runs."""
        start = self.running.pop(job)
        self._leave_half(start)
        self._hand_in(JobLost(job, words))

    def _end(self, start: StartJob, returncode: int) -> None:
        if self.running.pop(start.job.id, None) is None:
            return
        # With what it has amended meanwhile.
        step = self.scheduler.graph.steps.get(start.job.step)
        spec = step.spec if step is not None and step.job is start.job else start.spec
        if returncode != 0:
            self._leave_half(start)
        else:
            writes = self.commands[spec.command].writes
            made_of = "+".join(self.files.get(path, "?") for path in spec.inp)
            made_of += "".join(f" {name}={value}" for name, value in self.hashes(spec.env) if value)
            for path in (*spec.out, *spec.vol) if self.writes_volatiles else spec.out:
                if path.endswith("/"):
                    self.files.setdefault(path, "")
                elif writes is None:
                    self.write(path, f"{spec.command}({made_of})")
                elif path in writes:
                    self.write(path, writes[path])
        self._hand_in(JobEnded(start.job.id, returncode, self.now))

    def _leave_half(self, start: StartJob) -> None:
        if self.commands[start.spec.command].leaves_half:
            step = self.scheduler.graph.steps.get(start.job.step)
            spec = step.spec if step is not None and step.job is start.job else start.spec
            for path in spec.out:
                self.write(path, "half")

    def _remove(self, instruction: RemoveFiles) -> None:
        removed, kept, gone = [], [], []
        for path, content in instruction.files:
            look = self._look(path)
            is_full = path.endswith("/") and any(f.startswith(path) and f != path for f in self.files)
            if isinstance(look, FileHash) and look.content == content and not is_full:
                removed.append(path)
                if not instruction.dry_run:
                    self.remove(path)
            elif look is None:
                gone.append(path)
            else:
                kept.append((path, "it was changed"))
        for path, since in instruction.doubtful:
            if path in self.files and self._written.get(path, -1) >= since * 1e9:
                kept.append((path, "nobody knows whose it is"))
        report = FilesRemoved(instruction.token, tuple(removed), tuple(kept), tuple(gone))
        self._at(self.now, lambda: self._hand_in(report))  # type: ignore[arg-type]


def _dormant(saved: Saved) -> Step:
    """Return a step as the database gives it back."""
    state, reason, last = saved.ended
    record, products, made = saved.kept
    last = None if last is None else replace(last, stop=None)
    return Step(
        **saved.declared,
        state=state,
        reason=reason,
        last=last,
        record=record,
        products=products,
        made=dict(made),
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


def _declared(step: Step) -> dict[str, Any]:
    names = ("key", "spec", "seq", "number", "cell", "is_retired", "unamended")
    return {name: getattr(step, name) for name in names}


_NOTHING = object()
_NONE = dict.fromkeys(StepState, 0)


def check_invariants(sim: Sim) -> None:
    """Assert what must hold after every message."""
    scheduler = sim.scheduler
    pools, graph = scheduler.pools, scheduler.graph
    held: dict[tuple[str, str], dict[int, int]] = {}
    dying: dict[str, set[int]] = {}
    for job in scheduler.jobs.values():
        for name, numbers in job.slots.items():
            assert len(numbers) == job.pool[name]
            where = (name, (job.place or "") if pools.pools[name].is_per_machine else "")
            for number in numbers:
                assert number not in held.setdefault(where, {}), "a slot is held twice"
                held[where][number] = job.id
        if job.stop is not None:
            for path in (*job.reads, *job.writes):
                dying.setdefault(path, set()).add(job.id)
    for pool in pools.pools.values():
        for machine, slots in (("", pool.held), *pool.elsewhere.items()):
            assert slots == held.pop((pool.name, machine), {}), "a pool's occupancy is not what its jobs hold"
    assert not held
    placed = Counter(job.place for job in scheduler.jobs.values() if job.place is not None)
    assert placed == Counter(pools.placed)
    assert {path: set(jobs) for path, jobs in scheduler._dying.items()} == dying
    assert sorted(pools.busy.values()) == sorted(scheduler.jobs), "a worker is busy without a job"
    for id, known in graph.scopes.items():
        owner = known.owner
        if owner is not None:
            assert owner.is_live, f"{owner.key} declares, and is not declared"
            assert owner.round is known
            assert id == known.id == f"step:{owner.key}"
            assert not known.is_open or (owner.job is not None and owner.job.is_launched)
            if owner.state is SUCCEEDED:
                assert owner.products is not None
                assert not known.is_open
                assert known.steps.keys() <= {*owner.products.steps}
    counts = _NONE.copy()
    waiting = {step.key for step in pools.waiting()}
    number_waiting = 0
    for key, step in graph.steps.items():
        state, spec = step.state, step.spec
        if step.round is not None:
            assert graph.scopes.get(step.round.id) is step.round
        check_saved(sim, step)
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
        if scope.owner is not None:
            assert scope.owner.is_live, f"{key} lives on without its creator"
            assert scope.owner.round is scope
        if state is RUNNING:
            assert step.job is not None
        for path in (*spec.out, *spec.vol):
            assert graph.files[path].producer is step, f"{path} has two makers"
        for path in spec.inp:
            file = graph.files[path]
            assert file.consumers.get(key) is step
            if state in RELYING and not (step.job is not None and path in step.job.lacking):
                maker = file.producer
                if maker is not None and maker.is_live:
                    assert maker.state is SUCCEEDED, f"{key} relies on {path} before it is made"
                elif step.is_strict and state is not RUNNING and key not in scheduler._unsupplied:
                    assert graph.is_static(file), f"{key} relies on {path}, which nobody declares"
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


def check_saved(sim: Sim, step: Step) -> None:
    """Assert that the database was told what it needs to give a step back."""
    saved = sim.saved.get(step.key)
    assert saved is not None, f"{step.key} was never written down"
    for name in ("spec", "unamended", "is_retired"):
        assert saved.declared[name] == getattr(step, name), f"{name} of {step.key} was not written down"
    if step.scope is not None and step.scope.kind in (ScopeKind.CELL, ScopeKind.STEP):
        assert saved.scope == step.scope.id, f"who declared {step.key} was not written down"
    if step.state in FINISHED:
        assert saved.ended[0] is step.state
        assert saved.kept[:2] == (step.record, step.products if step.record or step.made else None)
        assert saved.kept[2] == step.made, f"what {step.key} left was not written down"


def check_creators(step: Step) -> None:
    """Assert that all who declared a step that is about to start run, or have succeeded."""
    at = step
    while at.scope is not None and at.scope.owner is not None:
        assert at.key not in at.scope.undecided, f"{step.key} starts before it is declared again"
        at = at.scope.owner
        assert at.state in (RUNNING, SUCCEEDED), f"{step.key} starts without its creator"
