"""Thousands of jobs leave nothing behind in the director, nor in the kernel that owns it."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest
from director.helpers_world import director_of, until, with_processes
from faults.helpers_rounds import rounds

STEPS = 100


class Holdings:
    """What a process holds."""

    def __init__(self, pid: int) -> None:
        words = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        self.threads = int(words["Threads"])
        self.memory = int(words["VmRSS"].split()[0]) * 1024

    def __repr__(self) -> str:
        return f"{self.descriptors} descriptors, {self.threads} threads, {self.memory >> 10} KiB"


def zombies() -> list[int]:
    """Return the processes of this user that ended and that nobody has taken note of."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and b") Z " in Path(f"/proc/{entry}/stat").read_bytes():
                found.append(int(entry))
        except OSError:
            pass
    return found


@pytest.mark.timeout(1800)
@with_processes
def test_thousands_of_short_jobs_leave_no_descriptor_thread_zombie_or_memory(notebook):
    session = notebook.begin(workers=4)
    session.pool("p", 3)
    for number in range(STEPS):
        session.declare(
            "runsh", f"echo {number}; exit {int(number % 10 == 0)}", pool="p" if number % 2 else None
        )
    director = director_of(session)
    jobs = 0

    def once() -> None:
        nonlocal jobs
        session.wait()
        session.rerun(all=True)
        jobs += STEPS

    # The history of each step is full by then, and so are all caches.
    for _ in range(35):
        once()
    session.wait()
    gc.collect()
    before, own = Holdings(director), Holdings(os.getpid())
    names = threading.active_count()
    counted = jobs
    for _ in range(rounds(30, 200)):
        once()
    session.wait()
    gc.collect()
    after, own_after = Holdings(director), Holdings(os.getpid())
    thousands = (jobs - counted) / 1000
    print(f"{jobs} jobs; the director held {before}, and after {thousands:g} thousand more {after}")
    assert director_of(session) == director
    assert abs(after.descriptors - before.descriptors) <= 5
    assert abs(after.threads - before.threads) <= 2
    assert (after.memory - before.memory) / thousands <= 1 << 20
    assert abs(own_after.descriptors - own.descriptors) <= 5
    assert abs(threading.active_count() - names) <= 2
    assert not [pid for pid in zombies() if is_child_of(pid, director)]
    until(lambda: len(session.history()) <= STEPS * 30 + 1000)


def is_child_of(pid: int, parent: int) -> bool:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[1]) == parent
    except OSError:
        return False
