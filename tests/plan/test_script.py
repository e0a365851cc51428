"""The script protocol. The lines are those that StepUp 3.0.0 sent for the same scripts."""

import json
import sys

import pytest

from stepup_nb.plan.script import driver, script


@pytest.mark.parametrize(
    ("executable", "options", "line"),
    [
        ("x.py", {}, "runpy ./x.py plan inp=['x.py']"),
        ("sub/x", {"inp": "a"}, "runsh ./sub/x plan inp=['a', 'sub/x']"),
        (
            "a b.py",
            {"step_info": "i n.json", "out": ["b"], "workdir": "d"},
            "runpy './a b.py' plan --step-info='i n.json' inp=['a b.py'] out=['b', 'i n.json'] workdir=d",
        ),
    ],
)
def test_a_script_is_asked_to_plan(calls, executable, options, line):
    script(executable, **options)
    assert calls == [f"step {line}"]


def test_what_is_optional_is_what_the_script_plans(calls):
    # In StepUp 3.0.0 the planning step was optional, too, and never ran.
    script("x.py", optional=True, pool="p")
    assert calls == ["step runpy ./x.py plan --optional inp=['x.py'] pool=p"]


class Single:
    """One case."""

    def info(self):
        return {"inp": "in.txt", "out": ["out.txt"], "static": "in.txt", "more": 1, "vol": "v", "pool": "p"}

    def run(self, inp, out, more, missing=5):
        print("run", inp, out, more, missing)


class Multiple:
    """Several cases, in all forms that a case may have."""

    CASE_FMT = "c_{}_{b:d}"

    def cases(self):
        return [(["x y"], {"b": 3}), [["z"], {"b": 4}][:1], ("w",)][:1]

    def case_info(self, *args, **kwargs):
        return {"out": f"{args[0]}.txt", "a": args[0], **kwargs}

    def run(self, out, a, b):
        print("run", out, a, b)


@pytest.fixture
def drive(calls, monkeypatch):
    """Return a function that calls a driver as if its script had been run with these arguments."""

    def drive(obj, *arguments):
        monkeypatch.setattr(sys, "argv", ["./x.py", *arguments])
        driver(obj)

    return drive


def test_a_single_case_plans_one_step(drive, calls):
    # What StepUp 3.0.0 does not know, vol= and pool= for instance, is for run() alone.
    drive(Single(), "plan")
    assert calls == ["static ['in.txt']", "step runpy ./x.py run inp=['in.txt', 'x.py'] out=['out.txt']"]


def test_a_script_runs_with_what_it_names_of_its_info(drive, capsys):
    drive(Single(), "run")
    assert capsys.readouterr().out == "run in.txt ['out.txt'] 1 5\n"


def test_several_cases_plan_a_step_each(drive, calls, capsys):
    drive(Multiple(), "plan", "--optional")
    assert calls == ["step runpy ./x.py run 'c_x y_3' inp=['x.py'] out=['x y.txt'] optional=True"]
    drive(Multiple(), "cases")
    assert capsys.readouterr().out == "./x.py run 'c_x y_3'\n"


def test_a_case_is_read_back_from_the_command_line(drive, capsys):
    pytest.importorskip("parse")
    drive(Multiple(), "run", "c_x y_3")
    assert capsys.readouterr().out == "run x y.txt x y 3\n"
    with pytest.raises(ValueError, match="Could not parse string 'C_x_3' with CASE_FMT"):
        drive(Multiple(), "run", "C_x_3")


@pytest.mark.parametrize(
    ("item", "args", "kwargs"),
    [
        ({"a": 1}, (), {"a": 1}),
        ((1, 2), (1, 2), {}),
        ([1], (1,), {}),
        (([1], {"a": 2}), (1,), {"a": 2}),
        (7, (7,), {}),
    ],
)
def test_a_case_is_a_dictionary_a_list_both_or_a_value(drive, item, args, kwargs):
    seen = []

    class Script:
        CASE_FMT = "case"
        cases = staticmethod(lambda: [item])
        case_info = staticmethod(lambda *args, **kwargs: seen.append((args, kwargs)) or {})
        run = staticmethod(lambda: None)

    drive(Script, "plan")
    assert seen == [(args, kwargs)]


def test_what_was_planned_is_handed_on(drive, tmp_path):
    drive(Single(), "plan", "--step-info=info.json")
    assert json.loads((tmp_path / "info.json").read_text())["action"] == "runpy ./x.py run"
    drive(Multiple(), "plan", "--step-info=info.json")
    assert [one["out"] for one in json.loads((tmp_path / "info.json").read_text())] == [["x y.txt"]]


@pytest.mark.parametrize(
    ("names", "arguments", "kind", "words"),
    [
        ("info", ["plan"], TypeError, "Script x.py has no run function"),
        ("run", ["plan"], TypeError, "The script x.py has neither info nor case_info"),
        ("run cases", ["plan"], TypeError, "must either define all or none of the following"),
        ("run info", ["run", "case"], RuntimeError, "Script has no case_info function: x.py"),
        ("run CASE_FMT cases case_info", ["run"], RuntimeError, "Script has no info function: x.py"),
        ("run info", ["plan"], TypeError, "info must return a dictionary"),
    ],
)
def test_an_incomplete_script_is_told_what_is_missing(drive, names, arguments, kind, words):
    obj = type("Script", (), {name: staticmethod(lambda: None) for name in names.split()})
    with pytest.raises(kind, match=words):
        drive(obj, *arguments)


def test_paths_in_info_are_texts_or_lists_of_texts(drive):
    class Script(Single):
        def info(self):
            return {"inp": [3]}

    with pytest.raises(TypeError, match=r"inp is not a list of strings in function info in x\.py"):
        drive(Script(), "plan")
