"""Pools: who may start, who waits, and in which words. In a world without time."""

from __future__ import annotations

import pytest
from sim import Sim

from stepup_nb.core.engine import slot_variable
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import DefinePool, Drain, DropPool, OpenScope, Pause, Resume, Run, SetWorkers
from stepup_nb.core.model import ScopeKind
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


# --- what was wrong once, and the corners ---


def test_a_closed_pool_lets_nothing_start_and_what_runs_ends() -> None:
    sim = Sim(pools={"test": 1})
    sim.step("a", pool="test", takes=5.0)
    sim.step("b", pool="test")
    sim.run(until=1)
    sim.pool("test", 0)
    assert sim.wait() == "stuck"
    assert sim.states() == {"a": "SUCCEEDED", "b": "QUEUED"}
    sim.pool("test", 1)
    assert sim.wait() == "done"


def test_a_request_is_refused_by_an_open_pool_only() -> None:
    sim = Sim(pools={"closed": 0, "open": None})
    sim.step("wide", pool={"closed": 9})
    sim.step("wider", pool={"open": 9})
    assert sim.state("wide") == "QUEUED"
    sim.pool("closed", 4)
    assert sim.state("wide") == "PENDING"
    assert sim.reason("wide") == "pool 'closed' has 4 slots, this step needs 9"
    sim.pool("closed", 9)
    assert sim.wait() == "done"


def test_a_step_that_asks_for_two_undefined_pools_starts_when_both_are_there() -> None:
    sim = Sim()
    sim.step("s", pool={"one": 1, "two": 2})
    sim.run()
    assert sim.reason("s") == "pool 'one' is not defined"
    sim.pool("one", 1)
    assert sim.reason("s") == "pool 'two' is not defined"
    sim.pool("two", 1)
    assert sim.reason("s") == "pool 'two' has 1 slot, this step needs 2"
    sim.pool("two", 2)
    assert sim.wait() == "done"


def test_a_dropped_pool_calls_its_waiting_steps_back() -> None:
    sim = Sim(pools={"test": 1})
    sim.step("a", pool="test", takes=5.0)
    sim.step("b", pool="test")
    sim.do(DropPool("test"))
    assert sim.state("b") == "PENDING"
    assert sim.scheduler.pools.pools["test"].used == 1
    sim.pool("test", 1)
    assert sim.wait() == "done"
    assert sim.overlap("test") == 1
    with pytest.raises(UsageError, match="There is no pool 'tset'; did you mean 'test'"):
        sim.do(DropPool("tset"))


def test_a_pause_ends_with_the_pool_and_is_refused_without_one() -> None:
    sim = Sim(pools={"test": 1})
    sim.do(Pause("test"))
    sim.do(DropPool("test"))
    sim.pool("test", 1)
    sim.step("s", pool="test")
    assert sim.wait() == "done"
    with pytest.raises(UsageError, match="SNB-502"):
        sim.do(Pause("nobody"))


def test_another_size_from_another_cell_is_noted_and_from_the_same_one_not() -> None:
    # The note came also when one cell was executed again: its title has another number then.
    sim = Sim()
    for size, title in ((2, "In [1]"), (3, "In [2]")):
        sim.do(OpenScope("A", ScopeKind.CELL, title))
        assert sim.do(DefinePool("p", size, "A")).reply["notes"] == []
    sim.do(OpenScope("B", ScopeKind.CELL, "In [3]"))
    assert sim.do(DefinePool("p", 3, "B")).reply["notes"] == []
    (note,) = sim.do(DefinePool("p", None, "A")).reply["notes"]
    assert note == "pool 'p' had 3 slots by In [3]; the one executed last counts: no limit"


def test_tokens_stay_with_a_pool_that_is_resized_within_them() -> None:
    sim = Sim()
    for size, tokens, kept in (
        (2, ("a", "b"), ("a", "b")),
        (1, (), ("a", "b")),
        (3, (), ()),
        (2, ("x", "y"), ("x", "y")),
        (None, (), ()),
    ):
        sim.pool("gpu", size, tokens)
        assert sim.scheduler.pools.pools["gpu"].tokens == kept


def test_slots_that_are_free_in_between_are_given_again() -> None:
    sim = Sim(pools={"gpu": 3})
    for name, takes in (("a", 9.0), ("b", 1.0), ("c", 9.0)):
        sim.step(name, pool="gpu", takes=takes)
    sim.step("d", pool={"gpu": 1})
    sim.run(until=1)
    assert sim["d"].job is not None
    assert sim["d"].job.slots == {"gpu": (1,)}
    assert sim["d"].job.worker == 1


def test_no_slot_is_lost_whatever_becomes_of_a_job() -> None:
    sim = Sim(pools={"test": 3}, files={"a": "1"})
    sim.step("good", pool="test", out="x")
    sim.step("bad", pool="test", returncode=1, retry=2)
    sim.step("slow", pool={"test": 2}, takes=9.0, timeout=2.0)
    sim.step("unlucky", pool="test", cannot_start=2)
    sim.step("disturbed", pool="test", inp="a", touches=lambda sim: sim.write("a", f"{sim.now}"))
    sim.step("stopped", pool="test", takes=9.0)
    sim.run(until=12.5)
    sim.cancel("stopped")
    sim.run()
    assert sim.scheduler.pools.pools["test"].held == {}
    assert sim.scheduler.pools.busy == {}


def test_priority_can_be_changed_while_a_step_waits() -> None:
    sim = Sim(pools={"test": 1})
    sim.cell("A").step("busy", pool="test")
    for name in "abc":
        sim.step(name, pool="test")
    sim.cell("A").step("busy", pool="test")
    for name in "abc":
        sim.step(name, pool="test", priority=int(name == "c"))
    sim.end_cell().run()
    assert sim.started == ["busy", "c", "a", "b"]


def test_a_step_of_two_pools_is_not_starved_by_either() -> None:
    sim = Sim(pools={"p": 1, "q": 1}, workers=8)
    sim.step("p0", pool="p", takes=1.0)
    sim.step("q0", pool="q", takes=1.5)
    sim.step("both", pool={"p": 1, "q": 1}, priority=-5)
    for number in range(1, 30):
        sim.step(f"p{number}", pool="p", takes=1.0, priority=5)
        sim.step(f"q{number}", pool="q", takes=1.5, priority=5)
    sim.run()
    assert sim.started.index("both") <= 2 + OVERTAKES
    assert sim.overlap("p") == sim.overlap("q") == 1


def test_what_cannot_start_anyway_reserves_nothing() -> None:
    sim = Sim(pools={"p": 1, "closed": 0}, workers=8)
    sim.step("p0", pool="p")
    sim.step("both", pool={"p": 1, "closed": 1})
    for number in range(1, 3 * OVERTAKES):
        sim.step(f"p{number}", pool="p")
    sim.run()
    assert len(sim.started) == 3 * OVERTAKES
    sim.step("p last", pool="p")
    sim.step("p very last", pool="p")
    sim.pool("closed", 1).run()
    assert sim.started[-3:] == ["p last", "both", "p very last"]


def test_a_low_priority_is_overtaken_a_bounded_number_of_times_also_for_workers() -> None:
    sim = Sim(workers=1)
    sim.step("busy")
    sim.step("low", priority=-1)
    for number in range(30):
        sim.step(f"s{number}")
    sim.run()
    assert sim.started.index("low") == 1 + OVERTAKES


def test_sizes_and_workers_outlive_the_session_and_a_pause_does_not() -> None:
    sim = Sim(pools={"test": 2}, workers=3)
    sim.do(SetWorkers(1))
    sim.do(Pause())
    sim = sim.restart()
    for name in "ab":
        sim.step(name, pool="test")
    assert len(sim.running) == 1
    assert sim.scheduler.pools.pools["test"].size == 2


def test_a_priority_may_be_lowered_while_a_step_waits() -> None:
    sim = Sim(pools={"test": 1})
    for priorities in ((0, 9, 5), (0, 1, 5)):
        sim.cell("A").step("busy", pool="test")
        for name, priority in zip("abc", priorities, strict=True):
            sim.step(name, pool="test", priority=priority)
    sim.end_cell().run()
    assert sim.started == ["busy", "c", "b", "a"]


def test_the_order_among_steps_is_the_same_whichever_pools_they_ask_for() -> None:
    sim = Sim(pools={"p": 9, "q": 9}, workers=1)
    sim.step("busy")
    for number, pool in enumerate(("p", "q", None, "p", "q", None)):
        sim.step(f"s{number}", pool=pool, priority=number)
    sim.run()
    assert sim.started == ["busy", "s5", "s4", "s3", "s2", "s1", "s0"]


def test_a_paused_step_reserves_nothing_either() -> None:
    sim = Sim(pools={"p": 1, "paused": 1}, workers=8)
    sim.do(Pause("paused"))
    sim.step("p0", pool="p")
    sim.step("both", pool={"p": 1, "paused": 1})
    for number in range(1, 3 * OVERTAKES):
        sim.step(f"p{number}", pool="p")
    sim.run()
    assert len(sim.started) == 3 * OVERTAKES


def test_a_step_whose_pool_is_full_is_not_overtaken_by_those_of_other_pools() -> None:
    sim = Sim(pools={"p": 1, "q": 1}, workers=8)
    sim.step("long", pool="p", takes=99.0)
    sim.step("waits", pool="p")
    for number in range(2 * OVERTAKES):
        sim.step(f"q{number}", pool="q")
    sim.run(until=50)
    assert sim["waits"].overtaken == 0
    assert sim.scheduler.pools.reserved_for("p") is None


def test_a_pool_that_is_only_asked_for_cannot_be_dropped_or_paused() -> None:
    sim = Sim()
    sim.step("s", pool="p")
    for command in (DropPool("p"), Pause("p")):
        with pytest.raises(UsageError, match="SNB-502"):
            sim.do(command)


def test_resuming_ends_a_drain_too() -> None:
    sim = Sim()
    sim.do(Drain())
    sim.step("s")
    sim.do(Resume())
    assert sim.wait() == "done"
