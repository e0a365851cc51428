"""What a boot prints, against the transcripts of StepUp 3.0.0: the order of tags, the layout of lines and pages.

Our lines lack what we have not (workers that are processes), and say less of what changed (values of variables
and digests are nobody's business).
"""

import signal

from plans.helpers_plan import PLAN

LATE = "runsh until test -e go; do sleep 0.02; done; echo X > late.txt"

READ = "runsh echo out; echo err >&2; echo part > f.txt; exit 7"


def test_a_first_run_and_one_without_changes_print_stepups_tags_in_its_order(project):
    project.write_plan("""
    pool("p", 2)
    # A and B only end when both run.
    for x, y in "AB", "BA":
        runsh(f"touch {x}; until test -e {y}; do sleep 0.02; done; echo {x}", vol=x, pool="p")
    runsh("echo C", pool="p")
    """)
    result = project.boot("-n", "4")  # transcript A
    a, b = (f"runsh touch {x}; until test -e {y}; do sleep 0.02; done; echo {x}" for x, y in ("AB", "BA"))
    assert [tag for tag, _ in result.lines[:4]] == ["DIRECTOR", "STARTUP", "PHASE", "START"]
    assert result.lines[1:4] == [
        ("STARTUP", "(Re)initialized boot script"),
        ("PHASE", "run"),
        ("START", PLAN),
    ]
    assert result.lines[-3:] == [
        ("DIRECTOR", "Trying to delete 0 outdated output(s)"),
        ("DIRECTOR", "Stopping workers"),
        ("DIRECTOR", "See you!"),
    ]
    assert result.ran == [PLAN, a, b, "runsh echo C"]
    assert sorted(result.texts("SUCCESS")) == sorted(result.ran)
    third = result.lines.index(("START", "runsh echo C"))
    assert third > min(result.lines.index(("SUCCESS", step)) for step in (a, b))
    assert result.stdout.endswith("        4/4 |   DIRECTOR │ See you!\n")
    result = project.boot("-n", "4")  # transcript B
    assert [tag for tag, _ in result.lines] == ["DIRECTOR", "STARTUP", "PHASE", *3 * ["DIRECTOR"]]
    assert result.texts("STARTUP") == ["Scanning initial database for changed files"]
    assert result.stdout.endswith("        4/4 |   DIRECTOR │ See you!\n")


def test_lines_and_pages_are_laid_out_as_stepup_does(project):
    project.write_plan("""
    runsh("echo 'A  '; echo; echo err >&2", workdir="sub")
    runsh("echo first", out="never.txt")
    """)
    result = project.boot("-n", "1", code=2)
    assert (
        "        2/2 |    SUCCESS │ runsh echo 'A  '; echo; echo err >&2  # wd=sub/\n"
        "─────────────────────────────── Standard output ────────────────────────────────\n"
        "A\n"
        "──────────────────────────────── Standard error ────────────────────────────────\n"
        "err\n"
        "────────────────────────────────────────────────────────────────────────────────\n"
    ) in result.stdout.replace("2/3", "2/2")
    assert (
        "       FAIL │ runsh echo first\n"
        "────────────────────────────────── Step info ───────────────────────────────────\n"
        "Command               echo first\n"
        "Return code           0\n"
        "Reason                ended with 0 but did not create 'never.txt'\n"
        "───────────────────────── Expected outputs not created ─────────────────────────\n"
        "never.txt\n"
        "─────────────────────────────── Standard output ────────────────────────────────\n"
        "first\n"
        "────────────────────────────────────────────────────────────────────────────────\n"
    ) in result.stdout
    for name, tag in (("success", "SUCCESS"), ("fail", "FAIL")):
        log = project.read(f".stepup/{name}.log")
        assert f"{tag:>10} │ " in log and set(log.splitlines()) <= set(result.stdout.splitlines())
    assert project.read(".stepup/director.log").startswith("SOCKET /")


def test_without_progress_a_line_begins_with_its_tag(project):
    project.write_plan("")
    result = project.boot("--no-progress")
    assert "\n     START │ runpy ./plan.py\n   SUCCESS │ runpy ./plan.py\n  DIRECTOR │ Try" in result.stdout


def test_a_failure_its_dependent_and_an_independent_step_print_stepups_tags(project):
    project.write_plan(f"""
    runsh("{READ[6:]}", out="f.txt")
    runsh("cat f.txt > g.txt", inp="f.txt", out="g.txt")
    runsh("echo fine")
    """)
    result = project.boot("-n", "1", code=2)  # transcript C
    assert result.lines[1:] == [
        ("STARTUP", "(Re)initialized boot script"),
        ("PHASE", "run"),
        ("START", PLAN),
        ("SUCCESS", PLAN),
        ("START", READ),
        ("FAIL", READ),
        ("START", "runsh echo fine"),
        ("SUCCESS", "runsh echo fine"),
        ("WARNING", "1 step(s) failed."),
        ("WARNING", "1 step(s) remained pending due to incomplete requirements"),
        ("WARNING", "Skipping file cleanup due to incomplete build"),
        ("WARNING", "Check logs: .stepup/fail.log .stepup/warning.log"),
        ("DIRECTOR", "Stopping workers"),
        ("DIRECTOR", "See you!"),
    ]
    titles = [page.title for page in result.pages if page.tag == "FAIL"]
    assert titles == ["Step info", "Standard output", "Standard error"]
    assert result.page("Root causes").splitlines()[1:] == ["    runsh cat f.txt > g.txt"]
    # As there, the step that failed is out of the total.
    assert f"        1/3 |       FAIL │ {READ}\n" in result.stdout


def test_an_input_that_goes_and_comes_back_prints_stepups_tags(project):
    project.write("a.txt", "1\n")
    project.write_plan('static("a.txt")\ncopy("a.txt", "b.txt")')
    project.boot()
    (project.root / "a.txt").unlink()
    start = ("STARTUP", "Scanning initial database for changed files")
    end = [("DIRECTOR", "Stopping workers"), ("DIRECTOR", "See you!")]
    result = project.boot(code=3)  # transcript D
    assert result.lines[1:] == [
        start,
        ("DELETED", "a.txt"),
        ("PHASE", "run"),
        ("WARNING", "1 step(s) remained pending due to incomplete requirements"),
        ("WARNING", "Skipping file cleanup due to incomplete build"),
        ("WARNING", "Check logs: .stepup/warning.log"),
        *end,
    ]
    project.write("a.txt", "1\n")
    result = project.boot()
    assert result.lines[1:] == [
        start,
        ("UPDATED", "a.txt"),
        ("PHASE", "run"),
        ("SKIP", "copy a.txt b.txt"),
        ("DIRECTOR", "Trying to delete 0 outdated output(s)"),
        *end,
    ]
    assert "        1/2 |      PHASE │ run\n        2/2 |       SKIP │ copy a.txt b.txt\n" in result.stdout


def test_an_amended_input_that_is_not_built_yet_prints_stepups_tags(project):
    project.write_script(
        "step.py",
        """
        print("hello")
        try:
            amend(inp="late.txt")
        finally:
            open("go", "w").close()
        print("got it")
        """,
    )
    project.write_plan(f"""
    static("step.py")
    runpy("./step.py", inp="step.py")
    runsh("{LATE[6:]}", out="late.txt")
    """)
    result = project.boot()  # transcript E
    step = "runpy ./step.py"
    assert [line for line in result.lines if line[1] == step] == [
        ("START", step),
        ("RESCHEDULE", step),
        ("START", step),
        ("SUCCESS", step),
    ]
    assert result.lines.index(("SUCCESS", LATE)) < len(result.lines) - result.lines[::-1].index(
        ("START", step)
    )
    assert [(page.title, page.text) for page in result.pages if page.tag == "RESCHEDULE"] == [
        (
            "Rescheduling due to unavailable amended inputs",
            "Missing inputs and/or required directories:\nlate.txt",
        ),
        ("Standard output", "hello"),
    ]
    assert result.lines[-3] == ("WARNING", "Check logs: .stepup/warning.log")
    assert [page.text for page in result.pages if page.tag == "SUCCESS"] == ["hello\ngot it"]


def test_a_boot_that_cannot_begin_or_is_told_to_end_says_so_by_its_exit_code(project):
    assert (project.cli("boot").returncode, project.has(".stepup")) == (1, False)
    assert project.cli("boot", "-n", "0").returncode == 64
    assert project.cli("boot", "--no-such-option").returncode == 64
    project.write_plan('runsh("sleep 1000")')
    session = project.start()
    session.until("START", "runsh sleep 1000")
    session.process.send_signal(signal.SIGTERM)
    assert session.result().code == 143
