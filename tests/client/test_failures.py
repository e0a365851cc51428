"""What a wait that did not end well says."""

from __future__ import annotations

from typing import Any

from stepup_nb.client import failures
from stepup_nb.client.failures import text

ROW = {
    "label": "runsh sort a.txt",
    "state": "FAILED",
    "reason": "exit code 2",
    "returncode": 2,
    "cell": "cell [4] '%runsh sort a.txt'",
    "stdout_tail": "",
    "stderr_tail": "",
    "log": "/home/ada/.stepup/nb/logs/7.out",
}


def lines(*failed: dict[str, Any], stuck: list[dict[str, Any]] | None = None) -> list[str]:
    rows = [{**ROW, **row} for row in failed]
    return text({"failed": rows, "stuck": stuck or []}).splitlines()


def test_a_failed_step_is_told_with_its_cell_the_end_of_its_output_and_its_log():
    assert lines({"stderr_tail": "sort: a.txt: no such file\n", "stdout_tail": "out"}) == [
        "runsh sort a.txt: failed, exit code 2",
        "    declared in cell [4] '%runsh sort a.txt'",
        "    | sort: a.txt: no such file",
        "    log: /home/ada/.stepup/nb/logs/7.err",
    ]


def test_without_errors_the_end_of_what_it_printed_is_shown():
    shown = lines({"stdout_tail": "one\ntwo\n"})
    assert shown[2:] == ["    | one", "    | two", "    log: /home/ada/.stepup/nb/logs/7.out"]


def test_a_step_that_printed_nothing_has_no_lines():
    assert not any("|" in line for line in lines({}))


def test_of_many_lines_the_last_ones_are_shown():
    shown = lines({"stderr_tail": "\n".join(map(str, range(50)))})
    assert shown[2] == "    | … 38 earlier lines"
    assert shown[3:-1] == [f"    | {number}" for number in range(38, 50)]


def test_how_it_ended_is_said_in_words_when_the_reason_does_not():
    assert lines({"reason": "stopped after its time-out of 3 s", "returncode": -15})[0] == (
        "runsh sort a.txt: failed, stopped after its time-out of 3 s (killed by signal 15 (SIGTERM))"
    )


def test_whoever_was_cancelled_explains_nothing():
    row = {"state": "CANCELLED", "reason": "cancelled by the user", "returncode": -15, "stderr_tail": "x"}
    assert lines(row) == [
        "runsh sort a.txt: cancelled, cancelled by the user",
        "    declared in cell [4] '%runsh sort a.txt'",
    ]


def test_of_many_failures_a_few_are_shown():
    shown = lines(*[{"label": f"step {number}"} for number in range(9)])
    assert sum(line.startswith("step") for line in shown) == failures.SHOWN
    assert shown[-1] == "… and 4 more steps; '%stepup status' lists them"


def test_what_is_stuck_is_told_by_its_cause():
    stuck = [{"cause": "pool 'tset' is not defined", "number": 7, "steps": ["a", "b", "c", "d", "e"]}]
    assert lines(stuck=stuck) == ["7 steps cannot run: pool 'tset' is not defined", "    a, b, c, …"]


def test_nothing_that_a_step_says_commands_a_terminal():
    hostile = "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m\rover\n50%\r100%\nbell\x07 bidi\u202e\n"
    shown = lines({"stderr_tail": hostile, "label": "a\x1b[1mb", "cell": "cell\x1b[1m"})
    assert "\x1b" not in "".join(shown) and "\x07" not in "".join(shown) and "\u202e" not in "".join(shown)
    assert shown[0].startswith("ab: failed")
    assert shown[2:5] == ["    | over", "    | 100%", "    | bell\\x07 bidi\\u202e"]


def test_a_line_without_end_is_cut():
    assert max(map(len, lines({"stderr_tail": "x" * 10_000}))) < 400


def test_the_end_of_a_waits_time_is_a_timeout_that_says_what_goes_on():
    error = failures.timeout({"counts": {"RUNNING": 2, "PENDING": 1, "SUCCEEDED": 5}})
    assert isinstance(error, TimeoutError)
    assert str(error) == "the time is over, the steps go on: 2 running, 1 pending (SNB-602)"
    assert error._render_traceback_() == [f"TimeoutError: {error}"]
