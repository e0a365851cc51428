"""Commands and specs have a plain form; whatever else comes from outside is refused in words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.core import messages
from stepup_nb.core.messages import command_from_json, command_to_json, spec_from_json, spec_to_json
from stepup_nb.core.model import MOST_SLOTS, PoolRequest, ScopeKind, StepSpec

texts = st.text(st.characters(), max_size=10)
lists = st.lists(texts, max_size=3).map(tuple)
times = st.none() | st.floats(0, 1e6)
specs = st.builds(
    StepSpec,
    action=texts,
    command=texts,
    workdir=texts,
    shell=lists,
    name=st.none() | texts,
    inp=lists,
    out=lists,
    vol=lists,
    env=lists,
    after=lists,
    pool=st.lists(st.builds(PoolRequest, texts, st.integers(1, MOST_SLOTS)), max_size=3).map(tuple),
    optional=st.booleans(),
    block=st.booleans(),
    priority=st.integers(-(10**9), 10**9),
    duration=times,
    timeout=times,
    retry=st.integers(0, 100),
    force=st.booleans(),
)

COMMANDS = [
    messages.OpenScope("s", ScopeKind.CELL, "title", ("gone",)),
    messages.CloseScope("s", is_ok=False),
    messages.Declare(StepSpec(action="runsh", command="true"), "s", "env", hold="h"),
    messages.DeclareStatic(("a", "b"), "s"),
    messages.DefinePool("p", None, "s", ("0", "1")),
    messages.DefinePool("p", 3, "s"),
    messages.DropPool("p"),
    messages.Hold("h"),
    messages.Release("h"),
    messages.Cancel(None),
    messages.Cancel(("a",)),
    messages.Rerun(("a",), failed=True),
    messages.Pause("p"),
    messages.Resume(),
    messages.SetWorkers(3),
    messages.Drain(),
    messages.Run(),
    messages.Forget(("a",)),
    messages.Clean(1, dry_run=True),
    messages.Wait(1, ("a",), "s", 2.5),
]


def plain(command):
    """Return a command's form as it comes out of a socket."""
    return json.loads(json.dumps(command_to_json(command)))


@given(specs)
def test_a_spec_comes_back_from_its_plain_form(spec):
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_comes_back_from_its_plain_form(command):
    form = plain(command)
    form.pop("env_hashes", None)
    assert command_from_json(form) == command


def test_what_a_plain_form_leaves_out_is_as_by_default():
    assert spec_to_json(StepSpec(action="runsh", command="true")) == {"action": "runsh", "command": "true"}


WRONG = [
    None,
    0,
    -1,
    1.5,
    10**30,
    True,
    "x",
    "",
    [],
    [1],
    [None],
    [["p", 0]],
    [["p"]],
    {},
    {"a": 1},
    float("inf"),
]


def taken(read, form):
    """Return what was read and an empty text, or None and the words of the refusal."""
    try:
        return read(form), ""
    except ValueError as error:
        return None, str(error)


def is_same(value, given):
    """Tell whether a field holds what was given, a flag as a flag."""
    given = tuple(given) if isinstance(given, list) else given
    return value == given and (type(value) is bool) == (type(given) is bool)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_field_is_taken_as_it_is_or_refused_and_named(command, wrong):
    for name in command._fields:
        if name != "env_hashes":
            form = {**plain(command), name: wrong}
            form.pop("env_hashes", None)
            found, words = taken(command_from_json, form)
            assert f"'{name}'" in words or is_same(getattr(found, name), wrong)


@pytest.mark.parametrize("name", StepSpec._fields)
@pytest.mark.parametrize("wrong", [*WRONG, [["p", MOST_SLOTS + 1]], [["p", True]], [[1, 1]]], ids=repr)
def test_a_field_of_a_spec_is_taken_as_it_is_or_refused_and_named(name, wrong):
    found, words = taken(spec_from_json, {"action": "runsh", "command": "true", name: wrong})
    assert f"'{name}'" in words or is_same(getattr(found, name), wrong)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "no such request"),
        ({"op": "Explode"}, "no such request"),
        ({"op": 5}, "a text is expected"),
        ({"op": "Hold"}, "needs hold"),
        ({"op": "Declare", "scope": "s"}, "needs spec"),
        ({"op": "Hold", "hold": "h", "colour": 1}, "no 'colour'"),
        ({"op": "Declare", "spec": 3, "scope": "s"}, "'spec': fields are expected"),
        ({"op": "Declare", "spec": {"action": "runsh"}, "scope": "s"}, "'spec': a StepSpec needs command"),
        ({"op": "SetWorkers", "number": 0}, "a whole number from 1"),
        ({"op": "DefinePool", "name": "p", "size": -1, "scope": "s"}, "a whole number from 0"),
        ({"op": "Cancel", "steps": "abc"}, "a list is expected"),
        ({"op": "OpenScope", "scope": "s", "kind": "sell"}, "'kind'"),
    ],
)
def test_the_refusal_says_what_is_wrong(form, words):
    with pytest.raises(ValueError, match=words.replace("'", ".")):
        command_from_json(form)


@pytest.mark.parametrize("op", ["StopWaiting", "FilesLooked", "JobEnded", "Tick"])
def test_what_only_the_director_says_is_no_request(op):
    with pytest.raises(ValueError, match="no such request"):
        command_from_json({"op": op, "token": 1})


def test_the_hashes_of_an_environment_cannot_be_claimed():
    form = plain(COMMANDS[2])
    with pytest.raises(ValueError, match="env_hashes"):
        command_from_json({**form, "env_hashes": [["A", "x"]]})


def test_a_long_value_is_shown_in_part():
    with pytest.raises(ValueError) as caught:
        command_from_json({"op": "Hold", "hold": ["x" * 10_000]})
    assert len(str(caught.value)) < 200


def test_the_base_of_a_spec_is_what_was_declared():
    spec = spec_from_json({"action": "runsh", "command": "true"})
    assert spec._replace(workdir="sub").base == "runsh true  # wd=sub/"
