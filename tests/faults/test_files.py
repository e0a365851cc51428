"""Odd, wrong and changing files: what steps are told of them, and what is believed of them."""

from __future__ import annotations

import os
import socket
import threading
from random import Random

import pytest
from director.helpers_world import cell, on_both_hosts, ran, state_of, until
from faults.helpers_rounds import rounds

from stepup_nb.client.session import check
from stepup_nb.core.declare import SCRIPT_SHELL, make_spec
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Decision
from stepup_nb.core.model import TICK_NS, File
from stepup_nb.director import hashing
from stepup_nb.director.hashing import look
from stepup_nb.director.store import Store

YEAR = 365 * 86400

# --- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("years", [-60, -10, 10, 200])
def test_whatever_time_a_file_says_it_has_its_content_decides(notebook, session, years):
    path = notebook.write("a", "one")

    def age() -> None:
        seconds = path.stat().st_ctime + years * YEAR
        os.utime(path, (seconds, seconds))

    age()
    session.declare("runsh", "cat a > b", inp="a", out="b")
    check(session.wait())
    path.write_text("two")
    age()
    check(session.wait())
    assert notebook.read("b") == "two"
    os.utime(path)
    session = notebook.again(session)
    handle = session.declare("runsh", "cat a > b", inp="a", out="b")
    check(session.wait())
    assert ran(session) == ["cat a > b"] * 2
    assert handle.duration >= 0


# --- outputs that are not what they seem ------------------------------------------------------------


def test_a_pipeline_that_fails_in_the_middle_of_a_cell_fails_its_step(notebook, session):
    # As a line it is for /bin/sh, which is StepUp's and knows no such thing.
    script = session.declare("runsh", "cat missing | sort > a\necho done >> a", out="a", shell=SCRIPT_SHELL)
    line = session.declare("runsh", "cat missing | sort > b", out="b")
    session.wait()
    assert (script.state, script.returncode) == ("FAILED", 1)
    assert notebook.read("a") == ""
    assert line.state == "SUCCEEDED"


def test_an_output_that_is_not_made_fails_its_step_and_is_named(session):
    handle = session.declare("runsh", "true", out=["a", "b"])
    session.wait()
    assert (handle.state, handle.reason) == ("FAILED", "ended with 0 but did not create 'a'")


def test_what_the_user_had_there_before_is_noted_and_never_cleaned(notebook, session):
    # A step that only fetches what is not there yet took the user's file for its own.
    kept, log = notebook.write("data.csv", "mine"), notebook.write("log", "mine as well")
    until(lambda: log.stat().st_ctime_ns + 3 * TICK_NS < notebook.write("x", "").stat().st_ctime_ns)
    with cell(session, "a"):
        command = "test -e data.csv || echo theirs > data.csv"
        handle = session.declare("runsh", command, out="data.csv", vol="log")
    check(session.wait())
    (row,) = session.rows([handle.name])
    assert row["notes"] == ["output 'data.csv' is older than this run, which did not write it"]
    with cell(session, "a"):
        pass
    assert session.clean() == {"removed": [], "kept": []}
    session = notebook.again(session)
    assert session.clean() == {"removed": [], "kept": []}
    assert (kept.read_text(), log.read_text()) == ("mine", "mine as well")


@on_both_hosts
def test_half_an_output_satisfies_nobody_also_when_its_step_is_gone_or_only_remembered(notebook):
    session = notebook.begin()
    with cell(session, "make"):
        session.declare("runsh", "echo half > a; test -e fixed && echo whole > a", out="a", name="make")
    with cell(session, "use"):
        session.declare("runsh", "cat a > b", inp="a", out="b", name="use")
    assert session.wait()["how"] == "stuck"
    assert "which failed" in session.rows(["use"])[0]["reason"]
    session = notebook.again(session)
    with cell(session, "use"):
        session.declare("runsh", "cat a > b", inp="a", out="b", name="use")
    assert session.wait()["how"] == "stuck"
    assert "not as it was built" in session.rows(["use"])[0]["reason"]
    with cell(session, "make"):
        session.declare("runsh", "true", name="other")
    assert session.wait()["how"] == "stuck"
    assert notebook.read("a") == "half\n"
    assert not notebook.read("b")
    notebook.write("fixed", "")
    with cell(session, "make"):
        session.declare("runsh", "echo half > a; test -e fixed && echo whole > a", out="a", name="make")
    check(session.wait())
    assert notebook.read("b") == "whole\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("mkdir a", "is a directory"),
        ("mkfifo a", "is a named pipe"),
        ("mkdir d; ln -s d a", "is a directory"),
        ("ln -s nowhere a", "did not create 'a'"),
        ("ln -s /dev/zero a", "is a device"),
        ("mv socket a", "is a socket"),
    ],
)
def test_an_output_that_is_no_file_fails_its_step_and_is_not_opened(notebook, session, command, words):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(notebook.folder / "socket"))
        handle = session.declare("runsh", command, out="a")
        session.wait()
    assert handle.state == "FAILED"
    assert words in handle.reason
    session.declare("runsh", "true").wait()


def test_two_names_of_one_file_are_not_both_believed(notebook, session):
    # As on a file system that takes 'A' for 'a': what the one had made counted as made by the other.
    os.link(notebook.write("a", "0"), notebook.folder / "A")
    for name in "aA":
        command = f"echo {name} > {name}; : > wrote-{name}; until test -e go; do sleep 0.01; done"
        session.declare("runsh", command, out=name, name=name)
    until(lambda: all((notebook.folder / f"wrote-{name}").exists() for name in "aA"))
    notebook.write("go", "")
    session.wait()
    rows = {row["name"]: row for row in session.status()["steps"]}
    (failed,) = (name for name, row in rows.items() if row["state"] == "FAILED")
    (other,) = rows.keys() - failed
    assert rows[failed]["reason"] == f"'{failed}' is the same file as '{other}', which step '{other}' makes"
    assert rows[other]["state"] == "SUCCEEDED"
    assert notebook.read("a") == f"{other}\n"


# --- names ------------------------------------------------------------------------------------------

PARTS = (
    "..",
    ".",
    "",
    "a",
    "~",
    "$HOME",
    " ",
    "\n",
    "*",
    "{x}",
    "-rf",
    "é",
    "\u202e",
    "\udcff",
    "\0",
    "x" * 300,
)


def test_no_name_of_an_output_leads_out_of_the_project():
    random = Random(27)
    accepted = 0
    for _ in range(rounds(2000, 10_000)):
        name = "/".join(random.choices(PARTS, k=random.randrange(1, 8)))
        if random.random() < 0.2:
            name = "/project/" + name
        if random.random() < 0.1:
            name *= 20
        here = random.choice((".", "sub"))
        try:
            spec = make_spec("runsh", "true", {"out": [name]}, root="/project", here=here)
        except UsageError:
            continue
        accepted += 1
        (path,) = spec.out
        inside = os.path.normpath(os.path.join("/project", path))
        assert inside.startswith("/project/")
        assert not path.startswith("/") and "\0" not in path and len(path) < 4096
    assert accepted > 100


NAMES = (
    "new\nline",
    "quo'te\"",
    "<img src=x onerror=alert(1)>",
    "bidi\u202etxt",
    "\udcff\udcfe",
    "-rf",
    "*",
    "$HOME",
    "`id`;id",
    "a b",
    "~",
    "é",
    "e\u0301",
    "\x1b[31m",
)


@on_both_hosts
def test_files_of_any_name_are_read_made_remembered_and_cleaned(notebook):
    def declare(session) -> None:
        with cell(session, "a"):
            for number, name in enumerate(NAMES):
                session.declare(
                    "runsh", "cp -- ${inp} ${out}", inp=f"in/{name}", out=f"out/{name}", name=str(number)
                )

    for name in NAMES:
        notebook.write(f"in/{name}", name.encode("utf-8", "surrogateescape").hex())
    session = notebook.begin()
    declare(session)
    check(session.wait())
    made = {os.fsdecode(name) for name in os.listdir(os.fsencode(notebook.folder / "out"))}
    assert made == set(NAMES)
    session = notebook.again(session)
    declare(session)
    report = session.wait()
    check(report)
    assert report["skipped"] == len(NAMES)
    with cell(session, "a"):
        pass
    assert set(session.clean()["removed"]) == {f"out/{name}" for name in NAMES}
    assert os.listdir(notebook.folder / "out") == []


# --- inputs that hang, grow or go -------------------------------------------------------------------


@on_both_hosts
def test_an_input_without_end_holds_up_nobody_else(notebook):
    with notebook.write("sparse", "").open("r+b") as file:
        file.truncate(1 << 40)
    session = notebook.begin()
    endless = session.declare("runsh", "true", inp="sparse")
    session.declare("runsh", "echo 1 > a", out="a").wait()
    assert endless.state == "CHECKING"
    session.cancel(endless.name)
    assert session.wait()["how"] == "done"
    assert endless.state == "CANCELLED"
    # Who still reads it, in a thread of this process, has come to its end now.
    os.truncate(notebook.folder / "sparse", 0)


def test_an_input_on_a_disk_that_hangs_holds_up_nobody_else(notebook, session, monkeypatch):
    is_back = threading.Event()
    real = hashing.digest_of

    def digest_of(fd: int, size: int) -> str:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("hung"):
            is_back.wait(60)
        return real(fd, size)

    monkeypatch.setattr(hashing, "digest_of", digest_of)
    monkeypatch.setattr(hashing, "_PATIENCE", 0.01)
    notebook.write("hung", "content")
    for number in range(3):
        session.declare("runsh", f"cat hung # {number}", inp="hung")
    for number in range(3):
        session.declare("runsh", f"echo {number} > {number}", out=f"{number}").wait()
    assert session.status()["counts"] == {"CHECKING": 3, "SUCCEEDED": 3}
    is_back.set()
    check(session.wait())
    assert session.status()["counts"] == {"SUCCEEDED": 6}


def test_an_input_that_goes_while_it_is_read_is_missing_and_nothing_worse(notebook, session, monkeypatch):
    path = notebook.write("a", "content")
    real = hashing.digest_of

    def digest_of(fd: int, size: int) -> str:
        digest = real(fd, size)
        if os.readlink(f"/proc/self/fd/{fd}") == str(path):
            path.unlink()
        return digest

    monkeypatch.setattr(hashing, "digest_of", digest_of)
    handle = session.declare("runsh", "cat a", inp="a")
    assert session.wait()["how"] == "stuck"
    assert (handle.state, handle.reason) == ("PENDING", "input 'a' is missing, and no step builds it")
    monkeypatch.undo()
    notebook.write("a", "content")
    check(session.wait())
    assert state_of(session, handle.name) == "SUCCEEDED"


def test_the_largest_inode_is_remembered_as_it_is(tmp_path):
    store = Store.open(tmp_path / "x.stepup.db")
    path = tmp_path / "a"
    path.write_text("")
    found = look(str(path))._replace(inode=2**64 - 1)
    decision = Decision()
    decision.files["a"] = File("a", look=found)
    store.save(decision, lambda job: (b"", b""))
    store.close()
    store = Store.open(tmp_path / "x.stepup.db")
    assert [file.look for file in store.load().restored.files] == [found]
    store.close()


def test_a_step_that_links_its_input_as_its_output_has_not_changed_it(notebook, session):
    # A link is counted in the file that it leads to: the step was run three times, and failed.
    notebook.write("a", "content")
    session.declare("runsh", "ln -f a b", inp="a", out="b")
    check(session.wait())
    assert ran(session) == ["ln -f a b"]
    session.declare("runsh", "ln -f a c; echo more >> a", inp="a", out="c", name="writes")
    session.wait()
    assert state_of(session, "writes") == "FAILED"
