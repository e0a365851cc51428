"""Sizes that are asked for, what limits a run, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from stepup_nb.core import bounds, whatif, workload
from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import PoolRequest
from stepup_nb.core.simulate import World
from stepup_nb.core.whatif import Known, pool_sizes, sizes_of, sweep

PIPELINE: list[dict[str, Any]] = [
    {"name": "clean", "duration": 1, "out": "clean.csv"},
    *(
        {"name": f"fit {k}", "duration": 2, "inp": "clean.csv", "out": f"{k}.txt", "pool": "fit"}
        for k in range(8)
    ),
    {"name": "report", "duration": 1, "inp": [f"{k}.txt" for k in range(8)]},
]


def known(rows: list[dict[str, Any]] = PIPELINE, workers: int | None = 16, **pools: int | None) -> Known:
    return Known(workload.read(rows), pools, workers)


# --- sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("4", (4,)),
        ("1..4", (1, 2, 3, 4)),
        ("1, 2,4", (1, 2, 4)),
        ("2..3,8,none", (2, 3, 8, None)),
        ("3,1..3", (3, 1, 2)),
    ],
)
def test_sizes_are_a_number_a_range_or_a_list(text: str, sizes: tuple[int | None, ...]) -> None:
    assert sizes_of(text, of="pool 'test'") == sizes


@pytest.mark.parametrize(
    "text", ["", "x", "0", "0..3", "4..1", "1..", "..3", "1,,2", "-1", "1.5", "1..1000000", "²"]
)
def test_sizes_without_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SNB-151") as error:
        sizes_of(text, of="pool 'test'")
    assert "'1..8'" in error.value.fix


@pytest.mark.parametrize("text", ["test", "=1..3", "1..3"])
def test_a_pool_without_sizes_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SNB-151"):
        pool_sizes(text)


def test_a_pool_that_nobody_knows_is_refused_with_what_may_be_meant() -> None:
    with pytest.raises(UsageError, match=r"no pool 'fti'; did you mean 'fit'\?.*SNB-502"):
        sweep(known(fit=2), {"fti": (1,)})


def test_a_pool_that_only_steps_know_may_be_given_a_size() -> None:
    found = sweep(known(), {"fit": (8, 16)})
    assert [run.makespan for run in found.runs] == [4.0, 4.0]
    assert found.now is found.runs[0]


def test_a_size_that_is_too_small_for_a_step_names_the_steps_that_could_never_run() -> None:
    rows = [
        {"name": "big", "pool": "mem:4"},
        {"name": "small", "pool": "mem"},
        {"name": "bigger", "pool": "mem:3"},
    ]
    with pytest.raises(UsageError, match="SNB-153") as error:
        sweep(known(rows, mem=8), {"mem": (2, 4)})
    assert error.value.what == "With 2 slots of pool 'mem', 2 steps could never run."
    assert error.value.why == "'big' asks for 4, 'bigger' asks for 3"
    assert "mem=4..8" in error.value.fix


def test_a_closed_pool_is_too_small_for_all_its_steps() -> None:
    with pytest.raises(UsageError, match="SNB-153"):
        sweep(known(fit=2), {"fit": (0,)})


def test_without_steps_there_is_nothing_to_simulate() -> None:
    with pytest.raises(UsageError, match="SNB-152"):
        sweep(known([]), {})


def test_three_ranges_and_too_many_combinations_are_refused() -> None:
    with pytest.raises(UsageError, match="SNB-151"):
        sweep(known([{"pool": ["a", "b"]}]), {"a": (1, 2), "b": (1, 2)}, (1, 2))
    many: list[dict[str, Any]] = [{"pool": "a"}] * 300
    with pytest.raises(UsageError, match="SNB-151"):
        sweep(known(many, a=1), {"a": tuple(range(1, 60))}, tuple(range(1, 60)))


# --- sweeps -----------------------------------------------------------------------------------------


def test_a_sweep_says_what_each_size_would_do_and_which_is_enough() -> None:
    found = sweep(known(fit=2), {"fit": tuple(range(1, 11))})
    assert [run.makespan for run in found.runs] == [18, 10, 8, 6, 6, 6, 6, 4, 4, 4]
    assert found.now is found.runs[1]
    assert found.best is found.runs[7]
    assert found.speedup(found.best) == 4.5
    assert found.words()[-1] == "More than 8 slots of fit would gain less than 1 %."


def test_a_pool_limits_until_the_critical_path_does() -> None:
    found = sweep(known(fit=2), {"fit": (1, 2, 4, 8)})
    assert found.words()[0] == (
        "Up to 2 slots, pool 'fit' sets most of the time;"
        " from 4 slots on, the critical path sets most of the time: clean → fit 0 → report."
    )


def test_two_ranges_make_a_grid_whose_last_axis_changes_fastest() -> None:
    found = sweep(known(fit=2, workers=4), {"fit": (1, 2)}, (1, 4, 8))
    assert [(run.pools["fit"], run.workers) for run in found.runs] == [
        (1, 1),
        (1, 4),
        (1, 8),
        (2, 1),
        (2, 4),
        (2, 8),
    ]
    assert found.now is found.runs[4]
    assert found.best is found.runs[4]
    assert found.name(found.best) == "2 slots of fit and 4 workers"


def test_what_is_not_asked_for_keeps_its_size() -> None:
    rows = [{"name": f"s{k}", "duration": 1, "pool": ["a", "b"]} for k in range(4)]
    (run,) = sweep(known(rows, a=2, b=1), {"a": (4,)}).runs
    assert run.pools == {"a": 4, "b": 1}
    assert run.makespan == 4.0


def test_of_very_many_jobs_only_those_that_are_drawn_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whatif, "KEPT_JOBS", 10)
    found = sweep(known(fit=2), {"fit": (1, 2, 4, 8)})
    assert [len(run.jobs) for run in found.runs] == [0, 10, 0, 10]
    assert found.best is found.runs[3]
    assert [run.makespan for run in found.runs] == [18, 10, 6, 4]


def test_a_sweep_as_data_is_plain() -> None:
    found = sweep(known(fit=2), {"fit": (1, 2)}).to_json()
    assert found["steps"] == 10
    assert [row["makespan"] for row in found["runs"]] == [18.0, 10.0]
    assert found["best"] == 1
    assert found["now"]["bounds"] == {"critical path": 4.0, "workers": 1.125, "pool fit": 8.0}


def test_guesses_are_counted_and_told() -> None:
    rows = [{"name": "a", "duration": 1}, {"name": "b", "duration": 3}, {"name": "c"}]
    assert (
        "Of 3 steps, the durations of 1 are guessed: 2 s each, the median of the others."
        in sweep(known(rows), {}).words()
    )
    rows = [{"name": "a"}, {"name": "b"}]
    assert "No duration is known: every step is taken to last 1 s." in sweep(known(rows), {}).words()


def test_what_would_not_run_is_told_with_its_cause() -> None:
    rows = [
        {"name": "a", "duration": 1, "pool": "gone"},
        {"name": "b", "duration": 1, "after": "a"},
        {"name": "c"},
    ]
    words = sweep(known(rows), {}).words()
    assert "Not run: 2 steps ('a', 'b'): pool 'gone' is not defined." in words


# --- bounds -----------------------------------------------------------------------------------------


def test_bounds_are_the_longest_chain_the_workers_and_each_pool() -> None:
    steps = [(2.0, (PoolRequest("a", 2),)), (4.0, (PoolRequest("a", 1), PoolRequest("b", 1))), (1.0, ())]
    found = bounds.bounds(steps, [4.0, 1.0], {"a": 4, "b": None, "c": 1}, 2)
    assert found == {"critical path": 5.0, "workers": 3.5, "pool a": 2.0}


def test_the_handover_counts_between_jobs_and_not_behind_the_last() -> None:
    steps = [(1.0, (PoolRequest("a", 1),))] * 3
    assert bounds.bounds(steps, [1.0, 1.0], {"a": 1}, 3, 0.5) == {
        "critical path": 2.5,
        "workers": 1.0,
        "pool a": 4.0,
    }


def test_the_longest_path_goes_by_time_not_by_steps() -> None:
    durations = {"a": 1.0, "b": 1.0, "c": 9.0, "d": 1.0}
    assert bounds.longest_path(durations, {"b": ["a"], "d": ["b", "c"]}) == ("c", "d")
    assert bounds.longest_path({}, {}) == ()


def test_the_time_is_charged_to_what_was_waited_for() -> None:
    rows = [{"name": f"s{k}", "duration": 1, "pool": "p", "out": f"{k}"} for k in range(4)]
    rows.append({"name": "end", "duration": 2, "inp": [str(k) for k in range(4)]})
    run = World(workload.read(rows)).run({"p": 1}, 8)
    assert run.shares == {"pool p": 3.0, "critical path": 3.0}
    run = World(workload.read(rows)).run({"p": 8}, 2)
    assert run.shares == {"critical path": 3.0, "workers": 1.0}


def test_long_paths_and_names_are_cut_in_the_middle() -> None:
    assert bounds.path_words([f"s{k}" for k in range(20)]) == "s0 → s1 → s2 → s3 → … 14 more … → s18 → s19"
    assert bounds.path_words(["x" * 100]) == "x" * 39 + "…"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ([("workers", 1.0)] * 2, "with every size, the number of workers sets the time"),
        (
            [("pool p", 1.0), ("critical path", 0.5)],
            "with 1, pool 'p' sets the time; with 2, the critical path",
        ),
        (
            [("pool p", 1.0)] * 2 + [("workers", 1.0)] * 2,
            "up to 2, pool 'p' sets the time; from 3 on, the number of",
        ),
    ],
)
def test_limits_are_told_by_size(limits: list[tuple[str, float]], words: str) -> None:
    sizes = [str(size + 1) for size in range(len(limits))]
    assert bounds.where_words(limits, sizes, ("a", "b")).startswith(words)


# --- what is known ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        "a",
        {"nmae": "a"},
        {"name": ""},
        {"name": 3},
        {"name": "a", "inp": [3]},
        {"name": "a", "inp": 3},
    ],
)
def test_what_is_no_step_is_refused(row: Any) -> None:
    with pytest.raises(UsageError, match="SNB-150"):
        workload.read([row])


@pytest.mark.parametrize(
    ("key", "value"), [("duration", -1), ("duration", "x"), ("priority", 1.5), ("pool", "p:0")]
)
def test_values_without_sense_are_refused_as_everywhere(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=r"SNB-11[0-3]"):
        workload.read([{"name": "a", key: value}])


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="SNB-150"):
        workload.read([{"name": "a"}, {"name": "a"}])


def test_a_step_comes_after_the_one_that_declares_it() -> None:
    rows = [
        {"name": "plan", "duration": 1},
        {"name": "a", "duration": 1, "creator": "plan"},
        {"name": "b", "duration": 1, "creator": "nobody"},
    ]
    assert [step.after for step in workload.read(rows).steps] == [(), ("plan",), ()]


def test_a_plan_that_reads_what_its_steps_make_is_waited_for_by_none_of_them() -> None:
    rows = [
        {"name": "plan", "inp": "x"},
        {"name": "a", "creator": "plan", "out": "x"},
        {"name": "b", "creator": "plan"},
    ]
    assert [step.after for step in workload.read(rows).steps] == [(), (), ()]


def _job(
    job: int, started: float, ended: float | None, queued: float, worker: int = 0, **slots: list[int]
) -> dict[str, Any]:
    return {
        "job": job,
        "started": started,
        "ended": ended,
        "queued": queued,
        "worker": worker,
        "slots": slots,
    }


def test_the_handover_is_told_by_jobs_that_waited_for_their_place() -> None:
    rows = [
        _job(1, 0.0, 1.0, 0.0, 0),
        _job(2, 1.25, 2.0, 0.0, 0),  # it waited for the worker
        _job(3, 9.0, 10.0, 8.9, 0),  # it did not: its worker had long been free
        _job(4, 9.0, 11.0, 8.9, 1, p=[0]),
        _job(5, 11.5, 12.0, 9.5, 2, p=[0]),  # it waited for the slot
        _job(6, 12.0, None, 11.0, 3),
    ]
    assert workload.handover(rows) == pytest.approx(0.375)
    assert workload.handover(rows[:1]) is None
