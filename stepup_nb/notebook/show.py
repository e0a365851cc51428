"""Tables and blocks of text for what a magic was asked: pools, status, why, history, failures.

Pure functions of the plain dictionaries of SPEC part 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, record

Row = Mapping[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, widest: int = 80) -> str:
    """Return rows in columns; the last column takes what it needs."""
    lines = [list(head), *([ansi.one_line(cell, widest) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def pools(rows: Sequence[Row]) -> str:
    """Return the table of the pools."""
    if not rows:
        return "No pools. '%pool test 2' makes one with two slots."
    return table(
        ("pool", "slots", "in use", "waiting", "remarks"),
        (
            (row["name"], _size(row["size"]), str(row["used"]), str(row["waiting"]), _remarks(row))
            for row in rows
        ),
    )


def pool_words(row: Row) -> str:
    """Say in one line how full a pool is."""
    waiting = f"{row['waiting']} waiting"
    if row["size"] == 0:
        return f"pool {row['name']}: closed, {waiting}"
    if row["size"] is None:
        return f"pool {row['name']}: {counted(row['used'], 'slot')} in use, no limit, {waiting}"
    return f"pool {row['name']}: {row['used']} of {counted(row['size'], 'slot')} in use, {waiting}"


def _size(size: int | None) -> str:
    return "no limit" if size is None else "closed" if size == 0 else str(size)


def _remarks(row: Row) -> str:
    remarks = []
    if row.get("paused"):
        remarks.append("paused")
    if row["size"] is not None and row["used"] > row["size"]:
        remarks.append(f"{row['used'] - row['size']} more than it has now: nothing starts until it fits")
    if row.get("reserved"):
        remarks.append(f"reserved for {row['reserved']}")
    if row["tokens"]:
        remarks.append(f"tokens {', '.join(row['tokens'])}")
    return "; ".join(remarks)


def counts(numbers: Mapping[str, int]) -> str:
    """Say how many steps are in each state."""
    order = ("RUNNING", "QUEUED", "CHECKING", "PENDING", "SUCCEEDED", "FAILED", "CANCELLED")
    return (
        ", ".join(f"{numbers[state]} {state.lower()}" for state in order if numbers.get(state)) or "no steps"
    )


def status(found: Row) -> str:
    """Return the whole status as text."""
    live = [row for row in found["steps"] if not row["dormant"]]
    dormant = len(found["steps"]) - len(live)
    head = f"{counts(found['counts'])}; {counted(found['workers'], 'worker')}"
    if found["paused"]:
        head += "; paused"
    parts = [head]
    if found["pools"]:
        parts.append(pools(found["pools"]))
    if live:
        parts.append(
            table(
                ("state", "step", "pool", "time", "reason"),
                (
                    (
                        "SKIP" if row["skipped"] and row["state"] == "SUCCEEDED" else row["state"],
                        row["label"],
                        ", ".join(f"{name}:{n}" if n > 1 else name for name, n in row["pool"].items()),
                        record.duration(row["duration"]) if row["duration"] is not None else "",
                        row["reason"],
                    )
                    for row in live
                ),
                widest=60,
            )
        )
    if dormant:
        parts.append(f"{counted(dormant, 'step')} known from the database and not declared in this session.")
    return "\n\n".join(parts)


def why(found: Row) -> str:
    """Say why a step ran, runs or waits."""
    lines = [f"{ansi.one_line(found['label'], 80)}: {found['state']}"]
    if found["dormant"]:
        lines.append("  is known from the database, and not declared in this session")
    said = [*found["outdated"]] if found["state"] not in ("SUCCEEDED", "PENDING") else []
    for words in dict.fromkeys(
        [*said, found["reason"], *([f"in the end: {found['root']}"] if found["root"] else [])]
    ):
        if words:
            lines.append(f"  {ansi.one_line(words, 200)}")
    if found["last"] and found["last"] not in found["reason"]:
        lines.append(f"  its last job ran because: {ansi.one_line(found['last'], 200)}")
    return "\n".join(lines)


def history(rows: Sequence[Row], *, most: int = 40) -> str:
    """Return the last jobs as a table."""
    if not rows:
        return "No job ran yet."
    shown = rows[-most:]
    start = shown[0]["started"]
    text = table(
        ("job", "outcome", "start", "time", "memory", "pool", "step"),
        (
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
        ),
        widest=60,
    )
    hidden = len(rows) - len(shown)
    return text + (f"\n\n{hidden} earlier jobs are not shown; stepup_nb.history() has all." if hidden else "")
