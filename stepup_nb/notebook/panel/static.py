"""The panel where nothing is live: html with drawings, and text. Saved in the notebook, shown by GitHub and nbconvert.

A pure function of ``status`` and of rows of ``history``. The html has no script, no class and no style sheet,
like a record; where drawings are taken out, the tables say the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from typing import Any

from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, record, show, svg, timeline

Row = dict[str, Any]
Bundle = dict[str, str]

LANES = 40
"""Lines of the timeline at most."""
BARS = 200
"""Jobs in the timeline at most: the newest."""
MACHINES = 12
"""Machines of which a lane shows the places."""
WAITING = 8
"""Waiting steps that a lane names."""

_WIDTH, _NAME, _LINE = 760, 150, 20
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
    recent = timeline.recent(jobs, BARS)
    html = [
        f'<div style="{_FONT};line-height:1.5">',
        f"<div>{escape(head)}</div>",
        *_lanes(status, now),
        *_timeline(recent, status, now),
        "</div>",
    ]
    text = [head, *(f"{line}" for pool in status["pools"] for line in _lane_text(pool, status))]
    if recent:
        text.append(timeline.words(recent, now))
    return {"text/html": "".join(html), "text/plain": "\n".join(text)}


def _timeline(jobs: Sequence[Row], status: Row, now: float) -> list[str]:
    if not jobs:
        return []
    labels = {row["name"]: row["label"] for row in status["steps"]}
    said = f'<div style="margin-top:6px">{escape(timeline.words(jobs, now))}</div>'
    return [said, timeline.draw(jobs, labels, now, most=LANES)]


def _label(row: Row, columns: int = 60) -> str:
    return ansi.one_line(row["label"], columns)


# --- lanes -------------------------------------------------------------------------------------------


def _holders(pool: Row, status: Row) -> dict[str, dict[int, Row]]:
    """Return who is in which slot: on each machine, by its name, where the pool counts on several; else at all."""
    machines = [name for name, _ in pool.get("machines", ())]
    is_split = len(machines) > 1
    found: dict[str, dict[int, Row]] = {name: {} for name in machines} if is_split else {"": {}}
    for row in status["steps"]:
        # Also a step that its cell does not declare any more, until its processes are gone.
        if row["job"] is not None and row["outcome"] is None:
            there = found.setdefault(row.get("place") or "", {}) if is_split else found[""]
            there |= dict.fromkeys(row["slots"].get(pool["name"], ()), row)
    return found


def _machine(name: str) -> str:
    return ansi.one_line(name, 80) if name else timeline.HERE


def _queue(pool: str, status: Row) -> list[Row]:
    return [row for row in status["steps"] if row["state"] == "QUEUED" and pool in row["pool"]]


def _lane_text(pool: Row, status: Row) -> list[str]:
    lines = [show.pool_words(pool)]
    holders = _holders(pool, status)
    for machine, held in holders.items():
        where = f", {_machine(machine)}" if len(holders) > 1 else ""
        lines += [f"  slot {slot}{where}: {_label(row)}" for slot, row in sorted(held.items())]
    queue = _queue(pool["name"], status)
    if queue:
        more = f", … {len(queue) - WAITING} more" if len(queue) > WAITING else ""
        lines.append("  queue: " + ", ".join(_label(row, 30) for row in queue[:WAITING]) + more)
    return lines


def _lanes(status: Row, now: float) -> list[str]:
    parts = []
    for pool in status["pools"]:
        parts.append(f'<div style="margin-top:6px">{escape(show.pool_words(pool))}</div>')
        holders = _holders(pool, status)
        for machine, held in list(holders.items())[:MACHINES]:
            slots = sorted({*held, *range(min(pool["size"] or 0, 12))})
            if len(holders) > 1:
                parts.append(f'<div style="opacity:{ansi.FADED}">on {escape(_machine(machine))}</div>')
            if slots:
                parts.append(_seats(slots, held, now))
        if len(holders) > MACHINES:
            more = f"and {counted(len(holders) - MACHINES, 'more machine')}"
            parts.append(f'<div style="opacity:{ansi.FADED}">{more}</div>')
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
            svg.text(0, y + 14, f"slot {slot}"),
            f'<rect x="{_NAME // 2}" y="{y + 2}" width="{_WIDTH - _NAME // 2 - 1}" height="{_LINE - 4}" rx="3" {taken}'
            ' stroke="currentColor" stroke-opacity="0.4"/>',
            svg.text(_NAME // 2 + 8, y + 14, words, faint=row is None),
        ]
    return svg.drawing(_WIDTH, len(slots) * _LINE, parts, f"{counted(len(holders), 'slot')} in use")
