"""The loop as its clients see it: every request is answered, none harms, nothing is told too early."""

import json
import os
import time
from pathlib import Path

import pytest
from director.helpers_world import Notebook, ThreadedHost, state_of, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepup_nb.client.connection import Connection
from stepup_nb.core.environment import is_denied, name_of
from stepup_nb.core.errors import InternalError, StepUpError, UsageError
from stepup_nb.director import loop, news
from stepup_nb.director.environments import Environments
from stepup_nb.director.store import Store, StoreFull

SPEC = {"action": "runsh", "command": "true"}


@pytest.fixture
def client(session):
    """A connection to a director, that of a session."""
    session.pool("p", 1)
    connection = session.connect()
    yield connection
    connection.close()


def refusal(client, op, **fields):
    with pytest.raises(StepUpError) as caught:
        client.request(op, **fields)
    return caught.value


def declare(client, command, scope="s", environment="", **fields):
    spec = {"action": "runsh", "command": command, **fields}
    return client.request("Declare", spec=spec, scope=scope, environment=environment)["step"]


# --- requests that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("Explode", {}),
        ("", {}),
        (5, {}),
        (None, {}),
        (["status"], {}),
        ("StopWaiting", {"token": 1}),
        ("Tick", {}),
        ("Declare", {}),
        ("Declare", {"spec": SPEC}),
        ("Declare", {"spec": "true", "scope": "s"}),
        ("Declare", {"spec": {"action": "runsh"}, "scope": "s"}),
        ("Declare", {"spec": {**SPEC, "colour": 1}, "scope": "s"}),
        ("Declare", {"spec": {**SPEC, "inp": "abc"}, "scope": "s"}),
        ("Declare", {"spec": {**SPEC, "pool": [["p", 10**9]]}, "scope": "s"}),
        ("Declare", {"spec": {**SPEC, "timeout": "x"}, "scope": "s"}),
        ("Declare", {"spec": SPEC, "scope": 5}),
        ("Declare", {"spec": SPEC, "scope": "s", "environment": "unknown"}),
        ("Declare", {"spec": SPEC, "scope": "s", "environment": "x", "variables": {"A": "1"}}),
        ("Declare", {"spec": SPEC, "scope": "s", "environment": "x", "variables": {"A": 1}}),
        ("Declare", {"spec": SPEC, "scope": "s", "environment": "x", "variables": [1]}),
        ("Declare", {"spec": SPEC, "scope": "s", "env_hashes": [["A", "1"]]}),
        ("DefinePool", {"name": "p", "size": -1, "scope": "s"}),
        ("DefinePool", {"name": "p", "size": 1.5, "scope": "s"}),
        ("DefinePool", {"name": "p", "size": 10**30, "scope": "s"}),
        ("SetWorkers", {"number": 0}),
        ("SetWorkers", {"number": "many"}),
        ("SetWorkers", {}),
        ("Cancel", {"steps": "abc"}),
        ("Cancel", {"steps": [5]}),
        ("Rerun", {"all": "yes"}),
        ("OpenScope", {"scope": "s", "kind": "sell"}),
        ("Wait", {"timeout": "soon"}),
        ("Wait", {"timeout": True}),
        ("Wait", {"timeout": 1e300}),
        ("Wait", {"token": 1}),
        ("Wait", {"deadline": 1.0}),
        ("Clean", {"timeout": 1, "token": 2}),
        ("rows", {}),
        ("rows", {"steps": "abc"}),
        ("rows", {"steps": [1]}),
        ("rows", {"steps": None, "known": True}),
        ("why", {}),
        ("why", {"step": 5}),
        ("log", {}),
        ("log", {"step": "x", "offset": "y"}),
        ("log", {"job": "x"}),
        ("log", {"job": 1, "offset": 10**30}),
        ("log", {"job": 1, "offset": 1.5}),
        ("lines", {"since": "x"}),
        ("lines", {"since": 10**30}),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_request_that_is_none_is_refused_in_words_and_harms_nobody(client, op, fields):
    error = refusal(client, op, **fields)
    assert isinstance(error, UsageError)
    assert error.code.startswith("SNB-2") or error.code == "SNB-120"
    assert "Traceback" not in str(error)
    assert len(str(error)) < 500
    declare(client, "true", name="after")
    assert client.request("Wait", steps=["after"])["how"] == "done"


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = """
    spec scope environment variables hold name size tokens steps failed all pool number dry_run timeout kind
    title deleted is_ok paths step stream offset job since snapshot known causes
""".split()
OPS = """
    OpenScope CloseScope Declare DeclareStatic DefinePool DropPool Hold Release Cancel Rerun Pause Resume
    SetWorkers Drain Run Forget Clean status rows why history log lines subscribe trust
""".split()


def test_no_request_whatever_is_in_it_brings_the_director_down(notebook, session):
    session.pool("p", 1)
    session.declare("runsh", "true", name="s", out="o", pool="p")
    values = plain | st.sampled_from(
        ["s", "p", "o", ["s"], ["o"], SPEC, {**SPEC, "name": "s"}, 1, True, "cell"]
    )

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(
            st.tuples(st.sampled_from(OPS), st.dictionaries(st.sampled_from(FIELDS), values)), max_size=4
        )
    )
    def ask(requests):
        client = session.connect()
        try:
            for op, fields in requests:
                try:
                    client.request(op, **fields)
                except UsageError as error:
                    assert error.code  # noqa: PT017
        finally:
            client.close()

    ask()
    client = session.connect()
    for op in ("Resume", "Run"):
        client.request(op)
    client.request("SetWorkers", number=2)
    declare(client, "true", name="still alive")
    assert client.request("Wait", steps=["still alive"])["how"] == "done"
    client.close()


def test_a_mistake_of_ours_is_told_as_one_and_the_director_lives_on(notebook, session, monkeypatch):
    session.pool("p", 1)
    with monkeypatch.context() as patch:
        patch.setattr(loop.view, "why", lambda *args: 1 / 0)
        session.declare("runsh", "true", name="s")
        with pytest.raises(InternalError, match="ZeroDivisionError") as caught:
            session.why("s")
    assert "Traceback" in caught.value.why
    assert session.why("s")["name"] == "s"


def test_a_second_answer_is_not_mistaken_for_the_first(client):
    first, second = client.send("status"), client.send("why", step="nobody")
    assert client.result(first, timeout=10)["pools"]
    with pytest.raises(UsageError, match="SNB-120"):
        client.result(second, timeout=10)


# --- specs that no shell can take ------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        {"action": "copy", "command": "a 'b"},
        {"action": "runsh", "command": "a\0b"},
        {"action": "runsh", "command": "\ud800"},
        {"action": "runsh", "command": "x" * 2_000_000},
        {"action": "runsh", "command": "not there", "shell": []},
        {"action": "runsh", "command": "true", "shell": ["not there at all"]},
        {"action": "runsh", "command": "true", "shell": [""]},
        {"action": "runsh", "command": "true", "out": ["a\0b"]},
        {"action": "runsh", "command": "true", "out": ["\ud800/b"]},
        {"action": "runsh", "command": "true", "out": ["x" * 300 + "/b"]},
        {"action": "runsh", "command": "true", "out": ["/proc/nothing/b"]},
        {"action": "runsh", "command": "true", "workdir": "not there"},
        {"action": "runsh", "command": "true", "workdir": "a\0"},
    ],
    ids=lambda spec: repr(spec)[:70],
)
def test_a_step_that_cannot_be_started_fails_and_the_director_lives_on(client, spec):
    # An unclosed quote in a copy, or a NUL in a path, ended the director.
    client.request("Declare", spec={**spec, "name": "odd"}, scope="s")
    report = client.request("Wait", steps=["odd"])
    assert [row["state"] for row in report["failed"]] == ["FAILED"]
    assert report["failed"][0]["reason"]
    declare(client, "true", name="good")
    assert client.request("Wait", steps=["good"])["how"] == "done"


def test_variables_that_no_process_can_have_fail_the_step_only(client):
    for variables in ({"A=B": "1"}, {"A": "x\0y"}, {"": "1"}, {"A": "\ud800"}):
        name = name_of(variables)
        client.request(
            "Declare", spec={**SPEC, "name": name}, scope="s", environment=name, variables=variables
        )
        client.request("Wait", steps=[name])
    declare(client, "true", name="good")
    assert client.request("Wait", steps=["good"])["how"] == "done"


# --- environments ----------------------------------------------------------------------------------


def test_an_environment_is_sent_once_and_kept_while_a_step_or_a_client_needs_it():
    known = Environments()
    names = []
    for number in range(200):
        variables = {"N": str(number), "JPY_TOKEN": "secret"}
        names.append(name_of(variables))
        known.take(names[-1], variables)
    assert known.is_crowded()
    known.keep(names[150:])
    assert not known.is_crowded()
    assert names[0] not in known
    assert known.value(names[199], "N") == "199"
    assert known.for_step(names[199], ()) == {"N": "199"}
    assert known.for_step(names[199], ["JPY_TOKEN", "NOBODY"]) == {"N": "199", "JPY_TOKEN": "secret"}
    assert "" in known


def test_what_a_step_gets_is_its_own_copy():
    known = Environments()
    variables = {"A": "1"}
    known.take(name_of(variables), variables)
    known.for_step(name_of(variables), ())["A"] = "2"
    assert known.for_step(name_of(variables), ()) == {"A": "1"}


def test_equal_environments_have_equal_names_and_others_have_others():
    assert name_of({"A": "1", "B": "2"}) == name_of({"B": "2", "A": "1"})
    different = [
        {},
        {"A": ""},
        {"A": "1"},
        {"A1": ""},
        {"A": "1", "B": ""},
        {"A": "\udcff"},
        {"A": '", "B": "'},
    ]
    assert len({name_of(variables) for variables in different}) == len(different)


@pytest.mark.parametrize(
    ("name", "denied"),
    [
        ("JUPYTER_TOKEN", True),
        ("JUPYTERHUB_API_TOKEN", True),
        ("JUPYTERHUB_USER", True),
        ("JPY_SESSION_NAME", True),
        ("GITHUB_API_TOKEN", True),
        ("CONFIGPROXY_AUTH_TOKEN", True),
        ("STEPUP_NB_RUN", True),
        ("JUPYTER_CONFIG_DIR", False),
        ("AWS_SECRET", False),
        ("PATH", False),
        ("MY_JPY_X", False),
    ],
)
def test_tokens_are_denied_by_name(name, denied):
    assert is_denied(name) == denied


def test_a_thousand_environments_do_not_stay(notebook):
    session = notebook.begin()
    session.pool("p", 0)
    client = session.connect()
    for number in range(300):
        variables = {"N": str(number), "LONG": "x" * 1000}
        name = name_of(variables)
        spec = {**SPEC, "name": "same", "pool": [["p", 1]]}
        client.request("Declare", spec=spec, scope="s", environment=name, variables=variables)
    director = session._host.director
    assert len(director._environments._known) < 100
    # What was sent last need not be sent again.
    client.request("Declare", spec=spec, scope="s", environment=name)
    client.close()


# --- commit, act, tell -----------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """A disk that is full when told so."""

    class Full:
        is_full = False

    state = Full()
    save = Store.save

    def save_if_there_is_room(self, decision, *args, **options):
        if state.is_full and (decision.steps or decision.jobs):
            raise StoreFull("SNB-320 no space left for the state file; scheduling paused")
        save(self, decision, *args, **options)

    monkeypatch.setattr(Store, "save", save_if_there_is_room)
    monkeypatch.setattr(loop, "RETRY_STORE", 0.02)
    return state


def test_nothing_is_started_answered_or_told_before_it_is_written_down(notebook, session, client, full):
    watcher = session.connect()
    watcher.request("subscribe", snapshot=False)
    full.is_full = True
    number = client.send("Declare", spec={**SPEC, "command": "echo > started", "name": "s"}, scope="s")
    event = next(event for event in watcher.events() if event.get("event") == "changes" and event["notes"])
    assert "SNB-320" in event["notes"][0]
    assert client.result(number, timeout=0.1) is None
    assert notebook.read("started") == ""
    assert session.history() == []
    full.is_full = False
    assert client.result(number, timeout=10)["step"] == "s"
    assert session.wait()["how"] == "done"
    assert notebook.read("started") == "\n"
    event = next(e for e in watcher.events() if e["event"] == "changes" and not e["notes"] and e["steps"])
    assert event["steps"][0]["name"] == "s"
    watcher.close()


def test_a_result_that_cannot_be_written_down_is_not_believed_yet(notebook, session, client, full):
    handle = session.declare("runsh", "until [ -e go ]; do sleep 0.01; done", name="s")
    until(lambda: handle.state == "RUNNING")
    full.is_full = True
    notebook.write("go", "")
    until(lambda: "not written down yet" in session.rows(["s"])[0]["notes"])
    waiting = session.begin_wait(["s"])
    full.is_full = False
    assert waiting.result(timeout=10)["how"] == "done"
    until(lambda: session.rows(["s"])[0]["notes"] == [])


def test_while_nothing_can_be_written_the_processor_rests(session, client, full):
    # What was due was put into the inbox again and again, without end.
    for number in range(5):
        client.request("Declare", spec={**SPEC, "command": f"sleep 60 # {number}", "timeout": 0.2}, scope="s")
    until(lambda: session.status()["counts"].get("RUNNING") == 2)
    full.is_full = True
    director = session._host.director
    until(lambda: director._unsaved is not None)
    begin, until_then = time.thread_time(), time.monotonic() + 0.5
    used = time.process_time()
    while time.monotonic() < until_then:
        time.sleep(0.05)
    assert time.process_time() - used - (time.thread_time() - begin) < 0.3
    assert len(director._inbox) < 20
    full.is_full = False
    session.cancel(all=True)


def test_a_result_is_in_the_state_file_before_anybody_hears_of_it(notebook, monkeypatch):
    # Or the log is worked into the database between the copies of the one and of the other.
    monkeypatch.setattr(loop, "CARE_EVERY", 600.0)
    session = notebook.begin()
    session.pool("p", 1)
    client = session.connect()
    for number in range(10):
        declare(client, f"echo {number} > o{number}", name=f"s{number}", out=[f"o{number}"])
        assert client.request("Wait", steps=[f"s{number}"])["how"] == "done"
        # As after a kill at this very moment: what is on disk is all there is.
        copy = notebook.folder.parent / f"copy{number}"
        copy.mkdir()
        for path in notebook.folder.glob("a.stepup.db*"):
            (copy / path.name).write_bytes(path.read_bytes())
            (copy / path.name).chmod(0o600)
        store = Store.open(str(copy / "a.stepup.db"))
        steps = {step.key: step for step in store.load().restored.steps}
        store.close()
        assert steps[f"s{number}"].record is not None
    client.close()


# --- events ----------------------------------------------------------------------------------------


def changes(connection):
    return (event for event in connection.events() if event.get("event") == "changes")


def test_subscribers_hear_of_every_change_and_of_the_end_of_outputs(notebook, session, client):
    snapshot = client.request("subscribe")
    assert snapshot["pools"][0]["name"] == "p"
    handle = session.declare("runsh", "echo one; until [ -e go ]; do sleep 0.01; done; echo two", pool="p")
    seen = []
    for event in changes(client):
        seen += [(row["state"], row["stdout_tail"]) for row in event["steps"] if row["name"] == handle.name]
        if ("RUNNING", "one\n") in seen:
            notebook.write("go", "")
        if seen and seen[-1][0] == "SUCCEEDED":
            break
    assert seen[-1] == ("SUCCEEDED", "one\ntwo\n")
    assert event["counts"] == {"SUCCEEDED": 1}


def test_a_flood_of_changes_comes_in_bounded_pieces(session, client):
    client.request("subscribe", snapshot=False)
    session.pool("q", 0)
    script = "true # " + "x" * 50_000
    with session.hold():
        for number in range(60):
            session.declare("runsh", f"{script} {number}", pool="q")
    names = set()
    for event in changes(client):
        assert len(json.dumps(event)) < 3_000_000
        assert len(event["steps"]) <= news.TELL_ROWS
        names |= {row["name"] for row in event["steps"]}
        if len(names) == 60:
            break


def test_a_forgotten_step_is_told_once_and_one_that_comes_back_is_not_gone(session, client):
    client.request("subscribe", snapshot=False)
    session.declare("runsh", "true", name="s").wait()
    session.forget("s")
    session.declare("runsh", "true # again", name="s").wait()
    session.forget("s")
    gone = []
    for event in changes(client):
        gone += event["gone"]
        if "s" in gone and not event["steps"]:
            break
    assert session.status()["steps"] == []


def test_forgotten_and_declared_again_in_one_turn_is_remembered(notebook, session, client):
    session.declare("runsh", "true", name="s").wait()
    # Both arrive together.
    client.send("Forget", steps=["s"])
    number = client.send("Declare", spec={**SPEC, "command": "echo new", "name": "s"}, scope="s")
    until(lambda: client.result(number, timeout=1) is not None)
    assert session.wait()["how"] == "done"
    session = notebook.again(session)
    session.pool("p", 2)
    assert session.rows(["s"])[0]["command"] == "echo new"


# --- clients that leave ----------------------------------------------------------------------------


def test_whoever_leaves_while_waiting_is_forgotten_with_his_wait(session, client):
    session.declare("runsh", "sleep 60", name="long")
    other = session.connect()
    other.send("Wait", steps=["long"])
    director = session._host.director
    until(lambda: len(director._asked) == 1)
    other.close()
    until(lambda: not director._asked and not director.scheduler._waits)
    assert state_of(session, "long") == "RUNNING"
    session.cancel("long")


def test_a_log_is_read_to_its_end_from_one_job_though_the_step_runs_again(session, client):
    session.declare("runsh", "head -c 1200000 /dev/zero", name="s").wait()
    first = client.request("log", step="s", stream="stdout", offset=0, job=None)
    session.rerun("s")
    session.wait()
    rest, offset = b"", first["next"]
    while offset is not None:
        answer = client.request("log", step="s", stream="stdout", offset=offset, job=first["job"])
        rest += answer["bytes"].encode("latin-1")
        offset = answer["next"]
    assert len(first["bytes"]) + len(rest) == 1_200_000
    assert client.request("log", step="s")["job"] == first["job"] + 1


def test_a_step_that_never_ran_has_an_empty_log(session, client):
    declare(client, "true", name="s", block=True)
    assert client.request("log", step="s") == {"job": None, "bytes": "", "next": None, "path": None}
    assert session.log("s") == b""


def test_shutdown_is_answered_and_ends_everything(notebook):
    session = notebook.begin()
    session.pool("p", 1)
    client = Connection(session._host.socket, ThreadedHost.token)
    assert client.request("shutdown") == {}
    session._host._host.join()
    assert not os.path.exists(session._host.socket)
    client.close()


def test_the_world_of_these_tests_ends_what_it_began(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    notebook = Notebook(folder, ThreadedHost)
    session = notebook.begin()
    session.pool("p", 1)
    notebook.close()
    assert not session.is_started


def test_the_history_is_pruned_although_there_is_always_work(notebook, monkeypatch):
    # A step that runs for ever kept all the others' jobs, and their logs, for ever.
    monkeypatch.setattr(loop, "MANY_JOBS", 20)
    monkeypatch.setattr(loop, "CARE_EVERY", 0.01)
    monkeypatch.setenv("STEPUP_NB_HISTORY", "3")
    session = notebook.begin()
    session.declare("runsh", "sleep 1000", name="for ever")
    short = session.declare("runsh", "echo hello", name="short")
    for _ in range(40):
        short.wait()
        short.rerun()
    until(lambda: len(session.history()) < 30)
    logs = Path(notebook.place.state, "logs")
    assert len(list(logs.glob("*.out"))) < 30
    session.cancel("for ever")
