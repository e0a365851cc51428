"""One page on what became of all steps: to hand out, to print, to keep; it opens without a kernel and loads nothing.

A pure function of rows of ``status`` and ``history``, but for `save` and `of_session`. It says what the panel says, and
what failures printed. Names, commands and outputs are strangers: they get in as text only, and the page forbids scripts
and requests anyway.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepup_nb import __version__
from stepup_nb.core.words import counted, ending, visible
from stepup_nb.notebook import ansi, dag, record, show, timeline, written

if TYPE_CHECKING:
    from stepup_nb.client.session import Session

Row = Mapping[str, Any]

MARK = '<meta name="generator" content="stepup_nb'
"""By this a page is known as one of ours."""
MOST = 2000
"""Steps in the table."""
FAILURES = 50
"""Failed steps whose output is shown."""
TAIL = 40
"""Lines of an output that are shown."""
SLOWEST = 10
NEEDS = 200
"""Steps of a list of who needs whom, where the graph is too large to draw."""


@dataclass(frozen=True, slots=True)
class About:
    """What the page tells besides steps."""

    notebook: str
    """Its name; empty where there is none."""
    versions: Mapping[str, str]
    now: float
    """Seconds since the epoch."""
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The steps that a step comes after without reading anything of theirs."""


def save(session: Session, path: str, *, force: bool = False) -> Path:
    """Write the page on a session, relative to its folder, and return where it is.

    Raises
    ------
    UsageError
        SNB-146: something else is there. SNB-147: it cannot be written.
    """
    target = written.named(session.place.root, path, (".html", ".htm"))
    written.write(target, of_session(session), MARK, force=force)
    return target


def of_session(session: Session) -> str:
    """Return the page on a session, as it is now."""
    nodes = session.nodes()
    after = {
        node["key"].removeprefix("step:"): [
            key.removeprefix("step:") for key in node["consumes"] if key.startswith("step:")
        ]
        for node in nodes
        if node["key"].startswith("step:")
    }
    versions = {
        "stepup_nb": __version__,
        "Python": platform.python_version(),
        platform.system(): platform.release(),
    }
    about = About(Path(session.place.notebook or "").name, versions, time.time(), after)
    return render(session.status(), session.history(), about)


def render(status: Row, history: Sequence[dict[str, Any]], about: About) -> str:
    """Return the page.

    Parameters
    ----------
    status
        With the keys that records use, too. Where nothing is declared in this session, what the database knows is
        reported.
    history
        Oldest first.
    about
        What else is told.
    """
    live = [row for row in status["steps"] if not row["dormant"]]
    rows = live or list(status["steps"])
    last = {row["step"]: row for row in history}
    recent = timeline.recent(history)
    needs = dag.needs_of(rows, about.after)
    title = f"Report of {about.notebook or 'a session'}"
    body = [
        f"<h1>{_text(title)}</h1>",
        _facts(about, is_recorded=not live and bool(rows)),
        _summary(status, rows, recent, about.now),
        _failures(rows, last),
        _pools(status["pools"]),
        _timeline(recent, rows, about.now),
        _graph(rows, needs),
        _longest(rows, needs, last),
        _slowest(rows, last),
        _steps(rows),
        f"<footer>made by stepup_nb {_text(about.versions.get('stepup_nb', ''))}</footer>",
    ]
    return _PAGE.format(
        mark=MARK,
        version=_text(about.versions.get("stepup_nb", "")),
        title=_text(title),
        style=_STYLE,
        body="\n".join(part for part in body if part),
    )


def _text(words: object) -> str:
    """Return what anybody may have said, as text of the page."""
    return escape(visible(str(words)))


def _label(row: Row, columns: int = 80) -> str:
    return ansi.one_line(str(row["label"]), columns)


def _section(title: str, *parts: str) -> str:
    return "\n".join([f"<section><h2>{_text(title)}</h2>", *parts, "</section>"])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, code: Sequence[str] = ("step",)) -> str:
    """Return a table; columns without any text are left out."""
    cells = [list(row) for row in rows]
    columns = [i for i in range(len(head)) if any(row[i] for row in cells)]
    lines = ["<tr>" + "".join(f'<th scope="col">{_text(head[i])}</th>' for i in columns) + "</tr>"]
    for row in cells:
        tags = (("<td><code>", "</code></td>") if head[i] in code else ("<td>", "</td>") for i in columns)
        lines.append(
            "<tr>"
            + "".join(f"{a}{_text(row[i])}{b}" for (a, b), i in zip(tags, columns, strict=True))
            + "</tr>"
        )
    return (
        f'<div class="wide"><table>\n<thead>{lines[0]}</thead>\n<tbody>\n'
        + "\n".join(lines[1:])
        + "\n</tbody></table></div>"
    )


def _facts(about: About, *, is_recorded: bool) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(about.now)).strip()
    said = [moment, *(f"{name} {version}" for name, version in about.versions.items())]
    words = f'<p class="faint">{_text(" · ".join(said))}</p>'
    if is_recorded:
        words += (
            "<p>Nothing is declared in this session: these are the steps that the database remembers.</p>"
        )
    return words


def _summary(status: Row, rows: Sequence[Row], recent: Sequence[dict[str, Any]], now: float) -> str:
    numbers: dict[str, int] = {}
    for row in rows:
        numbers[row["state"]] = numbers.get(row["state"], 0) + 1
    skipped = sum(bool(row["skipped"]) for row in rows)
    facts = [("steps", show.counts(numbers))]
    if skipped:
        facts.append(("up to date", f"{skipped}, which did not run again"))
    if recent:
        start, end = timeline.span(recent, now)
        worked = sum((now if job["ended"] is None else job["ended"]) - job["started"] for job in recent)
        words = timeline.words(recent, now)
        if end - start > 0:
            words += f": {record.duration(worked)} of work, {worked / (end - start):.1f} at a time on average"
        facts.append(("jobs", words))
    if status["workers"] is not None:
        facts.append(("workers", str(status["workers"])))
    lines = "".join(f"<dt>{_text(name)}</dt><dd>{_text(words)}</dd>" for name, words in facts)
    return f"<section><h2>Summary</h2><dl>{lines}</dl></section>"


def _failures(rows: Sequence[Row], last: Mapping[str, Row]) -> str:
    failed = [row for row in rows if row["state"] == "FAILED"]
    if not failed:
        return ""
    parts = []
    for row in failed[:FAILURES]:
        code = row["returncode"]
        reason = str(row["reason"])
        if code not in (None, 0) and ending(code) not in reason:
            reason += f" ({ending(code)})"
        where = (
            f'<p class="faint">declared in {_text(ansi.one_line(str(row["cell"]), 120))}</p>'
            if row["cell"]
            else ""
        )
        parts.append(f"<h3><code>{_text(_label(row))}</code></h3><p>{_text(reason)}</p>{where}")
        for stream in ("stderr", "stdout"):
            if tail := _tail(str(row[f"{stream}_tail"])):
                parts.append(f"<p>{stream}:</p><pre>{_text(tail)}</pre>")
    if len(failed) > FAILURES:
        parts.append(f"<p>{_text(counted(len(failed) - FAILURES, 'more step'))} failed.</p>")
    return _section("Failures", *parts)


def _tail(text: str) -> str:
    lines = ansi.to_text(text).rstrip().split("\n")
    more = len(lines) - TAIL
    shown = [line if len(line) <= 400 else f"{line[:399]}…" for line in lines[-TAIL:]]
    return "\n".join([f"… {counted(more, 'earlier line')}", *shown] if more > 0 else shown)


def _pools(pools: Sequence[Row]) -> str:
    if not pools:
        return ""
    tables = (part for part in show.pools_page(pools) if isinstance(part, show.Table))
    return _section("Pools", *(_table(table.head, table.rows) for table in tables))


def _timeline(recent: Sequence[dict[str, Any]], rows: Sequence[Row], now: float) -> str:
    if not recent:
        return ""
    labels = {row["name"]: row["label"] for row in rows}
    return _section("Timeline", f'<div class="wide drawing">{timeline.draw(recent, labels, now)}</div>')


def _graph(rows: Sequence[Row], needs: dag.Needs) -> str:
    if not any(needs.values()):
        return ""
    if drawing := dag.draw(rows, needs):
        return _section("Graph", f'<div class="wide graph">{drawing}</div>')
    labels = {row["name"]: _label(row, 60) for row in rows}
    lines = []
    for name, some in needs.items():
        if some:
            named = ", ".join(f"<code>{_text(labels[one])}</code>" for one in some[:20])
            more = f", and {len(some) - 20} more" if len(some) > 20 else ""
            lines.append(f"<li><code>{_text(labels[name])}</code> needs {named}{more}</li>")
    more = f"<p>{_text(counted(len(lines) - NEEDS, 'more step'))}</p>" if len(lines) > NEEDS else ""
    return _section("Graph", f"<ul>{''.join(lines[:NEEDS])}</ul>{more}")


def _took(row: Row, last: Mapping[str, Row]) -> float | None:
    job = last.get(row["name"])
    return None if job is None or job["ended"] is None else float(job["ended"] - job["started"])


def _longest(rows: Sequence[Row], needs: dag.Needs, last: Mapping[str, Row]) -> str:
    by_name = {row["name"]: row for row in rows}
    seconds = {name: took for name, row in by_name.items() if (took := _took(row, last)) is not None}
    chain = [name for name in dag.longest_way(needs, seconds) if name in seconds]
    if not chain or len(seconds) < 2:
        return ""
    lines = "".join(
        f"<li><code>{_text(_label(by_name[name]))}</code> {_text(record.duration(seconds[name]))}</li>"
        for name in chain[:100]
    )
    total = record.duration(sum(seconds[name] for name in chain))
    why = "these wait for each other" if len(chain) > 1 else "this one takes that alone"
    words = f"<p>However many slots there are, the whole takes {_text(total)} at least: {why}.</p>"
    return _section("Critical path", words, f"<ol>{lines}</ol>")


def _slowest(rows: Sequence[Row], last: Mapping[str, Row]) -> str:
    timed = sorted(
        ((took, row) for row in rows if (took := _took(row, last)) is not None), key=lambda one: -one[0]
    )
    if len(timed) < 2:
        return ""
    return _section(
        "Slowest steps",
        _table(
            ("time", "processor", "memory", "step"),
            [
                (record.duration(took), *_measured(last[row["name"]]), _label(row))
                for took, row in timed[:SLOWEST]
            ],
        ),
    )


def _measured(job: Row) -> tuple[str, str]:
    return (
        "" if job["cpu"] is None else record.duration(job["cpu"]),
        record.size(job["peak_rss"]) if job["peak_rss"] else "",
    )


def _steps(rows: Sequence[Row]) -> str:
    if not rows:
        return _section("Steps", "<p>No steps.</p>")
    cells = []
    for row in rows[:MOST]:
        state, label, pool, took, why = show.step_cells(row)
        mark = "≡" if state == "SKIP" else dag.GLYPHS.get(state, "?")
        cells.append(
            (
                f"{mark}\u00a0{state}",
                ansi.one_line(label, 80),
                pool,
                took,
                why,
                ansi.one_line(row["cell"], 60),
            )
        )
    table = _table(("state", "step", "pool", "time", "why", "cell"), cells)
    more = f"<p>{_text(counted(len(rows) - MOST, 'more step'))}</p>" if len(rows) > MOST else ""
    return _section("Steps", table, more)


_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1f2328; --rule: #d0d7de; --faint: #59636e; --box: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0d1117; --ink: #e6edf3; --rule: #30363d; --faint: #9198a1; --box: #151b23; }
}
@media print { :root { color-scheme: light; --page: #fff; --ink: #000; --rule: #bbb; --faint: #444; --box: #f6f6f6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1040px; padding: 24px 20px 48px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 32px 0 8px; padding-bottom: 4px; border-bottom: 1px solid var(--rule); }
h3 { font-size: 15px; margin: 20px 0 4px; overflow-wrap: anywhere; }
p { margin: 4px 0 8px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 20px; margin: 0; }
dt, .faint, footer { color: var(--faint); }
dd { margin: 0; }
footer { margin-top: 40px; font-size: 13px; }
code, pre { font: 13px/1.45 ui-monospace, 'SF Mono', Menlo, 'DejaVu Sans Mono', monospace; }
code { overflow-wrap: anywhere; }
pre { margin: 4px 0 12px; padding: 8px 12px; background: var(--box); border: 1px solid var(--rule); overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--faint); font-weight: 600; }
th, td { padding: 4px 16px 4px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
td, th { min-width: 5em; }
td:last-child { min-width: 12em; }
td:has(code) { min-width: 14em; }
.wide { overflow-x: auto; }
.wide svg { display: block; max-width: 100%; height: auto; }
.drawing svg { min-width: 760px; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  h2, h3 { break-after: avoid; }
  tr, .wide svg { break-inside: avoid; }
  thead { display: table-header-group; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .wide { overflow: visible; }
  .wide svg { min-width: 0 !important; }
}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{mark} {version}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
