"""What is said of a pool's size follows from what its steps took."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.notebook import hints, show
from stepup_nb.notebook.hints import Machine

SMALL = Machine(2, 2_000_000_000, "this container's limit")


def job(
    step: str, memory: int | None, slots: int = 1, *, started=0.0, took=10.0, cpu=0.1, code=0, pool="test"
):
    return {
        "step": step, "pool": {pool: slots}, "peak_rss": memory, "cpu": cpu, "started": started,
        "ended": started + took, "returncode": code, "outcome": "failed" if code else "succeeded",
    }  # fmt: skip


def said(
    size: int | None, jobs: list[dict[str, Any]], machine: Machine = SMALL, name: str = "test"
) -> list[str]:
    return hints.hints([{"name": name, "size": size}], jobs, {}, machine)[name]


FOUR = [job(name, 416_000_000) for name in "abcd"]
LIMIT = "4 steps of 416 MB at most on 2.0 GB (this container's limit): a pool of 4 is the limit"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (2, "it has 2, fewer than memory allows"),
        (4, "it has 4"),
        (8, "it has 8, too many: together they would need 3.3 GB; '%pool test 4'"),
        (None, "it has no limit: '%pool test 4'"),
        (0, "it is closed"),
    ],
)
def test_a_size_is_compared_with_what_memory_allows(size, words):
    assert said(size, FOUR)[:2] == [LIMIT, words]


def test_the_largest_step_decides_by_its_last_job():
    jobs = [job("a", 1_900_000_000), job("b", 100_000_000), job("a", 500_000_000)]
    assert said(4, jobs)[0].startswith("4 steps of 500 MB at most")


def test_a_step_that_fits_nowhere_is_told():
    assert said(1, [job("a", 3_000_000_000)])[0] == (
        "not even one step fits: it took 3.0 GB, on 2.0 GB (this container's limit)"
    )


def test_small_steps_have_another_reason_for_their_pool():
    assert said(2, [job("a", 8_000_000)])[0] == (
        "memory is no reason to limit it: 250 steps of 8.0 MB at most would fit on 2.0 GB (this container's limit)"
    )


def test_units_that_say_what_they_are_are_compared_with_what_steps_took():
    jobs = [
        job("wide", 1_310_000_000, 1200, pool="mem_mb"),
        job("small", 105_000_000, 420, pool="mem_mb"),
        job("right", 400_000_000, 420, pool="mem_mb"),
    ]
    assert said(1600, jobs, name="mem_mb")[:4] == [
        "its 3 steps asked for 2040 MB and took 1815",
        "'wide' asks for 1200 and took 1310: --pool mem_mb:1310",
        "'small' asks for 420, and 105 would do",
        "2000 slots would be all of 2.0 GB (this container's limit)",
    ]
    full = said(1600, jobs, name="mem_mb")[4]
    assert full.startswith("it has 1600: full of such steps as took most for a slot, that is 1.7 GB")
    assert "too much" not in full
    assert "it has 4000, too many: '%pool mem_mb 2000'" in said(4000, jobs, name="mem_mb")


def test_units_that_say_nothing_stand_for_what_the_densest_step_took():
    jobs = [job("big", 420_000_000, 4), job("little", 50_000_000, 1)]
    assert said(16, jobs)[:3] == [
        "a slot stands for 105 MB at most: 'big' took 420 MB with 4 slots",
        "19 slots would be all of 2.0 GB (this container's limit)",
        "it has 16: full of such steps as took most for a slot, that is 1.7 GB",
    ]


def test_steps_that_compute_are_compared_with_the_cores():
    jobs = [job("a", 8_000_000, cpu=9.7), job("b", 8_000_000, cpu=9.7)]
    assert said(4, jobs)[1] == (
        "each of its steps keeps 0.97 of a core busy: more than 2 steps at once do not help; it has 4"
    )
    assert said(2, jobs)[1].endswith("do not help")


def test_steps_that_share_too_few_cores_are_seen_to_compute_all_the_same():
    jobs = [job(name, 8_000_000, took=10.0, cpu=2.4) for name in "abcdefgh"]
    assert said(8, jobs)[1] == (
        "its steps together kept 1.9 of 2 cores busy: more than 2 steps at once do not help; it has 8"
    )


def test_steps_with_threads_need_more_than_a_core_each():
    machine = Machine(8, 64_000_000_000, "x")
    assert said(4, [job("a", 8_000_000, cpu=38.0)], machine)[1] == (
        "each of its steps keeps 3.8 of a core busy: more than 2 steps at once do not help; it has 4"
    )


def test_steps_that_mostly_wait_may_be_more_than_the_cores():
    assert said(2, FOUR)[2] == "each of its steps keeps 0.01 of a core busy: they may be more than the cores"


def test_of_short_jobs_the_times_say_nothing():
    assert len(said(2, [job("a", 8_000_000, took=0.1, cpu=0.1)])) == 1


def test_a_kill_may_be_a_lack_of_memory():
    assert said(2, [job("a", 400_000_000, code=-9), *FOUR[1:]])[0] == (
        "1 step was killed by signal 9: memory may have run out"
    )


def test_what_nobody_measured_is_not_guessed():
    assert said(2, []) == ["no step of it has finished yet"]
    assert said(2, [job("a", None)])[0] == "no memory was measured of its steps"
    assert said(2, FOUR, Machine(2, None))[0] == "its steps took 416 MB at most"
    assert hints.caveat(Machine(2, None)) == "How much memory there is nobody says here."


def test_a_page_names_each_pool_once_and_shows_names_as_text():
    page = hints.page({"<b>": ["one", "two"], "q": ["three"]}, SMALL)
    assert show.text(page).splitlines()[1:4] == ["<b>   one", "      two", "q     three"]
    assert "&lt;b&gt;" in show.html(page) and "<b>" not in show.html(page)


sizes = st.one_of(st.none(), st.integers(0, 20))
measured = st.builds(
    job,
    st.sampled_from("abc"),
    st.one_of(st.none(), st.integers(1, 10**10)),
    st.integers(1, 5),
    started=st.floats(0, 100),
    took=st.floats(0, 100),
    cpu=st.one_of(st.none(), st.floats(0, 1000)),
    code=st.sampled_from([0, 0, 1, -9]),
)
machines = st.builds(Machine, st.integers(1, 64), st.one_of(st.none(), st.integers(1, 10**11)), st.just("x"))


@given(sizes, st.lists(measured, max_size=6), machines)
def test_whatever_was_measured_there_is_something_to_say(size, jobs, machine):
    words = said(size, jobs, machine)
    assert words and all(words)
