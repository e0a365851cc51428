"""Whatever users, commands and disks do: no invariant of SPEC parts 4 and 5 is violated.

The worlds, and what must hold in them, are in `worlds`.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim import Behaviour, Sim
from worlds import (
    COMMANDS,
    PATHS,
    Deed,
    Program,
    assert_no_circle,
    check,
    random_behaviour,
    random_deed,
    random_program,
)

from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import SUCCEEDED, Outcome

chances = st.randoms(use_true_random=False)
programs = st.builds(
    Program,
    behaviours=st.tuples(*[chances.map(random_behaviour) for _ in COMMANDS]),
    deeds=st.lists(chances.map(random_deed), max_size=40),
    takes_look=st.sampled_from([0.0, 0.3, 1.0]),
    looks_early=st.booleans(),
)


@settings(max_examples=500, deadline=None)
@given(programs)
def test_no_program_of_deeds_breaks_a_rule(program: Program) -> None:
    check(program)


@pytest.mark.timeout(900)
def test_twenty_thousand_seeded_schedules_break_no_rule() -> None:
    check_seeds(range(20_000), 30)


@pytest.mark.slow
def test_longer_schedules_of_other_seeds_break_no_rule_either() -> None:
    check_seeds(range(20_000, 50_000), 60)


def check_seeds(seeds: Iterable[int], length: int) -> None:
    for seed in seeds:
        try:
            check(random_program(Random(seed), length), is_comparing=False)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("seed", "length"),
    [
        (5765, 30),  # a step whose time-out was taken back while a job with a time-out ran
        (8, 25),  # a static file that a later cell builds, and the cell that had said so executed again
        (27, 25),  # where cells have no ids: other arguments, another output, and the first step not done
        (1366, 25),  # where cells have no ids: two equal steps, the first of them blocked
        (2291, 25),  # a hold of a name that was used before
        (
            3871,
            25,
        ),  # a name of `after` that lost one of its two meanings by the very declaration that closes a circle
        (20878, 70),  # a retired step whose output another one took over and forgot
        (21847, 70),  # a circle through a name that got another meaning when its step was replaced
        (22869, 70),  # a static file that a cell which raises had taken back
        (
            36231,
            60,
        ),  # a step that changes its own input, which another one looks at meanwhile: that had no end
        (43215, 60),  # the same, while the look at what the step has made is under way
    ],
)
def test_seeds_that_broke_a_rule_once(seed: int, length: int) -> None:
    check(random_program(Random(seed), length))


# --- programs without a clock: what comes out depends on what was declared, and on nothing else -----

Declared = tuple[str, dict[str, Any]]


@st.composite
def declarations(draw: st.DrawFn) -> list[Declared]:
    """Return declarations of steps with different commands, in any order."""
    found: list[Declared] = []
    for command in draw(st.permutations("stuvwxyz")):
        options: dict[str, Any] = {
            "inp": tuple(sorted(draw(st.sets(st.sampled_from(PATHS), max_size=2)))),
            "out": tuple(sorted(draw(st.sets(st.sampled_from(PATHS), max_size=2)))),
            "pool": dict.fromkeys(draw(st.sets(st.sampled_from("pq"))), 1),
            "optional": draw(st.integers(0, 5)) == 0,
            "priority": draw(st.integers(-1, 1)),
            # What takes no time would be over before the next declaration comes.
            "takes": draw(st.integers(1, 6)) / 2,
            "returncode": int(draw(st.integers(0, 9)) == 0),
        }
        if found and draw(st.integers(0, 5)) == 0:
            options["after"] = (f"runsh {draw(st.sampled_from(found))[0]}",)
        found.append((command, options))
    return found


def declare_all(sim: Sim, declared: list[Declared]) -> Sim:
    """Declare in one cell what is not refused."""
    sim.cell("A")
    for command, options in declared:
        try:
            sim.step(command, **options)
        except UsageError:
            sim.commands.setdefault(command, Behaviour())
    return sim.end_cell()


def result(sim: Sim) -> dict[str, Any]:
    """Return states, contents and links."""
    graph = sim.scheduler.graph
    return {
        "states": sim.states(),
        "files": dict(sim.files),
        "links": {
            path: (None if file.producer is None else file.producer.key, list(file.consumers), file.state)
            for path, file in sorted(graph.files.items())
        },
    }


def new_world(workers: int, files: dict[str, str]) -> Sim:
    return Sim(pools={"p": 1, "q": 2}, workers=workers, files=dict(files))


FILES = dict.fromkeys("abc", "0")


@settings(max_examples=100, deadline=None)
@given(declarations())
def test_the_result_does_not_depend_on_the_number_of_workers(declared: list[Declared]) -> None:
    results = []
    for workers in (1, 8):
        sim = declare_all(new_world(workers, FILES), declared)
        sim.wait()
        results.append(result(sim))
    assert results[0] == results[1]


@settings(max_examples=100, deadline=None)
@given(declarations(), st.sampled_from([1, 8]))
def test_steps_start_after_the_ends_of_all_that_they_read_and_follow(
    declared: list[Declared], workers: int
) -> None:
    sim = declare_all(new_world(workers, FILES), declared)
    sim.wait()
    assert_no_circle(sim)
    for step in sim.scheduler.graph.steps.values():
        if step.state is SUCCEEDED and step.last is not None:
            makers = [sim.scheduler.graph.files[path].producer for path in step.spec.inp]
            for maker in makers:
                if maker is not None:
                    assert maker.state is SUCCEEDED
                    assert maker.last is not None
                    assert maker.last.ended is not None
                    assert maker.last.ended <= step.last.started
            for supplier in step.needs_after.values():
                # It had succeeded by then; a later declaration may have put it back, and that is in no digest.
                assert supplier is None or any(
                    job.step == supplier.key
                    and job.outcome is Outcome.SUCCEEDED
                    and job.ended <= step.last.started
                    for job in sim.history
                )


@settings(max_examples=100, deadline=None)
@given(
    declarations(),
    st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(["1", "2", None])), max_size=4),
    st.booleans(),
)
def test_after_edits_it_is_as_if_everything_had_been_made_from_scratch(
    declared: list[Declared], edits: list[tuple[str, str | None]], is_restarted: bool
) -> None:
    sim = declare_all(new_world(2, FILES), declared)
    sim.wait()
    for path, content in edits:
        _ = sim.remove(path) if content is None else sim.write(path, content)
    if is_restarted:
        sim = declare_all(sim.restart(), declared)
    sim.wait()
    live = [step for step in sim.scheduler.graph.steps.values() if step.is_live]
    made = {path for step in live for path in step.spec.out}
    sources = {path: content for path, content in sim.files.items() if path not in made}
    afresh = new_world(2, sources)
    declare_all(afresh, declared)
    afresh.wait()
    # A step that nobody needs any more keeps what it made when it was needed.
    for key, state in afresh.states().items():
        if state == "SUCCEEDED":
            assert sim.state(f"runsh {key}") == "SUCCEEDED"
            for path in sim[key].spec.out:
                assert sim.files[path] == afresh.files[path]


@settings(max_examples=100, deadline=None)
@given(declarations(), st.permutations(range(8)))
def test_the_order_of_declaration_does_not_change_what_comes_out(
    declared: list[Declared], order: list[int]
) -> None:
    def is_whole(sim: Sim) -> bool:
        return len(sim.states()) == len(declared)

    plain = [(command, {k: v for k, v in options.items() if k != "after"}) for command, options in declared]
    one = declare_all(new_world(2, FILES), plain)
    other = declare_all(new_world(2, FILES), [plain[k] for k in order])
    if is_whole(one) and is_whole(other):
        one.wait()
        other.wait()
        assert one.states() == {key: other.states()[key] for key in one.states()}
        assert one.files == other.files


def test_the_programs_meet_what_they_are_to_meet() -> None:
    # A search that never cancels a running job, or never restarts, proves nothing of that.
    met: dict[str, int] = {}
    for seed in range(300):
        sim = check(random_program(Random(seed), 30), is_comparing=False)
        for job in sim.history:
            met[str(job.outcome)] = met.get(str(job.outcome), 0) + 1
        for line in sim.lines:
            state = line.split()[-1]
            met[state] = met.get(state, 0) + 1
    for word in (
        *("pending", "checking", "queued", "running", "succeeded", "failed", "cancelled"),
        *("timed out",),
    ):
        assert met.get(word, 0) >= 10, f"{word} is hardly ever met"


def test_a_deed_is_data() -> None:
    deed: Deed = random_deed(Random(1))
    assert eval(repr(deed)) == deed
