"""Life and death: what starts a director, what ends it, and what is left of it and its steps."""

import contextlib
import json
import os
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from director.helpers_world import (
    KernelProcess,
    alive,
    cell,
    director_of,
    on_both_hosts,
    parent_of,
    ran,
    state_of,
    until,
    with_processes,
)

from stepup_nb.client import launch
from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.client.session import check
from stepup_nb.core.errors import InternalError, OwnerError, StepsFailed, UsageError
from stepup_nb.director import host, owner
from stepup_nb.director.store import KEPT_JOBS


@pytest.fixture
def runtime(monkeypatch):
    """The folder that folders of sockets are made in, with a path as short as such a folder has."""
    with tempfile.TemporaryDirectory(prefix="run-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def kernels():
    """Starts kernels, and ends them after the test."""
    begun = []

    def start(*args, **options):
        begun.append(KernelProcess(*args, **options))
        return begun[-1]

    yield start
    for kernel in begun:
        kernel.close()


class Disk:
    """A small disk of its own under a notebook's folder."""

    def __init__(self, folder):
        self._folder = folder
        self._ballast = folder / "ballast"
        self._mount("size=2m")

    def _mount(self, options):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", self._folder], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr}")

    def remount(self, options):
        self._mount(f"remount,{options}")

    def fill(self):
        """Leave no room for anything."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self):
        self._ballast.unlink()

    def close(self):
        subprocess.run(["umount", self._folder], check=True)


@pytest.fixture
def disk(notebook):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = Disk(notebook.folder)
    yield disk
    notebook.close()
    disk.close()


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in b"ZX"
    except OSError:
        return False


# --- the end of a kernel ---------------------------------------------------------------------------

FOUR_STEPS = """
    import json, os, sys, time
    for number in range(4):
        session.declare("runsh", "sh -c 'sleep {word} & sleep {word}' # " + str(number))
    while session.status()["counts"] != {{"RUNNING": 4}}:
        time.sleep(0.01)
    print(json.dumps(session.status()["director_pid"]), flush=True)
    sys.stdin.readline()
"""


@with_processes
@pytest.mark.parametrize("does_hang", [False, True])
def test_two_seconds_after_a_killed_kernel_nothing_is_alive(notebook, kernels, runtime, does_hang):
    word = f"34{os.getpid()}"
    kernel = kernels(notebook, FOUR_STEPS.format(word=word))
    director = kernel.tells()
    guard = parent_of(director)
    until(lambda: len(alive(word)) == 8)
    assert len(list(runtime.iterdir())) == 1
    if does_hang:
        os.kill(director, signal.SIGSTOP)
    kernel.kill()
    begin = time.monotonic()
    until(lambda: not (alive(word) or is_there(director) or is_there(guard)))
    assert time.monotonic() - begin < 2
    # What lay in memory, or cost a place in a folder, is gone too.
    assert list(runtime.iterdir()) == []


@with_processes
def test_a_director_whose_kernel_was_killed_ends_in_order_and_its_steps_before_it(notebook, kernels):
    # The guard killed the director first: who killed the guard in that moment had the steps live on.
    word = f"36{os.getpid()}"
    kernel = kernels(notebook, FOUR_STEPS.format(word=word))
    director = kernel.tells()
    guard = parent_of(director)
    until(lambda: len(alive(word)) == 8)
    kernel.kill()
    until(lambda: not is_there(director))
    with contextlib.suppress(ProcessLookupError):
        os.kill(guard, signal.SIGKILL)
    until(lambda: not is_there(guard))
    assert alive(word) == []
    assert not list(notebook.folder.glob("*-wal")), "the database was closed"


@with_processes
def test_what_a_killed_kernel_ran_was_interrupted_and_runs_again(notebook, kernels):
    word = f"35{os.getpid()}"
    kernel = kernels(notebook, FOUR_STEPS.format(word=word))
    kernel.tells()
    kernel.kill()
    session = notebook.begin(workers=4)
    with cell(session, "a"):
        handle = session.declare("runsh", f"sh -c 'sleep {word} & sleep {word}' # 0")
    until(lambda: handle.state == "RUNNING")
    assert [row["outcome"] for row in session.history()] == ["interrupted"] * 4 + [None]
    assert len(alive(word)) <= 3


@with_processes
def test_a_kernel_that_ends_in_order_leaves_nothing_either(notebook, kernels, runtime):
    word = f"36{os.getpid()}"
    kernel = kernels(notebook, FOUR_STEPS.format(word=word) + "    session.close()\n")
    director = kernel.tells()
    guard = parent_of(director)
    kernel.go_on()
    assert kernel.process.wait(timeout=10) == 0
    assert not alive(word)
    assert not is_there(director)
    assert not is_there(guard)
    assert list(runtime.iterdir()) == []
    # Its steps are not done: they run again.
    session = notebook.begin()
    session.pool("p", 1)
    assert {row["outcome"] for row in session.history()} == {"interrupted"}


@with_processes
def test_a_kernel_that_forgets_to_close_its_session_leaves_nothing(notebook, kernels, runtime):
    word = f"37{os.getpid()}"
    kernel = kernels(notebook, FOUR_STEPS.format(word=word))
    kernel.tells()
    kernel.go_on()
    assert kernel.process.wait(timeout=10) == 0
    until(lambda: not alive(word) and not list(runtime.iterdir()))


# --- the end of a director -------------------------------------------------------------------------


@with_processes
def test_a_killed_director_is_told_and_replaced_and_what_was_interrupted_runs_again(notebook, runtime):
    session = notebook.begin(workers=4)
    word = f"38{os.getpid()}"
    session.pool("p", 2)
    with cell(session, "a"):
        session.declare("runsh", "echo done > done", out="done", name="done").wait()
        for number in range(3):
            session.declare(
                "runsh", f"sleep {word} & echo x >> o{number}; wait", name=f"long {number}", pool="p"
            )
    until(lambda: len(alive(word)) == 2)
    director = director_of(session)
    os.kill(director, signal.SIGKILL)
    until(lambda: not alive(word))
    assert notebook.news == []
    # The new one looks at their outputs first, and may be asked while it does.
    until(lambda: session.status()["counts"] == {"RUNNING": 2, "QUEUED": 1, "SUCCEEDED": 1})
    assert len(notebook.news) == 1
    assert "lost" in notebook.news[0]
    assert director_of(session) != director
    assert [row["outcome"] for row in session.history()] == [
        "succeeded",
        "interrupted",
        "interrupted",
        None,
        None,
    ]
    assert session.rows(["done"])[0]["cell"] == "cell 'cell:a'"
    # The cell is still the owner: run again without them, it stops them.
    with cell(session, "a"):
        session.declare("runsh", "echo done > done", out="done", name="done")
    check(session.wait())
    assert session.status()["counts"] == {"SUCCEEDED": 1}
    assert len(list(runtime.iterdir())) == 1


@with_processes
def test_whoever_waits_goes_on_waiting_with_the_new_director(notebook):
    session = notebook.begin()
    session.declare("runsh", "echo x >> n; test $(wc -l < n) -gt 1 || sleep 60", name="s")
    waiting = session.begin_wait()
    until(lambda: notebook.read("n"))
    os.kill(director_of(session), signal.SIGKILL)
    check(waiting.result(timeout=30))
    assert notebook.read("n") == "x\nx\n"
    assert len(notebook.news) == 1


@with_processes
def test_a_killed_guard_takes_everything_with_it_and_is_replaced(notebook, runtime):
    session = notebook.begin(workers=4)
    word = f"39{os.getpid()}"
    session.declare("runsh", f"trap '' TERM; setsid sleep {word} & sleep {word}")
    until(lambda: len(alive(word)) == 2)
    director = director_of(session)
    os.kill(parent_of(director), signal.SIGKILL)
    until(lambda: not alive(word) and not is_there(director))
    session.pool("p", 1)
    assert len(notebook.news) == 1
    until(lambda: len(alive(word)) == 2)
    assert len(list(runtime.iterdir())) == 1


@with_processes
def test_a_director_that_is_killed_while_many_threads_ask_is_replaced_once(notebook):
    # Each of them started a new director, and killed the one that another had just started.
    from concurrent.futures import ThreadPoolExecutor

    session = notebook.begin(workers=2)
    session.pool("p", 0)

    def work(number):
        if number == 20:
            os.kill(director, signal.SIGKILL)
        return session.declare("runsh", f"echo {number}", name=str(number), pool="p").name

    director = director_of(session)
    with ThreadPoolExecutor(12) as threads:
        assert sorted(threads.map(work, range(60)), key=int) == [str(number) for number in range(60)]
    assert len(notebook.news) == 1
    assert session.status()["counts"] == {"QUEUED": 60}


@with_processes
def test_what_was_decided_holds_for_the_new_director(notebook):
    session = notebook.begin(workers=2)
    other = session.connect()
    session.pool("resized", 1)
    other.request("DefinePool", name="resized", size=7, tokens=[], scope="panel")
    session.pool("dropped", 1)
    session.drop_pool("dropped")
    session.pool("paused", 1)
    session.pause("paused")
    with cell(session, "a"):
        session.declare("runsh", "sleep 60", name="cancelled")
        session.declare("runsh", "true", name="forgotten").wait()
        session.declare("runsh", "echo wrong >> wrong", name="edited", pool="paused")
    with cell(session, "a", is_ok=False):
        session.declare("runsh", "echo right >> right", name="edited", pool="paused")
    session.cancel("cancelled")
    session.forget("forgotten")
    until(lambda: state_of(session, "cancelled") == "CANCELLED")
    with session.hold():
        session.declare("runsh", "true", name="held")
        os.kill(director_of(session), signal.SIGKILL)
        # The director of a dead connection does not know the hold any more; the new one has to.
        assert session.wait(["held"])["how"] == "stuck"
        pools = {pool["name"]: (pool["size"], pool["paused"]) for pool in session.status()["pools"]}
        assert pools == {"resized": (7, False), "paused": (1, True)}
    assert session.wait(["held"])["how"] == "done"
    session.resume("paused")
    session.wait()
    states = {row["name"]: row["state"] for row in session.status()["steps"]}
    assert states == {"cancelled": "CANCELLED", "edited": "SUCCEEDED", "held": "SUCCEEDED"}
    assert (notebook.read("wrong"), notebook.read("right")) == ("", "right\n")
    other.close()


@with_processes
def test_a_step_that_kills_the_director_is_not_run_for_ever(notebook):
    session = notebook.begin()

    def use():
        session.declare("runsh", "echo x >> n; kill -9 $PPID; sleep 60", name="killer")
        session.wait()

    with pytest.raises(UsageError) as caught:
        use()
    assert caught.value.code == "SNB-209"
    assert caught.value.fix
    assert len(notebook.read("n")) <= len("x\n") * 3
    # The next use begins anew, and gets the chance to do something about it.
    session.close()


@with_processes
def test_the_last_words_of_a_director_are_told_and_kept(notebook):
    session = notebook.begin()
    session.pool("p", 1)
    log = Path(notebook.place.state) / "director.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.write_text("Traceback\n  somewhere\nZeroDivisionError: x\n")
    os.kill(director_of(session), signal.SIGKILL)
    session.pool("p", 2)
    assert notebook.news[0].endswith(": ZeroDivisionError: x")
    assert log.read_text() == ""
    assert "somewhere" in log.with_name("director.log.1").read_text()


@with_processes
def test_a_broken_conversation_is_taken_up_again_and_nothing_is_lost(notebook):
    # An interrupt in the middle of a request broke it off, and what ran was killed with the director.
    session = notebook.begin()
    handle = session.declare("runsh", "until [ -e go ]; do sleep 0.01; done")
    until(lambda: handle.state == "RUNNING")
    director = director_of(session)
    session._connection.close()
    assert director_of(session) == director
    notebook.write("go", "")
    handle.wait()
    assert notebook.news == []
    assert len(session.history()) == 1


# --- who may be the director -----------------------------------------------------------------------


SECOND = """
    import json
    try:
        session.pool("p", 1)
        print(json.dumps(["started"]), flush=True)
    except StepUpError as error:
        print(json.dumps([error.code, error.what, error.why, error.fix]), flush=True)
    sys.stdin.readline()
"""


@with_processes
def test_a_second_kernel_is_refused_within_a_second_and_told_who_holds_the_notebook(notebook, kernels):
    session = notebook.begin()
    session.pool("p", 1)
    code, what, why, fix = kernels(notebook, SECOND).tells()
    assert code == "SNB-210"
    assert "a.ipynb" in what
    assert f"pid {os.getpid()} on {socket.gethostname()}" in why
    assert fix
    # The rest of the second is for the start of two processes, which takes as long as the machine is busy.
    assert owner._LEAST < 0.5
    session.pool("p", 2)


def test_a_second_session_of_the_same_kernel_is_refused_too(notebook):
    session = notebook.begin()
    session.pool("p", 1)
    second = notebook.begin()
    with pytest.raises(OwnerError):
        second.pool("p", 1)
    session.close()
    second.pool("p", 1)


@with_processes
def test_the_director_of_a_dead_kernel_is_waited_for(notebook, kernels):
    word = f"40{os.getpid()}"
    kernel = kernels(notebook, FOUR_STEPS.format(word=word))
    kernel.tells()
    kernel.process.send_signal(signal.SIGKILL)
    second = kernels(notebook, SECOND)
    assert second.tells()[0] == "started"
    assert not alive(word)


# --- the state file --------------------------------------------------------------------------------


def test_an_unwritable_place_works_in_memory_and_says_so(notebook, disk):
    notebook.write("a.txt", "A")
    disk.remount("ro")
    session = notebook.begin()
    handle = session.declare("runsh", "cat a.txt", inp="a.txt")
    handle.wait()
    assert any("nothing will be remembered" in note for note in session.notes)
    assert any("no lock can be made" in note for note in session.notes)
    assert session.rows([handle.name])[0]["stdout_tail"] == "A"
    assert [path.name for path in notebook.folder.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("content", [b"", b"garbage\n" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_garbage_state_file_is_moved_aside_and_the_session_works(notebook, session, content):
    Path(notebook.place.database).write_bytes(content)
    os.chmod(notebook.place.database, 0o600)
    session.declare("runsh", "echo > a", out="a").wait()
    assert any("SNB-310" in note and "Moved to" in note for note in session.notes)
    (aside,) = notebook.folder.glob("a.stepup.db.bad*")
    assert aside.read_bytes() == content
    session = notebook.again(session)
    session.declare("runsh", "echo > a", out="a").wait()
    assert len(session.history()) == 1
    assert session.notes == []


@on_both_hosts
def test_a_newer_state_file_is_refused_and_not_touched(notebook):
    session = notebook.begin()
    session.pool("p", 1)
    session.close()
    db = sqlite3.connect(notebook.place.database)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = Path(notebook.place.database).read_bytes()
    session = notebook.begin()
    for _ in range(2):
        with pytest.raises(UsageError, match="SNB-312"):
            session.pool("p", 1)
    assert not session.is_started
    assert Path(notebook.place.database).read_bytes() == before
    assert sorted(path.name for path in notebook.folder.iterdir()) == [".stepup", "a.stepup.db"]


def test_after_the_state_file_was_removed_no_step_shows_what_another_one_printed(notebook):
    session = notebook.begin()
    session.declare("runsh", "echo old").wait()
    session.close()
    os.unlink(notebook.place.database)
    session = notebook.begin()
    silent = session.declare("runsh", "true")
    session.wait()
    assert (silent.job, silent.stdout) == (1, "")


def test_logs_go_with_the_history(notebook, session):
    again = session.declare("runsh", "echo A")
    again.wait()
    while again.job < KEPT_JOBS + 2:
        again.rerun()
        again.wait()
    logs = Path(notebook.place.state) / "logs"
    until(lambda: not (logs / "2.out").exists())
    assert len(list(logs.iterdir())) == KEPT_JOBS
    assert again.stdout == "A\n"


def test_a_state_file_that_is_removed_under_a_director_is_noticed(notebook, session):
    session.declare("runsh", "true").wait()
    os.unlink(notebook.place.database)
    other = session.connect()
    until(lambda: any("SNB-305" in note for note in other.request("status")["notes"]))
    session.declare("runsh", "true # 2").wait()
    other.close()


@with_processes
def test_a_full_disk_pauses_and_everything_goes_on_when_there_is_room(notebook, disk):
    session = notebook.begin()
    session.declare("runsh", "true", name="before").wait()
    disk.fill()
    asking, declaring = session.connect(), session.connect()
    command = f"echo {'x' * 100_000}; echo ran >&2"
    spec = {"action": "runsh", "command": command, "name": "after", "timeout": 0.01, "retry": 3}
    number = declaring.send("Declare", spec=spec, scope="s")
    until(lambda: any("SNB-320" in note for note in asking.request("status")["notes"]))
    # Nothing is answered and nothing starts; and whoever asks is told why.
    assert declaring.result(number, timeout=0.1) is None
    assert len(asking.request("history")["rows"]) == 1
    disk.empty()
    assert declaring.result(number, timeout=30)["step"] == "after"
    session.wait(["after"])
    assert not any("SNB-320" in note for note in asking.request("status")["notes"])
    assert "before" in ran(session)
    session = notebook.again(session)
    session.pool("p", 1)
    assert [row["name"] for row in session.rows(["before", "after"])] == ["before", "after"]


@with_processes
def test_a_session_can_be_closed_while_the_disk_is_full(notebook, disk):
    # The request to end waited for room, and the kernel with it.
    session = notebook.begin()
    session.declare("runsh", "true").wait()
    disk.fill()
    errors = []

    def declare():
        try:
            session.declare("runsh", "echo " + "x" * 100_000)
        except UsageError as error:
            errors.append(error.code)

    thread = threading.Thread(target=declare)
    asking = session.connect()
    thread.start()
    until(lambda: any("SNB-320" in note for note in asking.request("status")["notes"]))
    session.close()
    thread.join()
    # There is no room yet: nobody has waited for it.
    assert errors == ["SNB-207"]


# --- starting --------------------------------------------------------------------------------------


def test_a_director_that_cannot_start_says_why(notebook, monkeypatch):
    monkeypatch.setattr(launch, "_search_path", lambda: ["/nowhere"])
    with pytest.raises(InternalError, match="No module named 'stepup_nb'"):
        launch.ProcessHost(notebook.place, 2)


def test_a_director_that_says_nothing_is_not_waited_for_for_ever(notebook, monkeypatch, tmp_path, runtime):
    monkeypatch.setattr(launch, "START_WITHIN", 0.2)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(silent))
    with pytest.raises(InternalError, match="did not start in time"):
        launch.ProcessHost(notebook.place, 2)
    assert list(runtime.iterdir()) == []


def test_a_start_that_the_user_interrupts_leaves_nothing(notebook, monkeypatch, runtime):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "_first_line", interrupt)
    session = notebook.begin()
    session._launch = launch.ProcessHost
    with pytest.raises(KeyboardInterrupt):
        session.pool("p", 1)
    assert not session.is_started
    assert list(runtime.iterdir()) == []
    monkeypatch.undo()
    session.pool("p", 1)


def test_the_token_is_nowhere_where_others_could_read_it(notebook):
    session = notebook.begin()
    session._launch = launch.ProcessHost
    session.pool("p", 1)
    token = session._host.token
    director = director_of(session)
    for pid in (director, parent_of(director)):
        assert token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert token.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    lock = Path(notebook.place.state) / "lock"
    assert json.loads(lock.read_text())["token"] == token
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(session._host.socket)).st_mode) == 0o700


@pytest.mark.parametrize("length", [10, 120])
def test_the_socket_has_a_short_path_whatever_the_folders_are_called(notebook, tmp_path, monkeypatch, length):
    long = tmp_path / ("x" * length)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", None)
    session = notebook.begin()
    session._launch = launch.ProcessHost
    session.pool("p", 1)
    assert len(session._host.socket) < 100
    session.close()
    assert list(long.iterdir()) == []


def test_a_runtime_folder_that_others_may_enter_is_not_used(notebook, runtime):
    runtime.chmod(0o755)
    session = notebook.begin()
    session._launch = launch.ProcessHost
    session.pool("p", 1)
    assert not session._host.socket.startswith(str(runtime))


@on_both_hosts
def test_twenty_sessions_leave_no_descriptor_thread_or_folder(notebook, runtime):
    def once():
        session = notebook.begin()
        session.declare("runsh", "echo > a", out="a").wait()
        session.begin_wait().result()
        session.close()

    def open_files():
        return {
            name: os.readlink(f"/proc/self/fd/{name}")
            for name in os.listdir("/proc/self/fd")
            if _is_open(name)
        }

    once()
    before = len(open_files())
    for _ in range(20):
        once()
    until(lambda: len(open_files()) <= before)
    assert list(runtime.iterdir()) == []
    assert [
        entry for entry in notebook.folder.glob("*") if entry.name not in ("a", ".stepup", "a.stepup.db")
    ] == []


def _is_open(name):
    return os.path.lexists(f"/proc/self/fd/{name}")


@with_processes
def test_a_kernel_with_many_descriptors_can_start_a_director(notebook):
    # select() counts to 1024 only.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip("not that many descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    fill = [os.dup(0) for _ in range(1500)]
    try:
        session = notebook.begin()
        session.declare("runsh", "ls /proc/self/fd").wait(timeout=30)
        session.close()
    finally:
        for fd in fill:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- the host in a thread --------------------------------------------------------------------------


def test_a_thread_host_raises_what_kept_it_from_starting(notebook, tmp_path):
    Path(notebook.place.database).mkdir()
    arguments = host.Arguments(
        kernel=os.getpid(),
        root=str(notebook.folder),
        notebook=None,
        database=notebook.place.database,
        state=notebook.place.state,
        folder=str(tmp_path),
        token="t",
        workers=1,
    )
    with pytest.raises(UsageError, match="SNB-311"):
        host.ThreadHost(arguments)


def test_after_the_end_of_its_director_a_connection_says_that_it_is_gone(session):
    session.pool("p", 1)
    connection = session.connect()
    path = session._host.socket
    session.close()
    with pytest.raises(DirectorGone):
        connection.request("status")
    with pytest.raises(DirectorGone):
        Connection(path, "t0ken")


def test_a_failing_step_is_no_failing_director(session):
    with pytest.raises(StepsFailed):
        session.declare("runsh", "exit 1").wait()
    assert ran(session) == ["exit 1"]
