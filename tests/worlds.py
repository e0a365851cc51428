"""Random worlds: programs of a user's deeds, how they are played on the simulated world, and what must hold.

A program is data, so that a failing one can be cut down and printed. Names are short on purpose: few paths, pools,
commands and cells, so that deeds meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sim import Behaviour, Sim

from stepup_nb.core import pools, uptodate, view
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import (
    Cancel,
    Declare,
    Drain,
    DropPool,
    Forget,
    Hold,
    Pause,
    Release,
    Rerun,
    Resume,
    Run,
    SetWorkers,
)
from stepup_nb.core.model import (
    FINISHED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    FileHash,
    Job,
    Scope,
    ScopeKind,
    Step,
)

PATHS = "abcdef"
COMMANDS = "uvwxyz"
POOLS = "pq"
CELLS = "ABC"

Deed = tuple[Any, ...]
"""The name of a method of `Play`, and its arguments."""


@dataclass
class Program:
    """What the commands do, and what the user does."""

    behaviours: list[dict[str, Any]]
    deeds: list[Deed]
    takes_look: float = 0.0
    looks_early: bool = False


def random_program(random: Random, length: int) -> Program:
    """Return a program that the seed of `random` stands for."""
    behaviours = [random_behaviour(random) for _ in COMMANDS]
    deeds = [random_deed(random) for _ in range(length)]
    return Program(behaviours, deeds, random.choice((0.0, 0.0, 0.0, 0.3, 1.0)), random.random() < 0.3)


def random_behaviour(random: Random) -> dict[str, Any]:
    """Return what a command does."""
    behaviour: dict[str, Any] = {"takes": random.choice((0.5, 1.0, 1.0, 2.0, 5.0))}
    if random.random() < 0.15:
        behaviour["returncode"] = random.choice((1, -9))
    if random.random() < 0.2:
        behaviour["dies_after"] = random.choice((0.0, 1.5, 9.0))
    if random.random() < 0.2:
        behaviour["leaves_half"] = True
    if random.random() < 0.1:
        behaviour["cannot_start"] = random.choice((1, 3))
    return behaviour


def _some(random: Random, words: str, most: int) -> tuple[str, ...]:
    return tuple(sorted(random.sample(words, random.choice(range(most + 1)))))


def random_declaration(random: Random) -> Deed:
    """Return a declaration of a step."""
    options: dict[str, Any] = {}
    number = random.random()
    if number < 0.75:
        options["inp"] = _some(random, PATHS, 2)
    if number > 0.2:
        options["out"] = tuple(p for p in _some(random, PATHS, 2) if p not in options.get("inp", ()))
    if random.random() < 0.5:
        options["pool"] = {name: random.choice((1, 1, 1, 2, 3)) for name in _some(random, POOLS, 2)}
    for chance, name, values in (
        (0.05, "vol", (("a",), ("f",))),
        (0.1, "after", (("runsh u",), ("v",), ("n",), ("x", "y"), ("(2)",))),
        (0.1, "name", ("n", "m", "runsh u")),
        (0.1, "optional", (True,)),
        (0.03, "block", (True,)),
        (0.1, "priority", (-1, 2)),
        (0.1, "duration", (0.5, 30.0)),
        (0.1, "timeout", (0.7, 3.0)),
        (0.1, "retry", (1, 2)),
        (0.05, "force", (True,)),
        (0.05, "env_hashes", ((("E", "1"),), (("E", "2"),))),
        (0.1, "hold", ("h",)),
    ):
        if random.random() < chance:
            options[name] = random.choice(values)
    command = random.choice(COMMANDS)
    if command in options.get("after", ()):
        del options["after"]
    return ("declare", command, options)


_DEEDS: list[tuple[int, Callable[[Random], Deed]]] = [
    (30, random_declaration),
    (8, lambda r: ("open", r.choice(CELLS), "cell", r.choice(("", "", "", "A", "B")))),
    (2, lambda r: ("open", "", "run", "")),
    (6, lambda r: ("close", r.random() < 0.8)),
    (2, lambda r: ("leave",)),
    (3, lambda r: ("again", r.choice(CELLS), r.choice((0, 0, 1, 2)))),
    (15, lambda r: ("go", r.choice((0.1, 0.5, 1.0, 1.0, 3.0)))),
    (6, lambda r: ("write", r.choice(PATHS), r.choice("1234"))),
    (3, lambda r: ("remove", r.choice(PATHS))),
    (2, lambda r: ("touch", r.choice(COMMANDS), r.choice(PATHS), r.choice("12"))),
    (2, lambda r: ("static", r.choice(PATHS))),
    (6, lambda r: ("pool", r.choice(POOLS), r.choice((0, 1, 1, 2, 3, None)))),
    (1, lambda r: ("do", "drop", r.choice(POOLS))),
    (2, lambda r: ("do", "pause", r.choice((None, "p")))),
    (3, lambda r: ("do", "resume", r.choice((None, "p")))),
    (2, lambda r: ("do", "workers", r.choice((1, 2, 3)))),
    (4, lambda r: ("do", "cancel", r.choice((*COMMANDS, "n", None)))),
    (4, lambda r: ("do", "rerun", r.choice((*COMMANDS, "n", "failed", "all")))),
    (2, lambda r: ("do", "forget", r.choice((*COMMANDS, "n")))),
    (1, lambda r: ("do", "drain", None)),
    (1, lambda r: ("do", "run", None)),
    (2, lambda r: ("do", "hold", None)),
    (2, lambda r: ("do", "release", None)),
    (3, lambda r: ("wait", r.choice((None, None, *COMMANDS)), r.choice((None, 0.7, 2.0)))),
    (1, lambda r: ("clean",)),
    (1, lambda r: ("restart",)),
]
_CHOICES = [deed for weight, deed in _DEEDS for _ in range(weight)]


def random_deed(random: Random) -> Deed:
    """Return one thing that a user does."""
    return random.choice(_CHOICES)(random)


@dataclass
class Play:
    """A program on its way."""

    program: Program
    is_comparing: bool = True
    sim: Sim = field(init=False)
    rounds: dict[str, list[Deed]] = field(default_factory=dict)
    """What each cell declared in its last round."""
    runs: int = 0

    def __post_init__(self) -> None:
        self.sim = Sim(
            workers=2,
            takes_look=self.program.takes_look,
            looks_early=self.program.looks_early,
            is_comparing=self.is_comparing,
        )
        for path in "abc":
            self.sim.write(path, "0")
        watch_overtaking(self.sim)
        self.forget_deeds()

    def forget_deeds(self) -> None:
        """Let the commands do what they do by themselves."""
        for command, behaviour in zip(COMMANDS, self.program.behaviours, strict=True):
            self.sim.commands[command] = Behaviour(**behaviour)

    def play(self) -> Sim:
        """Do all that the user does; refusals are part of life."""
        for name, *arguments in self.program.deeds:
            try:
                getattr(self, name)(*arguments)
            except UsageError as refusal:
                assert refusal.what  # noqa: PT017
        return self.sim

    # --- deeds ---

    def declare(self, command: str, options: dict[str, Any]) -> None:
        """Declare a step."""
        self.rounds.setdefault(self.sim._scope, []).append(("declare", command, options))
        behaviour = self.sim.commands[command]
        try:
            self.sim.step(command, **options)
        finally:
            self.sim.commands[command] = behaviour

    def open(self, cell: str, kind: str, deleted: str) -> None:
        """Begin a cell; the one that is open ends well."""
        if kind == "run":
            self.runs += 1
            cell = f"run {self.runs}"
        self.sim.cell(cell, kind=ScopeKind(kind), deleted=[deleted] if deleted else [])
        self.rounds[cell] = []

    def close(self, is_ok: bool) -> None:
        """End the cell."""
        self.sim.end_cell(is_ok=is_ok)

    def leave(self) -> None:
        """Let the cell go on in the background, as one does that awaits."""
        self.sim._scope = "session"

    def again(self, cell: str, lacking: int) -> None:
        """Execute a cell again, with some of its last lines taken out."""
        lines = self.rounds.get(cell, [])
        self.open(cell, "cell", "")
        for deed in lines[: len(lines) - lacking]:
            try:
                self.declare(*deed[1:])
            except UsageError:
                self.close(False)
                return
        self.close(True)

    def go(self, seconds: float) -> None:
        """Let time go by."""
        self.sim.run(self.sim.now + seconds)

    def write(self, path: str, content: str) -> None:
        """Edit a file, but not between the end of the job that made it and the look at what it made."""
        file = self.sim.scheduler.graph.files.get(path)
        maker = None if file is None else file.producer
        if maker is None or maker.state is not RUNNING or maker.job is None or maker.job.ended is None:
            self.sim.write(path, content)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self.sim.remove(path)

    def touch(self, command: str, path: str, content: str) -> None:
        """Have a file edited whenever the command runs."""
        self.sim.commands[command].touches = lambda sim: self.write(path, content)

    def static(self, path: str) -> None:
        """Declare a file static."""
        self.sim.static(path)

    def pool(self, name: str, size: int | None) -> None:
        """Define a pool or resize it."""
        self.sim.pool(name, size)

    def do(self, verb: str, what: str | None) -> None:
        """Give a command."""
        steps = () if what in (None, "failed", "all") else (str(what),)
        command = {
            "drop": lambda: DropPool(str(what)),
            "pause": lambda: Pause(what),
            "resume": lambda: Resume(what),
            "workers": lambda: SetWorkers(int(what or 1)),
            "cancel": lambda: Cancel(steps or None),
            "rerun": lambda: Rerun(steps, failed=what == "failed", all=what == "all"),
            "forget": lambda: Forget(steps),
            "drain": lambda: Drain(),
            "run": lambda: Run(),
            "hold": lambda: Hold("h"),
            "release": lambda: Release("h"),
        }[verb]()
        self.sim.do(command)

    def wait(self, step: str | None, timeout: float | None) -> None:
        """Wait in the cell that is open."""
        if self.sim.scheduler.pools.is_paused or any(
            p.is_paused for p in self.sim.scheduler.pools.pools.values()
        ):
            timeout = timeout or 5.0  # a wait goes on while something is paused
        self.sim.wait(*([step] if step else []), timeout=timeout, scope=self.sim._scope)

    def clean(self) -> None:
        """Remove outdated outputs: none that a step needs, and none that is not as recorded."""
        graph = self.sim.scheduler.graph
        needed = {
            path
            for step in graph.steps.values()
            if not step.is_retired
            for path in (*step.spec.inp, *step.spec.out, *step.spec.vol)
        }
        needed |= {path for path, file in graph.files.items() if file.static}
        removed = self.sim.clean()
        assert not needed & set(removed)

    def restart(self) -> None:
        """End the kernel, and begin anew with what the database remembers."""
        self.sim = self.sim.restart()
        watch_overtaking(self.sim)


def watch_overtaking(sim: Sim) -> None:
    """Assert that nobody is overtaken too often by steps that take what it needs.

    An overtake counts when a step that became QUEUED later starts, takes slots of a pool that the other one asks
    for, too, and leaves too few of them. A request's oldest step is what the bound is promised to.
    """
    scheduler = sim.scheduler.pools
    take = scheduler.take
    overtaken: dict[tuple[str, int], int] = {}

    def watched(step: Step, job: Job) -> None:
        oldest: dict[Any, Step] = {}
        for other in scheduler.waiting():
            known = oldest.setdefault(other.spec.pool, other)
            if other.place < known.place:
                oldest[other.spec.pool] = other
        take(step, job)
        for other in oldest.values():
            if other.place < step.place and _is_in_its_way(scheduler, step, other):
                known_as = (other.key, other.place)
                overtaken[known_as] = overtaken.get(known_as, 0) + 1
                assert overtaken[known_as] <= pools.OVERTAKES, f"{other.key} starves"

    scheduler.take = watched  # type: ignore[method-assign]


def _is_in_its_way(found: pools.Pools, step: Step, other: Step) -> bool:
    if found.closed(other.spec.pool) or any(found.pools[name].is_paused for name, _ in other.spec.pool):
        return False
    for name, slots in other.spec.pool:
        size = found.pools[name].size
        if size is not None and any(name == mine for mine, _ in step.spec.pool):
            if found.pools[name].used + slots > size:
                return True
    return False


# --- what must hold in the end ---------------------------------------------------------------------


def calm_down(play: Play) -> Sim:
    """Take everything away that disturbs or holds back, and wait."""
    sim = play.sim
    play.forget_deeds()
    for behaviour in sim.commands.values():
        behaviour.cannot_start = 0
    sim.end_cell()
    for scope in list(sim.scheduler.graph.scopes.values()):
        if scope.is_open:
            sim._scope = scope.id
            sim.end_cell()
    for command in (Release("h"), Resume(), Run(), SetWorkers(2)):
        sim.do(command)
    for name in POOLS:
        sim.pool(name, None)
        sim.do(Resume(name))
    sim.wait()
    sim.run()
    # Files may have been edited while the last look was under way.
    sim.wait()
    sim.run()
    return sim


def check_calm(sim: Sim) -> None:
    """Assert what must hold when nothing happens any more."""
    scheduler = sim.scheduler
    graph = scheduler.graph
    assert scheduler.is_idle()
    assert not sim.running
    assert not scheduler.jobs
    assert not scheduler._review
    assert not scheduler._dying
    for step in graph.steps.values():
        if not step.is_live:
            continue
        assert step.state in (*FINISHED, PENDING)
        assert step.job is None
        if step.state is PENDING:
            assert scheduler.reason(step), f"nobody says why {step.key} waits"
            assert scheduler._obstacle(step), f"{step.key} could start and does not"
        if step.state is SUCCEEDED:
            assert step.record is not None
            inputs = {path: _content(sim, path) for path in step.spec.inp}
            now = uptodate.manifest(step.spec, inputs, step.env_hashes)
            assert uptodate.inp_digest(now) == step.record.inp_digest, f"{step.key} is of other inputs"
            for path in step.spec.out:
                assert step.record.content_of_output(path) == _content(sim, path), (
                    f"{path} is not what was made"
                )
                assert sim.files[path] == from_scratch(sim, path)
    assert_no_circle(sim)
    assert view.status(scheduler)["counts"] == view.counts(scheduler)


def _content(sim: Sim, path: str) -> tuple[str, int, int]:
    look = sim._look(path)
    assert isinstance(look, FileHash), f"{path} is not there"
    return look.content


def from_scratch(sim: Sim, path: str) -> str:
    """Return what a file would be if everything were made anew."""
    maker = sim.scheduler.graph.files[path].producer
    if maker is None or not maker.is_live:
        return sim.files[path]
    return f"{maker.spec.command}({'+'.join(from_scratch(sim, inp) for inp in maker.spec.inp)})"


def assert_no_circle(sim: Sim) -> None:
    """Assert that no live step waits for itself."""
    graph = sim.scheduler.graph
    done: set[str] = set()

    def visit(step: Step, on_the_way: tuple[str, ...]) -> None:
        assert step.key not in on_the_way, f"a circle: {on_the_way}"
        if step.key not in done:
            done.add(step.key)
            makers = [graph.files[path].producer for path in step.spec.inp]
            for supplier in (*makers, *step.needs_after.values()):
                if supplier is not None and supplier.is_live:
                    visit(supplier, (*on_the_way, step.key))

    for step in graph.steps.values():
        if step.is_live:
            visit(step, ())


def declare_all_again(sim: Sim) -> list[str]:
    """Declare all that is live once more, cell by cell; return what ran although it was up to date."""
    graph = sim.scheduler.graph
    # What did not succeed runs again when it is declared again, and so does what waits for it.
    live = [step for step in graph.steps.values() if step.is_live]
    excused = {step.key for step in live if step.state is not SUCCEEDED}
    # Of equal steps that differ in the values of variables alone, a declaration may mean any.
    values: dict[object, set[object]] = {}
    for step in live:
        values.setdefault((step.spec.base, step.spec.arguments), set()).add(step.env_hashes)
    excused |= {step.key for step in live if len(values[step.spec.base, step.spec.arguments]) > 1}
    sim.ran()
    for scope in list(graph.scopes.values()):
        if scope.steps and scope.kind is not ScopeKind.SESSION:
            if scope.kind is ScopeKind.CELL or not any(
                _is_unfinished(sim, step) for step in scope.steps.values()
            ):
                _declare_round_again(sim, scope)
    sim.end_cell()
    sim.wait()
    return [key for key in sim.ran() if f"runsh {key}" not in excused and key not in excused]


def _is_unfinished(sim: Sim, step: Step) -> bool:
    """Tell whether, where cells have no id, one more equal declaration would be a step of its own."""
    same = [s for s in sim.scheduler.graph.steps.values() if s.is_live and s.spec.base == step.spec.base]
    return any(s.state is not SUCCEEDED for s in same)


def _declare_round_again(sim: Sim, scope: Scope) -> None:
    steps = [step for step in scope.steps.values() if step.is_live]
    statics = sorted(scope.statics)
    sim.cell(scope.id, kind=scope.kind) if scope.kind is ScopeKind.CELL else sim.cell(
        scope.id + "'", kind=scope.kind
    )
    for path in statics:
        sim.static(path)
    for step in steps:
        spec = step.spec._replace(force=False)
        sim.do(Declare(spec, sim._scope, "", step.env_hashes, ""))


def check(program: Program, *, is_comparing: bool = True) -> Sim:
    """Play a program, calm down, and assert all that must hold."""
    play = Play(program, is_comparing=is_comparing)
    play.play()
    sim = calm_down(play)
    check_calm(sim)
    assert declare_all_again(sim) == []
    sim.run()
    check_calm(sim)
    return sim
