"""The panel where nothing is live: html with drawings, and text. Saved in the notebook, shown by GitHub and nbconvert.

A pure function of ``status`` and of rows of ``history``. The html has no script, no class and no style sheet,
like a record; where drawings are taken out, the tables say the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, record, show

Row = dict[str, Any]
Bundle = dict[str, str]

PAUSE = 600.0
"""Seconds without any job that separate what is drawn from what was before."""
LANES = 40
"""Lines of the timeline at most."""
BARS = 600
"""Jobs in the timeline at most: the newest."""
WAITING = 8
"""Waiting steps that a lane names."""

_WIDTH, _NAME, _LINE = 760, 150, 20
_FILLS = {
    None: "dodgerblue",
    "succeeded": "seagreen",
    "failed": "orangered",
    "timed out": "orangered",
    "cancelled": "mediumorchid",
}
_FONT = "font-family:var(--jp-ui-font-family,system-ui,-apple-system,'Segoe UI',sans-serif);font-size:13px"


def render(status: Row, jobs: Sequence[Row], now: float) -> Bundle:
    """Return the panel as html and text.

    Parameters
    ----------
    status
        With the keys that records use, too.
    jobs
        Oldest first.
    now
        Seconds since the epoch.
    """
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(now))
    head = f"StepUp: {show.counts(status['counts']) or 'no steps'}; as of {moment}"
    recent = _recent(jobs)
    html = [
        f'<div style="{_FONT};line-height:1.5">',
        f"<div>{escape(head)}</div>",
        *_lanes(status, now),
        *_timeline(recent, status, now),
        "</div>",
    ]
    text = [head, *(f"{line}" for pool in status["pools"] for line in _lane_text(pool, status))]
    if recent:
        text.append(_words_of_timeline(recent, now))
    return {"text/html": "".join(html), "text/plain": "\n".join(text)}


def _label(row: Row, columns: int = 60) -> str:
    return ansi.one_line(row["label"], columns)


# --- lanes -------------------------------------------------------------------------------------------


def _holders(pool: str, status: Row) -> dict[int, Row]:
    """Return who is in which slot."""
    # Also a step that its cell does not declare any more, until its processes are gone.
    running = (row for row in status["steps"] if row["job"] is not None and row["outcome"] is None)
    return {slot: row for row in running for slot in row["slots"].get(pool, ())}


def _queue(pool: str, status: Row) -> list[Row]:
    return [row for row in status["steps"] if row["state"] == "QUEUED" and pool in row["pool"]]


def _lane_text(pool: Row, status: Row) -> list[str]:
    lines = [show.pool_words(pool)]
    lines += [f"  slot {slot}: {_label(row)}" for slot, row in sorted(_holders(pool["name"], status).items())]
    queue = _queue(pool["name"], status)
    if queue:
        more = f", … {len(queue) - WAITING} more" if len(queue) > WAITING else ""
        lines.append("  queue: " + ", ".join(_label(row, 30) for row in queue[:WAITING]) + more)
    return lines


def _lanes(status: Row, now: float) -> list[str]:
    parts = []
    for pool in status["pools"]:
        holders = _holders(pool["name"], status)
        slots = sorted({*holders, *range(min(pool["size"] or 0, 12))})
        parts.append(f'<div style="margin-top:6px">{escape(show.pool_words(pool))}</div>')
        if slots:
            parts.append(_seats(slots, holders, now))
        queue = _queue(pool["name"], status)
        if queue:
            names = ", ".join(_label(row, 30) for row in queue[:WAITING])
            more = f", … {len(queue) - WAITING} more" if len(queue) > WAITING else ""
            parts.append(f'<div style="opacity:{ansi.FADED}">queue: {escape(names + more)}</div>')
    return parts


def _seats(slots: Sequence[int], holders: dict[int, Row], now: float) -> str:
    parts = []
    for number, slot in enumerate(slots):
        row, y = holders.get(slot), number * _LINE
        taken = 'fill="dodgerblue" fill-opacity="0.25"' if row else 'fill="none" stroke-dasharray="3 3"'
        words = "free" if row is None else _label(row)
        if row is not None and row["started"]:
            words += f"  {record.duration(max(0.0, now - row['started']))}"
        parts += [
            _text(0, y + 14, f"slot {slot}"),
            f'<rect x="{_NAME // 2}" y="{y + 2}" width="{_WIDTH - _NAME // 2 - 1}" height="{_LINE - 4}" rx="3" {taken}'
            ' stroke="currentColor" stroke-opacity="0.4"/>',
            _text(_NAME // 2 + 8, y + 14, words, faint=row is None),
        ]
    return _svg(len(slots) * _LINE, parts, f"{counted(len(holders), 'slot')} in use")


# --- timeline ----------------------------------------------------------------------------------------


def _recent(jobs: Sequence[Row]) -> list[Row]:
    """Return the newest jobs back to the last long pause."""
    chosen: list[Row] = []
    for job in reversed(jobs[-BARS:]):
        ended = job["ended"] if job["ended"] is not None else float("inf")
        if chosen and ended < min(other["started"] for other in chosen[-50:]) - PAUSE:
            break
        chosen.append(job)
    return chosen[::-1]


def _places(job: Row) -> list[str]:
    slots = [f"{pool}, slot {slot}" for pool, numbers in job["slots"].items() for slot in numbers]
    return slots or [f"worker {job['worker']}"]


def _words_of_timeline(jobs: Sequence[Row], now: float) -> str:
    start = min(job["started"] for job in jobs)
    end = max(now if job["ended"] is None else job["ended"] for job in jobs)
    return f"{counted(len(jobs), 'job')} in {record.duration(max(0.0, end - start))}"


def _timeline(jobs: Sequence[Row], status: Row, now: float) -> list[str]:
    if not jobs:
        return []
    labels = {row["name"]: _label(row) for row in status["steps"]}
    start = min(job["started"] for job in jobs)
    end = max(now if job["ended"] is None else job["ended"] for job in jobs)
    scale = (_WIDTH - _NAME - 1) / max(end - start, 0.001)
    lanes = sorted({place for job in jobs for place in _places(job)})[:LANES]
    parts = [_text(0, number * _LINE + 14, lane) for number, lane in enumerate(lanes)]
    for job in jobs:
        until = now if job["ended"] is None else job["ended"]
        took = record.duration(max(0.0, until - job["started"]))
        words = f"{labels.get(job['step'], ansi.one_line(job['step'], 60))}: {job['outcome'] or 'running'}, {took}"
        x, width = _NAME + (job["started"] - start) * scale, max(1.0, (until - job["started"]) * scale)
        for place in _places(job):
            if place in lanes:
                y = lanes.index(place) * _LINE + 3
                fill = _FILLS.get(job["outcome"], "grey")
                parts.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_LINE - 6}" rx="2" fill="{fill}">'
                    f"<title>{escape(words)}</title></rect>"
                )
    height = len(lanes) * _LINE + _LINE
    parts += [
        _text(_NAME, height - 5, "0 s", faint=True),
        _text(_WIDTH, height - 5, record.duration(end - start), faint=True, anchor="end"),
    ]
    words = _words_of_timeline(jobs, now)
    return [f'<div style="margin-top:6px">{escape(words)}</div>', _svg(height, parts, f"timeline of {words}")]


def _text(x: float, y: float, words: str, *, faint: bool = False, anchor: str = "start") -> str:
    opacity = f' fill-opacity="{ansi.FADED}"' if faint else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="currentColor"{opacity}>{escape(words)}</text>'


def _svg(height: int, parts: Iterable[str], words: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(words)}" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
        f' style="max-width:100%" font-size="12" font-family="sans-serif">{"".join(parts)}</svg>'
    )
