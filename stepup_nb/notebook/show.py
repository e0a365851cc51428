"""Tables and blocks of text for what a magic was asked: pools, status, why, logs, history.

Pure functions of the plain dictionaries of SPEC part 8. A `Page` can be shown as text and as html: a table
that is wider than a notebook's column is unreadable as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlsplit

from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, record

Row = Mapping[str, Any]

MOST_STEPS = 400
"""Rows of steps in a status."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; columns without any text are left out."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    widest: int = 80
    """Columns of a cell's text, at most."""
    code: Sequence[str] = ("step",)
    """Columns that hold names and commands, by their heads."""

    def _cells(self) -> list[list[str]]:
        cells = [[ansi.one_line(cell, self.widest) for cell in row] for row in self.rows]
        columns = [i for i in range(len(self.head)) if not cells or any(row[i] for row in cells)]
        return [[row[i] for i in columns] for row in (list(self.head), *cells)]

    def text(self) -> str:
        """Return it in columns of a monospaced font."""
        lines = self._cells()
        widths = [max(map(ansi.width, column)) for column in zip(*lines, strict=True)]
        shown = [[_filled(cell, width) for cell, width in zip(line, widths, strict=True)] for line in lines]
        return "\n".join("  ".join(line).rstrip() for line in shown)

    def html(self) -> str:
        """Return it as an html table."""
        head, *rows = self._cells()
        cells = "".join(f'<th style="{_CELL};font-weight:600">{escape(cell)}</th>' for cell in head)
        parts = [f"<thead><tr>{cells}</tr></thead>"] if any(head) else []
        for row in rows:
            cells = "".join(
                _html_cell(cell, is_code=name in self.code) for name, cell in zip(head, row, strict=True)
            )
            parts.append(f"<tr>{cells}</tr>")
        return f'<table style="{_TABLE}">{"".join(parts)}</table>'


Page = Sequence[str | Table]
"""Paragraphs and tables, from top to bottom."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, widest: int = 80) -> str:
    """Return rows under a head as text."""
    return Table(head, list(rows), widest).text()


def text(page: Page) -> str:
    """Return a page as text."""
    return "\n\n".join(part if isinstance(part, str) else part.text() for part in page)


def html(page: Page) -> str:
    """Return a page as html that needs no style sheet."""
    parts = [f"<div>{escape(part)}</div>" if isinstance(part, str) else part.html() for part in page]
    return f'<div style="{_PAGE}">{"".join(parts)}</div>'


_PAGE = (
    "font-family:var(--jp-ui-font-family,system-ui,-apple-system,'Segoe UI',sans-serif);font-size:13px;"
    "line-height:1.5;font-variant-numeric:tabular-nums"
)
_TABLE = "border-collapse:collapse;margin:4px 0 8px 0;table-layout:auto"
_CELL = "text-align:left;vertical-align:top;padding:2px 14px 2px 0;border:0;border-bottom:1px solid #8883"
_WHOLE = 16
"""Columns up to which a name is never broken."""
_CODE = "background:none;padding:0;font-size:13px;white-space:pre-wrap;overflow-wrap:anywhere"


def _filled(cell: str, width: int) -> str:
    return cell + " " * (width - ansi.width(cell))


def _html_cell(cell: str, *, is_code: bool) -> str:
    if is_code:
        # Also in a narrow page a name stays whole, and what is longer does not become a column of letters.
        style = f"{_CODE};display:inline-block;min-width:{min(ansi.width(cell), _WHOLE)}ch"
        return f'<td style="{_CELL}"><code style="{style}">{escape(cell)}</code></td>'
    # Words stay whole: a sentence may be broken between them, a number and its unit may not.
    wrap = "normal" if len(cell) > 16 else "nowrap"
    return f'<td style="{_CELL};white-space:{wrap};overflow-wrap:break-word">{escape(cell)}</td>'


# --- pools ----------------------------------------------------------------------------------------


def pools(rows: Sequence[Row]) -> str:
    """Return the table of the pools as text."""
    return text(pools_page(rows))


def pools_page(rows: Sequence[Row]) -> Page:
    """Return the table of the pools."""
    if not rows:
        return ["No pools. '%pool test 2' makes one with two slots."]
    return [
        Table(
            ("pool", "slots", "in use", "waiting", "remarks"),
            [
                (row["name"], _size(row["size"]), str(row["used"]), str(row["waiting"]), _remarks(row))
                for row in rows
            ],
        )
    ]


def pool_words(row: Row) -> str:
    """Say in one line how full a pool is."""
    waiting = f"{row['waiting']} waiting"
    if row["size"] == 0:
        return f"pool {row['name']}: closed, {waiting}"
    if row["size"] is None:
        return f"pool {row['name']}: {counted(row['used'], 'slot')} in use, no limit, {waiting}"
    machines = len(row.get("machines", ()))
    if machines > 1:
        slots = counted(row["size"] * machines, "slot")
        return f"pool {row['name']}: {row['used']} of {slots} in use on {machines} machines, {waiting}"
    each = " on each machine" if row.get("per_machine") else ""
    return f"pool {row['name']}: {row['used']} of {counted(row['size'], 'slot')}{each} in use, {waiting}"


def pool_short(row: Row) -> str:
    """Say in a few words how full a pool is: "test 2/2"."""
    if row["size"] == 0 and not row["used"]:
        return f"{row['name']} closed"
    machines = max(1, len(row.get("machines", ())))
    return f"{row['name']} {row['used']}/{'∞' if row['size'] is None else row['size'] * machines}"


def pool_size(row: Row) -> str:
    """Say how many slots a pool has: "2 slots"."""
    size = row["size"]
    words = "no limit" if size is None else "closed" if size == 0 else counted(size, "slot")
    return f"{words} on each machine" if size and row.get("per_machine") else words


def _size(size: int | None) -> str:
    return "no limit" if size is None else "closed" if size == 0 else str(size)


def _remarks(row: Row) -> str:
    remarks = []
    if row.get("paused"):
        remarks.append("paused")
    if row.get("per_machine"):
        held = [f"{machine or 'this one'}: {used}" for machine, used in row["machines"] if used]
        remarks.append(f"on each machine ({', '.join(held)})" if held else "on each machine")
    elif row["size"] is not None and row["used"] > row["size"]:
        remarks.append(f"{row['used'] - row['size']} more than it has now: nothing starts until it fits")
    if row.get("reserved"):
        remarks.append(f"reserved for {row['reserved']}")
    if row["tokens"]:
        remarks.append(f"tokens {', '.join(row['tokens'])}")
    return "; ".join(remarks)


# --- steps ----------------------------------------------------------------------------------------


def counts(numbers: Mapping[str, int]) -> str:
    """Say how many steps are in each state."""
    order = ("RUNNING", "QUEUED", "CHECKING", "PENDING", "SUCCEEDED", "FAILED", "CANCELLED")
    return (
        ", ".join(f"{numbers[state]} {state.lower()}" for state in order if numbers.get(state)) or "no steps"
    )


def status_page(found: Row) -> Page:
    """Return the whole status."""
    live = [row for row in found["steps"] if not row["dormant"]]
    dormant = len(found["steps"]) - len(live)
    head = [counts(found["counts"]), counted(found["workers"], "worker")]
    head += ["paused"] if found["paused"] else []
    head += ["draining: nothing new starts until '%stepup run'"] if found.get("draining") else []
    page: list[str | Table] = ["; ".join(head)]
    if found["pools"]:
        page += pools_page(found["pools"])
    if live:
        page.append(
            Table(
                ("state", "step", "pool", "time", "why"),
                [step_cells(row) for row in live[:MOST_STEPS]],
            )
        )
    if len(live) > MOST_STEPS:
        page.append(f"{counted(len(live) - MOST_STEPS, 'more step')}; stepup_nb.status() has all.")
    if dormant:
        page.append(f"{counted(dormant, 'step')} known from the database and not declared in this session.")
    return page


def step_cells(row: Row) -> tuple[str, str, str, str, str]:
    """Return a step's state, label, pools, time and reason."""
    return (
        "SKIP" if row["skipped"] and row["state"] == "SUCCEEDED" else str(row["state"]),
        str(row["label"]),
        ", ".join(f"{name}:{slots}" if slots > 1 else name for name, slots in row["pool"].items()),
        record.duration(row["duration"]) if row["duration"] is not None else "",
        _reason(row),
    )


def _reason(row: Row) -> str:
    """Say why a step is where it is, of what is over in the past tense; a first run goes without saying."""
    reason = str(row["reason"])
    if row["state"] not in ("RUNNING", "SUCCEEDED"):
        return reason
    if reason in ("", "never ran", "up to date"):
        return ""
    return f"{'runs' if row['state'] == 'RUNNING' else 'ran'} because {reason}"


def why(found: Row) -> str:
    """Say why a step ran, runs or waits."""
    lines = [f"{ansi.one_line(found['label'], 80)}: {found['state']}"]
    if found["dormant"]:
        lines.append("is known from the database, and not declared in this session")
    state, reason, last = found["state"], found["reason"], found["last"]
    if state == "SUCCEEDED" and reason == "up to date":
        lines.append("up to date: all that was declared is as it was when it ran")
    elif state in ("RUNNING", "SUCCEEDED"):
        lines.append(_cause("runs" if state == "RUNNING" else "ran", reason))
    else:
        lines.append(reason)
        if state in ("PENDING", "CHECKING", "QUEUED") and found["outdated"]:
            lines.append(_cause("is to run", "; ".join(found["outdated"])))
    if found["root"]:
        lines.append(f"in the end: {found['root']}")
    if last and last != reason and state != "RUNNING":
        lines.append(_cause("its last job ran", last))
    return "\n  ".join(ansi.one_line(line, 200) for line in dict.fromkeys(lines) if line)


def _cause(what: str, reason: str) -> str:
    return f"{what} because {'it never ran before' if reason == 'never ran' else reason}"


def log(row: Row, stream: str, text: str, *, most: int) -> str:
    """Return one stream of a step's last job, or the end of a long one, under a line that says so."""
    head = f"── {stream} of {ansi.one_line(row['label'], 80)}"
    if len(text) > most:
        # From the beginning of a line, if there is one.
        start = text.find("\n", len(text) - most) + 1 or len(text) - most
        where = f"; all of it is in {ansi.one_line(row['log'], 200)}" if row.get("log") else ""
        head += f" (the first {record.size(len(text[:start].encode()))} are not shown{where})"
        text = text[start:]
    return f"{head}\n{ansi.to_text(text.rstrip())}"


# --- jobs -----------------------------------------------------------------------------------------


def history_page(rows: Sequence[Row], *, most: int = 40) -> Page:
    """Return the last jobs as a table."""
    if not rows:
        return ["No job ran yet."]
    shown = rows[-most:]
    start = shown[0]["started"]
    table = Table(
        ("job", "outcome", "start", "time", "memory", "pool", "step"),
        [
            (
                str(row["job"]),
                row["outcome"] or "running",
                f"+{record.duration(max(0.0, row['started'] - start))}",
                record.duration(row["ended"] - row["started"]) if row["ended"] is not None else "",
                record.size(row["peak_rss"]) if row["peak_rss"] else "",
                ", ".join(f"{name} {','.join(map(str, numbers))}" for name, numbers in row["slots"].items()),
                row["step"],
            )
            for row in shown
        ],
        widest=60,
    )
    hidden = len(rows) - len(shown)
    return [table, f"{counted(hidden, 'earlier job')}; stepup_nb.history() has all."] if hidden else [table]


def executor(where: Row, hub: str = "") -> str:
    """Return in words where steps run.

    Parameters
    ----------
    where
        ``kind``, ``address`` and ``dashboard``; ``threads`` is None when the cluster is gone.
    hub
        See `dashboard`.
    """
    if where["kind"] == "local":
        return "steps run on this machine"
    if where.get("threads", 0) is None:
        return f"the Dask cluster at {where['address']} is gone: '%stepup executor local' goes on here"
    words = f"steps run on the Dask cluster at {where['address']}"
    address = dashboard(where, hub)
    return f"{words}; its dashboard: {address}" if address else words


def dashboard(where: Row, hub: str = "") -> str:
    """Return the address of a cluster's dashboard as a browser finds it; empty where there is none, or none on the web.

    Parameters
    ----------
    where
        See `executor`.
    hub
        ``JUPYTERHUB_SERVICE_PREFIX``: behind a hub only Jupyter's own port can be reached, and others through it.
    """
    address, proxy = where["dashboard"] or "", f"{hub.rstrip('/')}/proxy/"
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    # Dask may have been told of the hub: 'distributed.dashboard.link' in its configuration.
    is_through_hub = bool(hub) and parts.path.startswith(proxy)
    is_on_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    is_path_of_hub = is_through_hub and not parts.scheme and not parts.netloc
    if not address.isprintable() or not (is_on_web or is_path_of_hub):
        return ""
    return address if is_through_hub or not hub else f"{proxy}{port}{parts.path}"
