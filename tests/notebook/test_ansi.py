"""What a step prints becomes text that is safe to show, and still looks as it was meant."""

import re
import time
import unicodedata
from html import unescape
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.notebook import ansi
from stepup_nb.notebook.ansi import PLAIN, Color, Span, Style

ESC = "\x1b"

PIECES = st.sampled_from(
    [
        *(
            "a",
            "Zz",
            " ",
            "\t",
            "é",
            "漢",
            "🙂",
            "\u0301",
            "<b>",
            "&amp;",
            '"',
            "'",
            "$x$",
            "\\(",
            "0",
            ";",
            "m",
            "K",
        ),
        *(
            "\n",
            "\r",
            "\r\n",
            "\b",
            "\x00",
            "\x07",
            "\x7f",
            "\x85",
            "\x9b",
            "\ufeff",
            "\u202e",
            "\u2028",
            "\ud800",
        ),
        *(
            f"{ESC}[{args}m"
            for args in ("", "0", "1", "2", "3", "4", "31", "92", "38;5;208", "38;2;0;200;0", "9" * 99)
        ),
        *(
            f"{ESC}[K",
            f"{ESC}[1K",
            f"{ESC}[2K",
            f"{ESC}[2J",
            f"{ESC}[10A",
            f"{ESC}[",
            ESC,
            f"{ESC}(B",
            f"{ESC} ",
        ),
        *(
            f"{ESC}]0;title\x07",
            f"{ESC}]52;c;eA==\x07",
            f"{ESC}]8;;http://x\x1b\\",
            f"{ESC}]",
            f"{ESC}P",
            "\x18",
        ),
    ]
)
HOSTILE = st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(max_size=60))


def only(text: str) -> list[Span]:
    """The spans of a text of one line."""
    [line] = ansi.lines(text)
    return line


# --- bytes ----------------------------------------------------------------------------------------


def test_a_character_that_is_cut_anywhere_comes_out_whole():
    raw = "naïve – 漢字 🙂 \u0301".encode()
    for cut in range(len(raw) + 1):
        decoder = ansi.decoder()
        assert decoder.decode(raw[:cut]) + decoder.decode(raw[cut:], final=True) == ansi.decode(raw)
    decoder = ansi.decoder()
    bytewise = "".join(decoder.decode(raw[i : i + 1]) for i in range(len(raw)))
    assert bytewise == raw.decode()


def test_what_is_not_utf8_is_shown_as_such():
    assert ansi.decode(b"caf\xe9 \xff ok") == "caf\ufffd \ufffd ok"
    assert ansi.decode("€".encode()[1:]) == "\ufffd\ufffd"


# --- a line as a terminal shows it ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("one\ntwo", "one\ntwo"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        (" 10%\r 20%\r100%", "100%"),
        ("100%\r\n", "100%\n"),
        ("working...\rdone", "doneing..."),
        ("working...\r\x1b[Kdone", "done"),
        ("working...\x1b[2K\rdone", "done"),
        ("\rworking...\x1b[1K\rdone\n", "done\n"),
        ("a long one\x1b[5D\x1b[3mx", "a long onex"),
        ("ab\bc", "ac"),
        ("\b\bab", "ab"),
        ("N\bNA\bA", "NA"),
        ("\x1b[31mred\r\x1b[0mgr", "grd"),
        ("a\tb", "a\tb"),
        ("", ""),
    ],
)
def test_lines_are_overwritten_and_erased_as_in_a_terminal(printed, shown):
    assert ansi.to_text(printed) == shown


def test_a_progress_bar_is_its_last_state():
    bar = "".join(f"\r\x1b[32m{n:3}%\x1b[0m|{'#' * (n // 10):10}|" for n in range(101))
    assert ansi.to_text("start\n" + bar + "\nend") == "start\n100%|##########|\nend"


def test_what_overwrites_brings_its_own_colour():
    assert only("\x1b[31mabc\r\x1b[32mx") == [
        Span("x", Style(color=Color.GREEN)),
        Span("bc", Style(color=Color.RED)),
    ]


@given(HOSTILE, st.integers(0, 5))
def test_the_tail_is_the_end_of_the_whole(text, count):
    whole = ansi.lines(text.removesuffix("\n")) if text else []
    hidden, shown = ansi.tail(text, count)
    assert shown == whole[len(whole) - len(shown) :]
    assert len(shown) == min(count, len(whole))
    assert hidden + len(shown) == len(whole)


# --- colours and styles ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "style"),
    [
        ("1", Style(bold=True)),
        ("2", Style(dim=True)),
        ("3", Style(italic=True)),
        ("4", Style(underline=True)),
        ("4:3", Style(underline=True)),
        ("1;4;31", Style(bold=True, underline=True, color=Color.RED)),
        ("32", Style(color=Color.GREEN)),
        ("92", Style(color=Color.GREEN)),
        ("90", Style(color=Color.GREY)),
        ("30", PLAIN),
        ("37", PLAIN),
        ("97", PLAIN),
        ("38;5;1", Style(color=Color.RED)),
        ("38;5;12", Style(color=Color.BLUE)),
        ("38;5;208", Style(color=Color.YELLOW)),
        ("38;5;244", Style(color=Color.GREY)),
        ("38;5;231", PLAIN),
        ("38;5;999", PLAIN),
        ("38;2;250;10;10", Style(color=Color.RED)),
        ("38;2;255;0;255", Style(color=Color.MAGENTA)),
        ("38:2::10:10:250", Style(color=Color.BLUE)),
        ("38:2:0:200:200", Style(color=Color.CYAN)),
        ("38;2;0;0;0", PLAIN),
        ("38;5;1;1", Style(color=Color.RED, bold=True)),
        ("48;5;1;1", Style(bold=True)),
        ("48;2;1;1;1;4", Style(underline=True)),
        ("58:5:1", PLAIN),
        ("41", PLAIN),
        ("7", PLAIN),
        ("38", PLAIN),
        ("31;0", PLAIN),
        ("31;", PLAIN),
        ("1;3;22", Style(italic=True)),
        ("3;4;23;24", PLAIN),
        ("4;4:0", PLAIN),
        ("31;39", PLAIN),
        (">4;1", PLAIN),
        ("?1", PLAIN),
        ("1 ", PLAIN),
        ("1;" * 5000, PLAIN),
    ],
)
def test_renditions_become_styles_of_a_closed_set(args, style):
    assert only(f"{ESC}[{args}mx") == [Span("x", style)]


def test_a_colour_lasts_until_it_is_reset():
    assert ansi.lines("\x1b[31ma\nb\x1b[mc") == [
        [Span("a", Style(color=Color.RED))],
        [Span("b", Style(color=Color.RED)), Span("c")],
    ]


def test_html_has_inline_style_and_nothing_else():
    assert ansi.to_html(only("a<\x1b[1;4mb\x1b[0m&")) == (
        'a&lt;<span style="font-weight:bold;text-decoration:underline">b</span>&amp;'
    )


THEMES = {
    "JupyterLab light": ("#ffffff", "#000000", 0.87),
    "JupyterLab dark": ("#111111", "#ffffff", 1.0),
    "JupyterLab dark, on a layer": ("#212121", "#ffffff", 0.87),
    "GitHub light": ("#ffffff", "#1f2328", 1.0),
    "GitHub dark": ("#0d1117", "#e6edf3", 1.0),
    "VS Code light": ("#ffffff", "#3b3b3b", 1.0),
    "VS Code dark": ("#1f1f1f", "#cccccc", 1.0),
}
"""Background, text, and the opacity of the text."""

NAMED = {
    "orangered": "#ff4500",
    "forestgreen": "#228b22",
    "darkgoldenrod": "#b8860b",
    "dodgerblue": "#1e90ff",
    "mediumorchid": "#ba55d3",
    "darkcyan": "#008b8b",
}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("color", Color)
def test_every_colour_is_readable_on_light_and_on_dark(color, theme):
    behind, text, opacity = THEMES[theme]
    if color is Color.GREY:
        shown = _over(_rgb(text), opacity * ansi.FADED, _rgb(behind))
    else:
        share = ansi.HUE_SHARE / 100
        total = share + (1 - share) * opacity
        parts = zip(_rgb(NAMED[color.value]), _rgb(text), strict=True)
        mixed = [(hue * share + own * (1 - share) * opacity) / total for hue, own in parts]
        shown = _over(mixed, total, _rgb(behind))
    assert _contrast(shown, _rgb(behind)) >= 4.5


def _rgb(code: str) -> list[float]:
    return [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def _over(front: list[float], opacity: float, behind: list[float]) -> list[float]:
    return [a * opacity + b * (1 - opacity) for a, b in zip(front, behind, strict=True)]


def _contrast(one: list[float], other: list[float]) -> float:
    """Contrast ratio of WCAG 2."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: list[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


# --- what is dropped, and what is shown -----------------------------------------------------------


@pytest.mark.parametrize(
    "escape",
    [
        "\x1b]0;a title\x07",
        "\x1b]2;a title\x1b\\",
        "\x1b]52;c;c3VkbyBybSAtcmYgLw==\x07",
        "\x1b]8;;https://evil.example\x1b\\",
        "\x1b]1337;File=name=x:AAAA\x07",
        "\x1bP1$r0m\x1b\\",
        "\x1b_Gf=100;AAAA\x1b\\",
        "\x1b^private\x1b\\",
        "\x1bXstring\x1b\\",
        "\x1b[2J",
        "\x1b[H",
        "\x1b[3A",
        "\x1b[6n",
        "\x1b[?25l",
        "\x1b[>c",
        "\x1b[!p",
        "\x1b[20;1;2;3t",
        "\x1bc",
        "\x1b7",
        "\x1b(B",
        "\x1b#8",
        "\x1b",
        "\x1b[",
        "\x1b[31",
    ],
)
def test_an_escape_that_is_no_colour_leaves_no_trace(escape):
    # What follows begins with a character that ends no escape, so that those cut short stay cut short.
    assert ansi.to_text(f"before{escape}–after") == "before–after"


def test_a_string_command_that_nobody_ends_hides_only_the_rest_of_its_line():
    assert ansi.to_text("a\x1b]0;titl\nb\x1bPq\nc") == "a\nb\nc"


def test_a_link_is_its_text():
    assert ansi.to_text("see \x1b]8;;file:///etc/passwd\x07the page\x1b]8;;\x07.") == "see the page."


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        ("\x00", r"\x00"),
        ("\x07", r"\x07"),
        ("\x0c", r"\x0c"),
        ("\x7f", r"\x7f"),
        ("\x85", r"\x85"),
        ("\x9b", r"\x9b"),
        ("\u061c", r"\u061c"),
        ("\u200b", r"\u200b"),
        ("\u200f", r"\u200f"),
        ("\u2028", r"\u2028"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u2069", r"\u2069"),
        ("\ufeff", r"\ufeff"),
        ("\udc80", r"\udc80"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_would_hide_or_command_is_shown_by_its_code(char, shown):
    assert ansi.to_text(f"a{char}b") == f"a{shown}b"
    assert ansi.to_text(f"\x1b[1ma{char}b\r") == f"a{shown}b"
    assert ansi.one_line(f"a{char}b", 80) == f"a{shown}b"


def test_scripts_and_emoji_stay_as_they_are():
    text = "Ünïcödé 漢字 \u05e9\u05dc\u05d5\u05dd नमस्ते 👩\u200d🔬 ✓"
    assert ansi.to_text(text) == text


@given(HOSTILE)
def test_plain_text_has_no_control_but_line_feed_and_tab(text):
    safe = ansi.to_text(text)
    assert not [char for char in safe if unicodedata.category(char) == "Cc" and char not in "\n\t"]
    assert not re.search("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]", safe)
    assert safe.encode("utf-8").decode("utf-8") == safe
    assert ansi.to_text(safe) == safe


@given(HOSTILE)
def test_no_character_of_the_input_becomes_markup(text):
    for line in ansi.lines(text):
        html = ansi.to_html(line)
        bare = re.sub(r'<span style="[a-z0-9:;., %()-]+">([^<]*)</span>', r"\1", html, flags=re.IGNORECASE)
        assert not set(bare) & set("<>\"'")
        assert unescape(bare) == ansi.plain(line)


@given(HOSTILE)
def test_spans_are_runs_of_one_style_within_a_line(text):
    for line in ansi.lines(text):
        assert all(span.text and "\n" not in span.text for span in line)
        assert all(one.style != other.style for one, other in pairwise(line))


# --- cutting --------------------------------------------------------------------------------------


@given(HOSTILE, st.integers(0, 40))
def test_a_label_is_one_safe_line_of_bounded_width(text, limit):
    label = ansi.one_line(text, limit)
    assert sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in label) <= limit
    assert not [char for char in label if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    assert len(label) <= limit


@pytest.mark.parametrize(
    ("name", "limit", "label"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("a\nb\tc", 9, "a↵b c"),
        ("\x1b[31mred", 20, r"\x1b[31mred"),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字漢…"),
        ("漢字漢字", 6, "漢字…"),
        ("", 5, ""),
        ("x", 0, ""),
    ],
)
def test_a_label_that_is_too_long_is_cut_with_an_ellipsis(name, limit, label):
    assert ansi.one_line(name, limit) == label


def test_a_clipped_line_says_how_much_is_missing():
    assert ansi.plain(ansi.clip(only("\x1b[31mabc\x1b[0mdef"), 4)) == "abcd… 2 more characters"
    assert ansi.clip(only("abc"), 3) == [Span("abc")]


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "\r" * 10**6,
        "\r50%" * 250_000,
        "\r\x1b[32m5%\x1b[0m" * 80_000,
        "x" * 10**6,
        "\x1b[1m" + "x" * 10**6,
        "x\b" * 500_000,
        ESC * 10**6,
        "\x1b[" * 500_000,
        "\x1b]" * 500_000,
        "\x1b " * 500_000,
        "\x1b" + " " * 10**6,
        "\x1b]" + "0" * 10**6,
        "\x1b[" + "1;" * 500_000 + "m",
        "\x1b[" + "1" * 10**6 + "m",
        "\x00" * 10**6,
        "ab\x1b[2K" * 160_000,
        "x" * 500_000 + "\x1b[1K" * 125_000,
        "x" * 500_000 + "\b\x1b[K" * 125_000,
        "\x1b[31ma\x1b[32mb" * 80_000,
        "\n" * 10**6,
        "\x1b[31m\n" * 160_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_megabyte_of_anything_takes_no_longer_than_it_must(text):
    # Below a second each where this was written; what is not linear takes minutes.
    start = time.process_time()
    ansi.lines(text)
    ansi.tail(text, 6)
    ansi.one_line(text, 80)
    assert time.process_time() - start < 5
