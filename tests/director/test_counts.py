"""What a step costs, in counts: a guard against growth that needs no clock. Times are in benchmarks/."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter

import pytest

from stepup_nb.core.model import ScopeKind
from stepup_nb.director import local, loop

STEPS = 200


class Counted:
    """Counts what the director's thread asks of the system, and of SQLite, by name."""

    MODULES = ("posix", "_socket", "select", "fcntl", "resource")
    NO_CALLS = ("fspath", "waitstatus_to_exitcode", "getdefaulttimeout")
    OF_TESTS = ("prlimit",)
    """Asked of each child of this process that is no job's: other tests may have left some."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.statements: Counter[str] = Counter()
        self.is_on = False

    def profile(self, frame, event, argument):
        if not self.is_on or event != "c_call":
            return
        owner = getattr(argument, "__self__", None)
        if isinstance(owner, sqlite3.Connection):
            self.statements[argument.__name__] += 1
        elif (argument.__module__ or type(owner).__module__) in self.MODULES:
            if argument.__name__ not in self.NO_CALLS + self.OF_TESTS:
                self.calls[argument.__name__] += 1


@pytest.fixture
def counted():
    found = Counted()
    threading.setprofile(found.profile)
    yield found
    threading.setprofile(None)


def per_step(counter: Counter[str]) -> dict[str, float]:
    return {name: round(number / STEPS, 2) for name, number in counter.most_common()}


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch):
    """What is done by the clock is done the more often the slower a machine is."""
    monkeypatch.setattr(local, "_FIRST_SAMPLE", 600.0)
    monkeypatch.setattr(loop, "CARE_EVERY", 600.0)


def test_a_step_takes_so_many_system_calls_and_statements_and_no_more(counted, notebook):
    session = notebook.begin(workers=2)
    session.declare("runsh", "true").wait()
    with session.hold():
        for number in range(STEPS):
            session.declare("runsh", f"true {number}")
        counted.is_on = True
    session.wait()
    counted.is_on = False
    calls, statements = per_step(counted.calls), per_step(counted.statements)
    print(f"{sum(calls.values()):.1f} calls {calls}; {sum(statements.values()):.1f} statements {statements}")
    assert calls["posix_spawn"] == 1.0
    assert sum(calls.values()) <= 32, calls
    assert sum(statements.values()) <= 6, statements


def test_a_cell_that_is_run_again_takes_no_transaction_for_each_step_that_is_done(counted, notebook):
    session = notebook.begin(workers=2)

    def cell(execution: int) -> None:
        session.open_scope("cell:1", ScopeKind.CELL, f"cell [{execution}] 'for number in'")
        for number in range(STEPS):
            session.declare("runsh", f"true {number}")
        session.close_scope("cell:1", is_ok=True)
        session.wait()

    cell(1)
    counted.is_on = True
    cell(2)
    counted.is_on = False
    statements = per_step(counted.statements)
    print(f"{sum(statements.values()):.2f} statements {statements}")
    assert statements.get("executemany", 0.0) <= 0.1, statements
