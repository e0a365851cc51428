"""Rows 49 to 80 of the table of StepUp 3.0.0's behaviour, each as a plan that is booted.

A number in a comment is that of the row. "Not as StepUp" marks a row where we differ on purpose; ARCHITECTURE.md
says why.
"""

import os
import signal
import sqlite3

from plans.helpers_plan import PLAN

WORK = "runpy ./work.py"
LATE = "runsh echo late > late.txt"


# --- plans that fail ------------------------------------------------------------------------------


def test_a_plan_that_fails_half_way_keeps_what_it_had_and_nothing_runs_again_once_it_is_repaired(project):
    one, two, new = (f'runsh("echo {n} > {n}.txt", out="{n}.txt")\n' for n in ("one", "two", "new"))
    project.write_plan(one + two)
    project.boot()
    project.write_plan(one + new + "raise RuntimeError('oops')\n" + two)
    result = project.boot(code=2)  # 49
    assert result.texts("FAIL") == [PLAN]
    assert "RuntimeError: oops" in result.page("Standard error")
    assert not result.texts("CLEAN")
    assert project.has("one.txt") and project.has("two.txt")
    project.write_plan(one + new + two)
    result = project.boot()
    assert "runsh echo one > one.txt" not in result.texts("START", "SKIP")
    assert "runsh echo two > two.txt" not in result.texts("START", "SKIP")


def test_a_variable_in_a_path_that_is_not_set_fails_the_plan(project):
    project.environment.pop("MYV", None)
    project.write_plan('runsh("echo > x.txt", out="${MYV}.txt")')
    result = project.boot(code=2)  # 60
    assert result.texts("FAIL") == [PLAN]
    assert "Undefined shell variable: MYV" in result.page("Standard error")


def test_without_a_plan_that_is_a_script_nothing_is_begun(project):
    ended = project.cli("boot")  # 71
    assert ended.returncode == 1
    assert "There is no plan 'plan.py'" in ended.stderr
    assert not project.has(".stepup")
    project.write("plan.py", "#!/usr/bin/env python3\n")
    ended = project.cli("boot")  # 72
    assert ended.returncode == 1
    assert "not executable" in ended.stderr
    project.write("plan.py", "#!/usr/bin/python3\n").chmod(0o755)
    ended = project.cli("boot")
    assert ended.returncode == 1
    assert "#!/usr/bin/env python3" in ended.stderr


# --- amended inputs and outputs, imports ----------------------------------------------------------


def test_a_step_that_amends_what_is_not_built_yet_is_put_back_and_runs_again(project):
    project.write_script(
        "work.py", 'print("hello")\namend(inp="late.txt", out="work.out")\ncopied = open("late.txt").read()\n'
        'open("work.out", "w").write(copied)\n'
    )  # fmt: skip
    project.write_plan('static("work.py")\nrunsh("./work.py", inp="work.py")\n' + _late())
    result = project.boot("-n", "1")  # 50
    assert result.texts("RESCHEDULE") == ["runsh ./work.py"]
    page = result.page("Rescheduling due to unavailable amended inputs")
    assert page.splitlines() == ["Missing inputs and/or required directories:", "late.txt"]
    assert [page.text for page in result.pages if page.tag == "RESCHEDULE"][1:2] == ["hello"]
    assert result.ran == [PLAN, "runsh ./work.py", LATE, "runsh ./work.py"]
    assert project.read("work.out") == "late\n"
    assert not project.boot().texts("START", "SKIP")


def test_a_step_that_amends_what_nobody_builds_waits_and_is_not_tried_again(project):
    project.write_script("work.py", 'amend(inp="never.txt")\n')
    project.write_plan(
        'static("work.py")\nfrom stepup.core.api import runpy\nrunpy("./work.py", inp="work.py")'
    )
    result = project.boot(code=3)  # 51
    assert result.texts("RESCHEDULE") == [WORK]
    assert "(never.txt) [amended]" in project.read(".stepup/warning.log")
    assert WORK not in project.boot(code=3).ran


def test_an_amended_input_that_changes_upstream_runs_the_step_again(project):
    project.write_script("work.py", 'amend(inp="late.txt", out="work.out")\n'
                         'open("work.out", "w").write(open("late.txt").read())\n')  # fmt: skip
    plan = 'static("work.py")\nrunsh("./work.py", inp="work.py")\n'
    project.write_plan(plan + _late())
    project.boot()
    project.write_plan(plan + _late("later"))
    project.boot()  # 52
    assert project.read("work.out") == "later\n"


def test_an_amended_output_that_is_deleted_is_made_again(project):
    project.write_script("work.py", 'amend(out="work.out")\nopen("work.out", "w").write("made")\n')
    project.write_plan('static("work.py")\nrunsh("./work.py", inp="work.py")')
    project.boot()
    (project.root / "work.out").unlink()
    result = project.boot()  # 53
    assert result.texts("DELETED") == ["work.out"]
    assert result.ran == ["runsh ./work.py"]
    assert project.read("work.out") == "made"


def test_a_script_with_an_import_that_nobody_declares_ends_and_waits(project):
    project.write("helper.py", "value = 1\n")
    project.write_script("work.py", 'import helper\nprint("to the end")\n')
    plan = 'static("work.py"{})\nfrom stepup.core.api import runpy\nrunpy("./work.py", inp="work.py")'
    project.write_plan(plan.format(""))
    result = project.boot(code=3)  # 54
    assert result.texts("RESCHEDULE") == [WORK]
    assert "helper.py" in result.page("Rescheduling due to unavailable amended inputs")
    assert "to the end" in result.page("Standard output")
    project.write_plan(plan.format(', "helper.py"'))
    assert WORK in project.boot().texts("SUCCESS")


def _late(word="late"):
    return f'runsh("echo {word} > late.txt", out="late.txt")\n'


# --- optional and blocked steps -------------------------------------------------------------------


def test_an_optional_step_runs_when_it_has_a_consumer_and_is_cleaned_when_it_has_none(project):
    optional = 'runsh("echo a > a.txt", out="a.txt", optional=True)\n'
    project.write_plan(optional)
    result = project.boot()  # 55
    assert result.ran == [PLAN]
    assert "        1/1 |      PHASE" not in result.stdout
    assert "        1/1 |   DIRECTOR │ See you!\n" in result.stdout
    project.write_plan(optional + 'copy("a.txt", "b.txt")')
    assert project.boot().ran == [PLAN, "runsh echo a > a.txt", "copy a.txt b.txt"]  # 56
    project.write_plan(optional)
    assert sorted(project.boot().texts("CLEAN")) == ["a.txt", "b.txt"]
    assert not project.has("a.txt")


def test_a_blocked_step_is_pending_with_all_that_depends_on_it(project):
    project.write_plan(
        'runsh("echo a > a.txt", out="a.txt", block=True)\ncopy("a.txt", "b.txt")\nrunsh("echo c")'
    )
    result = project.boot(code=3)  # 57
    assert "2 step(s) remained pending due to blocked steps" in result.texts("WARNING")
    log = project.read(".stepup/warning.log")
    blocked = log.partition(" Blocked steps ")[2].splitlines()
    assert blocked[1] == "step:runsh echo a > a.txt"
    assert blocked[2].startswith("───")
    assert "runsh echo c" in result.texts("SUCCESS")


# --- environment variables ------------------------------------------------------------------------


def test_a_variable_that_changes_or_goes_runs_the_steps_that_declare_it(project):
    project.write_plan('runsh("echo ${FOO} > foo.txt", env="FOO", out="foo.txt")\nrunsh("echo other")')
    project.environment["FOO"] = "1"
    project.boot()
    project.environment["FOO"] = "2"
    result = project.boot()  # 58; not as StepUp: values are nobody's business, and not in the line
    assert result.texts("UPDATED") == ["FOO"]
    assert result.ran == ["runsh echo ${FOO} > foo.txt"]
    assert project.read("foo.txt") == "2\n"
    del project.environment["FOO"]
    assert project.boot().ran == ["runsh echo ${FOO} > foo.txt"]
    assert not project.boot().ran


def test_a_variable_is_read_when_a_session_starts_and_at_no_other_time(project):
    project.environment["FOO"] = "1"
    project.write_plan(
        'import os\nos.environ["FOO"] = "2"\nrunsh("echo ${FOO} > foo.txt", env="FOO", out="foo.txt")'
    )
    project.boot()  # 59
    assert project.read("foo.txt") == "1\n"
    assert not project.boot().ran


# --- folders and globs ----------------------------------------------------------------------------


def test_folders_of_outputs_and_of_work_are_made(project):
    project.write_plan('runsh("echo a > new/a.txt", out="new/a.txt")\nrunsh("pwd", workdir="other")')
    project.boot()  # 61, not as StepUp: folders are not tracked (StepUp 4.0)
    assert project.read("new/a.txt") == "a\n"
    assert project.has("other")


def test_a_step_in_a_folder_that_another_step_makes_comes_after_it(project):
    project.write_plan('runsh("echo a > a.txt", out="a.txt", workdir="w")\nmkdir("w")')
    result = project.boot()  # 62
    assert set(result.texts("SUCCESS")) == {PLAN, "mkdir w/", "runsh echo a > a.txt  # wd=w/"}
    assert project.has("w/a.txt")


def test_a_file_that_comes_to_match_a_glob_runs_the_plan_and_its_new_step(project):
    _globbing(project)
    project.write("src/b.txt", "b")
    result = project.boot()  # 63
    assert result.texts("UPDATED") == ["src/b.txt"]
    assert result.ran == [PLAN, "copy src/b.txt b.out"]


def test_a_file_that_matches_a_glob_and_goes_runs_the_plan_and_cleans(project):
    project.write("src/b.txt", "b")
    _globbing(project)
    (project.root / "src/b.txt").unlink()
    result = project.boot()  # 64
    assert result.texts("DELETED") == ["src/b.txt"]
    assert result.ran == [PLAN]
    assert result.texts("CLEAN") == ["b.out"]
    assert not project.has("b.out")


def _globbing(project):
    project.write("src/a.txt", "a")
    project.write_plan(
        'static("src/")\nfor path in glob("src/*.txt"):\n    copy(path, path[4:-4] + ".out")\n'
    )
    project.boot()


# --- commands that go wrong -----------------------------------------------------------------------


def test_a_script_that_is_not_executable_or_has_no_shebang_fails_with_the_words_of_stepup(project):
    project.write("norights.sh", "#!/bin/sh\n")
    project.write("bare.sh", "echo hello\n").chmod(0o755)
    project.write_plan('static("norights.sh", "bare.sh")\nrunsh("./norights.sh")\nrunsh("./bare.sh")')
    result = project.boot(code=2)  # 65
    assert len(result.texts("FAIL")) == 2
    for name in ("norights.sh", "bare.sh"):
        assert f"Script does not start with a shebang: ./{name} (wd={project.root})" in result.stdout


def test_a_step_that_fails_says_how_it_ended(project):
    project.write_plan(
        """runsh("no-such-command-at-all")\nrunsh("sh -c 'kill -9 $PPID'")\nrunsh("exit 300")"""
    )
    result = project.boot("-n", "1", code=2)
    codes = [
        page.text.partition("Return code")[2].split()[0] for page in result.pages if page.title == "Step info"
    ]
    assert codes == ["127", "-9", "44"]  # 66, 67, 68
    assert "no-such-command-at-all" in result.page("Standard error")


def test_output_that_is_no_utf_8_does_no_harm(project):
    project.write_plan(r"""runsh("printf 'a\\377b\\n'")""")
    assert "b" in project.boot().page("Standard output")  # 69


def test_a_step_that_reads_its_input_finds_its_end(project):
    project.write_plan("""runsh("cat; echo over")""")
    assert project.boot().page("Standard output") == "over"  # 70


# --- ends and new beginnings ----------------------------------------------------------------------


def test_a_drained_session_ends_what_runs_starts_no_more_and_ends_with_3(project):
    _two_after_go(project)
    running = project.start()
    running.until("START", "runsh until test -e go; do sleep 0.02; done; echo 1 > one.txt")
    assert project.cli("drain").returncode == 0
    project.write("go")
    result = running.result()  # 73
    assert result.code == 3, result
    assert "Scheduler is put on hold. Not reporting pending steps." in result.texts("WARNING")
    assert project.has("one.txt") and not project.has("two.txt")
    assert project.boot().ran == ["runsh cat one.txt > two.txt"]


def _two_after_go(project):
    project.write_plan(
        'runsh("until test -e go; do sleep 0.02; done; echo 1 > one.txt", out="one.txt")\n'
        'runsh("cat one.txt > two.txt", inp="one.txt", out="two.txt")'
    )


def test_who_shuts_a_session_down_twice_stops_what_runs(project):
    _two_after_go(project)
    running = project.start()
    running.until("START", "runsh until test -e go; do sleep 0.02; done; echo 1 > one.txt")
    project.cli("shutdown")
    project.cli("shutdown")
    result = running.result()  # 74
    assert result.code == 2, result
    assert len(result.texts("FAIL")) == 1
    assert not project.has("one.txt")


def test_when_the_director_is_killed_the_running_step_runs_again_and_the_others_do_not(project):
    project.write_plan(
        'runsh("echo 0 > zero.txt", out="zero.txt")\n'
        'runsh("until test -e go; do sleep 0.02; done; cat zero.txt > one.txt", inp="zero.txt", out="one.txt")'
    )
    running = project.start("-n", "1")  # the plan has ended by then
    slow = "runsh until test -e go; do sleep 0.02; done; cat zero.txt > one.txt"
    running.until("START", slow)
    pid = int(project.read(".stepup/director.log").partition("PID ")[2].split()[0])
    os.kill(pid, signal.SIGKILL)
    assert running.result().code == 1
    project.write("go")
    # 75, and 76, not as StepUp: what a killed director leaves refuses nobody
    assert project.boot().ran == [slow]


def test_a_database_of_another_program_is_put_aside_and_one_that_is_removed_is_made_anew(project):
    project.write_plan('runsh("echo 0 > zero.txt", out="zero.txt")')
    project.boot()
    (project.root / ".stepup/graph.db").unlink()
    assert project.boot().ran == [PLAN, "runsh echo 0 > zero.txt"]  # 78
    assert project.read("zero.txt") == "0\n"
    (project.root / ".stepup/graph.db").unlink()
    with sqlite3.connect(project.root / ".stepup/graph.db") as database:
        database.execute("PRAGMA application_id = 768739001")
        database.execute("PRAGMA user_version = 3")
        database.execute("CREATE TABLE node (i INTEGER)")
    database.close()
    assert project.boot().ran == [PLAN, "runsh echo 0 > zero.txt"]  # 77: that of StepUp 3.0 itself


def test_a_static_file_that_is_edited_during_the_run_is_told_of_in_the_watch_and_run_then(project):
    project.write("a.txt", "one")
    project.write_plan(
        'static("a.txt")\ncopy("a.txt", "b.txt")\nrunsh("until test -e go; do sleep 0.02; done", inp="b.txt")'
    )
    running = project.start("-w")
    running.until("START", "runsh until test -e go; do sleep 0.02; done")
    project.write("a.txt", "two")
    project.write("go")
    running.until("UPDATED", "a.txt")  # 79
    assert project.read("b.txt") == "one"
    project.cli("run")
    project.cli("wait")
    assert project.read("b.txt") == "two"
    project.cli("join")
    result = running.result()
    assert result.code == 0, result
    lines = [line for line in result.lines if line in [("PHASE", "watch"), ("UPDATED", "a.txt")]]
    assert lines[:2] == [("PHASE", "watch"), ("UPDATED", "a.txt")]


def test_a_link_that_is_an_input_counts_by_what_it_leads_to(project):
    project.write("target.txt", "one")
    (project.root / "link.txt").symlink_to("target.txt")
    project.write_plan('static("link.txt")\nrunsh("cat link.txt > out.txt", inp="link.txt", out="out.txt")')
    project.boot()
    project.write("target.txt", "two")
    result = project.boot()  # 80
    assert result.texts("UPDATED") == ["link.txt"]
    assert project.read("out.txt") == "two"
