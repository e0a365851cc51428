"""Processes that are no longer there, come from elsewhere, or bear a number that was another's.

What commands leave behind, ignore or hold is in `director/test_executors.py` and `test_processes.py` there.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from director.helpers_processes import World
from director.helpers_world import KernelProcess, alive, state_of, until, with_processes

from stepup_nb.director import processes

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="not run: needs root")

PR_GET_PDEATHSIG = 2


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def nap(request):
    """Words that nothing else on this machine has for `sleep`: ten minutes and a bit."""
    return f"600.{os.getpid()}{abs(hash(request.node.name)) % 10**6:06}"


# --- the thread that started it (row 62) -------------------------------------------------------------


def test_a_job_does_not_die_with_the_thread_that_started_it(world, nap):
    # A death signal is sent when a thread ends, not only with its process.
    jobs = []
    thread = threading.Thread(target=lambda: jobs.append(world.start("/bin/sleep", nap)))
    thread.start()
    thread.join()
    # It shows its words a moment after it was started.
    world.until(lambda: alive(nap))
    (pid,) = alive(nap)
    asked = world.run(
        sys.executable,
        "-c",
        "import ctypes; n = ctypes.c_int(-1);"
        f"ctypes.CDLL(None).prctl({PR_GET_PDEATHSIG}, ctypes.byref(n)); print(n.value)",
    )
    assert world.out(asked.job) == b"0\n"
    assert alive(nap) == [pid] and not set(jobs) & set(world.ended)
    world.executor.stop(jobs[0])
    world.wait(jobs[0])


def test_nothing_of_ours_asks_for_a_death_signal():
    package = Path(processes.__file__).parents[1]
    for path in package.rglob("*.py"):
        assert not re.search(r"PDEATHSIG|prctl\(\s*1\s*,", path.read_text()), f"{path.name}: threads end, too"


# --- numbers (row 63) ---------------------------------------------------------------------------------


def become(number: int) -> subprocess.Popen[bytes]:
    """Start a process with a number of our choice, as one is reused after some ten thousand others."""
    for _ in range(200):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
        stranger = subprocess.Popen(["/bin/sleep", "600"])
        if stranger.pid == number:
            return stranger
        stranger.kill()
        stranger.wait()
    raise AssertionError("another process always came first")


@NEEDS_ROOT
@with_processes
def test_whoever_has_the_number_of_an_ended_job_is_not_meant(notebook):
    session = notebook.begin()
    step = session.declare("runsh", "setsid sleep 0.2 & echo $$ $!", name="s")
    step.wait()
    stranger, other = (become(int(number)) for number in step.stdout.split())
    try:
        # Of what bore these numbers there is nothing left to be stopped.
        session.cancel("s")
        session.rerun("s")
        session.wait()
        session.cancel(all=True)
        session.close()
        assert (stranger.poll(), other.poll()) == (None, None)
        # As if it had been killed: the next one looks for what was left.
        notebook.begin().declare("runsh", "true").wait()
        assert (stranger.poll(), other.poll()) == (None, None)
    finally:
        for process in (stranger, other):
            process.kill()
            process.wait()


@NEEDS_ROOT
def test_whoever_has_the_number_of_a_dead_run_or_its_director_is_not_swept_away():
    # Two strangers: one is not marked at all, one is taken for the director that a leftover's mark names.
    database = f"test-{os.urandom(4).hex()}"
    child = subprocess.Popen(["/bin/true"])
    found = processes.look(child.pid)
    child.wait()
    assert found is not None
    # Born at another time than the mark says: the number alone is no evidence that this director lives.
    director = become(child.pid)
    mark = f"{database}.{child.pid}-{found.born - 1}"
    left = subprocess.Popen(["/bin/sleep", "600"], env={processes.RUN_VARIABLE: mark})
    try:
        until(lambda: processes.environment(left.pid))
        assert processes.sweep(f"{database}.{os.getpid()}-0") == ("sleep",)
        assert left.wait() == -signal.SIGKILL
        assert director.poll() is None
    finally:
        for process in (director, left):
            process.kill()
            process.wait()


# --- who forks (row 47) -------------------------------------------------------------------------------

FORKS = """
    import os, sys, time
    session.declare("runsh", "sleep {nap}", name="long")
    while session.status()["counts"].get("RUNNING") != 1:
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        # A worker of multiprocessing, with copies of all that its parent has open.
        while True:
            time.sleep(0.05)
            if os.path.exists("go"):
                os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
"""


@with_processes
def test_a_forked_child_that_lives_on_holds_neither_the_lock_nor_the_director_nor_its_steps(notebook, nap):
    kernel = KernelProcess(notebook, FORKS.format(nap=nap))
    child = int(kernel.says())
    try:
        until(lambda: alive(nap))
        kernel.process.kill()
        kernel.process.wait()
        until(lambda: not alive(nap))
        os.kill(child, 0)
        session = notebook.begin()
        assert session.declare("runsh", "true", name="next").wait().state == "SUCCEEDED"
        assert [row["outcome"] for row in session.history()] == ["interrupted", "succeeded"]
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        kernel.close()


def test_a_step_that_forks_without_end_is_stopped_whole(session, nap):
    # Each process leaves two others behind, in sessions of their own, until there are hundreds.
    code = f"f() {{ setsid sh -c 'sleep {nap}' & }}; i=0; while [ $i -lt 300 ]; do f; i=$((i+1)); done; wait"
    session.declare("runsh", code, name="many")
    until(lambda: len(alive(nap)) > 100)
    session.cancel("many")
    until(lambda: state_of(session, "many") == "CANCELLED" and not alive(nap))
    until(lambda: session.history()[0]["outcome"] == "cancelled")
