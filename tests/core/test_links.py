"""Who may write what, what goes round in a circle, `after`, and optional steps (SPEC 3.5, 4.1, 4.10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sim import Sim

from stepup_nb.core import view
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Cancel, Forget
from stepup_nb.core.model import FileState

Declaration = Callable[[Sim], object]


def refusal_in_both_orders(one: Declaration, other: Declaration) -> str:
    """Return the text of the refusal of two declarations by two cells, which must not depend on their order."""
    texts = set()
    for first, second in (((one, "A"), (other, "B")), ((other, "B"), (one, "A"))):
        sim = Sim()
        first[0](sim.cell(first[1]))
        sim.cell(second[1])
        with pytest.raises(UsageError) as refused:
            second[0](sim)
        texts.add(str(refused.value))
    (text,) = texts
    return text


# --- claims ---


def test_two_writers_are_named_alike_also_if_their_commands_have_many_lines() -> None:
    text = refusal_in_both_orders(
        lambda sim: sim.step("one\n  two", out=("p", "x")), lambda sim: sim.step("three", out="x", vol="p")
    )
    assert text == (
        "Two steps would write 'p'. (SNB-401)\n"
        "  why: it is an output of step 'runsh one ⏎ two' (cell A) and of step 'runsh three' (cell B)\n"
        "  fix: change one of the two paths, or remove one step with '%stepup forget'"
    )


def test_a_static_file_and_its_writer_are_named_alike() -> None:
    text = refusal_in_both_orders(lambda sim: sim.static("x"), lambda sim: sim.step("make", out="x"))
    assert text == (
        "'x' is declared static, and a step would write it. (SNB-402)\n"
        "  why: static: cell A; output of step 'runsh make' (cell B)\n"
        "  fix: remove one of the two declarations"
    )


def test_a_volatile_file_and_its_reader_are_named_alike() -> None:
    text = refusal_in_both_orders(lambda sim: sim.step("use", inp="x"), lambda sim: sim.step("make", vol="x"))
    assert text == (
        "'x' is volatile, and a step would read it. (SNB-405)\n"
        "  why: it is a volatile output of step 'runsh make' (cell B) and an input of step 'runsh use' (cell A)\n"
        "  fix: declare it with --out instead of --vol"
    )


def test_a_step_may_come_to_write_as_a_by_product_what_it_read() -> None:
    sim = Sim(files={"x": "1"})
    sim.cell("A").step("one", inp="x")
    sim.end_cell().wait()
    sim.cell("A").step("one", vol="x")
    assert sim.end_cell().wait() == "done"


def test_code_outside_all_cells_is_called_so() -> None:
    sim = Sim()
    sim.cell("A").step("one", name="it")
    sim.step("one", name="other", out="x")
    with pytest.raises(UsageError) as refused:
        sim.step("two", inp="x", out="x")
    assert refused.value.code == "SNB-404"


def test_an_output_cannot_be_volatile_too() -> None:
    with pytest.raises(UsageError, match="SNB-405"):
        Sim().step("odd", out="x", vol="x")


def test_a_refused_declaration_leaves_no_trace() -> None:
    # Sim compares all of the graph and the pools before and after each refusal.
    sim = Sim(pools={"p": 1})
    sim.cell("A").step("make", out="x")
    sim.cell("B").step("same")
    for options in ({"out": "x"}, {"pool": {"p": 2}}, {"inp": "y", "out": "y"}):
        with pytest.raises(UsageError):
            sim.step("bad", **options)
    sim.end_cell()
    with pytest.raises(UsageError):
        sim.step("made outside", pool={"p": 2})
    assert "session" not in sim.scheduler.graph.scopes
    assert list(sim.states()) == ["make", "same"]


def test_an_existing_input_is_static_by_itself_until_somebody_builds_it() -> None:
    sim = Sim(files={"x": "1"})
    sim.step("use", inp="x", out="y")
    sim.wait()
    assert sim.scheduler.graph.files["x"].state is FileState.STATIC
    sim.step("make", out="x", takes=3)
    assert sim.states() == {"use": "PENDING", "make": "RUNNING"}
    assert sim.wait() == "done"
    assert sim.started == ["use", "make", "use"]


def test_calling_a_file_static_that_a_gone_step_made_sets_its_readers_free() -> None:
    # They waited for ever: the file's content did not change, only what it is.
    sim = Sim()
    sim.cell("A").step("make", out="x")
    sim.end_cell().wait()
    sim = sim.restart().write("x", "mine")
    sim.cell("B").step("use", inp="x")
    assert sim.end_cell().wait() == "stuck"
    sim.cell("C").static("x")
    assert sim.end_cell().wait() == "done"


def test_a_file_that_is_called_static_is_looked_at() -> None:
    sim = Sim(files={"x": "1"})
    sim.static("x", "nowhere")
    assert [str(file.state) for file in sim.scheduler.graph.files.values()] == ["STATIC", "MISSING"]


def test_a_gone_step_claims_no_by_products() -> None:
    # Its volatile file, though on disk, was said to be "not as it was built".
    sim = Sim(files={"log": "1"})
    sim.cell("A").step("make", vol="log")
    sim.end_cell().wait()
    sim.cell("A").end_cell()
    sim.step("use", inp="log")
    assert sim.wait() == "done"
    sim = sim.restart()
    sim.cell("B").step("use too", inp="log")
    assert sim.end_cell().wait() == "done"


# --- circles ---


def test_a_circle_is_told_from_the_same_place_whoever_closes_it() -> None:
    declarations: list[Declaration] = [
        lambda sim: sim.step("one", inp="c", out="a"),
        lambda sim: sim.step("two", inp="a", out="b"),
        lambda sim: sim.step("three", inp="b", out="c"),
    ]
    texts = set()
    for last in range(3):
        sim = Sim()
        for number in range(3):
            if number != last:
                declarations[number](sim)
        with pytest.raises(UsageError) as refused:
            declarations[last](sim)
        texts.add(str(refused.value))
    assert texts == {
        "3 steps would wait for each other. (SNB-406)\n"
        "  why: the way goes round in a circle:"
        " 'runsh one' → a → 'runsh two' → b → 'runsh three' → c → 'runsh one'\n"
        "  fix: take one of these links out: an --inp, an --out or an --after"
    }


def test_a_circle_through_after_is_refused_also_if_the_name_was_unknown_first() -> None:
    # Both waited for ever, and nobody was told.
    sim = Sim()
    sim.step("first", name="first", after="second", out="a")
    with pytest.raises(UsageError, match="'first' → a → 'second' → --after → 'first'"):
        sim.step("second", name="second", inp="a")


def test_a_step_cannot_come_after_itself() -> None:
    with pytest.raises(UsageError, match="Step 'it' would wait for itself"):
        Sim().step("it", name="it", after="it")


def test_a_change_that_closes_a_circle_leaves_the_step_as_it_was() -> None:
    sim = Sim(files={"raw": "1"})
    sim.cell("A").step("one", name="one", inp="raw", out="a")
    sim.cell("B").step("two", inp="a", out="b")
    sim.end_cell().wait()
    sim.cell("A")
    with pytest.raises(UsageError, match="SNB-406"):
        sim.step("one", name="one", inp="b", out="a")
    sim.end_cell(is_ok=False)
    assert set(sim.states().values()) == {"SUCCEEDED"}


# --- after ---


def test_after_waits_for_success_and_is_in_no_digest() -> None:
    sim = Sim()
    sim.cell("A").step("make", name="make", takes=3)
    sim.step("then", after="make")
    sim.end_cell().wait()
    assert sim.story("then running") == ["3 then running"]
    sim.cell("A").step("make", name="make", takes=3)
    sim.step("then")
    sim.end_cell().wait()
    assert sim.started == ["make", "then"]


def test_after_a_failed_step_waits_and_says_so() -> None:
    sim = Sim()
    sim.step("bad", returncode=1)
    sim.step("then", after="runsh bad")
    assert sim.wait() == "stuck"
    assert sim.reason("then") == "waits for step 'runsh bad', which failed"


def test_a_part_of_a_name_means_a_step_if_it_means_no_other() -> None:
    sim = Sim()
    sim.step("load north", takes=2)
    sim.step("load south", takes=2)
    sim.step("join", after=("north", "load"))
    assert sim.wait() == "stuck"
    assert sim.reason("join") == "--after names 'load', which is a part of the names of 2 steps"
    sim.do(Forget(("south",)))
    assert sim.wait() == "done"


def test_a_part_of_its_own_name_means_another_step() -> None:
    sim = Sim()
    sim.step("load", takes=2)
    sim.step("load again", after="load")
    assert sim.wait() == "done"
    assert sim.story("load again running") == ["2 load again running"]


def test_a_step_that_lost_the_one_it_came_after_waits_for_the_next_of_that_name() -> None:
    sim = Sim(pools={"p": 0})
    sim.cell("A").step("prepare", name="prepare")
    sim.cell("B").step("then", after="prepare", pool="p")
    sim.end_cell().wait()
    assert sim.state("then") == "QUEUED"
    sim.cell("A").end_cell()
    assert sim.state("then") == "PENDING"
    sim.cell("C").step("prepare otherwise")
    sim.end_cell().pool("p", 1)
    assert sim.wait() == "done"


def test_a_name_never_comes_to_mean_a_step_that_waits_for_it() -> None:
    # Retiring one of two steps left a name with a meaning that closed a circle: a wait went round in it.
    sim = Sim()
    sim.cell("A").step("x one", takes=1)
    sim.cell("B").step("then", after="x", out="a")
    sim.step("x two", inp="a")
    sim.end_cell().run(until=0.5)
    sim.cell("A").end_cell()
    assert sim.wait() == "stuck"
    assert sim["then"].needs_after == {"x": None}
    assert sim.reason("x two") == "input 'a' waits for step 'runsh then'"


def test_a_waiting_follower_is_called_back_when_what_it_follows_runs_again() -> None:
    sim = Sim(pools={"p": 0})
    sim.step("make", name="make", takes=2)
    sim.step("then", after="make", pool="p")
    sim.run()
    assert sim.state("then") == "QUEUED"
    sim.step("make", name="make", takes=2, force=True)
    sim.pool("p", 1)
    assert sim.wait() == "done"
    assert sim.story("then running") == ["4 then running"]


# --- optional steps ---


def chain_of_options(sim: Sim, **last: object) -> None:
    sim.step("far", out="a", optional=True, takes=2)
    sim.step("near", inp="a", out="b", optional=True, **last)


def test_an_option_that_is_needed_no_more_does_not_start() -> None:
    sim = Sim(pools={"p": 0})
    chain_of_options(sim, pool="p")
    sim.cell("A").step("needs", inp="b")
    sim.end_cell().run()
    assert sim.states() == {"far": "SUCCEEDED", "near": "QUEUED", "needs": "PENDING"}
    sim.cell("A").end_cell()
    assert sim.state("near") == "PENDING"
    assert sim.reason("near") == "optional: no step needs its outputs"
    assert sim.wait() == "done"


def test_an_option_that_another_input_replaced_does_not_start() -> None:
    # The step that needed it was declared with other inputs: the option ran although nobody needed it.
    sim = Sim(pools={"p": 0}, files={"ready": "1"})
    sim.step("maker", out="x", optional=True, pool="p")
    sim.step("needs", name="needs", inp="x")
    assert sim.state("maker") == "QUEUED"
    sim.step("needs", name="needs", inp="ready")
    assert sim.state("maker") == "PENDING"


def test_an_option_becomes_a_duty_and_back() -> None:
    sim = Sim(pools={"p": 0})
    sim.cell("A")
    chain_of_options(sim)
    sim.cell("A").step("far", out="a", optional=True, takes=2)
    sim.step("near", inp="a", out="b", optional=False)
    sim.end_cell().wait()
    assert sim.started == ["far", "near"]


def test_what_comes_after_an_option_needs_it() -> None:
    sim = Sim()
    sim.step("prepare", optional=True)
    sim.step("then", after="prepare")
    assert sim.wait() == "done"
    assert sim.started == ["prepare", "then"]


def test_cancelling_all_leaves_alone_what_would_not_run() -> None:
    # Cancelled with the rest, it kept waiting who came to need it later.
    sim = Sim()
    sim.step("maker", out="x", optional=True)
    sim.do(Cancel(None))
    sim.step("needs", inp="x")
    assert sim.wait() == "done"


def test_the_view_counts_what_is_live() -> None:
    sim = Sim()
    sim.cell("A").step("gone")
    sim.cell("A").step("make", out="x", returncode=1)
    sim.step("use", inp="x")
    sim.end_cell().wait()
    assert view.counts(sim.scheduler) == {"PENDING": 1, "FAILED": 1}
    assert [row["label"] for row in view.status(sim.scheduler)["steps"]][-1] == "runsh gone"
