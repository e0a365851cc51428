"""The call protocol. The lines are those that StepUp 3.0.0 sent for the same calls, where it is not said otherwise."""

import json
import pickle
import subprocess
import sys

import pytest

from stepup_nb.plan import call as module
from stepup_nb.plan.call import call, driver


@pytest.mark.parametrize(
    ("executable", "arguments", "line"),
    [
        ("x.py", {}, "runpy ./x.py --out=x_out.json --amend-out inp=['x.py']"),
        ("sub/x.sh", {"a": 1}, "runsh ./sub/x.sh '{\"a\": 1}' --out=x_out.json --amend-out inp=['sub/x.sh']"),
        ("x.py", {"a": 1, "out": False}, "runpy ./x.py '{\"a\": 1}' inp=['x.py']"),
        ("x.py", {"out": True}, "runpy ./x.py --out=x_out.json inp=['x.py'] out=['x_out.json']"),
        ("x.py", {"out": "./o.json"}, "runpy ./x.py --out=./o.json inp=['x.py'] out=['./o.json']"),
        (
            "x.py",
            {"out": [None, "p"], "inp": [None, "q"]},
            "runpy ./x.py '{\"inp\": [\"q\"], \"out\": [\"p\"]}' --out=x_out.json --amend-out"
            " inp=['q', 'x.py'] out=['p']",
        ),
        ("x.py", {"inp": "in.json", "out": False}, "runpy ./x.py --inp=in.json inp=['in.json', 'x.py']"),
        ("a b.py", {}, "runpy './a b.py' --out='a b_out.json' --amend-out inp=['a b.py']"),
        ("x.py", {"prefix": "pre", "out": True}, "runpy ./x.py --out=pre_out.json inp=['x.py'] out=['pre_out.json']"),
        (
            "x.py",
            {"a": 1, "pars": {"inp": 3, "a": 7}, "env": ["E"], "vol": ["v"], "optional": True, "pool": "p"},
            "runpy ./x.py '{\"a\": 7, \"inp\": 3}' --out=x_out.json --amend-out"
            " inp=['x.py'] env=['E'] vol=['v'] optional=True pool=p",
        ),
        ("x.tar.py", {"out": True}, "runpy ./x.tar.py --out=x.tar_out.json inp=['x.tar.py'] out=['x.tar_out.json']"),
    ],
)  # fmt: skip
def test_arguments_go_to_the_command_line(calls, executable, arguments, line):
    call(executable, **arguments)
    assert calls == [f"step {line}"]


def test_a_file_of_arguments_is_an_output_of_who_calls(calls, tmp_path):
    call("x.py", a=1, inp=["in.json", "q"], out=False)
    assert calls == ["amend out=['in.json']", "step runpy ./x.py --inp=in.json inp=['in.json', 'q', 'x.py']"]
    assert (tmp_path / "in.json").read_text() == '{\n  "a": 1,\n  "inp": [\n    "q"\n  ]\n}'


def test_what_json_cannot_hold_is_pickled(calls, tmp_path):
    call("x.py", a={1}, out=True)
    assert calls[0] == "amend out=['x_inp.pickle']"
    assert calls[1].startswith("step runpy ./x.py --inp=x_inp.pickle --out=x_out.pickle inp=")
    with open(tmp_path / "x_inp.pickle", "rb") as file:
        assert pickle.load(file) == {"a": {1}}


def test_what_json_cannot_hold_is_refused_where_json_is_asked_for(calls, tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        call("x.py", a={1}, fmt="json")
    assert calls == [] and list(tmp_path.iterdir()) == []


def test_the_format_follows_the_extension(calls):
    call("x.py", a=1, out="o.pickle")
    assert calls[1].startswith("step runpy ./x.py --inp=x_inp.pickle --out=o.pickle ")


def test_a_file_of_arguments_is_written_where_the_step_looks_for_it(calls, tmp_path):
    # StepUp 3.0.0 writes it into the current directory, and the step waits for ever.
    (tmp_path / "sub").mkdir()
    call("x.py", a=1, inp=True, workdir="sub", out=False)
    assert calls == [
        "amend out=['sub/x_inp.json']",
        "step runpy ./x.py --inp=x_inp.json inp=['x_inp.json', 'x.py'] workdir=sub",
    ]
    assert json.loads((tmp_path / "sub" / "x_inp.json").read_text()) == {"a": 1}


def test_a_file_that_is_asked_for_is_written_without_arguments_too(calls, tmp_path):
    # So says the documentation of StepUp; version 3.0.0 forgets it.
    call("x.py", inp=True, out=False)
    assert (tmp_path / "x_inp.json").read_text() == "{}"


def test_arguments_too_long_for_a_command_line_go_to_a_file(calls):
    call("x.py", a="k" * 200_000, out=False)
    assert calls[1] == "step runpy ./x.py --inp=x_inp.json inp=['x_inp.json', 'x.py']"


def test_variables_are_put_in_on_the_command_line_too(calls, monkeypatch):
    # StepUp 3.0.0 leaves 'o${V}.json' there, and the script writes a file of that name.
    monkeypatch.setenv("V", "vv")
    call("x$V.py", a="$V $$ ${inp}", out="o${V}.json")
    assert calls[0] == "amend env=['V']"
    assert calls[1] == (
        "step runpy ./xvv.py '{\"a\": \"$V $$ \\u0024{inp}\"}' --out=ovv.json inp=['xvv.py'] out=['ovv.json']"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fmt": "foo"}, "Invalid format for serialization of arguments: foo"),
        ({"out": "o.txt"}, "Invalid format for serialization of arguments: txt"),
        (
            {"fmt": "json", "inp": "in.json"},
            "When specifying input or output files, the format cannot be set",
        ),
        ({"inp": 3}, "Must be None, True, str or Sequence"),
        ({"inp": False}, "Must be None, True, str or Sequence"),
        ({"out": 3}, "Must be None, True, False, str or Sequence"),
    ],
)
def test_a_wrong_argument_is_refused_in_the_words_of_stepup(calls, arguments, words):
    with pytest.raises(ValueError, match=words):
        call("x.py", **arguments)
    assert calls == []


@pytest.fixture
def drive(monkeypatch):
    """Return a function that calls a driver as if its script had been run with these arguments."""

    def drive(obj, *arguments):
        monkeypatch.setattr(sys, "argv", ["./x.py", *arguments])
        driver(obj)

    return drive


class Doubles:
    """What a script that is called looks like: here an object, otherwise a module."""

    def __init__(self):
        self.seen = []

    def run(self, a, inp=(), **others):
        self.seen.append((a, inp, others))
        return None if a is None else 2 * a


def test_run_gets_what_it_names(drive, calls):
    script = Doubles()
    drive(script, '{"a": null, "inp": ["q"], "more": 1}')
    assert script.seen == [(None, ["q"], {})]
    assert calls == []


def test_a_result_is_written_and_amended_where_the_plan_left_that_open(drive, calls, tmp_path):
    drive(Doubles(), '{"a": [1]}', "--out=o.json", "--amend-out")
    assert calls == ["amend out=['o.json']"]
    assert (tmp_path / "o.json").read_text() == "[1, 1]"


def test_arguments_and_result_may_be_pickled(drive, calls, tmp_path):
    (tmp_path / "i.pickle").write_bytes(pickle.dumps({"a": (1,)}))
    drive(Doubles(), "--inp=i.pickle", "--out=o.pickle")
    assert pickle.loads((tmp_path / "o.pickle").read_bytes()) == (1, 1)
    assert calls == []


def test_a_result_needs_a_place(drive, calls):
    with pytest.raises(ValueError, match="The output path is mandatory"):
        drive(Doubles(), '{"a": 1}')
    with pytest.raises(NotImplementedError, match=r"Unsupported output file format: \.txt"):
        drive(Doubles(), '{"a": 1}', "--out=o.txt")


def test_a_result_that_json_cannot_hold_leaves_no_file(drive, calls, tmp_path):
    with pytest.raises(TypeError):
        drive(type("Script", (), {"run": staticmethod(lambda: {1})}), "--out=o.json")
    assert list(tmp_path.iterdir()) == []


def test_arguments_come_in_one_way(drive, calls):
    with pytest.raises(ValueError, match="Cannot provide both"):
        drive(Doubles(), "{}", "--inp=i.json")
    with pytest.raises(AttributeError, match="must define a 'run' function"):
        drive(object())


def test_the_driver_finds_run_in_the_script_that_calls_it(tmp_path):
    script = tmp_path / "x.py"
    script.write_text("from stepup_nb.plan.call import driver\ndef run(a): print('a is', a)\ndriver()\n")
    root = module.__file__.removesuffix("/stepup_nb/plan/call.py")
    done = subprocess.run(
        [sys.executable, str(script), '{"a": 3}'], env={"PYTHONPATH": root}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("a is 3\n", "")
