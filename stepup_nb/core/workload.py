"""What is known of steps before they run: how long each takes, what it waits for, what it asks of pools.

Recorded durations come from a director, others from whoever plays; what nobody knows is guessed, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from stepup_nb.core.declare import pool_requests, seconds, whole_number
from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import PoolRequest
from stepup_nb.core.words import did_you_mean

GUESS = 1.0
"""Seconds that a step is taken to last where no duration of any step is known."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is known of a step."""

    name: str
    duration: float
    """Seconds from the start to the end of its command."""
    estimate: float
    """What the scheduler believes of that, and orders by."""
    inp: tuple[str, ...] = ()
    out: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    pool: tuple[PoolRequest, ...] = ()
    priority: int = 0
    block: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """Steps in order of declaration."""

    steps: tuple[Work, ...]
    guessed: int = 0
    """How many of the durations are guessed."""
    guess: float = GUESS
    """What they are taken to be: the median of the others, if there are any."""

    def asking(self, pool: str) -> list[tuple[Work, int]]:
        """Return the steps that ask for a pool, with the number of slots."""
        return [(step, slots) for step in self.steps for name, slots in step.pool if name == pool]

    @property
    def pools(self) -> list[str]:
        """The pools that steps ask for, in order of first mention."""
        return list(dict.fromkeys(name for step in self.steps for name, _ in step.pool))


_KEYS = ("name", "duration", "inp", "out", "after", "pool", "priority", "estimate", "block", "creator")


def read(rows: Iterable[Row]) -> Workload:
    """Return the steps that these rows describe.

    Parameters
    ----------
    rows
        ``name``, ``duration`` (seconds; None or left out: it is guessed), ``inp``, ``out`` and ``after`` (a text or
        several), ``pool`` (as in `runsh`), ``priority``. A director also gives ``estimate``, ``block``, and as
        ``creator`` the step that declares it: that is one more to come after.

    Raises
    ------
    UsageError
        SNB-150 for anything else than such rows; SNB-110, SNB-112, SNB-113 for a value that makes no sense.
    """
    given = list(rows)
    for row in given:
        if not isinstance(row, Mapping):
            raise _no_step(f"{row!r:.60} is no dictionary")
        for key in row:
            if key not in _KEYS:
                raise _no_step(f"a step has no {key!r:.60}{did_you_mean(str(key), _KEYS)}")
    durations = [_seconds(row.get("duration")) for row in given]
    known = [duration for duration in durations if duration is not None]
    guess = median(known) if known else GUESS
    creators = _creators(given)
    steps: dict[str, Work] = {}
    for number, (row, duration) in enumerate(zip(given, durations, strict=True), start=1):
        name = row.get("name", f"step {number}")
        if not isinstance(name, str) or not name.strip():
            raise _no_step(f"{name!r:.60} is no name")
        if name in steps:
            raise _no_step(f"two steps have the name {name!r:.60}")
        takes = guess if duration is None else duration
        estimate = _seconds(row.get("estimate"))
        creator = creators.get(name)
        steps[name] = Work(
            name=name,
            duration=takes,
            estimate=takes if estimate is None else estimate,
            inp=_texts(row, "inp"),
            out=_texts(row, "out"),
            after=(*_texts(row, "after"), *([] if creator is None else [creator])),
            pool=pool_requests(row.get("pool")),
            priority=whole_number(row.get("priority", 0), "priority"),
            block=bool(row.get("block")),
        )
    return Workload(tuple(steps.values()), len(given) - len(known), guess)


def _no_step(why: str) -> UsageError:
    return UsageError(
        "SNB-150",
        "That is no description of steps.",
        why,
        "give dictionaries, as in simulate(steps=[{'name': 'a', 'duration': 2.0, 'out': 'a.txt', 'pool': 'test'}])",
    )


def _seconds(value: object) -> float | None:
    return None if value is None else seconds(value, "duration")


def _texts(row: Row, key: str) -> tuple[str, ...]:
    value = row.get(key) or ()
    texts = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for text in texts:
        if not isinstance(text, str):
            raise _no_step(f"{text!r:.60} in '{key}' is no text")
    return tuple(dict.fromkeys(texts) if key == "after" else sorted(set(texts)))


def _creators(rows: Iterable[Row]) -> dict[str, str]:
    """Return who declares a step, of those that may wait for it.

    A plan may read what its own steps make: in such a circle nobody waits for who declared it.
    """
    creators = {row["name"]: row["creator"] for row in rows if row.get("creator")}
    if not creators:
        return {}
    makers = {path: row["name"] for row in rows for path in _texts(row, "out")}
    waits: dict[str, set[str]] = {}
    for row in rows:
        suppliers = {makers[path] for path in _texts(row, "inp") if path in makers}
        waits[row["name"]] = suppliers.union(_texts(row, "after"), [row.get("creator") or ""])
    behind: dict[str, list[str]] = {}
    for name, suppliers in waits.items():
        suppliers.intersection_update(waits)
        for supplier in suppliers:
            behind.setdefault(supplier, []).append(name)
    ready = [name for name, suppliers in waits.items() if not suppliers]
    while ready:
        done = ready.pop()
        for name in behind.get(done, ()):
            waits[name].discard(done)
            if not waits[name]:
                ready.append(name)
    return {name: creator for name, creator in creators.items() if creator in waits and not waits[name]}


def handover(rows: Iterable[Row]) -> float | None:
    """Return the seconds that usually pass from the end of a command to the start of one that waited for its place.

    The median over those jobs of a history that were queued when the last of those ended who had their worker or their
    slots; None where there is no such job. That is what machine and director need to look at outputs, to write the
    result down, to look at the inputs of the next step, and to start it.
    """
    freed: dict[object, float] = {}
    gaps = []
    for row in sorted(rows, key=lambda row: float(row["started"])):
        slots = ((pool, slot) for pool, numbers in row["slots"].items() for slot in numbers)
        places: list[object] = [row["worker"], *slots]
        free = max((freed[place] for place in places if place in freed), default=None)
        if free is not None and row["queued"] <= free <= row["started"]:
            gaps.append(row["started"] - free)
        ended: float | None = row["ended"]
        if ended is not None:
            freed.update(dict.fromkeys(places, ended))
    return median(gaps) if gaps else None
