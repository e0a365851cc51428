"""The output of a job on its way to the browser: bytes in, numbered lines out.

Knows nothing of connections or widgets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepup_nb.notebook import ansi

LINES = 1000
"""Lines that are kept of a job at most, here and in the browser."""
KEPT = 256 * 1024
"""Characters of lines that are kept, more or less; each change of style counts as some."""
SIZE = 100_000
"""Characters of lines in one message, more or less."""
COLUMNS = 2000
"""Characters of a line that are shown."""

Line = list[Any]


class Tail:
    """What the browser has, and is to have, of one job's output.

    Parameters
    ----------
    step
        What the browser calls its step.
    job
        Its number.
    """

    def __init__(self, step: str, job: int) -> None:
        self.step = step
        self.job = job
        self.place = (0, 0)
        """Bytes of stdout and stderr that were taken in."""
        self.is_final = False
        """All of it was taken in."""
        self.has_news = True
        """There may be more than was taken in."""
        self.is_resent = False
        """The browser has to be sent what was taken in before."""
        self._decoders = (ansi.decoder(), ansi.decoder())
        self._screens = (ansi.Screen(), ansi.Screen())
        self._path: str | None = None
        self._ended: list[Line] = []
        """The last lines that have ended, oldest first."""
        self._sizes: list[int] = []
        """Of each of them."""
        self._first = 0
        """Number of the first of them."""
        self._hidden = 0
        """Lines before the first that nobody will see here; -1 when they were not counted."""
        self._sent = 0
        """Number of the first line that the browser does not have for good."""

    def take(self, answer: dict[str, Any]) -> None:
        """Take in the director's answer to ``output``."""
        # The streams before these pieces, as far as they were skipped, end in the middle of anything.
        skipped = sum((answer["out"], answer["err"])) - sum(self.place)
        skipped -= sum(len(text) for _, text in answer["pieces"])
        if skipped > 0:
            self._skip()
        self.place = (answer["out"], answer["err"])
        for which, text in answer["pieces"]:
            spans = self._screens[which].feed(self._decoders[which].decode(text.encode("latin-1")))
            fresh = [_line(which, line) for line in spans]
            self._ended += fresh
            self._sizes += map(_size, fresh)
        self._path = None if answer["path"] is None else ansi.visible(answer["path"])
        self.has_news = self.has_news or answer["more"]
        if skipped > 0:
            ended = answer["lines"]
            self._hidden = -1 if ended is None else max(0, ended - len(self._ended))
            self._first = self._sent = max(self._first, self._hidden)
        if answer["final"] and not answer["more"]:
            for decoder, screen in zip(self._decoders, self._screens, strict=True):
                screen.feed(decoder.decode(b"", True))
            self.is_final = True
        self._keep(KEPT, max(0, len(self._ended) - LINES))

    def _keep(self, room: int, at: int) -> None:
        """Drop lines up to one, and as many more as it takes for the others to have room; the last one stays."""
        room -= sum(self._sizes[at:])
        while room < 0 and at < len(self._ended) - 1:
            room += self._sizes[at]
            at += 1
        if at:
            del self._ended[:at], self._sizes[:at]
            self._first += at
            if self._hidden >= 0:
                self._hidden = self._first

    def _skip(self) -> None:
        self._decoders = (ansi.decoder(), ansi.decoder())
        self._screens = (ansi.Screen(), ansi.Screen())
        # Further on than the browser can be, which may show a line without an end of each stream.
        self._first += len(self._ended) + 3
        self._ended, self._sizes = [], []

    def again(self) -> None:
        """Have everything that is here sent once more."""
        self._sent = self._first
        self.is_resent = True

    def message(self) -> dict[str, Any]:
        """Return what the browser does not have, and count it as sent."""
        self.is_resent = False
        fresh = max(0, self._sent - self._first)
        if sum(self._sizes[fresh:]) > SIZE:
            # The last ones, as far as there is room; one is always sent.
            self._keep(SIZE, fresh)
            fresh = 0
        start, self._sent = self._first + fresh, self._first + len(self._ended)
        return {
            "step": self.step,
            "job": self.job,
            "from": start,
            "first": self._first,
            "lines": self._ended[fresh:] + self._unended(),
            "hidden": self._hidden,
            "path": self._path,
            "final": self.is_final,
        }

    def _unended(self) -> list[Line]:
        """Return the lines that have no end yet, of one or both streams."""
        return [_line(which, line) for which, screen in enumerate(self._screens) if (line := screen.line())]


_SPAN = 12
"""Characters that each part of a span counts for besides its own: what is around it takes room as well."""


def _size(line: Line) -> int:
    return sum(_SPAN + len(part) for span in line[1] for part in span) + 20


def _line(which: int, spans: Iterable[ansi.Span]) -> Line:
    return [which, [_span(span) for span in ansi.clip(spans, COLUMNS)]]


def _span(span: ansi.Span) -> list[str]:
    words = span.style.words
    return [span.text, words] if words else [span.text]
