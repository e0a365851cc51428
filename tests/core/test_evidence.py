"""What is said of jobs is so: peaks, meetings and orders, against the plainest way to find them."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.core import evidence


def job(step: str, started: float, ended: float | None, slots: int = 1, pool: str = "test", number: int = 0):
    return {"job": number, "step": step, "started": started, "ended": ended, "pool": {pool: slots}}


def held(rows, at: float, pool: str = "test") -> int:
    """How many slots were held at a moment, by the definition."""
    return sum(
        row["pool"].get(pool, 0)
        for row in rows
        if row["started"] <= at and (row["ended"] is None or at < row["ended"])
    )


moments = st.integers(0, 12).map(float)


@st.composite
def histories(draw):
    rows = []
    for number in range(draw(st.integers(0, 8))):
        started = draw(moments)
        ended = draw(st.one_of(st.none(), st.integers(1, 6).map(lambda span, at=started: at + span)))
        pool = draw(st.sampled_from(["test", "other"]))
        rows.append(job(f"s{number}", started, ended, draw(st.integers(1, 3)), pool, number))
    return rows


@given(histories())
def test_the_peak_is_the_most_that_any_moment_saw_and_its_jobs_held_it(rows):
    found = evidence.peak(rows, "test")
    assert found.slots == max((held(rows, row["started"]) for row in rows), default=0)
    assert sum(row["pool"]["test"] for row in found.rows) == found.slots
    if found.slots:
        assert held(rows, found.at) == found.slots
        assert all(held(rows, row["started"]) < found.slots for row in rows if row["started"] < found.at)


def test_on_each_machine_only_its_own_jobs_count():
    here = [
        job(name, at, at + 2.0, number=int(at)) | {"machine": ""} for name, at in (("a", 0.0), ("b", 1.0))
    ]
    there = [job("c", 1.0, 3.0, 3, number=n) | {"machine": f"tls://10.0.0.7:{n}"} for n in (2, 3)]
    assert evidence.peak_of_one_machine(here, "test").slots == 2
    assert evidence.peak_of_one_machine([*here, *there], "test").slots == 6
    assert evidence.peak_of_one_machine([], "test").slots == 0


@given(histories())
def test_two_jobs_meet_exactly_if_some_moment_belongs_to_both(rows):
    def met(a, b) -> bool:
        return a["started"] < evidence.end(b) and b["started"] < evidence.end(a)

    found = evidence.meeting(rows)
    assert (found is not None) == any(met(a, b) for a, b in combinations(rows, 2))
    if found is not None:
        assert met(*found) and found[0]["started"] <= found[1]["started"]


@given(histories())
def test_jobs_in_order_do_not_meet(rows):
    if evidence.disorder(rows) is None:
        assert evidence.meeting(rows) is None


def test_one_that_ends_when_another_begins_has_made_room_for_it():
    rows = [job("a", 0.0, 1.0), job("b", 1.0, 2.0)]
    assert evidence.peak(rows, "test").slots == 1
    assert evidence.meeting(rows) is None
    assert evidence.disorder(rows) is None


def test_a_job_that_took_no_time_held_its_slot_all_the_same():
    assert evidence.peak([job("a", 1.0, 1.0)], "test").slots == 1


def test_what_still_runs_has_no_end():
    rows = [job("a", 0.0, None, number=1), job("b", 5.0, 6.0, number=2)]
    first, second = evidence.meeting(rows)
    assert (first["step"], second["step"]) == ("a", "b")
    assert evidence.disorder(rows) is not None
    assert evidence.together_words(first, rows[0], 0.0) == "a and a ran together from 0.00 s to now"


def test_the_sentences_name_steps_slots_and_times():
    rows = [job("a", 10.0, 11.0), job("b", 10.1, 12.0), job("c", 10.25, 12.0, 2)]
    found = evidence.peak(rows, "test")
    words = evidence.held_words(found, "test", evidence.zero(rows))
    assert words == "4 slots of 'test' were held at 0.25 s by a, b and c (2)"
    assert evidence.held_words(evidence.peak([], "test"), "test", 0.0) == "no slot of 'test' was held"
    assert evidence.ran_words(rows[1], 10.0) == "b ran from 0.10 s to 2.00 s"
    assert evidence.together_words(rows[0], rows[1], 10.0) == "a and b ran together from 0.10 s to 1.00 s"


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("a", "a"),
        ("ab", "a and b"),
        ("abc", "a, b and c"),
        ("abcdefghijk", "a, b, c, d, e, f, g, h and 3 more"),
    ],
)
def test_many_names_are_counted(steps, words):
    assert evidence.names(steps) == words
