"""A handle tells how its step is doing now, and never gets in the way."""

import pytest
from director.helpers_world import until

from stepup_nb.core.errors import StepsFailed, UsageError


def test_it_is_shown_with_its_state_and_why(session):
    session.pool("p", 0)
    waiting = session.declare("runsh", "true", pool="p")
    assert repr(waiting) == "<step 'runsh true' QUEUED: pool 'p' is closed>"
    failing = session.declare("runsh", "exit 3")
    with pytest.raises(StepsFailed):
        failing.wait()
    assert repr(failing) == "<step 'runsh exit 3' FAILED: exit code 3>"


def test_to_be_shown_it_needs_no_director_and_starts_none(session):
    handle = session.declare("runsh", "true").wait()
    session.forget(handle.name)
    assert repr(handle) == "<step 'runsh true'>"
    session.close()
    assert repr(handle) == "<step 'runsh true'>"
    assert not session.is_started


def test_a_long_command_has_a_short_label(session):
    handle = session.declare("runsh", "echo one\necho " + "x" * 500, block=True)
    assert handle.label.startswith("runsh echo one ⏎ echo xxx")
    assert len(handle.label) == 80
    assert handle.name == "runsh echo one\necho " + "x" * 500


def test_it_can_be_cancelled_and_run_again(session):
    handle = session.declare("runsh", "test -e again || sleep 60; echo > again")
    until(lambda: handle.state == "RUNNING")
    handle.cancel()
    until(lambda: handle.state == "CANCELLED")
    with pytest.raises(StepsFailed, match="cancelled"):
        handle.wait()
    session.declare("runsh", "echo > again").wait()
    handle.rerun()
    assert handle.wait().returncode == 0
    assert handle.why() == ["you asked for it"]


def test_it_says_each_reason_once(session, notebook):
    notebook.write("a", "1")
    for text in ("1", "22"):
        notebook.write("a", text)
        handle = session.declare("runsh", "cp a b; cp a c", name="s", inp="a", out=["b", "c"])
        handle.wait()
    assert handle.why() == ["input 'a' changed"]
    waiting = session.declare("runsh", "true", inp="never")
    session.wait()  # until its input has been looked for
    assert waiting.why() == ["input 'never' is missing, and no step builds it"]


def test_of_a_step_that_is_gone_it_says_so(session):
    handle = session.declare("runsh", "true", name="gone")
    handle.wait()
    session.forget("gone")
    with pytest.raises(UsageError, match="SNB-120"):
        assert handle.state


def test_it_tells_the_signal_that_killed_its_step(session):
    handle = session.declare("runsh", "kill -9 $$")
    with pytest.raises(StepsFailed, match="SIGKILL"):
        handle.wait()
    assert handle.returncode == -9
