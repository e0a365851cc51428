"""The panel's side in the kernel, with a real director: what the browser is told, and what its clicks do."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client.helpers_session import session_in, until

from stepup_nb.client.session import Session
from stepup_nb.core.model import ScopeKind
from stepup_nb.notebook.panel.controls import Controls
from stepup_nb.notebook.panel.feed import Feed
from stepup_nb.notebook.panel.live import EACH, PanelLive
from stepup_nb.notebook.publisher import EACH as EACH_RECORD
from stepup_nb.notebook.publisher import MOST, Live, Publisher


class Browser:
    """Takes messages in as the panel's store does, and says what a person does."""

    def __init__(self) -> None:
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self.session: dict[str, Any] = {}
        self.steps: dict[str, dict[str, Any]] = {}
        self.jobs: dict[int, dict[str, Any]] = {}
        self.lines: dict[int, list[Any]] = {}
        self.details: dict[str, dict[str, Any]] = {}
        self.nodes: list[Any] = []
        self.answers: dict[int, str] = {}
        self.take_once: list[Any] = []
        self.controls: Controls

    def take(self, message: dict[str, Any]) -> None:
        self.messages.append((time.monotonic(), message))
        if message["kind"] == "graph":
            self.nodes = message["nodes"]
            return
        if message["kind"] == "snapshot":
            self.steps, self.jobs = {}, {}
        self.session = message.get("session", self.session)
        self.steps.update({step["name"]: step for step in message["steps"]})
        for name in message.get("gone", ()):
            self.steps.pop(name, None)
        self.jobs.update({job["job"]: job for job in message["jobs"]})
        for log in message["logs"]:
            self.lines.setdefault(log["job"], [])[log["from"] :] = log["lines"]
        self.details.update({each["step"]: each for each in message["details"]})
        self.answers.update({answer["id"]: answer["words"] for answer in message["answers"]})

    def say(self, kind: str, **fields: Any) -> None:
        self.controls.take({"kind": kind, **fields})

    def act(self, verb: str, **fields: Any) -> str:
        """Do something, and return what is said about it."""
        number = len(self.answers) + 1
        self.say("act", id=number, verb=verb, **fields)
        until(lambda: number in self.answers)
        return self.answers[number]

    def state(self, name: str) -> str:
        return str(self.steps[name]["state"]) if name in self.steps else ""

    def text(self, job: int) -> str:
        return "|".join("".join(span[0] for span in spans) for _, spans in self.lines.get(job, ()))

    def pool(self, name: str) -> dict[str, Any]:
        return next((pool for pool in self.session.get("pools", ()) if pool["name"] == name), {})


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = session_in(tmp_path)
    yield session
    session.close()


@pytest.fixture
def publisher(session: Session) -> Iterator[Publisher]:
    publisher = Publisher(session, lambda display_id, bundle: None)
    yield publisher
    publisher.close()
    assert publisher.troubles == []


@pytest.fixture
def browser(session: Session, publisher: Publisher) -> Iterator[Browser]:
    browser = Browser()
    live = PanelLive(browser.take, Feed("nb.ipynb"))
    browser.controls = Controls(live, lambda: session, lambda: publisher.touch(live))
    publisher.follow(live)
    browser.say("hello")
    yield browser
    browser.controls.close()


def test_steps_are_told_from_their_declaration_to_their_end(session, browser):
    session.set_workers(1)
    session.pool("test", 1)
    first = session.declare("runsh", "echo A; until [ -e go ]; do sleep 0.01; done", name="a", pool="test")
    session.declare("runsh", "echo B", name="b", pool="test")
    until(lambda: browser.state("a") == "RUNNING" and browser.steps["a"]["last"] == "A")
    until(lambda: browser.pool("test").get("queue") == ["b"])
    assert browser.steps["a"]["slots"] == {"test": [0]}
    # Steps and counts come in one message, and are taken in one after the other.
    until(lambda: browser.session["counts"] == {"RUNNING": 1, "QUEUED": 1} and browser.session["busy"] == 1)
    (Path(session.place.root) / "go").touch()
    session.wait()
    until(lambda: browser.state("a") == browser.state("b") == "SUCCEEDED")
    until(lambda: [browser.jobs.get(n, {}).get("outcome") for n in (1, 2)] == ["succeeded"] * 2)
    assert browser.jobs[first.job]["step"] == "a" and browser.jobs[first.job]["slots"] == {"test": [0]}
    session.forget("b")
    until(lambda: "b" not in browser.steps)


def test_a_panel_that_is_made_later_knows_what_was_before(session, publisher):
    session.declare("runsh", "echo A", name="a")
    session.wait()
    browser = Browser()
    live = PanelLive(browser.take, Feed())
    publisher.follow(live)
    publisher.touch(live)
    until(lambda: browser.state("a") == "SUCCEEDED" and 1 in browser.jobs)
    (_, first), *_ = browser.messages
    assert first["kind"] == "snapshot"


def test_a_selected_step_is_told_in_full_and_its_output_as_it_comes(session, browser):
    command = "echo one; echo two >&2; until [ -e go ]; do sleep 0.01; done; echo three"
    session.declare("runsh", command, name="a", out="x", inp=None, vol=None)
    browser.say("follow", view="v", step="a", job=None)
    until(lambda: browser.text(1) == "one|two")
    assert [stream for stream, _ in browser.lines[1]] == [0, 1]
    until(lambda: "a" in browser.details)
    assert browser.details["a"]["out"] == ["x"] and browser.details["a"]["command"] == command
    (Path(session.place.root) / "go").touch()
    until(lambda: browser.text(1) == "one|two|three")
    until(lambda: [job["outcome"] for job in browser.details["a"]["jobs"]] == ["failed"])
    assert browser.details["a"]["why"]


def test_an_earlier_job_can_be_looked_at(session, browser):
    step = session.declare("runsh", "date +%s%N", name="a")
    step.wait()
    before = step.stdout.strip()
    step.rerun()
    step.wait()
    browser.say("follow", view="v", step="a", job=1)
    until(lambda: browser.text(1) == before)
    browser.say("follow", view="v", step="a", job=None)
    until(lambda: browser.text(2) == step.stdout.strip())


def test_a_step_that_prints_as_fast_as_it_can_costs_few_and_small_messages(session, browser):
    step = session.declare("runsh", "timeout 2 yes 'all work and no play' || true", name="a")
    browser.say("follow", view="v", step="a", job=None)
    step.wait()
    until(lambda: any(log["final"] for _, message in browser.messages for log in message.get("logs", ())))
    assert len(browser.messages[-1][1]["logs"][0]["lines"]) <= 1000
    sizes = [len(repr(message)) for _, message in browser.messages]
    times = [moment for moment, _ in browser.messages]
    assert max(sizes) < 250_000
    # Never more than this in a second, whatever a step does.
    assert all(later - earlier > 0.9 * EACH for earlier, later in itertools.pairwise(times))
    last = browser.messages[-1][1]["logs"][0]
    assert last["hidden"] > 1000 or last["hidden"] == -1


def test_the_graph_is_told_to_who_shows_it_and_again_when_it_changes(session, browser):
    session.declare("runsh", "touch x", name="a", out="x")
    browser.say("graph", view="v", open=True)
    until(lambda: browser.nodes == [["a", [], ["x"], []]])
    session.declare("runsh", "cat x", name="b", inp="x", after="a")
    until(lambda: browser.nodes == [["a", [], ["x"], []], ["b", ["x"], [], ["a"]]])


def test_clicks_do_what_they_say(session, browser):
    session.pool("test", 1)
    nap = "until [ -e go ]; do sleep 0.01; done"
    for name in "abc":
        session.declare("runsh", f"{nap}; echo {name}", name=name, pool="test")
    until(lambda: browser.state("a") == "RUNNING" and browser.pool("test")["waiting"] == 2)
    assert browser.act("resize", pool="test", size=2) == ""
    until(lambda: browser.state("b") == "RUNNING")
    assert browser.act("pause", pool="test") == ""
    until(lambda: browser.pool("test")["paused"])
    assert browser.act("cancel", step="a") == ""
    until(lambda: browser.state("a") == "CANCELLED")
    assert browser.state("c") == "QUEUED"
    assert browser.act("resume", pool="test") == ""
    until(lambda: browser.state("c") == "RUNNING")
    assert browser.act("workers", number=7) == ""
    until(lambda: browser.session["workers"] == 7)
    assert browser.act("pause") == ""
    until(lambda: browser.session["paused"])
    assert browser.act("rerun failed") == ""
    until(lambda: browser.state("a") == "QUEUED")
    assert browser.act("cancel all") == ""
    until(lambda: [browser.state(name) for name in "abc"] == ["CANCELLED"] * 3)
    assert browser.act("resume") == ""
    (Path(session.place.root) / "go").touch()
    assert browser.act("rerun", step="b") == ""
    until(lambda: browser.state("b") == "SUCCEEDED")
    outcomes = [(row["step"], row["outcome"]) for row in session.history()]
    assert outcomes == [("a", "cancelled"), ("b", "cancelled"), ("c", "cancelled"), ("b", "succeeded")]


def test_a_click_that_is_heard_twice_is_done_once_and_answered_twice(session, browser):
    session.declare("runsh", "echo a", name="a")
    until(lambda: browser.state("a") == "SUCCEEDED")
    for _ in range(2):
        browser.answers.clear()
        browser.say("act", id=7, verb="rerun", step="a")
        until(lambda: browser.answers == {7: ""})
    # Clicks are done one after the other.
    assert browser.act("rerun", step="ghost") != ""
    session.wait()
    assert len(session.history()) == 2


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"verb": "resize", "pool": "test", "size": -1}, "-1"),
        ({"verb": "resize", "pool": "te st", "size": 1}, "te st"),
        ({"verb": "cancel", "step": "nobody"}, "nobody"),
        ({"verb": "pause", "pool": "tset"}, "did you mean 'test'"),
        ({"verb": "workers", "number": 0}, "0"),
        ({"verb": "workers"}, "number"),
        ({"verb": "fly"}, "fly"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(session, browser, message, words):
    session.pool("test", 1)
    before = session.status()
    assert words in browser.act(**message)
    assert session.status() == before


@pytest.mark.parametrize("message", [None, [], {}, {"kind": 7}, {"kind": "fly"}, "hello", {"kind": "follow"}])
def test_messages_that_are_none_are_ignored(browser, message):
    browser.controls.take(message)
    assert browser.act("run") == ""


def test_a_size_from_the_panel_names_the_panel_and_survives_the_director(session, browser):
    session.pool("test", 1)
    assert browser.act("resize", pool="test", size=5) == ""
    (row,) = session.status()["pools"]
    assert (row["size"], row["scope"]) == (5, "the panel")
    os.kill(session.status()["director_pid"], signal.SIGKILL)
    until(lambda: browser.session["lost"])
    (row,) = session.status()["pools"]
    assert row["size"] == 5


def test_a_cluster_is_told_for_as_long_as_steps_run_there(session, browser):
    pytest.importorskip("distributed")
    until(lambda: "cluster" in browser.session)
    assert browser.session["cluster"] is None
    session.set_workers(2)
    where = session.executor("dask")
    until(lambda: browser.session["cluster"] is not None and browser.session["cluster"]["threads"] == 2)
    assert browser.session["cluster"]["address"] == where["address"]
    session.declare("runsh", "true", name="a")
    until(lambda: browser.state("a") == "SUCCEEDED" and 1 in browser.jobs and browser.jobs[1]["machine"])
    assert browser.steps["a"]["machine"] == browser.jobs[1]["machine"]
    session.executor("local")
    until(lambda: browser.session["cluster"] is None)


def test_a_new_director_is_shown_in_place_of_a_lost_one(session, publisher, browser):
    session.declare("runsh", "true", name="a")
    until(lambda: browser.state("a") == "SUCCEEDED")
    os.kill(session.status()["director_pid"], signal.SIGKILL)
    until(lambda: browser.session["lost"])
    session.declare("runsh", "true # 2", name="b")
    publisher.reconnect()
    until(lambda: not browser.session["lost"] and browser.state("b") == "SUCCEEDED")


@contextlib.contextmanager
def session_scope(session: Session, scope: str) -> Iterator[None]:
    """Declare in a cell."""
    session.open_scope(scope, ScopeKind.CELL, scope, [])
    yield
    session.close_scope(scope, is_ok=True)


class Noise(Live):
    """A record that always has news."""

    sent = 0

    def publish(self, rows: Any, event: Any, ask: Any, send: Any) -> bool:
        self.is_dirty = True
        self.sent += 1
        return True


def test_records_and_panel_share_ten_messages_a_second(session, publisher, browser):
    noises = [Noise(f"n{n}") for n in range(12)]
    session.declare("runsh", "for i in $(seq 300); do echo $i; sleep 0.01; done", name="a")
    began = time.monotonic()
    for noise in noises:
        publisher.follow(noise)
        publisher.touch(noise)
    session.wait()
    seconds = time.monotonic() - began
    sent = sum(noise.sent for noise in noises)
    messages = sum(moment > began for moment, _ in browser.messages)
    assert sent <= (MOST - PanelLive.share) * (seconds + 1)
    assert sent + messages <= MOST * (seconds + 1)
    # Neither starves the other.
    assert all(noise.sent for noise in noises) or seconds < len(noises) * EACH_RECORD
    assert messages > 3 * seconds


def test_with_a_graph_open_there_are_no_more_messages(session, publisher, browser):
    browser.say("graph", view="v", open=True)
    for number in range(40):
        session.declare("runsh", f"sleep 0.05; echo {number}", name=f"s{number}")
    session.wait()
    times = [moment for moment, _ in browser.messages]
    assert any(message["kind"] == "graph" for _, message in browser.messages)
    assert all(later - earlier > 0.9 * EACH for earlier, later in itertools.pairwise(times))


def test_after_a_new_director_what_is_followed_is_told_anew(session, publisher, browser):
    session.declare("runsh", "echo one; sleep 1000", name="a")
    browser.say("follow", view="v", step="a", job=None)
    browser.say("graph", view="v", open=True)
    until(lambda: browser.text(1) == "one" and browser.nodes)
    os.kill(session.status()["director_pid"], signal.SIGKILL)
    until(lambda: browser.session["lost"])
    browser.nodes = []
    session.declare("runsh", "true", name="b")
    publisher.reconnect()
    until(lambda: browser.text(2) == "one" and len(browser.nodes) == 2)
    until(lambda: [job["job"] for job in browser.details["a"]["jobs"]] == [2, 1])


def test_memory_and_remaining_time_pass_while_a_step_says_nothing(session, browser, monkeypatch):
    monkeypatch.setattr("stepup_nb.notebook.panel.live.PULSE", 0.3)
    monkeypatch.setattr("stepup_nb.notebook.panel.feed._PULSE", 0.2)
    code = "x = bytearray(50_000_000); import time; time.sleep(1000)"
    session.declare("runsh", f"python3 -c '{code}'", name="a", duration=100.0)
    until(lambda: browser.state("a") == "RUNNING")
    until(lambda: (browser.session["memory"] or {"used": 0})["used"] > 50_000_000)
    before = browser.session["remaining"]
    until(lambda: browser.session["remaining"] < before - 1)


def test_a_slot_that_is_held_by_what_nobody_declares_any_more_is_counted(session, browser):
    session.pool("test", 1)
    with session_scope(session, "cell"):
        session.declare("runsh", "trap '' TERM; echo up; while :; do sleep 0.1; done", name="a", pool="test")
        until(lambda: browser.steps.get("a", {}).get("last") == "up")
    with session_scope(session, "cell"):
        pass
    until(lambda: browser.state("a") == "PENDING")
    assert browser.pool("test")["used"] == browser.session["busy"] == 1
    assert (browser.steps["a"]["outcome"], browser.steps["a"]["slots"]) == (None, {"test": [0]})


def test_what_could_not_be_sent_is_told_anew(session, publisher, browser):
    taken = browser.take

    def fail_once(message: dict[str, Any]) -> None:
        if not browser.take_once:
            browser.take_once.append(message)
            raise RuntimeError("the channel is full")
        taken(message)

    live = PanelLive(fail_once, Feed())
    publisher.follow(live)
    publisher.touch(live)
    until(lambda: browser.take_once)
    until(lambda: publisher.troubles)
    publisher.troubles.clear()
    session.declare("runsh", "true", name="later")
    until(lambda: browser.state("later") == "SUCCEEDED")


def test_a_drain_is_ended_as_a_pause_is(session, browser):
    session.drain()
    session.declare("runsh", "true", name="a")
    until(lambda: browser.session.get("draining") and browser.state("a") == "QUEUED")
    assert browser.act("resume") == ""
    until(lambda: browser.state("a") == "SUCCEEDED" and not browser.session["draining"])
