"""Draws which step needs which other, from left to right, where no script may run; and finds the longest way through.

Pure functions of the names of steps and of what each needs. Layers are the longest ways from the beginning; within
a layer, steps stand near those that they are tied to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi
from stepup_nb.notebook.svg import FONT

Needs = Mapping[str, Sequence[str]]
"""What each step needs directly, by name, in order of declaration."""

MOST = 60
"""Steps in a drawing: beyond, nobody finds anything in it."""
TALLEST = 16
"""Steps of one layer in a drawing."""

_WIDE, _HIGH, _GAP, _ROW = 168, 30, 56, 42
_COLORS = {
    "FAILED": "#d9480f",
    "CANCELLED": "#a855c7",
    "RUNNING": "#1f78d1",
    "SUCCEEDED": "#2e9e5b",
}
GLYPHS = {
    "FAILED": "✗",
    "CANCELLED": "⊘",
    "RUNNING": "●",
    "QUEUED": "◔",
    "CHECKING": "◎",
    "PENDING": "○",
    "SUCCEEDED": "✓",
}
"""Of states, as in the record under a cell."""


def needs_of(rows: Sequence[Mapping[str, Any]], after: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return what each step needs: those that make what it reads, and those that it comes after.

    Parameters
    ----------
    rows
        Steps, as in ``status``.
    after
        Names of others by name, for those that say so.
    """
    makers = {path: row["name"] for row in rows for path in (*row["out"], *row["vol"])}
    known = {row["name"] for row in rows}
    found: dict[str, list[str]] = {}
    for row in rows:
        name = row["name"]
        needed = [makers.get(path, "") for path in row["inp"]] + list(after.get(name, ()))
        found[name] = [one for one in dict.fromkeys(needed) if one in known and one != name]
    return found


def in_order(needs: Needs) -> list[str]:
    """Return the steps so that each comes behind what it needs; a circle is cut where it is met first.

    Steps of several sessions may be tied in a circle: not all of them were declared at once.
    """
    order: list[str] = []
    seen: set[str] = set()
    for first in needs:
        todo = [(first, False)]
        while todo:
            name, is_ready = todo.pop()
            if is_ready:
                order.append(name)
            elif name not in seen:
                seen.add(name)
                todo.append((name, True))
                todo += [(one, False) for one in reversed(needs[name])]
    return order


def longest_way(needs: Needs, seconds: Mapping[str, float]) -> list[str]:
    """Return the chain of steps, each of which needs the one before it, that took longest together."""
    took: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for name in in_order(needs):
        best = max((one for one in needs[name] if one in took), key=lambda one: took[one], default=None)
        took[name] = seconds.get(name, 0.0) + (0.0 if best is None else took[best])
        before[name] = best
    at = max(took, key=lambda name: took[name], default=None)
    chain = []
    while at is not None:
        chain.append(at)
        at = before[at]
    return chain[::-1]


def draw(rows: Sequence[Mapping[str, Any]], needs: Needs) -> str:
    """Return the graph as svg in the colours of the text around it, or an empty text where it would be too large.

    The custom property ``--page`` is the colour behind it.
    """
    layers = _layers(needs)
    if not rows or len(rows) > MOST or max(map(len, layers)) > TALLEST:
        return ""
    places = {
        name: (x * (_WIDE + _GAP) + 1, y * _ROW + 1 + _ROW * (max(map(len, layers)) - len(layer)) // 2)
        for x, layer in enumerate(layers)
        for y, name in enumerate(layer)
    }
    width = len(layers) * (_WIDE + _GAP) - _GAP + 2
    height = max(map(len, layers)) * _ROW - (_ROW - _HIGH) + 2
    parts = [_edge(places[one], places[name]) for name in needs for one in needs[name]]
    parts += [_box(row, *places[row["name"]]) for row in rows]
    edges = sum(map(len, needs.values()))
    what = f"graph of {counted(len(rows), 'step')} with {counted(edges, 'arrow')} from left to right"
    style = f"max-width:100%;height:auto;min-width:{int(0.7 * width)}px"
    return (
        f'<svg role="img" aria-label="{escape(what)}" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' style="{style}" font-size="12" font-family="{FONT}">{"".join(parts)}</svg>'
    )


def _layers(needs: Needs) -> list[list[str]]:
    depth: dict[str, int] = {}
    for name in in_order(needs):
        depth[name] = max((depth[one] + 1 for one in needs[name] if one in depth), default=0)
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in needs:
        layers[depth[name]].append(name)
    readers: dict[str, list[str]] = {name: [] for name in needs}
    for name in needs:
        for one in needs[name]:
            readers[one].append(name)
    for _ in range(4):
        for here, tied in ((layers, needs), (layers[::-1], readers)):
            _pull(here, tied)
    return layers


def _pull(layers: Sequence[list[str]], tied: Needs) -> None:
    """Order each layer by where those are that its steps are tied to."""
    place: dict[str, float] = {}
    for layer in layers:
        height = {name: y - (len(layer) - 1) / 2 for y, name in enumerate(layer)}
        mean = {}
        for name in layer:
            found = [place[one] for one in tied[name] if one in place]
            mean[name] = sum(found) / len(found) if found else height[name]
        layer.sort(key=lambda name: mean[name])
        place |= {name: y - (len(layer) - 1) / 2 for y, name in enumerate(layer)}


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = (start[0] + _WIDE, start[1] + _HIGH // 2), (end[0] - 6, end[1] + _HIGH // 2)
    middle = max(_GAP // 2, abs(x2 - x1) // 2)
    return (
        f'<path d="M{x1} {y1}C{x1 + middle} {y1} {x2 - middle} {y2} {x2} {y2}" fill="none" stroke="currentColor"'
        ' stroke-opacity="0.45"/>'
        f'<path d="M{x2} {y2 - 3.5}l6 3.5l-6 3.5z" fill="currentColor" fill-opacity="0.6"/>'
    )


def _box(row: Mapping[str, Any], x: int, y: int) -> str:
    color = _COLORS.get(row["state"], "#808080")
    label = ansi.one_line(f"{GLYPHS.get(row['state'], '?')} {row['label']}", 23)
    title = f"{ansi.one_line(row['label'], 80)}: {row['state']}"
    if row["reason"]:
        title += f", {ansi.one_line(row['reason'], 120)}"
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="3" style="fill:var(--page)"/>'
        f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="3" fill="{color}" fill-opacity="0.14"'
        f' stroke="{color}"/>'
        f'<text x="{x + 9}" y="{y + 19}" fill="currentColor">{escape(label)}</text></g>'
    )
