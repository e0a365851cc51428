"""Shows what was simulated: a table, what it means in words, a plot, and timelines side by side; as html and as text.

Like a record, the html has no script, no class and no style sheet, and every number that is drawn stands in a table.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from stepup_nb.core import bounds, whatif, workload
from stepup_nb.core.declare import pool_name, pool_size, whole_number
from stepup_nb.core.simulate import Prediction
from stepup_nb.core.whatif import Axis, Known, Size, Sweep
from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, record, show, svg, timeline

MARK = "<!-- speed-up, drawn by stepup_nb -->"
"""By this a file is known as one of ours."""
BARS = 400
"""Jobs of a timeline that are drawn: the longest."""
LINES = 8
"""Lines of a plot."""

_WIDTH, _PLOT, _HEIGHT = 480, 480, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 110, 12, 40
_COLORS = ("dodgerblue", "orangered", "seagreen", "mediumorchid")


@contextmanager
def without_collecting() -> Iterator[None]:
    """Look for no garbage meanwhile: hundreds of thousands of objects come into being, and all of them stay."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# --- a grid of sizes ----------------------------------------------------------------------------------


def bundle(sweep: Sweep) -> dict[str, str]:
    """Return what was simulated by mime type."""
    page = _page(sweep)
    parts = [show.html(page)]
    if is_plotted(sweep):
        parts.append(f'<div style="margin-top:6px">{plot(sweep)}</div>')
    parts.append(_timelines(sweep))
    return {
        "text/plain": show.text(page),
        "text/html": f'<div style="font-family:{svg.FONT};font-size:13px">{"".join(parts)}</div>',
    }


def _page(sweep: Sweep) -> show.Page:
    load = sweep.now.workload
    steps = f"{counted(len(load.steps), 'step')}, simulated from nothing"
    limits = f"{'now ' if sweep.axes else ''}{_limits(sweep.now)}"
    page: list[str | show.Table] = [f"{steps}; {limits}: {record.duration(sweep.now.makespan)}."]
    page.append(_grid(sweep) if len(sweep.axes) == 2 else _table(sweep))
    return [*page, *(ansi.visible(words) for words in sweep.words())]


def _limits(run: Prediction) -> str:
    parts = [f"pool {name} {_size(size)}" for name, size in run.pools.items()]
    return ", ".join(
        [*parts, "no limit of workers" if run.workers is None else counted(run.workers, "worker")]
    )


def _size(size: Size) -> str:
    return "no limit" if size is None else str(size)


def _table(sweep: Sweep) -> show.Table:
    axes, runs, best = sweep.axes, sweep.runs, sweep.best
    names = list(dict.fromkeys(name for run in runs for name in run.bounds))
    rows = [
        (
            *(_size(axis.size(run)) for axis in axes),
            record.duration(run.makespan),
            f"{sweep.speedup(run):.2f} ×",
            *(record.duration(run.bounds[name]) if name in run.bounds else "" for name in names),
            _short_limit(run),
            _remark(sweep, run, best),
        )
        for run in runs
    ]
    heads = [_bound_head(name) for name in names]
    return show.Table(
        (*(axis.name for axis in axes), "time", "speed-up", *heads, "set by", ""),
        [row if len(runs) > 1 else (*row[: len(axes) + 1], "", *row[len(axes) + 2 :]) for row in rows],
        code=(),
    )


def _bound_head(name: str) -> str:
    if name == bounds.CRITICAL_PATH:
        return "≥ critical path"
    return "≥ work ÷ workers" if name == bounds.WORKERS else f"≥ {name} ÷ size"


def _short_limit(run: Prediction) -> str:
    name, part = run.limit
    return f"{name} {bounds.percent(part)}" if name else ""


def _remark(sweep: Sweep, run: Prediction, best: Prediction) -> str:
    words = []
    if run is sweep.now and len(sweep.runs) > 1:
        words.append("now")
    if run is best and len(sweep.runs) > 1:
        words.append("enough")
    return ", ".join(words)


def _grid(sweep: Sweep) -> show.Table:
    first, second = sweep.axes
    number = len(second.sizes)
    rows = []
    for at, size in enumerate(first.sizes):
        runs = sweep.runs[at * number : (at + 1) * number]
        cells = [
            f"{record.duration(run.makespan)} ({sweep.speedup(run):.2f} ×){_star(sweep, run)}" for run in runs
        ]
        rows.append((_size(size), *cells))
    head = (f"{first.name} ↓  {second.name} →", *(_size(size) for size in second.sizes))
    return show.Table(head, rows, code=())


def _star(sweep: Sweep, run: Prediction) -> str:
    words = _remark(sweep, run, sweep.best)
    return f" {words}" if words else ""


# --- drawings -----------------------------------------------------------------------------------------


def is_plotted(sweep: Sweep) -> bool:
    """Tell whether there are several sizes to compare."""
    return bool(sweep.axes) and len(sweep.runs) > 1


def plot(sweep: Sweep, *, file: bool = False) -> str:
    """Return the speed-up against the sizes of the last axis as svg: a line for each size of the other one.

    Parameters
    ----------
    sweep
        With several sizes.
    file
        Return the text of a file.
    """
    *others, axis = sweep.axes
    number = len(axis.sizes)
    lines = [sweep.runs[at : at + number] for at in range(0, len(sweep.runs), number)]
    lines = lines[:LINES]
    speeds = [[sweep.speedup(run) for run in line] for line in lines]
    ideal = _ideal(axis)
    most = max(1.0, *(speed for line in speeds for speed in line)) * 1.05
    wide, high = _PLOT - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    xs = _places(axis, wide)

    def y(speed: float) -> float:
        return _TOP + high * (1.0 - speed / most)

    parts = [
        f'<path d="M{_LEFT} {_TOP}V{_TOP + high}H{_LEFT + wide}" fill="none" stroke="currentColor"'
        ' stroke-opacity="0.6"/>'
    ]
    for tick in _ticks(most):
        parts.append(svg.text(_LEFT - 6, y(tick) + 4, f"{tick:g} ×", faint=True, anchor="end"))
        parts.append(
            f'<path d="M{_LEFT} {y(tick):.1f}h{wide}" stroke="currentColor" stroke-opacity="0.15" fill="none"/>'
        )
    shown = -100.0
    for x, size in zip(xs, axis.sizes, strict=True):
        if x - shown >= 26:
            parts.append(svg.text(x, _TOP + high + 16, "∞" if size is None else str(size), anchor="middle"))
            shown = x
    label = f"{'workers' if axis.pool is None else f'slots of {axis.pool}'}"
    parts.append(svg.text(_LEFT + wide / 2, _HEIGHT - 6, label, faint=True, anchor="middle"))
    if not others:
        parts += _proportion([(x, y(speed)) for x, speed in zip(xs, ideal, strict=False)], wide, high)
    ends = []
    for place, (line, values) in enumerate(zip(lines, speeds, strict=True)):
        color = _COLORS[place % len(_COLORS)]
        points = [(x, y(speed)) for x, speed in zip(xs, values, strict=True)]
        parts.append(_line(points, color))
        for (x, height), run, speed in zip(points, line, values, strict=True):
            told = f"{sweep.name(run)}: {record.duration(run.makespan)}, {speed:.2f} ×"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{height:.1f}" r="{5 if run is sweep.best else 3}" fill="{color}">'
                f"<title>{escape(told)}</title></circle>"
            )
        whose = f" {others[0].words(others[0].size(line[0]))}" if others else ""
        ends.append((points[-1][1] + 4, f"{values[-1]:.2f} ×{whose}"))
    parts += [svg.text(_LEFT + wide + 10, height, end) for height, end in _apart(ends)]
    words = f"speed-up against {label}"
    if file:
        return svg.file(_PLOT, _HEIGHT, parts, words, MARK)
    return svg.drawing(_PLOT, _HEIGHT, parts, words)


def _places(axis: Axis, wide: float) -> list[float]:
    """Return where sizes lie: on a scale, or one beside the other where one of them has no end."""
    sizes = [size for size in axis.sizes if size is not None]
    if len(sizes) < len(axis.sizes) or sizes != sorted(sizes):
        return [_LEFT + wide * at / max(1, len(axis.sizes) - 1) for at in range(len(axis.sizes))]
    first, last = sizes[0], sizes[-1]
    return [_LEFT + wide * (size - first) / max(1, last - first) for size in sizes]


def _ideal(axis: Axis) -> list[float]:
    first = axis.sizes[0]
    return [] if first is None else [size / first for size in axis.sizes if size is not None]


def _proportion(points: Sequence[tuple[float, float]], wide: float, high: float) -> list[str]:
    """Draw what a speed-up in proportion to the size would be, as far as it is in the picture, and say what that is."""
    shown: list[tuple[float, float]] = []
    for x, y in points:
        if y < _TOP:
            before_x, before_y = shown[-1]
            shown.append((before_x + (x - before_x) * (before_y - _TOP) / (before_y - y), _TOP))
            break
        shown.append((x, y))
    if len(shown) < 2:
        return []
    at = _TOP + high - 10
    sample = [(_LEFT + wide - 110, at), (_LEFT + wide - 86, at)]
    return [
        _line(shown, "grey", dashed=True),
        _line(sample, "grey", dashed=True),
        svg.text(_LEFT + wide - 80, at + 4, "in proportion", faint=True),
    ]


def _apart(ends: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Move texts that would lie on each other apart."""
    found: list[tuple[float, str]] = []
    for height, words in sorted(ends, reverse=True):
        found.append((height if not found else min(height, found[-1][0] - 13), words))
    return found


def _ticks(most: float) -> list[float]:
    step = next(
        step for step in (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1e9) if most / step <= 5.5
    )
    return [step * number for number in range(1, int(most / step) + 1)]


def _line(points: Sequence[tuple[float, float]], color: str, *, dashed: bool = False) -> str:
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<path d="M{way}" fill="none" stroke="{color}" stroke-width="2"{dashes}/>'


def _timelines(sweep: Sweep) -> str:
    """Draw the run with the sizes of now beside the best one, on one scale."""
    chosen = [sweep.now] if sweep.best is sweep.now else [sweep.now, sweep.best]
    span = max(run.makespan for run in chosen)
    drawn = [
        f'<div style="flex:1 1 380px;max-width:{_WIDTH}px">{_timeline(run, span, _title(sweep, run))}</div>'
        for run in chosen
        if run.jobs
    ]
    if not drawn:
        return ""
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:8px 24px;margin-top:8px">{"".join(drawn)}</div>'
        f'<div style="opacity:{ansi.FADED}">In a frame: the critical path.</div>'
    )


def _title(sweep: Sweep, run: Prediction) -> str:
    if not sweep.axes:
        return "Predicted"
    if run is not sweep.now:
        return f"With {sweep.name(run)}"
    sizes = [axis for axis in sweep.axes if axis.pool is None or axis.pool in run.pools]
    return f"Now: {Sweep(tuple(sizes), sweep.runs, run).name(run)}"


def _timeline(run: Prediction, span: float, title: str) -> str:
    rows = [{**row, "outcome": "succeeded"} for row in run.timeline]
    drawn = rows
    if len(rows) > BARS:
        longest = sorted(rows, key=lambda row: row["started"] - row["ended"])[:BARS]
        drawn = sorted(longest, key=lambda row: float(row["started"]))
    words = f"{title}: {record.duration(run.makespan)}"
    more = f" (the {BARS} longest of {counted(len(rows), 'step')} are drawn)" if len(rows) > BARS else ""
    drawing = timeline.draw(drawn, {}, span, length=span, width=_WIDTH, marked=frozenset(run.path))
    return f"<div>{escape(words + more)}</div>{drawing}"


# --- one prediction -------------------------------------------------------------------------------------


class Forecast:
    """How long it would take: what `stepup_nb.simulate` returns. Times are seconds from the beginning."""

    def __init__(self, run: Prediction) -> None:
        self._run = run

    @property
    def makespan(self) -> float:
        """When the last step ends."""
        return self._run.makespan

    @property
    def bounds(self) -> dict[str, float]:
        """When it ends at the earliest, for the ``critical path``, the ``workers``, and each ``pool NAME``."""
        return dict(self._run.bounds)

    @property
    def path(self) -> list[str]:
        """The steps on the critical path, in order."""
        return list(self._run.path)

    @property
    def bottleneck(self) -> str:
        """What sets the time, in words."""
        return self._run.bottleneck

    @property
    def timeline(self) -> list[dict[str, Any]]:
        """A row per job, with the keys of ``history``."""
        return [dict(row) for row in self._run.timeline]

    @property
    def guessed(self) -> int:
        """Of so many steps nobody knows the duration: they were taken to last as long as the median of the others."""
        return self._run.workload.guessed

    @property
    def stuck(self) -> list[dict[str, Any]]:
        """What would never run, by cause: ``cause``, ``number``, and as ``steps`` the first few."""
        return [dict(row) for row in self._run.stuck]

    def __repr__(self) -> str:
        run = self._run
        words = f"{counted(len(run.jobs), 'step')} in {record.duration(run.makespan)}, {_limits(run)}; {run.bottleneck}"
        return f"<Forecast: {ansi.visible(words)}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {**bundle(Sweep((), (self._run,), self._run)), "text/plain": repr(self)}


def forecast(
    pools: Mapping[str, object] | None, workers: object, steps: Iterable[Mapping[str, Any]] | None
) -> Forecast:
    """Return the prediction for certain sizes: of given steps, else of this session's; see `stepup_nb.simulate`."""
    sizes = {pool_name(name): (pool_size(size),) for name, size in (pools or {}).items()}
    limit = () if workers is None else (whole_number(workers, "number of workers", least=1),)
    with without_collecting():
        if steps is None:
            from stepup_nb.client.current import session

            known = Known.of(session().workload())
        else:
            known = Known(workload.read(steps), {}, None)
            whatif.check_given(known, sizes)
        return Forecast(whatif.sweep(known, sizes, limit).runs[0])
