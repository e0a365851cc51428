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

import contextlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
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

    @property
    def progress(self) -> tuple[int, int]:
        """How many steps were done, and how many there were, by the last line that said so."""
        return self._done, self._total

    def _head(self, tag: str, text: str) -> str:
        progress = f"{f'{self._done}/{self._total}':>11} | " if self._has_progress else ""
        label = ansi.one_line(text, self._limit - 13 if self._limit else 10_000)
        if not self._has_colors:
            return f"{progress}{tag:>10} {_BAR} {label}\n"
        grey = label if tag == "START" else f"\x1b[{_GREY}m{label}\x1b[0m"
        return f"{progress}\x1b[{TAGS.get(tag, 0)}m{tag:>10}\x1b[0m {_BAR} {grey}\n"

    def _pages(self, pages: Sequence[Page]) -> list[str]:
        return pages_text(pages, self.width)

    def _write(self, text: str) -> None:
        if self._is_lost:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The reader of the pipe, or the terminal, is gone; the work goes on.
            self._is_lost = True


def pages_text(pages: Sequence[Page], width: int) -> list[str]:
    """Return pages, each under a rule with its title, and a rule at the end."""
    parts = []
    for page in pages:
        parts.append(f" {page.title} ".center(width, _RULE) + "\n")
        parts.append(harmless(page.text) + "\n")
    return [*parts, _RULE * width + "\n"] if parts else []


class LogFiles:
    """The three logs of a plan's runs, and what tells where its director is (StepUp 3.0).

    Each line is written by itself: who removes a log in the middle of a run gets a new one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, socket: str, pid: int) -> None:
        """Start afresh, and say where the director is."""
        self.clear()
        self._write("director", f"SOCKET {socket}\nPID {pid}\n", "w")

    def clear(self) -> None:
        """Remove what earlier runs left."""
        for name in ("success", "warning", "fail"):
            with contextlib.suppress(OSError):
                (self._folder / f"{name}.log").unlink()

    def has(self, name: str) -> bool:
        """Tell whether anything was written to a log."""
        return (self._folder / f"{name}.log").exists()

    def line(self, tag: str, text: str, pages: Sequence[Page], done: int, total: int) -> None:
        """Write a line with its pages to the log of its colour."""
        name = {_RED: "fail", _YELLOW: "warning"}.get(TAGS.get(tag, 0), "success")
        head = f"{f'{done}/{total}':>11} | {tag:>10} {_BAR} {ansi.one_line(text, 10_000)}\n"
        self._write(name, "".join([head, *pages_text(pages, WIDTH)]), "a")

    def _write(self, name: str, text: str, mode: str) -> None:
        with contextlib.suppress(OSError):
            path = self._folder / f"{name}.log"
            with os.fdopen(
                os.open(path, _FLAGS[mode], 0o600), mode, encoding="utf-8", errors="replace"
            ) as file:
                file.write(text)


_FLAGS = {
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
}


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
