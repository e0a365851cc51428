"""What the calls that declare steps return, and the file in which scripts hand it on."""

import json

import pytest

from stepup_nb.plan.stepinfo import StepInfo, dump_step_info, load_step_info

INFO = StepInfo("runsh x", "w/", ["b.txt", "a.txt"], ["Z", "A"], ["x.pdf"], ["l.log"])


def test_lists_are_sorted_and_paths_are_paths():
    pytest.importorskip("path")
    assert repr(INFO) == (
        "StepInfo(action='runsh x', workdir=Path('w/'), inp=[Path('a.txt'), Path('b.txt')], env=['A', 'Z'],"
        " out=[Path('x.pdf')], vol=[Path('l.log')])"
    )


def test_two_that_say_the_same_are_equal():
    assert StepInfo("runsh x", "w/", ("a.txt", "b.txt"), ("A", "Z"), ["x.pdf"], ["l.log"]) == INFO
    assert StepInfo("runsh y", "w/", ("a.txt", "b.txt"), ("A", "Z"), ["x.pdf"], ["l.log"]) != INFO


def test_what_a_user_sets_is_converted_too():
    info = StepInfo("runsh x", "./", [], [], [], [])
    info.out = ["b", "a"]
    assert info.out == ["a", "b"]
    with pytest.raises(AttributeError):
        info.outs = []


def test_paths_can_be_picked_by_patterns():
    assert list(INFO.filter_inp("*.txt")) == ["a.txt", "b.txt"]
    assert [match.n for match in INFO.filter_inp("${*n}.txt", n="[ab]")] == ["a", "b"]
    assert INFO.filter_out("*.pdf").single() == "x.pdf"
    assert not INFO.filter_vol("*.txt")


def test_one_step_or_a_list_of_steps_can_be_handed_on(tmp_path):
    path = str(tmp_path / "info.json")
    dump_step_info(path, INFO)
    with open(path) as file:
        assert json.load(file) == {
            "action": "runsh x", "workdir": "w/", "inp": ["a.txt", "b.txt"], "env": ["A", "Z"],
            "out": ["x.pdf"], "vol": ["l.log"],
        }  # fmt: skip
    assert load_step_info(path) == INFO
    dump_step_info(path, [INFO, INFO])
    assert load_step_info(path) == [INFO, INFO]
