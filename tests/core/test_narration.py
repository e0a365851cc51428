"""The narrator says why each thing was decided so, and changes no decision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim import Sim

from stepup_nb.core.messages import Cancel, Pause
from stepup_nb.core.narration import LABEL, MOST, ordinal
from stepup_nb.core.pools import OVERTAKES


def told(sim: Sim) -> list[str]:
    """What was said since this was last asked, without the action of each step."""
    said, sim.said = [words.replace("runsh ", "") for words in sim.said], []
    return said


def test_who_waits_is_told_for_whom_and_who_gets_the_slot_why() -> None:
    sim = Sim(pools={"test": 2}, is_narrated=True)
    told(sim)
    for name, takes in (("A", 0.3), ("B", 0.5), ("C", 1.0), ("D", 1.0)):
        sim.step(name, pool="test", takes=takes)
    sim.run()
    assert told(sim) == [
        "A starts in slot 0 of 'test'.",
        "B starts in slot 1 of 'test'.",
        "C waits: pool 'test' is full (A, B).",
        "D waits: pool 'test' is full (A, B).",
        "A ended after 0.30 s; its slot 0 of 'test' goes to C, first in line because it was declared first.",
        "B ended after 0.50 s; its slot 1 of 'test' goes to D.",
        "C ended after 1.00 s; slot 0 of 'test' is free.",
        "D ended after 1.00 s; slot 1 of 'test' is free.",
    ]


def test_a_wide_step_is_passed_over_until_slots_are_reserved_for_it() -> None:
    sim = Sim(pools={"mem": 2}, is_narrated=True, workers=20)
    sim.step("one", pool="mem", takes=1.0)
    sim.step("wide", pool={"mem": 2}, takes=1.0)
    for number in range(OVERTAKES + 2):
        sim.step(f"s{number}", pool="mem", takes=1.5)
    sim.run()
    said = told(sim)
    assert "wide waits: it needs 2 slots of 'mem', and 1 is free (the rest: one)." in said
    passed = [words for words in said if words.startswith("wide is passed over")]
    assert passed[0].startswith("wide is passed over for the first time: pool 'mem' is full (one, s0)")
    assert passed[2].startswith("wide is passed over for the 3rd time: ")
    assert len(passed) == OVERTAKES
    assert "What becomes free is reserved for wide from now on: nobody passes it any more." in said
    assert any(words.endswith(" is kept for wide.") for words in said)
    assert any(words.endswith(" goes to wide, because slots were reserved for it.") for words in said)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"priority": 5}, "because its priority is higher (5)"),
        ({"duration": 60.0}, "because it has the longest way to go (some 60 s to the end)"),
    ],
)
def test_who_is_first_in_line_for_another_reason_than_its_place(options, why) -> None:
    sim = Sim(pools={"test": 1}, is_narrated=True)
    sim.step("A", pool="test")
    sim.step("B", pool="test")
    sim.step("C", pool="test", **options)
    sim.run()
    assert f"A ended after 1.00 s; its slot 0 of 'test' goes to C, first in line {why}." in told(sim)


def test_without_a_pool_it_is_workers_that_are_lacking() -> None:
    sim = Sim(workers=1, is_narrated=True)
    sim.step("A")
    sim.step("B")
    sim.run()
    assert told(sim) == [
        "A starts.",
        "B waits: the only worker is busy (A).",
        "A ended after 1.00 s; its place goes to B.",
        "B ended after 1.00 s.",
    ]


def test_what_is_up_to_date_and_what_is_not_is_told_with_the_reason() -> None:
    sim = Sim(is_narrated=True).write("in", "1")
    sim.cell("a").step("cut", inp="in", out="part")
    sim.end_cell().run()
    sim = sim.restart()
    sim.scheduler.narrate(True)
    sim.cell("a").step("cut", inp="in", out="part")
    sim.end_cell().run()
    assert "cut is up to date: nothing that it reads has changed." in told(sim)
    sim.write("in", "2").look_again().run()
    said = told(sim)
    assert "cut is to be looked at again: input 'in' changed." in said
    assert "cut is to run: input 'in' changed." in said


def test_failures_cancellations_and_obstacles_are_told_once() -> None:
    sim = Sim(pools={"test": 1}, is_narrated=True)
    told(sim)
    sim.step("bad", pool="test", returncode=3, out="x")
    sim.step("reader", inp="x")
    sim.step("other", pool="test", takes=9.0)
    sim.run(until=2)
    sim.do(Cancel(("runsh other",)))
    sim.run()
    assert told(sim) == [
        "bad starts in slot 0 of 'test'.",
        "reader waits: input 'x' waits for step 'bad'.",
        "other waits: pool 'test' is full (bad).",
        "bad failed after 1.00 s (exit code 3); its slot 0 of 'test' goes to other.",
        "other was stopped after 1.10 s (cancelled by the user); slot 0 of 'test' is free.",
    ]


def test_sizes_and_pauses_are_told() -> None:
    sim = Sim(pools={"test": 2}, is_narrated=True)
    for name in "AB":
        sim.step(name, pool="test")
    told(sim)
    sim.pool("test", 1)
    sim.pool("test", None)
    sim.do(Pause(None))
    sim.step("C", pool="test")
    assert told(sim) == [
        "Pool 'test' has 1 slot now, instead of 2 slots; 1 slot must become free before anything starts.",
        "Pool 'test' has no limit now, instead of 1 slot.",
        "C waits: paused.",
    ]


def test_a_flood_of_decisions_is_cut_and_counted() -> None:
    sim = Sim(workers=1, is_narrated=True)
    sim.step("first")
    told(sim)
    for number in range(MOST + 50):
        sim.step(f"s{number}", after="first")
    told(sim)
    sim.run(until=1.5)
    # They get in line in one turn, for one reason.
    assert len(told(sim)) <= 3
    narrator = sim.scheduler.narrator
    assert narrator is not None
    for number in range(MOST + 50):
        narrator.waits(sim.scheduler.graph.steps[f"runsh s{number}"], "x")
    assert narrator.tell()[-1] == "… and 50 more decisions."


def test_a_long_label_is_cut() -> None:
    sim = Sim(is_narrated=True)
    sim.step("x" * 200)
    assert len(sim.said[0]) <= LABEL + len(" starts.")


def test_numbers_have_the_endings_that_people_write() -> None:
    assert [ordinal(number) for number in (2, 3, 4, 11, 12, 13, 21, 102, 113)] == [
        *("2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "113th")
    ]


steps = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("pq"), st.integers(1, 2)),
        st.integers(-1, 1),
        st.integers(1, 4),
        st.sampled_from(["", "", "s0", "s1"]),
        st.sampled_from([0, 0, 0, 1]),
    ),
    max_size=12,
)


@given(steps, st.integers(1, 4))
def test_who_listens_changes_nothing(declared, workers) -> None:
    def play(*, is_narrated: bool) -> Sim:
        sim = Sim(pools={"p": 2, "q": 3}, workers=workers, is_narrated=is_narrated)
        for number, (pool, priority, takes, after, code) in enumerate(declared):
            options = {"after": f"runsh {after}"} if after and int(after[1]) < number else {}
            sim.step(f"s{number}", pool=pool, priority=priority, takes=takes, returncode=code, **options)
        sim.run()
        return sim

    with_it, without = play(is_narrated=True), play(is_narrated=False)
    assert with_it.lines == without.lines
    assert not without.said
    started = [words for words in with_it.said if " starts" in words or " goes to " in words]
    assert len(started) == len(with_it.history), "each start is told, and each once"
