"""What plans declare, and what becomes of it: StepUp's rules (SPEC 3, 4.11; `facts/stepup.md` 1, 3.5, 4 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_worlds import check_again, check_crashes, check_edits, check_pace
from sim import GaveUp, Plan, Script, Sim

from stepup_nb.core import view
from stepup_nb.core.errors import UsageError
from stepup_nb.core.looking import DEFERS
from stepup_nb.core.messages import Run, SetPhase

Going = Generator[Any, Any, None]


def booted(plan: Plan, **files: str) -> Sim:
    """Return a world in which a plan has run, and all it declared."""
    sim = Sim(files={name.replace("_", "."): content for name, content in files.items()})
    sim.boot(plan).wait()
    return sim


def again(sim: Sim, plan: Plan | None = None) -> Sim:
    """Return the next session of a plan, when all is done; `ran` tells what it started."""
    sim = sim.restart()
    sim.boot(plan).wait()
    return sim


def tags(sim: Sim) -> list[str]:
    """Return the lines of the log that tell of steps and files."""
    return [f"{line.tag} {line.step.removeprefix('runsh ')}" for line in sim.log if line.tag != "PHASE"]


# --- who declares whom -----------------------------------------------------------------------------


def two_levels(script: Script) -> None:
    script.static("sub.py", "raw")
    script.script("sub", sub)
    script.step("use", inp="x", out="y")


def sub(script: Script) -> None:
    script.step("make", inp="raw", out="x")


def test_a_plan_declares_a_plan_that_declares_a_step() -> None:
    sim = booted(two_levels, sub_py="sub", raw="1")
    assert sim.states() == dict.fromkeys(("plan", "sub", "use", "make"), "SUCCEEDED")
    assert sim.files["y"] == "use(make(1))"
    creators = {key: step.scope.owner for key, step in sim.scheduler.graph.steps.items() if step.scope}
    assert creators["runsh make"] is sim["sub"]
    assert creators["runsh sub"] is sim["plan"]
    assert creators["runsh plan"] is None


def test_children_start_while_their_plan_runs() -> None:
    def plan(script: Script) -> Going:
        script.step("first")
        yield 5.0
        script.step("second")

    sim = booted(plan)
    assert sim.story("running") == ["0 plan running", "0 first running", "5 second running"]


def test_a_restart_without_a_change_starts_nothing_and_says_nothing() -> None:
    sim = again(booted(two_levels, sub_py="sub", raw="1"))
    assert sim.ran() == []
    assert tags(sim) == []
    assert set(sim.states().values()) == {"SUCCEEDED"}
    sim = again(sim)
    assert sim.ran() == []
    assert tags(sim) == []


def test_a_changed_input_runs_what_reads_it_and_no_plan() -> None:
    sim = booted(two_levels, sub_py="sub", raw="1").write("raw", "2")
    sim = again(sim)
    assert sim.ran() == ["make", "use"]
    assert sim.files["y"] == "use(make(2))"


def test_a_plan_that_runs_again_and_says_the_same_lets_everything_be() -> None:
    sim = booted(two_levels, sub_py="sub", raw="1")
    sim = again(sim, two_levels)
    assert sim.ran() == ["plan"]
    assert tags(sim) == ["UPDATED plan.py", "NOSKIP plan", "START plan", "SUCCESS plan"]
    assert set(sim.states().values()) == {"SUCCEEDED"}


def test_a_plan_below_that_runs_again_and_says_the_same_lets_everything_be() -> None:
    sim = again(booted(two_levels, sub_py="sub", raw="1").write("sub.py", "other"))
    assert sim.ran() == ["sub"]
    assert set(sim.states().values()) == {"SUCCEEDED"}


def test_what_a_plan_no_longer_declares_goes_with_its_children_and_their_outputs() -> None:
    def short(script: Script) -> None:
        script.static("raw")

    sim = again(booted(two_levels, sub_py="sub", raw="1"), short)
    assert sim.ran() == ["plan"]
    assert sim.states() == {"plan": "SUCCEEDED"}
    assert sim.clean(options=True) == ["y", "x"]
    assert sorted(sim.scheduler.graph.steps) == ["runsh plan"]


def test_a_step_that_a_plan_changes_runs_again_and_its_readers_do() -> None:
    def plan(script: Script) -> None:
        script.static("raw", "more")
        script.step("make", inp=more, out="x")
        script.step("use", inp="x", out="y")

    more: tuple[str, ...] = ("raw",)
    sim = booted(plan, raw="1", more="2")
    sim.ran()
    more = ("raw", "more")
    sim = again(sim, plan)
    assert sim.ran() == ["plan", "make", "use"]
    assert sim.files["y"] == "use(make(2+1))"


def test_a_child_that_runs_is_adopted_by_the_plan_that_runs_again() -> None:
    def plan(script: Script) -> Going:
        yield 1.0
        script.step("long", takes=20)

    sim = Sim().boot(plan).run(until=3)
    sim.edit("plan", plan).look_again("plan.py").wait()
    assert sim.started == ["plan", "long", "plan"]
    assert sim.story("long") == ["1 long running", "21 long succeeded"]


def test_a_child_that_runs_and_is_not_declared_again_is_stopped_when_the_plan_has_ended() -> None:
    def plan(script: Script) -> Going:
        script.step("long", takes=20)
        yield 1.0

    def other(script: Script) -> Going:
        yield 5.0

    sim = Sim().boot(plan).run(until=3)
    sim.edit("plan", other).look_again("plan.py").wait()
    assert sim.states() == {"plan": "SUCCEEDED"}
    assert sim.story("long") == ["0 long running", "8 long pending"]
    assert not sim.run().running


def test_a_child_that_waits_does_not_start_before_the_plan_declares_it_again() -> None:
    def plan(script: Script) -> Going:
        yield 2.0
        script.step("slow", takes=9, out="x")
        script.step("use", inp="x")

    sim = Sim().boot(plan).run(until=3)
    sim.edit("plan", plan).look_again("plan.py").run(until=4)
    assert sim.reason("use") == "waits until step 'runsh plan' declares it again"
    assert sim.wait() == "done"
    assert sim.started == ["plan", "slow", "plan", "use"]


# --- a plan that fails -----------------------------------------------------------------------------


def fails_half_way(script: Script) -> Going:
    script.static("raw")
    script.step("runs", takes=5, out="a")
    script.step("waits", inp="a")
    yield 1.0
    raise GaveUp


def whole(script: Script) -> None:
    script.static("raw")
    script.step("runs", takes=5, out="a")
    script.step("waits", inp="a")
    script.step("late", inp="raw", out="b")


def test_what_a_failed_plan_started_goes_on_and_what_waits_says_why() -> None:
    sim = booted(fails_half_way, raw="1")
    assert sim.states() == {"plan": "FAILED", "runs": "SUCCEEDED", "waits": "PENDING"}
    assert sim.reason("waits") == "was declared by step 'runsh plan', which failed"


def test_after_the_repair_of_a_plan_nothing_runs_twice() -> None:
    sim = again(booted(fails_half_way, raw="1"), whole)
    assert sim.ran() == ["plan", "waits", "late"]
    assert set(sim.states().values()) == {"SUCCEEDED"}


def test_what_a_failing_plan_does_not_reach_is_laid_by_and_nothing_is_cleaned() -> None:
    sim = again(booted(whole, raw="1"), fails_half_way)
    assert sim.ran() == ["plan"]
    assert sim.states() == {"plan": "FAILED", "runs": "SUCCEEDED", "waits": "SUCCEEDED"}
    assert sim.clean(options=True) == []
    assert sim.files["b"] == "late(1)"
    sim = again(sim, whole)
    assert sim.ran() == ["plan"]
    assert set(sim.states().values()) == {"SUCCEEDED"}
    assert "late" in sim.states()


def test_a_failed_plan_runs_again_after_a_restart_and_what_it_declares_while_it_runs() -> None:
    sim = again(booted(fails_half_way, raw="1"))
    assert sim.ran() == ["plan", "waits"]
    assert sim.state("plan") == "FAILED"


def test_what_was_laid_by_is_gone_when_the_repaired_plan_does_not_declare_it() -> None:
    def short(script: Script) -> None:
        script.step("runs", takes=5, out="a")

    sim = again(again(booted(whole, raw="1"), fails_half_way), short)
    assert sim.ran() == ["plan"]
    assert sim.clean(options=True) == ["b"]


# --- what is restored ------------------------------------------------------------------------------


def test_a_changed_variable_runs_the_step_that_names_it() -> None:
    def plan(script: Script) -> None:
        script.step("make", env="MODE", out="x")
        script.step("use", inp="x", out="y")

    sim = Sim(variables={"MODE": "fast"}).boot(plan)
    sim.wait()
    sim.variables["MODE"] = "slow"
    sim = again(sim)
    assert sim.ran() == ["make", "use"]
    assert tags(sim)[0] == "UPDATED MODE"
    assert sim.files["x"] == "make( MODE=slow)"


def test_a_plan_that_amended_a_variable_runs_again_when_that_has_changed() -> None:
    def plan(script: Script) -> Going:
        yield script.amend(env="MODE")
        script.step(f"make {script.sim.variables['MODE']}")

    sim = Sim(variables={"MODE": "1"}).boot(plan)
    sim.wait()
    assert again(sim).ran() == []
    sim.variables["MODE"] = "2"
    sim = again(sim)
    assert sim.ran() == ["plan", "make 2"]
    assert sim.states() == {"plan": "SUCCEEDED", "make 2": "SUCCEEDED"}


def test_a_deleted_output_is_made_again_and_what_it_made_equal_is_skipped() -> None:
    sim = booted(two_levels, sub_py="sub", raw="1").remove("x")
    sim = again(sim)
    assert sim.ran() == ["make"]
    assert tags(sim) == ["DELETED x", "NOSKIP make", "START make", "SUCCESS make", "SKIP use"]


def test_an_edited_output_is_made_again_and_its_readers_are_as_from_scratch() -> None:
    sim = again(booted(two_levels, sub_py="sub", raw="1").write("x", "edited"))
    assert sim.ran() == ["make"]
    assert (sim.files["x"], sim.files["y"]) == ("make(1)", "use(make(1))")


def test_a_reader_that_is_declared_before_its_supplier_is_restored_with_it() -> None:
    def plan(script: Script) -> None:
        script.step("use", inp="x", out="y")
        script.step("make", out="x")

    sim = again(booted(plan), plan)
    assert sim.ran() == ["plan"]
    assert "SKIP use" not in tags(sim)
    assert again(sim).ran() == []


def test_a_plan_that_is_made_by_a_step_is_restored_when_that_makes_it_again_equal() -> None:
    def plan(script: Script) -> None:
        script.step("write the plan", out="sub.py", writes={"sub.py": "sub"})
        script.script("sub", inner)

    def inner(script: Script) -> None:
        script.step("make", out="x")

    sim = booted(plan)
    assert set(sim.states().values()) == {"SUCCEEDED"}
    sim = again(sim.remove("sub.py"))
    assert sim.ran() == ["write the plan"]
    assert set(sim.states().values()) == {"SUCCEEDED"}
    assert "make" in sim.states()


# --- who may say what ------------------------------------------------------------------------------


def refused(code: str, *calls: Callable[[Script], object]) -> None:
    """Assert that the last of these calls of one plan is refused, and changed nothing: that the world checks."""

    def plan(script: Script) -> None:
        for call in calls[:-1]:
            call(script)
        with pytest.raises(UsageError, match=code):
            calls[-1](script)
        done.append(True)

    done: list[bool] = []
    sim = Sim(files=dict.fromkeys(("raw", "more"), "1")).boot(plan)
    sim.wait()
    assert done == [True]
    assert sim.state("plan") == "SUCCEEDED"


def test_the_same_step_twice_is_refused() -> None:
    refused("SNB-407", lambda s: s.step("make", out="x"), lambda s: s.step("make", out="x"))
    refused("SNB-407", lambda s: s.step("make", out="x"), lambda s: s.step("make", out="y"))


def test_a_plan_that_declares_itself_is_refused() -> None:
    refused("SNB-407", lambda s: s.step("plan"))


def test_a_plan_that_is_declared_by_what_it_declared_is_refused_whatever_its_state() -> None:
    # 'plan("../")' in a sub-plan, with the plan itself booted by a cell: the two led to each other for ever.
    def plan(script: Script) -> None:
        script.step("sub", plan=below)

    def below(script: Script) -> Going:
        yield 5.0
        script.step("plan")

    sim = Sim()
    sim.cell("A").step("plan", plan=plan)
    sim.end_cell().wait()
    assert sim.states() == {"plan": "SUCCEEDED", "sub": "FAILED"}
    assert "SNB-407" in sim.story("gave up")[0]
    sim.cell("A").end_cell()
    assert sim.states() == {}


def test_plans_may_be_as_deep_as_a_mistake_makes_them() -> None:
    def plan(script: Script) -> None:
        deep.append(len(deep))
        if len(deep) < 600:
            script.step(f"sub {len(deep)}", plan=plan)

    deep: list[int] = []
    sim = Sim(is_checking=False).boot(plan)
    sim.wait()
    assert len(sim.states()) == 600
    deep = [0] * 600
    sim = again(sim, plan)
    assert sim.states() == {"plan": "SUCCEEDED"}


def test_what_was_declared_is_not_restored_otherwise_than_it_was() -> None:
    # A state file that came from elsewhere: nothing seals the row of a step that never ran.
    def plan(script: Script) -> None:
        script.step("wait", inp="nothing")

    sim = booted(plan)
    child = sim["wait"]
    sim.saved[child.key].declared["spec"] = child.spec._replace(command="evil", inp=())
    sim = again(sim)
    assert sim.ran() == ["plan"]
    live = [step for step in sim.scheduler.graph.steps.values() if step.is_live]
    assert [step.spec.command for step in live] == ["plan", "wait"]


def test_the_graph_can_be_drawn_while_a_step_moves_to_a_younger_creator() -> None:
    def before(script: Script) -> None:
        script.step("make", out="x")
        script.step("sub", plan=lambda s: None)

    def after(script: Script) -> Going:
        script.step("sub", plan=lambda s: s.step("make", out="x"), out="y")
        yield 5.0

    sim = booted(before).edit("plan", after)
    sim.look_again().run(until=sim.now + 3)
    nodes = {row["key"]: row for row in view.nodes(sim.scheduler)}
    assert nodes["step:runsh make"]["creator"] == "step:runsh sub"


def test_the_same_step_by_two_plans_is_refused_whoever_comes_second() -> None:
    def both(one: float, other: float) -> Sim:
        def plan(script: Script) -> None:
            script.static("one.py", "other.py")
            script.script("one", lambda s: later(s, one))
            script.script("other", lambda s: later(s, other))

        def later(script: Script, seconds: float) -> Going:
            yield seconds
            script.step("make", out="x")

        return booted(plan, one_py="1", other_py="1")

    texts = [
        [line.partition(": ")[2] for line in both(*times).story("gave up")] for times in ((1, 2), (2, 1))
    ]
    assert len(texts[0]) == 1
    assert texts[0] == texts[1]
    assert "SNB-407" in texts[0][0]


def test_a_static_file_may_be_declared_twice_and_by_two_plans() -> None:
    def plan(script: Script) -> None:
        script.static("raw", "sub.py")
        script.static("raw")
        script.script("sub", lambda s: s.static("raw"))
        script.step("use", inp="raw", out="x")

    sim = booted(plan, raw="1", sub_py="1")
    assert set(sim.states().values()) == {"SUCCEEDED"}
    sim = again(sim.write("raw", "2"))
    assert sim.ran() == ["use"]


def test_what_may_not_be_claimed_is_refused() -> None:
    def make(script: Script) -> str:
        return script.step("make", out="x")

    refused("SNB-401", make, lambda s: s.step("other", out="x"))
    refused("SNB-402", lambda s: s.static("raw"), lambda s: s.step("make", out="raw"))
    refused("SNB-402", make, lambda s: s.static("x"))
    refused("SNB-405", lambda s: s.step("make", vol="x"), lambda s: s.step("use", inp="x"))
    refused("SNB-405", lambda s: s.step("use", inp="x"), lambda s: s.step("make", vol="x"))
    refused(
        "SNB-406",
        lambda s: s.step("one", inp="x", out="y"),
        lambda s: s.step("two", inp="y", out="z"),
        lambda s: s.step("three", inp="z", out="x"),
    )
    refused("SNB-402", lambda s: s.glob("*.txt", is_deferred=True), lambda s: s.step("make", out="a.txt"))


def test_what_may_not_be_amended_is_refused() -> None:
    refused("SNB-404", lambda s: s.amend(out="mine"), lambda s: s.amend("mine"))
    refused("SNB-404", lambda s: s.amend("plan.py", out="plan.py"))
    refused("SNB-401", lambda s: s.step("make", out="x"), lambda s: s.amend(out="x"))
    refused("SNB-405", lambda s: s.step("make", vol="x"), lambda s: s.amend("x"))
    refused("SNB-402", lambda s: s.static("raw"), lambda s: s.amend(out="raw"))
    refused(
        "SNB-406",
        lambda s: s.amend(out="mine"),
        lambda s: s.step("use", inp="mine", out="x"),
        lambda s: s.amend("x"),
    )


def test_a_job_that_is_over_may_not_say_anything() -> None:
    scripts: list[Script] = []
    booted(scripts.append)
    calls: list[Callable[[Script], object]] = [
        lambda s: s.step("late"),
        lambda s: s.static("late"),
        lambda s: s.amend("late"),
        lambda s: s.pool("late", 1),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="SNB-130"):
            call(scripts[0])


def test_another_plan_takes_over_an_output_that_is_not_declared_again() -> None:
    def plan(script: Script) -> None:
        script.static("one.py", "other.py")
        script.script("one", one)
        script.script("other", other)

    def one(script: Script) -> None:
        script.step("make here", out="x")

    def other(script: Script) -> None:
        script.static("raw")

    def takes_over(script: Script) -> None:
        script.step("make there", out="x")

    sim = booted(plan, one_py="1", other_py="1", raw="1")
    sim.edit("one", other).edit("other", takes_over)
    sim = again(sim)
    assert sim.files["x"] == "make there()"
    assert sim.states().keys() == {"plan", "one", "other", "make there"}
    assert set(sim.states().values()) == {"SUCCEEDED"}
    assert sim.clean(options=True) == []
    assert again(sim).ran() == []


def test_a_step_moves_from_one_plan_to_another_without_running() -> None:
    def plan(script: Script) -> None:
        script.static("one.py", "other.py", "raw")
        script.script("one", makes)
        script.script("other", lambda s: None)

    def makes(script: Script) -> None:
        script.step("make", inp="raw", out="x")

    sim = booted(plan, one_py="1", other_py="1", raw="1")
    sim.edit("one", lambda s: None).edit("other", makes)
    sim = again(sim)
    assert sorted(sim.ran()) == ["one", "other"]
    assert set(sim.states().values()) == {"SUCCEEDED"}
    step = sim["make"]
    assert step.scope is not None
    assert step.scope.owner is sim["other"]
    assert again(sim).ran() == []


def test_a_blocked_step_waits_and_runs_when_the_plan_no_longer_blocks_it() -> None:
    def plan(script: Script) -> None:
        script.step("make", out="x", block=is_blocked)
        script.step("use", inp="x")

    is_blocked = True
    sim = booted(plan)
    assert sim.states() == {"plan": "SUCCEEDED", "make": "PENDING", "use": "PENDING"}
    is_blocked = False
    sim = again(sim, plan)
    assert sim.ran() == ["plan", "make", "use"]
    is_blocked = True
    sim = again(sim, plan)
    assert sim.ran() == ["plan"]
    assert sim.state("make") == "SUCCEEDED"


# --- optional steps --------------------------------------------------------------------------------


def chain_of_options(user: bool) -> Plan:
    def plan(script: Script) -> None:
        script.static("sub.py", "user.py")
        script.script("sub", options)
        script.script("user", uses if user else nobody)

    def options(script: Script) -> None:
        script.step("one", out="x", optional=True)
        script.step("two", inp="x", out="y", optional=True)

    def uses(script: Script) -> None:
        script.step("use", inp="y", out="z")

    def nobody(script: Script) -> None:
        pass

    return plan


def test_optional_steps_run_as_long_as_another_plan_needs_them() -> None:
    sim = booted(chain_of_options(False), sub_py="1", user_py="1")
    assert sim.ran() == ["plan", "sub", "user"]
    assert sim.states()["one"] == sim.states()["two"] == "PENDING"
    sim = again(sim.write("user.py", "2"), chain_of_options(True))
    assert sim.ran() == ["plan", "user", "one", "two", "use"]
    assert sim.clean(options=True) == []
    sim = again(sim.write("user.py", "3"), chain_of_options(False))
    assert sim.ran() == ["plan", "user"]
    assert sim.clean(options=True) == ["z", "y", "x"]
    assert sim.wait() == "done"
    assert sim.states()["one"] == sim.states()["two"] == "PENDING"
    assert again(sim).ran() == []


def test_an_optional_plan_runs_when_what_it_makes_is_needed() -> None:
    def plan(script: Script) -> None:
        script.static("sub.py")
        script.script("sub", inner, out="list", optional=True)
        if is_needed:
            script.step("use", inp="list", out="z")

    def inner(script: Script) -> None:
        script.step("child", out="x")

    is_needed = False
    sim = booted(plan, sub_py="1")
    assert sim.ran() == ["plan"]
    is_needed = True
    sim = again(sim, plan)
    assert sim.ran() == ["plan", "sub", "child", "use"]
    is_needed = False
    sim = again(sim, plan)
    assert sim.ran() == ["plan"]
    assert again(sim).ran() == []


# --- inputs that nobody declares -------------------------------------------------------------------


def test_an_input_that_nobody_declares_keeps_a_step_waiting_although_the_file_is_there() -> None:
    sim = booted(lambda s: s.step("use", inp="raw"), raw="1")
    assert sim.states() == {"plan": "SUCCEEDED", "use": "PENDING"}
    assert sim.reason("use") == "input 'raw' is not declared: no step builds it, and nobody calls it static"


def test_a_step_starts_when_another_plan_calls_its_input_static() -> None:
    def plan(script: Script) -> None:
        script.static("sub.py")
        script.step("use", inp="raw")
        script.script("sub", later)

    def later(script: Script) -> Going:
        yield 3.0
        script.static("raw")

    sim = booted(plan, raw="1", sub_py="1")
    assert sim.story("use running") == ["3 use running"]


def withdrawn(how: Callable[[Script], object]) -> Sim:
    """Return a world in which a plan no longer says what made a file static, in the next run of its session."""

    def plan(script: Script) -> Going:
        if is_said:
            found = how(script)
            if isinstance(found, int):
                yield found
        script.step("use", inp="data/raw", out="x")

    is_said = True
    sim = Sim(files={"data/raw": "1"}).boot(plan)
    sim.wait()
    assert sim.state("use") == "SUCCEEDED"
    is_said = False
    sim.edit("plan", plan).look_again().wait()
    return sim


WAYS: list[Callable[[Script], object]] = [
    lambda s: s.static("data/raw"),
    lambda s: s.glob("data/*"),
    lambda s: s.glob("data/*", is_deferred=True),
]


@pytest.mark.parametrize("how", WAYS)
def test_a_step_waits_again_when_its_input_is_no_longer_called_static(
    how: Callable[[Script], object],
) -> None:
    sim = withdrawn(how)
    assert sim.state("use") == "PENDING"
    assert "is not declared" in sim.reason("use")


@pytest.mark.parametrize("how", WAYS)
def test_a_step_waits_as_well_when_that_happens_in_the_next_session(how: Callable[[Script], object]) -> None:
    def plan(script: Script) -> Going:
        if is_said:
            found = how(script)
            if isinstance(found, int):
                yield found
        script.step("use", inp="data/raw", out="x")

    is_said = True
    sim = Sim(files={"data/raw": "1"}).boot(plan)
    sim.wait()
    is_said = False
    sim = again(sim, plan)
    assert sim.state("use") == "PENDING"
    assert "is not declared" in sim.reason("use")
    is_said = True
    sim = again(sim, plan)
    assert sim.state("use") == "SUCCEEDED"
    assert sim.ran() == ["plan"]


def test_a_static_folder_is_static_and_what_lies_in_it_needs_a_word_of_its_own() -> None:
    def plan(script: Script) -> None:
        script.static("data/")
        script.step("list", inp=("data/",), out="x")
        script.step("use", inp="data/raw")

    sim = Sim(files={"data/raw": "1"}).boot(plan)
    sim.wait()
    assert sim.states() == {"plan": "SUCCEEDED", "list": "SUCCEEDED", "use": "PENDING"}
    assert "is not declared" in sim.reason("use")


def test_a_static_file_that_vanishes_makes_its_readers_wait_and_that_comes_back_skips_them() -> None:
    def plan(script: Script) -> None:
        script.static("raw")
        script.step("use", inp="raw", out="x")

    sim = again(booted(plan, raw="1").remove("raw"))
    assert sim.states() == {"plan": "SUCCEEDED", "use": "PENDING"}
    assert tags(sim) == ["DELETED raw"]
    assert sim.ran() == []
    sim = again(sim.write("raw", "1"))
    assert sim.ran() == []
    assert sim.states() == {"plan": "SUCCEEDED", "use": "SUCCEEDED"}


# --- globs -----------------------------------------------------------------------------------------


def counts(script: Script) -> Going:
    found = yield script.glob("in/*.txt")
    for path in found[0]:
        script.step(f"count {path}", inp=path, out=path.replace("in/", "out-"))


def test_a_new_match_runs_the_plan_and_the_new_step_alone() -> None:
    sim = Sim(files={"in/a.txt": "1"}).boot(counts)
    sim.wait()
    assert sim.ran() == ["plan", "count in/a.txt"]
    assert again(sim).ran() == []
    sim = again(sim.write("in/b.txt", "2"))
    assert sim.ran() == ["plan", "count in/b.txt"]
    assert tags(sim)[0] == "UPDATED in/b.txt"
    sim = again(sim.write("in/b.txt", "3"))
    assert sim.ran() == ["count in/b.txt"]


def test_a_vanished_match_runs_the_plan_and_its_step_is_gone() -> None:
    sim = Sim(files={"in/a.txt": "1", "in/b.txt": "2"}).boot(counts)
    sim.wait()
    sim = again(sim.remove("in/b.txt"))
    assert sim.ran() == ["plan"]
    assert tags(sim)[0] == "DELETED in/b.txt"
    assert sim.states() == {"plan": "SUCCEEDED", "count in/a.txt": "SUCCEEDED"}
    assert sim.clean(options=True) == ["out-b.txt"]


def test_what_steps_build_is_no_match_and_makes_no_plan_run() -> None:
    def plan(script: Script) -> Going:
        found = yield script.glob("*.txt")
        for path in found[0]:
            script.step(f"copy {path}", inp=path, out=f"copy of {path}")

    sim = booted(plan, a_txt="1")
    assert sim.states() == {"plan": "SUCCEEDED", "copy a.txt": "SUCCEEDED"}
    assert again(sim).ran() == []
    sim = again(sim, plan)
    assert sim.ran() == ["plan"]
    assert sim.states() == {"plan": "SUCCEEDED", "copy a.txt": "SUCCEEDED"}


def test_in_the_watch_phase_a_new_match_runs_the_plan_only_when_it_is_told_to() -> None:
    sim = Sim(files={"in/a.txt": "1"}).boot(counts)
    sim.wait()
    sim.do(SetPhase("watch"))
    sim.ran()
    sim.write("in/b.txt", "2").look_again("in/b.txt").run()
    assert sim.ran() == []
    assert tags(sim)[-1] == "UPDATED in/b.txt"
    sim.do(Run())
    sim.wait()
    assert sim.ran() == ["plan", "count in/b.txt"]


def test_what_matches_a_deferred_glob_is_static_as_soon_as_a_step_needs_it() -> None:
    def plan(script: Script) -> None:
        script.step("use", inp="in/b.txt", out="x")
        script.glob("in/*.txt", is_deferred=True)
        script.step("other", inp="in/c.txt")

    sim = Sim(files={"in/b.txt": "1"}).boot(plan)
    sim.wait()
    assert sim.states() == {"plan": "SUCCEEDED", "use": "SUCCEEDED", "other": "PENDING"}
    assert sim.reason("other") == "input 'in/c.txt' is missing, and no step builds it"
    sim = again(sim)
    assert sim.ran() == []
    assert sim.states() == {"plan": "SUCCEEDED", "use": "SUCCEEDED", "other": "PENDING"}
    sim = again(sim.write("in/b.txt", "2").write("in/c.txt", "3"))
    assert sorted(sim.ran()) == ["other", "use"]


# --- amending --------------------------------------------------------------------------------------


def amends(*paths: str, before: float = 0.0, **options: Any) -> Plan:
    """Return what a script does that amends its inputs one by one, whatever the answers."""

    def script_of(script: Script) -> Going:
        yield before
        for path in paths:
            yield script.amend(path, **options)

    return script_of


def makes_and_reads(reads: Plan, takes: float = 3.0, **options: Any) -> Plan:
    def plan(script: Script) -> None:
        script.static("raw")
        script.step("make", inp="raw", out="x", takes=takes)
        script.step("read", plan=reads, out="y", **options)

    return plan


def test_a_step_that_amends_what_is_not_built_yet_is_put_back_and_runs_when_it_is() -> None:
    sim = booted(makes_and_reads(amends("x")), raw="1")
    assert sim.story("read running") == ["0 read running", "3 read running"]
    assert sim.files["y"] == "read(make(1))"
    told = [line for line in tags(sim) if line.endswith("read")]
    assert told == ["START read", "RESCHEDULE read", "START read", "SUCCESS read"]
    assert again(sim).ran() == []


@pytest.mark.parametrize("returncode", [0, 1, -9])
@pytest.mark.parametrize("paths", [("x",), ("x", "raw")])
def test_the_mark_stays_whatever_the_job_does_then(paths: tuple[str, ...], returncode: int) -> None:
    sim = booted(makes_and_reads(amends(*paths), returncode=returncode), raw="1")
    assert sim.history[2].outcome == "cancelled"
    assert [str(job.outcome) for job in sim.history if job.step == "runsh read"] == [
        "cancelled",
        "failed" if returncode else "succeeded",
    ]


def test_what_never_comes_keeps_a_step_waiting_and_is_not_tried_again_in_the_next_session() -> None:
    sim = booted(makes_and_reads(amends("nowhere")), raw="1")
    assert sim.state("read") == "PENDING"
    assert sim.started.count("read") == 1
    assert "'nowhere'" in sim.reason("read")
    sim = again(sim)
    assert sim.ran() == []
    assert sim.state("read") == "PENDING"


def test_a_step_that_is_put_back_for_ever_fails_in_the_end() -> None:
    def lacks_another(script: Script) -> Going:
        tries.append("")
        yield script.amend(f"{len(tries)}.txt")
        script.sim.write(f"{len(tries)}.txt", "1")

    def plan(script: Script) -> None:
        script.glob("*.txt", is_deferred=True)
        script.step("read", plan=lacks_another)

    tries: list[str] = []
    sim = booted(plan)
    for _ in range(DEFERS + 2):
        sim.wait()
    assert sim.state("read") == "FAILED"
    assert len(tries) == DEFERS + 1


def test_a_changed_amended_input_runs_the_step_again() -> None:
    sim = booted(makes_and_reads(amends("raw", "x", before=5)), raw="1")
    assert sim.ran().count("read") == 1
    assert again(sim).ran() == []
    sim = again(sim.write("raw", "2"))
    assert sim.ran() == ["make", "read"]
    assert sim.files["y"] == "read(2+make(2))"


def test_a_deleted_amended_output_is_made_again() -> None:
    def plan(script: Script) -> None:
        script.step("make", plan=lambda s: (yield s.amend(out="x")))
        script.step("use", inp="x", out="y")

    sim = booted(plan)
    assert sim.files["y"] == "use(make())"
    assert again(sim).ran() == []
    sim = again(sim.remove("x"))
    assert sim.ran() == ["make"]
    assert sim.files["y"] == "use(make())"


def test_an_output_that_is_no_longer_amended_leaves_its_reader_waiting_and_is_cleaned() -> None:
    def plan(script: Script) -> None:
        script.static("raw")
        script.step("make", inp="raw", plan=make)
        script.step("use", inp="x", out="y")

    def make(script: Script) -> Going:
        if is_made:
            yield script.amend(out="x")

    is_made = True
    sim = booted(plan, raw="1")
    is_made = False
    sim = again(sim.write("raw", "2"))
    assert sim.ran() == ["make"]
    assert sim.states() == {"plan": "SUCCEEDED", "make": "SUCCEEDED", "use": "PENDING"}
    assert "'x' is not declared" in sim.reason("use")
    assert sim.clean(options=True) == []  # somebody reads it


def test_an_output_that_is_no_longer_amended_and_that_nobody_reads_is_cleaned() -> None:
    def plan(script: Script) -> None:
        script.static("raw")
        script.step("make", inp="raw", plan=make)

    def make(script: Script) -> Going:
        if is_made:
            yield script.amend(out="x", vol="v")

    is_made = True
    sim = Sim(files={"raw": "1"}, writes_volatiles=True).boot(plan)
    sim.wait()
    is_made = False
    sim = again(sim.write("raw", "2"))
    assert sim.clean(options=True) == ["x", "v"]
    assert sorted(sim.files) == ["plan.py", "raw"]


def test_a_module_that_changed_since_the_job_began_puts_the_step_back() -> None:
    def reads_module(script: Script) -> Going:
        yield 1.0
        if not changed:
            changed.append("")
            script.sim.write("module.py", "2")
        yield 1.0
        yield script.amend("module.py", is_read=True)

    def plan(script: Script) -> None:
        script.static("module.py")
        script.step("read", plan=reads_module, out="y")

    changed: list[str] = []
    sim = booted(plan, module_py="1")
    assert sim.ran() == ["plan", "read", "read"]
    assert sim.state("read") == "SUCCEEDED"
    assert sim.files["y"] == "read(2)"


def test_modules_that_nobody_declares_are_none_of_our_business() -> None:
    def plan(script: Script) -> None:
        script.static("mine.py")
        script.step("read", plan=amends("mine.py", optional=("other.py",), is_read=True), out="y")

    sim = booted(plan, mine_py="1", other_py="1")
    assert sim["read"].spec.inp == ("mine.py",)
    assert again(sim.write("other.py", "2")).ran() == []
    assert again(sim.write("mine.py", "2")).ran() == ["read"]


# --- pools -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1.0, 3.0])
def test_two_plans_that_give_a_pool_other_sizes_are_refused_whoever_comes_first(first: float) -> None:
    def plan(script: Script) -> None:
        script.static("one.py", "other.py")
        script.script("one", sizes(first, 1))
        script.script("other", sizes(2.0, 2))

    def sizes(seconds: float, size: int) -> Plan:
        def later(script: Script) -> Going:
            yield seconds
            script.pool("p", size)

        return later

    sim = booted(plan, one_py="1", other_py="1")
    (line,) = sim.story("gave up")
    assert "Pool 'p' gets two sizes. (SNB-503)" in line
    assert "1 slot by step 'runsh one', and 2 slots by step 'runsh other'" in line
    assert sim.state("one" if first > 2 else "other") == "FAILED"


def test_a_pool_that_gets_another_size_runs_the_plan_and_nothing_else() -> None:
    def plan(script: Script) -> None:
        script.pool("p", size)
        for name in "abc":
            script.step(name, pool="p")

    size = 1
    sim = booted(plan)
    assert sim.overlap("p") == 1
    size = 2
    sim = again(sim, plan)
    assert sim.ran() == ["plan"]
    assert sim.scheduler.pools.pools["p"].size == 2
    assert again(sim).scheduler.pools.pools["p"].size == 2


# --- what failed jobs leave ------------------------------------------------------------------------


def test_what_a_failed_step_left_is_cleaned_once_the_step_is_gone() -> None:
    def plan(script: Script) -> None:
        if is_there:
            script.step("fails", out="x", returncode=1, leaves_half=True)

    is_there = True
    sim = booted(plan)
    assert sim.state("fails") == "FAILED"
    assert sim.clean(options=True) == []
    sim = again(sim)
    assert sim.ran() == ["fails"]
    is_there = False
    sim = again(sim, plan)
    assert sim.clean(options=True) == ["x"]
    assert list(sim.scheduler.graph.steps) == ["runsh plan"]


def test_what_was_there_before_a_failed_step_is_not_its_own() -> None:
    def plan(script: Script) -> None:
        if is_there:
            script.step("fails", out="x", returncode=1)

    is_there = True
    sim = booted(plan, x="mine")
    is_there = False
    sim = again(sim, plan)
    assert sim.clean(options=True) == []
    assert sim.files["x"] == "mine"


# --- phases ----------------------------------------------------------------------------------------


def watched(plan: Plan, **files: str) -> Sim:
    sim = booted(plan, **files)
    sim.do(SetPhase("watch"))
    sim.run()
    sim.ran()
    sim.log.clear()
    return sim


def test_nothing_starts_before_all_that_is_known_was_looked_at() -> None:
    sim = booted(two_levels, sub_py="1", raw="1").write("raw", "2").restart()
    sim.takes_look = 2.0
    began = sim.now
    sim.boot().wait()
    # It need not be looked at a second time: it was just now.
    assert sim.story("running")[0] == f"{began + 2:g} make running"
    assert [line.step for line in sim.log if line.tag == "PHASE"] == ["run"]


def test_in_the_watch_phase_changes_are_told_and_nothing_moves_until_run() -> None:
    sim = watched(two_levels, sub_py="1", raw="1")
    sim.write("raw", "2").look_again("raw").run()
    assert tags(sim) == ["UPDATED raw"]
    assert sim.ran() == []
    assert sim.reason("make") == "waits for the next run"
    sim.do(Run())
    assert sim.wait() == "done"
    assert sim.ran() == ["make", "use"]
    assert [line.step for line in sim.log if line.tag == "PHASE"] == ["run"]


def test_in_the_watch_phase_a_deleted_file_is_told_of() -> None:
    sim = watched(two_levels, sub_py="1", raw="1")
    sim.remove("y").remove("raw").look_again().run()
    assert tags(sim) == ["DELETED raw", "DELETED y"]
    sim.do(Run())
    sim.wait()
    assert sim.ran() == []
    assert sim.states() == {"plan": "SUCCEEDED", "sub": "SUCCEEDED", "make": "PENDING", "use": "PENDING"}


def test_what_changed_while_steps_ran_is_told_when_the_watch_begins() -> None:
    def plan(script: Script) -> None:
        script.static("raw")
        script.step("make", inp="raw", out="x")
        script.step("long", takes=9)

    sim = Sim(files={"raw": "1"}).boot(plan).run(until=5)
    sim.write("raw", "2")
    sim.run()
    sim.log.clear()
    sim.do(SetPhase("watch"))
    sim.run()
    assert tags(sim) == ["UPDATED raw"]
    assert sim.started.count("make") == 1


def test_what_failed_runs_again_on_run() -> None:
    def plan(script: Script) -> None:
        script.step("fails", out="x", returncode=1)
        script.step("use", inp="x")

    sim = watched(plan)
    sim.look_again().run()
    assert sim.ran() == []
    sim.commands["fails"].returncode = 0
    sim.do(Run())
    sim.wait()
    assert sim.ran() == ["fails", "use"]


def test_a_run_within_the_run_phase_runs_no_failed_step_again() -> None:
    sim = booted(lambda s: s.step("fails", returncode=1))
    sim.do(Run())
    sim.wait()
    assert sim.ran() == ["plan", "fails"]


def test_two_runs_of_a_session_without_a_change_start_nothing() -> None:
    sim = watched(two_levels, sub_py="1", raw="1")
    sim.do(Run())
    sim.wait()
    assert sim.ran() == []
    assert tags(sim) == []


# --- cleaning --------------------------------------------------------------------------------------


def test_what_is_cleaned_by_path_takes_with_it_what_was_made_from_that() -> None:
    sim = booted(two_levels, sub_py="1", raw="1")
    assert sim.clean(dry_run=True, paths=("raw",)) == ["x", "y"]
    assert sim.clean(paths=("x",)) == ["x", "y"]
    sim = again(sim)
    assert sim.ran() == ["make", "use"]


def test_what_somebody_still_reads_is_not_cleaned_and_not_forgotten() -> None:
    # It was forgotten as soon as anything was cleaned: later it was nobody's, and stayed for ever.
    def plan(script: Script) -> None:
        if is_made:
            script.step("make", out="x")
        if is_read:
            script.step("use", inp="x", block=True)

    is_made = is_read = True
    sim = booted(plan)
    is_made = False
    sim = again(sim, plan)
    assert sim.clean(options=True) == []
    is_read = False
    sim = again(sim, plan)
    assert sim.clean(options=True) == ["x"]


def test_what_a_failed_plan_laid_by_is_cleaned_when_the_plan_itself_is_gone() -> None:
    def plan(script: Script) -> None:
        script.static("sub.py")
        if is_there:
            script.script("sub", inner)

    def inner(script: Script) -> None:
        if is_failing:
            raise GaveUp
        script.step("make", out="x")

    is_there, is_failing = True, False
    sim = booted(plan, sub_py="1")
    is_failing = True
    sim = again(sim.write("sub.py", "2"))
    assert sim.clean(options=True) == []
    sim.do(SetPhase("watch"))
    is_there = False
    sim.edit("plan", plan).look_again().do(Run())
    sim.wait()
    assert sim.clean(options=True) == ["x"]


# --- what random projects found --------------------------------------------------------------------


def test_what_waits_below_a_plan_goes_on_when_that_is_declared_again() -> None:
    # 'waits until step plan declares it again' was the last word on a grandchild.
    def plan(script: Script) -> Going:
        yield 1.0
        script.static("sub.py", "raw")
        script.script("sub", inner)

    def inner(script: Script) -> None:
        script.step("make", inp="raw", out="x")

    sim = booted(plan, sub_py="1", raw="1")
    sim = again(sim.write("raw", "2"), plan)
    assert sim.ran() == ["plan", "make"]
    assert sim.state("make") == "SUCCEEDED"


def test_what_is_taken_back_while_a_step_runs_leaves_it_waiting() -> None:
    def plan(script: Script) -> Going:
        if is_said:
            script.static("raw")
        script.step("use", inp="raw", takes=9)
        yield 1.0

    is_said = True
    sim = Sim(files={"raw": "1"}).boot(plan).run(until=3)
    is_said = False
    sim.edit("plan", plan).look_again().wait()
    assert sim.story("use") == ["0 use checking", "0 use running", "9 use pending"]
    assert "'raw' is not declared" in sim.reason("use")


def test_a_step_that_changed_while_its_plan_failed_is_not_restored_as_it_was() -> None:
    # The database kept the old result beside the new declaration.
    def plan(script: Script) -> Going:
        script.static("raw", "more")
        script.step("begin", inp="raw", out="b")
        script.step("make", inp=inp, out="x")
        yield 0.5
        if is_failing:
            raise GaveUp

    inp: tuple[str, ...] = ("b",)
    is_failing = False
    sim = booted(plan, raw="1", more="2")
    inp, is_failing = ("b", "more"), True
    sim = again(sim.write("raw", "3"), plan)
    assert sim.states() == {"plan": "FAILED", "begin": "SUCCEEDED", "make": "PENDING"}
    is_failing = False
    sim = again(sim.write("raw", "1"), plan)
    assert sim.files["x"] == "make(begin(1)+2)"


def test_what_was_made_anew_beside_a_plan_that_waited_is_seen_by_the_next_session() -> None:
    def plan(script: Script) -> None:
        script.static("raw", *statics)
        script.step("make", inp="raw", out="x")
        script.script("sub", lambda s: s.step("use", inp="x", out="y"))

    statics = ["sub.py"]
    sim = booted(plan, sub_py="1", raw="1")
    statics = []
    sim = again(sim, plan)
    assert sim.state("sub") == "PENDING"
    sim = again(sim.write("raw", "2"))
    assert sim.files["x"] == "make(2)"
    assert sim.files["y"] == "use(make(1))"
    statics = ["sub.py"]
    sim = again(sim, plan)
    assert sim.files["y"] == "use(make(2))"


def test_a_step_that_waited_when_the_session_ended_still_has_its_variables() -> None:
    # It ran without them in mind, and ran once more in the session after that.
    def plan(script: Script) -> None:
        script.static("raw")
        script.step("make", inp="raw", env="MODE", out="x")

    sim = Sim(variables={"MODE": "1"}).boot(plan)
    sim.wait()
    sim = again(sim.write("raw", "1"))
    assert sim.ran() == ["make"]
    assert sim.files["x"] == "make(1 MODE=1)"
    assert again(sim).ran() == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("is_failing", [False, True])
def test_a_step_moves_from_a_plan_to_the_one_that_declares_it(is_failing: bool, workers: int) -> None:
    # It was 'declared twice', and the sub-plan that had given it up never came to say so.
    def plan(script: Script) -> Going:
        script.static("sub.py")
        script.script("sub", inner)
        if is_moved:
            script.step("make", out="x")
        yield 0.0
        if is_failing_now:
            raise GaveUp

    def inner(script: Script) -> None:
        if not is_moved:
            script.step("make", out="x")

    is_moved = is_failing_now = False
    sim = Sim(files={"sub.py": "1"}, workers=workers).boot(plan)
    sim.wait()
    if is_failing:
        is_failing_now = True
        sim = again(sim, plan)
        assert sim.state("plan") == "FAILED"
    is_moved, is_failing_now = True, False
    sim = sim.write("sub.py", "2").restart()
    sim.takes_look = 0.1  # the plan is quicker than the look that tells of its sub-plan
    sim.boot(plan).wait()
    assert set(sim.states().values()) == {"SUCCEEDED"}
    assert sim["make"].creator == "step:runsh plan"
    assert "make" not in sim.ran()


def test_what_moves_between_plans_that_are_both_to_run_is_refused_to_none() -> None:
    def plan(script: Script) -> None:
        script.static("one.py", "other.py")
        script.script("one", lambda s: says(s, is_moved), duration=9)
        script.script("other", lambda s: says(s, not is_moved))

    def says(script: Script, is_here: bool) -> None:
        if is_here:
            script.step("make", out="x")

    is_moved = False
    sim = Sim(files={"one.py": "1", "other.py": "1"}, workers=1).boot(plan)
    sim.wait()
    is_moved = True
    sim = again(sim.write("one.py", "2").write("other.py", "2"))
    assert sim.story("gave up") == []
    assert set(sim.states().values()) == {"SUCCEEDED"}


def test_a_plan_whose_step_another_one_took_runs_again_and_says_so() -> None:
    def plan(script: Script) -> None:
        script.static("one.py")
        if is_taken:
            script.step("other", out="x")
        script.script("one", lambda s: s.step("make", out="x"))

    is_taken = False
    sim = booted(plan, one_py="1")
    is_taken = True
    sim = again(sim, plan)
    assert sim.ran() == ["plan", "other", "one"]
    assert sim.states() == {"plan": "SUCCEEDED", "other": "SUCCEEDED", "one": "FAILED"}
    assert "SNB-401" in "".join(sim.story("one gave up"))
    is_taken = False
    sim = again(sim, plan)
    assert set(sim.states().values()) == {"SUCCEEDED"}
    assert sim.files["x"] == "make()"


def test_what_a_failed_job_and_a_step_that_is_gone_left_is_no_match() -> None:
    def plan(script: Script) -> Going:
        if is_there:
            script.step("logs", out="x", vol="one.log")
            script.step("fails", out="two.log", leaves_half=True, returncode=1)
        found = yield script.glob("*.log")
        matches.append(found[0])

    is_there = True
    matches: list[tuple[str, ...]] = []
    sim = Sim(writes_volatiles=True).boot(plan)
    sim.wait()
    assert {"one.log", "two.log"} <= sim.files.keys()
    is_there = False
    sim = again(sim, plan)
    assert matches == [(), ()]
    assert sim.clean(options=True) == ["x", "two.log", "one.log"]


def test_what_a_step_wrote_while_all_was_killed_is_no_match() -> None:
    def plan(script: Script) -> None:
        script.static("finds.py", "makes.py")
        script.script("finds", finds)
        script.script("makes", makes, takes=9)

    def finds(script: Script) -> Going:
        found = yield script.glob("*.log")
        matches.append(found[0])

    def makes(script: Script) -> None:
        script.step("make", out="x", vol="one.log", takes=20)

    matches: list[tuple[str, ...]] = []
    sim = Sim(files={"finds.py": "1", "makes.py": "1"}, writes_volatiles=True).boot(plan)
    sim.run(until=5)
    assert sim.states()["make"] == "RUNNING"
    assert matches == [()]
    sim.files["one.log"] = "half of it"
    sim = again(sim, plan)
    assert matches == [()]
    assert set(sim.states().values()) == {"SUCCEEDED"}


def test_static_files_that_nobody_reads_are_looked_at_in_the_watch_phase() -> None:
    sim = watched(lambda s: s.static("raw"), raw="1")
    sim.write("raw", "2").look_again().run()
    assert tags(sim) == ["UPDATED raw"]


# --- random projects -------------------------------------------------------------------------------


def check_seeds(seeds: Iterable[int], check: Callable[[Random], object]) -> int:
    """Check projects; return how many were of use."""
    number = 0
    for seed in seeds:
        try:
            number += check(Random(seed)) is not False
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
    return number


def test_what_comes_out_depends_neither_on_workers_nor_on_durations() -> None:
    check_seeds(range(300), check_pace)


def test_a_run_that_is_killed_comes_to_the_same_end() -> None:
    check_seeds(range(300), check_crashes)


def test_a_session_without_a_change_starts_nothing() -> None:
    check_seeds(range(300), check_again)


def test_after_edits_it_is_as_if_all_had_been_made_from_scratch() -> None:
    assert check_seeds(range(500), check_edits) > 200


@settings(max_examples=60)
@given(st.randoms(use_true_random=False))
def test_no_project_breaks_a_rule(random: Random) -> None:
    check_edits(random, is_comparing=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("check", [check_pace, check_crashes, check_again, check_edits])
def test_many_more_projects_break_no_rule_either(check: Callable[[Random], object]) -> None:
    check_seeds(range(500, 10_000), check)
