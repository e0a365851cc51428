"""The outputs that follow the director: the record under a cell, and the progress of a wait.

Pure but for the clock: what they show comes from rows and events. Who sends it, and when, is `publisher`.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any, Protocol

from stepup_nb.core.errors import StepUpError
from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, record, show
from stepup_nb.notebook.publisher import EACH, Bundle, Live, Row

_LOST = "the director of this notebook is gone; the next use of it starts a new one"

SENTENCES = 20
"""Of a narration, the newest: it is saved with the notebook."""

_UNFINISHED = frozenset({"PENDING", "CHECKING", "QUEUED", "RUNNING"})


def new_id() -> str:
    """Return an id for an output that is to be updated."""
    return f"stepup-{secrets.token_hex(8)}"


class CellRecord(Live):
    """The record under a cell that declared steps, and of what these declared in turn."""

    has_children = True

    def __init__(self) -> None:
        super().__init__(new_id())
        self.notes: list[str] = []
        """Remarks on the whole."""

    def draw(self, rows: list[Row], event: Row) -> Bundle:
        """Return the record as html and text."""
        notes = list(self.notes)
        # What a plan has stopped declaring is no matter of its cell.
        rows = [row for row in rows if not (row.get("dormant") and row.get("creator"))]
        if event.get("lost") and any(row["state"] in _UNFINISHED for row in rows):
            notes.append(_LOST)
        return record.render(rows, now=time.time(), notes=notes)  # type: ignore[arg-type]

    def pulse(self, rows: Iterable[Row]) -> float | None:
        """Let running steps show how long they take: every second, less often as they grow old."""
        now = time.time()
        ages = [now - row["started"] for row in rows if row.get("state") == "RUNNING" and row["started"]]
        return max(1.0, min(ages) / 20) if ages else None


class Progress(Live):
    """The line under a waiting cell: how far it is, and when it has ended, how it went.

    Parameters
    ----------
    steps
        Names of the steps that are waited for; none means all.
    counts
        How many steps are in each state at the beginning.
    """

    def __init__(self, steps: Iterable[str] | None, counts: Mapping[str, int]) -> None:
        super().__init__(new_id())
        self.follows_all = True
        self._named = None if steps is None else list(steps)
        self._counts = counts
        self._began = time.monotonic()
        self._report: Mapping[str, Any] | None = None
        self._took = ""
        for name in self._named or ():
            self.steps[name] = {"name": name}

    def pulse(self, rows: Iterable[Row]) -> float | None:
        """Let the time pass visibly."""
        return None if self._took else max(1.0, self.seconds / 20)

    @property
    def seconds(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._began

    def end(self, report: Mapping[str, Any] | None) -> None:
        """Settle what the line says from now on; None: the wait was broken off."""
        self._report = report
        self._took = record.duration(self.seconds)

    def line(self, rows: Iterable[Row], event: Row) -> str:
        """Return the line as text."""
        if self._took:
            return self._last_line(rows)
        if event.get("lost"):
            return f"… {_LOST}"
        numbers = self._numbers(rows, event)
        done = sum(number for state, number in numbers.items() if state not in _UNFINISHED)
        failed = {state: number for state, number in numbers.items() if state in ("FAILED", "CANCELLED")}
        going = {state: number for state, number in numbers.items() if state in _UNFINISHED}
        parts = [f"… {done} of {counted(sum(numbers.values()), 'step')} done"]
        parts += [show.counts(some) for some in (failed, going) if some]
        parts += [show.pool_short(pool) for pool in event.get("pools", ()) if pool["used"] or pool["waiting"]]
        if event.get("paused"):
            parts.append("paused")
        return " · ".join([*parts, record.duration(self.seconds)])

    def _last_line(self, rows: Iterable[Row]) -> str:
        report = self._report
        if report is None or report["how"] == "timeout":
            return f"■ stopped waiting after {self._took}"
        numbers = self._numbers(rows, dict(report))
        stuck = sum(row["number"] for row in report["stuck"])
        counts = {
            "failed": numbers.get("FAILED", 0),
            "cancelled": numbers.get("CANCELLED", 0),
            "cannot run": stuck,
            "succeeded": numbers.get("SUCCEEDED", 0) - report["skipped"],
            "up to date": report["skipped"],
        }
        mark = "✗" if report["failed"] else "○" if stuck else "✓"
        words = ", ".join(f"{number} {what}" for what, number in counts.items() if number > 0)
        return f"{mark} {words or 'no steps'}; waited {self._took}"

    def _numbers(self, rows: Iterable[Row], event: Row) -> Mapping[str, int]:
        if self._named is None:
            return dict(event.get("counts", self._counts))
        found: dict[str, int] = {}
        for row in rows:
            found[row["state"]] = found.get(row["state"], 0) + 1
        return found

    def draw(self, rows: list[Row], event: Row) -> Bundle:
        """Return the line as html, with a bar while it lasts, and as text."""
        line = ansi.one_line(self.line(rows, event), 200)
        return line_bundle(line, self._share(rows, event))

    def _share(self, rows: list[Row], event: Row) -> float | None:
        numbers = self._numbers(rows, event)
        total = sum(numbers.values())
        if self._took or not total:
            return None
        return sum(number for state, number in numbers.items() if state not in _UNFINISHED) / total


# Inline, and without anything that JupyterLab takes away in a notebook it does not trust.
_STYLE = (
    "font-family:var(--jp-ui-font-family,system-ui,-apple-system,'Segoe UI',sans-serif);font-size:13px;"
    # In line with what is printed.
    "line-height:1.5;padding:0 0 0 8px;font-variant-numeric:tabular-nums"
)
# The figures have room for an hour: sentences begin below each other.
_SENTENCE = "padding-left:5.5em;text-indent:-5.5em"
_TIME = (
    f"display:inline-block;width:4.8em;margin-right:0.7em;text-align:right;text-indent:0;opacity:{ansi.FADED}"
)
_BAR = (
    "display:inline-block;width:8em;height:0.55em;margin-right:0.8em;border:1px solid #8888;"
    "border-radius:3px;overflow:hidden;vertical-align:baseline"
)
_DONE = "display:block;height:100%;background:forestgreen"


def line_bundle(line: str, share: float | None = None) -> Bundle:
    """Return a line of progress as html, behind a bar that is filled to a share, and as text."""
    bar = ""
    if share is not None:
        inner = f'<span style="{_DONE};width:{round(100 * share)}%"></span>'
        bar = f'<span aria-hidden="true" style="{_BAR}">{inner}</span>'
    return {"text/html": f'<div style="{_STYLE}">{bar}{escape(line)}</div>', "text/plain": line}


class PoolLine(Live):
    """The line under a cell that gave a pool its size, and what became of that in another cell.

    Parameters
    ----------
    row
        The pool as it was then.
    """

    def __init__(self, row: Row) -> None:
        super().__init__(new_id())
        self.follows_all = True
        self._row = row

    def draw(self, rows: list[Row], event: Row) -> Bundle:
        """Return the line as html and text."""
        lines = [show.pool_words(self._row)]
        for pool in event.get("pools", ()):
            if pool["name"] == self._row["name"] and pool["size"] != self._row["size"]:
                lines.append(f"{show.pool_size(pool)} now, by {pool['scope'] or 'code outside all cells'}")
        lines = [ansi.one_line(line, 200) for line in lines]
        return {
            "text/html": f'<div style="{_STYLE}">{"<br>".join(map(escape, lines))}</div>',
            "text/plain": "\n".join(lines),
        }


class Narration(Live):
    """Why the scheduler decides as it does, in sentences, as they come: the last of them."""

    def __init__(self) -> None:
        super().__init__(new_id())
        self.follows_all = True
        self._began = time.time()
        self._number = 0
        # Replaced and never changed: one thread takes what another one draws.
        self._said: tuple[tuple[float, str], ...] = ()
        self._has_ended = False

    def take(self, event: Row) -> None:
        """Take the sentences of an event."""
        said = [(at, words) for at, words in event.get("said", ())]
        self._number += len(said)
        self._said = (*self._said, *said)[-SENTENCES:]

    def end(self) -> None:
        """Say from now on that no more comes."""
        self._has_ended = True

    def draw(self, rows: list[Row], event: Row) -> Bundle:
        """Return the last sentences as html and text."""
        head = "narration ended" if self._has_ended else "narrating; '%stepup narrate off' ends it"
        said = [(max(0.0, at - self._began), ansi.one_line(words, 300)) for at, words in self._said]
        if self._number > len(said):
            head += f"; {counted(self._number - len(said), 'earlier sentence')} not shown"
        lines = [
            f'<div style="{_SENTENCE}"><span style="{_TIME}">{at:.2f} s</span>{escape(words)}</div>'
            for at, words in said
        ]
        faint = f'<div style="opacity:{ansi.FADED}">{escape(head)}</div>'
        return {
            "text/html": f'<div style="{_STYLE}">{faint}{"".join(lines)}</div>',
            "text/plain": "\n".join([head, *(f"{at:9.2f} s  {words}" for at, words in said)]),
        }


class Line(Protocol):
    """What can tell in one line how far it is."""

    steps: dict[str, Row]

    def line(self, rows: Iterable[Row], event: Row) -> str:
        """Return the line as text."""

    def end(self, report: Any, /) -> None:
        """Settle what it says from now on."""


class TerminalLine:
    """The progress of a wait in a terminal: one line that is written over, and at the end what became of it.

    Parameters
    ----------
    ask
        Returns the status, or raises what nobody must see while the wait itself is told the same.
    progress
        What the line says.
    """

    def __init__(self, ask: Callable[[], Row], progress: Line) -> None:
        self._ask = ask
        self._progress = progress
        self._next = 0.0
        self._is_terminal = sys.stdout.isatty()

    def tick(self) -> None:
        """Show how far it is; every half a second is enough."""
        now = time.monotonic()
        if not self._is_terminal or now < self._next:
            return
        self._next = now + EACH
        rows, event = self._look()
        columns = shutil.get_terminal_size().columns
        line = ansi.one_line(self._progress.line(rows, event), columns - 1)
        sys.stdout.write(f"\r\x1b[2K{line}")
        sys.stdout.flush()

    def end(self, report: Any) -> None:
        """Leave one calm line, or a page."""
        self._progress.end(report)
        start = "\r\x1b[2K" if self._is_terminal and self._next else ""
        rows, _ = self._look()
        sys.stdout.write(f"{start}{self._progress.line(rows, {})}\n")
        sys.stdout.flush()

    def _look(self) -> tuple[list[Row], Row]:
        try:
            status = self._ask()
        except StepUpError:
            return [], {}
        return [row for row in status["steps"] if row["name"] in self._progress.steps], status
