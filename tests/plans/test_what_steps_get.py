"""What scripts and steps find: their folder, their variables, what the calls give them back."""

import pytest
from plans.helpers_plan import PLAN

SHOW = 'echo "$HERE $ROOT $STEPUP_ROOT ${STEPUP_STEP_I:+has} $PWD $GIVEN $(cat)"'


def test_a_step_knows_where_it_is_and_has_the_variables_of_who_booted(project):
    project.environment["GIVEN"] = "given"
    project.write("show.sh", f"#!/bin/sh\n{SHOW}\n").chmod(0o755)
    project.write_plan("""
    static("sub/", "sub/plan.py")
    runsh("./show.sh > top.txt", out="top.txt")
    runsh("../../show.sh > deep.txt", workdir="sub/deep/", out="deep.txt")
    plan("sub")
    """)
    project.write_plan(
        """
        import os
        print(os.environ["HERE"], os.environ["ROOT"], getenv("HERE"), os.getcwd())
        runsh("../show.sh > plan.txt", out="plan.txt")
        """,
        "sub",
    )
    result = project.boot()
    root = project.root
    assert project.read("top.txt") == f". . {root} has {root} given \n"
    assert project.read("sub/deep/deep.txt") == f"sub/deep ../.. {root} has {root}/sub/deep given \n"
    assert project.read("sub/plan.txt") == f"sub .. {root} has {root}/sub given \n"
    assert [page.text for page in result.pages] == [f"sub .. sub {root}/sub"]


def test_a_plan_gets_back_what_it_declared_and_placeholders_are_put_in(project):
    project.environment["NAME"] = "in"
    project.environment["UNUSED"] = "1"
    project.write("in put.txt", "1")
    project.write("b.txt", "1")
    project.write_plan("""
    static("${NAME} put.txt", "b.txt")
    info = runsh(
        "cat ${inp} > ${out}; echo $$ ${NOPE}$UNUSED > $vol",
        inp=["${NAME} put.txt", "./x/../b.txt"], out="out.txt", vol="v.txt", env=["UNUSED", "NAME"],
    )
    assert info.action == "runsh cat 'in put.txt' b.txt > out.txt; echo $$ ${NOPE}$UNUSED > v.txt", info
    assert (info.workdir, info.inp, info.out, info.vol) == ("./", ["b.txt", "in put.txt"], ["out.txt"], ["v.txt"])
    assert info.env == ["NAME", "UNUSED"]
    assert info.filter_inp("*.txt").files() == ("b.txt", "in put.txt")
    info = runsh("echo ${inp} ${out}", workdir="sub", inp="../b.txt")
    # Not as StepUp, where the list that was not given is an empty text.
    assert (info.action, info.workdir, info.inp) == ("runsh echo ../b.txt ${out}", "sub/", ["../b.txt"])
    assert copy("b.txt", "to/").action == "copy b.txt to/b.txt"
    assert mkdir("dir").out == ["dir/"]
    """)
    project.boot()
    assert project.read("out.txt") == "11"
    pid, unused = project.read("v.txt").split()
    assert pid.isdigit() and unused == "1"
    assert project.read("to/b.txt") == "1"
    # A variable in a path of the plan's is a dependency of the plan, one that a step names of the step.
    project.environment["UNUSED"] = "2"
    result = project.boot()
    assert result.texts("UPDATED") == ["UNUSED"]
    assert result.ran == [step for step in result.ran if step.startswith("runsh cat")] != []
    assert project.boot().ran == []


def test_a_plan_runs_again_when_a_variable_in_its_paths_changes(project):
    plan = 'static("${NAME}.txt")\nrunsh("cat ${inp}", inp="${NAME}.txt")'
    project.environment["NAME"] = "a"
    project.write("a.txt", "1")
    project.write("b.txt", "1")
    project.write_plan(plan)
    project.boot()
    project.environment["NAME"] = "b"
    result = project.boot()
    assert result.texts("UPDATED") == ["NAME"]
    assert result.ran == [PLAN, "runsh cat b.txt"]
    del project.environment["NAME"]
    result = project.boot(code=2)
    assert "Undefined shell variable: NAME" in result.page("Standard error")


@pytest.mark.parametrize(
    ("first", "mode"), [("#!/bin/sh\n", 0o644), ("import sys\n", 0o755)], ids=["no x bit", "no shebang"]
)
def test_a_script_that_cannot_be_run_fails_with_stepups_words(project, first, mode):
    for name in ("work.sh", "work.py"):
        project.write(name, first).chmod(mode)
    project.write_plan("""
    static("work.sh", "work.py")
    runsh("./work.sh", inp="work.sh")
    runpy("./work.py", inp="work.py")
    """)
    result = project.boot(code=2)
    assert sorted(result.texts("FAIL")) == ["runpy ./work.py", "runsh ./work.sh"]
    said = "\n".join(page.text for page in result.pages if page.title == "Step info")
    # Not as StepUp, which has it in the standard error of a process that there was not.
    for end in ("py", "sh"):
        assert said.count(f"Script does not start with a shebang: ./work.{end} (wd={project.root})") == 1
