"""What an exercise asserts of real jobs: it holds, or it says what happened instead and what may help."""

from __future__ import annotations

import time

import pytest
from client.helpers_session import MEET
from director.conftest import notebook, session  # noqa: F401

import stepup_nb
from stepup_nb.client import current
from stepup_nb.core.errors import UsageError


@pytest.fixture
def here(session):  # noqa: F811
    """The session of this process."""
    current.set_session(session)
    yield session
    current.set_session(None)


def together(session, *names: str, **options):  # noqa: F811
    """Declare two steps that are sure to run at the same moment."""
    a, b = names
    handles = [
        session.declare("runsh", MEET.format(me=f"{me}.on", other=f"{other}.on"), name=me, **options)
        for me, other in ((a, b), (b, a))
    ]
    session.wait()
    return handles


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(AssertionError) as caught:
        call(*arguments, **options)
    return str(caught.value)


# --- assert_peak --------------------------------------------------------------------------------------


def test_a_peak_that_was_reached_is_returned(here):
    here.pool("test", 2)
    together(here, "a", "b", pool="test")
    assert stepup_nb.assert_peak("test", 2) == 2
    assert stepup_nb.assert_peak("test", 3, at_most=True) == 2
    assert stepup_nb.assert_peak("test", 1, steps=["a"]) == 1


def test_a_peak_that_was_passed_tells_who_held_the_slots_and_when(here):
    here.pool("test", 2)
    together(here, "a", "b", pool="test")
    words = refusal(stepup_nb.assert_peak, "test", 1, at_most=True)
    assert words.startswith(
        "at most 1 slot of 'test' was to be held at one moment.\n  but: 2 slots of 'test' were held at "
    )
    assert "by a and b" in words or "by b and a" in words
    assert "0 s is when the first of these 2 jobs began" in words
    assert words.endswith("hint: '%pool test 1' limits it, from the next start on")


def test_a_peak_that_was_not_reached_says_what_keeps_it_down(here):
    here.pool("test", 1)
    here.declare("runsh", "true", name="a", pool="test").wait()
    assert "the pool has 1 slot now: '%pool test 2'" in refusal(stepup_nb.assert_peak, "test", 2)
    here.pool("test", 4)
    assert "there are 2 workers: '%stepup workers 4'" in refusal(stepup_nb.assert_peak, "test", 4)
    assert "declare more of them" in refusal(stepup_nb.assert_peak, "test", 2)


def test_slots_count_and_not_steps(here):
    here.pool("mem", 5)
    here.declare("runsh", "true", name="wide", pool="mem:4").wait()
    assert stepup_nb.assert_peak("mem", 4) == 4


def test_only_what_ran_since_a_mark_counts(here):
    here.pool("test", 2)
    a, _ = together(here, "a", "b", pool="test")
    rows, moment = len(stepup_nb.history()), time.time()
    a.rerun()
    here.wait()
    for mark in (rows, moment):
        assert stepup_nb.assert_peak("test", 1, since=mark) == 1
    assert "all jobs of this session" not in refusal(stepup_nb.assert_peak, "test", 2, since=rows)


def test_after_a_restart_nothing_has_run_and_the_peak_says_so(here, notebook):  # noqa: F811
    here.pool("test", 2)
    here.declare("runsh", "true", name="a", pool="test").wait()
    again = notebook.again(here)
    current.set_session(again)
    again.declare("runsh", "true", name="a", pool="test").wait()
    words = refusal(stepup_nb.assert_peak, "test", 1)
    assert "no step of 'test' ran in this session" in words
    assert "1 step of it is up to date: '%stepup rerun --all' runs all again" in words
    assert stepup_nb.assert_peak("test", 1, at_most=True) == 0
    assert stepup_nb.assert_peak("test", 1, since=0) == 1


def test_an_unknown_pool_is_no_failed_exercise(here):
    here.pool("test", 2)
    with pytest.raises(UsageError, match=r"no pool 'tset'; did you mean 'test'\?"):
        stepup_nb.assert_peak("tset", 2)


@pytest.mark.parametrize("slots", ["two", -1, 1.5, None])
def test_a_number_of_slots_is_a_whole_one(here, slots):
    here.pool("test", 2)
    with pytest.raises(UsageError, match="is no number of slots"):
        stepup_nb.assert_peak("test", slots)


@pytest.mark.parametrize("since", [-1, True, "now", 0.5, float("nan")])
def test_what_is_no_mark_is_refused(here, since):
    here.pool("test", 2)
    with pytest.raises(UsageError, match="neither a moment nor a number of rows"):
        stepup_nb.assert_peak("test", 2, since=since)


# --- assert_order and assert_no_overlap ---------------------------------------------------------------


def test_a_chain_ran_in_order_and_did_not_overlap(here):
    here.declare("runsh", "echo > 1", name="a", out="1")
    here.declare("runsh", "cp 1 2", name="b", inp="1", out="2")
    here.declare("runsh", "cp 2 3", name="c", inp="2", out="3")
    here.wait()
    found = stepup_nb.assert_order("a", "b", "c")
    assert [row["step"] for row in found] == ["a", "b", "c"]
    assert repr(found).startswith("a ran from 0.00 s to ")
    assert len(stepup_nb.assert_no_overlap("a", "b", "c")) == 3


def test_steps_that_met_ran_in_no_order(here):
    handles = together(here, "a", "b")
    words = refusal(stepup_nb.assert_order, *handles)
    assert words.startswith("a and b were to run in this order.\n  but: a ran from ")
    assert "have 'b' read (inp=) what 'a' writes (out=), or declare it with after='a'" in words
    words = refusal(stepup_nb.assert_no_overlap, "a", "b")
    assert " ran together from " in words
    assert "'%pool NAME 1'" in words


def test_an_order_is_that_of_the_last_jobs(here):
    here.declare("runsh", "true", name="a").wait()
    here.declare("runsh", "true", name="b").wait()
    stepup_nb.assert_order("a", "b")
    here.rerun("a")
    here.wait()
    stepup_nb.assert_order("b", "a")


def test_what_has_not_run_is_in_no_order(here):
    here.declare("runsh", "true", name="a").wait()
    here.declare("runsh", "true", name="b", pool="nowhere")
    words = refusal(stepup_nb.assert_order, "a", "b")
    assert "b has not run: PENDING, pool 'nowhere' is not defined" in words


def test_a_unique_part_of_a_name_will_do_and_an_unknown_one_gets_a_hint(here):
    here.declare("runsh", "true", name="clean data").wait()
    here.declare("runsh", "true", name="plot").wait()
    stepup_nb.assert_order("data", "plot")
    with pytest.raises(UsageError, match=r"no step 'plto'; did you mean 'plot'\?"):
        stepup_nb.assert_order("data", "plto")
    with pytest.raises(UsageError, match="It takes two steps"):
        stepup_nb.assert_no_overlap("plot")


# --- assert_skipped -----------------------------------------------------------------------------------


def test_a_cell_that_is_run_again_skips_its_steps(here):
    here.declare("runsh", "true", name="a").wait()
    words = refusal(stepup_nb.assert_skipped, "a")
    assert words.startswith("a was to be skipped.\n  but: a ran for ")
    assert "because it never ran before" in words
    here.declare("runsh", "true", name="a").wait()
    assert [row["step"] for row in stepup_nb.assert_skipped("a")] == ["a"]


def test_after_a_restart_what_is_up_to_date_was_skipped(here, notebook):  # noqa: F811
    here.declare("runsh", "true", name="a").wait()
    again = notebook.again(here)
    current.set_session(again)
    assert again.status()["steps"][0]["dormant"]
    assert "a is not declared in this session" in refusal(stepup_nb.assert_skipped, "a")
    again.declare("runsh", "true", name="a").wait()
    assert repr(stepup_nb.assert_skipped("a")) == "a: up to date, nothing ran"


def test_since_a_mark_only_what_changed_was_not_skipped(here, notebook):  # noqa: F811
    for name in "ab":
        notebook.write(f"{name}.in", "1")
        here.declare("runsh", "cp ${inp} ${out}", name=name, inp=f"{name}.in", out=f"{name}.out")
    here.wait()
    mark = len(stepup_nb.history())
    notebook.write("a.in", "22")
    here.wait()
    stepup_nb.assert_skipped("b", since=mark)
    words = refusal(stepup_nb.assert_skipped, "a", since=mark)
    assert "because input 'a.in' changed" in words


def test_what_failed_was_not_skipped(here):
    here.declare("runsh", "exit 3", name="a")
    here.wait()
    assert "a is FAILED: exit code 3" in refusal(stepup_nb.assert_skipped, "a")


def test_a_learner_sees_the_sentence_and_no_traceback(here):
    here.pool("test", 1)
    with pytest.raises(AssertionError) as caught:
        stepup_nb.assert_peak("test", 1)
    assert caught.value._render_traceback_()[0].startswith("AssertionError: 1 slot of 'test' was to be held")
