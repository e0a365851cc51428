"""What the user does to steps that are on their way: cancel, rerun, retry, time-outs, holds (SPEC 4.7 to 4.9, 5.7)."""

from __future__ import annotations

import pytest
from sim import Sim

from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import (
    Cancel,
    Capacity,
    Decision,
    Declare,
    Forget,
    Hold,
    JobBegan,
    JobEnded,
    JobNotStarted,
    Pause,
    Release,
    Rerun,
    SetWorkers,
)
from stepup_nb.core.model import StepSpec

# --- cancel in every state ---


def a_step(state: str) -> Sim:
    """Return a world whose step 's' is in that state, and has a consumer."""
    sim = Sim(pools={"full": 0}, files={"a": "1"}, takes_look=1.0 if state in LOOKING else 0.0)
    if state == "pending":
        sim.step("s", inp="nowhere", out="x")
    elif state == "queued":
        sim.step("s", inp="a", out="x", pool="full")
    else:
        sim.step("s", inp="a", out="x", takes=10)
    sim.step("use", inp="x")
    if state == "confirming":
        sim.do(Cancel(("runsh s",)))
        sim.step("s", inp="a", out="x", takes=10, pool="full")
        sim.run(until=1)
        assert sim.state("s") == "QUEUED"
        sim.pool("full", 1)
        assert sim.state("s") == "RUNNING"
        assert not sim.running
    elif state == "verifying":
        sim.run(until=11.5)
        assert sim.state("s") == "RUNNING"
        assert not sim.running
    elif state == "running":
        sim.run(until=1)
    elif state == "put back":
        sim.run(until=1)
        sim.commands["s"].dies_after = 5
        sim.step("s", inp="a", out="x", takes=10, env_hashes=(("E", "1"),))
        assert sim.state("s") == "PENDING"
        assert sim.running
    elif state == "being cancelled":
        sim.run(until=1)
        sim.commands["s"].dies_after = 5
        sim.do(Cancel(("runsh s",)))
        assert sim.state("s") == "RUNNING"
        assert sim.running
    elif state == "pausing":
        sim.commands["s"].returncode = 1
        sim.step("s", inp="a", out="x", returncode=1, retry=5, env_hashes=(("E", "1"),))
        sim.run(until=1.15)
        assert sim.reason("s").startswith("pauses before attempt")
    return sim


LOOKING = ("checking", "confirming", "verifying")
STATES = (
    *LOOKING,
    "pending",
    "queued",
    "running",
    "put back",
    "being cancelled",
    "pausing",
)


@pytest.mark.parametrize("state", STATES)
def test_a_step_can_be_cancelled_in_every_state(state: str) -> None:
    sim = a_step(state)
    started = len(sim.started)
    sim.cancel("runsh s")
    assert sim.wait() == "stuck"
    assert sim.state("s") == "CANCELLED"
    assert sim.reason("use") == "input 'x' waits for step 'runsh s', which was cancelled"
    assert len(sim.started) == started
    sim.run()
    assert all(job.outcome is not None for job in sim.history)


@pytest.mark.parametrize("state", STATES)
def test_a_step_that_was_cancelled_in_any_state_runs_again_when_declared_again(state: str) -> None:
    # One whose job was still dying was adopted, and ended CANCELLED all the same.
    sim = a_step(state)
    sim.cancel("runsh s")
    sim.write("nowhere", "1")
    spec = sim["s"].spec
    sim.commands["s"].returncode = 0
    sim.pool("full", 1)
    sim.do(Declare(spec, "session", "", sim["s"].env_hashes))
    assert sim.wait() == "done"


@pytest.mark.parametrize("state", STATES)
def test_a_step_that_was_cancelled_in_any_state_runs_again_by_rerun(state: str) -> None:
    sim = a_step(state)
    sim.cancel("runsh s")
    sim.write("nowhere", "1")
    sim.commands["s"].returncode = 0
    sim.pool("full", 1)
    sim.do(Rerun(failed=True) if sim.state("s") == "CANCELLED" else Rerun(("runsh s",)))
    assert sim.wait() == "done"


def test_a_step_that_is_being_cancelled_stays_so_whatever_changes_upstream() -> None:
    # It was put back like any other consumer, and ran although the user had cancelled it.
    sim = Sim(files={"a": "1"})
    sim.step("make", inp="a", out="x")
    sim.step("use", inp="x", takes=100, dies_after=5)
    sim.run(until=2)
    sim.cancel("use")
    sim.do(Rerun(("make",)))
    assert sim.wait() == "done"
    assert sim.state("use") == "CANCELLED"
    assert sim.story("make running")[-1] == "7 make running", "it waited for the end of its reader"


def test_a_cancel_is_answered_with_what_it_stops() -> None:
    sim = Sim()
    sim.step("done")
    sim.wait()
    sim.step("slow")
    assert sim.do(Cancel(None)).reply == {"steps": ["runsh slow"]}
    with pytest.raises(UsageError, match="There is no step 'slwo'; did you mean 'slow'"):
        sim.do(Cancel(("slwo",)))


def test_a_part_of_two_names_is_refused_with_both() -> None:
    sim = Sim()
    sim.step("load north")
    sim.step("load south")
    with pytest.raises(UsageError, match="'load' means 2 steps"):
        sim.do(Cancel(("load",)))


# --- declared again while it runs, retries, time-outs ---


def test_an_adopted_step_that_fails_gets_no_attempt_that_nobody_gave_it() -> None:
    # Declaring it again set its attempts to none, and the first failure did not count.
    sim = Sim()
    sim.cell("A").step("bad", takes=4, returncode=1)
    sim.end_cell().run(until=1)
    sim.cell("A").step("bad", takes=4, returncode=1)
    sim.end_cell().wait()
    assert sim.started == ["bad"]
    assert sim.state("bad") == "FAILED"


def test_attempts_are_paused_for_ever_longer() -> None:
    sim = Sim()
    sim.step("bad", returncode=1, retry=3)
    sim.run(until=1.05)
    assert sim.reason("bad") == "pauses before attempt 2 of 4"
    sim.wait()
    assert [line.split()[0] for line in sim.story("bad running")] == ["0", "1.1", "2.3", "3.7"]


def test_a_retry_that_succeeds_is_a_success() -> None:
    sim = Sim()
    sim.step("flaky", out="x", returncode=1, retry=1)
    sim.run(until=1.05)
    sim.commands["flaky"].returncode = 0
    assert sim.wait() == "done"


def test_a_job_that_ends_before_it_is_stopped_by_its_time_out_was_timed_out_all_the_same() -> None:
    sim = Sim()
    sim.step("slow", takes=5.5, timeout=5.0, dies_after=9)
    sim.wait()
    assert sim["slow"].reason == "stopped after its time-out of 5 s"


def test_a_step_that_used_up_its_attempts_gets_all_of_them_when_it_is_declared_again() -> None:
    sim = Sim()
    for _ in range(2):
        sim.cell("A").step("bad", returncode=1, retry=1)
        sim.end_cell().wait()
    assert len(sim.started) == 4


def test_a_timed_out_step_gets_its_other_attempts() -> None:
    sim = Sim()
    sim.step("slow", takes=5, timeout=1.0, retry=1)
    sim.wait()
    assert [job.outcome for job in sim.history] == ["timed out", "timed out"]


def test_a_longer_time_out_counts_from_the_next_job() -> None:
    sim = Sim()
    sim.cell("A").step("slow", takes=5, timeout=2.0)
    sim.end_cell().run(until=1)
    sim.cell("A").step("slow", takes=5, timeout=9.0)
    sim.end_cell().wait()
    assert sim["slow"].reason == "stopped after its time-out of 2 s"
    sim.do(Rerun(failed=True))
    assert sim.wait() == "done"


def test_a_start_that_is_refused_for_good_fails_the_step() -> None:
    sim = Sim(takes_look=0.0)
    sim.step("s", takes=5)
    start = next(iter(sim.running.values()))
    sim.do(JobNotStarted(start.job.id, "no such shell", is_transient=False))  # type: ignore[arg-type]
    assert sim["s"].reason == "no such shell"
    assert sim.scheduler.jobs == {}


@pytest.mark.parametrize("is_transient", [True, False])
def test_a_cancelled_step_whose_start_is_refused_is_cancelled(is_transient: bool) -> None:
    # With attempts left it was started again.
    sim = Sim()
    sim.step("s", takes=5, retry=3, dies_after=9)
    start = next(iter(sim.running.values()))
    sim.cancel("s")
    sim.do(JobNotStarted(start.job.id, "no room", is_transient))  # type: ignore[arg-type]
    assert sim.state("s") == "CANCELLED"


def test_a_step_that_is_being_cancelled_stays_so_when_two_of_its_inputs_are_made_again() -> None:
    # It was told once for each of them, and the second time was an internal error.
    sim = Sim()
    sim.step("make", out=("a", "b"))
    sim.wait()
    sim.step("use", inp=("a", "b"), takes=9, dies_after=5)
    sim.cancel("use")
    sim.do(Rerun(("runsh make",)))
    sim.wait()
    assert (sim.state("make"), sim.state("use")) == ("SUCCEEDED", "CANCELLED")


def test_a_refused_start_is_no_attempt_and_no_job() -> None:
    sim = Sim()
    sim.step("s", takes=5)
    start = next(iter(sim.running.values()))
    del sim.running[start.job.id]
    decision = sim.do(JobNotStarted(start.job.id, "no room", is_transient=True))  # type: ignore[arg-type]
    assert decision.dropped_jobs == {start.job.id}
    assert decision.jobs == {}
    assert sim.reason("s") == "pauses before another try to start it"
    assert sim.scheduler.jobs == {}
    assert sim.wait() == "done"
    assert [job.id for job in sim.history] == [1, 2]


def test_a_report_of_a_job_that_is_gone_is_dropped() -> None:
    sim = Sim()
    sim.step("s", out="x")
    sim.wait()
    sim.do(JobEnded(sim.history[0].id, 1, sim.now))  # type: ignore[arg-type]
    sim.do(JobEnded(99, 1, sim.now))  # type: ignore[arg-type]
    assert sim.state("s") == "SUCCEEDED"


def running(sim: Sim) -> int:
    """Return the number of the one job that runs."""
    (number,) = sim.running
    return number


def test_a_step_of_a_lost_machine_runs_again_three_times_and_then_fails() -> None:
    sim = Sim(pools={"test": 1})
    sim.step("s", takes=5, pool="test", retry=7)
    for _ in range(3):
        sim.lose(running(sim), "worker w was lost")
        assert sim.state("s") == "RUNNING"
    sim.lose(running(sim), "worker w was lost")
    assert (sim.state("s"), sim["s"].reason) == ("FAILED", "worker w was lost, 4 times")
    assert [job.outcome for job in sim.history] == ["lost"] * 4
    assert sim.scheduler.pools.pools["test"].held == {}


def test_a_cancelled_step_of_a_lost_machine_is_cancelled() -> None:
    sim = Sim()
    sim.step("s", takes=5, dies_after=9)
    sim.cancel("s")
    sim.lose(running(sim), "worker w was lost")
    assert sim.state("s") == "CANCELLED"


def test_a_job_that_began_late_has_run_since_then_and_there() -> None:
    sim = Sim()
    sim.step("s", takes=5)
    sim.do(JobBegan(running(sim), 2.0, "tls://10.0.0.7:4567"))  # type: ignore[arg-type]
    sim.wait()
    (job,) = sim.history
    assert (job.started, job.ended, job.machine) == (2.0, 5.0, "tls://10.0.0.7:4567")


def test_as_many_steps_run_in_a_cluster_as_it_has_room_for_unless_somebody_has_said_otherwise() -> None:
    sim = Sim(workers=1)
    for name in "abcdefgh":
        sim.step(name, takes=5)
    assert len(sim.running) == 1
    for room, most in ((3, 3), (6, 6)):
        sim.do(Capacity(room))  # type: ignore[arg-type]
        assert len(sim.running) == most
    sim.do(SetWorkers(7))
    sim.do(Capacity(8))  # type: ignore[arg-type]
    assert len(sim.running) == 7
    sim.do(Capacity(None))  # type: ignore[arg-type]
    assert sim.scheduler.pools.limit == 7


def test_when_the_cluster_is_gone_a_wait_ends_and_says_what_to_do() -> None:
    sim = Sim()
    sim.do(Capacity(0))  # type: ignore[arg-type]
    sim.step("s")
    assert sim.wait() == "stuck"
    assert "%stepup executor local" in sim.reason("s")
    sim.do(Capacity(None))  # type: ignore[arg-type]
    assert sim.wait() == "done"


def test_what_time_brings_happens_also_when_a_command_is_refused() -> None:
    # The attempt was due at the very moment of a refusal, and nobody thought of it any more.
    sim = Sim()
    sim.step("bad", returncode=1, retry=1)
    sim.run(until=1.05)
    sim.now = 2.0
    with pytest.raises(UsageError):
        sim.do(Cancel(("nobody",)))
    assert sim.started == ["bad", "bad"]


# --- rerun and force ---


def test_rerun_of_all_runs_all_and_of_the_failed_only_those() -> None:
    sim = Sim()
    sim.step("good", out="x")
    sim.step("bad", returncode=1)
    sim.step("stopped", takes=9)
    sim.run(until=2)
    sim.cancel("stopped")
    sim.wait()
    sim.ran()
    sim.do(Rerun(failed=True))
    sim.wait()
    assert sim.ran() == ["bad", "stopped"]
    sim.do(Rerun(all=True))
    sim.wait()
    assert sorted(sim.ran()) == ["bad", "good", "stopped"]


def test_rerun_leaves_a_running_step_alone() -> None:
    sim = Sim()
    sim.step("slow", takes=5)
    sim.run(until=1)
    sim.do(Rerun(("slow",)))
    sim.wait()
    assert sim.started == ["slow"]


def test_rerun_of_a_step_that_is_not_declared_says_what_to_do() -> None:
    sim = Sim()
    sim.cell("A").step("s")
    sim.end_cell().wait()
    sim = sim.restart()
    with pytest.raises(UsageError, match="run the cell that declares it"):
        sim.do(Rerun(("s",)))


def test_a_forced_step_that_was_cancelled_is_still_forced() -> None:
    # 'rerun --failed' found it up to date and skipped it.
    sim = Sim(pools={"p": 1})
    sim.cell("A").step("s", out="x", pool="p")
    sim.end_cell().wait()
    sim.pool("p", 0)
    sim.cell("A").step("s", out="x", pool="p", force=True)
    sim.end_cell().cancel("s").pool("p", 1)
    sim.do(Rerun(failed=True))
    assert sim.wait() == "done"
    assert sim.started == ["s", "s"]


def test_force_runs_once_not_each_time_its_step_is_looked_at() -> None:
    sim = Sim(files={"a": "1"})
    sim.step("s", inp="a", out="x", force=True)
    sim.wait()
    sim.wait()
    assert sim.started == ["s"]


# --- forget ---


def test_a_running_step_cannot_be_forgotten() -> None:
    sim = Sim()
    sim.step("slow", takes=5)
    with pytest.raises(UsageError, match="SNB-122"):
        sim.do(Forget(("slow",)))
    sim.wait()
    decision = sim.do(Forget(("slow",)))
    assert list(decision.forgotten) == ["runsh slow"]
    assert not sim.scheduler.graph.steps


def test_what_a_forgotten_step_made_is_an_ordinary_file() -> None:
    sim = Sim()
    sim.step("make", out="x")
    sim.step("use", inp="x")
    sim.wait()
    sim.do(Forget(("make",)))
    assert sim.wait() == "done"
    assert sim.clean() == []
    sim.write("x", "2")
    sim.wait()
    assert sim.started == ["make", "use", "use"]


# --- hold ---


def test_a_hold_that_declared_nothing_can_be_released() -> None:
    sim = Sim()
    sim.do(Hold("h"))
    sim.do(Release("h"))
    sim.do(Release("never begun"))
    assert sim.wait() == "done"


def test_a_held_step_says_so_and_a_wait_does_not_hang_on_it() -> None:
    sim = Sim()
    sim.do(Hold("h"))
    sim.step("s", hold="h")
    sim.step("free")
    assert sim.wait() == "stuck"
    assert sim.reason("s") == "held until the end of its hold() block"
    assert sim.started == ["free"]


def test_a_step_that_is_declared_again_outside_the_block_is_not_held_any_more() -> None:
    sim = Sim()
    sim.do(Hold("h"))
    sim.cell("A").step("s", hold="h")
    sim.cell("A").step("s")
    assert sim.end_cell().wait() == "done"


def test_a_long_way_behind_a_step_makes_it_start_first() -> None:
    sim = Sim(workers=1)
    sim.do(Hold("h"))
    for name, duration in (("short", 1.0), ("long", 2.0)):
        sim.step(f"{name} begin", out=name, duration=1.0, hold="h")
        for number in range(3):
            sim.step(f"{name} {number}", inp=name, out=f"{name}{number}", duration=duration, hold="h")
        sim.step(f"{name} end", inp=tuple(f"{name}{k}" for k in range(3)), duration=duration, hold="h")
    sim.do(Release("h"))
    sim.run()
    assert sim.started[0] == "long begin"


def test_recorded_durations_order_steps_also_in_the_next_session() -> None:
    # They were forgotten with the session.
    sim = Sim()
    for name, takes in (("short", 1.0), ("long", 30.0)):
        sim.cell(name).step(name, takes=takes)
    sim.end_cell().wait()
    sim = sim.restart()
    sim.workers = 1
    sim.scheduler.pools.workers = 1
    sim.do(Hold("h"))
    for name in ("short", "long"):
        spec = StepSpec(action="runsh", command=name, force=True)
        sim.do(Declare(spec, "session", hold="h"))
    sim.do(Release("h"))
    sim.run()
    assert sim.started == ["long", "short"]


def test_an_expected_duration_is_the_users_word_whatever_is_measured() -> None:
    sim = Sim()
    sim.step("s", takes=1.0, duration=30.0)
    sim.step("t", takes=30.0)
    sim.wait()
    assert sim["s"].estimate == 30.0
    assert sim["t"].estimate == 32.0, "what is measured is rounded to a power of two"


# --- what is told ---


def tags(decision: Decision) -> list[str]:
    return [line.tag for line in decision.lines]


def test_the_log_has_a_line_for_each_start_end_skip_and_put_back() -> None:
    sim = Sim(files={"a": "1"})
    lines: list[str] = []
    hand_in = sim._hand_in

    def listening(message: object) -> Decision:
        decision = hand_in(message)  # type: ignore[arg-type]
        lines.extend(f"{line.tag} {line.step.removeprefix('runsh ')}" for line in decision.lines)
        return decision

    sim._hand_in = listening  # type: ignore[method-assign, assignment]
    once: list[int] = []

    def disturb(sim: Sim) -> None:
        if not once:
            once.append(1)
            sim.write("a", "2")

    sim.cell("A").step("make", inp="a", out="x", touches=disturb)
    sim.end_cell().wait()
    sim.step("bad", returncode=1)
    sim.step("slow", takes=9)
    sim.run(until=sim.now + 2)
    sim.cancel("slow")
    sim.run()
    sim.cell("A").step("make", inp="a", out="x", env_hashes=(("E", "1"),))
    sim.step("make", name="again", inp="a", out="y")
    sim.end_cell()
    sim = sim.restart()
    decision = sim.do(Declare(sim["bad"].spec, "session"))
    assert tags(decision) == ["START"]
    assert lines == [
        "START make",
        "RESCHEDULE make",
        "START make",
        "SUCCESS make",
        "START bad",
        "START slow",
        "FAIL bad",
        "FAIL slow",
        "NOSKIP make",
        "START make",
        "START again",
    ]


def test_a_skip_is_a_line_of_the_log_too() -> None:
    sim = Sim()
    sim.cell("A").step("s")
    sim.end_cell().wait()
    spec = sim["s"].spec
    sim = sim.restart()
    assert tags(sim.do(Declare(spec, "session"))) == ["SKIP"]


def test_what_an_equal_declaration_changed_is_told_to_be_written_down() -> None:
    sim = Sim()
    sim.cell("A").step("s", priority=1)
    sim.end_cell().wait()
    spec = sim["s"].spec._replace(priority=5)
    sim.cell("A")
    decision = sim.do(Declare(spec, "A"))
    assert decision.steps["runsh s"].spec.priority == 5


def test_a_change_of_what_a_step_waits_for_is_told() -> None:
    sim = Sim()
    sim.step("one", out="a", takes=1)
    sim.step("two", out="b", takes=2)
    sim.step("both", inp=("a", "b"))
    assert sim["both"].reason == "input 'a' waits for step 'runsh one'"
    sim.run(until=1)
    assert sim["both"].reason == "input 'b' waits for step 'runsh two'"


def test_settings_are_told_to_be_written_down() -> None:
    sim = Sim()
    assert sim.do(SetWorkers(3)).settings
    assert sim.do(Pause()).settings
    assert not sim.do(Release("h")).settings
