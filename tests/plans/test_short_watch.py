"""A watch phase may be as short as can be: whoever waits for it may say "run" at once."""

import os

from stepup_nb.client import find


def test_a_watch_phase_that_ends_at_once_is_not_missed_by_the_boot(project):
    # The boot looked which phase it was, missed the short ones, and never ended the run that followed.
    project.write("a.txt", "0\n")
    project.write_plan('static("a.txt")\ncopy("a.txt", "b.txt")')
    running = project.start("-w")
    database = os.fspath(project.root / ".stepup" / "graph.db")
    connection = find.await_director(lambda: database, 30.0)
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
