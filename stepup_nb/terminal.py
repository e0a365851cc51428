"""Log lines in StepUp's layout, on a terminal, in a pipe or in the log of a CI job.

::

            2/4 |    SUCCESS │ runsh sleep 0.3; echo A
    ─────────────────────────────── Standard output ────────────────────────────────
    A
    ────────────────────────────────────────────────────────────────────────────────

Layout, tags and colours are those of StepUp 3.0. All text that is not ours passes through here: it cannot
control the terminal, and no line of it can be taken for one of ours.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TextIO

from stepup_nb.client.lines import Line, Page
from stepup_nb.notebook import ansi

WIDTH = 80
"""Columns of a rule where there is no terminal."""

_MAGENTA, _BLUE, _GREEN, _RED, _CYAN, _YELLOW = 35, 34, 32, 31, 36, 33
TAGS = {
    "DIRECTOR": _MAGENTA,
    "STARTUP": _MAGENTA,
    "PHASE": 0,
    "START": _BLUE,
    "SUCCESS": _GREEN,
    "FAIL": _RED,
    "SKIP": _CYAN,
    "NOSKIP": _YELLOW,
    "DROPAMEND": _YELLOW,
    "RESCHEDULE": _YELLOW,
    "UPDATED": _YELLOW,
    "DELETED": _YELLOW,
    "UNCHANGED": _CYAN,
    "CLEAN": _MAGENTA,
    "WARNING": _YELLOW,
    "ERROR": _RED,
    "KEYBOARD": _MAGENTA,
}
"""StepUp's tags, and the colour of each ("select graphic rendition", 0 for none)."""

_GREY = "38;5;244"
_BAR, _RULE = "│", "─"
_LIKE_A_LINE = re.compile(rf"\b(?:{'|'.join(TAGS)})\s*{_BAR}")


class Terminal:
    """Writes lines, each with its pages at once, from whatever thread.

    Parameters
    ----------
    stream
        Where to; standard output by default. When nobody reads it any more, nothing is written any more.
    progress
        Whether a line begins with the number of steps that are done; never on a terminal.
    environ
        ``NO_COLOR`` and ``TERM=dumb`` leave colours out, ``COLUMNS`` says how wide a rule is.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        progress: bool = True,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._lock = threading.Lock()
        self._is_lost = False
        is_terminal = self._stream.isatty()
        self._has_progress = progress and not is_terminal
        self._has_colors = is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._limit = shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal else 0
        columns = environ.get("COLUMNS", "")
        self.width = self._limit or (int(columns) if columns.isdecimal() and int(columns) > 0 else WIDTH)
        self._done = self._total = 0

    def show(self, line: Line) -> None:
        """Write a director's line, with the number of steps that were done by then."""
        self.line(line.tag, line.text, line.pages, done=line.done, total=line.total)

    def line(
        self,
        tag: str,
        text: str,
        pages: Sequence[Page] = (),
        *,
        done: int | None = None,
        total: int | None = None,
    ) -> None:
        """Write a line; without numbers those of the last one still hold."""
        with self._lock:
            if done is not None and total is not None:
                self._done, self._total = done, total
            self._write("".join([self._head(tag, text), *self._pages(pages)]))

    def _head(self, tag: str, text: str) -> str:
        progress = f"{f'{self._done}/{self._total}':>11} | " if self._has_progress else ""
        label = ansi.one_line(text, self._limit - 13 if self._limit else 10_000)
        if not self._has_colors:
            return f"{progress}{tag:>10} {_BAR} {label}\n"
        grey = label if tag == "START" else f"\x1b[{_GREY}m{label}\x1b[0m"
        return f"{progress}\x1b[{TAGS.get(tag, 0)}m{tag:>10}\x1b[0m {_BAR} {grey}\n"

    def _pages(self, pages: Sequence[Page]) -> list[str]:
        parts = []
        for page in pages:
            parts.append(f" {page.title} ".center(self.width, _RULE) + "\n")
            parts.append(harmless(page.text) + "\n")
        return [*parts, _RULE * self.width + "\n"] if parts else []

    def _write(self, text: str) -> None:
        if self._is_lost:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The reader of the pipe, or the terminal, is gone; the work goes on.
            self._is_lost = True


def harmless(text: str) -> str:
    """Return text that controls no terminal, and of which no line reads like one of ours.

    Only what does read like one is changed: its bars and rules become ASCII.
    """
    return "\n".join(_unlike(line) for line in ansi.to_text(text).rstrip().split("\n"))


def _unlike(line: str) -> str:
    if _LIKE_A_LINE.search(line):
        line = line.replace(_BAR, "|")
    stripped, end = line.strip(), 3 * _RULE
    return line.replace(_RULE, "-") if stripped.startswith(end) and stripped.endswith(end) else line
