"""A plan for StepUp: what it says, what it says otherwise, and what it names as not said."""

from __future__ import annotations

import ast
import shlex
from string import Template
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.core import export
from stepup_nb.core.declare import SCRIPT_SHELL, make_spec

ROOT = "/home/me/work"


def step(
    command: str,
    action: str = "runsh",
    *,
    after: tuple[str, ...] = (),
    read: tuple[str, ...] | None = None,
    cell: str = "",
    has_children: bool = False,
    key: str = "",
    **options: Any,
) -> export.Declared:
    spec = make_spec(action, command, options, root=ROOT, is_outside_allowed=True)
    return export.Declared(
        key=key or spec.base,
        spec=spec,
        read=spec.inp if read is None else read,
        after=after,
        cell=cell,
        has_children=has_children,
    )


def plan(*steps: export.Declared, version: int = 3, **more: Any) -> export.Plan:
    read = {path for one in steps for path in one.read}
    given = {"pools": {"test": 2}, "present": read, **more}
    project = export.Project(title="nb.ipynb", file="out.py", root=ROOT, steps=steps, **given)
    return export.plan(project, version)


def calls(found: export.Plan) -> list[str]:
    """Return the calls of a plan, one a line, as Python writes them."""
    return [ast.unparse(node) for node in ast.parse(found.text).body if isinstance(node, ast.Expr)]


def test_a_plan_for_stepup_3_declares_pools_files_and_folders_and_then_the_steps_by_cell():
    found = plan(
        step(
            "sort ${inp} > ${out}", inp="data/a.txt", out="out/a.txt", pool="test", cell="cell [2] 'runsh()'"
        ),
        step("wc -l out/a.txt", inp="out/a.txt", cell="cell [3] '%runsh'"),
        step("pwd", workdir="sub", cell="cell [3] '%runsh'"),
    )
    assert (
        found.text
        == """#!/usr/bin/env python3
# The steps of nb.ipynb as a plan for StepUp 3.
# Run it as plan.py: stepup boot -n 2

from stepup.core.api import mkdir, pool, runsh, static

pool("test", 2)

static("data/", "data/a.txt")

mkdir("out/")
mkdir("sub/")

# cell [2] 'runsh()'
runsh("sort data/a.txt > out/a.txt", inp=["data/a.txt"], out=["out/a.txt"], pool="test")

# cell [3] '%runsh'
runsh("wc -l out/a.txt", inp=["out/a.txt"])
runsh("pwd", workdir="sub/")
"""
    )
    assert found.warnings == []


def test_a_plan_for_stepup_4_has_no_folders_and_asks_for_resources():
    found = plan(
        step("sort a.txt > out/a.txt", inp="a.txt", out="out/a.txt", pool="mem:4", duration=2.5),
        step("true", block=True),
        version=4,
        pools={"mem": 8},
    )
    assert "# Run it as plan.py: STEPUP_BUILD_RESOURCES=mem:8 stepup build -j 2 -k\n" in found.text
    assert calls(found) == [
        "static('a.txt')",
        "run('sort a.txt > out/a.txt', shell=True, inp=['a.txt'], out=['out/a.txt'], "
        "resources='mem:4', duration=2.5)",
        "run('true', shell=True, resources='blocked')",
    ]
    assert found.warnings == []


@given(st.text())
def test_every_text_survives_as_python_source(text):
    assert ast.literal_eval(f"({export.literal(text)})") == text
    export.literal(text).encode()


@given(
    st.text(alphabet="$a{}inpout'\\ _") | st.sampled_from(["$$", "${inp}", "$out", "$$inp", "echo $$ $HOME"])
)
def test_stepup_3_makes_of_each_command_the_command_that_was_declared(command):
    # StepUp 3 puts the lists in as `string.Template` does, and halves every '$$'.
    said = export._escaped(command)
    assert Template(said).safe_substitute(inp="INP", out="OUT", vol="VOL") == command


def test_a_cell_is_run_by_its_shell_and_keeps_its_lines():
    (call,) = calls(plan(step("cd a\necho 'x' | cat", shell=SCRIPT_SHELL)))
    command = ast.literal_eval(ast.parse(call).body[0].value.args[0])  # type: ignore[attr-defined]
    assert shlex.split(command) == [*SCRIPT_SHELL, "cd a\necho 'x' | cat"]


@pytest.mark.parametrize("version", export.VERSIONS)
def test_equal_commands_become_different_ones_that_do_the_same(version):
    found = calls(
        plan(
            step("sleep 1"),
            step("sleep 1", key="runsh sleep 1 (2)"),
            step("sleep 1", name="third"),
            step("sleep 1", workdir="sub"),
            step("cat <<E\n1\nE"),
            step("cat <<E\n1\nE", name="other"),
            version=version,
        )
    )
    said = [ast.literal_eval(ast.parse(call).body[0].value.args[0]) for call in found]  # type: ignore[attr-defined]
    steps = [one for one in said if one != "sub/"]
    assert steps == [
        "sleep 1",
        "sleep 1  # 2",
        "sleep 1  # 3",
        "sleep 1",
        "cat <<E\n1\nE",
        "cat <<E\n1\nE\n# 2",
    ]


def test_in_stepup_3_pools_that_are_asked_for_together_become_one_that_allows_no_more():
    found = plan(
        step("a", pool={"mem": 3, "lic": 1}),
        step("b", pool="mem"),
        step("c", pool="test"),
        pools={"mem": 8, "lic": 4, "test": 2},
    )
    assert calls(found)[:2] == ["pool('lic_mem', 2)", "pool('test', 2)"]
    assert calls(found)[2:] == [
        "runsh('a', pool='lic_mem')",
        "runsh('b', pool='lic_mem')",
        "runsh('c', pool='test')",
    ]
    assert found.warnings == [
        "pool lic, mem: StepUp 3 gives a step one slot of one pool; in pool 'lic_mem' of 2 never more run than here, "
        "perhaps fewer"
    ]


def test_what_waits_for_a_closed_or_unknown_pool_is_blocked_and_an_unlimited_pool_is_none():
    found = plan(
        step("a", pool="shut"),
        step("b", pool="nope"),
        step("c", pool="free"),
        pools={"shut": 0, "free": None},
    )
    assert calls(found) == ["runsh('a', block=True)", "runsh('b', block=True)", "runsh('c')"]
    assert found.warnings == [
        "pool 'shut' is closed: its steps are blocked",
        "pool 'nope' is not defined: its steps are blocked",
    ]


def test_after_goes_by_way_of_an_output_and_is_named_where_there_is_none():
    found = plan(
        step("a > a.txt", out="a.txt", name="first"),
        step("b", after=("first",), name="second"),
        step("c", after=("second",), name="third"),
    )
    assert calls(found)[1:] == ["runsh('b', inp=['a.txt'])", "runsh('c')"]
    assert found.warnings == ["'third' comes after 'second', which has no output: the plan has no such order"]
    assert "# is to come after 'second', which no file says\n" in found.text


def test_options_that_stepup_has_not_are_named_once_for_all_their_steps():
    found = plan(step("a", retry=2), step("b", retry=1, timeout=3), version=4)
    assert found.warnings == [
        "--retry of 'runsh a', 'runsh b': StepUp 4 has no such option",
        "--timeout of 'runsh b': StepUp 4 has no such option",
    ]


def test_python_steps_have_what_they_import_as_inputs_where_stepup_does_not_look():
    script = step("./make.py 1", "runpy", inp="make.py", read=("helper.py", "make.py"))
    plain = step("make.py 2", "runpy", inp="make.py", read=("helper.py", "make.py"))
    cell = step("import helper\n", "runpy", shell=("python", "-c"), read=("helper.py",))
    assert calls(plan(script, plain, cell)) == [
        "static('helper.py', 'make.py')",
        "runpy('./make.py 1', inp=['make.py'])",
        "runsh('python3 make.py 2', inp=['helper.py', 'make.py'])",
        "runsh(\"python3 -c 'import helper'\", inp=['helper.py'])",
    ]
    assert calls(plan(script, version=4))[1] == "run('./make.py 1', inp=['make.py'])"


def test_a_plan_in_a_folder_is_referred_to_and_one_of_the_root_is_left_out():
    sub = step("./plan.py", "runpy", workdir="sub", inp="plan.py", has_children=True)
    assert calls(plan(sub, elsewhere={"sub/data.txt"})) == ["static('sub/', 'sub/plan.py')", "plan('sub/')"]
    assert calls(plan(sub, version=4))[-1] == "plan('./plan.py', inp=['plan.py'], workdir='sub/')"
    top = step("./plan.py", "runpy", inp="plan.py", has_children=True)
    found = plan(top, step("true"))
    assert calls(found) == ["runsh('true')"]
    assert 'by runpy("./out.py", inp="out.py")' in found.warnings[0]


def test_a_name_that_stepup_cannot_take_is_left_out_and_named():
    found = plan(step("true", inp="a$b.txt"), step("true", inp="c[1].txt"), version=4)
    assert calls(found)[0] == "static('c[[]1].txt')"
    assert found.warnings == [
        "'a$b.txt' has a '$' in its name, which StepUp reads as a variable: the plan leaves it out"
    ]


def test_a_folder_is_made_once_and_by_the_step_that_makes_it():
    folder = make_spec("mkdir", "out", {"out": "out/"}, root=ROOT, has_folders=True)
    steps = (export.Declared(key="mkdir out", spec=folder, read=()), step("date > out/a", out="out/a"))
    assert calls(plan(*steps)) == ["mkdir('out/')", "runsh('date > out/a', out=['out/a'])"]
    assert calls(plan(*steps, version=4))[0] == "run('mkdir -p -- out', shell=True)"


def test_what_lies_beside_the_project_goes_with_it_and_what_lies_elsewhere_is_named():
    found = plan(step("true", inp=["../../data/a.txt", "/usr/share/b.txt"], workdir="sub"))
    assert calls(found) == [
        "static('../data/', '../data/a.txt', '/usr/', '/usr/share/', '/usr/share/b.txt')",
        "mkdir('sub/')",
        "runsh('true', inp=['../../data/a.txt', '/usr/share/b.txt'], workdir='sub/')",
    ]
    assert len(found.warnings) == 2


def test_nothing_of_a_stranger_s_text_gets_out_of_a_comment_or_a_string():
    evil = "x\n\u2028import os; os.abort()  \u202e"
    found = plan(step(f"echo '{evil}'", name="n", cell=f"cell [1] '{evil}'"))
    assert len(ast.parse(found.text).body) == 2
    assert "\u202e" not in found.text
    assert "\u2028" not in found.text
