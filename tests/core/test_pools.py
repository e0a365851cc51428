"""Pools: who may start, who waits, and in which words. In a world without time."""

from __future__ import annotations

import pytest
from sim import Sim

from stepup_nb.core.engine import slot_variable
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Drain, DropPool, Pause, Resume, Run
from stepup_nb.core.pools import OVERTAKES


def test_a_pool_of_two_runs_two_steps_at_a_time() -> None:
    sim = Sim(pools={"test": 2})
    for name in "abc":
        sim.step(name, pool="test", takes=1.0)
    sim.run()
    assert sim.story("running") == ["0 a running", "0 b running", "1 c running"]
    assert sim.overlap("test") == 2


def test_growing_starts_waiting_steps_at_once_and_shrinking_stops_none() -> None:
    sim = Sim(pools={"test": 1})
    for number in range(9):
        sim.step(f"s{number}", pool="test", takes=10.0)
    sim.run(until=1)
    sim.pool("test", 4)
    assert len(sim.running) == 4
    sim.pool("test", 1)
    assert len(sim.running) == 4
    sim.run(until=10.5)
    assert len(sim.running) == 3, "one ended, and nothing starts before one would fit"
    sim.run(until=11.5)
    assert sim.story("running")[-1] == "11 s4 running"
    assert len(sim.running) == 1


def test_a_closed_pool_keeps_its_steps_waiting_and_nobody_else() -> None:
    sim = Sim(pools={"test": 0})
    sim.step("waits", pool="test")
    sim.step("goes")
    assert sim.wait() == "stuck"
    assert sim.reason("waits") == "pool 'test' is closed"
    assert sim.state("goes") == "SUCCEEDED"


def test_a_pool_without_a_limit_limits_nothing() -> None:
    sim = Sim(pools={"test": None})
    for number in range(8):
        sim.step(f"s{number}", pool="test")
    assert len(sim.running) == 8


def test_a_step_takes_several_slots_of_several_pools_or_none() -> None:
    sim = Sim(pools={"mem": 4, "lic": 1})
    sim.step("licence", pool="lic", takes=5.0)
    sim.step("both", pool={"mem": 3, "lic": 1}, takes=1.0)
    sim.step("memory", pool={"mem": 4}, takes=1.0)
    sim.run()
    # 'both' holds no memory while it waits for the licence.
    assert sim.story("running") == ["0 licence running", "0 memory running", "5 both running"]


def test_a_pool_that_nobody_defined_is_waited_for_with_a_hint() -> None:
    sim = Sim(pools={"test": 1})
    sim.step("s", pool="tset")
    assert sim.reason("s") == "pool 'tset' is not defined; did you mean 'test'?"
    assert sim.wait() == "stuck"
    sim.pool("tset", 1)
    assert sim.wait() == "done"


def test_a_step_that_is_up_to_date_needs_no_pool() -> None:
    sim = Sim(pools={"test": 1})
    sim.cell("A").step("s", pool="test", out="a")
    sim.end_cell().wait()
    sim = sim.restart()
    sim.do(DropPool("test"))
    sim.cell("A").step("s", pool="test", out="a")
    assert sim.end_cell().wait() == "done"


def test_a_request_that_is_larger_than_the_pool_is_refused() -> None:
    with pytest.raises(UsageError, match="SNB-501"):
        Sim(pools={"mem": 4}).step("s", pool={"mem": 8})


def test_a_pool_that_became_too_small_says_so() -> None:
    sim = Sim(pools={"mem": 4})
    sim.step("first", pool={"mem": 4}, takes=3.0)
    sim.step("second", pool={"mem": 3})
    sim.pool("mem", 2)
    assert sim.wait() == "stuck"
    assert sim.reason("second") == "pool 'mem' has 2 slots, this step needs 3"


def test_another_size_runs_nothing_again() -> None:
    sim = Sim(pools={"test": 1})
    sim.step("s", pool="test")
    sim.wait()
    sim.pool("test", 3)
    sim.wait()
    assert sim.started == ["s"]


def test_a_full_pool_holds_back_nobody_who_does_not_need_it() -> None:
    sim = Sim(pools={"test": 1})
    for number in range(5):
        sim.step(f"s{number}", pool="test", takes=9.0)
    sim.step("free")
    assert "free" in sim.started


def test_slots_are_numbered_and_the_job_is_told() -> None:
    sim = Sim(pools={"gpu": 2})
    sim.step("a", pool="gpu")
    sim.step("b", pool="gpu")
    variables = [dict(start.variables) for start in sim.running.values()]
    assert variables == [{"STEPUP_POOL_GPU": "0"}, {"STEPUP_POOL_GPU": "1"}]


def test_tokens_stand_for_the_numbers_of_the_slots() -> None:
    sim = Sim()
    sim.pool("gpu", 2, tokens=("c3", "c7"))
    sim.step("both", pool={"gpu": 2})
    assert dict(next(iter(sim.running.values())).variables) == {"STEPUP_POOL_GPU": "c3,c7"}


def test_the_variable_of_a_pool_has_only_letters_digits_and_underscores() -> None:
    assert slot_variable("my-pool.2") == "STEPUP_POOL_MY_POOL_2"


def test_a_wide_step_is_overtaken_a_documented_number_of_times_whatever_the_priorities() -> None:
    sim = Sim(pools={"test": 2}, workers=8)
    sim.step("n0", pool="test", takes=1.0, priority=5)
    sim.step("n1", pool="test", takes=1.5, priority=5)
    sim.step("wide", pool={"test": 2})
    for number in range(2, 60):
        sim.step(f"n{number}", pool="test", takes=1.0 + number % 2 / 2, priority=5)
    sim.run()
    before = sim.started.index("wide") - 2
    assert 0 < before <= OVERTAKES


def test_while_slots_are_reserved_the_others_say_for_whom() -> None:
    sim = Sim(pools={"test": 2}, workers=8)
    sim.step("n0", pool="test", takes=100.0)
    sim.step("wide", pool={"test": 2})
    for number in range(OVERTAKES + 2):
        sim.step(f"n{number + 1}", pool="test", takes=1.0)
    sim.run(until=OVERTAKES + 5)
    assert sim.reason(f"n{OVERTAKES + 2}") == "slots reserved for runsh wide"


def test_priority_comes_before_the_critical_path_and_that_before_the_order_of_declaration() -> None:
    sim = Sim(pools={"test": 1}, workers=8)
    sim.step("busy", pool="test", takes=1.0)
    sim.step("declared first", pool="test", duration=1.0)
    sim.step("long way", pool="test", out="a", duration=1.0)
    sim.step("behind it", inp="a", duration=50.0)
    sim.step("urgent", pool="test", priority=1, duration=1.0)
    sim.run()
    assert [s for s in sim.started if s != "behind it"] == ["busy", "urgent", "long way", "declared first"]


def test_a_pause_starts_nothing_and_a_wait_goes_on_meanwhile() -> None:
    sim = Sim(pools={"test": 1})
    sim.do(Pause())
    sim.step("s", pool="test")
    assert sim.reason("s") == "paused"
    assert sim.wait(timeout=5) == "timeout"
    sim.do(Resume())
    assert sim.wait() == "done"


def test_one_pool_can_be_paused_alone() -> None:
    sim = Sim(pools={"test": 1, "other": 1})
    sim.do(Pause("test"))
    sim.step("s", pool="test")
    sim.step("t", pool="other")
    assert sim.started == ["t"]


def test_a_drain_ends_waits_and_run_goes_on() -> None:
    sim = Sim(pools={"test": 1})
    sim.step("a", pool="test")
    sim.step("b", pool="test")
    sim.do(Drain())
    assert sim.wait() == "stuck"
    assert sim.states() == {"a": "SUCCEEDED", "b": "QUEUED"}
    sim.do(Run())
    assert sim.wait() == "done"


def test_a_step_that_waits_for_a_worker_says_so() -> None:
    sim = Sim(workers=1)
    sim.step("a")
    sim.step("b")
    assert sim.reason("b") == "waits for a worker"


def test_a_slot_is_held_until_the_result_is_known() -> None:
    sim = Sim(pools={"one": 1}, takes_look=0.5)
    sim.step("a", pool="one", out="x")
    sim.step("b", pool="one", out="y")
    sim.run()
    assert sim.lines.index("1.5 a succeeded") < sim.lines.index("1.5 b running")
