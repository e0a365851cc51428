"""What a real director knows of its steps, for a simulation: all of it, and nothing changes by the question."""

from __future__ import annotations

import pytest
from director.helpers_world import cell, on_both_hosts

from stepup_nb.core.whatif import HANDOVER, Known, sweep


def rows(session):
    return {row["name"]: row for row in session.workload()["steps"]}


@on_both_hosts
def test_what_ran_is_predicted_as_it_ran(notebook):
    session = notebook.begin(workers=1)
    session.pool("test", 1)
    with session.hold():
        session.declare("runsh", "echo > a.txt", name="a", out=["a.txt"], pool="test")
        session.declare("runsh", "echo > b.txt", name="b", inp=["a.txt"], out=["b.txt"])
        session.declare("runsh", "true", name="c", after=["b"], priority=2)
    session.wait()
    known = Known.of(session.workload())
    assert (known.pools, known.workers, known.workload.guessed) == ({"test": 1}, 1, 0)
    (run,) = sweep(known, {}).runs
    ran = {row["step"]: row for row in session.history()}
    assert [row["step"] for row in run.timeline] == ["a", "b", "c"]
    assert run.timeline[0].keys() == ran["a"].keys()
    for row in run.timeline:
        assert row["ended"] - row["started"] == pytest.approx(
            ran[row["step"]]["ended"] - ran[row["step"]]["started"]
        )
        assert (row["slots"], row["worker"]) == (ran[row["step"]]["slots"], ran[row["step"]]["worker"])


def test_a_question_runs_nothing_and_changes_nothing(session):
    session.declare("runsh", "true", block=True)
    session.pool("test", 1)
    before = session.status(), session.history()
    sweep(Known.of(session.workload()), {}, (1, 2))
    assert (session.status(), session.history()) == before


def test_what_never_ran_takes_what_the_user_says_or_is_guessed(session):
    session.declare("runsh", "true", name="said", duration=7.5, block=True)
    session.declare("runsh", "true", name="unknown", block=True)
    found = rows(session)
    assert found["said"]["duration"] == found["said"]["estimate"] == 7.5
    assert found["unknown"]["duration"] is None
    known = Known.of(session.workload())
    assert (known.workload.guessed, known.workload.guess, known.handover) == (1, 7.5, HANDOVER)


def test_a_step_whose_last_job_failed_takes_as_long_as_its_last_success(notebook, session):
    session.declare("runsh", "test ! -e bad", name="a", inp=[], duration=9.0)
    session.wait()
    took = rows(session)["a"]["duration"]
    assert 0.0 < took < 9.0
    (notebook.folder / "bad").touch()
    session.rerun("a")
    session.wait()
    assert session.history()[-1]["outcome"] == "failed"
    assert rows(session)["a"]["duration"] == took


def test_names_in_after_are_told_as_the_steps_they_mean(session):
    session.declare("runsh", "true", name="a long name")
    session.declare("runsh", "true", name="b", after=["long"])
    session.declare("runsh", "true", name="c", after=["nowhere"])
    found = rows(session)
    assert found["b"]["after"] == ["a long name"]
    assert found["c"]["after"] == ["nowhere"]


def test_optional_steps_that_nobody_needs_are_left_out(session):
    session.declare("runsh", "echo > a", name="idle", out=["a"], optional=True)
    session.declare("runsh", "echo > b", name="needed", out=["b"], optional=True)
    session.declare("runsh", "true", name="c", inp=["b"])
    assert rows(session).keys() == {"needed", "c"}


def test_after_a_restart_the_steps_of_the_last_session_are_known(notebook, session):
    session.pool("test", 3)
    with cell(session, "one"):
        session.declare("runsh", "true", name="a", pool="test:2")
    session.wait()
    took = rows(session)["a"]["duration"]
    session = notebook.again(session)
    known = Known.of(session.workload())
    assert [(step.name, step.duration, dict(step.pool)) for step in known.workload.steps] == [
        ("a", took, {"test": 2})
    ]
    assert known.pools == {"test": 3}
    session.declare("runsh", "true", name="b")
    assert rows(session).keys() == {"b"}


def test_a_plan_comes_before_what_it_declares(notebook, session):
    plan = "from stepup.core.api import runsh\nrunsh('true')\n"
    (notebook.folder / "plan.py").write_text(f"#!/usr/bin/env python3\n{plan}")
    (notebook.folder / "plan.py").chmod(0o755)
    session.boot("plan.py")
    session.wait()
    known = Known.of(session.workload())
    assert [(step.name, step.after) for step in known.workload.steps] == [
        ("runpy ./plan.py", ()),
        ("runsh true", ("runpy ./plan.py",)),
    ]
