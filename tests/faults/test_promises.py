"""What stepup_nb promises, one test each, as somebody would see it who does not believe a word.

The directors are real processes; where a promise speaks of a kernel, that is one, too. The promises of `P1` to `P30`
are thirty; what is tortured at length elsewhere is shown once here.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pickle
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from director.helpers_world import (
    KernelProcess,
    Notebook,
    alive,
    cell,
    director_of,
    overlap,
    ran,
    until,
)
from faults.helpers_witness import Disk, as_other_user, holding, lowest_free, needs_root
from notebook.helpers_kernel import Kernel, all_dead, environment

import stepup_nb
from stepup_nb.client.launch import ProcessHost
from stepup_nb.client.session import check
from stepup_nb.core.errors import OwnerError, StepsFailed, UsageError

PACKAGE = Path(stepup_nb.__file__).parent


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Iterator[Notebook]:
    """A folder whose sessions have directors in processes of their own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "project"
    folder.mkdir()
    found = Notebook(folder, ProcessHost)
    yield found
    found.close()


@pytest.fixture
def session(notebook):
    """A session there."""
    return notebook.begin()


@pytest.fixture
def kernels(notebook) -> Iterator[Callable[..., KernelProcess]]:
    """Starts other processes that own sessions of the same notebook."""
    begun = []

    def start(code: str) -> KernelProcess:
        begun.append(KernelProcess(notebook, code))
        return begun[-1]

    yield start
    for one in begun:
        one.close()


class Witness(Kernel):
    """A kernel of which every message that a browser would get is kept."""

    def __init__(self, *args: Any, **variables: str) -> None:
        self.heard: list[tuple[float, str]] = []
        """What its front end was told: when it was sent, in seconds, and all of it as text."""
        super().__init__(*args, **variables)

    def _understand(self, message: dict[str, Any]) -> None:
        if message["msg_type"] in ("comm_open", "comm_msg", "update_display_data", "display_data", "stream"):
            words = json.dumps([message["msg_type"], message["content"]], default=repr)
            self.heard.append((message["header"]["date"].timestamp(), words))
        super()._understand(message)


SECRET = "hunter2-" + os.urandom(8).hex()
"""The value of a variable that is nobody's business."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Witness]:
    """A kernel with the extension, for what needs no kernel of its own."""
    folder = tmp_path_factory.mktemp("kernel")
    kernel = Witness(
        Path(sys.executable),
        folder / "nb",
        XDG_DATA_HOME=str(folder / "data"),
        PRIVATE=SECRET,
        JUPYTER_TOKEN=SECRET,
    )
    kernel.load()
    yield kernel
    kernel.close()


# --- correctness -----------------------------------------------------------------------------------


def test_p01_what_was_killed_halfway_is_not_done_although_its_output_is_there(notebook, kernels):
    kernel = kernels("""
        session.declare("runsh", "echo whole > a", out="a").wait()
        session.declare("runsh", "echo half > b; echo started; sleep 600", out="b")
        while session.rows(["half"])[0]["stdout_tail"] != "started\\n":
            pass
        print("both", flush=True)
        sys.stdin.readline()
    """)
    assert kernel.says() == "both"
    kernel.kill()
    assert notebook.read("b") == "half\n"
    session = notebook.begin()
    session.pool("p", 1)
    rows = {row["name"]: row for row in session.status()["steps"]}
    assert [rows[name]["state"] for name in sorted(rows)] == ["PENDING", "SUCCEEDED"]
    assert [row["outcome"] for row in session.history()] == ["succeeded", "interrupted"]
    # What is done is so by its content: a file that was exchanged since then is not what was recorded.
    notebook.write("a", "other")
    session.declare("runsh", "echo whole > a", out="a").wait()
    assert notebook.read("a") == "whole\n"


def test_p02_what_was_said_to_be_done_before_kill_9_is_not_done_again(notebook, kernels):
    kernel = kernels("""
        for number in range(20):
            session.declare("runsh", f"echo {number} > {number}", out=str(number))
        while session.status()["counts"] != {"SUCCEEDED": 20}:
            pass
        print("done", flush=True)
        sys.stdin.readline()
    """)
    assert kernel.says() == "done"
    kernel.kill()
    session = notebook.begin()
    for number in range(20):
        session.declare("runsh", f"echo {number} > {number}", out=str(number))
    report = session.wait()
    check(report)
    assert (report["skipped"], len(session.history())) == (20, 20)


def test_p03_a_step_never_runs_twice_at_once_also_not_across_a_killed_kernel(notebook, kernels):
    word = f"41{os.getpid()}"
    command = (
        f"pgrep -fx 'sleep {word}' >> seen; sleep {word} & echo run >> runs; test $(wc -l < runs) = 2 || wait"
    )
    kernel = kernels(f"""
        session.declare("runsh", {command!r}, name="s")
        print("declared", flush=True)
        sys.stdin.readline()
    """)
    kernel.says()
    until(lambda: notebook.read("runs") == "run\n" and alive(word))
    kernel.process.send_signal(signal.SIGKILL)
    session = notebook.begin()
    session.declare("runsh", command, name="s").wait()
    assert notebook.read("seen") == ""
    first, second = session.history()
    assert (first["outcome"], second["outcome"]) == ("interrupted", "succeeded")


def test_p04_an_input_that_changes_and_changes_back_meanwhile_is_found_out(notebook, session):
    notebook.write("a", "one")
    command = "cp -p a kept; echo two > a; cp a o; cat kept > a; touch -r kept a"
    handle = session.declare("runsh", command, inp="a", out="o")
    with pytest.raises(StepsFailed, match="input 'a' changed"):
        handle.wait()
    assert notebook.read("a") == "one"
    assert (handle.state, len(session.history())) == ("FAILED", 3)
    # Nobody was told that it had worked, and nobody is satisfied by what it made.
    consumer = session.declare("runsh", "cat o", inp="o")
    session.wait()
    assert consumer.state == "PENDING"


def test_p05_what_failed_was_stopped_or_took_too_long_satisfies_nobody(session):
    session.declare("runsh", "echo > a; exit 1", name="fails", out="a")
    session.declare("runsh", "echo > b; sleep 60", name="long", out="b", timeout=0.2)
    session.declare("runsh", "echo > c; echo made; sleep 60", name="stopped", out="c")
    until(lambda: session.rows(["stopped"])[0]["stdout_tail"])
    session.cancel("stopped")
    for path in "abc":
        session.declare("runsh", f"cat {path}", name=f"use {path}", inp=path)
    report = session.wait()
    assert sorted(ran(session)) == ["fails", "long", "stopped"]
    causes = {row["steps"][0]: row["cause"] for row in report["stuck"]}
    assert "exit code 1" in causes["use a"]
    assert "time-out" in causes["use b"]
    assert "cancelled" in causes["use c"]


def test_p06_of_what_is_not_as_a_step_left_it_nothing_is_removed(notebook, session, tmp_path):
    names = ["plain", "edited", "linked", "folder", "sub/x", "chmodded"]
    with cell(session, "a"):
        session.declare("runsh", f"for f in {' '.join(names)}; do echo mine > $f; done", out=names)
        check(session.wait())
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "x").write_text("mine\n")
    treasure = notebook.write("treasure", "mine\n")
    for name in ("linked", "folder"):
        (notebook.folder / name).unlink()
    (notebook.folder / "linked").symlink_to(treasure)
    (notebook.folder / "folder").mkdir()
    shutil.rmtree(notebook.folder / "sub")
    (notebook.folder / "sub").symlink_to(tmp_path / "home")
    notebook.write("edited", "theirs")
    (notebook.folder / "chmodded").chmod(0o700)
    with cell(session, "a"):
        pass
    done = session.clean()
    assert done["removed"] == ["plain"]
    assert sorted(row["path"] for row in done["kept"]) == sorted(names[1:])
    assert all(row["why"] for row in done["kept"])
    assert (tmp_path / "home" / "x").read_text() == treasure.read_text() == "mine\n"
    assert notebook.read("edited") == "theirs"


def test_p07_after_a_reboot_no_mark_of_a_file_is_believed(notebook, session):
    path = notebook.write("a", "one")
    session.declare("runsh", "cp a b", inp="a", out="b").wait()

    def exchanged(content: str, **settings: object) -> int:
        """Exchange the file and make the database say that its marks are as they were; return the jobs by then."""
        nonlocal session
        session.close()
        path.write_text(content)
        now = path.stat()
        with contextlib.closing(sqlite3.connect(notebook.place.database)) as db, db:
            db.execute(
                "UPDATE file SET inode = ?, mtime_ns = ?, ctime_ns = ?, looked_ns = ? WHERE path = x'61'",
                (str(now.st_ino), now.st_mtime_ns, now.st_ctime_ns, now.st_ctime_ns + 10**12),
            )
            for name, value in settings.items():
                db.execute("UPDATE setting SET value = ? WHERE name = ?", (json.dumps(value), name))
        session = notebook.begin()
        session.declare("runsh", "cp a b", inp="a", out="b").wait()
        return len(session.history())

    # This is what a mark is for: a file that has it is not read again.
    assert exchanged("two") == 1
    home = os.stat(notebook.place.database)
    assert exchanged("six", home=["another boot", home.st_dev, home.st_ino]) == 2
    assert notebook.read("b") == "six"


CELLS = (
    "%load_ext stepup_nb",
    "%runsh --name up -i in.txt -o up.txt -- tr a-z A-Z < in.txt > up.txt",
    "%runsh --name count -i up.txt -o n.txt -- wc -c < up.txt > n.txt",
    "%runsh --name apart -o apart.txt -- echo > apart.txt",
    "%stepup wait",
)


class Clone:
    """A notebook that was executed without a browser, and a copy of its folder with a kernel that has loaded us."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "original"
        self.folder.mkdir()
        self._variables = {"XDG_DATA_HOME": str(folder / "data")}
        cells = [nbformat.v4.new_code_cell(code, id=f"c{number}") for number, code in enumerate(CELLS)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), self.folder / "nb.ipynb")
        (self.folder / "in.txt").write_text("abc")
        self.execute()
        shutil.copytree(self.folder, folder / "copy", symlinks=True)
        self.kernel = Witness(Path(sys.executable), folder / "copy", **self._variables)
        self.before = self._seen()
        self.kernel.load()
        self.after = self._seen()

    def execute(self) -> None:
        """Execute it headless."""
        done = subprocess.run(
            [sys.executable, "-m", "stepup_nb", "execute", "nb.ipynb"],
            cwd=self.folder,
            env=environment(IPYTHONDIR=str(self.folder.parent), **self._variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def history(self) -> list[str]:
        """Return the steps of all jobs, as the original's database knows them."""
        with contextlib.closing(sqlite3.connect(self.folder / "nb.stepup.db")) as db:
            rows = db.execute(
                "SELECT CAST(key AS TEXT) FROM job JOIN name ON name.id = job.step ORDER BY job.id"
            )
            return [name for (name,) in rows]

    def _seen(self) -> dict[str, Any]:
        pid = self.kernel.process.pid
        files = {
            os.path.join(top, name): os.lstat(os.path.join(top, name)).st_mtime_ns
            for top, folders, names in os.walk(self.kernel.folder)
            for name in (*names, *folders)
        }
        fds = []
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                fds.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        return {
            "files": files,
            "processes": [process.pid for process in self.kernel.descendants()],
            "threads": sorted(thread.id for thread in psutil.Process(pid).threads()),
            "sockets": sorted(fd for fd in fds if fd.startswith("socket:")),
        }


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Iterator[Clone]:
    """A notebook and its copy."""
    found = Clone(tmp_path_factory.mktemp("clone"))
    yield found
    found.kernel.close()


@pytest.mark.kernel
def test_p08_with_and_without_a_browser_the_same_steps_are_run(clone):
    kernel = clone.kernel
    assert sorted(clone.history()) == ["apart", "count", "up"]
    for number, code in enumerate(CELLS):
        kernel.run_ok(code, cell=f"c{number}")
    assert set(kernel.states().values()) == {"SKIP"}
    for folder in (clone.folder, kernel.folder):
        (folder / "in.txt").write_text("xyz")
    clone.execute()
    for number, code in enumerate(CELLS):
        kernel.run_ok(code, cell=f"c{number}")
    # Of another content but the same length: its consumer is run as well, and makes the same as before.
    assert clone.history()[3:] == ["up", "count"]
    assert [row["step"] for row in kernel.history()] == clone.history()


# --- processes -------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_p09_of_a_killed_kernel_no_process_is_left(tmp_path):
    kernel = Kernel(Path(sys.executable), tmp_path / "nb", XDG_DATA_HOME=str(tmp_path / "data"))
    try:
        kernel.load()
        word = f"42{os.getpid()}"
        kernel.run_ok(
            "%stepup workers 4\n"
            f"%runsh sleep {word} & sleep {word}\n%runsh setsid sleep {word}; true\n"
            f"%runsh (setsid env -i sleep {word} &) ; sleep {word}"
        )
        kernel.until(lambda: len(alive(word)) == 5)
        processes = kernel.descendants()
        kernel.kill()
        until(lambda: all_dead(processes) and not alive(word))
    finally:
        kernel.close()


def test_p10_stop_ends_what_does_not_want_to_and_what_has_been_stopped(session):
    word = f"43{os.getpid()}"
    stubborn = session.declare(
        "runsh", f"trap '' TERM INT HUP; sleep {word} & echo up; while :; do sleep {word}; done"
    )
    frozen = session.declare("runsh", f"sleep {word} & echo up; kill -STOP $$; wait")
    until(lambda: stubborn.stdout == frozen.stdout == "up\n" and len(alive(word)) == 3)
    session.cancel(all=True)
    until(lambda: {stubborn.state, frozen.state} == {"CANCELLED"})
    session.wait()
    assert alive(word) == []
    assert {row["outcome"] for row in session.history()} == {"cancelled"}


def test_p11_a_daemon_that_holds_the_pipe_holds_up_nothing_and_is_dead_before_the_outputs_are_read(
    notebook, session
):
    word = f"44{os.getpid()}"
    handle = session.declare(
        "runsh",
        f"echo made > a; (trap '' TERM; setsid sh -c 'sleep {word}; echo spoilt >> a') & echo $!",
        out="a",
    )
    handle.wait()
    assert alive(word) == []
    (row,) = session.rows([handle.name])
    assert any(re.fullmatch(r"left .* behind: .*; killed", note) for note in row["notes"])
    assert (notebook.read("a"), row["outcome"]) == ("made\n", "succeeded")


@pytest.mark.kernel
def test_p12_the_interrupt_button_stops_the_cell_and_no_step(shared):
    declared = shared.run_ok("%runsh --name steady -- until [ -e go ]; do sleep 0.02; done; echo A")
    shared.until_states(steady="RUNNING")
    job = shared.history()[-1]
    for code in ("print('busy')\nwhile True: pass", "%stepup wait"):
        cell = shared.start(code)
        shared.until(lambda cell=cell: bool(cell.outputs))
        shared.interrupt()
        shared.finish(cell)
        assert "KeyboardInterrupt" in cell.error
    assert shared.states() == {"steady": "RUNNING"}
    assert shared.history()[-1] == job
    (shared.folder / "go").touch()
    shared.run_ok("%stepup wait")
    shared.until(lambda: "1 succeeded" in declared.record["text/plain"])


def test_p13_a_step_reads_nothing_and_has_no_terminal(session):
    handle = session.declare("runsh", "cat; read answer || echo nothing; cat /dev/tty 2>&1 || tty")
    with pytest.raises(StepsFailed):
        handle.wait()
    assert handle.stdout.splitlines()[0] == "nothing"
    assert "No such device" in handle.stdout and handle.stdout.endswith("not a tty\n")


def test_p14_no_process_is_signalled_because_a_file_says_its_number(notebook, session):
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        session.declare("runsh", "true").wait()
        lock = Path(notebook.place.state, "lock")
        session.close()
        told = json.loads(lock.read_text())
        lock.write_text(json.dumps({**told, "kernel_pid": bystander.pid, "director_pid": bystander.pid}))
        with contextlib.closing(sqlite3.connect(notebook.place.database)) as db, db:
            db.execute("INSERT INTO setting VALUES ('run', '\"cut off\"')")
            db.execute("UPDATE job SET outcome = NULL, run = ?", (str(bystander.pid),))
        session = notebook.begin()
        session.declare("runsh", "true").wait()
        assert [row["outcome"] for row in session.history()] == ["interrupted", "succeeded"]
        session.cancel(all=True)
        os.kill(director_of(session), signal.SIGKILL)
        session.declare("runsh", "echo 2").wait()
        session.close()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


# --- state -----------------------------------------------------------------------------------------


def test_p15_a_state_file_is_never_dropped_in_silence(notebook, session):
    session.declare("runsh", "echo > a", out="a").wait()
    session.close()
    path = Path(notebook.place.database)
    good = path.read_bytes()

    def said() -> str:
        with contextlib.closing(notebook.begin()) as session:
            try:
                session.pool("p", 1)
            except UsageError as error:
                return str(error)
            return "\n".join(session.notes)

    for bad in (b"garbage" * 500, b"", good[: len(good) // 2]):
        path.write_bytes(bad)
        words = said()
        assert "SNB-310 'a.stepup.db' is not a usable state file" in words
        aside = path.with_name(re.search(r"Moved to '([^']*)'", words)[1])
        assert aside.read_bytes() == bad
    path.write_bytes(good)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")
    newer = path.read_bytes()
    assert "SNB-312" in said() and path.read_bytes() == newer
    path.write_bytes(good)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        assert "SNB-314" in said()
    assert said() == "" and path.exists()


def test_p16_a_second_kernel_is_told_who_has_the_notebook_and_may_look(notebook, session, kernels):
    session.pool("p", 2)
    session.declare("runsh", "echo > a", name="made", out="a").wait()
    second = kernels("""
        import json
        try:
            session.declare("runsh", "echo > b", out="b")
        except StepUpError as error:
            print(json.dumps([type(error).__name__, error.code, error.why]), flush=True)
        print(json.dumps(session.status()), flush=True)
        sys.stdin.readline()
    """)
    kind, code, why = second.tells()
    assert (kind, code) == (OwnerError.__name__, "SNB-210")
    assert f"kernel pid {os.getpid()} on {socket.gethostname()} has held it since 20" in why
    # The refusal says that the status can be read meanwhile.
    assert second.tells() == session.status()
    assert session.rows(["made"])[0]["state"] == "SUCCEEDED"


@needs_root
def test_p17_a_full_disk_costs_time_and_nothing_else(notebook):
    disk = Disk(notebook.folder, "size=2m")
    try:
        session = notebook.begin()
        session.declare("runsh", "echo kept > a", out="a").wait()
        asking = session.connect()
        disk.fill()
        long = f"echo later > b # {'x' * 100_000}"
        # Answered once it is written down; until then it is not done either.
        asked = threading.Thread(target=session.declare, args=("runsh", long), kwargs={"out": "b"})
        asked.start()
        until(lambda: any("SNB-320" in note for note in asking.request("status")["notes"]))
        assert len(asking.request("history")["rows"]) == 1
        disk.empty()
        asked.join()
        check(session.wait())
        assert (notebook.read("a"), notebook.read("b")) == ("kept\n", "later\n")
        session.close()
        with contextlib.closing(sqlite3.connect(notebook.place.database)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("SELECT count(*) FROM job WHERE outcome = 'succeeded'").fetchone() == (2,)
    finally:
        notebook.close()
        disk.close()


def test_p18_at_rest_the_one_file_holds_everything(notebook, session, tmp_path):
    for number in range(30):
        session.declare("runsh", f"echo {number} | tee {number}", out=str(number))
    check(session.wait())
    log = Path(notebook.place.database + "-wal")
    until(lambda: log.stat().st_size == 0)
    # Copied alone, under the living director.
    other = Notebook(tmp_path / "elsewhere", ProcessHost)
    shutil.copytree(notebook.folder, other.folder, ignore=shutil.ignore_patterns(".stepup", "*-wal"))
    try:
        copy = other.begin()
        copy.pool("p", 1)
        rows = copy.status()["steps"]
        assert [(row["state"], row["stdout_tail"]) for row in rows] == [
            ("SUCCEEDED", f"{number}\n") for number in range(30)
        ]
        assert len(copy.history()) == 30
    finally:
        other.close()


# --- load ------------------------------------------------------------------------------------------


def test_p19_whatever_a_step_prints_memory_and_what_is_shown_stay_small(session):
    session.pool("p", 1)
    director = psutil.Process(director_of(session))
    before = director.memory_info().rss
    flood = session.declare("runsh", "yes 'a line of a flood' | head -c 60000000")
    line = session.declare("runsh", "head -c 60000000 /dev/zero | tr '\\0' x")
    check(session.wait())
    assert director.memory_info().rss - before <= 64 << 20
    for row in session.rows([flood.name, line.name]):
        assert len(json.dumps(row)) <= 256 << 10
        assert row["stdout_tail"]


@pytest.mark.kernel
def test_p20_a_browser_gets_ten_messages_a_second_and_a_mebibyte_at_most(shared):
    panel_of(shared)
    shared.run_ok("from stepup_nb.api import runsh, pool\npool('flood', 4)")
    before = len(shared.heard)
    for number in range(4):
        shared.run_ok(
            f"for i in range(12): runsh(f'yes {number}-{{i}} | head -c 200000; sleep 0.1', pool='flood')",
            cell=str(number),
        )
    shared.until(lambda: {"QUEUED", "RUNNING", "CHECKING"}.isdisjoint(shared.status()["counts"]))
    burst = [
        (at, words) for at, words in shared.heard[before:] if words.startswith(('["update_', '["comm_msg'))
    ]
    assert len(burst) > 10
    for moment, _ in burst:
        second = [words for at, words in burst if moment <= at < moment + 0.99]
        assert len(second) <= 10
        assert sum(map(len, second)) <= 1 << 20


STEPS = 500


@pytest.fixture(scope="module")
def workload(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """What a director was before and after five hundred steps, and after a pass in which nothing had changed."""
    folder = tmp_path_factory.mktemp("workload")
    os.environ["XDG_DATA_HOME"], before = str(folder), os.environ.get("XDG_DATA_HOME")
    notebook = Notebook(folder / "project", ProcessHost)
    notebook.folder.mkdir()

    def declare() -> dict[str, Any]:
        with session.hold():
            for number in range(STEPS):
                session.declare("runsh", f"echo {number}", out=(), name=f"s{number}")
        return session.wait()

    def measured() -> dict[str, int]:
        director = psutil.Process(director_of(session))
        return {
            "descriptors": director.num_fds(),
            "threads": director.num_threads(),
            "children": len(director.children(recursive=True)),
            "memory": director.memory_info().rss,
            "ours": len(os.listdir("/proc/self/fd")),
            "our threads": threading.active_count(),
        }

    try:
        session = notebook.begin(workers=2)
        session.declare("runsh", "echo warm").wait()
        facts: dict[str, Any] = {"before": measured(), "first": declare()}
        facts["jobs"] = len(session.history())
        facts["after"] = measured()
        began = time.monotonic()
        facts["again"] = declare()
        print(f"a pass over {STEPS} steps that are up to date: {time.monotonic() - began:.2f} s")
        facts["jobs after"] = len(session.history())
        yield facts
    finally:
        notebook.close()
        if before is None:
            del os.environ["XDG_DATA_HOME"]
        else:
            os.environ["XDG_DATA_HOME"] = before


def test_p21_many_steps_run_once_and_a_pass_without_changes_runs_none(workload):
    check(workload["first"])
    assert (workload["first"]["skipped"], workload["jobs"]) == (0, STEPS + 1)
    check(workload["again"])
    assert (workload["again"]["skipped"], workload["jobs after"]) == (STEPS, STEPS + 1)


def test_p22_many_steps_leave_no_descriptor_no_thread_and_no_process(workload):
    before, after = workload["before"], workload["after"]
    assert abs(after["descriptors"] - before["descriptors"]) <= 5
    assert abs(after["threads"] - before["threads"]) <= 2
    assert after["children"] == 0
    assert abs(after["ours"] - before["ours"]) <= 5
    assert abs(after["our threads"] - before["our threads"]) <= 2


def test_p23_without_descriptors_a_step_waits_in_words_with_its_slot_free_and_runs_when_there_are_some(
    session,
):
    session.pool("p", 1)
    director = director_of(session)
    limits = resource.prlimit(director, resource.RLIMIT_NOFILE)
    session.declare("runsh", "echo warm").wait()
    resource.prlimit(director, resource.RLIMIT_NOFILE, (lowest_free(director), limits[1]))
    handle = session.declare("runsh", "echo A", pool="p")
    until(lambda: handle.reason.startswith("SNB-510 too many files are open"))
    assert session.status()["pools"][0]["used"] == 0
    assert handle.state in ("QUEUED", "PENDING")
    resource.prlimit(director, resource.RLIMIT_NOFILE, limits)
    assert handle.wait().stdout == "A\n"


# --- security --------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_p24_loading_runs_nothing_connects_to_nothing_and_touches_no_file(clone):
    assert clone.after == clone.before
    assert clone.before["processes"] == []
    # Also who looks runs no command and removes nothing.
    kernel = clone.kernel
    before = {path: path.read_bytes() for path in kernel.folder.glob("*.txt")}
    jobs = len(kernel.history())
    for verb in ("status", "history", "doctor", "panel", "graph --text", "clean --dry-run"):
        kernel.run_ok(f"%stepup {verb}")
    assert {path: path.read_bytes() for path in kernel.folder.glob("*.txt")} == before
    assert len(kernel.history()) == jobs


def panel_of(kernel: Kernel) -> str:
    """Open the panel, and return the id by which it is spoken to."""
    kernel.run_ok("%stepup panel", cell="p")
    opened = [
        each for each in kernel.comms if each["data"].get("state", {}).get("_model_module") == "anywidget"
    ]
    comm: str = opened[-1]["comm_id"]
    kernel.say(comm, {"kind": "hello"})
    return comm


def texts(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON value, names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from (name, *texts(one))
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


class Page(HTMLParser):
    """The elements and attributes of a record."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.kernel
def test_p25_what_steps_print_and_files_are_called_stays_text(shared):
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script><a href=javascript:alert(3)>x</a>"
    panel = panel_of(shared)
    cell = shared.run_ok(
        f"%%runsh --name '{hostile}' -o '<b>bold</b>.txt'\n"
        f"printf '%s\\n' '{hostile}'; printf '\\033]0;title\\007\\033]52;c;eA==\\007\\033[31mred\\033[0m\\033[2J\\n'\n"
        "echo > '<b>bold</b>.txt'; exit 3"
    )
    failed = shared.run("%stepup wait")
    assert "SNB-601" in failed.error and "\x1b" not in failed.error
    page = Page(cell.record["text/html"])
    assert page.elements <= {"div", "span", "b", "code", "pre", "details", "summary"}
    assert page.attributes <= {"style", "aria-hidden"}
    assert "alert(2)" in cell.record["text/html"] and "red" in cell.record["text/html"]
    shared.say(panel, {"kind": "follow", "view": "v", "step": hostile})
    shared.until(lambda: any(hostile in json.dumps(message) for message in shared.said(panel)))
    for text in texts([shared.said(panel), cell.record]):
        assert not [c for c in text if unicodedata.category(c) == "Cc" and c != "\n"], repr(text)
    # The panel puts texts in as text nodes; nothing else of it can make an element of one.
    for file in (PACKAGE / "notebook/panel/js").glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text()
        ), file
    shared.run_ok(f"%stepup forget '{hostile}'")


def test_p26_nothing_that_is_read_is_ever_unpickled(session):
    who = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom):
                names = {node.module}
            if names & {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}:
                who.add(file.relative_to(PACKAGE).as_posix())
    # The files of arguments that StepUp's call protocol passes between steps: inputs like any other, read by a step.
    assert who == {"plan/call.py"}
    marker = os.path.join(session.place.root, "owned")
    bomb = pickle.dumps(_Bomb(marker))
    session.pool("p", 1)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(session._host.socket)
        sock.sendall(len(bomb).to_bytes(4, "big") + bomb)
        assert sock.recv(100) == b""
    assert session.declare("runsh", "echo alive").wait().stdout == "alive\n"
    assert not os.path.exists(marker)


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


@needs_root
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_p27_another_user_of_the_machine_gets_nowhere(notebook, session, tmp_path):
    for folder in [notebook.folder, *notebook.folder.parents]:
        if folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o055)
    session.declare("runsh", "echo private | tee a", out="a").wait()
    place = notebook.place
    private = [
        place.database,
        place.state + "/lock",
        place.state + "/logs/1.out",
        str(tmp_path / "data/stepup_nb/key"),
    ]
    assert all(map(os.path.exists, private))

    def connect() -> None:
        socket.socket(socket.AF_UNIX).connect(session._host.socket)

    assert as_other_user(lambda: os.listdir(notebook.folder)) == ""
    for path in private:
        assert as_other_user(lambda path=path: Path(path).read_bytes()) == "PermissionError", path
    assert as_other_user(connect) == "PermissionError"
    session.close()
    # Nor does he lead us elsewhere.
    shutil.rmtree(notebook.folder / ".stepup")
    (tmp_path / "trap").mkdir()
    (notebook.folder / ".stepup").symlink_to(tmp_path / "trap")
    with pytest.raises(UsageError, match="SNB-211"):
        notebook.begin().pool("p", 1)
    assert list((tmp_path / "trap").iterdir()) == []


@pytest.mark.kernel
def test_p28_values_of_variables_are_stored_and_shown_nowhere(shared, tmp_path):
    cell = shared.run_ok(
        "%runsh --env PRIVATE --name priv -- test ${#PRIVATE} = 24; env | grep -c JUPYTER_TOKEN || echo no token"
    )
    panel = panel_of(shared)
    shared.say(panel, {"kind": "follow", "view": "v", "step": "priv"})
    shared.run_ok("%stepup wait priv")
    shared.until(lambda: any(each["details"] for each in shared.said(panel) if each.get("details")))
    shared.run_ok(
        "%stepup status --json\n%stepup history\n%stepup why priv\n%stepup log priv\n%stepup doctor"
    )
    assert shared.value("__import__('stepup_nb').status()['steps'][-1]['stdout_tail']") == "0\nno token\n"
    assert "priv" in cell.record["text/plain"]
    state = [shared.folder, shared.folder.parent / "data"]
    assert holding(b"PRIVATE", *state), "nothing of it is where it is looked for"
    assert holding(SECRET.encode(), *state) == []
    assert not any(SECRET in words for _, words in shared.heard)
    for process in shared.descendants():
        assert SECRET not in " ".join(process.cmdline())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_p29_any_thread_may_call_and_a_forked_child_is_refused(session):
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            handle = session.declare("runsh", f"echo {number}", name=f"t{number}", pool="p")
            session.pool("p", 1 + number % 3)
            session.status()
            handle.wait()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    child = os.fork()
    if child == 0:
        try:
            session.status()
        except UsageError as error:
            os._exit(0 if error.code == "SNB-206" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for thread in threads:
        thread.join()
    assert errors == []
    assert session.status()["counts"] == {"SUCCEEDED": 8}


def test_p30_pools_taken_in_any_order_end_in_no_deadlock_and_what_can_never_run_is_refused(notebook):
    session = notebook.begin(workers=4)
    session.pool("a", 2)
    session.pool("b", 2)
    for number in range(12):
        pools = ["a", "b:2"] if number % 2 else ["b", "a:2"]
        session.declare("runsh", f"sleep 0.01; echo {number}", pool=pools)
    check(session.wait())
    assert overlap(session.history()) == 1
    before = session.status()
    with pytest.raises(UsageError, match="SNB-501"):
        session.declare("runsh", "true", pool="a:3")
    assert session.status() == before


# --- all of them -----------------------------------------------------------------------------------


def test_every_promise_has_its_test():
    numbers = [int(name[6:8]) for name in globals() if re.match(r"test_p\d\d_", name)]
    assert numbers == list(range(1, 31))
