"""Which step a declaration means: rounds of a cell, occurrences, names, cells without ids, restarts (SPEC 3)."""

from __future__ import annotations

import pytest
from sim import Sim

from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Cancel, CloseScope, Decision, Declare, Forget, SetWorkers
from stepup_nb.core.model import ScopeKind


def declare(sim: Sim, cell: str, *commands: str, **options: object) -> Sim:
    """Execute a cell that declares these steps."""
    sim.cell(cell)
    for command in commands:
        sim.step(command, **options)
    return sim.end_cell()


def run(sim: Sim, number: int) -> Sim:
    """Begin the execution of a cell that nobody identifies."""
    return sim.cell(f"run {number}", kind=ScopeKind.RUN)


# --- the k-th takes the k-th ---


def test_a_longer_loop_adopts_what_is_there_and_adds_the_rest() -> None:
    sim = Sim()
    declare(sim, "A", *["same"] * 2).wait()
    assert sim.ran() == ["same", "same (2)"]
    declare(sim, "A", *["same"] * 3).wait()
    assert sim.ran() == ["same (3)"]


def test_a_number_that_a_shorter_loop_gave_up_is_given_again() -> None:
    sim = Sim()
    declare(sim, "A", *["same"] * 3).wait()
    declare(sim, "A", "same").wait()
    declare(sim, "B", "same").wait()
    assert list(sim.states()) == ["same", "same (2)"]


def test_a_declaration_takes_the_equal_step_of_the_last_round_wherever_it_stood() -> None:
    sim = Sim(files={"a": "1", "b": "1"})
    sim.cell("A").step("count", inp="a")
    sim.step("count", inp="b")
    sim.end_cell().wait()
    sim.ran()
    sim.cell("A")
    assert sim.step("count", inp="b") == "runsh count (2)"
    sim.end_cell().wait()
    assert sim.ran() == []
    assert list(sim.states()) == ["count (2)"]


def test_other_arguments_cancel_the_job_and_an_equal_result_is_still_skipped() -> None:
    sim = Sim(files={"a": "1"})
    sim.cell("A").step("make", inp="a", out="x", takes=10, dies_after=1)
    sim.end_cell().run(until=2)
    sim.cell("A").step("make", inp="a", out="y", takes=10, dies_after=1)
    sim.end_cell().wait()
    assert sim.story("make")[-4:] == [
        "2 make pending",
        "3 make checking",
        "3 make running",
        "13 make succeeded",
    ]
    sim.ran()
    sim.cell("A").step("make", inp="a", out="y", after="make me wait", takes=10)
    sim.cell("A").step("make", inp="a", out="y", takes=10)
    sim.end_cell().wait()
    assert sim.ran() == []
    assert sim["make"].skipped


def test_another_value_of_a_declared_variable_is_another_argument() -> None:
    sim = Sim()
    sim.cell("A").step("make", out="x", env=("MODE",), env_hashes=(("MODE", "1"),), takes=10)
    sim.end_cell().run(until=1)
    sim.cell("A").step("make", out="x", env=("MODE",), env_hashes=(("MODE", "2"),), takes=10)
    sim.end_cell().wait()
    assert sim.started == ["make", "make"]
    sim.cell("A").step("make", out="x", env=("MODE",), env_hashes=(("MODE", None),), takes=10)
    sim.end_cell().run(until=sim.now)
    assert sim["make"].why == ("environment variable MODE changed",)


@pytest.mark.parametrize(
    "options", [{"pool": "p"}, {"priority": 3}, {"duration": 5.0}, {"optional": True}, {"block": True}]
)
def test_what_only_orders_steps_makes_none_outdated(options: dict[str, object]) -> None:
    sim = Sim(pools={"p": 1})
    declare(sim, "A", "make", out="x").wait()
    declare(sim, "A", "make", out="x", **options).wait()
    assert sim.started == ["make"]


def test_a_step_that_waits_for_its_slot_asks_for_another_pool_at_once() -> None:
    sim = Sim(pools={"full": 0, "free": 1})
    declare(sim, "A", "make", pool="full")
    assert sim.state("make") == "QUEUED"
    declare(sim, "A", "make", pool="free")
    assert sim.state("make") == "RUNNING"


# --- rounds ---


def test_a_third_round_still_waits_for_what_the_first_one_left_dying() -> None:
    # A cell edited twice in a row: the second edit ran beside the tree of the very first.
    sim = Sim()
    declare(sim, "A", "first", takes=100, dies_after=5).run(until=1)
    declare(sim, "A", "second")
    declare(sim, "A", "third").wait()
    assert sim.story("running") == ["0 first running", "6 third running"]


def test_what_a_raising_cell_superseded_is_waited_for_and_the_rest_goes_on() -> None:
    sim = Sim()
    sim.cell("A").step("old", out="x", takes=100, dies_after=5)
    sim.step("other", takes=20)
    sim.end_cell().run(until=1)
    sim.cell("A").step("new", out="x")
    sim.end_cell(is_ok=False).wait()
    assert sim.story("new running") == ["6 new running"]
    assert sim.states() == {"other": "SUCCEEDED", "new": "SUCCEEDED"}


def test_after_a_cell_that_raised_all_of_it_is_waited_for() -> None:
    sim = Sim()
    declare(sim, "A", "old", takes=9).run(until=1)
    sim.cell("A")
    sim.end_cell(is_ok=False)
    assert sim.wait(scope="A") == "done"
    assert sim.now == 9


def test_a_cell_may_reverse_the_order_of_its_steps() -> None:
    # The old step still closed a circle with the new one, and the edited cell was refused.
    sim = Sim(files={"raw": "1"})
    sim.cell("A").step("one", inp="raw", out="x")
    sim.step("two", inp="x", out="y")
    sim.end_cell().wait()
    sim.ran()
    sim.cell("A").step("one", inp="y", out="x")
    sim.step("two", inp="raw", out="y")
    assert sim.end_cell().wait() == "done"
    assert sim.ran()[-2:] == ["two", "one"]
    assert sim.files["x"] == "one(two(1))"


def test_a_step_whose_old_round_closes_a_circle_is_retired_and_can_be_declared_again() -> None:
    sim = Sim(files={"raw": "1"})
    sim.cell("A").step("one", inp="raw", out="x")
    sim.step("two", inp="x", out="y")
    sim.end_cell().wait()
    sim.cell("A").step("zero", inp="y", out="raw 2")
    sim.step("one", inp="raw 2", out="x")
    assert list(sim.states()) == ["one", "zero"]
    with pytest.raises(UsageError, match="SNB-406"):
        sim.step("two", inp="x", out="y")


def test_a_cell_may_make_volatile_what_a_step_of_its_last_round_read() -> None:
    sim = Sim()
    sim.cell("A").step("make", out="x")
    sim.step("use", inp="x", out="y")
    sim.end_cell().wait()
    sim.cell("A").step("make", vol="x")
    sim.step("use", out="y")
    assert sim.end_cell().wait() == "done"


def test_a_cell_may_read_what_was_volatile_in_its_last_round() -> None:
    sim = Sim()
    sim.cell("A").step("make", vol="x", writes={"x": "1"})
    sim.end_cell().write("x", "1").wait()
    sim.cell("A").step("use", inp="x")
    assert sim.end_cell().wait() == "done"


def test_a_wait_inside_one_round_says_nothing_about_the_next() -> None:
    sim = Sim()
    declare(sim, "A", "first", takes=90, dies_after=9).run(until=1)
    sim.cell("A").step("second", takes=90, dies_after=9)
    sim.wait(scope="A", timeout=1)
    assert sim.state("second") == "RUNNING"
    declare(sim, "A", "third")
    assert sim.state("third") == "PENDING"
    assert sim.wait() == "done"


def test_a_static_file_of_the_last_round_may_be_built_in_this_one_and_the_reverse() -> None:
    # '%static x' was refused as long as the step that the cell no longer had was there.
    sim = Sim(files={"x": "1"})
    sim.cell("A").static("x")
    sim.cell("A").step("make", out="x")
    assert sim.end_cell().wait() == "done"
    sim.cell("A").static("x")
    sim.end_cell()
    assert sim.states() == {}


def test_what_a_deleted_cell_claimed_yields_before_it_is_retired() -> None:
    sim = Sim(files={"y": "1"})
    sim.cell("A").step("old", out="x")
    sim.static("y")
    sim.end_cell().wait()
    sim.cell("B", deleted=["A"]).step("new", out=("x", "y"))
    assert sim.end_cell().wait() == "done"
    assert sim.states() == {"new": "SUCCEEDED"}


def test_a_step_moved_from_a_deleted_cell_to_another_one_is_adopted() -> None:
    sim = Sim()
    declare(sim, "A", "long", takes=10).run(until=3)
    sim.cell("B", deleted=["A"]).step("long", takes=10)
    sim.end_cell().wait()
    assert sim.started == ["long"]


def test_a_deleted_cell_that_comes_back_begins_a_round() -> None:
    sim = Sim()
    declare(sim, "A", "make", out="x").wait()
    sim.cell("B", deleted=["A"]).end_cell()
    assert sim.states() == {}
    declare(sim, "A", "make", out="x").wait()
    assert sim.started == ["make"]


def test_a_retired_step_says_so_and_is_told_to_be_written_down() -> None:
    sim = Sim()
    sim.cell("A").step("waits", inp="nowhere")
    sim.step("made", out="x")
    sim.end_cell().wait()
    sim.cell("A")
    decision = sim.do(CloseScope("A"))
    assert sim.reason("waits") == "no longer declared"
    assert set(decision.steps) == {"runsh waits", "runsh made"}
    sim.cell("A").step("made", out="x")
    sim = sim.end_cell().restart()
    sim.cell("A")
    decision = sim.do(CloseScope("A"))
    assert [key for key, step in decision.steps.items() if step.is_retired] == ["runsh made"]


def test_an_adopted_step_belongs_to_the_last_who_declared_it() -> None:
    sim = Sim()
    declare(sim, "A", "make", out="x").wait()
    declare(sim, "B", "make", out="x")
    sim.cell("A").end_cell()
    assert sim.states() == {"make": "SUCCEEDED"}
    sim.cell("B").end_cell()
    assert sim.states() == {}


# --- names ---


def test_a_name_is_the_identity_whatever_the_command() -> None:
    sim = Sim()
    sim.cell("A").step("one", name="it", out="x")
    sim.end_cell().wait()
    sim.cell("A").step("two", name="it", out="x")
    sim.end_cell().wait()
    assert sim.states() == {"it": "SUCCEEDED"}
    assert sim["it"].why == ("command changed",)


def test_a_name_twice_in_one_cell_is_refused() -> None:
    sim = Sim()
    sim.cell("A").step("one", name="it")
    with pytest.raises(UsageError, match=r"given twice in cell A"):
        sim.step("two", name="it")


def test_a_name_of_two_cells_is_refused_in_words_that_do_not_depend_on_their_order() -> None:
    texts = set()
    for first, second in ("AB", "BA"):
        sim = Sim()
        sim.cell(first).step("one", name="it")
        sim.cell(second)
        with pytest.raises(UsageError, match="cell A and cell B") as refused:
            sim.step("one", name="it")
        texts.add(str(refused.value))
    assert len(texts) == 1


def test_where_cells_have_no_ids_a_name_replaces_the_earlier_step() -> None:
    sim = Sim()
    run(sim, 1).step("one", name="it", out="x")
    run(sim, 2).step("two", name="it", out="y")
    assert sim.end_cell().wait() == "done"
    assert sim["it"].spec.command == "two"


def test_a_name_that_looks_like_an_occurrence_is_refused() -> None:
    # It replaced the second step of the loop in the graph, and broke its bookkeeping.
    sim = Sim()
    declare(sim, "A", "same", "same")
    with pytest.raises(UsageError, match="SNB-403"):
        sim.step("other", name="runsh same (2)")


def test_an_occurrence_passes_by_a_command_that_looks_like_it() -> None:
    sim = Sim()
    declare(sim, "A", "same (2)", "same", "same")
    assert list(sim.scheduler.graph.steps) == ["runsh same (2)", "runsh same", "runsh same (3)"]


def test_an_occurrence_passes_by_a_dormant_command_that_looks_like_it() -> None:
    sim = Sim()
    declare(sim, "A", "same (2)").wait()
    sim = sim.restart()
    declare(sim, "B", "same", "same").wait()
    assert list(sim.states()) == ["same", "same (3)"]


# --- cells without ids, and code outside all cells ---


def test_where_cells_have_no_ids_one_execution_cannot_write_a_file_twice() -> None:
    sim = Sim()
    run(sim, 1).step("one", out="x")
    with pytest.raises(UsageError, match="SNB-401"):
        sim.step("two", out="x")
    with pytest.raises(UsageError, match="SNB-401"):
        sim.step("one", out="x")


def test_where_cells_have_no_ids_a_step_that_is_not_done_is_not_taken() -> None:
    sim = Sim()
    run(sim, 1).step("sleep", takes=5)
    run(sim, 2).step("sleep", takes=5)
    sim.end_cell().wait()
    assert sim.started == ["sleep", "sleep (2)"]


def test_where_cells_have_no_ids_the_k_th_step_meets_the_k_th() -> None:
    sim = Sim(pools={"p": 0})
    run(sim, 1).step("look", pool="p")
    sim.step("look")
    sim.end_cell().wait()
    sim.ran()
    run(sim, 2).step("look", pool="p")
    sim.step("look")
    sim.end_cell().wait()
    assert sim.ran() == []
    assert sim.states() == {"look": "QUEUED", "look (2)": "SUCCEEDED", "look (3)": "QUEUED"}


def test_where_cells_have_no_ids_equal_steps_with_outputs_are_one() -> None:
    sim = Sim()
    run(sim, 1).step("make", out="x", takes=5)
    run(sim, 2).step("make", out="x", takes=5)
    sim.end_cell().wait()
    assert sim.started == ["make"]


def test_where_cells_have_no_ids_other_arguments_and_outputs_are_another_step() -> None:
    # As soon as the first was done, the second took its place, and the first one's output lost its maker.
    sim = Sim(files={"a": "1", "b": "1"})
    run(sim, 1).step("make", inp="a", out="x")
    sim.end_cell().wait()
    run(sim, 2).step("make", inp="b", out="y")
    sim.end_cell().wait()
    assert sim.states() == {"make": "SUCCEEDED", "make (2)": "SUCCEEDED"}


def test_where_cells_have_no_ids_a_static_file_may_be_built_later() -> None:
    sim = Sim(files={"x": "1"})
    run(sim, 1).static("x")
    run(sim, 2).step("make", out="x")
    assert sim.end_cell().wait() == "done"
    run(sim, 3).static("x")
    assert sim.end_cell().states() == {}


def test_outside_all_cells_an_output_is_claimed_anew_and_a_loop_runs_as_often_as_it_says() -> None:
    # A button whose callback declares 'make' was refused when it was pressed again.
    sim = Sim()
    sim.step("make", out="x", takes=3)
    sim.step("make", out="x", takes=3)
    sim.step("look")
    sim.step("look")
    sim.wait()
    assert sorted(sim.started) == ["look", "look (2)", "make"]
    sim.step("made otherwise", out="x")
    sim.wait()
    assert "make" not in sim.states()


# --- what only the database knows ---


def test_dormant_steps_are_shown_and_never_run() -> None:
    sim = Sim()
    sim.cell("A").step("make", inp="nowhere", out="x")
    sim.step("slow", takes=50)
    sim.end_cell().run(until=1)
    sim = sim.restart()
    assert sim.wait() == "done"
    assert sim.states() == {}
    assert sim.reason("make") == "not declared in this session"
    assert sim.scheduler.root_cause(sim["make"]) == "not declared in this session"
    declare(sim, "A", "slow", takes=50).wait()
    assert sim.started == ["slow"], "it was interrupted"


def test_the_claims_of_dormant_steps_yield() -> None:
    sim = Sim()
    declare(sim, "A", "old", out="x").wait()
    sim = sim.restart()
    declare(sim, "B", "new", out="x").wait()
    assert sim.states() == {"new": "SUCCEEDED"}


def test_an_output_of_a_dormant_step_is_an_input_as_long_as_it_is_as_recorded() -> None:
    sim = Sim()
    declare(sim, "A", "make", out="x").wait()
    sim = sim.restart()
    declare(sim, "B", "use", inp="x").wait()
    assert sim.started == ["use"]
    sim = sim.restart().write("x", "mine")
    declare(sim, "B", "use", inp="x")
    assert sim.wait() == "stuck"
    assert sim.reason("use") == (
        "input 'x' is not as it was built; it was made by step 'runsh make', which is not declared now"
    )
    declare(sim, "A", "make", out="x").wait()
    assert sim.states() == {"use": "SUCCEEDED", "make": "SUCCEEDED"}


def test_the_k_th_takes_the_k_th_of_its_own_cell_also_after_a_restart() -> None:
    # The edited cell B, executed first, took the first number, and cell A ran again for nothing.
    sim = Sim(files={"a": "1", "b": "1", "c": "1"})
    declare(sim, "A", "count", inp="a").wait()
    declare(sim, "B", "count", inp="b").wait()
    sim = sim.restart()
    declare(sim, "B", "count", inp="c").wait()
    declare(sim, "A", "count", inp="a").wait()
    assert sim.ran() == ["count (2)"]


def test_a_cell_that_lost_a_step_before_the_restart_retires_it() -> None:
    sim = Sim()
    declare(sim, "A", "kept", "gone").wait()
    sim.cell("B").step("made", out="x")
    sim.end_cell().wait()
    sim = sim.restart()
    sim.cell("A").step("kept")
    sim.end_cell(is_ok=False)
    assert not sim["gone"].is_retired, "a cell that raises retires nothing"
    declare(sim, "A", "kept")
    assert sim["gone"].is_retired
    sim.cell("C", deleted=["B"]).end_cell()
    assert sim["made"].is_retired
    assert sim.clean() == ["x"]


def test_a_forgotten_dormant_step_does_not_come_back() -> None:
    # The next execution of its cell told the database of it once more.
    sim = Sim()
    declare(sim, "A", "gone").wait()
    sim = sim.restart()
    sim.do(Forget(("gone",)))
    sim.cell("A")
    assert sim.do(CloseScope("A")).steps == {}


def test_a_step_that_is_forgotten_and_declared_in_one_turn_is_not_forgotten() -> None:
    sim = Sim()
    sim.step("make", out="x")
    sim.wait()
    decision = Decision()
    spec = sim["make"].spec
    sim.scheduler.handle(Forget(("make",)), sim.now, decision)
    assert list(decision.forgotten) == ["runsh make"]
    sim.scheduler.handle(Declare(spec, "session"), sim.now, decision)
    assert decision.forgotten == {}
    assert decision.steps["runsh make"].is_live


def test_a_dormant_step_with_an_input_that_nobody_has_seen_can_be_declared() -> None:
    # The database keeps no row of a file that was not there: the declaration broke down.
    sim = Sim()
    declare(sim, "A", "use", inp="nowhere")
    sim = sim.restart()
    declare(sim, "A", "use", inp="nowhere")
    assert sim.wait() == "stuck"


def test_a_retired_step_whose_output_is_gone_from_the_graph_can_be_declared() -> None:
    # Another step had taken the output over and was forgotten: the declaration broke down.
    sim = Sim()
    sim.step("old", out=("x", "y"))
    sim.wait()
    sim.step("new", out="x")
    sim.wait()
    sim.do(Forget(("new",)))
    sim.step("old", out=("x", "y"))
    assert sim.wait() == "done"


def test_declared_again_a_dormant_step_counts_in_the_order_of_this_session() -> None:
    sim = Sim()
    declare(sim, "A", "one", "two").wait()
    sim = sim.restart()
    sim.do(SetWorkers(1))
    declare(sim, "A", "busy", "two", "one", force=True).wait()
    assert sim.started == ["busy", "two", "one"]


def test_cancelled_steps_run_again_when_they_are_declared_again() -> None:
    sim = Sim()
    declare(sim, "A", "slow", takes=5).run(until=1)
    sim.do(Cancel(("slow",)))
    sim.run()
    assert sim.state("slow") == "CANCELLED"
    declare(sim, "A", "slow", takes=5).wait()
    assert sim.state("slow") == "SUCCEEDED"
