"""Random projects: trees of plans, how they are edited and run on the simulated world, and what must hold.

A project is data, as the programs of `worlds` are. No two of its declarations are at odds, so that what comes out
does not depend on who is first; a plan that fails half-way is the one exception.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sim import Behaviour, GaveUp, Plan, Script, Sim

from stepup_nb.core import nglob
from stepup_nb.core.messages import Run, SetPhase
from stepup_nb.core.model import FAILED, FINISHED, PENDING, SUCCEEDED, File, FileHash, Step

SOURCES = ("s0", "s1", "s2", "s3", "in/t0", "in/t1")

_NOT_AGAIN = ("FAILED", "PENDING")

Call = tuple[Any, ...]
"""What a plan says: the name of a method of `_Saying`, and its arguments."""


@dataclass
class Project:
    """What a user wrote."""

    sources: dict[str, str] = field(default_factory=dict)
    scripts: dict[str, list[Call]] = field(default_factory=dict)
    """What each plan says, in order."""
    made: set[str] = field(default_factory=set)
    """Plans whose texts are written by steps."""
    readable: dict[str, list[str]] = field(default_factory=dict)
    """What each command may read without closing a circle."""
    variables: dict[str, str] = field(default_factory=lambda: {"V": "1"})
    number: int = 0
    """Commands so far."""

    def text(self, name: str) -> str:
        """Return the text of a plan."""
        return repr(self.scripts[name])


@dataclass
class Pace:
    """How long everything takes."""

    seed: int = 0
    workers: int = 2
    takes_look: float = 0.0
    looks_early: bool = False

    def takes(self, what: str) -> float:
        """Return the seconds of a command, or of a pause."""
        return Random(f"{self.seed} {what}").choice((0.0, 0.5, 1.0, 2.0, 5.0))


def random_pace(random: Random) -> Pace:
    """Return how long everything takes."""
    looks = random.choice((0.0, 0.0, 0.3, 1.0))
    return Pace(random.randrange(1000), random.choice((1, 2, 8)), looks, random.random() < 0.3)


# --- projects --------------------------------------------------------------------------------------


def random_project(random: Random) -> Project:
    """Return a project."""
    project = Project()
    for path in SOURCES:
        if random.random() < 0.9:
            project.sources[path] = "1"
    project.scripts["plan"] = []
    names = [f"p{k}" for k in range(random.choice((0, 1, 1, 2, 3, 4)))]
    for name in names:
        project.scripts[name] = []
    items = [*names, *([""] * random.choice((1, 3, 5, 8)))]
    random.shuffle(items)
    known = list(SOURCES)
    where = {name: random.choice(["plan", *names[:k]]) for k, name in enumerate(names)}
    for name in items:
        if name:
            add_script(project, random, name, where[name], known)
        else:
            add_step(project, random, random.choice(list(project.scripts)), known)
    for path in SOURCES:
        _declare_source(project, random, path)
    for name in project.scripts:
        if random.random() < 0.15:
            project.scripts[name].append(("each", random.choice(("s*", "?[0-9]", "in/*")), name))
        if random.random() < 0.3:
            project.scripts[name].append(("pool", "p", 1))
        if random.random() < 0.05:
            project.scripts[name].insert(0, ("fail",))
    # A pool that nobody defines any more is still there, and no step is outdated by what it asks for.
    project.scripts["plan"].append(("pool", "p", 1))
    for calls in project.scripts.values():
        is_failing = calls[:1] == [("fail",)]
        random.shuffle(calls)
        if is_failing:
            calls.remove(("fail",))
            calls.insert(0, ("fail",))
    return project


def _declare_source(project: Project, random: Random, path: str) -> None:
    if random.random() < 0.1:
        return
    name = random.choice(list(project.scripts))
    ways: list[Call] = [("static", path), ("static", path), ("defer", path[:-1] + "*")]
    if path.startswith("in/"):
        ways += [("static", "in/"), ("defer", "in/*")]
    project.scripts[name].append(random.choice(ways))


def _some(random: Random, words: list[str], most: int) -> tuple[str, ...]:
    return tuple(sorted(set(random.choices(words, k=random.randint(0, most)))))


def add_step(project: Project, random: Random, script: str, known: list[str]) -> str:
    """Let a plan declare one more step; what it makes is known from then on."""
    project.number += 1
    number = project.number
    fails = random.random() < 0.07
    command = f"{'f' if fails else 'c'}{number}"
    project.readable[command] = list(known)
    outputs = random.choice(((), (f"o{number}",), (f"o{number}",), (f"o{number}", f"d/o{number}")))
    options: dict[str, Any] = {"inp": _some(random, known, 2), "out": outputs}
    if random.random() < 0.15:
        options["vol"] = (f"v{number}",)
    if random.random() < 0.15:
        options["optional"] = True
    if random.random() < 0.2:
        options["pool"] = random.choice(("p", "p", "p", "q"))
    if random.random() < 0.05:
        options["block"] = True
    if random.random() < 0.15:
        options["env"] = ("V",)
    if random.random() < 0.2:
        options["leaves_half"] = True
    amends: list[dict[str, Any]] = []
    if random.random() < 0.3:
        amends = [{"inp": _some(random, known, 2)} for _ in range(random.choice((1, 1, 2)))]
        # Of an optional step it is known too late that it is needed for those.
        if random.random() < 0.4 and not options.get("optional"):
            outputs = (*outputs, f"a{number}")
            amends.insert(random.choice((0, len(amends))), {"out": (f"a{number}",)})
        if random.random() < 0.2:
            amends.append({"env": ("V",)})
    known += outputs
    project.scripts[script].append(("step", command, options, amends, random.random() < 0.5))
    return command


def add_script(project: Project, random: Random, name: str, parent: str, known: list[str]) -> None:
    """Let a plan declare a plan."""
    options: dict[str, Any] = {}
    project.readable[name] = list(known)
    if random.random() < 0.2:
        options["inp"] = _some(random, known, 1)
    if random.random() < 0.2:
        options["out"] = (f"l{name}",)
    if random.random() < 0.1:
        options["optional"] = True
    if random.random() < 0.1:
        options["pool"] = "p"
    amends = [{"inp": _some(random, known, 1)}] if random.random() < 0.15 else []
    if random.random() < 0.15:
        project.made.add(name)
        where = random.choice([other for other in project.scripts if other != name])
        maker: dict[str, Any] = {"out": (f"{name}.py",), "writes": {f"{name}.py": name}}
        project.scripts[where].append(("step", f"write {name}", maker, [], False))
    elif random.random() < 0.95:
        project.scripts[random.choice((parent, parent, "plan"))].append(("static", f"{name}.py"))
    project.scripts[parent].append(("script", name, options, amends))
    known += options.get("out", ())


# --- edits -----------------------------------------------------------------------------------------


def edited(project: Project, random: Random, *, may_fail: bool = False) -> Project:
    """Return the project after a few edits."""
    project = deepcopy(project)
    for _ in range(random.choice((1, 1, 2, 3))):
        _edit(project, random, may_fail)
    return project


def _edit(project: Project, random: Random, may_fail: bool) -> None:
    number = random.random()
    name = random.choice([name for name in project.scripts if name not in project.made])
    calls = project.scripts[name]
    if number < 0.2:
        project.sources[random.choice(SOURCES)] = random.choice("123")
    elif number < 0.25:
        project.sources.pop(random.choice(SOURCES), None)
    elif number < 0.3:
        project.variables["V"] = random.choice("123")
    elif number < 0.45:
        known = [*SOURCES, *(path for call in steps_in(project) for path in call[2].get("out", ()))]
        add_step(project, random, name, known)
        random.shuffle(calls)
    elif number < 0.6 and calls:
        gone = random.choice(calls)
        if gone[0] != "pool":
            calls.remove(gone)
    elif number < 0.75 and (steps := [call for call in calls if call[0] == "step"]):
        _change(project, random, calls, random.choice(steps))
    elif number < 0.85 and (movable := [call for call in calls if call[0] in ("step", "static", "defer")]):
        moved = random.choice(movable)
        calls.remove(moved)
        random.choice([c for n, c in project.scripts.items() if n not in project.made]).append(moved)
    elif number < 0.9:
        calls[:] = [call for call in calls if call != ("fail",)]
    elif may_fail:
        calls.insert(random.randrange(len(calls) + 1), ("fail",))
    else:
        random.shuffle(calls)
        if ("fail",) in calls:
            calls.remove(("fail",))


def _change(project: Project, random: Random, calls: list[Call], call: Call) -> None:
    at = calls.index(call)
    _, command, options, amends, stops = deepcopy(call)
    number = random.random()
    if number < 0.3 and command in project.readable:
        options["inp"] = _some(random, project.readable[command], 2)
    elif number < 0.5 and command in project.readable:
        # Another command makes the same.
        project.number += 1
        project.readable[f"c{project.number}"] = project.readable[command]
        command = f"c{project.number}"
    elif number < 0.65 and not any("out" in words for words in amends):
        options["optional"] = not options.get("optional")
    elif number < 0.75:
        options["pool"] = None if options.get("pool") else "p"
    elif number < 0.85 and command in project.readable:
        # It is the command that amends.
        project.number += 1
        project.readable[f"c{project.number}"] = project.readable[command]
        amends = [{"inp": _some(random, project.readable[command], 2)}]
        command = f"c{project.number}"
    else:
        options["vol"] = () if options.get("vol") else (f"v{command}",)
    calls[at] = ("step", command, options, amends, stops)


def steps_in(project: Project) -> list[Call]:
    """Return all declarations of steps."""
    return [call for calls in project.scripts.values() for call in calls if call[0] == "step"]


# --- running them ----------------------------------------------------------------------------------


@dataclass
class Working:
    """A user at work on a project."""

    project: Project
    pace: Pace
    is_comparing: bool = False
    theirs: set[str] = field(default_factory=set)
    """Outputs that the user has edited: once nobody makes them, they are the user's."""
    sim: Sim = field(init=False)

    def __post_init__(self) -> None:
        self.sim = Sim(
            workers=self.pace.workers,
            takes_look=self.pace.takes_look,
            looks_early=self.pace.looks_early,
            variables=dict(self.project.variables),
            is_comparing=self.is_comparing,
            writes_volatiles=True,
        )
        self.save()

    def save(self) -> None:
        """Write down all sources and plans, as far as they have changed."""
        project, sim = self.project, self.sim
        texts = {f"{name}.py": project.text(name) for name in project.scripts if name not in project.made}
        for path, content in {**project.sources, **texts}.items():
            if sim.files.get(path) != content:
                sim.write(path, content)
        for path in SOURCES:
            if path not in project.sources and path in sim.files:
                sim.remove(path)
        sim.commands["plan"] = Behaviour(plan=self.plan("plan"), takes=0)

    def boot(self) -> None:
        """Begin a session."""
        self.sim.variables = dict(self.project.variables)
        self.sim.boot(takes=0, plan=None)

    def restart(self) -> None:
        """Begin another session."""
        sim = self.sim.restart()
        sim.workers = sim.scheduler.pools.workers = self.pace.workers
        self.sim = sim

    def finish(self) -> str:
        """Run to the end."""
        self.sim.wait()
        self.sim.run()
        # What is restored before anything declares what it reads may wait from then on.
        how = self.sim.wait()
        self.sim.run()
        return how

    def finish_at_last(self) -> None:
        """Run to the end, as often as a plan is refused what another one had not given up before it ran again."""
        self.finish()
        for _ in range(5):
            if not self.sim.story("(SNB-4"):
                return
            self.restart()
            self.boot()
            self.finish()
        raise AssertionError(f"refused again and again: {self.sim.story('(SNB-4')}")

    def go_on(self) -> None:
        """Leave the watch phase."""
        self.sim.do(SetPhase("watch"))
        self.sim.run()
        self.save()
        self.sim.look_again()
        self.sim.run()
        self.sim.do(Run())

    def plan(self, name: str) -> Plan:
        """Return what a plan does."""

        def says(script: Script) -> Any:
            for call in self.project.scripts[name]:
                yield from getattr(self, f"_{call[0]}")(script, *call[1:])
                if (pause := self.pace.takes(f"{name} {call[1:2]}")) >= 2.0:
                    yield pause / 4

        return says

    def _static(self, script: Script, path: str) -> Any:
        script.static(path)
        yield 0.0

    def _defer(self, script: Script, pattern: str) -> Any:
        yield script.glob(pattern, is_deferred=True)

    def _pool(self, script: Script, name: str, size: int) -> Any:
        script.pool(name, size)
        yield 0.0

    def _each(self, script: Script, pattern: str, prefix: str) -> Any:
        found = yield script.glob(pattern)
        for path in found[0]:
            command = f"{prefix} each {path}"
            script.step(command, inp=path, out=f"e-{prefix}/{path}", takes=self.pace.takes(command))

    def _fail(self, script: Script) -> Any:
        yield 0.5
        raise GaveUp

    def _step(
        self, script: Script, command: str, options: Any, amends: list[dict[str, Any]], stops: bool
    ) -> Any:
        more: dict[str, Any] = {"takes": self.pace.takes(command)}
        if amends:
            more["plan"] = self._amending(command, amends, stops)
        if command[0] == "f":
            more["returncode"] = 1
        script.step(command, **options, **more)
        yield 0.0

    def _amending(self, command: str, amends: list[dict[str, Any]], stops: bool) -> Plan:
        def says(script: Script) -> Any:
            for words in amends:
                yield self.pace.takes(f"{command} {words}") / 4
                missing = yield script.amend(**words)
                if missing and stops:
                    raise GaveUp

        return says

    def _script(self, script: Script, name: str, options: Any, amends: list[dict[str, Any]]) -> Any:
        plan = self.plan(name)

        def says(inner: Script) -> Any:
            for words in amends:
                missing = yield inner.amend(**words)
                if missing:
                    raise GaveUp
            yield from plan(inner)  # type: ignore[misc]

        script.script(name, says, takes=self.pace.takes(name) / 2, **options)
        yield 0.0


# --- what must hold --------------------------------------------------------------------------------


def result(sim: Sim, *others: Sim) -> dict[str, Any]:
    """Return what comes out: states, links, products and files, as far as it may be compared with that of others."""
    graph = sim.scheduler.graph
    unfinished = set().union(*map(_unfinished, (sim, *others)))
    return {
        "states": dict(sorted(sim.states().items())),
        # What a job left that did not succeed, and how far it came with amending, depends on when it was stopped.
        "files": {path: content for path, content in sorted(sim.files.items()) if path not in unfinished},
        "products": {
            key: step.products for key, step in sorted(graph.steps.items()) if step.state is SUCCEEDED
        },
        "creators": {key: step.creator for key, step in sorted(graph.steps.items()) if step.is_live},
        "links": {
            path: (
                None if file.producer is None else file.producer.key,
                sorted(
                    key for key, s in file.consumers.items() if s.state is SUCCEEDED or path in s.declared.inp
                ),
                str(file.state),
                graph.is_static(file),
            )
            for path, file in sorted(graph.files.items())
            if path not in unfinished and not _is_by_the_way(file)
        },
    }


def _is_by_the_way(file: File) -> bool:
    """Tell whether a file is known only because steps that did not succeed came as far as to amend themselves by it."""
    is_said = bool(file.static) or file.producer is not None
    return not is_said and not any(
        s.state is SUCCEEDED or file.path in s.declared.inp for s in file.consumers.values()
    )


def _unfinished(sim: Sim) -> set[str]:
    """Return what steps make, or have made, that are not gone, and have not succeeded."""
    found: set[str] = set()
    for step in sim.scheduler.graph.steps.values():
        if not step.is_retired and step.state is not SUCCEEDED:
            found.update((*step.spec.out, *step.spec.vol, *step.made))
    return found


def check_rest(sim: Sim) -> None:
    """Assert what must hold when nothing happens any more."""
    scheduler = sim.scheduler
    graph = scheduler.graph
    assert scheduler.is_idle()
    assert not sim.running
    assert not sim._asking, "a plan waits for an answer"
    assert not scheduler._review
    assert not scheduler._dying
    for step in graph.steps.values():
        if not step.is_live:
            assert step.round is None
            continue
        assert step.state in (*FINISHED, PENDING), f"{step.key} is {step.state} at rest"
        assert not step.fading
        assert not step.is_undecided
        if step.state is PENDING:
            assert scheduler._obstacle(step), f"{step.key} could start and does not"
            assert scheduler.reason(step)
        if step.state is SUCCEEDED:
            _check_success(sim, step)


def _check_success(sim: Sim, step: Step) -> None:
    assert step.record is not None, f"{step.key} has no record"
    inputs = {path for path, _ in step.record.manifest.inputs}
    assert inputs == {*step.spec.inp}, f"{step.key} was made of other inputs"
    for path, content in step.record.manifest.inputs:
        look = sim._look(path)
        assert isinstance(look, FileHash)
        assert look.content == content, f"{step.key} was made of another {path}"
    assert {path for path, _ in step.record.outputs} == {*step.spec.out}
    for path, content in step.record.outputs:
        look = sim._look(path)
        assert isinstance(look, FileHash)
        assert look.content == content, f"{path} is not what {step.key} made"
    if step.products is not None and step.round is not None:
        assert {*step.round.steps} <= {*step.products.steps}
        assert {*step.round.statics} == {*step.products.statics}


def idle_options(sim: Sim) -> set[str]:
    """Return the optional steps that nobody needs: what they were once does not count."""
    return {
        key.removeprefix("runsh ")
        for key, step in sim.scheduler.graph.steps.items()
        if step.is_live and step.spec.optional and not step.is_needed
    }


def _is_circular(sim: Sim) -> bool:
    """Tell whether a step owes what it needs to itself: such stays when it has come up, and comes up never."""
    graph = sim.scheduler.graph

    def supports(step: Step) -> set[str]:
        found = set() if step.scope is None or step.scope.owner is None else {step.scope.owner.key}
        for path in step.spec.inp:
            file = graph.files[path]
            if file.producer is not None:
                found.add(file.producer.key)
            for scope in graph.scopes.values():
                folders = any(path.startswith(static) for static in scope.statics if static.endswith("/"))
                deferred = any(nglob.matches(p, path) for g in scope.globs for p in g.patterns)
                if scope.owner is not None and (path in scope.statics or folders or deferred):
                    found.add(scope.owner.key)
        return found

    needs = {key: supports(step) for key, step in graph.steps.items() if step.is_live}
    for key in needs:
        todo, done = [*needs[key]], set()
        while todo:
            at = todo.pop()
            if at == key:
                return True
            if at not in done:
                done.add(at)
                todo += needs.get(at, ())
    return False


def compare_with_scratch(work: Working) -> bool:
    """Assert that it is as if everything had been made from scratch, after cleaning.

    A plan that waits or has failed keeps what it declared when it ran last: then nothing is compared.
    """
    sim = work.sim
    plans = {f"runsh {name}" for name in work.project.scripts}
    live = [step for step in sim.scheduler.graph.steps.values() if step.is_live and step.key in plans]
    dormant = {key for saved in sim.scheduler._dormant.values() for key in saved}
    creators = {
        step.creator for key, step in sim.scheduler.graph.steps.items() if step.is_live or key in dormant
    }
    waiting = [step for step in live if step.state is not SUCCEEDED]
    keeps = [step for step in waiting if step.round or step.products or f"step:{step.key}" in creators]
    if keeps or any(step.state is FAILED for step in waiting) or _is_circular(sim):
        return False
    sim.clean(options=True)
    sim.run()
    check_rest(sim)
    afresh = Working(work.project, Pace())
    afresh.boot()
    afresh.finish()
    afresh.sim.clean(options=True)
    afresh.sim.run()
    fresh = afresh.sim
    # What a step amended when it ran last, it needs until it runs again.
    idle = idle_options(fresh) | idle_options(sim)
    states = {key: state for key, state in sim.states().items() if key not in idle}
    expected = {key: state for key, state in fresh.states().items() if key not in idle}
    pairs = {key: (states.get(key), expected.get(key)) for key in {*states, *expected}}
    different = {key: two for key, two in pairs.items() if len({*two}) > 1 and two != _NOT_AGAIN}
    assert not different, f"{different} is not as from scratch"
    # What somebody reads is not cleaned, whoever made it.
    read = {path for s in sim.scheduler.graph.steps.values() if not s.is_retired for path in s.spec.inp}
    needed = _unfinished(sim) | read
    for path, content in fresh.files.items():
        # To declare a by-product makes no step outdated.
        if path not in needed and path[0] != "v":
            assert sim.files.get(path) == content, f"{path} is not as from scratch"
    left = {path for path in sim.files if path not in fresh.files and path not in needed} - work.theirs
    assert not left, f"{left} should have been cleaned"
    return True


def check_unchanged(work: Working) -> None:
    """Assert that another session of the same starts nothing but what had failed, and says nothing."""
    before, files = result(work.sim), dict(work.sim.files)
    idle = idle_options(work.sim)
    failed = {
        step.key.removeprefix("runsh ")
        for step in work.sim.scheduler.graph.steps.values()
        if step.is_live and step.state is FAILED
    }
    plans = {f"runsh {name}" for name in work.project.scripts}
    steps = work.sim.scheduler.graph.steps
    is_stuck = any(steps[key].is_live and steps[key].state is PENDING for key in plans & steps.keys())
    # What a plan that waits declared once may be restored, or not; what stays of outputs that the user edited is the
    # user's from now on, and may match patterns.
    is_to_change = is_stuck or _is_circular(work.sim) or bool(work.theirs)
    work.restart()
    work.boot()
    work.finish()
    if is_to_change:
        return
    ran = work.sim.ran()
    assert set(ran) <= failed, f"{ran} ran although nothing changed"
    lines = [f"{line.tag} {line.step}" for line in work.sim.log if line.tag != "PHASE"]
    if not failed:
        # What waits, and has not taken note of a change, is told of it again.
        is_all_done = all(state == "SUCCEEDED" for state in before["states"].values())
        said = [line for line in lines if is_all_done or not line.startswith(("UPDATED", "DELETED"))]
        assert not said, f"{said} is said of nothing"
    after = result(work.sim)
    states = {key: (state, after["states"].get(key)) for key, state in before["states"].items()}
    # Of what had failed, an input may have been taken back while it ran.
    different = {
        k: two for k, two in states.items() if len({*two}) > 1 and k not in idle and two != _NOT_AGAIN
    }
    assert not different, f"{different} in another session"
    if not failed:
        assert files == work.sim.files
        assert before["creators"] == after["creators"]


# --- the properties --------------------------------------------------------------------------------


def check_pace(random: Random) -> None:
    """Assert that what comes out depends neither on the workers nor on how long anything takes."""
    project = random_project(random)
    sims = []
    for workers in (1, 2, 8):
        pace = random_pace(random)
        pace.workers = workers
        work = Working(project, pace)
        work.boot()
        work.finish()
        check_rest(work.sim)
        sims.append(work.sim)
    results = [result(sim, *sims) for sim in sims]
    for name, first in results[0].items():
        for other in results[1:]:
            assert first == other[name], name


def check_crashes(random: Random) -> None:
    """Assert that a run which was killed, once or more, comes to the same end."""
    project = random_project(random)
    undisturbed = Working(project, random_pace(random))
    undisturbed.boot()
    undisturbed.finish()
    work = Working(project, random_pace(random))
    work.boot()
    for _ in range(random.choice((1, 1, 2, 3))):
        work.sim.run(until=work.sim.now + random.choice((0, 0.2, 0.5, 1.2, 2.2, 4.2)))
        work.restart()
        work.boot()
    work.finish()
    check_rest(work.sim)
    wanted, found = result(undisturbed.sim, work.sim), result(work.sim, undisturbed.sim)
    for name in ("states", "files", "products", "creators"):
        assert wanted[name] == found[name], name


def check_again(random: Random) -> None:
    """Assert that nothing starts when nothing has changed."""
    work = Working(random_project(random), random_pace(random))
    work.boot()
    work.finish()
    check_unchanged(work)


def check_edits(random: Random, *, is_comparing: bool = False) -> bool:
    """Assert that after edits, in one session or several, it is as from scratch; tell whether it could be compared."""
    work = Working(random_project(random), random_pace(random), is_comparing)
    work.boot()
    work.finish()
    for left in reversed(range(random.choice((1, 1, 2, 4)))):
        before, work.project = work.project, edited(work.project, random, may_fail=left > 0)
        if not left:
            for name, calls in work.project.scripts.items():
                work.project.scripts[name] = [
                    call for n, call in enumerate(calls) if not n or call != ("fail",)
                ]
        if random.random() < 0.6 or work.project.variables != before.variables:
            work.restart()
            _meddle(work, random)
            work.save()
            work.boot()
            if random.random() < 0.2:
                work.sim.run(until=work.sim.now + random.choice((0.2, 1.2, 3.0)))
                work.restart()
                work.boot()
        else:
            work.go_on()
        work.finish_at_last()
        check_rest(work.sim)
    is_compared = compare_with_scratch(work)
    check_unchanged(work)
    return is_compared


def _meddle(work: Working, random: Random) -> None:
    """Remove or edit outputs; but what is the user's in the end must not match patterns."""
    may_edit = not any(
        call[:2] == ("each", "?[0-9]") for calls in work.project.scripts.values() for call in calls
    )
    outputs = [path for path in sorted(work.sim.files) if path[0] in "oade" and not path.endswith(".py")]
    for path in random.sample(outputs, min(len(outputs), random.choice((0, 0, 1, 2)))):
        if random.random() < 0.5:
            work.sim.remove(path)
        elif may_edit:
            work.sim.write(path, "edited")
            work.theirs.add(path)
