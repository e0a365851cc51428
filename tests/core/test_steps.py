"""What becomes of a step: adoption, rounds of a cell, skipping, failing, being put back. In a world without time."""

from __future__ import annotations

import pytest
from sim import Sim

from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Cancel, Forget, Hold, Release, Rerun
from stepup_nb.core.model import ScopeKind


def test_a_chain_runs_in_the_order_of_its_files() -> None:
    sim = Sim()
    sim.step("last", inp="b")
    sim.step("middle", inp="a", out="b")
    sim.step("first", out="a")
    assert sim.wait() == "done"
    assert sim.started == ["first", "middle", "last"]


def test_an_equal_declaration_in_the_same_cell_runs_nothing() -> None:
    sim = Sim(files={"src": "1"})
    for _ in range(2):
        sim.cell("A").step("make", inp="src", out="made")
        sim.end_cell()
        assert sim.wait() == "done"
    assert sim.started == ["make"]
    assert sim["make"].skipped


def test_a_restarted_session_skips_what_is_up_to_date() -> None:
    sim = Sim(files={"src": "1"})
    sim.cell("A").step("make", inp="src", out="made")
    sim.step("use", inp="made", out="used")
    sim.end_cell().wait()
    sim = sim.restart()
    sim.cell("A").step("make", inp="src", out="made")
    sim.step("use", inp="made", out="used")
    assert sim.end_cell().wait() == "done"
    assert sim.started == []
    assert sim["make"].skipped
    assert sim["use"].skipped


def test_an_edited_input_runs_exactly_its_dependents() -> None:
    sim = Sim(files={"src": "1", "other": "1"})
    sim.step("make", inp="src", out="made")
    sim.step("use", inp="made", out="used")
    sim.step("apart", inp="other", out="elsewhere")
    sim.wait()
    sim.ran()
    sim.write("src", "2")
    assert sim.wait() == "done"
    assert sim.ran() == ["make", "use"]


def test_consumers_of_an_output_that_came_out_the_same_are_skipped() -> None:
    sim = Sim(files={"src": "1"})
    sim.step("make", inp="src", out="made", writes={"made": "always this"})
    sim.step("use", inp="made", out="used")
    sim.wait()
    sim.ran()
    sim.write("src", "2")
    assert sim.wait() == "done"
    assert sim.ran() == ["make"]


def test_the_same_content_written_again_runs_nothing() -> None:
    sim = Sim(files={"src": "1"})
    sim.step("make", inp="src", out="made")
    sim.wait()
    sim.write("src", "1")
    sim.wait()
    assert sim.started == ["make"]


@pytest.mark.parametrize("deed", ["edited", "removed"])
def test_an_output_that_the_user_touched_is_made_again(deed: str) -> None:
    sim = Sim(files={"src": "1"})
    sim.step("make", inp="src", out="made")
    sim.wait()
    _ = sim.write("made", "mine") if deed == "edited" else sim.remove("made")
    assert sim.wait() == "done"
    assert sim.started == ["make", "make"]


def test_an_input_that_is_nowhere_keeps_the_step_waiting_until_it_appears() -> None:
    sim = Sim()
    sim.step("use", inp="src")
    assert sim.wait() == "stuck"
    assert sim.reason("use") == "input 'src' is missing, and no step builds it"
    sim.write("src", "1")
    assert sim.wait() == "done"


# --- loops, twins, other cells ---


def test_a_loop_of_five_equal_steps_runs_five_times_and_made_shorter_retires_the_tail() -> None:
    sim = Sim()
    sim.cell("A")
    keys = [sim.step("same") for _ in range(5)]
    sim.end_cell().wait()
    assert keys == ["runsh same", *(f"runsh same ({k})" for k in range(2, 6))]
    assert len(sim.started) == 5
    sim.cell("A")
    for _ in range(3):
        sim.step("same")
    sim.end_cell().wait()
    assert len(sim.started) == 5
    assert list(sim.states()) == ["same", "same (2)", "same (3)"]


def test_an_equal_step_of_another_cell_is_adopted_if_it_has_outputs() -> None:
    sim = Sim()
    sim.cell("A").step("make", out="made")
    sim.cell("B").step("make", out="made")
    sim.end_cell().wait()
    assert sim.started == ["make"]
    assert sim["make"].cell == "cell B"


def test_an_equal_step_of_another_cell_without_outputs_is_a_step_of_its_own() -> None:
    sim = Sim()
    sim.cell("A").step("look")
    sim.cell("B")
    assert sim.step("look") == "runsh look (2)"
    sim.end_cell().wait()
    assert len(sim.started) == 2


def test_where_cells_have_no_ids_a_step_that_is_done_is_taken_up_again() -> None:
    sim = Sim()
    sim.cell("1", kind=ScopeKind.RUN).step("look")
    sim.end_cell().wait()
    sim.cell("2", kind=ScopeKind.RUN).step("look")
    sim.end_cell().wait()
    assert sim.started == ["look"]


def test_where_cells_have_no_ids_a_later_claim_of_an_output_replaces_the_earlier_one() -> None:
    sim = Sim()
    sim.cell("1", kind=ScopeKind.RUN).step("old", out="made")
    sim.cell("2", kind=ScopeKind.RUN).step("new", out="made")
    sim.end_cell().wait()
    assert sim.states() == {"new": "SUCCEEDED"}


def test_a_step_that_runs_is_attached_to_when_its_cell_is_run_again_unchanged() -> None:
    sim = Sim()
    sim.cell("A").step("slow", takes=10)
    sim.end_cell().run(until=3)
    sim.cell("A").step("slow", takes=10)
    sim.end_cell()
    assert sim.wait() == "done"
    assert sim.now == 10
    assert sim.started == ["slow"]


# --- rounds ---


def test_an_edited_cell_has_its_old_step_dead_before_the_new_one_starts() -> None:
    sim = Sim()
    sim.cell("A").step("old", takes=100, dies_after=2)
    sim.end_cell().run(until=1)
    sim.cell("A").step("new")
    sim.end_cell().wait()
    assert sim.story("running") == ["0 old running", "3 new running"]
    assert sim.states() == {"new": "SUCCEEDED"}


def test_an_edited_cell_may_write_the_file_of_its_last_round() -> None:
    sim = Sim()
    sim.cell("A").step("old", out="made", takes=100, dies_after=2)
    sim.run(until=1)
    sim.cell("A").step("new", out="made")
    assert sim.end_cell().wait() == "done"
    assert sim.story("new running") == ["3 new running"]


def test_a_cell_that_raises_retires_nothing() -> None:
    sim = Sim()
    sim.cell("A").step("kept", takes=5)
    sim.end_cell().run(until=1)
    sim.cell("A")
    sim.end_cell(is_ok=False).wait()
    assert sim.states() == {"kept": "SUCCEEDED"}


def test_a_wait_inside_a_cell_ignores_what_is_undecided() -> None:
    sim = Sim()
    sim.cell("A").step("old", takes=100)
    sim.end_cell().run(until=1)
    sim.cell("A").step("new")
    assert sim.wait(scope="A") == "done"
    assert sim.now == 2
    assert sim.end_cell().states() == {"new": "SUCCEEDED"}


def test_the_steps_of_a_deleted_cell_are_retired_after_the_next_cell() -> None:
    sim = Sim()
    sim.cell("A").step("gone", out="made")
    sim.end_cell().wait()
    sim.cell("B", deleted=["A"]).step("other")
    sim.end_cell().wait()
    assert sim.states() == {"other": "SUCCEEDED"}
    assert sim.clean() == ["made"]


# --- refusals ---


def test_two_cells_that_write_one_file_are_both_named_whichever_came_first() -> None:
    texts = []
    for first, second in (("AB", "one two".split()), ("BA", "two one".split())):
        sim = Sim()
        sim.cell(first[0]).step(second[0], out="made")
        sim.cell(first[1])
        with pytest.raises(UsageError) as refused:
            sim.step(second[1], out="made")
        texts.append(str(refused.value))
    assert texts[0] == texts[1]
    assert "cell A" in texts[0]
    assert "cell B" in texts[0]


def test_a_circle_is_shown_as_a_path() -> None:
    sim = Sim()
    sim.step("one", inp="c", out="a")
    sim.step("two", inp="a", out="b")
    with pytest.raises(UsageError, match="SNB-406") as refused:
        sim.step("three", inp="b", out="c")
    for word in ("one", "two", "three", "→", "a", "b", "c"):
        assert word in str(refused.value)
    assert len(sim.states()) == 2


def test_an_output_that_is_an_input_is_refused() -> None:
    with pytest.raises(UsageError, match="SNB-404"):
        Sim().step("odd", inp="a", out="a")


def test_a_static_file_cannot_be_built_until_its_cell_takes_that_back() -> None:
    sim = Sim(files={"src": "1"})
    sim.cell("A").static("src")
    sim.cell("B")
    with pytest.raises(UsageError, match="SNB-402"):
        sim.step("make", out="src")
    sim.cell("A").cell("B").step("make", out="src")
    assert sim.end_cell().wait() == "done"


def test_one_name_in_two_cells_is_refused() -> None:
    sim = Sim()
    sim.cell("A").step("one", name="it")
    sim.cell("B")
    with pytest.raises(UsageError, match="SNB-403"):
        sim.step("two", name="it")


# --- ends ---


def test_a_failing_step_stops_only_what_depends_on_it() -> None:
    sim = Sim()
    sim.step("bad", out="a", returncode=3)
    sim.step("after bad", inp="a")
    sim.step("apart")
    assert sim.wait() == "stuck"
    assert sim.states() == {"bad": "FAILED", "after bad": "PENDING", "apart": "SUCCEEDED"}
    assert sim["bad"].reason == "exit code 3"
    assert "bad" in sim.scheduler.root_cause(sim["after bad"])


def test_a_failed_step_runs_again_when_it_is_declared_again() -> None:
    sim = Sim()
    sim.cell("A").step("bad", returncode=3)
    sim.end_cell().wait()
    sim.cell("A").step("bad", returncode=0)
    assert sim.end_cell().wait() == "done"
    assert sim.state("bad") == "SUCCEEDED"


def test_an_output_that_is_not_made_fails_the_step() -> None:
    sim = Sim()
    sim.step("lazy", out="made", writes={})
    sim.wait()
    assert sim["lazy"].reason == "ended with 0 but did not create 'made'"


def test_a_failing_step_gets_its_attempts_and_no_more() -> None:
    sim = Sim()
    sim.step("bad", returncode=1, retry=2)
    sim.wait()
    assert sim.started == ["bad"] * 3
    assert sim.state("bad") == "FAILED"


def test_a_step_is_stopped_after_its_time_out() -> None:
    sim = Sim()
    sim.step("slow", takes=100, timeout=5.0, dies_after=0.5)
    sim.wait()
    assert sim.now == 5.5
    assert sim.history[0].outcome == "timed out"
    assert sim.state("slow") == "FAILED"


def test_a_cancelled_step_ends_cancelled_and_its_consumers_say_so() -> None:
    sim = Sim()
    sim.step("slow", out="a", takes=100)
    sim.step("use", inp="a")
    sim.run(until=1)
    sim.cancel("slow")
    assert sim.wait() == "stuck"
    assert sim.state("slow") == "CANCELLED"
    assert "was cancelled" in sim.reason("use")


def test_cancelling_all_leaves_nothing_to_wait_for() -> None:
    sim = Sim(pools={"p": 1})
    for name in "abc":
        sim.step(name, pool="p", takes=9)
    sim.do(Cancel(None))
    assert sim.wait() == "done"
    assert set(sim.states().values()) == {"CANCELLED"}


def test_an_input_that_changes_during_the_job_puts_it_back_twice_and_then_fails_it() -> None:
    def meddle(sim: Sim) -> None:
        sim.write("src", f"{sim.now}")

    sim = Sim(files={"src": "1"})
    sim.step("use", inp="src", out="made", touches=meddle)
    sim.wait()
    assert sim.started == ["use"] * 3
    assert sim["use"].reason == "input 'src' changed while it ran, 3 times"


def test_an_input_that_is_changed_back_is_found_out() -> None:
    done: list[float] = []

    def meddle(sim: Sim) -> None:
        if not done:
            done.append(sim.now)
            sim.write("src", "other").write("src", "1")

    sim = Sim(files={"src": "1"})
    sim.step("use", inp="src", out="made", touches=meddle)
    assert sim.wait() == "done"
    assert sim.started == ["use", "use"]


def test_a_producer_that_runs_again_waits_until_its_consumer_is_dead() -> None:
    sim = Sim()
    sim.step("make", out="a")
    sim.step("use", inp="a", takes=50, dies_after=3)
    sim.run(until=2)
    sim.do(Rerun(("make",)))
    sim.run(until=20)
    assert sim.story("running")[-2:] == ["5 make running", "6 use running"]


def test_rerun_runs_one_step_and_its_consumers_only_if_that_matters() -> None:
    sim = Sim()
    sim.step("make", out="a", writes={"a": "same"})
    sim.step("use", inp="a")
    sim.wait()
    sim.ran()
    sim.do(Rerun(("make",)))
    sim.wait()
    assert sim.ran() == ["make"]


def test_a_step_with_nothing_to_compare_runs_once_unless_it_is_forced() -> None:
    sim = Sim()
    sim.cell("A").step("once")
    sim.cell("A").step("once")
    sim.end_cell().wait()
    assert sim.started == ["once"]
    sim.cell("A").step("once", force=True)
    sim.end_cell().wait()
    assert sim.started == ["once", "once"]


# --- after, optional, block, hold ---


def test_after_orders_without_a_file_and_an_unknown_name_waits_with_a_hint() -> None:
    sim = Sim()
    sim.step("second", name="second", after="frist")
    assert sim.wait() == "stuck"
    sim.step("first", name="first")
    assert "did you mean 'first'?" in sim.reason("second")
    sim.step("late", name="frist")
    assert sim.wait() == "done"
    assert sim.started == ["first", "frist", "second"]


def test_an_optional_step_runs_only_if_something_needs_it_through_any_chain() -> None:
    sim = Sim()
    sim.step("far", out="a", optional=True)
    sim.step("near", inp="a", out="b", optional=True)
    assert sim.wait() == "done"
    assert sim.started == []
    sim.step("needs", inp="b")
    assert sim.wait() == "done"
    assert sim.started == ["far", "near", "needs"]


def test_a_blocked_step_does_not_run_and_says_so() -> None:
    sim = Sim()
    sim.step("never", block=True)
    assert sim.wait() == "stuck"
    assert sim.reason("never") == "blocked (--block)"


def test_held_steps_start_at_the_end_of_the_hold_the_most_urgent_first() -> None:
    sim = Sim(workers=1)
    sim.do(Hold("h"))
    sim.step("short", hold="h", duration=1.0)
    sim.step("long", hold="h", duration=10.0)
    assert sim.started == []
    sim.do(Release("h"))
    sim.run()
    assert sim.started == ["long", "short"]


def test_a_forgotten_step_is_gone() -> None:
    sim = Sim()
    sim.step("make", out="a")
    sim.wait()
    sim.do(Forget(("make",)))
    assert sim.states() == {}


def test_a_step_that_the_machine_has_no_room_for_is_tried_again() -> None:
    sim = Sim()
    sim.step("unlucky", cannot_start=2)
    assert sim.wait() == "done"
    assert sim.started == ["unlucky"]
