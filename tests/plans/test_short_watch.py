"""A watch phase may be as short as can be: whoever waits for it may say "run" at once."""

import os
import signal

import pytest

from stepup_nb.client import find


def test_a_watch_phase_that_ends_at_once_is_not_missed_by_the_boot(project):
    # The boot looked which phase it was, missed the short ones, and never ended the run that followed.
    project.write("a.txt", "0\n")
    project.write_plan('static("a.txt")\ncopy("a.txt", "b.txt")')
    running = project.start("-w")
    database = os.fspath(project.root / ".stepup" / "graph.db")
    connection = find.await_director(lambda: database, 30.0)
    connection.be_patient()
    connection.request("rest")
    for number in range(1, 11):
        project.write("a.txt", f"{number}\n")
        connection.request("Run")
        connection.request("rest")
        assert project.read("b.txt") == f"{number}\n"
    connection.request("Ending", how="join")
    result = running.result()
    connection.close()
    assert result.code == 0, result
    assert result.texts("PHASE") == ["run", "watch"] * 11


@pytest.mark.parametrize("verb", ["wait", "join", "drain", "shutdown"])
def test_a_session_may_be_over_before_who_waits_for_it_has_looked(project, verb):
    # "boot & wait" waited for half a minute, and failed, where the plan had hardly anything to do.
    project.write("a.txt", "0\n")
    project.write_plan('static("a.txt")\ncopy("a.txt", "b.txt")')
    waiting = project.begin(verb)
    # It is there, and looks no earlier than the session has ended.
    waiting.send_signal(signal.SIGSTOP)
    project.boot("-n", "1")
    waiting.send_signal(signal.SIGCONT)
    assert waiting.communicate(timeout=25) == ("", "")
    assert waiting.returncode == 0
