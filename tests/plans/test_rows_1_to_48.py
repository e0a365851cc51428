"""Rows 1 to 48 of the table of StepUp 3.0.0's behaviour, each as a plan that is booted.

A number in a comment is that of the row. "Not as StepUp" marks a row where we differ on purpose; ARCHITECTURE.md
says why.
"""

import os
import shutil

import pytest
from plans.helpers_plan import PLAN

ABC = """
static("in.txt")
runsh("cat in.txt > a.txt", inp="in.txt", out="a.txt")
runsh("wc -c < a.txt > b.txt", inp="a.txt", out="b.txt")
runsh("echo fine")
"""
"""A chain of two steps, and a step of its own."""

A, B, FINE = "runsh cat in.txt > a.txt", "runsh wc -c < a.txt > b.txt", "runsh echo fine"


@pytest.fixture
def abc(project):
    """A project whose chain was built."""
    project.write("in.txt", "one\n")
    project.write_plan(ABC)
    assert set(project.boot().ran) == {PLAN, A, B, FINE}
    return project


def failed_plan(project, *words, also=()):
    """Boot a plan that is refused, and return what it said; the words are in its standard error."""
    result = project.boot(code=2)
    assert result.texts("FAIL") == [PLAN]
    (said,) = [page.text for page in result.pages if page.tag == "FAIL" and page.title == "Standard error"]
    for word in words:
        assert word in said
    assert result.texts("SUCCESS") == list(also)
    return result


# --- nothing changed, or only what does not count -------------------------------------------------


def test_an_unchanged_plan_and_touched_files_start_nothing_and_skip_nothing(abc):
    for path in ("a.txt", "in.txt"):
        os.utime(abc.root / path, (1, 1))  # 5 and 7: outputs and inputs that were only touched
    for result in (abc.boot(), abc.boot()):  # 1
        assert not result.texts("START", "SKIP", "SUCCESS", "UPDATED", "DELETED", "WARNING")
        assert ("PHASE", "run") in result.lines
        assert "        4/4 |      PHASE │ run\n" in result.stdout
        assert ("DIRECTOR", "Trying to delete 0 outdated output(s)") in result.lines


def test_another_size_of_a_pool_runs_the_plan_alone(project):
    plan = 'pool("p", {})\nfor x in "ab":\n    runsh(f"echo {{x}}", pool="p")\n'
    project.write_plan(plan.format(1))
    project.boot()
    project.write_plan(plan.format(2))
    result = project.boot()  # 2
    assert result.texts("UPDATED")[0].startswith("plan.py")
    assert result.texts("START", "SKIP") == [PLAN]
    # 40: another pool runs nothing either
    project.write_plan('pool("p", 2)\npool("q", 1)\nfor x in "ab":\n    runsh(f"echo {x}", pool="q")\n')
    assert project.boot().texts("START", "SKIP") == [PLAN]


def test_a_folder_does_not_count_by_its_mode_or_its_content(project):
    project.write("d/x.txt", "x")
    project.write_plan('static("d/")\nrunsh("ls d > out.txt", inp="d/", out="out.txt")')
    project.boot()
    (project.root / "d/new.txt").touch()  # 40d
    # 10, not as StepUp: the project's folder is no input
    project.root.chmod(0o750)
    assert not project.boot().texts("START", "SKIP", "UPDATED")


# --- inputs and outputs that are changed between runs ---------------------------------------------


def test_an_output_that_is_gone_is_made_again_and_why_is_told_if_that_is_asked(abc):
    (abc.root / "a.txt").unlink()
    result = abc.boot("-e")  # 3
    assert result.texts("DELETED") == ["a.txt"]
    assert result.ran == [A]
    assert result.lines.index(("NOSKIP", A)) < result.lines.index(("START", A))
    assert "output 'a.txt' is missing" in result.page("Changes causing rerun")
    assert result.texts("SKIP") == [B]
    (abc.root / "a.txt").unlink()
    assert not abc.boot().texts("NOSKIP", "DROPAMEND")


def test_an_output_that_the_user_edits_is_made_again_and_the_edit_is_lost(abc):
    abc.write("a.txt", "mine\n")
    result = abc.boot()  # 4
    assert result.texts("UPDATED") == ["a.txt"]
    assert result.ran == [A]
    assert abc.read("a.txt") == "one\n"


def test_another_mode_of_an_output_or_an_input_runs_what_it_concerns(abc):
    (abc.root / "b.txt").chmod(0o600)
    result = abc.boot()  # 6
    assert (result.texts("UPDATED"), result.ran) == (["b.txt"], [B])
    assert (abc.root / "b.txt").stat().st_mode & 0o777 == 0o600
    (abc.root / "in.txt").chmod(0o600)
    result = abc.boot()  # 8
    assert (result.texts("UPDATED"), result.ran, result.texts("SKIP")) == (["in.txt"], [A], [B])


def test_an_input_that_is_edited_runs_its_readers_and_skips_what_proves_equal(abc):
    abc.write("in.txt", "two\n")
    result = abc.boot()  # 9
    assert result.texts("UPDATED") == ["in.txt"]
    assert (result.ran, result.texts("SKIP")) == ([A, B], [])
    assert abc.boot().ran == []
    abc.write("in.txt", "a longer one\n")
    assert abc.boot().ran == [A, B]


def test_a_consumer_of_an_equal_output_is_skipped(project):
    project.write("in.txt", "one\n")
    project.write_plan("""
    static("in.txt")
    runsh("wc -l < in.txt > n.txt", inp="in.txt", out="n.txt")
    runsh("cat n.txt", inp="n.txt")
    """)
    project.boot()
    project.write("in.txt", "two\n")
    result = project.boot()  # 9
    assert result.ran == ["runsh wc -l < in.txt > n.txt"]
    assert result.texts("SKIP") == ["runsh cat n.txt"]


def test_a_static_file_that_goes_is_missed_and_one_that_comes_back_equal_skips(abc):
    (abc.root / "in.txt").unlink()
    result = abc.boot(code=3)  # 14
    assert result.texts("DELETED") == ["in.txt"]
    assert result.ran == []
    assert "'in.txt' is missing" in result.page("Root causes")
    assert abc.has("a.txt")
    abc.write("in.txt", "one\n")
    result = abc.boot()  # 15
    assert result.texts("UPDATED") == ["in.txt"]
    assert (result.ran, result.texts("SKIP")) == ([], [A, B])


# --- inputs that nobody declares ------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [False, True])
def test_an_input_that_nobody_declares_keeps_its_step_waiting(project, is_there):
    if is_there:
        project.write("a.txt", "1")  # 12; without it 11
    project.write_plan('runsh("cat a.txt > b.txt", inp="a.txt", out="b.txt")')
    result = project.boot(code=3)
    assert result.ran == [PLAN]
    assert "'a.txt' is not declared" in result.page("Root causes")
    assert "runsh cat a.txt > b.txt" in result.page("Root causes")
    assert "1 step(s) remained pending due to incomplete requirements" in result.texts("WARNING")
    assert "Skipping file cleanup due to incomplete build" in result.texts("WARNING")


def test_a_folder_that_is_named_without_its_slash_is_an_input_that_nobody_declares(project):
    project.write("d/x.txt")
    project.write_plan('static("d/")\nrunsh("ls d", inp="d")')
    result = project.boot(code=3)  # 40e
    assert result.ran == [PLAN]
    assert "'d'" in result.page("Root causes")


def test_a_static_file_must_be_there(project):
    project.write_plan('static("ghost.txt")')
    failed_plan(project, "Path does not exist: ghost.txt")  # 13


# --- inputs that change while steps run -----------------------------------------------------------


def test_a_step_that_changes_its_own_input_is_put_back_twice_and_then_fails(project):
    # 16, not as StepUp: it fails at once there, and everything is drained
    project.write("a.txt", "1\n")
    project.write_plan("""
    static("a.txt")
    runsh("echo 2 >> a.txt", inp="a.txt")
    runsh("echo fine")
    """)
    result = project.boot(code=2)
    step = "runsh echo 2 >> a.txt"
    assert result.ran.count(step) == 3
    assert result.texts("RESCHEDULE") == [step, step]
    assert result.texts("FAIL") == [step]
    assert result.page("Invalid inputs") == "Input changed unexpectedly: a.txt"
    assert FINE in result.texts("SUCCESS")
    assert not result.texts("ERROR")


def test_an_input_that_is_written_anew_with_equal_content_is_a_change_as_well(project):
    # 19, not as StepUp: between two looks it may have been anything
    project.write("a.txt", "1\n")
    project.write_plan('static("a.txt")\nrunsh("echo 1 > a.txt", inp="a.txt")')
    result = project.boot(code=2)
    assert result.texts("FAIL") == ["runsh echo 1 > a.txt"]


def test_an_input_that_changes_before_its_reader_starts_is_read_as_it_is_then(project):
    # 17, not as StepUp: the step fails there without a start
    project.write("a.txt", "1\n")
    project.write_plan("""
    static("a.txt")
    runsh("echo 2 > a.txt")
    runsh("cat a.txt > b.txt", inp="a.txt", out="b.txt")
    """)
    project.boot("-n", "1")
    assert project.read("b.txt") == "2\n"
    assert project.boot().ran == []


def test_an_input_that_goes_before_its_reader_starts_keeps_it_waiting(project):
    # 18, not as StepUp: the step fails there without a start
    project.write("a.txt", "1\n")
    project.write_plan("""
    static("a.txt")
    runsh("rm a.txt")
    runsh("cat a.txt", inp="a.txt")
    """)
    result = project.boot("-n", "1", code=3)
    assert result.ran == [PLAN, "runsh rm a.txt"]
    assert "'a.txt' is missing" in result.page("Root causes")


# --- failures -------------------------------------------------------------------------------------


def test_a_step_that_fails_stops_only_what_depends_on_it_and_runs_again_the_next_time(project):
    project.write_plan("""
    runsh("echo part > f.txt; exit 7", out="f.txt")
    runsh("cat f.txt > g.txt", inp="f.txt", out="g.txt")
    runsh("echo fine")
    """)
    result = project.boot(code=2)  # 20
    assert result.texts("FAIL") == ["runsh echo part > f.txt; exit 7"]
    assert set(result.texts("SUCCESS")) == {PLAN, FINE}
    assert result.texts("WARNING") == [
        "1 step(s) failed.",
        "1 step(s) remained pending due to incomplete requirements",
        "Skipping file cleanup due to incomplete build",
        "Check logs: .stepup/fail.log .stepup/warning.log",
    ]
    assert project.read("f.txt") == "part\n" and not project.has("g.txt")
    assert project.boot(code=2).ran == ["runsh echo part > f.txt; exit 7"]  # 21


def test_a_step_that_failed_runs_again_when_a_watching_session_is_told_to_run(project):
    project.write_plan('runsh("test -e marker || exit 7")')
    session = project.start("-w")
    session.until("PHASE", "watch")
    for _ in range(2):  # 22
        assert project.cli("run").returncode == 0
        session.until("FAIL", "runsh test -e marker || exit 7")
        session.until("PHASE", "watch")
    project.write("marker")
    project.cli("run")
    session.until("SUCCESS", "runsh test -e marker || exit 7")
    assert project.cli("join").returncode == 0
    assert session.result().code == 0


def test_an_output_that_is_not_made_is_a_failure_and_one_that_was_there_is_none(project):
    project.write("stale.txt", "old")
    project.write_plan("""
    runsh("true", out=["b.txt", "a.txt"])
    runsh("echo fine", out="stale.txt", vol="never.txt")
    """)
    result = project.boot(code=2)
    assert result.texts("FAIL") == ["runsh true"]  # 23
    infos = {page.tag: page.text for page in result.pages if page.title == "Step info"}
    assert "Return code           0" in infos["FAIL"].splitlines()
    assert result.page("Expected outputs not created") == "a.txt\nb.txt"
    assert FINE in result.texts("SUCCESS")  # 24, and a volatile that is not made: 25
    assert "'stale.txt' is older than this run, which did not write it" in infos["SUCCESS"]


def test_a_volatile_that_is_deleted_or_edited_is_nothing(project):
    project.write_plan('runsh("echo 1 > v.txt; echo 1 > w.txt", vol=["v.txt", "w.txt"])')
    project.boot()
    (project.root / "v.txt").unlink()
    project.write("w.txt", "mine")
    assert not project.boot().texts("START", "SKIP", "UPDATED", "DELETED")  # 26


# --- what the graph does not allow ----------------------------------------------------------------

ONE = "runsh echo 1 > x.txt"


@pytest.mark.parametrize(
    ("plan", "words", "also"),
    [
        # 27
        (
            'runsh("echo 1 > v.txt", vol="v.txt")\nrunsh("cat v.txt", inp="v.txt")',
            "Input is volatile: v.txt",
            ["runsh echo 1 > v.txt"],
        ),
        # 28
        (
            'runsh("echo 1 > x.txt", out="x.txt")\nrunsh("echo 2 > x.txt", out="x.txt")',
            "Node (file:x.txt) already exists and is not orphan.",
            [ONE],
        ),
        # 29, in either order
        (
            'static("x.txt")\nrunsh("echo 1 > x.txt", out="x.txt")',
            "Node (file:x.txt) already exists and is not orphan.",
            [],
        ),
        (
            'runsh("echo 1 > x.txt", out="x.txt")\nstatic("x.txt")',
            "Node (file:x.txt) already exists and is not orphan.",
            [ONE],
        ),
        # 31, identical or with other outputs
        (
            'runsh("echo 1 > x.txt")\nrunsh("echo 1 > x.txt")',
            f"Node (step:{ONE}) already exists and is not orphan.",
            [ONE],
        ),
        (
            'runsh("echo 1 > x.txt", out="x.txt")\nrunsh("echo 1 > x.txt", vol="y.txt")',
            f"Node (step:{ONE}) already exists and is not orphan.",
            [ONE],
        ),
        # 33
        (
            'runsh("cp b a", inp="b", out="a")\nrunsh("cp a b", inp="a", out="b")',
            "CyclicError",
            [],
        ),
        # 34
        ('runsh("cat x.txt", inp="x.txt", out="x.txt")', "CyclicError", []),
    ],
)
def test_a_plan_that_declares_what_cannot_be_fails(project, plan, words, also):
    project.write("x.txt")
    project.write_plan(plan)
    failed_plan(project, words, also=also)


REFUSED = """
from stepup.core.exceptions import *

def said(kind, call):
    try:
        call()
    except kind as error:
        return str(error).splitlines()[0]

assert "Directory without trailing separator: d" in said(ValueError, lambda: static("d"))
assert "Path does not exist: a.txt/" in said(ValueError, lambda: static("a.txt/"))
assert "Undefined shell variable: NOPE" in said(ValueError, lambda: static("${NOPE}.txt"))
assert "invalid shell variable identifiers" in said(ValueError, lambda: static("$.txt"))
assert said(ValueError, lambda: glob())
assert said(ValueError, lambda: glob("${*_x}", _x="*"))
assert said(ValueError, lambda: glob("*.txt", _required=True, _defer=True))
assert said(FileNotFoundError, lambda: glob("*.zzz", _required=True))
assert "A volatile output cannot be a directory." in said(GraphError, lambda: runsh("x", vol="new/"))
assert "A volatile output cannot be a directory." in said(GraphError, lambda: amend(vol="new/"))
assert "must be static: ./" in said(GraphError, lambda: runsh("x", out="./"))
assert "must be static: /" in said(GraphError, lambda: runsh("x", out="../"))
assert "Do not provide a workdir comment" in said(RPCError, lambda: runsh("x  # wd=d/"))
assert said(TypeError, lambda: runsh("x", "a.txt"))
assert "cyclic dependency" in said(CyclicError, lambda: (amend(out="own.txt"), amend(inp="own.txt")))
open("own.txt", "w").close()
"""


def test_a_plan_can_catch_what_a_call_refuses_and_nothing_is_left_of_the_call(project):
    # Part 2.2 of the facts.
    project.write("d/a.txt")
    project.write("a.txt")
    project.write_plan(REFUSED)
    assert project.boot().ran == [PLAN]


def test_a_file_may_be_called_static_twice(project):
    # 30, not as StepUp 3.0 but as StepUp 4
    project.write("a.txt")
    project.write_plan('static("a.txt", "a.txt")\nstatic("a.txt")\nrunsh("cat a.txt", inp="a.txt")')
    assert project.boot().ran == [PLAN, "runsh cat a.txt"]


def test_one_command_in_two_folders_is_two_steps(project):
    project.write_plan('mkdir("one")\nmkdir("two")\nfor x in "one", "two":\n    runsh("pwd", workdir=x)')
    result = project.boot()  # 32
    assert {"runsh pwd  # wd=one/", "runsh pwd  # wd=two/"} < set(result.ran)


# --- pools ----------------------------------------------------------------------------------------


def test_a_step_of_a_pool_that_nobody_defines_waits_and_says_so(project):
    # 35 is a defect of StepUp's: its director dies
    project.write_plan('pool("test", 1)\nrunsh("echo fine", pool="tset")')
    result = project.boot(code=3)
    assert "pool 'tset' is not defined; did you mean 'test'?" in result.page("Root causes")
    project.write_plan('runsh("echo fine", pool="tset")\npool("tset", 1)')
    assert FINE in project.boot().ran


def test_a_pool_of_two_sizes_fails_the_plan_that_comes_second(project):
    project.write_plan('pool("p", 1)\npool("p", 2)')
    failed_plan(project, "SNB-503")  # 36
    project.write_plan('pool("p", 1)\nstatic("sub/", "sub/plan.py")\nplan("sub")')
    project.write_plan('pool("p", 2)', "sub")
    result = project.boot(code=2)
    (failed,) = result.texts("FAIL")
    assert failed in (PLAN, "runpy ./plan.py  # wd=sub/")
    assert "SNB-503" in result.page("Standard error")
    # Also where the other plan is up to date, whichever comes first.
    project.write_plan('static("sub/", "sub/plan.py")\nplan("sub")')
    project.boot()
    for plan in ('{}\nplan("sub")', 'plan("sub")\n{}'):
        project.write_plan('static("sub/", "sub/plan.py")\n' + plan.format('pool("p", 1)'))
        result = project.boot(code=2)
        assert result.texts("FAIL") and "SNB-503" in result.page("Standard error")


def test_a_plan_that_is_gone_has_no_say_in_the_size_of_a_pool(project):
    # 37 is a defect of StepUp's
    project.write_plan('pool("p", 2)\nrunsh("echo sub", pool="p")', "sub")
    project.write_plan('static("sub/", "sub/plan.py")\nplan("sub")')
    project.boot()
    project.write_plan('pool("p", 1)\nrunsh("echo fine", pool="p")')
    assert project.boot().ran == [PLAN, FINE]


def test_a_pool_of_no_slots_is_closed_and_other_sizes_fail_the_plan(project):
    # 38 is a defect of StepUp's: its director dies
    project.write_plan('pool("p", 0)\nrunsh("echo fine", pool="p")')
    result = project.boot(code=3)
    assert result.ran == [PLAN]
    assert "pool 'p' is closed" in result.page("Root causes")
    for size in ("-1", '"x"', "1.5"):
        project.write_plan(f'pool("p", {size})')
        failed_plan(project, "SNB-111")


def test_a_pool_that_is_defined_no_longer_keeps_its_size(project):
    # 39 is a defect of StepUp's: a later start crashes
    project.write_plan('pool("p", 1)\nrunsh("echo fine", pool="p", env="X")')
    project.boot()
    project.write_plan('runsh("echo fine", pool="p", env="X")')
    assert project.boot().ran == [PLAN]
    project.environment["X"] = "1"
    assert project.boot().ran == [FINE]


# --- what a plan says otherwise than before -------------------------------------------------------


def test_a_step_that_is_done_may_be_blocked_until_something_outdates_it(project):
    plan = 'static("in.txt")\nrunsh("cat in.txt > a.txt", inp="in.txt", out="a.txt"{})'
    project.write("in.txt", "1")
    project.write_plan(plan.format(""))
    project.boot()
    project.write_plan(plan.format(", block=True"))
    result = project.boot()  # 40b
    assert (result.texts("START", "SKIP"), result.texts("WARNING")) == ([PLAN], [])
    project.write("in.txt", "2")
    result = project.boot(code=3)
    assert result.ran == []
    assert "1 step(s) remained pending due to blocked steps" in result.texts("WARNING")


def test_the_output_of_a_step_that_becomes_an_option_is_removed_and_made_again_when_it_is_none(project):
    plan = 'runsh("echo 1 > a.txt", out="a.txt"{})'
    project.write_plan(plan.format(""))
    project.boot()
    project.write_plan(plan.format(", optional=True"))
    result = project.boot()  # 40c
    assert (result.ran, result.texts("CLEAN"), project.has("a.txt")) == ([PLAN], ["a.txt"], False)
    project.write_plan(plan.format(""))
    assert project.boot().ran == [PLAN, "runsh echo 1 > a.txt"]


def test_a_plan_may_set_variables_for_its_own_paths_but_not_for_its_steps(project):
    project.write_plan("""
    import os
    os.environ["X"] = "name"
    runsh("echo -$X- > ${out}", out="${X}.txt")
    """)
    project.boot()  # 40f
    assert project.read("name.txt") == "--\n"
    assert not project.boot().texts("START", "UPDATED")


def test_a_path_with_root_or_here_in_it_runs_no_plan_without_cause(project):
    # 40g is a defect of StepUp's
    project.write("a.txt", "1")
    project.write("sub/b.txt", "1")
    project.write_plan("""
    static("${ROOT}/a.txt", "sub/", "sub/plan.py", "sub/b.txt")
    plan("sub")
    runsh("cat ${inp}", inp="${ROOT}/a.txt")
    """)
    project.write_plan('runsh("cat ${inp}", inp=["${ROOT}/${HERE}/b.txt", "${ROOT}/a.txt"])', "sub")
    project.boot()
    assert not project.boot().texts("START", "SKIP", "UPDATED")
    project.write("a.txt", "2")
    assert set(project.boot("-e").ran) == {"runsh cat a.txt", "runsh cat ../sub/b.txt ../a.txt  # wd=sub/"}


def test_one_more_volatile_is_skipped_and_one_more_output_input_or_variable_is_run(project):
    step = "runsh cat in.txt > a.txt; cp a.txt b.txt"
    plan = f'static("in.txt", "x.txt")\nrunsh("{step[6:]}", inp="in.txt", out="a.txt"{{}})'
    project.write("in.txt", "1")
    project.write("x.txt", "1")
    project.write_plan(plan.format(""))
    project.boot()
    project.write_plan(plan.format(', vol="b.txt"'))
    result = project.boot()  # 41
    assert (result.ran, result.texts("SKIP")) == ([PLAN], [step])
    project.write_plan(plan.format("").replace('out="a.txt"', 'out=["a.txt", "b.txt"]'))
    result = project.boot()
    assert result.ran == [PLAN, step], result  # 42
    project.write_plan(plan.format("").replace('inp="in.txt"', 'inp=["in.txt", "x.txt"]'))
    result = project.boot()
    assert result.ran == [PLAN, step], result  # 43
    project.write_plan(plan.format(', env="X"').replace('inp="in.txt"', 'inp=["in.txt", "x.txt"]'))
    result = project.boot("-e")
    assert result.ran == [PLAN, step], result
    assert "environment variable X is newly declared" in [page.text for page in result.pages]


def test_another_command_is_another_step_and_takes_the_output_over(project):
    project.write_plan('runsh("echo 1 > a.txt; echo 1 > old.txt", out=["a.txt", "old.txt"])')
    project.boot()
    project.write_plan('runsh("echo 2 > a.txt", out="a.txt")')
    result = project.boot()  # 44
    assert result.ran == [PLAN, "runsh echo 2 > a.txt"]
    assert result.texts("CLEAN") == ["old.txt"]
    assert project.read("a.txt") == "2\n"
    assert project.cli("status").stdout.count("echo 1") == 0


def test_what_a_removed_step_has_made_is_removed_after_full_success(project):
    project.write_plan("""
    mkdir("d")
    mkdir("e")
    runsh("echo 1 > d/a.txt; echo 1 > d/v.txt", inp="d/", out="d/a.txt", vol="d/v.txt")
    runsh("echo 1 > e/b.txt; echo 1 > e/w.txt", inp="e/", out="e/b.txt", vol="e/w.txt")
    """)
    project.boot()
    project.write("e/b.txt", "mine")  # 46
    project.write("e/w.txt", "mine")
    project.write_plan('runsh("exit 1")')
    result = project.boot(code=2)  # 47
    assert result.texts("CLEAN") == [] and project.has("d/a.txt")
    project.write_plan("")
    result = project.boot("--no-clean")  # 48
    assert result.texts("CLEAN") == [] and project.has("d/a.txt")
    assert "Skipping file cleanup at user's request (--no-clean)" in result.texts("WARNING")
    result = project.boot()  # 45
    assert result.texts("CLEAN") == ["d/v.txt", "d/a.txt", "d/"]
    # What the user edited stays, and is forgotten. Not as StepUp, where an edited volatile goes.
    assert (project.read("e/b.txt"), project.read("e/w.txt")) == ("mine", "mine")
    assert "Trying to delete 0 outdated output(s)" in project.boot().texts("DIRECTOR")


def test_a_step_that_a_failed_plan_did_not_get_to_runs_if_its_input_was_made_anew_meanwhile(project):
    # 49, and what comes of it
    plan = """
    static("in.txt")
    runsh("cat in.txt > a.txt", inp="in.txt", out="a.txt")
    {}
    runsh("cat a.txt > b.txt", inp="a.txt", out="b.txt")
    """
    project.write("in.txt", "1")
    project.write_plan(plan.format(""))
    project.boot()
    project.write("in.txt", "2")
    project.write_plan(plan.format("raise SystemExit(1)"))
    assert A in project.boot(code=2).ran
    project.write_plan(plan.format(""))
    assert project.boot().ran == [PLAN, "runsh cat a.txt > b.txt"]
    assert project.read("b.txt") == "2"


def test_without_its_database_everything_runs_again(abc):
    shutil.rmtree(abc.root / ".stepup")
    assert set(abc.boot().ran) == {PLAN, A, B, FINE}
