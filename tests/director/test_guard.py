"""Whoever is killed, kernel, guard or director: no process of a step outlives it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from director.helpers_guard import House, is_alive
from director.helpers_processes import alive, until

from stepup_nb.director import guard, processes


@pytest.fixture
def nap():
    """A duration for `sleep` that nothing else on this machine has."""
    return f"900.{os.getpid()}{time.monotonic_ns() % 10**6:06}"


@pytest.fixture
def house(tmp_path):
    houses = []
    before = set(processes.children(os.getpid()))

    def build(*commands, **kwargs):
        houses.append(House(tmp_path, *commands, **kwargs))
        return houses[-1]

    yield build
    for one in houses:
        one.close()
    # A guard or a director that was killed may have fallen to us.
    until(lambda: not _reap(before))


def _reap(others: set[int]) -> set[int]:
    """Reap those of our children that have ended, but these; return the rest."""
    for child in set(processes.children(os.getpid())) - others:
        try:
            os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            pass
    return set(processes.children(os.getpid())) - others


STEPS = (
    *["sleep {nap} & sleep {nap}"] * 4,
    "env -i setsid setsid sleep {nap} & sleep {nap}",
    "trap '' TERM INT HUP; setsid sleep {nap} & sleep {nap}; echo never",
    "sleep {nap} & kill -STOP $$",
    "(setsid sh -c 'sleep {nap} & sleep {nap}; :' &); exec sleep {nap}",
)
PROCESSES = 8 + 2 + 2 + 1 + 3


def full_house(house, nap):
    found = house(*[step.format(nap=nap) for step in STEPS])
    found.wait_for_director()
    until(lambda: len(alive(nap)) >= PROCESSES)
    return found


@pytest.mark.parametrize("victim", ["kernel", "director", "guard"])
def test_when_one_of_the_three_is_killed_nothing_of_the_steps_is_left(house, nap, victim):
    found = full_house(house, nap)
    pid = {"kernel": found.kernel.pid, "director": found.director, "guard": found.guard}[victim]
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    if victim == "kernel":
        found.kernel.wait()
    until(lambda: not alive(nap))
    assert time.monotonic() - began < 2
    until(lambda: not is_alive(found.director) and not is_alive(found.guard))
    assert time.monotonic() - began < 2


def test_when_kernel_and_director_are_killed_together_nothing_is_left(house, nap):
    found = full_house(house, nap)
    # Stopped meanwhile, for it is quick enough to see the one before the other.
    os.kill(found.guard, signal.SIGSTOP)
    os.kill(found.kernel.pid, signal.SIGKILL)
    os.kill(found.director, signal.SIGKILL)
    os.kill(found.guard, signal.SIGCONT)
    found.kernel.wait()
    until(lambda: not alive(nap) and not is_alive(found.guard))


def test_when_kernel_and_guard_are_killed_together_nothing_is_left(house, nap):
    found = full_house(house, nap)
    os.kill(found.guard, signal.SIGKILL)
    os.kill(found.kernel.pid, signal.SIGKILL)
    found.kernel.wait()
    until(lambda: not alive(nap) and not is_alive(found.director))


def test_what_guard_and_director_leave_when_killed_together_is_swept_by_the_next_start(house, nap):
    found = house(f"sleep {nap} & sleep {nap}", f"setsid setsid sleep {nap} & sleep {nap}")
    found.wait_for_director()
    until(lambda: len(alive(nap)) >= 4)
    os.kill(found.guard, signal.SIGSTOP)
    os.kill(found.director, signal.SIGKILL)
    os.kill(found.guard, signal.SIGKILL)
    until(lambda: not is_alive(found.director) and not is_alive(found.guard))
    until(lambda: len(alive(nap)) >= 4)
    assert "sleep" in processes.sweep(f"{found.database}.1-1")
    assert alive(nap) == []


def test_sigterm_to_the_guard_ends_everything_and_other_signals_nothing(house, nap):
    found = full_house(house, nap)
    os.kill(found.guard, signal.SIGINT)
    os.kill(found.guard, signal.SIGHUP)
    before = len(alive(nap))
    os.kill(found.guard, signal.SIGTERM)
    assert before >= PROCESSES
    assert found.guard_ended() == 0
    assert alive(nap) == []
    assert not is_alive(found.director)


def test_a_signal_to_the_group_of_the_kernel_reaches_neither_guard_nor_director(house, nap):
    found = full_house(house, nap)
    groups = {os.getpgid(pid) for pid in (found.kernel.pid, found.guard, found.director)}
    assert len(groups) == 3
    assert os.getsid(found.guard) == found.guard


def test_the_guard_ends_with_the_status_of_a_director_that_ends_by_itself(house, nap):
    found = full_house(house, nap)
    found.end()
    assert found.guard_ended() == 7
    assert alive(nap) == []


def test_the_guard_tells_which_signal_ended_the_director(house, nap):
    found = full_house(house, nap)
    os.kill(found.director, signal.SIGKILL)
    assert found.guard_ended() == 128 + signal.SIGKILL


def test_a_director_that_fails_leaves_its_traceback_and_ends_the_guard(house):
    found = house(host="def main(arguments): raise RuntimeError('boom')")
    assert found.guard_ended() == 1
    assert "RuntimeError: boom" in (found.folder / "stderr").read_text()


def test_a_guard_that_is_not_the_kernels_child_does_nothing():
    done = subprocess.run(
        [sys.executable, "-I", "-S", guard.__file__, str(os.getppid()), '{"path": [], "arguments": {}}'],
        stderr=subprocess.PIPE,
    )
    assert done.returncode == guard.KERNEL_GONE
    assert done.stderr == b""


def test_the_guard_imports_nothing_of_ours_and_holds_no_descriptor_of_its_kernel(house):
    found = house("sleep 900")
    found.wait_for_director()
    links = {os.readlink(f"/proc/{found.guard}/fd/{fd}") for fd in os.listdir(f"/proc/{found.guard}/fd")}
    assert {link.partition(":")[0] for link in links} <= {"/dev/null", "anon_inode", "pipe"}
    with open(f"/proc/{found.guard}/maps") as maps:
        assert not any("_json" in line for line in maps)


def test_steps_start_with_default_signals_below_a_kernel_that_ignores_them(house, tmp_path):
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        found = house(f"cat /proc/self/status > {tmp_path}/status")
    finally:
        signal.signal(signal.SIGHUP, old)
    found.wait_for_director()
    until(lambda: (tmp_path / "status").exists() and "SigCgt" in (tmp_path / "status").read_text())
    status = (tmp_path / "status").read_text()
    assert int(status.partition("SigIgn:\t")[2].split()[0], 16) & 0x7FFFFFFF == 0
