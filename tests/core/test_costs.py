"""Declaring, finishing and resizing cost what they change, however many steps there are (HOUSE, the core).

Counted in lines of the core that are executed, so that no machine is too slow for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from sim import Sim

from stepup_nb.core import view
from stepup_nb.core.messages import Hold, Release, Rerun
from stepup_nb.core.model import ScopeKind

SMALL, LARGE = 30, 180
TOLERANCE = 1.5
"""Lines for each of many steps, over lines for each of few: 6 would be quadratic."""

World = Callable[[Sim, int], object]


def independent(sim: Sim, number: int) -> None:
    for k in range(number):
        sim.step(f"c{k}", out=f"o{k}", pool="p")


def equal(sim: Sim, number: int) -> None:
    for _ in range(number):
        sim.step("true")


def chain(sim: Sim, number: int) -> None:
    for k in range(number):
        sim.step(f"c{k}", inp=f"o{k - 1}" if k else (), out=f"o{k}", writes={f"o{k}": "x"})


def chain_from_its_end(sim: Sim, number: int) -> None:
    for k in reversed(range(number)):
        sim.step(f"c{k}", inp=f"o{k - 1}" if k else (), out=f"o{k}", writes={f"o{k}": "x"})


def chain_beside_others(sim: Sim, number: int) -> None:
    for k in range(20):
        sim.step(f"other {k}", takes=0.1 * k, pool="p")
    chain(sim, number)


def ordered(sim: Sim, number: int) -> None:
    for k in range(number):
        sim.step(f"c{k}", name=f"n{k}", after=f"n{k - 1}" if k else ())


def diamond(sim: Sim, number: int) -> None:
    sim.step("source", out="s")
    for k in range(number):
        sim.step(f"c{k}", inp="s", out=f"o{k}")
    sim.step("sink", inp=tuple(f"o{k}" for k in range(number)), out="end", writes={"end": "x"})


def options(sim: Sim, number: int) -> None:
    for k in range(number):
        sim.step(f"c{k}", inp=f"o{k - 1}" if k else (), out=f"o{k}", writes={f"o{k}": "x"}, optional=True)
    sim.step("needs", inp=f"o{number - 1}")


def many_outputs(sim: Sim, number: int) -> None:
    sim.step("source", out=tuple(f"o{k}" for k in range(number)))
    for k in range(number):
        sim.step(f"c{k}", inp=f"o{k}")


WORLDS = [
    independent,
    equal,
    chain,
    chain_from_its_end,
    ordered,
    diamond,
    options,
    many_outputs,
]


@contextmanager
def counting() -> Iterator[list[int]]:
    """Count the executed lines of the core."""
    lines = [0]

    def each_line(frame: FrameType, event: str, arg: Any) -> Any:
        lines[0] += event == "line"
        return each_line

    def each_call(frame: FrameType, event: str, arg: Any) -> Any:
        return each_line if "/stepup_nb/core/" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(each_call)
    try:
        yield lines
    finally:
        sys.settrace(before)


def cost(prepare: World, act: World, number: int) -> float:
    """Return the executed lines for each of a number of steps."""
    sim = Sim(pools={"p": 4}, is_checking=False)
    prepare(sim, number)
    with counting() as lines:
        act(sim, number)
    return lines[0] / number


def assert_linear(prepare: World, act: World, *, small: int = SMALL, large: int = LARGE) -> None:
    few, many = cost(prepare, act, small), cost(prepare, act, large)
    assert many < few * TOLERANCE, f"{few:.0f} lines for each of {small} steps, {many:.0f} of {large}"


def in_cell(world: World) -> World:
    return lambda sim, number: (sim.cell("A"), world(sim, number), sim.end_cell())


def finished(world: World) -> World:
    return lambda sim, number: (in_cell(world)(sim, number), sim.wait())


@pytest.mark.parametrize("world", WORLDS)
def test_declaring(world: World) -> None:
    assert_linear(lambda sim, number: None, in_cell(world))


def test_declaring_a_chain_while_others_wait_for_their_slots() -> None:
    # Each new end makes the way behind all of the chain longer.
    assert_linear(lambda sim, number: None, chain_beside_others, small=200, large=800)


@pytest.mark.parametrize("world", WORLDS)
def test_running_and_waiting(world: World) -> None:
    assert_linear(in_cell(world), lambda sim, number: sim.wait())


@pytest.mark.parametrize("world", WORLDS)
def test_declaring_again(world: World) -> None:
    assert_linear(finished(world), in_cell(world))


@pytest.mark.parametrize("world", [world for world in WORLDS if world is not chain_from_its_end])
def test_declaring_after_a_restart(world: World) -> None:
    def act(sim: Sim, number: int) -> None:
        in_cell(world)(sim.restart(), number)

    assert_linear(finished(world), act)


@pytest.mark.parametrize("world", WORLDS)
def test_running_all_again(world: World) -> None:
    assert_linear(finished(world), lambda sim, number: (sim.do(Rerun(all=True)), sim.wait()))


@pytest.mark.parametrize("world", WORLDS)
def test_retiring(world: World) -> None:
    assert_linear(finished(world), lambda sim, number: sim.cell("A").end_cell())


def test_a_loop_where_cells_have_no_id() -> None:
    def again(sim: Sim, number: int) -> None:
        sim.cell("2", kind=ScopeKind.RUN)
        equal(sim, number)

    def prepare(sim: Sim, number: int) -> None:
        sim.cell("1", kind=ScopeKind.RUN)
        equal(sim, number)

    assert_linear(prepare, again)
    assert_linear(lambda sim, number: (prepare(sim, number), sim.wait()), again)


def test_a_hold_for_each_step() -> None:
    def holds(sim: Sim, number: int) -> None:
        for k in range(number):
            sim.do(Hold(f"h{k}"))
            sim.step(f"c{k}", out=f"o{k}", hold=f"h{k}")
            sim.do(Release(f"h{k}"))

    assert_linear(lambda sim, number: None, holds)


def test_resizing_a_pool_that_many_wait_for() -> None:
    def resize(sim: Sim, number: int) -> None:
        for k in range(number):
            sim.pool("p", 1 + k % 4)

    assert_linear(independent, resize)


def test_waiting_for_each_step_and_for_all_by_name() -> None:
    def each(sim: Sim, number: int) -> None:
        for k in range(number):
            sim.wait(f"runsh c{k}")

    def all_by_name(sim: Sim, number: int) -> None:
        sim.wait(*(f"runsh c{k}" for k in range(number)))

    assert_linear(independent, each)
    assert_linear(independent, all_by_name)


def test_failing_under_a_wait_for_what_depends_on_it() -> None:
    def prepare(sim: Sim, number: int) -> None:
        for k in range(number):
            sim.step(f"c{k}", out=f"o{k}", returncode=1)
        for k in range(number):
            sim.step(f"d{k}", inp=f"o{k}")

    assert_linear(prepare, lambda sim, number: sim.wait(*(f"runsh d{k}" for k in range(number))))
    assert_linear(prepare, lambda sim, number: sim.wait())


def test_telling_what_a_long_chain_is_stuck_on() -> None:
    def prepare(sim: Sim, number: int) -> None:
        chain(sim, number)
        sim.commands["c0"].returncode = 1
        sim.wait()

    assert_linear(prepare, lambda sim, number: view.wait_report(sim.scheduler, None, "", "stuck"))


def test_the_status() -> None:
    assert_linear(diamond, lambda sim, number: view.status(sim.scheduler))
