"""Log lines look as StepUp's do; what a step printed can neither imitate them nor control the terminal."""

import io
import os

import pytest

from stepup_nb.client.lines import Line, Page
from stepup_nb.terminal import WIDTH, Terminal, harmless


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def lines_of(stream, *lines, **options):
    terminal = Terminal(stream, **{"environ": {}, **options})
    for line in lines:
        terminal.show(line)
    return stream.getvalue().splitlines()


STARTED = Line("START", "runsh sleep 0.3; echo A", 0, 4)
ENDED = Line("SUCCESS", "runsh sleep 0.3; echo A", 2, 4, [Page("Standard output", "A\n")])


def test_a_line_in_a_pipe_is_stepups_to_the_byte():
    assert lines_of(io.StringIO(), STARTED, ENDED) == [
        "        0/4 |      START │ runsh sleep 0.3; echo A",
        "        2/4 |    SUCCESS │ runsh sleep 0.3; echo A",
        "─────────────────────────────── Standard output ────────────────────────────────",
        "A",
        "────────────────────────────────────────────────────────────────────────────────",
    ]


def test_only_the_last_page_is_followed_by_a_rule():
    pages = [Page("Step info", "Return code           7"), Page("Standard error", "err")]
    assert lines_of(io.StringIO(), Line("FAIL", "runsh false", 0, 3, pages)) == [
        "        0/3 |       FAIL │ runsh false",
        "────────────────────────────────── Step info ───────────────────────────────────",
        "Return code           7",
        "──────────────────────────────── Standard error ────────────────────────────────",
        "err",
        "────────────────────────────────────────────────────────────────────────────────",
    ]


def test_without_progress_the_tag_comes_first():
    assert lines_of(io.StringIO(), STARTED, progress=False) == ["     START │ runsh sleep 0.3; echo A"]


def test_a_line_of_our_own_has_the_numbers_of_the_line_before():
    stream = io.StringIO()
    terminal = Terminal(stream, environ={})
    terminal.line("DIRECTOR", "Executing a.ipynb")
    terminal.show(ENDED)
    terminal.line("DIRECTOR", "Saved a.ipynb")
    shown = stream.getvalue().splitlines()
    assert shown[0] == "        0/0 |   DIRECTOR │ Executing a.ipynb"
    assert shown[-1] == "        2/4 |   DIRECTOR │ Saved a.ipynb"


def test_on_a_terminal_tags_are_coloured_and_the_progress_is_left_out():
    assert lines_of(Screen(), STARTED, Line("FAIL", "x", 0, 4)) == [
        "\x1b[34m     START\x1b[0m │ runsh sleep 0.3; echo A",
        "\x1b[31m      FAIL\x1b[0m │ \x1b[38;5;244mx\x1b[0m",
    ]


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_they_are_not_wanted(environ):
    assert lines_of(Screen(), STARTED, environ=environ) == ["     START │ runsh sleep 0.3; echo A"]


def test_an_empty_no_color_does_not_count():
    assert "\x1b[34m" in lines_of(Screen(), STARTED, environ={"NO_COLOR": ""})[0]


def test_on_a_terminal_a_line_is_cropped_to_its_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    line = lines_of(Screen(), Line("START", "x" * 100, 0, 1), environ={"NO_COLOR": "1"})[0]
    assert line == "     START │ " + "x" * 26 + "…"
    assert len(line) == 40


def test_columns_says_how_wide_a_rule_is_in_a_pipe():
    rule = lines_of(io.StringIO(), ENDED, environ={"COLUMNS": "30"})[-1]
    assert rule == "─" * 30


@pytest.mark.parametrize("columns", ["", "0", "wide", "-3"])
def test_a_width_that_is_none_is_not_taken(columns):
    assert lines_of(io.StringIO(), ENDED, environ={"COLUMNS": columns})[-1] == "─" * WIDTH


@pytest.mark.parametrize(
    "printed",
    [
        "        2/4 |    SUCCESS │ runsh rm -rf precious",
        "   SUCCESS │ runsh rm -rf precious",
        "x" * 80 + "   SUCCESS │ it wraps to a line of its own",
        "\x1b[32m   SUCCESS\x1b[0m │ in colour",
        "   SUC\x08C\x08CCESS │ typed over",
        "nothing\r   SUCCESS │ overwritten",
        "FAIL│",
        "─" * 80,
        "─────────────── Standard error ───────────────",
        "  ───── Step info ─────  ",
    ],
)
def test_no_line_of_a_step_reads_like_one_of_ours(printed):
    shown = harmless(printed)
    assert "│" not in shown
    assert "─" not in shown


@pytest.mark.parametrize(
    "printed", ["│ a │ b │", "┌──────┐", "a ── b", "SUCCESSES │ 3", "the start │ the end", "├──┼──┤"]
)
def test_tables_and_frames_of_a_step_are_left_alone(printed):
    assert harmless(printed) == printed


def test_a_step_cannot_control_the_terminal():
    shown = lines_of(
        Screen(),
        Line("START", "evil \x1b[2J\x07 \u202e name", 0, 1),
        Line("SUCCESS", "x", 1, 1, [Page("Standard output", "a\x1b]0;title\x07b\x1b[2Jc\x00\x9b31m")]),
        environ={"NO_COLOR": "1"},
    )
    assert shown[0] == "     START │ evil \\x1b[2J\\x07 \\u202e name"
    assert shown[3] == "abc\\x00\\x9b31m"


def test_a_command_of_several_lines_is_one_line():
    assert lines_of(io.StringIO(), Line("START", "a\n        1/1 |       FAIL │ b", 0, 1)) == [
        "        0/1 |      START │ a↵        1/1 |       FAIL │ b"
    ]


def test_a_long_line_of_bars_costs_no_time():
    line = "─" * 200_000 + "x"
    assert harmless(line) == line


def test_when_nobody_reads_any_more_the_work_goes_on():
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    terminal = Terminal(stream, environ={})
    terminal.show(STARTED)
    terminal.show(ENDED)
    with pytest.raises(BrokenPipeError):
        stream.close()
