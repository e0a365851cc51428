"""The thread that keeps outputs up to date: its budgets, its last word, and a director that goes away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client.helpers_session import LONG, session_in, until

from stepup_nb.client.session import Session
from stepup_nb.notebook import publisher as module
from stepup_nb.notebook.publisher import EACH, MOST, Live, Publisher


class Sign(Live):
    """An output that says the states of its steps."""

    def draw(self, rows: list[dict[str, Any]], event: dict[str, Any]) -> dict[str, str]:
        lost = "LOST " if event.get("lost") else ""
        return {"text/plain": lost + " ".join(f"{row['label'].split()[-1]}={row['state']}" for row in rows)}


class Screen:
    """Where the updates arrive."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str, str]] = []

    def send(self, display_id: str, bundle: dict[str, str]) -> None:
        self.sent.append((time.monotonic(), display_id, bundle["text/plain"]))

    def last(self, display_id: str) -> str:
        return next((text for _, id, text in reversed(self.sent) if id == display_id), "")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = session_in(tmp_path)
    yield session
    session.close()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def publisher(session: Session, screen: Screen) -> Iterator[Publisher]:
    publisher = Publisher(session, screen.send)
    yield publisher
    assert publisher.troubles == []
    publisher.close()


def sign(publisher: Publisher, display_id: str, *names: str) -> Sign:
    live = Sign(display_id)
    live.steps = {name: {"name": name} for name in names}
    publisher.follow(live)
    return live


def run(session: Session, command: str, **options: Any) -> str:
    return session.declare("runsh", command, **options).name


def test_a_burst_stays_within_both_budgets_and_the_last_word_is_always_sent(session, publisher, screen):
    session.set_workers(8)
    talk = "for n in 1 2 3 4 5 6; do echo $n; sleep 0.05; done; echo "
    names = {f"record {i}": [run(session, f"{talk} {i}.{j}") for j in range(4)] for i in range(12)}
    for id, steps in names.items():
        sign(publisher, id, *steps)
    session.wait()
    until(lambda: all(screen.last(id).count("SUCCEEDED") == 4 for id in names))
    moments = [moment for moment, _, _ in screen.sent]
    assert len(moments) > 12
    # They are sent where no wire can delay them, so that a second holds no more than is allowed.
    for start in moments:
        in_this_second = [id for moment, id, _ in screen.sent if start <= moment < start + 0.999]
        assert len(in_this_second) <= MOST
        assert max(in_this_second.count(id) for id in in_this_second) <= 1 / EACH
    # Nothing is left that would be sent.
    assert not any(live.is_dirty for live in publisher._lives.values())


def test_in_a_crowd_nobody_starves(session, publisher, screen):
    session.set_workers(40)
    for i in range(30):
        sign(publisher, f"record {i}", run(session, f"while sleep 0.01; do echo x; done; echo {i}"))
    until(lambda: {id for _, id, _ in screen.sent} == {f"record {i}" for i in range(30)})
    session.cancel(all=True)


def test_a_flush_brings_the_last_word_at_once(session, publisher, screen):
    name = run(session, "echo A")
    sign(publisher, "record", name)
    session.wait([name])
    publisher.flush(timeout=LONG)
    assert screen.last("record") == "A=SUCCEEDED"
    began = len(screen.sent)
    publisher.flush(timeout=LONG)
    assert len(screen.sent) == began


class Number(Live):
    """An output that says which job its only step ran last."""

    def draw(self, rows: list[dict[str, Any]], event: dict[str, Any]) -> dict[str, str]:
        return {"text/plain": " ".join(str(row["job"]) for row in rows)}


def test_what_a_wait_was_for_is_shown_when_it_is_flushed(session, publisher, screen):
    # A step that had succeeded was run again, and the event that said so came when all had been sent.
    name = run(session, "true")
    live = Number("a")
    live.steps = {name: {"name": name}}
    publisher.follow(live)
    for job in range(1, 6):
        session.wait([name])
        publisher.flush(timeout=LONG)
        assert screen.last("a") == str(job)
        session.rerun(name)


def test_a_flush_of_some_leaves_the_others_to_their_time(session, publisher, screen, monkeypatch):
    monkeypatch.setattr(module, "EACH", 60.0)
    names = [run(session, f"echo {word}") for word in "AB"]
    one, other = (sign(publisher, f"record {name}", name) for name in names)
    session.wait()
    publisher.flush([one], timeout=LONG)
    assert screen.last(one.display_id) == "A=SUCCEEDED"
    assert screen.last(other.display_id) == ""


def test_a_flush_without_outputs_or_without_threads_returns_at_once(session, publisher):
    publisher.flush()
    publisher.close()
    publisher.flush()


def test_steps_that_join_are_shown_with_all_that_is_known_of_them(session, publisher, screen):
    first, second = run(session, "echo A"), run(session, "echo B")
    live = sign(publisher, "record", first)
    publisher.add_steps(live, [second])
    session.wait()
    publisher.flush(timeout=LONG)
    assert screen.last("record") == "A=SUCCEEDED B=SUCCEEDED"


def test_what_a_plan_declared_before_its_record_was_followed_is_in_it(session, publisher, screen, tmp_path):
    sign(publisher, "other", run(session, "true"))
    until(lambda: screen.last("other") == "true=SUCCEEDED")
    plan = tmp_path / "plan.py"
    plan.write_text("#!/usr/bin/env python3\nfrom stepup.core.api import runsh\nrunsh('echo child')\n")
    plan.chmod(0o755)
    name = session.boot("plan.py").name
    session.wait()
    # Its steps have been told of by now, while nobody wanted to know; of the plan itself the row is known.
    publisher.flush(timeout=LONG)
    live = Sign("late")
    live.has_children = True
    live.steps = {row["name"]: row for row in session.known_rows([name])}
    publisher.follow(live)
    until(lambda: screen.last("late") == "./plan.py=SUCCEEDED child=SUCCEEDED")


def test_an_output_that_is_dropped_stays_as_it_is(session, publisher, screen):
    live = sign(publisher, "record", run(session, "echo A"))
    session.wait()
    publisher.flush(timeout=LONG)
    publisher.drop(live)
    publisher.add_steps(live, [run(session, "echo B")])
    session.wait()
    publisher.flush(timeout=LONG)
    assert screen.last("record") == "A=SUCCEEDED"


def test_what_looks_the_same_is_not_sent_again(session, publisher, screen):
    live = sign(publisher, "record", run(session, "echo A"))
    session.wait()
    publisher.flush(timeout=LONG)
    number = len(screen.sent)
    publisher.touch(live)
    publisher.flush(timeout=LONG)
    assert len(screen.sent) == number


def test_time_passes_visibly_where_an_output_wants_it(session, publisher, screen, monkeypatch):
    monkeypatch.setattr(module, "EACH", 0.01)
    ticks = iter(range(1000))

    class Clock(Sign):
        def draw(self, rows: list[dict[str, Any]], event: dict[str, Any]) -> dict[str, str]:
            return {"text/plain": str(next(ticks))}

        def pulse(self, rows: Any) -> float:
            return 0.01

    run(session, "true")
    publisher.follow(Clock("clock"))
    until(lambda: len(screen.sent) >= 5)


def test_a_step_that_is_forgotten_is_shown_as_such_unless_it_was_declared_again(session, publisher, screen):
    sign(publisher, "a", run(session, "echo A"))
    sign(publisher, "b", run(session, "echo B"))
    session.wait()
    session.forget("echo A", "echo B")
    run(session, "echo B")
    session.wait()
    until(lambda: screen.last("a") == "A=DELETED")
    publisher.flush(timeout=LONG)
    assert screen.last("b") == "B=SUCCEEDED"


def test_updates_belong_to_no_cell(session, screen, publisher):
    """A context that was inherited names a finished cell, whose updates clients without a browser drop."""
    import contextvars

    cell = contextvars.ContextVar("cell", default="none")
    seen = []
    publisher._send = lambda id, bundle: seen.append((cell.get(), threading.current_thread().name))
    token = cell.set("the first")
    sign(publisher, "record", run(session, "echo A"))
    session.wait()
    publisher.flush(timeout=LONG)
    cell.reset(token)
    assert set(seen) == {("none", "stepup-publisher")}


def test_an_output_that_cannot_be_drawn_hurts_no_other(session, publisher, screen):
    class Broken(Sign):
        def draw(self, rows: list[dict[str, Any]], event: dict[str, Any]) -> dict[str, str]:
            raise ZeroDivisionError

    name = run(session, "echo A")
    broken = Broken("broken")
    broken.steps = {name: {"name": name}}
    publisher.follow(broken)
    sign(publisher, "record", name)
    session.wait()
    publisher.flush(timeout=LONG)
    assert screen.last("record") == "A=SUCCEEDED"
    assert "ZeroDivisionError" in publisher.troubles[0]
    publisher.troubles.clear()


def test_a_lost_director_is_shown_and_its_successor_followed(session, publisher, screen):
    session.on_started = lambda session: publisher.reconnect()
    name = run(session, "sleep 60; echo A")
    sign(publisher, "record", name)
    until(lambda: screen.last("record") == "A=RUNNING")
    os.kill(session.status()["director_pid"], signal.SIGKILL)
    until(lambda: screen.last("record") == "LOST A=RUNNING")
    run(session, "echo B")
    until(lambda: screen.last("record") == "A=RUNNING")
    session.cancel(name)
    until(lambda: screen.last("record") == "A=CANCELLED")


def test_closing_ends_the_threads(session, screen):
    publisher = Publisher(session, screen.send)
    sign(publisher, "record", run(session, "echo A"))
    threads = list(publisher._threads)
    assert all(thread.is_alive() for thread in threads)
    publisher.close()
    assert not any(thread.is_alive() for thread in threads)
