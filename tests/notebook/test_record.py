"""The record says what became of every step, in words and in any page, and all in it is but text."""

import copy
import random
import re
import time
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepup_nb.notebook import record
from stepup_nb.notebook.ansi import Color, Style

NOW = 1_763_823_900.0
"""16:05 on 22 November 2025 in Brussels."""

STATES = "PENDING CHECKING QUEUED RUNNING SUCCEEDED FAILED CANCELLED DELETED".split()


@pytest.fixture(autouse=True)
def brussels(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def text(*rows, now=NOW, notes=()):
    return record.render(rows, now=now, notes=notes)["text/plain"]


def html(*rows, now=NOW, notes=()):
    return record.render(rows, now=now, notes=notes)["text/html"]


class Page(HTMLParser):
    """What a browser would make of it: the tags, the attributes, the text and what it stands in."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.declarations = set(), set(), set()
        self.texts = []
        self.open = []
        self.others = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.declarations |= {part for name, value in attrs if name == "style" for part in value.split(";")}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((data, tuple(self.open)))

    def handle_comment(self, data):
        self.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment

    @property
    def text(self):
        return "".join(data for data, _ in self.texts)


def gallery():
    """One row of every kind, nothing hostile in any."""
    rows = [
        {"label": state.lower(), "state": state, "reason": "why", "pool": {"test": 1}, "slots": {"test": [0]}}
        for state in STATES
    ]
    rows[5] |= {"stdout_tail": "out\n" * 20, "stderr_tail": "err\n", "returncode": 1, "log": "17.out"}
    rows[3] |= {"started": NOW - 2, "reason": "costs $5", "notes": ["a note"]}
    skip = {"label": "skip", "state": "SUCCEEDED", "skipped": True, "out": ["a"], "since": NOW - 7300}
    other = {"label": "other", "state": "BLESSED"}
    return [*rows, skip, other, *[{"label": f"s{n}", "state": "SUCCEEDED"} for n in range(200)]]


# --- what it says ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_a_glyph_and_a_word(state):
    row = {"label": "step", "state": state}
    for shown in (text(row).splitlines()[1], Page(html(row)).text):
        assert re.search(rf"[^\w\s] {state}\s", shown)


def test_a_step_is_one_line_of_word_label_place_and_time():
    row = {
        "label": "cut",
        "state": "SUCCEEDED",
        "pool": {"test": 1},
        "slots": {"test": [0]},
        "duration": 3.42,
    }
    assert text(row).splitlines()[1] == "✓ SUCCEEDED  cut  test, slot 0 · 3.4 s"


def test_the_columns_are_aligned():
    rows = [
        {"label": "a", "state": "SUCCEEDED", "pool": {"test": 1}, "slots": {"test": [0]}},
        {"label": "漢字 and more", "state": "FAILED", "pool": {"test": 1}, "slots": {"test": [1]}},
    ]
    assert text(*rows).splitlines()[1:] == [
        "✓ SUCCEEDED  a              test, slot 0",
        "✗ FAILED     漢字 and more  test, slot 1",
    ]


def test_the_head_counts_by_state_troubles_first():
    rows = [{"state": state} for state in ("SUCCEEDED", "QUEUED", "FAILED", "SUCCEEDED", "RUNNING")]
    rows.append({"state": "SUCCEEDED", "skipped": True, "out": ["a"]})
    assert text(*rows).splitlines()[0] == (
        "6 steps: 1 failed, 1 running, 1 queued, 2 succeeded, 1 skipped; as of 2025-11-22 16:05"
    )
    assert "6 steps: 1 failed, 1 running, 1 queued, 2 succeeded, 1 skipped" in Page(html(*rows)).text


def test_a_record_without_steps_says_so():
    assert text().startswith("no steps")
    assert "no steps" in Page(html()).text


def test_a_running_step_shows_how_long_it_has_been_running():
    row = {"label": "a", "state": "RUNNING", "started": NOW - 125, "duration": 9.0}
    assert "2 min 05 s" in text(row)
    assert "2 min 05 s" in html(row)


@pytest.mark.parametrize("state", ["PENDING", "CHECKING", "QUEUED"])
def test_a_waiting_step_says_why_and_nothing_of_its_earlier_job(state):
    row = {
        "label": "glue",
        "state": state,
        "reason": "waits for a slot in pool 'test'",
        "pool": {"test": 1},
        "slots": {"test": [1]},
        "duration": 4.0,
        "stdout_tail": "old\n",
    }
    for shown in (text(row), Page(html(row)).text):
        assert "waits for a slot in pool 'test'" in shown
        assert "slot 1" not in shown
        assert "4.0 s" not in shown
        assert "old" not in shown


def test_several_pools_are_shown_with_their_slots():
    row = {
        "label": "a",
        "state": "RUNNING",
        "pool": {"mem": 4, "lic": 1},
        "slots": {"mem": [0, 1, 2, 5], "lic": [1]},
    }
    assert "mem, slots 0–2, 5; lic, slot 1" in text(row)
    assert "mem, 4 slots; lic" in text(row | {"state": "QUEUED"})


def test_a_step_that_ran_says_what_was_new():
    row = {"label": "a", "state": "SUCCEEDED", "reason": "input 'data.csv' changed"}
    assert "because input 'data.csv' changed" in text(row)
    assert "because" not in text(row | {"reason": "never ran"})


def test_a_skipped_step_says_since_when_it_is_up_to_date():
    row = {"label": "a", "state": "SUCCEEDED", "skipped": True, "out": ["a.txt"], "duration": 8.0}
    for shown in (text(row | {"since": NOW - 7300}), Page(html(row | {"ended": NOW - 7300})).text):
        assert "SKIP" in shown
        assert "SUCCEEDED" not in shown
        assert "up to date since 14:03, 2 h ago" in shown
        assert "8.0 s" not in shown
    assert "up to date since 2025-11-20, 2 days ago" in text(row | {"since": NOW - 2 * 86400})
    assert "up to date" in text(row)


def test_a_skipped_step_without_files_says_that_nothing_was_compared():
    row = {"label": "date", "state": "SUCCEEDED", "skipped": True, "since": NOW - 7300}
    words = "ran 2 h ago; nothing declared to compare; --force runs it again"
    assert words in text(row)
    assert words in Page(html(row)).text


def test_a_skipped_step_shows_the_output_of_its_last_run():
    row = {"label": "a", "state": "SUCCEEDED", "skipped": True, "out": ["a"], "stdout_tail": "kept\n"}
    assert "kept" in text(row)
    assert "kept" in html(row)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"returncode": 2, "reason": "exit code 2"}, "exit code 2"),
        ({"returncode": 2}, "exit code 2"),
        ({"returncode": -9, "reason": ""}, "killed by signal 9 (SIGKILL)"),
        ({"returncode": 0, "reason": "output 'a' is missing"}, "output 'a' is missing"),
        ({"returncode": -15, "outcome": "timed out", "reason": "after 5 s"}, "timed out: after 5 s"),
        ({"outcome": "interrupted"}, "interrupted"),
        ({"outcome": "lost", "reason": "its machine is lost"}, "its machine is lost"),
    ],
)
def test_a_failed_step_says_how_it_ended_once(row, words):
    lines = text({"label": "a", "state": "FAILED"} | row).splitlines()
    assert lines[2:] == [" " * 13 + words]


def test_a_cancelled_step_is_not_blamed_for_its_signal():
    row = {"label": "a", "state": "CANCELLED", "returncode": -15, "outcome": "cancelled"}
    assert text(row | {"reason": "cancelled by the user"}).splitlines()[2:] == [
        " " * 13 + "cancelled by the user"
    ]


def test_a_dormant_step_is_told_apart():
    assert "not declared in this session" in text({"label": "a", "state": "SUCCEEDED", "dormant": True})


def test_notes_of_a_step_and_of_the_record_are_shown():
    row = {"label": "a", "state": "SUCCEEDED", "notes": ["left 1 process behind: sleep; killed"]}
    for shown in (text(row, notes=["no live front end"]), Page(html(row, notes=["no live front end"])).text):
        assert "left 1 process behind: sleep; killed" in shown
        assert "note: no live front end" in shown


def test_a_row_may_lack_any_key():
    assert "? UNKNOWN    step" in text({})
    for row in gallery()[:10]:
        for key in row:
            record.render([{name: value for name, value in row.items() if name != key}], now=NOW)


def test_rendering_changes_nothing_and_depends_on_nothing_else():
    rows = gallery()
    before = copy.deepcopy(rows)
    assert record.render(rows, now=NOW) == record.render(rows, now=NOW)
    assert rows == before


# --- output ---------------------------------------------------------------------------------------


def test_the_last_lines_are_shown_with_a_gutter_and_the_rest_is_named():
    row = {"label": "a", "state": "RUNNING", "stdout_tail": "".join(f"line {n}\n" for n in range(20))}
    row |= {"log": ".stepup/analysis/17.out", "stdout_left_out": 414_000_000}
    shown = text(row)
    assert "             stdout │ line 19" in shown.splitlines()
    assert "line 13" not in shown
    told = "14 lines and 414 MB hidden, full log at .stepup/analysis/17.out"
    assert told in shown
    assert told in Page(html(row)).text


def test_stderr_is_told_apart_by_a_word_and_a_mark():
    row = {"label": "a", "state": "FAILED", "stdout_tail": "fine\n", "stderr_tail": "Oh no\n"}
    assert text(row).splitlines()[2:] == ["             stdout │ fine", "             stderr │ Oh no"]
    page = Page(html(row))
    assert [data for data, _ in page.texts if data.strip()][-3:] == ["fine", "stderr", "Oh no"]
    assert html(row).count("double") == 1


def test_a_failed_step_shows_more_of_its_stderr():
    row = {"label": "a", "state": "FAILED", "stderr_tail": "".join(f"{n}.\n" for n in range(20))}
    assert "│ 8." in text(row)
    assert "│ 8." not in text(row | {"state": "SUCCEEDED"})


def test_output_cannot_imitate_the_record():
    row = {"label": "a", "state": "FAILED", "stdout_tail": "\n✓ SUCCEEDED  a\n\r\x1b[2K\x1b[2A✓ SUCCEEDED  a"}
    lines = text(row).splitlines()
    assert lines[1].startswith("✗ FAILED")
    assert all(line.startswith(" " * 13 + "stdout │") for line in lines[2:])
    assert all("pre" in stack for data, stack in Page(html(row)).texts if "✓" in data)


def test_colours_are_kept_and_a_progress_bar_is_its_last_state():
    row = {"label": "a", "state": "RUNNING", "stderr_tail": "\r\x1b[32m 1%\x1b[0m\r\x1b[32m42%\x1b[0m"}
    assert f'<span style="{Color.GREEN.css}">42%</span>' in html(row)
    assert "stderr │ 42%" in text(row)


def test_a_long_line_is_cut_and_says_so():
    row = {"label": "a", "state": "RUNNING", "stdout_tail": "x" * 1000, "log": "7.out"}
    assert f"{'x' * 240}… 760 more characters" in Page(html(row)).text
    assert "full log at 7.out" in html(row)


def test_output_that_shows_nothing_takes_no_room():
    row = {"label": "a", "state": "SUCCEEDED", "stdout_tail": "\n\x1b[0m\r\n  \n"}
    assert "<pre" not in html(row)
    assert len(text(row).splitlines()) == 2


# --- many steps -----------------------------------------------------------------------------------


def test_beyond_ten_steps_are_folded_away_under_a_count_by_state():
    rows = [{"label": f"s{n}", "state": "SUCCEEDED" if n < 11 else "QUEUED"} for n in range(14)]
    assert "<details" not in html(*rows[:10])
    page = Page(html(*rows))
    assert "4 more steps: 3 queued, 1 succeeded" in [
        data for data, stack in page.texts if stack[-1] == "summary"
    ]
    assert "4 more steps: 3 queued, 1 succeeded" in text(*rows)
    assert "s13" in "".join(data for data, stack in page.texts if "details" in stack)


def test_what_failed_or_runs_is_not_folded_away():
    rows = [{"label": f"s{n:02}", "state": "SUCCEEDED"} for n in range(40)]
    rows[23]["state"], rows[31]["state"] = "RUNNING", "FAILED"
    labels = [line.split()[2] for line in text(*rows).splitlines()[1:11]]
    assert labels == ["s00", "s01", "s02", "s03", "s04", "s05", "s06", "s07", "s23", "s31"]


def test_of_very_many_steps_all_are_counted_though_not_all_are_listed():
    rows = [{"label": f"s{n}", "state": "QUEUED", "reason": "waits"} for n in range(5000)]
    page = Page(html(*rows))
    assert "4990 more steps: 4990 queued" in page.text
    assert "and 4890 more steps; %stepup status lists them all" in page.text


# --- nothing but text -----------------------------------------------------------------------------

TAGS = {"div", "span", "b", "code", "pre", "details", "summary"}
ATTRIBUTES = {"style", "aria-hidden"}

NASTY = [
    "<script>alert(1)</script>",
    "</pre></code></div></script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "<!-- ",
    "<![CDATA[",
    "<?php ",
    "&lt;b&gt; &#60;i&#62; &amp",
    "javascript:alert(1)",
    "http://evil.example/ www.evil.example",
    "$\\href{javascript:alert(1)}{x}$ \\(x\\) \\begin{x}",
    "\x1b]0;title\x07\x1b]52;c;eA==\x07\x1b]8;;http://x\x07link\x1b]8;;\x07",
    "\x1b[31m<b>red",
    "\x1b[31",
    "\u202egpj.exe\u2066",
    "\x00\x07\x08\x0b\x7f\x9b",
    "\ud800\udfff\ufeff\u2028",
    "\r\n\t\r",
    "漢字🙂\u0301" * 3,
    "%s {} \\n",
]
TEXTS = st.one_of(
    st.sampled_from(NASTY), st.lists(st.sampled_from(NASTY), max_size=4).map("\n".join), st.text()
)
TIMES = st.one_of(st.none(), st.floats(), st.floats(NOW - 1e6, NOW))
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXTS,
        "label": TEXTS,
        "command": TEXTS,
        "state": st.one_of(st.sampled_from(STATES), TEXTS),
        "reason": TEXTS,
        "pool": st.dictionaries(TEXTS, st.integers(0, 9), max_size=3),
        "slots": st.dictionaries(TEXTS, st.lists(st.integers(0, 99), max_size=5), max_size=2),
        "inp": st.lists(TEXTS, max_size=1),
        "env": st.lists(TEXTS, max_size=1),
        "dormant": st.booleans(),
        "skipped": st.booleans(),
        "returncode": st.one_of(st.none(), st.integers(-70, 300)),
        "outcome": st.one_of(st.none(), st.sampled_from(["failed", "timed out", "lost"]), TEXTS),
        "duration": TIMES,
        "started": TIMES,
        "ended": TIMES,
        "since": TIMES,
        "stdout_tail": TEXTS,
        "stderr_tail": TEXTS,
        "stdout_left_out": st.integers(0, 10**15),
        "log": st.one_of(st.none(), TEXTS),
        "notes": st.lists(TEXTS, max_size=2),
    },
)


def closed_set():
    """All declarations that harmless records have."""
    styles = [Style(color=color, bold=True, italic=True, underline=True) for color in Color]
    known = {part for style in styles for part in style.css.split(";")}
    return known | Page(html(*gallery(), notes=["a note", "of $5"])).declarations


@given(st.lists(ROWS, max_size=13), st.lists(TEXTS, max_size=2), st.one_of(st.just(NOW), st.floats()))
def test_whatever_is_in_a_row_the_record_is_text_of_a_closed_set(rows, notes, now):
    bundle = record.render(rows, now=now, notes=notes)
    page = Page(bundle["text/html"])
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert page.declarations <= closed_set()
    assert not page.open
    assert not page.others
    for shown in (page.text, bundle["text/plain"]):
        assert not [
            char for char in shown if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t"
        ]
        assert not re.search("[\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069\ufeff]", shown)
    # MathJax typesets whatever is not in these.
    assert all({"code", "pre"} & set(stack) for data, stack in page.texts if set(data) & {"$", "\\"})


@given(st.lists(ROWS, max_size=13), st.lists(TEXTS, max_size=2))
@example([{"reason": "0" * 22 + "\x1f" * 5 + "\t" + "\b" * 2 + "0" * 35 + "\u0e5c"}], [])
def test_the_plain_text_is_at_most_100_columns_wide(rows, notes):
    for line in record.render(rows, now=NOW, notes=notes)["text/plain"].split("\n"):
        assert sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line) <= 100
        assert not line.endswith(" ")


@pytest.mark.parametrize("nasty", NASTY)
def test_what_was_written_can_be_read_again(nasty):
    label = re.sub(r"[^\x20-\x7e]", "", nasty)
    assert label.strip()[:70] in Page(html({"label": label, "state": "FAILED"})).text
    assert label.rstrip() in Page(html({"label": "a", "state": "FAILED", "stdout_tail": label})).text


# --- sizes ----------------------------------------------------------------------------------------


def rainbow():
    chance = random.Random(7)
    return "\n".join("".join(f"\x1b[1;{chance.randint(31, 36)}mx" for _ in range(1000)) for _ in range(8))


@pytest.mark.parametrize("number", [1, 10, 1000])
@pytest.mark.parametrize(
    "filler",
    [
        '"' * 70_000,
        "🙂" * 20_000,
        "\u0301" * 60_000,
        "\x00" * 60_000,
        "<&'\n" * 20_000,
        "word " * 20_000,
        rainbow(),
    ],
    ids=["quotes", "emoji", "combining", "nul", "lines", "words", "rainbow"],
)
def test_whatever_is_in_it_the_record_stays_below_50_kilobytes(filler, number):
    row = {
        "label": filler,
        "state": "FAILED",
        "reason": filler,
        "outcome": "lost",
        "pool": {filler: 1, "b" + filler: 7},
        "slots": {filler: list(range(0, 2000, 2))},
        "notes": [filler] * 20,
        "stdout_tail": filler,
        "stderr_tail": filler,
        "log": filler,
    }
    bundle = record.render([row] * number, now=NOW, notes=[filler] * 20)
    assert all(len(shown.encode()) <= 50_000 for shown in bundle.values())


def test_colours_go_before_the_output_does():
    shown = html(*[{"label": "a", "state": "RUNNING", "stdout_tail": rainbow()}] * 10)
    assert len(shown) <= 50_000
    assert "x" * 100 in shown


def test_a_usual_record_is_small():
    rows = [{"label": f"sleep 1; echo {c}", "state": "SUCCEEDED", "stdout_tail": f"{c}\n"} for c in "ABCDE"]
    assert len(html(*rows)) < 6000


def test_thousands_of_steps_with_much_output_are_drawn_in_a_moment():
    row = {"label": "a", "state": "RUNNING", "stdout_tail": "\r\x1b[32m5%\x1b[0m" * 4000}
    start = time.process_time()
    html(*[row] * 5000)
    assert time.process_time() - start < 5


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.00 s"),
        (0, "0.00 s"),
        (0.214, "0.21 s"),
        (0.994, "0.99 s"),
        (0.996, "1.0 s"),
        (3.42, "3.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (86399, "1 d 00 h"),
        (2.5 * 86400, "2 d 12 h"),
    ],
)
def test_a_duration_is_said_in_two_figures_of_interest(seconds, words):
    assert record.duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "moments ago"),
        (1, "moments ago"),
        (2, "2 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3600, "1 h ago"),
        (86399, "23 h ago"),
        (86400, "1 day ago"),
        (1e7, "115 days ago"),
    ],
)
def test_how_long_ago_is_said_in_one_unit(seconds, words):
    assert record.ago(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (4200, "4.2 kB"),
        (9960, "10 kB"),
        (999_600, "1.0 MB"),
        (414_300_000, "414 MB"),
        (5e15, "5000 TB"),
    ],
)
def test_a_size_is_said_in_two_or_three_figures(number, words):
    assert record.size(number) == words
