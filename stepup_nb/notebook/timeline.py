"""Draws which step had which slot when, as an image of lines and rectangles that needs nothing else.

A pure function of rows of ``history``. In a cell and in a report it takes the colour of the text around it; as a file
of its own it brings a page that is light or dark as the reader's system is.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, record, svg

Row = dict[str, Any]

PAUSE = 600.0
"""Seconds without any job that separate what is drawn from what was before."""
LANES = 200
"""Lines of a drawing at most."""
HERE = "this machine"
BARS = 3000
"""Jobs in a drawing at most: the newest."""
MARK = "<!-- timeline, drawn by stepup_nb -->"
"""By this a file is known as one of ours."""

_WIDTH, _NAME, _LINE, _TOP = 960, 170, 24, 22
_FILLS = {
    None: "#1f78d1",
    "succeeded": "#2e9e5b",
    "failed": "#d9480f",
    "timed out": "#d9480f",
    "cancelled": "#a855c7",
}
_GLYPHS = {None: "●", "succeeded": "✓", "failed": "✗", "timed out": "✗", "cancelled": "⊘"}
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_LETTER = 6.9
"""Width of a letter of the labels, on average."""


def recent(jobs: Sequence[Row], most: int = BARS) -> list[Row]:
    """Return the newest jobs back to the last long pause."""
    chosen: list[Row] = []
    earliest = float("inf")
    for job in reversed(jobs[-most:]):
        ended = job["ended"] if job["ended"] is not None else float("inf")
        if chosen and ended < earliest - PAUSE:
            break
        earliest = min(earliest, job["started"])
        chosen.append(job)
    return chosen[::-1]


def span(jobs: Iterable[Row], now: float) -> tuple[float, float]:
    """Return when the first job began and the last one ended, or will have at least."""
    rows = list(jobs)
    return min(job["started"] for job in rows), max(_end(job, now) for job in rows)


def words(jobs: Sequence[Row], now: float) -> str:
    """Say how many jobs there were, in what time."""
    start, end = span(jobs, now)
    return f"{counted(len(jobs), 'job')} in {record.duration(max(0.0, end - start))}"


def text(jobs: Sequence[Row], labels: Mapping[str, str], now: float) -> str:
    """Return the timeline in lines of text: for each slot what was in it, from when to when."""
    start, _ = span(jobs, now)
    lines = [words(jobs, now)]
    for lane, held in _lanes(jobs):
        parts = (
            f"{_label(job, labels, 40)} {job['started'] - start:.2f}–{_end(job, now) - start:.2f} s"
            for job in held
        )
        lines.append(f"{lane}: {'; '.join(parts)}" if held else f"on {ansi.one_line(lane, 80)}")
    return "\n".join(lines)


def host(address: str) -> str:
    """Return the host in the address of a cluster's worker; empty for this machine."""
    try:
        return urlsplit(address).hostname or address
    except ValueError:
        return address


def draw(
    jobs: Sequence[Row],
    labels: Mapping[str, str],
    now: float,
    *,
    most: int = LANES,
    file: bool = False,
    length: float | None = None,
    width: int = _WIDTH,
    marked: Container[str] = frozenset(),
) -> str:
    """Return the timeline as svg.

    Parameters
    ----------
    jobs
        At least one, oldest first.
    labels
        What people see of a step, by its name.
    now
        Seconds since the epoch: where bars of running jobs end.
    most
        Lines, at most.
    file
        Return the text of a file: with a page behind it, and its own colours.
    length
        Seconds from one side to the other, for drawings that are to be compared; None: up to the last end.
    width
        Pixels.
    marked
        Steps that are drawn in a frame, and said to be on the critical path.
    """
    start, end = span(jobs, now)
    if length is not None:
        end = start + length
    scale = (width - _NAME - 2) / max(end - start, 0.001)
    lanes = _lanes(jobs)
    shown = lanes[:most]
    while not shown[-1][1]:
        # A machine's name without any of its lanes.
        del shown[-1]
    hidden = sum(bool(held) for _, held in lanes[len(shown) :])
    height = _TOP + len(shown) * _LINE + (_LINE if hidden > 0 else 0)
    parts = _axis(end - start, scale, width, height)
    for number, (lane, held) in enumerate(shown):
        y = _TOP + number * _LINE
        parts.append(f'<path d="M0 {y}H{width}" stroke="currentColor" stroke-opacity="0.15"/>')
        parts.append(svg.text(0, y + 16, ansi.one_line(lane, 24 if held else 80), bold=not held))
        for job in held:
            x = _NAME + (job["started"] - start) * scale
            wide = max(1.5, (_end(job, now) - job["started"]) * scale)
            parts.append(_bar(job, labels, x, y + 3, wide, now, is_marked=job["step"] in marked))
    if hidden > 0:
        parts.append(svg.text(0, height - 8, f"and {counted(hidden, 'more slot')}"))
    what = f"timeline of {words(jobs, now)}"
    if not file:
        return svg.drawing(width, height, parts, what)
    return svg.file(width, height, parts, what, MARK)


def _end(job: Row, now: float) -> float:
    return float(max(now, job["started"]) if job["ended"] is None else job["ended"])


def _label(job: Row, labels: Mapping[str, str], columns: int) -> str:
    return ansi.one_line(labels.get(job["step"], job["step"]), columns)


def _lanes(jobs: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Return the jobs by the place that they held; those of several machines each after its name, which has no jobs."""
    machines: dict[str, list[Row]] = {}
    for job in jobs:
        machines.setdefault(host(job.get("machine") or ""), []).append(job)
    found: list[tuple[str, list[Row]]] = []
    for name in sorted(machines):
        if len(machines) > 1:
            found.append((name or HERE, []))
        found += _places(machines[name]).items()
    return found


def _places(jobs: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the jobs by the place that they held: slots of pools, else workers."""
    found: dict[tuple[str, int], list[Row]] = {}
    for job in jobs:
        places = [(pool, slot) for pool, numbers in job["slots"].items() for slot in numbers]
        for place in places or [("", job["worker"])]:
            found.setdefault(place, []).append(job)
    # Pools by name; what asked for none comes last.
    order = sorted(found, key=lambda place: (not place[0], place))
    return {
        f"{pool}, slot {number}" if pool else f"worker {number}": found[pool, number]
        for pool, number in order
    }


def _axis(length: float, scale: float, width: int, height: int) -> list[str]:
    # No more marks than their words have room for.
    fine = [10.0**power * step for power in range(-4, 0) for step in (1, 2, 5)]
    each = next((step for step in (*fine, *_STEPS) if length / step <= 8), float(_STEPS[-1]))
    parts = []
    for number in range(min(int(length / each), 50) + 1):
        x = _NAME + number * each * scale
        parts.append(f'<path d="M{x:.1f} {_TOP - 4}V{height}" stroke="currentColor" stroke-opacity="0.15"/>')
        anchor = "end" if x > width - 30 else "middle" if number else "start"
        parts.append(svg.text(x, 12, _moment(number * each), anchor=anchor, faint=True))
    return parts


def _moment(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.4g} s"
    return record.duration(seconds)


def _bar(
    job: Row, labels: Mapping[str, str], x: float, y: float, width: float, now: float, *, is_marked: bool
) -> str:
    took = record.duration(_end(job, now) - job["started"])
    outcome = job["outcome"] or "running"
    waited = max(0.0, job["started"] - job["queued"]) if job["queued"] else 0.0
    title = f"{_label(job, labels, 80)}: {outcome}, {took}"
    title += f", waited {record.duration(waited)} before" if waited >= 0.01 else ""
    title += f", on {ansi.one_line(host(job['machine']), 80)}" if job.get("machine") else ""
    title += ", on the critical path" if is_marked else ""
    frame = ' stroke="currentColor" stroke-width="1.5"' if is_marked else ""
    fill = _FILLS.get(job["outcome"], "#808080")
    height = _LINE - 6
    parts = [
        f"<g><title>{escape(title)}</title>",
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{fill}" fill-opacity="0.3"{frame}/>',
        f'<rect x="{x:.1f}" y="{y}" width="{min(width, 2.5):.1f}" height="{height}" fill="{fill}"/>',
    ]
    room = int((width - 10) / _LETTER)
    if room >= 5:
        glyph = _GLYPHS.get(job["outcome"], "?")
        parts.append(svg.text(x + 6, y + 13, ansi.one_line(f"{glyph} {_label(job, labels, 80)}", room)))
    elif room >= 0 and job["outcome"] not in ("succeeded", None):
        parts.append(svg.text(x + 4, y + 13, _GLYPHS.get(job["outcome"], "?")))
    return "".join([*parts, "</g>"])
