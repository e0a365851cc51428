"""The longest remaining time behind a step: exact where little is to be worked out, bounded work where much is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sim import Sim

from stepup_nb.core.critical import PER_CHANGE, PROMPT, suppliers, waiters
from stepup_nb.core.messages import Cancel, Hold
from stepup_nb.core.model import FINISHED, Step

NAMES = "abcdefgh"


def tail(sim: Sim, step: Step) -> float:
    """Return the tail by its definition."""
    graph = sim.scheduler.graph
    return step.estimate + max((tail(sim, other) for other in waiters(graph, step)), default=0.0)


def held_world() -> Sim:
    sim = Sim(is_checking=False)
    sim.do(Hold("h"))
    return sim.cell("A")


links = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=12)
deeds = st.lists(
    st.tuples(st.sampled_from(["cancel", "longer", "rerun"]), st.sampled_from(NAMES)), max_size=4
)


@given(st.permutations(NAMES), links, deeds)
def test_tails_are_what_their_definition_says(
    order: list[str], links: list[tuple[str, str]], deeds: list[tuple[str, str]]
) -> None:
    needs = {name: {a for a, b in links if b == name and a < b} for name in NAMES}
    sim = held_world()
    for place, name in enumerate(order):
        sim.step(name, inp=tuple(needs[name]), out=name, duration=1.0 + place, hold="h")
    for number, (deed, name) in enumerate(deeds):
        if deed == "cancel":
            sim.do(Cancel((f"runsh {name}",)))
        elif deed == "longer":
            sim.step(name, name=f"{name}{number}", inp=tuple(needs[name]), out=(), duration=50.0, hold="h")
        else:
            sim.cell("B").step(name, inp=tuple(needs[name]), out=name, duration=9.0, hold="h")
    sim.scheduler.critical.work_out()
    for step in sim.scheduler.graph.steps.values():
        if step.is_live and step.state not in FINISHED:
            assert step.tail == tail(sim, step)


def test_suppliers_that_are_done_are_not_asked() -> None:
    sim = Sim()
    sim.step("make", out="x")
    sim.step("use", inp="x", after="make", takes=5)
    sim.run(until=2)
    assert list(suppliers(sim.scheduler.graph, sim["use"])) == []


def test_a_long_chain_is_worked_out_after_enough_changes() -> None:
    sim = held_world()
    number = 2 * PROMPT
    for k in range(number):
        sim.step(f"c{k}", inp=f"o{k - 1}" if k else (), out=f"o{k}", hold="h")
    critical = sim.scheduler.critical
    assert critical.work_out(), "all of it is new"
    assert sim["c0"].tail == number
    extra = 0
    while sim["c0"].tail == number:
        sim.step(f"c{number + extra}", inp=f"o{number + extra - 1}", out=f"o{number + extra}", hold="h")
        extra += 1
        critical.work_out()
        assert extra <= 4 * number / PER_CHANGE
    assert extra > 1
    assert sim["c0"].tail == number + extra
