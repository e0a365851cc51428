"""What would another size change? Every combination of sizes is simulated, and what follows is said in words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from stepup_nb.core import bounds, workload
from stepup_nb.core.errors import UsageError
from stepup_nb.core.simulate import Prediction, World
from stepup_nb.core.words import counted, did_you_mean, one_line
from stepup_nb.core.workload import Workload

MOST_SIZES = 64
"""Sizes of one range."""
MOST_JOBS = 1_000_000
"""Steps times combinations of sizes: a minute or two."""
KEPT_JOBS = 200_000
"""Jobs that are kept until all has been simulated; of more, only those of the run that is drawn."""
GAIN = 0.01
"""A part of the time that is not worth another slot."""
HANDOVER = 0.002
"""Seconds from the end of a command to the start of the next one, where the history has no such pair."""

Size = int | None
Sizes = tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a session: steps, sizes of the pools that are defined, workers."""

    workload: Workload
    pools: Mapping[str, Size]
    workers: int | None
    handover: float = 0.0

    @staticmethod
    def of(answer: Mapping[str, Any]) -> Known:
        """Return what a director has answered (`view.workload`)."""
        gap = answer["handover"]
        steps = workload.read(answer["steps"])
        return Known(steps, answer["pools"], answer["workers"], HANDOVER if gap is None else gap)


@dataclass(frozen=True, slots=True)
class Axis:
    """What has several sizes."""

    pool: str | None
    """A pool; None: the workers."""
    sizes: Sizes

    @property
    def name(self) -> str:
        """What it is: "workers", or the pool's name."""
        return bounds.WORKERS if self.pool is None else self.pool

    def size(self, run: Prediction) -> Size:
        """Return the size in a run."""
        return run.workers if self.pool is None else run.pools[self.pool]

    def words(self, size: Size) -> str:
        """Say a size: "4 slots"."""
        if size is None:
            return "no limit"
        return counted(size, "worker" if self.pool is None else "slot")


@dataclass(frozen=True, slots=True)
class Sweep:
    """All that was asked for."""

    axes: tuple[Axis, ...]
    """What has several sizes: nothing, one, or two."""
    runs: tuple[Prediction, ...]
    """A run for each combination, the sizes of the last axis changing fastest."""
    now: Prediction
    """With the sizes that are in force."""

    @property
    def best(self) -> Prediction:
        """The run with the smallest sizes of those that hardly take longer than the shortest."""
        least = min(run.makespan for run in self.runs)
        good = [run for run in self.runs if run.makespan <= least * (1.0 + GAIN)]
        return min(good, key=lambda run: sum(_number(axis.size(run)) for axis in self.axes))

    def speedup(self, run: Prediction) -> float:
        """Return how many times faster a run is than the first one."""
        return self.runs[0].makespan / run.makespan if run.makespan else 1.0

    def name(self, run: Prediction) -> str:
        """Say with which sizes a run is: "4 slots of test, 2 workers"."""
        parts = [
            f"{axis.words(axis.size(run))}{'' if axis.pool is None else f' of {axis.pool}'}"
            for axis in self.axes
        ]
        return " and ".join(parts)

    def words(self) -> list[str]:
        """Say what follows, in sentences."""
        best = self.best
        load = best.workload
        said = [_sentence(self._bottleneck())]
        if self.axes and best is not self.runs[-1] and self.runs[-1].makespan <= best.makespan * (1.0 + GAIN):
            said.append(f"More than {self.name(best)} would gain less than {bounds.percent(GAIN)}.")
        if load.guessed:
            said.append(
                f"Of {counted(len(load.steps), 'step')}, the durations of {load.guessed} are guessed:"
                f" {load.guess:.3g} s each, the median of the others."
                if load.guessed < len(load.steps)
                else f"No duration is known: every step is taken to last {load.guess:g} s."
            )
        for row in best.stuck:
            some = ", ".join(f"'{label}'" for label in row["steps"])
            more = ", …" if row["number"] > len(row["steps"]) else ""
            said.append(f"Not run: {counted(row['number'], 'step')} ({some}{more}): {row['cause']}.")
        return said

    def _bottleneck(self) -> str:
        if not self.axes:
            return self.runs[0].bottleneck
        if len(self.axes) > 1:
            best = self.best
            return f"with {self.name(best)}, {best.bottleneck}"
        (axis,) = self.axes
        limits = [run.limit for run in self.runs]
        return bounds.where_words(limits, [axis.words(size) for size in axis.sizes], self.runs[0].path)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        load = self.now.workload
        return {
            "steps": len(load.steps),
            "guessed": load.guessed,
            "now": _row(self, self.now),
            "runs": [_row(self, run) for run in self.runs],
            "best": self.runs.index(self.best),
            "words": self.words(),
        }


def _row(sweep: Sweep, run: Prediction) -> dict[str, Any]:
    return {
        "pools": dict(run.pools),
        "workers": run.workers,
        "makespan": run.makespan,
        "speedup": sweep.speedup(run),
        "bounds": dict(run.bounds),
        "bottleneck": run.bottleneck,
    }


def _number(size: Size) -> float:
    return math.inf if size is None else size


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


# --- what is asked ----------------------------------------------------------------------------------


def sizes_of(text: str, *, of: str) -> Sizes:
    """Return the sizes that a text names: ``4``, ``1..8``, ``1,2,4``, ``1..4,8,none``.

    Raises
    ------
    UsageError
        SNB-151: there is no sense in it.
    """
    found: dict[Size, None] = {}
    for part in text.split(","):
        word = part.strip()
        match = re.fullmatch(r"([0-9]{1,6})(?:\.\.([0-9]{1,6}))?", word)
        if word.lower() == "none":
            found[None] = None
        elif match is None:
            raise _no_sizes(
                text, of, f"'{word:.40}' is no whole number, and no range of such" if word else ""
            )
        else:
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise _no_sizes(text, of, f"the range '{word}' ends before it begins")
            if first == 0:
                raise _no_sizes(text, of, "with none of them nothing would ever run")
            found.update(dict.fromkeys(range(first, min(last, first + MOST_SIZES) + 1)))
        if len(found) > MOST_SIZES:
            raise _no_sizes(text, of, f"these are more than {MOST_SIZES}")
    return tuple(found)


def pool_sizes(text: str) -> tuple[str, Sizes]:
    """Return the pool and the sizes that ``test=1..8`` names."""
    name, equals, sizes = text.partition("=")
    if not equals or not name:
        raise UsageError(
            "SNB-151",
            f"'{text:.60}' is no pool with sizes.",
            "",
            "write '--pool test=1..8', or '--pool test=1,2,4'",
        )
    return name, sizes_of(sizes, of=f"pool '{name:.40}'")


def _no_sizes(text: str, of: str, why: str) -> UsageError:
    return UsageError(
        "SNB-151",
        f"'{text:.60}' is no choice of sizes for {of}.",
        why,
        "give a size, a range or a list from 1: '4', '1..8', '1,2,4'",
    )


def check(known: Known, pools: Mapping[str, Sizes]) -> None:
    """Refuse what cannot be asked of these steps.

    Raises
    ------
    UsageError
        SNB-152 there are no steps; SNB-502 there is no such pool; SNB-153 with such a size, some step could never run.
    """
    if not known.workload.steps:
        raise UsageError(
            "SNB-152",
            "There are no steps to simulate.",
            "none is declared, and none is known from an earlier session",
            "run the cells that declare them, or give 'stepup_nb.simulate(steps=[...])'",
        )
    names = list(dict.fromkeys([*known.pools, *known.workload.pools]))
    for name, sizes in pools.items():
        asking = known.workload.asking(name)
        if name not in known.pools and not asking:
            raise UsageError(
                "SNB-502",
                f"There is no pool '{name:.60}'{did_you_mean(name, names) or '.'}",
                f"no step asks for it; there {'are' if len(names) > 1 else 'is'} {', '.join(names) or 'no pool'}",
                "name a pool that steps ask for",
            )
        most = max((slots for _, slots in asking), default=1)
        for size in sizes:
            never = [(step, slots) for step, slots in asking if size is not None and slots > size]
            if never or size == 0:
                raise _never(name, size or 0, [(step.name, slots) for step, slots in never or asking], most)


def check_given(known: Known, pools: Mapping[str, Sizes]) -> None:
    """Refuse steps that ask for a pool to which nobody gives a size (SNB-502)."""
    for name in known.workload.pools:
        if name not in pools and name not in known.pools:
            step, _ = known.workload.asking(name)[0]
            raise UsageError(
                "SNB-502",
                f"There is no pool '{name}'{did_you_mean(name, pools) or '.'}",
                f"step '{one_line(step.name)}' asks for it, and it has no size",
                f"give it one, as in simulate(pools={{'{name}': 2}}, steps=...)",
            )


def _never(pool: str, size: int, never: Sequence[tuple[str, int]], most: int) -> UsageError:
    some = ", ".join(f"'{one_line(name)}' asks for {slots}" for name, slots in never[:4])
    return UsageError(
        "SNB-153",
        f"With {counted(size, 'slot')} of pool '{pool}', {counted(len(never), 'step')} could never run.",
        f"{some}{', …' if len(never) > 4 else ''}",
        f"begin with {most}: '--pool {pool}={most}..{max(8, 2 * most)}'",
    )


def sweep(known: Known, pools: Mapping[str, Sizes], workers: Sizes = ()) -> Sweep:
    """Simulate every combination of sizes.

    Parameters
    ----------
    known
        The steps, and the sizes in force.
    pools, workers
        The sizes to be tried; what is not named keeps its size.

    Raises
    ------
    UsageError
        SNB-151 there are too many; and what `check` and `World` refuse.
    """
    check(known, pools)
    asked = [Axis(name, sizes) for name, sizes in pools.items()] + ([Axis(None, workers)] if workers else [])
    axes = tuple(axis for axis in asked if len(axis.sizes) > 1)
    number_of_jobs = math.prod(len(axis.sizes) for axis in axes) * len(known.workload.steps)
    if len(axes) > 2 or number_of_jobs > MOST_JOBS:
        raise UsageError(
            "SNB-151",
            "These are too many sizes.",
            f"{len(axes)} ranges make no table"
            if len(axes) > 2
            else f"{number_of_jobs:,} jobs would have to be simulated, and {MOST_JOBS:,} is the limit",
            "give one or two ranges, or shorter ones, and single sizes for the rest",
        )
    world = World(known.workload, known.handover)
    now: Prediction | None = None
    runs: list[Prediction] = []
    for sizes in product(*(axis.sizes for axis in asked)):
        chosen = dict(zip((axis.pool for axis in asked), sizes, strict=True))
        limit = chosen.pop(None, known.workers)
        run = world.run({**known.pools, **{str(name): size for name, size in chosen.items()}}, limit)
        if run.pools == known.pools and run.workers == known.workers:
            now = run
        elif number_of_jobs > KEPT_JOBS:
            run = replace(run, jobs=())
        runs.append(run)
    if now is None and all(name in known.pools for name in pools):
        now = world.run(known.pools, known.workers)
    found = Sweep(axes, tuple(runs), now or runs[0])
    best = found.best
    if not best.jobs:
        again = world.run(best.pools, best.workers)
        found = replace(found, runs=tuple(again if run is best else run for run in runs))
    return found
