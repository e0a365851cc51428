"""What a wait that did not end well says: which steps failed, what is stuck, and where to look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from stepup_nb.core.words import counted, ending, visible

Error = TypeVar("Error", bound=BaseException)

TAIL = 12
"""Lines of a failing step's output that are shown."""
SHOWN = 5
"""Failing steps that are shown in full."""
WIDEST = 300
"""Characters of a line of output that are shown."""

# A terminal's commands: an error is shown by whoever catches it.
_COMMANDS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")


def without_traceback(error: Error) -> Error:
    """Have IPython show an error, which is the user's own wish, by its text alone."""
    vars(error)["_render_traceback_"] = lambda: [f"{type(error).__name__}: {error}"]
    return error


def timeout(report: Mapping[str, Any]) -> TimeoutError:
    """Return the error for a wait whose time was over."""
    counts = report.get("counts", {})
    going = [
        f"{counts[s]} {s.lower()}" for s in ("RUNNING", "QUEUED", "CHECKING", "PENDING") if counts.get(s)
    ]
    return without_traceback(
        TimeoutError(f"the time is over, the steps go on: {', '.join(going) or 'none'} (SNB-602)")
    )


def text(report: Mapping[str, Any]) -> str:
    """Return the block: command, exit code or signal in words, end of stderr, cell, log; then root causes."""
    parts = []
    for row in report["failed"][:SHOWN]:
        parts.append("\n".join(_failed(row)))
    more = len(report["failed"]) - SHOWN
    if more > 0:
        parts.append(f"… and {counted(more, 'more step')}; '%stepup status' lists them")
    for row in report["stuck"][:SHOWN]:
        parts.append("\n".join(_stuck(row)))
    more = len(report["stuck"]) - SHOWN
    if more > 0:
        parts.append(f"… and {counted(more, 'more reason')}; '%stepup status' lists them")
    return "\n".join(parts)


def _failed(row: Mapping[str, Any]) -> list[str]:
    words = str(row["reason"])
    code = row["returncode"]
    if row["state"] == "FAILED" and code not in (None, 0) and ending(code) not in words:
        words = f"{words} ({ending(code)})"
    lines = [_safe(f"{row['label']}: {row['state'].lower()}, {words}")]
    if row["cell"]:
        lines.append(_safe(f"    declared in {row['cell']}"))
    # Whoever was cancelled has nothing to explain.
    stream = "" if row["state"] != "FAILED" else "stderr" if row.get("stderr_tail", "").strip() else "stdout"
    tail = row.get(f"{stream}_tail", "").rstrip().split("\n") if stream else []
    shown = [line for line in tail[-TAIL:] if len(tail) > 1 or line]
    if len(tail) > TAIL:
        lines.append(f"    | … {counted(len(tail) - TAIL, 'earlier line')}")
    lines += [f"    | {_safe(line)}" for line in shown]
    if row["state"] == "FAILED" and row.get("log"):
        lines.append(f"    log: {_safe(_path(row['log'], stream))}")
    return lines


def _path(log: str, stream: str) -> str:
    # The row names the log of the standard output; that of the standard error lies beside it.
    return log.removesuffix(".out") + ".err" if stream == "stderr" and log.endswith(".out") else log


def _stuck(row: Mapping[str, Any]) -> list[str]:
    number, steps = row["number"], row["steps"][:3]
    names = ", ".join(_safe(label) for label in steps) + (", …" if number > len(steps) else "")
    return [f"{counted(number, 'step')} cannot run: {_safe(row['cause'])}", f"    {names}"]


def _safe(line: str) -> str:
    """Return a line as text that commands nothing: what a terminal would have left of it."""
    plain = _COMMANDS.sub("", line.rstrip("\r"))
    plain = visible(plain.rpartition("\r")[2])
    return plain if len(plain) <= WIDEST else f"{plain[: WIDEST - 1]}…"
