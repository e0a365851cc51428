"""Many at once: kernels that want one notebook, threads that share one session, a fork in the middle of it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from director.helpers_world import KernelProcess, Notebook, overlap, until
from faults.helpers_rounds import rounds
from notebook.helpers_kernel import LONG

import stepup_nb
from stepup_nb import api
from stepup_nb.client import current
from stepup_nb.client.launch import ProcessHost
from stepup_nb.client.session import check
from stepup_nb.core.errors import UsageError
from stepup_nb.core.frames import ANSWER_LIMIT, Frames, frame
from stepup_nb.director import owner


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Iterator[Notebook]:
    """A folder whose sessions have directors in processes of their own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "project"
    folder.mkdir()
    found = Notebook(folder, ProcessHost)
    yield found
    found.close()


# --- many kernels -----------------------------------------------------------------------------------

HERD = """
    import json, os, time

    def begin(wants):
        # Each of them is a kernel: a process of its own, with a start of its own.
        began = time.monotonic()
        try:
            mine = wants()
            said = ["owner", os.getpid(), time.monotonic() - began, ""]
        except StepUpError as error:
            mine = None
            said = [error.code, os.getpid(), time.monotonic() - began, str(error)]
        return mine, said

    def herd(number, wants):
        ready, gate, end = os.pipe(), os.pipe(), os.pipe()
        answers = os.pipe()
        for _ in range(number):
            if os.fork() == 0:
                os.close(gate[1]), os.close(end[1])
                os.write(ready[1], b"x")
                os.read(gate[0], 1)
                mine, said = begin(wants)
                os.write(answers[1], json.dumps(said).encode() + b"\\n")
                os.read(end[0], 1)
                if hasattr(mine, "close"):
                    mine.close()
                os._exit(0)
        for _ in range(number):
            os.read(ready[0], 1)
        os.close(gate[1])
        with open(answers[0]) as said:
            for _ in range(number):
                print(said.readline(), end="", flush=True)
        sys.stdin.readline()
        os.close(end[1])
        for _ in range(number):
            os.wait()
        print("over", flush=True)
"""

SESSIONS = """
    from stepup_nb.client import launch

    # So many directors at once take longer to start than one may.
    launch.START_WITHIN = 100.0

    def wants():
        session = Session(place, workers=2)
        session.declare("runsh", f"echo {os.getpid()} > mine", out="mine", name="mine")
        return session

    herd(%d, wants)
"""

LOCKS = """
    from stepup_nb.director import owner

    def wants():
        return owner.acquire(owner.lock_path(place.database), notebook="a.ipynb", kernel_pid=os.getpid())

    herd(%d, wants)
"""


@contextlib.contextmanager
def herd(notebook: Notebook, code: str, number: int) -> Iterator[list[tuple[str, int, float, str]]]:
    """Let so many processes do the same at the same moment; yield what each of them was told, while they live."""
    kernel = KernelProcess(notebook, HERD + code % number)
    try:
        yield [kernel.tells() for _ in range(number)]
        kernel.go_on()
        assert kernel.says() == "over"
    finally:
        kernel.close()


def told_who(said: list[tuple[str, int, float, str]]) -> list[float]:
    """Check that there is one owner, and that all others were told who; return how long they had to wait for that."""
    ((_, pid, _, _),) = [row for row in said if row[0] == "owner"]
    refused = [row for row in said if row[0] != "owner"]
    for code, _, _, words in refused:
        assert code == "SNB-210"
        assert f"kernel pid {pid} on {socket.gethostname()} has held it since" in words
    return [seconds for *_, seconds, _ in refused]


def test_of_fifty_that_want_a_lock_one_gets_it_and_each_other_one_is_told_who(notebook):
    with herd(notebook, LOCKS, 50) as said:
        waited = told_who(said)
        assert len(waited) == 49
    # What keeps it below a second is the patience with a living holder, not how fast a machine is.
    assert owner._LEAST < 1.0
    print(f"refused after {statistics.median(waited):.2f} s, at most {max(waited):.2f} s")


def test_of_many_kernels_that_start_on_one_notebook_one_owns_it_and_nothing_of_the_others_was_started(
    notebook,
):
    number = rounds(12, 50)
    with herd(notebook, SESSIONS, number) as said:
        waited = told_who(said)
        assert len(waited) == number - 1
        ((_, pid, _, _),) = [row for row in said if row[0] == "owner"]
        until(lambda: notebook.read("mine") == f"{pid}\n")
    print(
        f"refused after {statistics.median(waited):.2f} s, at most {max(waited):.2f} s, a director's start included"
    )
    session = notebook.begin()
    session.pool("p", 1)
    assert [row["step"] for row in session.history()] == ["mine"]
    assert session.notes == []


AGAIN = """
    for _ in range(2):
        _, said = begin(lambda: session.declare("runsh", "echo 2 > b", out="b").wait() and None)
        print(json.dumps(said), flush=True)
        sys.stdin.readline()
"""


def test_whoever_is_refused_may_ask_again_and_gets_it_when_the_owner_has_gone(notebook):
    first = notebook.begin()
    first.declare("runsh", "echo 1 > a", out="a").wait()
    with contextlib.closing(KernelProcess(notebook, HERD + AGAIN)) as second:
        assert second.tells()[0] == "SNB-210"
        first.close()
        second.go_on()
        assert second.tells()[0] == "owner"


# --- many threads -----------------------------------------------------------------------------------

THREADS = 16


def at_once(work: Callable[[int], None]) -> None:
    """Do something in many threads at once; raise what one of them raised."""
    errors: list[BaseException] = []
    gate = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            gate.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_sixteen_threads_declare_cancel_and_resize_and_no_step_is_lost_or_doubled(notebook):
    session = notebook.begin(workers=4)
    session.pool("p", 2)
    each = rounds(12, 100)
    cancelled: set[str] = set()

    def work(number: int) -> None:
        for count in range(each):
            name = f"{number}-{count}"
            session.declare("runsh", f"echo {name} >> runs", name=name, pool="p")
            if count % 4 == 0:
                session.pool("p", 1 + (number + count) % 3)
            elif count % 4 == 1:
                cancelled.update(session.cancel(name))
            elif count % 4 == 2:
                session.declare("runsh", f"echo {name} >> runs", name=name, pool="p")
            else:
                assert session.rows([name])[0]["name"] == name

    at_once(work)
    session.pool("p", 2)
    session.wait()
    names = {f"{number}-{count}" for number in range(THREADS) for count in range(each)}
    rows = {row["name"]: row for row in session.status()["steps"]}
    assert rows.keys() == names
    states = Counter(row["state"] for row in rows.values())
    assert states.keys() <= {"SUCCEEDED", "CANCELLED"}
    assert {name for name, row in rows.items() if row["state"] == "CANCELLED"} <= cancelled
    # What really happened, by who did it: nobody ran twice, and whoever succeeded did run.
    runs = Counter(notebook.read("runs").split())
    jobs = Counter(row["step"] for row in session.history())
    assert max(runs.values()) == max(jobs.values()) == 1
    assert {name for name, row in rows.items() if row["state"] == "SUCCEEDED"} <= runs.keys() <= jobs.keys()
    # The pool never had more slots than three.
    assert overlap(row for row in session.history() if row["ended"] is not None) <= 3


def test_sixteen_threads_that_declare_the_same_get_one_step_each_time_of_asking(notebook):
    session = notebook.begin(workers=4)
    at_once(lambda number: session.declare("runsh", "echo same >> runs", out="runs").wait())
    assert notebook.read("runs") == "same\n"
    assert len(session.history()) == len(session.status()["steps"]) == 1


# --- many clients -----------------------------------------------------------------------------------

UNWELCOME = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    (1 << 30).to_bytes(4, "big") + b"{",
    frame({"id": 1, "op": "hello", "hello": "not the token"}),
    frame({"id": 1, "op": "shutdown"}),
    b"\x00\x00\x00\x02[]",
)
"""Garbage, a gigabyte that is announced, a wrong token, no token, no object."""


def test_of_a_thousand_clients_those_that_know_the_token_are_served_whatever_the_others_send(notebook):
    number = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * number:
        pytest.skip("not run: not that many descriptors are allowed here")
    # The director inherits the limit.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 * number, hard))
    try:
        session = notebook.begin()
        handle = session.declare("runsh", "until test -e go; do sleep 0.02; done; echo A")
        path, token = session._host.socket, session._host.token
        with contextlib.ExitStack() as ends:
            peers = [ends.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(number)]
            for turn, peer in enumerate(peers):
                peer.connect(path)
                peer.settimeout(LONG)
                if turn % 4 == 0:
                    peer.sendall(UNWELCOME[turn // 4 % len(UNWELCOME)])
                elif turn % 4 == 1:
                    # Half a message, and silence.
                    peer.sendall(frame({"id": 1, "hello": token})[:7])
                elif turn % 4 == 2:
                    peer.sendall(frame({"id": 1, "hello": token}) + frame({"id": 2, "op": "status"}))
            for peer in peers[::4]:
                assert peer.recv(100) == b""
            for peer in peers[2::4]:
                answers = Frames(ANSWER_LIMIT)
                got: list[dict[str, Any]] = []
                while len(got) < 2:
                    got += answers.feed(peer.recv(1 << 16))
                assert got[1]["ok"]["counts"] == {"RUNNING": 1}
            notebook.write("go", "")
            assert handle.wait().stdout == "A\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- a fork -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_gets_an_error_from_every_call_at_once_while_threads_of_its_parent_work(notebook):
    session = notebook.begin(workers=4)
    current.set_session(session)
    try:
        handle = session.declare("runsh", "echo first", name="first")
        calls = {
            "runsh": lambda: api.runsh("true"),
            "pool": lambda: api.pool("p", 1),
            "static": lambda: api.static("a"),
            "status": stepup_nb.status,
            "history": stepup_nb.history,
            "why": lambda: stepup_nb.why("first"),
            "cancel": lambda: stepup_nb.cancel(all=True),
            "rerun": lambda: stepup_nb.rerun(all=True),
            "wait": session.wait,
            "begin_wait": session.begin_wait,
            "a handle's wait": handle.wait,
            "a handle's state": lambda: handle.state,
        }
        notebook.write("a", "")
        forked: list[dict[str, str]] = []

        def work(number: int) -> None:
            for count in range(6):
                session.declare("runsh", f"echo {number}-{count}", name=f"{number}-{count}")
                if number == 0 and count == 3:
                    forked.append(answers_of_a_child(calls))

        at_once(work)
        assert forked == [dict.fromkeys(calls, "SNB-206")]
        check(session.wait())
        assert session.status()["counts"] == {"SUCCEEDED": THREADS * 6 + 1}
        assert len(session.history()) == THREADS * 6 + 1
    finally:
        current.set_session(None)


def answers_of_a_child(calls: dict[str, Callable[[], object]]) -> dict[str, str]:
    """Call all of them in a forked child, and return the code of the refusal that each of them got."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = {}
        try:
            for name, call in calls.items():
                try:
                    call()
                    said[name] = "nothing"
                except UsageError as error:
                    said[name] = error.code
                except BaseException as error:
                    said[name] = repr(error)
        finally:
            os.write(write, json.dumps(said).encode())
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        words = file.read()
    os.waitpid(child, 0)
    return dict(json.loads(words))
