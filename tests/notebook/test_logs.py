"""The output of a job on its way to the browser: whole, in order, bounded."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.notebook import ansi
from stepup_nb.notebook.panel.logs import KEPT, LINES, SIZE, Tail


def answer(tail: Tail, *pieces: tuple[int, str], **more: Any) -> dict[str, Any]:
    """Return what the director answers: these pieces, and what is after them."""
    out, err = tail.place
    raw = [[which, text.encode().decode("latin-1")] for which, text in pieces]
    out += sum(len(text) for which, text in raw if which == 0)
    err += sum(len(text) for which, text in raw if which == 1)
    return {
        "pieces": raw,
        "out": out,
        "err": err,
        "lines": None,
        "more": False,
        "final": False,
        "path": "/logs/1.out",
        **more,
    }


class Browser:
    """Keeps lines as the store in the browser does."""

    def __init__(self) -> None:
        self.first = 0
        self.lines: list[Any] = []

    def take(self, message: dict[str, Any]) -> None:
        start = message["from"]
        if not self.first <= start <= self.first + len(self.lines):
            self.first, self.lines = start, []
        self.lines[start - self.first :] = message["lines"]
        gone = max(0, message["first"] - self.first)
        self.first, self.lines = self.first + gone, self.lines[gone:]

    @property
    def text(self) -> list[str]:
        return ["".join(span[0] for span in spans) for _, spans in self.lines]


def test_lines_come_in_order_of_arrival_with_their_stream_and_style() -> None:
    tail = Tail("a", 1)
    tail.take(answer(tail, (0, "one\ntw"), (1, "\x1b[1;31moops\x1b[0m\n"), (0, "o\n")))
    assert tail.message()["lines"] == [[0, [["one"]]], [1, [["oops", "bold red"]]], [0, [["two"]]]]


def test_a_line_without_an_end_is_shown_and_replaced_as_it_grows() -> None:
    tail, browser = Tail("a", 1), Browser()
    for piece, shown in (
        ("10%", "10%"),
        ("\r20%", "20%"),
        ("\r100%\ndone", "100%|done"),
        ("!\n", "100%|done!"),
    ):
        tail.take(answer(tail, (0, piece)))
        browser.take(tail.message())
        assert "|".join(browser.text) == shown


def test_a_style_goes_on_in_the_next_line_and_the_next_piece() -> None:
    tail = Tail("a", 1)
    tail.take(answer(tail, (0, "\x1b[32mone\n")))
    tail.take(answer(tail, (0, "two\nthree\x1b[0m\nfour\n")))
    assert [spans for _, spans in tail.message()["lines"]] == [
        [["one", "green"]],
        [["two", "green"]],
        [["three", "green"]],
        [["four"]],
    ]


def test_a_character_that_is_cut_is_put_together() -> None:
    tail = Tail("a", 1)
    euro = "€\n".encode().decode("latin-1")
    for number, half in enumerate((euro[:1], euro[1:]), 1):
        tail.take({**answer(tail), "pieces": [[0, half]], "out": 1 if number == 1 else 4})
    assert tail.message()["lines"] == [[0, [["€"]]]]


def test_of_much_output_the_last_lines_are_shown_and_the_others_counted() -> None:
    tail, browser = Tail("a", 1), Browser()
    tail.take(answer(tail, (0, "".join(f"{n}\n" for n in range(LINES + 7))), lines=LINES + 7))
    message = tail.message()
    browser.take(message)
    assert (message["from"], message["hidden"], len(message["lines"])) == (7, 7, LINES)
    tail.take(answer(tail, (0, "the last\n")))
    message = tail.message()
    browser.take(message)
    assert (message["hidden"], len(message["lines"])) == (8, 1)
    assert browser.text[-2:] == [str(LINES + 6), "the last"]


def test_what_was_skipped_is_counted_where_somebody_counted_it() -> None:
    for counted, hidden in ((1002, 1000), (None, -1)):
        tail, browser = Tail("a", 1), Browser()
        tail.take(answer(tail, (0, "begin\nhalf of a li")))
        browser.take(tail.message())
        pieces = answer(tail, (0, "s\nlast\n"))
        tail.take({**pieces, "out": pieces["out"] + 5000, "lines": counted})
        message = tail.message()
        browser.take(message)
        assert (browser.text, message["hidden"]) == (["s", "last"], hidden)


def test_a_new_view_gets_everything_that_is_here_once_more() -> None:
    tail = Tail("a", 1)
    tail.take(answer(tail, (0, "one\ntwo\n"), final=True))
    tail.message()
    assert tail.message()["lines"] == []
    tail.again()
    assert tail.is_resent
    browser = Browser()
    browser.take(tail.message())
    assert browser.text == ["one", "two"] and not tail.is_resent


def test_the_end_of_a_job_is_told() -> None:
    tail = Tail("a", 1)
    tail.take(answer(tail, (0, "one"), final=True, more=True))
    assert tail.has_news and not tail.message()["final"]
    tail.take(answer(tail, final=True))
    message = tail.message()
    assert message["final"] and message["lines"] == [[0, [["one"]]]] and message["path"] == "/logs/1.out"


PIECE = st.tuples(st.integers(0, 1), st.text(st.sampled_from("ab\n\r\x08\x1b[31m0;K é"), max_size=12))


@given(st.lists(PIECE, max_size=12), st.data())
def test_the_browser_shows_what_a_terminal_would_show_of_each_stream(pieces: list[Any], data: Any) -> None:
    tail, browser = Tail("a", 1), Browser()
    for piece in pieces:
        tail.take(answer(tail, piece))
        if data.draw(st.booleans()):
            browser.take(tail.message())
    tail.take(answer(tail, final=True))
    browser.take(tail.message())
    for which in (0, 1):
        shown = [
            text for (stream, _), text in zip(browser.lines, browser.text, strict=True) if stream == which
        ]
        whole = ansi.lines("".join(text for stream, text in pieces if stream == which))
        expected = [ansi.plain(line) for line in whole]
        assert shown == (expected if expected[-1] else expected[:-1])


def test_a_message_has_a_bounded_size_and_its_last_line_always() -> None:
    tail, browser = Tail("a", 1), Browser()
    tail.take(answer(tail, (0, "".join(f"{n} {'x' * 1500}\n" for n in range(500))), lines=500))
    message = tail.message()
    browser.take(message)
    assert sum(map(len, browser.text)) <= SIZE
    assert browser.text[-1].startswith("499 ") and message["hidden"] == message["from"] == 500 - len(
        browser.text
    )


def test_what_is_kept_is_bounded_also_where_each_character_has_a_colour_of_its_own() -> None:
    # A thousand lines by `lolcat` were 300 MB in the kernel, and more in the browser.
    rainbow = "".join(f"\x1b[3{1 + n % 6}m{n % 10}" for n in range(1990))
    tail, browser = Tail("a", 1), Browser()
    for number in range(100):
        tail.take(answer(tail, (0, f"{number} {rainbow}\n"), lines=number + 1))
        message = tail.message()
        browser.take(message)
    kept = len(browser.lines)
    assert [text.split()[0] for text in browser.text] == [str(100 - kept + n) for n in range(kept)]
    assert kept > 1 and message["hidden"] == message["first"] == 100 - kept
    assert sum(len(text) + len(style) for _, spans in browser.lines for text, style in spans[1:]) < KEPT
    # One line that is longer than that is shown all the same.
    tail.take(answer(tail, (0, f"last {rainbow}\n")))
    browser.take(tail.message())
    assert browser.text[-1].startswith("last 01234")


def test_news_that_come_while_an_answer_is_on_its_way_are_not_forgotten() -> None:
    tail = Tail("a", 1)
    told = answer(tail, (0, "one\n"))
    tail.has_news = False
    tail.has_news = True  # an event
    tail.take(told)
    assert tail.has_news
