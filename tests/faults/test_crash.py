"""Ends that nobody chose: all three processes at once, the power, a signal, a clock; and what holds afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from director.helpers_world import (
    KernelProcess,
    alive,
    cell,
    director_of,
    parent_of,
    ran,
    state_of,
    until,
    with_processes,
)
from notebook.helpers_kernel import Kernel, all_dead, python_of
from plans.helpers_plan import Project

from stepup_nb.client.session import check
from stepup_nb.core.model import TICK_NS
from stepup_nb.director import host, reactor, state_file
from stepup_nb.director.peek import clean

# --- kernel, guard and director at once -------------------------------------------------------------

# What the whole tree holds, only its last process lets go.
GUARDED = "exec 9> lock; flock -n 9 || echo 'two at once' >> wrong; echo x >> begun"


@with_processes
def test_what_all_three_left_when_they_were_killed_at_once_is_dead_before_anything_starts(notebook):
    word = f"43{os.getpid()}"
    command = f"{GUARDED}; test $(wc -l < begun) = 2 || {{ setsid sleep {word} & sleep {word}; }}"
    kernel = KernelProcess(
        notebook,
        f"""
        session.declare("runsh", {command!r}, name="s")
        print(session.status()["director_pid"], flush=True)
        sys.stdin.readline()
        """,
    )
    director = int(kernel.says())
    guard = parent_of(director)
    until(lambda: len(alive(word)) == 2)
    # Stopped first: each of them is quick enough to see the end of another. And the director is killed first, for
    # the system lets a stopped process go on whose parent ends.
    all_three = [psutil.Process(pid) for pid in (director, guard, kernel.pid)]
    for process in all_three:
        process.suspend()
    until(lambda: all(process.status() == psutil.STATUS_STOPPED for process in all_three))
    for process in all_three:
        process.kill()
    kernel.close()
    assert len(alive(word)) == 2
    session = notebook.begin()
    session.declare("runsh", command, name="s").wait()
    assert any("stopped what an earlier session had left running" in note for note in session.notes)
    assert alive(word) == []
    assert (notebook.read("begun"), notebook.read("wrong")) == ("x\nx\n", "")
    assert [row["outcome"] for row in session.history()] == ["interrupted", "succeeded"]


def test_a_restart_says_how_many_steps_it_stopped(notebook, session):
    for number in range(3):
        session.declare("runsh", f"sleep 1000 # {number}")
    until(lambda: session.status()["counts"].get("RUNNING") == 2)
    session = notebook.again(session)
    session.pool("p", 1)
    assert any("2 steps ran when the last session ended" in note for note in session.notes)


@with_processes
def test_what_a_killed_job_left_is_named_by_clean_and_never_removed(notebook):
    # With the step gone it was nobody's: no clean spoke of it.
    session = notebook.begin()
    with cell(session, "a"):
        session.declare("runsh", "echo half > a; sleep 1000", out="a")
    until(lambda: notebook.read("a"))
    os.kill(director_of(session), signal.SIGKILL)
    session.close()
    session = notebook.begin()
    assert session.clean() == {"removed": [], "kept": []}
    with cell(session, "a"):
        session.declare("runsh", "true").wait()
    named = {"path": "a", "why": "may be half of an output of a job that was interrupted, or your own"}
    assert session.clean() == {"removed": [], "kept": [named]}
    session.close()
    assert clean(notebook.place.database, None, dry_run=False) == {"removed": [], "kept": [named]}
    assert notebook.read("a") == "half\n"


@pytest.mark.kernel
def test_a_kernel_that_is_shut_down_or_restarted_takes_steps_along_that_ignore_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    kernel = Kernel(python_of("this"), tmp_path / "project")
    try:
        word = f"44{os.getpid()}"
        kernel.load()
        kernel.run_ok(f"%runsh trap '' TERM INT HUP; setsid sleep {word} & sleep {word} & wait")
        kernel.until(lambda: len(alive(word)) == 2)
        processes = kernel.descendants()
        kernel.restart()
        kernel.until(lambda: all_dead(processes))
        assert alive(word) == []
        kernel.load()
        assert "1 step ran when the last session ended" in kernel.run_ok("%pool p 1").text
    finally:
        kernel.close()


# --- the power --------------------------------------------------------------------------------------


def test_outputs_that_a_power_loss_filled_with_zeros_are_made_again_whatever_their_marks_say(
    notebook, session, monkeypatch
):
    def declare() -> None:
        session.declare("runsh", "echo 1 > a", out="a")

    def spoil() -> None:
        """Spoil the output, and let the database know its marks, as if they had been those of the sound one."""
        nonlocal session
        session.close()
        (notebook.folder / "a").write_bytes(b"\0\0")
        now = (notebook.folder / "a").stat()
        with contextlib.closing(sqlite3.connect(notebook.place.database)) as db, db:
            db.execute(
                "UPDATE file SET inode = ?, mtime_ns = ?, ctime_ns = ?, looked_ns = ?",
                (str(now.st_ino), now.st_mtime_ns, now.st_ctime_ns, now.st_ctime_ns + 10**12),
            )
        session = notebook.begin()
        declare()
        check(session.wait())

    declare()
    check(session.wait())
    before = state_file.boot()
    assert before
    monkeypatch.setattr(state_file, "boot", lambda: "the next one")
    spoil()
    assert notebook.read("a") == "1\n"
    assert ran(session) == ["echo 1 > a"] * 2


# --- clocks -----------------------------------------------------------------------------------------


def test_whatever_the_clock_on_the_wall_is_set_to_nothing_times_out_or_takes_negative_time(
    notebook, session, monkeypatch
):
    real = time.time
    gate = "until test -e go{0}; do sleep 0.01; done"
    for number, jump in enumerate((36_000.0, -36_000.0)):
        name = f"{number}"
        session.declare("runsh", gate.format(number), name=name, timeout=600, retry=1)
        waiting = session.begin_wait(timeout=600)
        until(lambda name=name: state_of(session, name) == "RUNNING")
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        session.pool("p", number + 1)
        assert state_of(session, name) == "RUNNING"
        notebook.write(f"go{number}", "")
        check(waiting.result(60))
    rows = session.history()
    assert [row["outcome"] for row in rows] == ["succeeded"] * 2
    assert all(row["queued"] <= row["started"] <= row["ended"] for row in rows)


def test_the_clock_that_counts_is_not_moved_by_the_one_on_the_wall(monkeypatch):
    clock = reactor.steady_clock()
    before = clock()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= clock() < before + 60


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has slept for a night since its director started: its clock that counts stood still."""
    clock = reactor.steady_clock()
    monkeypatch.setattr(host, "steady_clock", lambda: lambda: clock() - 8 * 3600)


def older(path: Path) -> None:
    """Wait until a file is so old that nobody takes it for one written now."""
    newer = path.with_name("newer")

    def now() -> int:
        newer.write_text("")
        return newer.stat().st_ctime_ns

    until(lambda: now() > path.stat().st_ctime_ns + 3 * TICK_NS)


@pytest.mark.usefixtures("slept")
def test_after_a_night_what_the_user_wrote_in_the_morning_is_not_taken_for_a_failed_steps(notebook, session):
    mine = notebook.write("a", "written in the morning")
    older(mine)
    with cell(session, "a"):
        session.declare("runsh", "false", out="a")
    assert session.wait()["how"] == "done"
    with cell(session, "a"):
        pass
    assert session.clean() == {"removed": [], "kept": []}
    assert mine.read_text() == "written in the morning"


@pytest.mark.usefixtures("slept")
def test_after_a_night_a_module_that_was_just_edited_has_not_changed_while_it_was_imported(notebook, session):
    older(notebook.write("helper.py", "WORD = 'hello'"))
    script = notebook.write("script.py", "#!/usr/bin/env python3\nimport helper; print(helper.WORD)")
    script.chmod(0o755)
    handle = session.declare("runpy", "script.py")
    check(session.wait())
    assert "helper.py" in handle.inp
    assert (handle.stdout, len(session.history())) == ("hello\n", 1)


# --- signals to a plan's session --------------------------------------------------------------------

STUBBORN = "runsh(\"trap '' TERM INT HUP; echo $$ > pid; sleep 1000 & wait; wait\")"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A folder for a plan."""
    found = Project(tmp_path)
    yield found
    found.close()


def step_of(project: Project) -> psutil.Process:
    """Return the process of the step, once it runs."""
    until(lambda: project.has("pid") and project.read("pid").endswith("\n"))
    return psutil.Process(int(project.read("pid")))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_to_a_boot_is_its_exit_code_and_no_step_is_left(project, number, code):
    project.write_plan('runsh("echo $$ > pid; sleep 1000 & sleep 1000")')
    running = project.start()
    step = step_of(project)
    tree = [step, *step.children()]
    running.process.send_signal(number)
    result = running.result()
    assert result.code == code
    assert "KEYBOARD" in dict(result.lines)
    assert not any(process.is_running() for process in tree)


def test_the_second_control_c_in_a_terminal_does_not_wait_for_any_step(project):
    project.write_plan(STUBBORN)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "stepup_nb", "boot"],
        cwd=project.root,
        env=project.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    said = b""

    def read_until(words: bytes) -> None:
        nonlocal said
        while words not in said:
            said += os.read(ours, 4096)

    step = step_of(project)
    os.write(ours, b"\x03")
    read_until(b"once more stops at once")
    os.write(ours, b"\x03")
    with contextlib.suppress(OSError):
        # The end of a terminal is an error.
        while os.read(ours, 4096):
            pass
    assert process.wait(60) == 130
    os.close(ours)
    until(lambda: not step.is_running())
    with contextlib.closing(sqlite3.connect(project.root / ".stepup/graph.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
