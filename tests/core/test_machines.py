"""Pools whose slots count on each machine of a cluster: where steps are placed, and who waits."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim import Sim

from stepup_nb.core import view
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Capacity, DefinePool
from stepup_nb.core.model import Job
from stepup_nb.core.pools import OVERTAKES


def cluster(sim: Sim, **machines: int) -> None:
    """Let the cluster have these machines with so many threads."""
    sim.do(Capacity(sum(machines.values()), tuple(sorted(machines.items()))))  # type: ignore[arg-type]


def per_machine(sim: Sim, name: str, size: int | None, tokens: tuple[str, ...] = ()) -> None:
    sim.do(DefinePool(name, size, "session", tokens, is_per_machine=True))


def job(sim: Sim, step: str) -> Job:
    found = sim[step].job or sim[step].last
    assert found is not None
    return found


def machines_of(sim: Sim) -> list[str | None]:
    return sorted(str(live.place) for live in sim.scheduler.jobs.values())


def row(sim: Sim, pool: str) -> view.Row:
    return view.pool_row(sim.scheduler, sim.scheduler.pools.pools[pool])


def test_each_machine_has_all_slots_of_the_pool() -> None:
    sim = Sim(workers=1)
    cluster(sim, alpha=4, beta=4)
    per_machine(sim, "mem", 2)
    for number in range(6):
        sim.step(f"s{number}", pool="mem", takes=1.0)
    assert machines_of(sim) == ["alpha", "alpha", "beta", "beta"]
    assert row(sim, "mem")["machines"] == [["alpha", 2], ["beta", 2]]
    assert row(sim, "mem")["used"] == 4
    assert sim.wait() == "done"
    assert row(sim, "mem")["machines"] == [["alpha", 0], ["beta", 0]]


def test_a_step_is_placed_where_most_slots_are_free_and_its_slots_are_numbers_of_that_machine() -> None:
    sim = Sim()
    cluster(sim, alpha=8, beta=8)
    per_machine(sim, "gpu", 4, ("g0", "g1", "g2", "g3"))
    for name, slots in (("a", 3), ("b", 1), ("c", 2), ("d", 1)):
        sim.step(name, pool={"gpu": slots}, takes=9.0)
    where = {name: (job(sim, name).place, job(sim, name).slots["gpu"]) for name in "abcd"}
    assert where == {
        "a": ("alpha", (0, 1, 2)),
        "b": ("beta", (0,)),
        "c": ("beta", (1, 2)),
        "d": ("alpha", (3,)),
    }


def test_a_step_of_several_such_pools_needs_all_its_slots_on_one_machine() -> None:
    sim = Sim()
    cluster(sim, alpha=8, beta=8)
    per_machine(sim, "mem", 2)
    per_machine(sim, "gpu", 1)
    sim.step("m1", pool={"mem": 2}, takes=5.0)
    sim.step("g1", pool={"gpu": 1}, takes=3.0)
    assert [job(sim, name).place for name in ("m1", "g1")] == ["alpha", "beta"]
    sim.step("both", pool={"mem": 1, "gpu": 1}, takes=1.0)
    assert sim.reason("both") == "waits for a machine with a worker and slots of 'gpu' and 'mem' free"
    sim.run(until=3.5)
    assert job(sim, "both").place == "beta"


def test_no_more_steps_are_placed_on_a_machine_than_it_has_threads() -> None:
    sim = Sim()
    cluster(sim, alpha=1, beta=3)
    per_machine(sim, "mem", 16)
    for number in range(5):
        sim.step(f"s{number}", pool="mem", takes=1.0)
    assert machines_of(sim) == ["alpha", "beta", "beta", "beta"]


def test_on_this_machine_alone_such_a_pool_is_like_any_other() -> None:
    sim = Sim(workers=8)
    per_machine(sim, "mem", 2)
    for name in "abc":
        sim.step(name, pool="mem", takes=1.0)
    sim.run()
    assert sim.story("running") == ["0 a running", "0 b running", "1 c running"]
    assert row(sim, "mem")["machines"] == [["", 0]]


def test_other_pools_count_over_all_machines_and_their_steps_are_not_placed() -> None:
    sim = Sim(pools={"licence": 2})
    cluster(sim, alpha=4, beta=4)
    for number in range(5):
        sim.step(f"s{number}", pool="licence", takes=1.0)
    assert machines_of(sim) == ["None", "None"]
    assert row(sim, "licence")["machines"] == []


def test_one_step_may_ask_for_a_pool_of_the_cluster_and_one_of_its_machine() -> None:
    sim = Sim(pools={"licence": 3})
    cluster(sim, alpha=4, beta=4)
    per_machine(sim, "mem", 1)
    for number in range(4):
        sim.step(f"s{number}", pool={"licence": 1, "mem": 1}, takes=1.0)
    assert machines_of(sim) == ["alpha", "beta"]


def test_a_machine_that_comes_is_used_and_one_that_goes_is_not() -> None:
    sim = Sim()
    cluster(sim, alpha=4)
    per_machine(sim, "mem", 1)
    for number in range(4):
        sim.step(f"s{number}", pool="mem", takes=2.0)
    assert machines_of(sim) == ["alpha"]
    cluster(sim, alpha=4, beta=4)
    assert machines_of(sim) == ["alpha", "beta"]
    cluster(sim, beta=4)
    assert row(sim, "mem")["machines"] == [["beta", 1], ["alpha", 1]], "what runs still holds its slot"
    sim.run(until=2.5)
    assert machines_of(sim) == ["beta"]


def test_whether_slots_count_on_each_machine_cannot_change_while_some_are_held() -> None:
    sim = Sim(pools={"mem": 2})
    sim.step("a", pool="mem", takes=1.0)
    with pytest.raises(UsageError, match="SNB-504"):
        per_machine(sim, "mem", 2)
    assert sim.wait() == "done"
    per_machine(sim, "mem", 2)
    assert row(sim, "mem")["per_machine"]
    sim.do(DefinePool("mem", 3, "session"))
    assert row(sim, "mem")["per_machine"], "it is resized, and stays what it is"


def test_a_big_step_is_not_passed_for_ever() -> None:
    sim = Sim()
    cluster(sim, alpha=4, beta=4)
    per_machine(sim, "mem", 2)
    for number in range(4):
        sim.step(f"first{number}", pool={"mem": 1}, takes=1.0 + number / 10)
    sim.step("big", pool={"mem": 2}, takes=1.0)
    for number in range(60):
        sim.step(f"small{number}", pool={"mem": 1}, takes=1.0, priority=1)
    sim.run(until=60)
    order = [live.step for live in sorted(sim.history, key=lambda live: live.started)]
    assert order.index("runsh big") <= 4 + OVERTAKES + 4


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**9))
def test_whatever_comes_and_goes_no_machine_has_more_held_than_the_pool_allows(seed: int) -> None:
    chance = Random(seed)
    sim = Sim(pools={"all": 3})
    sizes = {"mem": 4, "gpu": 2}
    for name, size in sizes.items():
        per_machine(sim, name, size)
    known = ["alpha", "beta", "gamma"]
    cluster(sim, alpha=3, beta=2)
    for number in range(40):
        if chance.random() < 0.15:
            cluster(
                sim, **{name: chance.randint(1, 4) for name in chance.sample(known, chance.randint(1, 3))}
            )
        request = {name: chance.randint(1, size) for name, size in sizes.items() if chance.random() < 0.6}
        if chance.random() < 0.3:
            request["all"] = chance.randint(1, 3)
        sim.step(f"s{number}", pool=request, takes=chance.randint(1, 8) / 4, priority=chance.randint(0, 1))
        sim.run(until=sim.now + chance.random())
        check(sim, sizes)
    assert sim.wait() == "done"
    check(sim, sizes)
    assert all(not any(pool.held_on(name) for name in known) for pool in sim.scheduler.pools.pools.values())


def check(sim: Sim, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        numbers = [
            (live.place, slot) for live in sim.scheduler.jobs.values() for slot in live.slots.get(name, ())
        ]
        assert len(numbers) == len(set(numbers)), "two jobs have one slot"
        assert all(slot < size for _, slot in numbers)
    used = sum(live.pool.get("all", 0) for live in sim.scheduler.jobs.values())
    assert used <= 3
