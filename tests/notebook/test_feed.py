"""What the browser is told: numbered, complete, bounded, and safe to show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.notebook.panel import feed
from stepup_nb.notebook.panel.feed import JOBS, ROWS, Feed

Row = dict[str, Any]
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b]8;;http://x\x07\n</script>"


def row(name: str, **more: Any) -> Row:
    return {
        "name": name,
        "label": name,
        "command": "true",
        "workdir": ".",
        "state": "QUEUED",
        "reason": "",
        "pool": {},
        "slots": {},
        "worker": None,
        "seq": 1,
        "job": None,
        "outcome": None,
        "returncode": None,
        "queued": None,
        "started": None,
        "ended": None,
        "duration": None,
        "expected": None,
        "peak_rss": None,
        "dormant": False,
        "skipped": False,
        "optional": False,
        "cell": "",
        "stdout_tail": "",
        "stderr_tail": "",
        "notes": [],
        "inp": [],
        "out": [],
        "vol": [],
        "env": [],
        "after": [],
        **more,
    }


def job(number: int, step: str = "a", **more: Any) -> Row:
    return {
        "job": number,
        "step": step,
        "outcome": None,
        "returncode": None,
        "queued": 1.0,
        "started": 2.0,
        "ended": None,
        "slots": {},
        "worker": 0,
        "peak_rss": None,
        "cpu": None,
        "why": "never ran",
        **more,
    }


def pool(name: str, size: int | None = 2, **more: Any) -> Row:
    return {
        "name": name,
        "size": size,
        "used": 0,
        "waiting": 0,
        "tokens": [],
        "paused": False,
        "reserved": None,
        **more,
    }


def event(*steps: Row, gone: tuple[str, ...] = (), jobs: tuple[Row, ...] = (), **more: Any) -> Row:
    return {"steps": list(steps), "gone": list(gone), "jobs": list(jobs), **SESSION, **more}


SESSION = {
    "workers": 2,
    "paused": False,
    "draining": False,
    "pools": [],
    "counts": {},
    "notes": [],
    "memory": 0,
}


def begun(*steps: Row, jobs: tuple[Row, ...] = ()) -> Feed:
    begun = Feed("nb.ipynb")
    begun.take_all({"steps": list(steps), **SESSION}, list(jobs))
    return begun


def names(message: Row) -> list[str]:
    return [step["name"] for step in message["steps"]]


class Browser:
    """Applies messages as the store in the browser does; sees when one is missing."""

    def __init__(self) -> None:
        self.seq = 0
        self.steps: dict[str, Row] = {}
        self.is_behind = False

    def take(self, message: Row) -> None:
        message = json.loads(json.dumps(message))
        if message["kind"] == "snapshot":
            self.steps, self.is_behind = {}, False
        elif message["seq"] != self.seq + 1 or self.is_behind:
            self.is_behind = True
            return
        self.seq = message["seq"]
        for name in message.get("gone", ()):
            self.steps.pop(name, None)
        self.steps.update({step["name"]: step for step in message["steps"]})


def test_the_first_message_is_a_snapshot_and_then_only_what_changed_is_told() -> None:
    told = begun(row("a"), row("b"), jobs=(job(1),))
    first = told.message(1.0, [], [])
    assert (first["kind"], names(first), [row["job"] for row in first["jobs"]]) == (
        "snapshot",
        ["a", "b"],
        [1],
    )
    assert not told.has_news
    told.take(event(row("b", state="RUNNING"), gone=("a",), jobs=(job(2, "b"),)))
    second = told.message(2.0, [], [])
    assert (second["kind"], second["seq"]) == ("delta", first["seq"] + 1)
    assert (names(second), second["gone"], [row["job"] for row in second["jobs"]]) == (["b"], ["a"], [2])
    assert not told.has_news


def test_a_delta_has_a_bounded_number_of_rows_and_the_others_follow() -> None:
    told = begun()
    told.message(1.0, [], [])
    told.take(
        event(*(row(f"s{n}") for n in range(2 * ROWS + 1)), jobs=tuple(job(n) for n in range(ROWS + 1)))
    )
    deltas = []
    while told.has_news:
        deltas.append(told.message(1.0, [], []))
    assert [len(delta["steps"]) for delta in deltas] == [ROWS, ROWS, 1]
    assert [len(delta["jobs"]) for delta in deltas] == [ROWS, 1, 0]


def test_old_jobs_give_way_to_new_ones() -> None:
    told = begun(jobs=tuple(job(n) for n in range(JOBS)))
    told.take(event(jobs=(job(JOBS), job(JOBS + 1))))
    numbers = [row["job"] for row in told.message(1.0, [], [])["jobs"]]
    assert numbers == list(range(2, JOBS + 2))


CHANGES = st.lists(
    st.one_of(
        st.tuples(
            st.just("change"), st.sampled_from("abcd"), st.sampled_from(["QUEUED", "RUNNING", "FAILED"])
        ),
        st.tuples(st.just("forget"), st.sampled_from("abcd"), st.none()),
        st.tuples(st.just("send"), st.booleans(), st.none()),
    ),
    max_size=40,
)


@given(CHANGES)
def test_whatever_gets_lost_the_browser_is_right_after_it_said_hello(
    changes: list[tuple[str, Any, Any]],
) -> None:
    told, browser = begun(row("a")), Browser()
    truth = {"a": "QUEUED"}
    for what, which, state in changes:
        if what == "change":
            told.take(event(row(which, state=state)))
            truth[which] = state
        elif what == "forget":
            told.take(event(gone=(which,)))
            truth.pop(which, None)
        else:
            message = told.message(1.0, [], [])
            if which:
                browser.take(message)
    browser.take(told.message(1.0, [], []))
    if browser.is_behind:
        told.hello()
        browser.take(told.message(1.0, [], []))
    assert {name: step["state"] for name, step in browser.steps.items()} == truth


def test_what_people_named_is_safe_to_show_and_comes_back_as_the_key_it_was() -> None:
    told = begun(row(HOSTILE, label=HOSTILE, reason=HOSTILE, stdout_tail=f"one\n{HOSTILE}"))
    (step,) = told.message(1.0, [], [])["steps"]
    for text in (step["name"], step["label"], step["reason"], step["last"]):
        assert text.isprintable(), text
    assert len(step["label"]) <= 80
    assert told.key_of(step["name"]) == HOSTILE
    assert feed.name_of("runsh echo a") == "runsh echo a"
    assert len(feed.name_of("x" * 10_000)) < 100


def test_the_last_line_that_says_something_is_shown() -> None:
    told = begun(row("a", stdout_tail="one\n\x1b[31mtwo\x1b[0m  \n\n"), row("b", stderr_tail="10%\r20%\r30%"))
    assert [step["last"] for step in told.message(1.0, [], [])["steps"]] == ["two", "30%"]


def test_a_lost_director_is_told() -> None:
    told = begun()
    assert told.message(1.0, [], [])["session"]["lost"] is False
    told.lose()
    assert told.message(1.0, [], [])["session"]["lost"] is True


def test_the_queue_is_told_in_the_order_of_starts() -> None:
    told = begun(row("a"))
    told.take(event(pools=[pool("test", tokens=["x\n"], reserved=HOSTILE)]))
    told.take_now({"queues": {"": ["c"], "test": ["b", "a"]}, "memory": 7, "at": 1.0})
    session = told.message(1.0, [], [])["session"]
    assert session["queue"] == ["c"]
    assert session["pools"][0]["queue"] == ["b", "a"]
    assert session["pools"][0]["tokens"] == ["x↵"] and session["pools"][0]["reserved"].isprintable()


DASK = {"kind": "dask", "address": "tls://a:1", "dashboard": "http://a:8787/status", "threads": 4}


def test_where_steps_run_is_told_when_that_changes() -> None:
    told = Feed("nb.ipynb", hub="/user/ada/")
    told.take_all({"steps": [], **SESSION}, [])
    assert told.message(1.0, [], [])["session"]["cluster"] is None
    told.take_where(DASK)
    cluster = {**DASK, "dashboard": "/user/ada/proxy/8787/status"}
    assert told.message(1.0, [], [])["session"]["cluster"] == cluster
    told.take_where(DASK)
    assert not told.has_news
    told.take_where({**DASK, "threads": None})
    assert told.message(1.0, [], [])["session"]["cluster"]["threads"] is None
    told.take_where({"kind": "local", "address": None, "dashboard": None})
    assert told.message(1.0, [], [])["session"]["cluster"] is None


def test_a_lost_director_has_left_its_cluster() -> None:
    told = begun()
    told.take_where(DASK)
    told.lose()
    assert told.message(1.0, [], [])["session"]["cluster"] is None


def test_what_a_cluster_says_of_itself_is_safe_to_show() -> None:
    told = begun()
    told.take_where({"kind": HOSTILE, "address": HOSTILE, "dashboard": "javascript:alert(1)", "threads": 1})
    cluster = told.message(1.0, [], [])["session"]["cluster"]
    assert cluster["kind"].isprintable() and cluster["address"].isprintable() and cluster["dashboard"] == ""


def test_the_machine_of_a_step_and_of_a_job_is_told() -> None:
    told = begun(
        row("a", machine="tls://a:1", place="a"), row("b"), jobs=(job(1, machine="tls://a:1"), job(2))
    )
    first = told.message(1.0, [], [])
    assert [(step["machine"], step["place"]) for step in first["steps"]] == [("tls://a:1", "a"), ("", None)]
    assert [row["machine"] for row in first["jobs"]] == ["tls://a:1", ""]
    why = {"reason": "", "outdated": [], "root": "", "last": ""}
    (shown,) = feed.details(row("a"), why, [job(1, machine=HOSTILE)])["jobs"]
    assert shown["machine"].isprintable()


def test_a_pool_tells_its_machines_if_it_counts_on_each() -> None:
    told = begun()
    mem = pool("mem", per_machine=True, machines=[["a", 2], [HOSTILE, 0]])
    told.take(event(pools=[pool("test"), mem]))
    test, mem = told.message(1.0, [], [])["session"]["pools"]
    assert (test["per_machine"], test["machines"]) == (False, [])
    assert mem["per_machine"] and mem["machines"][0] == ["a", 2] and mem["machines"][1][0].isprintable()


def test_answers_are_told_once() -> None:
    told = begun()
    told.answer(7, "no\nway")
    assert told.message(1.0, [], [])["answers"] == [{"id": 7, "words": "no↵way"}]
    told.answer(8, "")
    assert told.message(1.0, [], [])["answers"] == [{"id": 8, "words": ""}]


@pytest.mark.parametrize(
    ("steps", "workers", "pools", "seconds"),
    [
        ([row("a", state="SUCCEEDED", expected=3.0)], 1, [], None),
        ([row("a")], 1, [], None),
        ([row("a", expected=4.0), row("b", expected=2.0)], 1, [], 6.0),
        ([row("a", expected=4.0, state="PENDING")], 1, [], None),
        ([row("a", expected=4.0), row("b", expected=2.0)], 8, [], 4.0),
        ([row("a", expected=4.0), row("b")], 1, [], 8.0),
        (
            [row("a", expected=4.0, pool={"p": 1}), row("b", expected=4.0, pool={"p": 1})],
            8,
            [pool("p", 1)],
            8.0,
        ),
        (
            [row("a", expected=4.0, pool={"p": 1}), row("b", expected=4.0, pool={"p": 1})],
            8,
            [pool("p", 1, per_machine=True, machines=[["a", 0], ["b", 0]])],
            4.0,
        ),
        ([row("a", expected=4.0, pool={"p": 2})], 8, [pool("p", 0)], 4.0),
        ([row("a", expected=4.0, state="RUNNING", started=97.0)], 8, [], 1.0),
        ([row("a", expected=4.0, state="RUNNING", started=1.0)], 8, [], 0.0),
        ([row("a", expected=4.0, dormant=True), row("b", state="FAILED", expected=1.0)], 8, [], None),
        ([row("a", expected=4.0, optional=True, state="PENDING")], 8, [], None),
    ],
)
def test_the_remaining_time_is_bounded_by_work_over_workers_and_slots(
    steps: list[Row], workers: int, pools: list[Row], seconds: float | None
) -> None:
    assert feed.remaining(steps, workers, pools, 100.0) == seconds


def test_all_about_a_step_is_bounded_and_safe() -> None:
    why = {"reason": "queued", "outdated": [HOSTILE], "root": "", "last": "queued"}
    about = row("a", command=HOSTILE * 1000, inp=[f"f{n}" for n in range(200)], notes=[HOSTILE] * 50)
    told = feed.details(about, why, [job(n) for n in range(50)])
    assert [row["job"] for row in told["jobs"]] == list(range(49, 29, -1))
    assert told["inp"][-1] == "… 100 more"
    assert told["why"][0] == "queued" and len(told["why"]) == 2
    assert all(text.isprintable() for text in (*told["why"], *told["notes"]))
    assert "\x1b" not in told["command"] and "\u202e" not in told["command"]
    assert len(json.dumps(told)) < 100_000


def test_the_graph_has_the_steps_that_are_declared() -> None:
    nodes = [["a", [], ["x", HOSTILE], []], ["b", ["x"], [], ["a"]]]
    (_, _, (_, strange), _), second = feed.graph(nodes)["nodes"]
    assert second == ["b", ["x"], [], ["a"]]
    assert strange.isprintable() and "<" not in strange


def test_what_goes_without_saying_is_no_reason() -> None:
    told = begun(
        row("a", state="SUCCEEDED", reason="never ran"), row("b", state="FAILED", reason="exit code 3")
    )
    assert [step["reason"] for step in told.message(1.0, [], [])["steps"]] == ["", "exit code 3"]
    why = {"reason": "never ran", "outdated": [], "root": "", "last": "never ran"}
    assert feed.details(row("a"), why, [])["why"] == ["it had never run before"]
