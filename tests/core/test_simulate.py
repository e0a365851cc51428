"""What is simulated is what the scheduler would do: the same decisions as in the world of `sim`, to the last slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim import Sim

from stepup_nb.core import workload
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import SetPhase
from stepup_nb.core.simulate import Agenda, Prediction, World

Rows = list[dict[str, Any]]
Held = list[tuple[str, float, float | None, Mapping[str, tuple[int, ...]], int]]

POOLS = ("p", "q", "mem")


@st.composite
def steps(draw: st.DrawFn) -> Rows:
    """Return steps that read what others make, come after others, and ask for pools; in any order."""
    number = draw(st.integers(1, 14))
    found: Rows = []
    for k in range(number):
        row: dict[str, Any] = {
            "name": f"s{k:02}",
            "duration": draw(st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.25])),
        }
        if k:
            before = st.sets(st.integers(0, k - 1), max_size=2)
            row["inp"] = [f"o{j}" for j in sorted(draw(before))]
            row["after"] = [f"s{j:02}" for j in sorted(draw(before))] if draw(st.integers(0, 3)) == 0 else []
        if draw(st.integers(0, 4)) == 0:
            row["inp"] = [*row.get("inp", []), "given"]
        row["out"] = [f"o{k}"]
        row["pool"] = {
            name: draw(st.integers(1, 2))
            for name in sorted(draw(st.sets(st.sampled_from(POOLS), max_size=2)))
        }
        row["priority"] = draw(st.sampled_from([0, 0, 0, 1, -1]))
        found.append(row)
    return list(draw(st.permutations(found)))


sizes = st.fixed_dictionaries({name: st.one_of(st.integers(2, 5), st.none()) for name in POOLS})


def in_sim(rows: Rows, pools: Mapping[str, int | None], workers: int) -> Held:
    """Run steps in the world that the core's tests are about, where all is declared before anything starts."""
    sim = Sim(pools=dict(pools), workers=workers, is_checking=False, is_comparing=False)
    sim.write("given", "x")
    sim.do(SetPhase("startup"))
    sim.cell("A")
    for row in rows:
        options = {key: tuple(row.get(key, ())) for key in ("inp", "out", "after")}
        takes = row["duration"]
        sim.step(
            row["name"],
            name=row["name"],
            takes=takes,
            duration=takes,
            pool=row["pool"],
            priority=row["priority"],
            **options,
        )
    sim.end_cell()
    sim.do(SetPhase("run"))
    sim.run()
    assert set(sim.states().values()) == {"SUCCEEDED"}
    return [(job.step, job.started, job.ended, job.slots, job.worker) for job in sim.history]


def held(found: Prediction) -> Held:
    return [(job.step, job.started, job.ended, job.slots, job.worker) for job in found.jobs]


@settings(max_examples=150, deadline=None)
@given(steps(), sizes, st.integers(1, 5))
def test_a_simulation_is_what_the_scheduler_does_to_the_last_slot(
    rows: Rows, pools: dict[str, int | None], workers: int
) -> None:
    assert held(World(workload.read(rows)).run(pools, workers)) == in_sim(rows, pools, workers)


@settings(max_examples=60, deadline=None)
@given(
    steps(),
    st.lists(st.tuples(sizes, st.integers(1, 5)), min_size=2, max_size=4),
    st.sampled_from([0.0, 0.25]),
)
def test_a_world_forgets_what_it_ran_before(
    rows: Rows, runs: list[tuple[dict[str, int | None], int]], handover: float
) -> None:
    load = workload.read(rows)
    used = World(load, handover)
    for pools, workers in runs:
        again, fresh = used.run(pools, workers), World(load, handover).run(pools, workers)
        assert again.timeline == fresh.timeline
        assert again.makespan == fresh.makespan


@settings(max_examples=60, deadline=None)
@given(steps(), sizes, st.integers(1, 5), st.sampled_from([0.0, 0.25]))
def test_no_run_is_faster_than_its_bounds_and_its_shares_are_all_of_it(
    rows: Rows, pools: dict[str, int | None], workers: int, handover: float
) -> None:
    found = World(workload.read(rows), handover).run(pools, workers)
    assert len(found.jobs) == len(rows)
    assert found.makespan >= max(found.bounds.values()) - 1e-9
    assert sum(found.shares.values()) == pytest.approx(found.makespan)
    assert {name.removeprefix("pool ") for name in found.shares} <= {"critical path", "workers", *POOLS}


def test_the_rows_of_a_timeline_are_those_of_history() -> None:
    found = World(workload.read([{"name": "a", "duration": 2, "pool": "test:2"}])).run({"test": 3})
    assert found.timeline == [
        {
            "job": 1,
            "step": "a",
            "outcome": "succeeded",
            "returncode": 0,
            "queued": 0.0,
            "started": 0.0,
            "ended": 2.0,
            "pool": {"test": 2},
            "slots": {"test": [0, 1]},
            "worker": 0,
            "peak_rss": None,
            "cpu": None,
            "machine": "",
        }
    ]


def test_twelve_steps_of_a_second_take_as_many_waves_as_the_pool_says() -> None:
    world = World(workload.read([{"name": f"s{k}", "duration": 1, "pool": "test"} for k in range(12)]))
    assert [world.run({"test": size}).makespan for size in (1, 3, 5, 12, 20)] == [12, 4, 3, 1, 1]


@pytest.mark.parametrize(("inputs", "order"), [(["x"], ["a", "b", "c"]), (["x", "y"], ["a", "c", "b"])])
def test_a_freed_slot_goes_to_whom_it_made_ready_unless_more_has_to_be_looked_at(
    inputs: list[str], order: list[str]
) -> None:
    # As in a real director: 'x' was looked at when 'a' had ended; while 'y' is, 'c' begins.
    rows = [
        {"name": "a", "duration": 1, "out": "x"},
        {"name": "b", "duration": 9, "inp": inputs, "priority": 5},
        {"name": "c", "duration": 1},
    ]
    found = World(workload.read(rows)).run({}, 1)
    assert [job.step for job in found.jobs] == order


def test_each_job_keeps_its_place_for_the_handover() -> None:
    rows = [{"name": "a", "duration": 1}, {"name": "b", "duration": 1}]
    found = World(workload.read(rows), 0.5).run({}, 1)
    assert [(job.started, job.ended) for job in found.jobs] == [(0.0, 1.0), (1.5, 2.5)]
    assert found.bounds["workers"] == found.makespan == 2.5


def test_what_could_never_run_is_told_by_its_cause() -> None:
    rows = [
        {"name": "a", "duration": 1, "pool": "nowhere"},
        {"name": "b", "duration": 1, "after": "a"},
        {"name": "c", "duration": 1},
        {"name": "d", "duration": 1, "block": True},
    ]
    found = World(workload.read(rows)).run({"test": 1})
    assert [job.step for job in found.jobs] == ["c"]
    assert [(row["number"], row["cause"]) for row in found.stuck] == [
        (2, "pool 'nowhere' is not defined"),
        (1, "blocked (--block)"),
    ]
    assert found.makespan == 1.0


def test_steps_that_wait_for_each_other_are_refused_with_the_way_round() -> None:
    rows = [{"name": "a", "inp": "y", "out": "x"}, {"name": "b", "inp": "x", "out": "y"}]
    with pytest.raises(UsageError, match="SNB-406"):
        World(workload.read(rows))


def test_after_gives_whole_names_whatever_was_declared_before() -> None:
    rows = [
        {"name": "s10", "duration": 3},
        {"name": "a", "duration": 1, "after": "s1"},
        {"name": "s1", "duration": 1},
    ]
    assert {job.step: job.started for job in World(workload.read(rows)).run({}).jobs} == {
        "s10": 0,
        "s1": 0,
        "a": 1,
    }


def test_an_agenda_keeps_the_order_of_what_comes_at_one_time() -> None:
    agenda: Agenda[str] = Agenda()
    for time, what in ((2.0, "c"), (1.0, "a"), (1.0, "b")):
        agenda.put(time, what)
    assert agenda.due == 1.0
    assert [agenda.take() for _ in range(3)] == [(1.0, "a"), (1.0, "b"), (2.0, "c")]
    assert not agenda
