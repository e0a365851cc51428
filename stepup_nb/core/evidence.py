"""What the history proves: how many slots were held at once, which jobs met, in which order steps ran.

Pure functions of rows of ``history`` (SPEC part 8), and the sentences that say what they found: exercises are
checked by them. Knows no session, and nothing of who asks.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stepup_nb.core.words import counted, one_line

Row = dict[str, Any]

NAMED = 8
"""Steps that a sentence names at most."""
_FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment at which most slots of a pool were held: the first, where there are several."""

    slots: int
    at: float
    """Seconds since the epoch; 0 where none was ever held."""
    rows: tuple[Row, ...]
    """The jobs that held them then, in the order in which they began."""


def of_pool(rows: Iterable[Row], pool: str) -> list[Row]:
    """Return the jobs that held slots of a pool."""
    return [row for row in rows if row["pool"].get(pool)]


def began_since(rows: Sequence[Row], since: float) -> list[Row]:
    """Return the jobs that began at a moment or later."""
    return [row for row in rows if row["started"] >= since]


def last_of_each(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the last job of each step, by its name."""
    return {row["step"]: row for row in rows}


def end(row: Row) -> float:
    """Return when a job ended; what still runs, never."""
    return _FOR_EVER if row["ended"] is None else float(row["ended"])


def peak(rows: Iterable[Row], pool: str) -> Peak:
    """Return the greatest number of slots that were held at one moment.

    One that ends when another begins has made room for it: they never met.
    """
    held: list[tuple[float, int, Row]] = []
    most = Peak(0, 0.0, ())
    number = 0
    for row in sorted(of_pool(rows, pool), key=lambda row: row["started"]):
        while held and held[0][0] <= row["started"]:
            number -= heapq.heappop(held)[2]["pool"][pool]
        heapq.heappush(held, (end(row), row["job"], row))
        number += row["pool"][pool]
        if number > most.slots:
            at_once = sorted((one for *_, one in held), key=lambda one: (one["started"], one["job"]))
            most = Peak(number, row["started"], tuple(at_once))
    return most


def peak_of_one_machine(rows: Iterable[Row], pool: str) -> Peak:
    """Return the greatest number of slots that were held at one moment on any one machine."""
    machines: dict[str, list[Row]] = {}
    for row in rows:
        machines.setdefault(_host(row["machine"]), []).append(row)
    peaks = (peak(some, pool) for some in machines.values())
    return max(peaks, key=lambda found: found.slots, default=Peak(0, 0.0, ()))


def _host(address: str) -> str:
    """Return the host of a worker's address.

    >>> _host("tls://10.0.0.7:4711"), _host("tcp://[::1]:4711"), _host("")
    ('10.0.0.7', '[::1]', '')
    """
    return address.rpartition("//")[2].rpartition(":")[0]


def meeting(rows: Iterable[Row]) -> tuple[Row, Row] | None:
    """Return two jobs that ran at the same moment, the earlier one first; the first such pair, or None."""
    going: list[tuple[float, int, Row]] = []
    for row in sorted(rows, key=lambda row: (row["started"], row["job"])):
        while going and going[0][0] <= row["started"]:
            heapq.heappop(going)
        if going:
            return min(going, key=lambda one: (one[2]["started"], one[1]))[2], row
        heapq.heappush(going, (end(row), row["job"], row))
    return None


def disorder(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """Return the first two neighbours of which the second began before the first had ended, or None."""
    return next(((a, b) for a, b in pairwise(rows) if b["started"] < end(a)), None)


# --- in words -----------------------------------------------------------------------------------------


def names(steps: Iterable[str]) -> str:
    """Return names in a row: "a, b and c", and how many more there are.

    >>> names(["a"]), names("abc")
    ('a', 'a, b and c')
    """
    found = [one_line(step) for step in steps]
    if len(found) > NAMED:
        return f"{', '.join(found[:NAMED])} and {len(found) - NAMED} more"
    return " and ".join([*([", ".join(found[:-1])] if found[:-1] else []), *found[-1:]])


def seconds(span: float) -> str:
    """Return a span of time with a hundredth of a second; what has no end has a word."""
    return "now" if span == _FOR_EVER else f"{span:.2f} s"


def zero(rows: Iterable[Row]) -> float:
    """Return the moment from which the sentences about some jobs count: the start of the first."""
    return min((row["started"] for row in rows), default=0.0)


def counting(rows: Sequence[Row]) -> str:
    """Say from when times are counted."""
    return f"0 s is when the first of these {counted(len(rows), 'job')} began"


def held_words(found: Peak, pool: str, start: float) -> str:
    """Say who held how many slots, and when."""
    if not found.slots:
        return f"no slot of '{pool}' was held"
    verb = "was" if found.slots == 1 else "were"
    who = [
        row["step"] if row["pool"][pool] == 1 else f"{one_line(row['step'])} ({row['pool'][pool]})"
        for row in found.rows
    ]
    return f"{counted(found.slots, 'slot')} of '{pool}' {verb} held at {seconds(found.at - start)} by {names(who)}"


def ran_words(row: Row, start: float) -> str:
    """Say from when to when a job ran."""
    until = "and still runs" if row["ended"] is None else f"to {seconds(end(row) - start)}"
    return f"{one_line(row['step'])} ran from {seconds(row['started'] - start)} {until}"


def together_words(first: Row, second: Row, start: float) -> str:
    """Say when two jobs ran at the same time."""
    until = min(end(first), end(second))
    span = f"from {seconds(second['started'] - start)} to {seconds(until - start if until < _FOR_EVER else until)}"
    return f"{one_line(first['step'])} and {one_line(second['step'])} ran together {span}"
