"""A director is found by its lock, and without one the database tells; nobody is waited for."""

import json
import os
import socket
import time

import pytest
from client.helpers_session import session_in

from stepup_nb.client import find
from stepup_nb.core import places, public
from stepup_nb.core.errors import UsageError


@pytest.fixture
def session(tmp_path):
    found = session_in(tmp_path)
    yield found
    found.close()


def lock_of(session):
    return places.lock_path(session.place.database)


def run(session, command, **options):
    session.declare("runsh", command, **options)
    session.wait()


def row_of(found):
    (row,) = found["steps"]
    return row


# --- a live director ------------------------------------------------------------------------------------


def test_a_live_director_is_asked(session):
    run(session, "echo hello")
    found = find.status(session.place.database)
    assert found["director_pid"] == find.holder(session.place.database)["director_pid"]
    assert found["notebook"] == session.place.notebook
    assert found["counts"] == {"SUCCEEDED": 1}
    assert row_of(found)["stdout_tail"] == "hello\n"
    assert row_of(found)["dormant"] is False


def test_a_live_director_also_says_what_keeps_steps_from_running(session):
    session.declare("runsh", "echo A", pool="tset")
    session.declare("runsh", "echo B", pool="tset")
    (cause,) = find.status(session.place.database)["causes"]
    assert "'tset'" in cause["cause"]
    assert cause["number"] == 2
    assert cause["steps"] == ["runsh echo A", "runsh echo B"]


def test_asking_does_not_disturb(session, tmp_path):
    (tmp_path / "a.txt").write_text("1")
    run(session, "cat a.txt > b.txt", inp="a.txt", out="b.txt")
    (tmp_path / "a.txt").write_text("2")
    for _ in range(3):
        find.status(session.place.database)
    assert len(session.history()) == 1, (
        "the change is noticed when somebody waits or declares, not when one looks"
    )


# --- no director ------------------------------------------------------------------------------------------


def test_without_a_director_the_database_tells(session, tmp_path):
    session.pool("test", 2)
    run(session, "echo hello; echo oops >&2; exit 3", pool="test")
    before = public.status(find.status(session.place.database))
    session.close()
    after = public.status(find.status(session.place.database))
    assert after["director_pid"] is None
    assert after["counts"] == {"FAILED": 1}
    assert after["pools"] == before["pools"]
    same = set(public.STEP) - {"dormant", "reason"}
    assert {key: row_of(after)[key] for key in same} == {key: row_of(before)[key] for key in same}
    assert row_of(after)["dormant"] is True


def test_the_notebook_is_named_if_it_is_there(session, tmp_path):
    run(session, "true")
    session.close()
    assert find.status(session.place.database)["notebook"] is None
    (tmp_path / "a.ipynb").write_text("{}")
    assert find.status(session.place.database)["notebook"] == str(tmp_path / "a.ipynb")


def test_looking_changes_nothing_on_disk(session, tmp_path):
    run(session, "true")
    session.close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    find.status(session.place.database)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_database_that_is_not_there_is_an_error_of_the_user(tmp_path):
    with pytest.raises(UsageError) as raised:
        find.status(str(tmp_path / "a.stepup.db"))
    assert raised.value.code == "SNB-315"


def test_a_file_that_is_no_database_is_an_error_of_the_user(tmp_path):
    (tmp_path / "a.stepup.db").write_text("no database")
    with pytest.raises(UsageError) as raised:
        find.status(str(tmp_path / "a.stepup.db"))
    assert raised.value.code == "SNB-310"


# --- locks ---------------------------------------------------------------------------------------------


def write_lock(tmp_path, **more):
    path = tmp_path / ".stepup" / "a" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "host": socket.gethostname(),
        "director_pid": 1,
        "kernel_pid": 1,
        "kernel_start": "",
        "started": 1.0,
        "notebook": "a.ipynb",
        **more,
    }
    path.write_text(json.dumps(facts))
    return find.holder(str(tmp_path / "a.stepup.db"))


def test_a_lock_of_a_director_that_is_gone_leads_to_nobody(tmp_path):
    found = write_lock(tmp_path, socket=str(tmp_path / "gone"), token="x")
    assert find.connect(found) is None


def test_a_lock_of_a_director_that_does_not_listen_yet_leads_to_nobody(tmp_path):
    assert find.connect(write_lock(tmp_path)) is None


def test_a_lock_of_another_machine_leads_to_nobody(session):
    session.status()
    found = find.holder(session.place.database)
    assert find.connect({**found, "host": "elsewhere"}) is None
    connection = find.connect(found)
    assert connection is not None
    connection.close()


def test_a_director_that_does_not_answer_counts_as_gone(tmp_path):
    path = str(tmp_path / "mute")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        mute.listen()
        begin = time.monotonic()
        assert find.connect(write_lock(tmp_path, socket=path, token="x"), timeout=0.05) is None
        assert time.monotonic() - begin < 5.0


def test_a_link_in_place_of_a_lock_is_not_followed(session, tmp_path):
    session.status()
    lock = lock_of(session)
    os.rename(lock, lock + ".real")
    os.symlink(lock + ".real", lock)
    assert find.holder(session.place.database) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"host": 1}'])
def test_a_lock_that_says_nothing_leads_to_nobody(tmp_path, text):
    write_lock(tmp_path)
    (tmp_path / ".stepup" / "a" / "lock").write_text(text)
    assert find.holder(str(tmp_path / "a.stepup.db")) is None
    assert find.connect(None) is None


# --- databases -----------------------------------------------------------------------------------------


def test_the_databases_of_a_folder_are_those_of_its_notebooks_and_of_its_plan(tmp_path):
    for name in ("b.stepup.db", "a.stepup.db", "other.db", "a.stepup.db-wal"):
        (tmp_path / name).touch()
    (tmp_path / ".stepup").mkdir()
    (tmp_path / ".stepup" / "graph.db").touch()
    found = [os.path.relpath(path, tmp_path) for path in find.databases(str(tmp_path))]
    assert found == ["a.stepup.db", "b.stepup.db", ".stepup/graph.db"]


def test_a_folder_that_is_not_there_has_no_databases(tmp_path):
    assert find.databases(str(tmp_path / "gone")) == []


@pytest.mark.parametrize(
    ("database", "lock"),
    [
        ("/w/analysis.stepup.db", "/w/.stepup/analysis/lock"),
        ("/w/.stepup/graph.db", "/w/.stepup/graph/lock"),
        ("/w/plain.db", "/w/.stepup/plain/lock"),
    ],
)
def test_the_lock_has_its_place(database, lock):
    assert places.lock_path(database) == lock
