"""Tables and blocks of text for what a magic was asked."""

from __future__ import annotations

from typing import Any

import pytest

from stepup_nb.notebook import show
from stepup_nb.notebook.outputs import CellRecord, Progress, TerminalLine

STEP = {
    "name": "cut",
    "label": "cut",
    "state": "SUCCEEDED",
    "reason": "never ran",
    "pool": {},
    "duration": 1.25,
    "skipped": False,
    "dormant": False,
    "log": None,
}


def step(**more: Any) -> dict[str, Any]:
    return {**STEP, **more}


def pool(name: str, size: int | None, used: int = 0, waiting: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": name, "size": size, "used": used, "waiting": waiting, "tokens": [], **more}


def status(*steps: dict[str, Any], **more: Any) -> str:
    counts: dict[str, int] = {}
    for row in steps:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    found = {"steps": steps, "pools": [], "counts": counts, "workers": 2, "paused": False, **more}
    return show.text(show.status_page(found))


# --- tables ---------------------------------------------------------------------------------------


def test_a_table_is_aligned_and_leaves_out_what_is_empty():
    assert show.table(("a", "b", "c"), [("1", "", "x"), ("22", "", "yy")]).splitlines() == [
        "a   c",
        "1   x",
        "22  yy",
    ]


def test_a_table_counts_columns_and_not_characters():
    assert show.table(("a", "b"), [("漢字", "x"), ("abc", "y")]).splitlines() == [
        "a     b",
        "漢字  x",
        "abc   y",
    ]


def test_a_table_without_rows_is_its_head():
    assert show.table(("a", "b"), []) == "a  b"


def test_a_cell_is_one_short_line_that_commands_nothing():
    line = show.table(("a",), [("x\ny\x1b[2J" + "z" * 100,)], widest=20).splitlines()[1]
    assert line == "x↵y\\x1b[2Jzzzzzzzzz…"


def test_html_is_escaped_and_needs_no_style_sheet():
    html = show.html(["<b>", show.Table(("step", "why"), [("<script>", "a & b")])])
    assert "<script>" not in html and "&lt;script&gt;" in html and "a &amp; b" in html and "&lt;b&gt;" in html
    assert "class=" not in html


# --- pools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words", "short"),
    [
        (pool("test", 2), "pool test: 0 of 2 slots in use, 0 waiting", "test 0/2"),
        (pool("test", 1, 1, 3), "pool test: 1 of 1 slot in use, 3 waiting", "test 1/1"),
        (pool("test", None, 2), "pool test: 2 slots in use, no limit, 0 waiting", "test 2/∞"),
        (pool("test", 0, 0, 3), "pool test: closed, 3 waiting", "test closed"),
        (pool("test", 0, 2), "pool test: closed, 0 waiting", "test 2/0"),
    ],
)
def test_a_pool_is_told_in_words(row, words, short):
    assert show.pool_words(row) == words
    assert show.pool_short(row) == short


def test_what_is_special_of_a_pool_is_remarked():
    rows = [
        pool("a", 1, 3, reserved="runsh big"),
        pool("b", 2, tokens=["0", "1"], paused=True),
        pool("c", None),
        pool("d", 0),
    ]
    assert show.pools(rows).splitlines() == [
        "pool  slots     in use  waiting  remarks",
        "a     1         3       0        2 more than it has now: nothing starts until it fits; reserved for runsh big",
        "b     2         0       0        paused; tokens 0, 1",
        "c     no limit  0       0",
        "d     closed    0       0",
    ]


def test_without_pools_it_is_said_how_to_make_one():
    assert show.pools([]) == "No pools. '%pool test 2' makes one with two slots."


# --- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (step(), "SUCCEEDED  cut   1.2 s"),
        (step(reason="input 'a' changed"), "SUCCEEDED  cut   1.2 s  ran because input 'a' changed"),
        (step(skipped=True, reason="up to date"), "SKIP   cut   1.2 s"),
        (step(state="RUNNING", duration=None), "RUNNING  cut"),
        (
            step(state="RUNNING", duration=None, reason="you asked for it"),
            "RUNNING  cut   runs because you asked for it",
        ),
        (step(state="FAILED", reason="exit code 3"), "FAILED  cut   1.2 s  exit code 3"),
        (
            step(
                state="QUEUED",
                duration=None,
                reason="waits for a slot in pool 'test'",
                pool={"test": 1, "mem": 4},
            ),
            "QUEUED  cut   test, mem:4  waits for a slot in pool 'test'",
        ),
    ],
)
def test_a_step_is_shown_with_why_it_is_where_it_is(row, line):
    assert status(row).splitlines()[-1].rstrip() == line


def test_a_status_begins_with_numbers_and_ends_with_what_is_only_remembered():
    text = status(step(), step(state="RUNNING"), step(dormant=True), paused=True, pools=[pool("test", 2)])
    parts = text.split("\n\n")
    assert parts[0] == "1 running, 2 succeeded; 2 workers; paused"
    assert parts[1].startswith("pool")
    assert parts[-1] == "1 step known from the database and not declared in this session."


def test_a_long_status_is_cut():
    text = status(*[step(name=str(i), label=str(i)) for i in range(show.MOST_STEPS + 7)])
    assert text.endswith("7 more steps; stepup_nb.status() has all.")


DORMANT = "is known from the database, and not declared in this session"
UP_TO_DATE = "up to date: all that was declared is as it was when it ran"


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ({}, ["ran because it never ran before"]),
        ({"reason": "input 'a' changed", "last": "input 'a' changed"}, ["ran because input 'a' changed"]),
        (
            {"reason": "up to date", "last": "never ran"},
            [UP_TO_DATE, "its last job ran because it never ran before"],
        ),
        ({"state": "RUNNING", "reason": "you asked for it"}, ["runs because you asked for it"]),
        (
            {
                "state": "QUEUED",
                "reason": "waits for a worker",
                "outdated": ["input 'a' changed"],
                "last": "you asked for it",
            },
            [
                "waits for a worker",
                "is to run because input 'a' changed",
                "its last job ran because you asked for it",
            ],
        ),
        (
            {"state": "PENDING", "reason": "waits for step 'b'", "root": "step 'c' failed: exit code 1", "last": ""},
            ["waits for step 'b'", "in the end: step 'c' failed: exit code 1"],
        ),
        ({"state": "FAILED", "reason": "exit code 1"}, ["exit code 1", "its last job ran because it never ran before"]),
        ({"dormant": True}, [DORMANT, "ran because it never ran before"]),
    ],
)  # fmt: skip
def test_why_says_what_happened_in_the_past_and_what_is_to_come_in_the_present(found, lines):
    row = {
        "label": "cut",
        "state": "SUCCEEDED",
        "reason": "never ran",
        "outdated": [],
        "root": "",
        "last": "never ran",
    }
    words = show.why({"dormant": False, **row, **found}).splitlines()
    assert words == [f"cut: {found.get('state', 'SUCCEEDED')}", *(f"  {line}" for line in lines)]


def test_a_log_of_any_length_is_shown_from_its_end():
    assert show.log(step(), "stdout", "one\ntwo\n", most=100) == "── stdout of cut\none\ntwo"
    text = "".join(f"line {i}\n" for i in range(1000))
    shown = show.log(step(log="/logs/7.out"), "stderr", text, most=50).splitlines()
    assert shown[0] == "── stderr of cut (the first 8.8 kB are not shown; all of it is in /logs/7.out)"
    assert shown[1:] == [f"line {i}" for i in range(995, 1000)]
    assert len(show.log(step(), "stdout", "x" * 1000, most=50)) < 150


# --- jobs -----------------------------------------------------------------------------------------


def job(number: int, **more: Any) -> dict[str, Any]:
    row = {
        "job": number,
        "step": "cut",
        "outcome": "succeeded",
        "started": 10.0 + number,
        "ended": 10.5 + number,
    }
    return {**row, "peak_rss": 5_000_000, "slots": {"test": [0, 1]}, **more}


def test_history_tells_the_last_jobs_by_the_time_since_the_first_one_shown():
    page = show.history_page([job(1), job(2, ended=None, outcome=None, peak_rss=None, slots={})])
    assert show.text(page).splitlines() == [
        "job  outcome    start    time    memory  pool      step",
        "1    succeeded  +0.00 s  0.50 s  5.0 MB  test 0,1  cut",
        "2    running    +1.0 s                             cut",
    ]


def test_of_a_long_history_the_end_is_shown():
    text = show.text(show.history_page([job(i) for i in range(50)], most=40))
    assert text.endswith("10 earlier jobs; stepup_nb.history() has all.")
    assert text.splitlines()[1].startswith("10 ")


def test_without_jobs_it_is_said():
    assert show.text(show.history_page([])) == "No job ran yet."


# --- the progress of a wait -----------------------------------------------------------------------

REPORT = {"how": "done", "failed": [], "stuck": [], "skipped": 0, "awaited": 3, "counts": {"SUCCEEDED": 3}}


def ended(**more: Any) -> str:
    progress = Progress(None, {})
    progress.end({**REPORT, **more} if more != {"broken": True} else None)
    return progress.line([], {}).rpartition("waited")[0] or progress.line([], {}).rpartition(" after")[0]


def test_a_wait_shows_how_far_it_is():
    progress = Progress(None, {"PENDING": 3})
    assert progress.line([], {}).startswith("… 0 of 3 steps done · 3 pending · 0.0")
    event = {
        "counts": {"SUCCEEDED": 2, "FAILED": 1, "RUNNING": 2, "QUEUED": 4},
        "pools": [pool("test", 2, 2, 4), pool("idle", 3)],
        "paused": True,
    }
    assert progress.line([], event).startswith(
        "… 3 of 9 steps done · 1 failed · 2 running, 4 queued · test 2/2 · paused · 0.0"
    )


def test_a_wait_for_some_steps_counts_those():
    progress = Progress(["a", "b"], {"RUNNING": 50})
    assert list(progress.steps) == ["a", "b"]
    line = progress.line([step(state="SUCCEEDED"), step(state="RUNNING")], {"counts": {"RUNNING": 50}})
    assert line.startswith("… 1 of 2 steps done · 1 running · ")


def test_a_wait_says_that_the_director_is_gone():
    assert "is gone" in Progress(None, {}).line([], {"lost": True})


@pytest.mark.parametrize(
    ("report", "line"),
    [
        ({}, "✓ 3 succeeded; "),
        ({"skipped": 2}, "✓ 1 succeeded, 2 up to date; "),
        (
            {"counts": {"SUCCEEDED": 1, "FAILED": 1, "CANCELLED": 1}, "failed": [1, 2]},
            "✗ 1 failed, 1 cancelled, 1 succeeded; ",
        ),
        ({"counts": {"PENDING": 2}, "stuck": [{"number": 2}], "how": "stuck"}, "○ 2 cannot run; "),
        ({"counts": {}}, "✓ no steps; "),
        ({"how": "timeout"}, "■ stopped waiting"),
        ({"broken": True}, "■ stopped waiting"),
    ],
)  # fmt: skip
def test_in_the_end_one_calm_line_says_how_it_went(report, line):
    assert ended(**report) == line


def test_a_finished_line_does_not_move_and_has_no_bar():
    progress = Progress(None, {"RUNNING": 1})
    assert "background:forestgreen" in progress.draw([], {})["text/html"]
    assert progress.pulse([]) is not None
    progress.end(REPORT)
    assert "background" not in progress.draw([], {})["text/html"]
    assert progress.pulse([]) is None


def test_a_terminal_gets_one_line_that_is_written_over(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    line = TerminalLine(lambda: {"steps": [], "counts": {"RUNNING": 1}, "pools": []}, Progress(None, {}))
    line.tick()
    line.tick()
    line.end(REPORT)
    said = capsys.readouterr().out
    assert said.count("\r\x1b[2K") == 2 and said.count("\n") == 1
    assert "1 running" in said and said.rstrip().rpartition("\x1b[2K")[2].startswith("✓ 3 succeeded")


def test_a_pipe_gets_the_last_line_only(capsys):
    line = TerminalLine(lambda: {"steps": [], "counts": {}, "pools": []}, Progress(None, {}))
    line.tick()
    line.end(REPORT)
    said = capsys.readouterr().out
    assert said.startswith("✓ 3 succeeded") and "\x1b" not in said


# --- records --------------------------------------------------------------------------------------


def test_a_record_shows_the_time_of_running_steps_less_often_as_they_grow_old(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.0)
    record = CellRecord()
    assert record.pulse([step(state="SUCCEEDED")]) is None
    assert record.pulse([{"name": "not known yet"}]) is None
    assert record.pulse([step(state="RUNNING", started=999.0)]) == 1.0
    assert record.pulse([step(state="RUNNING", started=400.0), step(state="RUNNING", started=0.0)]) == 30.0


def test_a_record_says_that_the_director_is_gone_where_that_matters():
    record = CellRecord()
    assert "director" in record.draw([step(state="RUNNING", started=1.0)], {"lost": True})["text/plain"]
    assert "director" not in record.draw([step()], {"lost": True})["text/plain"]


def test_the_dashboard_of_a_cluster_goes_through_a_hub_where_there_is_one():
    where = {"kind": "dask", "address": "tls://10.0.0.7:8786", "dashboard": "http://10.0.0.7:8787/status"}
    assert show.executor(where).endswith("its dashboard: http://10.0.0.7:8787/status")
    assert show.executor(where, "/user/ada/").endswith("its dashboard: /user/ada/proxy/8787/status")
    assert show.executor({"kind": "local"}) == "steps run on this machine"


@pytest.mark.parametrize(
    ("told", "hub", "shown"),
    [
        ("", "/user/ada/", ""),
        (None, "", ""),
        ("https://10.0.0.7/status", "/user/ada/", "/user/ada/proxy/443/status"),
        ("/user/ada/proxy/8787/status", "/user/ada/", "/user/ada/proxy/8787/status"),
        ("https://hub.org/user/ada/proxy/1/status", "/user/ada/", "https://hub.org/user/ada/proxy/1/status"),
        ("/user/ada/proxy/8787/status", "", ""),
        ("//evil.org/user/ada/proxy/1", "/user/ada/", ""),
        ("javascript:alert(1)", "", ""),
        ("javascript:/user/ada/proxy/1", "/user/ada/", ""),
        ("file:///etc/passwd", "", ""),
        ("http://10.0.0.7:99999/status", "", ""),
        ("http://10.0.0.7/\u202e", "", ""),
        ("http://[", "", ""),
    ],
)
def test_a_dashboard_is_an_address_on_the_web_or_none(told, hub, shown):
    assert show.dashboard({"dashboard": told}, hub) == shown


def test_a_cluster_that_is_gone_is_said_to_be():
    where = {"kind": "dask", "address": "tls://a:1", "dashboard": "http://a:8787", "threads": None}
    words = "the Dask cluster at tls://a:1 is gone: '%stepup executor local' goes on here"
    assert show.executor(where) == words
