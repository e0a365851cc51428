"""Every wait ends: done, stuck or timed out, and says what it was stuck on (SPEC 7, waiting)."""

from __future__ import annotations

import pytest
from sim import Sim

from stepup_nb.core import view
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import (
    Cancel,
    Drain,
    DropPool,
    LookAgain,
    Pause,
    Resume,
    SetWorkers,
    StopWaiting,
    Wait,
)
from stepup_nb.core.model import ScopeKind


def stuck_on(sim: Sim) -> list[tuple[str, int]]:
    """Return the root causes that a wait tells, and how many steps each keeps waiting."""
    report = view.wait_report(sim.scheduler, None, "", "stuck")
    return [(row["cause"], row["number"]) for row in report["stuck"]]


def test_a_wait_for_nothing_is_done_at_once() -> None:
    assert Sim().wait() == "done"


def test_a_wait_is_done_when_the_last_step_is() -> None:
    sim = Sim()
    sim.step("one", takes=2)
    sim.step("two", takes=5)
    assert sim.wait() == "done"
    assert sim.now == 5


def test_a_wait_notices_what_was_edited_before_it_began() -> None:
    sim = Sim(files={"a": "1"}, takes_look=1.0)
    sim.step("use", inp="a", out="x")
    sim.wait()
    sim.write("a", "2")
    assert sim.wait() == "done"
    assert sim.files["x"] == "use(2)"


def test_a_time_out_ends_the_wait_and_nothing_else() -> None:
    sim = Sim()
    sim.step("slow", takes=5)
    assert sim.wait(timeout=2) == "timeout"
    assert sim.now == 2
    assert sim.wait(timeout=9) == "done"
    assert sim.now == 5


def test_a_time_out_that_falls_together_with_the_end_is_no_time_out() -> None:
    sim = Sim()
    sim.step("slow", takes=2)
    assert sim.wait(timeout=2) == "done"


def test_a_wait_for_named_steps_ignores_the_others() -> None:
    sim = Sim()
    sim.step("quick", takes=1, out="x")
    sim.step("after quick", takes=1, inp="x")
    sim.step("slow", takes=50)
    assert sim.wait("after quick") == "done"
    assert sim.now == 2
    with pytest.raises(UsageError, match="SNB-120"):
        sim.wait("nobody")


def test_a_wait_for_named_steps_ends_as_soon_as_they_cannot_run() -> None:
    # It went on until everything else was finished, too.
    sim = Sim()
    sim.step("slow", takes=50)
    sim.step("bad", takes=3, out="x", returncode=1)
    sim.step("use", inp="x")
    assert sim.wait("use") == "stuck"
    assert sim.now == 3
    assert sim.wait("use") == "stuck"
    assert sim.now == 3


@pytest.mark.parametrize(
    "deed",
    [
        lambda sim: sim.do(DropPool("p")),
        lambda sim: sim.pool("p", 0),
        lambda sim: sim.do(Drain()),
        lambda sim: sim.do(Cancel(("busy",))),
        lambda sim: sim.do(Cancel(("use",))),
    ],
    ids=["pool dropped", "pool closed", "drained", "supplier cancelled", "itself cancelled"],
)
def test_a_wait_for_a_named_step_ends_when_something_is_taken_from_it(deed: object) -> None:
    sim = Sim(pools={"p": 1}, workers=8)
    sim.step("other", takes=90)
    sim.step("busy", takes=20, pool="p", out="x", dies_after=1)
    sim.step("use", inp="x", pool="p")
    sim._at(5.0, lambda: deed(sim))  # type: ignore[operator]
    assert sim.wait("use") in ("stuck", "done")
    assert sim.now < 40


def test_a_wait_sums_up_what_it_was_stuck_on_by_root_cause() -> None:
    sim = Sim(pools={"closed": 0, "small": 1})
    sim.step("bad", out="a", returncode=3)
    for number in range(3):
        sim.step(f"after bad {number}", inp="a", out=f"a{number}")
        sim.step(f"after that {number}", inp=f"a{number}")
    sim.step("undefined", pool="smal", out="b")
    sim.step("after undefined", inp="b")
    sim.step("closed", pool="closed")
    sim.step("blocked", block=True, out="c")
    sim.step("after blocked", inp="c")
    sim.step("lost", inp="nowhere")
    sim.step("unknown", after="nobody")
    sim.step("idle", optional=True)
    assert sim.wait() == "stuck"
    assert stuck_on(sim) == [
        ("step 'runsh bad' failed: exit code 3", 6),
        ("pool 'smal' is not defined; did you mean 'small'?", 2),
        ("pool 'closed' is closed", 1),
        ("blocked (--block)", 2),
        ("input 'nowhere' is missing, and no step builds it", 1),
        ("--after names a step 'nobody' that is not declared", 1),
    ]


def test_a_step_with_a_failed_and_a_waiting_supplier_names_the_failed_one() -> None:
    sim = Sim()
    sim.step("slow", out="a", takes=50)
    sim.step("bad", out="b", returncode=1)
    sim.step("use", inp=("a", "b"))
    sim.run(until=2)
    assert sim.scheduler.root_cause(sim["use"]) == "step 'runsh bad' failed: exit code 1"
    assert sim.scheduler.root_cause(sim["slow"]) == ""


def test_a_wait_goes_on_while_a_pause_alone_keeps_steps_from_starting() -> None:
    sim = Sim(pools={"p": 1})
    sim.step("s", pool="p")
    sim.do(Pause("p"))
    sim.step("t", pool="p")
    assert sim.wait(timeout=30) == "timeout"
    sim.do(Resume("p"))
    assert sim.wait() == "done"


@pytest.mark.parametrize("paused", [None, "other"])
def test_a_wait_does_not_go_on_for_a_step_that_would_not_start_after_the_pause_either(
    paused: str | None,
) -> None:
    # It hung: something was paused, and something was queued.
    sim = Sim(pools={"closed": 0, "other": 1})
    sim.do(Pause(paused))
    sim.step("s", pool="closed")
    assert sim.wait() == "stuck"


def test_a_drain_makes_a_paused_wait_end() -> None:
    sim = Sim()
    sim.do(Pause())
    sim.step("s")
    sim.do(Drain())
    assert sim.wait() == "stuck"
    assert stuck_on(sim) == [("draining", 1)]
    assert sim.reason("s") == "draining: '%stepup run' goes on"


def test_a_wait_inside_a_cell_lets_its_new_steps_go_and_leaves_the_old_ones_alone() -> None:
    sim = Sim()
    sim.cell("A").step("old", takes=90)
    sim.step("kept", takes=4)
    sim.end_cell().run(until=1)
    sim.cell("A").step("new")
    sim.step("kept", takes=4)
    assert sim.reason("new") == "waits until what an earlier run of its cell started is decided"
    assert sim.wait(scope="A") == "done"
    assert sim.now == 4
    assert sim.state("old") == "RUNNING"
    sim.end_cell().run()
    assert list(sim.states()) == ["kept", "new"]


def test_a_wait_inside_a_cell_is_stuck_although_its_old_steps_run() -> None:
    sim = Sim()
    sim.cell("A").step("old", takes=90)
    sim.end_cell().run(until=1)
    sim.cell("A").step("new", inp="nowhere")
    assert sim.wait(scope="A") == "stuck"
    assert sim.now == 1


def test_a_wait_elsewhere_is_not_stuck_on_a_cell_that_has_not_decided_yet() -> None:
    # A terminal that waited for the new step was told that nothing could move any more.
    sim = Sim()
    sim.cell("A").step("old", takes=90)
    sim.end_cell().run(until=1)
    sim.cell("A").step("new")
    assert sim.wait("new", timeout=5) == "timeout"
    sim.end_cell()
    assert sim.wait("new") == "done"


def test_a_wait_elsewhere_waits_for_undecided_steps_too() -> None:
    sim = Sim()
    sim.cell("A").step("old", takes=9)
    sim.end_cell().run(until=1)
    sim.cell("A")
    assert sim.wait() == "done"
    assert sim.now == 9


def test_a_wait_does_not_outlast_a_dying_job_that_nobody_declares() -> None:
    sim = Sim()
    sim.cell("A").step("old", takes=90, dies_after=9)
    sim.end_cell().run(until=1)
    sim.cell("A").step("quick", vol="v", takes=0.0)
    sim.end_cell()
    sim.cell("B").step("other")
    assert sim.end_cell().wait("other") == "done"
    assert sim.now == 2


def test_an_attempt_that_is_still_to_come_is_waited_for() -> None:
    sim = Sim()
    sim.step("flaky", out="x", returncode=1, retry=1)
    sim.step("use", inp="x")
    sim._at(1.05, lambda: setattr(sim.commands["flaky"], "returncode", 0))
    assert sim.wait("use") == "done"


def test_a_wait_that_is_given_up_is_never_answered() -> None:
    sim = Sim()
    sim.step("s")
    sim.do(Wait(77))
    sim.do(StopWaiting(77))
    sim.run()
    assert 77 not in sim.waits


def test_several_waits_end_each_in_its_time() -> None:
    sim = Sim()
    sim.step("quick", takes=1)
    sim.step("slow", takes=3)
    for token, steps in ((101, ("quick",)), (102, None), (103, ("slow",))):
        sim.do(Wait(token, steps))
    sim.run(until=1)
    assert sim.waits == {101: "done"}
    sim.run()
    assert set(sim.waits) == {101, 102, 103}


def test_a_wait_in_a_cell_without_id_is_for_all() -> None:
    sim = Sim()
    sim.cell("1", kind=ScopeKind.RUN).step("slow", takes=5)
    sim.cell("2", kind=ScopeKind.RUN).step("quick")
    assert sim.wait(scope="2") == "done"
    assert sim.now == 5


def test_steps_without_a_worker_wait_until_there_are_more() -> None:
    sim = Sim(workers=1)
    for name in "abc":
        sim.step(name)
    sim.do(SetWorkers(2))
    assert len(sim.running) == 2
    assert sim.wait() == "done"
    assert sim.now == 2


def test_a_look_of_somebody_who_watches_is_answered_once_it_is_done() -> None:
    sim = Sim(files={"a": "1"}, takes_look=5.0)
    sim.step("cut", inp="a", out="b")
    sim.wait()
    sim.write("a", "2")
    sim.do(LookAgain(77, is_watching=True))
    assert 77 not in sim.answers
    sim.run()
    assert sim.answers[77] is True
    assert sim.files["b"] == "cut(2)"
