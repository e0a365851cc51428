"""What a running step may ask of its director, and that nothing it sends harms anybody else.

The steps here are real ones: Python programs that speak to the director's socket by themselves.
"""

import json
import socket
import sys

import pytest
from director.helpers_world import on_both_hosts

from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.core.errors import UsageError

HEAD = """
import json, os, sys
from stepup_nb.client.job import job_session
ask = job_session().ask

def refused(op, **fields):
    from stepup_nb.core.errors import UsageError
    try:
        ask(op, **fields)
    except UsageError as error:
        print(error.code)
    else:
        print("done")
"""


def run(session, code, **options):
    """Run a Python program as a step and return its handle, finished."""
    step = session.declare("runsh", f"{sys.executable} - <<'END'\n{HEAD}\n{code}\nEND", **options)
    session.wait([step.name])
    return step


@on_both_hosts
def test_a_step_declares_others_which_belong_to_it(session):
    step = run(
        session,
        "spec = {'action': 'runsh', 'command': 'echo child'}\nprint(ask('Declare', spec=spec)['step'])",
        name="plan",
    )
    session.wait()
    assert step.stdout == "runsh echo child\n"
    (child,) = session.known_rows(["runsh echo child"])
    assert (child["state"], child["creator"]) == ("SUCCEEDED", "plan")


def test_a_step_amends_itself_and_no_other(session, notebook):
    (notebook.folder / "more.txt").write_text("1")
    step = run(session, "print(ask('Amend', inp=['more.txt'], job=10**6)['missing'])")
    assert step.state == "SUCCEEDED"
    assert step.stdout == "[]\n"
    assert step.inp == ["more.txt"]


def test_a_step_gets_the_environment_of_its_creator_whatever_the_creator_does_to_its_own(
    session, monkeypatch
):
    monkeypatch.setenv("COLOUR", "green")
    run(
        session,
        "os.environ['COLOUR'] = 'red'\n"
        "ask('Declare', spec={'action': 'runsh', 'command': 'echo $COLOUR', 'name': 'child'}, environment='0' * 32)",
    )
    session.wait()
    assert session.log("child") == b"green\n"


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("Cancel", {"steps": None}),
        ("Rerun", {"all": True}),
        ("Forget", {"steps": ["x"]}),
        ("Clean", {}),
        ("Wait", {"steps": None}),
        ("SetWorkers", {"number": 99}),
        ("OpenScope", {"scope": "session", "kind": "cell"}),
        ("CloseScope", {"scope": "session"}),
        ("SetPhase", {"phase": "watch"}),
        ("Ending", {"how": "shutdown"}),
        ("Pause", {}),
        ("DropPool", {"name": "p"}),
        ("shutdown", {}),
        ("trust", {}),
        ("status", {}),
        ("subscribe", {}),
        ("watch", {"on": True}),
        ("rest", {}),
        ("no such thing", {}),
    ],
)
def test_a_step_steers_nothing(session, op, fields):
    step = run(session, f"refused({op!r}, **{fields!r})")
    assert step.stdout == "SNB-212\n"


def test_a_step_cannot_choose_for_whom_it_declares(session):
    step = run(
        session,
        "ask('Declare', spec={'action': 'runsh', 'command': 'true', 'name': 'child'}, scope='session')",
        name="plan",
    )
    session.wait()
    assert session.known_rows(["child"])[0]["creator"] == step.name


def test_the_token_of_a_job_is_worth_nothing_once_the_job_is_over(session):
    step = run(
        session, "print(json.dumps([os.environ[n] for n in ('STEPUP_DIRECTOR_SOCKET', 'STEPUP_NB_TOKEN')]))"
    )
    path, token = json.loads(step.stdout)
    connection = Connection(path, token, job=step.job)
    with pytest.raises(UsageError) as refusal:
        connection.request("Declare", spec={"action": "runsh", "command": "true"})
    assert refusal.value.code == "SNB-130"
    with pytest.raises(DirectorGone):
        Connection(path, token, job=step.job + 1)
    with pytest.raises(DirectorGone):
        Connection(path, token)
    connection.close()


def test_the_directors_own_token_is_in_no_steps_environment(session):
    step = run(session, "print(json.dumps(dict(os.environ)))")
    token = session._host.token
    assert all(token not in value for value in json.loads(step.stdout).values())


@pytest.mark.parametrize(
    "message",
    [
        {"op": "Amend", "inp": "not a list"},
        {"op": "Amend", "inp": ["a\0b"] * 3, "is_read": "yes"},
        {"op": "DeclareGlob", "glob": [["*"], [["name"]], False]},
        {"op": "DeclareGlob", "glob": [["*"], [], False, []]},
        {"op": "DeclareGlob", "glob": {"patterns": ["*"]}},
        {"op": "Declare", "spec": {"action": "runsh"}},
        {"op": "Declare", "spec": [1, 2]},
        {"op": "DeclareStatic", "paths": [None]},
        {"op": "DefinePool", "name": "\ud800", "size": 1},
        {"op": "DefinePool", "name": "a b", "size": 1},
        {"op": "Hold", "hold": 7},
        {"op": ["Declare"]},
        {"op": None},
    ],
    ids=lambda message: str(message)[:60],
)
def test_a_malformed_message_is_refused_and_the_next_one_is_heard(session, message):
    step = run(
        session,
        f"message = {message!r}\n"
        "op = message.pop('op')\n"
        "refused(op, **message)\n"
        "print(ask('Declare', spec={'action': 'runsh', 'command': 'true', 'name': 'good'})['step'])",
    )
    first, second = step.stdout.split()
    assert first.startswith("SNB-")
    assert second == "good"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        (5 << 20).to_bytes(4, "big"),
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x01{",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["4 GiB", "5 MiB", "no object", "half", "http"],
)
def test_whoever_does_not_speak_the_protocol_is_cut_off_alone(session, data):
    first = session.declare("runsh", "true")
    session.wait()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(session._host.socket)
        stranger.sendall(data)
        stranger.shutdown(socket.SHUT_WR)
        assert stranger.recv(100) == b""
    assert first.state == "SUCCEEDED"
    assert session.declare("runsh", "true", name="next").wait().state == "SUCCEEDED"


def test_what_a_step_declares_is_refused_as_a_whole_or_not_at_all(session):
    step = run(
        session,
        "ask('Declare', spec={'action': 'runsh', 'command': 'echo 1 > x.txt', 'out': ['x.txt'], 'name': 'first'})\n"
        "for spec in ({'action': 'runsh', 'command': 'true', 'out': ['y.txt', 'x.txt']},"
        " {'action': 'runsh', 'command': 'false', 'inp': ['z'], 'out': ['z']}):\n"
        "    refused('Declare', spec=spec)",
        name="plan",
    )
    assert step.stdout.split() == ["SNB-401", "SNB-404"]
    session.wait()
    assert {row["name"]: row["state"] for row in session.status()["steps"]} == {
        "plan": "SUCCEEDED",
        "first": "SUCCEEDED",
    }


def test_a_thousand_amends_and_a_thousand_declarations_each_do_what_they_say(session, notebook):
    for number in range(1000):
        (notebook.folder / f"{number}.txt").write_text("")
    step = run(
        session,
        "for number in range(1000):\n"
        "    ask('Amend', inp=[f'{number}.txt'])\n"
        "    ask('Declare', spec={'action': 'runsh', 'command': f'step {number}', 'block': True})",
    )
    assert step.state == "SUCCEEDED"
    assert len(step.inp) == 1000
    assert session.status()["counts"] == {"SUCCEEDED": 1, "PENDING": 1000}


def test_a_hold_of_a_step_that_dies_ends_with_it(session):
    run(
        session,
        "ask('Hold', hold='h')\n"
        "ask('Declare', spec={'action': 'runsh', 'command': 'echo late', 'name': 'late'}, hold='h')\n"
        "os._exit(0)",
    )
    session.wait()
    assert session.known_rows(["late"])[0]["state"] == "SUCCEEDED"
