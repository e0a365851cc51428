"""What a wait that did not end well says: which steps failed, what is stuck, and where to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepup_nb.core.words import counted, ending

TAIL = 12
"""Lines of a failing step's output that are shown."""
SHOWN = 5
"""Failing steps that are shown in full."""


def text(report: Mapping[str, Any]) -> str:
    """Return the block: command, exit code or signal in words, tail of stderr, cell, log; then root causes.

    Everything of the user's and his steps' is passed on as it is: who shows it makes it safe.
    """
    parts = []
    for row in report["failed"][:SHOWN]:
        parts.append("\n".join(_failed(row)))
    more = len(report["failed"]) - SHOWN
    if more > 0:
        parts.append(f"… and {counted(more, 'more step')} failed; '%stepup status' lists them")
    for row in report["stuck"][:SHOWN]:
        number = row["number"]
        parts.append(
            f"{counted(number, 'step')} cannot run: {row['cause']}\n    {', '.join(row['steps'][:3])}"
            f"{', …' if number > 3 else ''}"
        )
    return "\n".join(parts)


def _failed(row: Mapping[str, Any]) -> list[str]:
    words = row["reason"]
    if (
        row["state"] == "FAILED"
        and row["returncode"] not in (None, 0)
        and ending(row["returncode"]) not in words
    ):
        words = f"{words} ({ending(row['returncode'])})"
    lines = [f"{row['label']}: {row['state'].lower()}, {words}"]
    if row["cell"]:
        lines.append(f"    declared in {row['cell']}")
    tail = (row.get("stderr_tail") or row.get("stdout_tail") or "").rstrip().splitlines()
    lines += [f"    | {line}" for line in tail[-TAIL:]]
    if len(tail) > TAIL:
        lines.append(f"    | ({len(tail) - TAIL} earlier lines)")
    if row.get("log"):
        lines.append(f"    log: {row['log']}")
    return lines
