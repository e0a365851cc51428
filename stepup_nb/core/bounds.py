"""What limits the time of a run: the longest chain, the workers, each pool; and which of them does, in words.

Every bound is a time that no order of the steps can beat. What really set the time is found by going back from the last
step that ended: it started when something ended that it waited for, and that in turn.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from stepup_nb.core.model import Job, PoolRequest
from stepup_nb.core.words import one_line

CRITICAL_PATH, WORKERS, POOL = "critical path", "workers", "pool "
"""The names of bounds; that of a pool follows the last one."""

MOSTLY = 0.9
"""What sets this part of the time is said to set the time."""

SHOWN = 7
"""Steps of a path that are named."""

_LONGEST_NAME = 40


def longest_path(
    durations: Mapping[str, float], suppliers: Mapping[str, Iterable[str]], handover: float = 0.0
) -> tuple[str, ...]:
    """Return the chain of steps that wait for each other and take longest.

    Parameters
    ----------
    durations
        Seconds by step, each step behind those it waits for.
    suppliers
        What each step waits for.
    handover
        Seconds from the end of a step to the start of one that waits for it.
    """
    ends: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for step, duration in durations.items():
        last = max((s for s in suppliers.get(step, ()) if s in ends), key=ends.__getitem__, default=None)
        before[step] = last
        ends[step] = duration + (0.0 if last is None else ends[last] + handover)
    at = max(ends, key=ends.__getitem__, default=None)
    path = []
    while at is not None:
        path.append(at)
        at = before[at]
    return tuple(reversed(path))


def bounds(
    steps: Iterable[tuple[float, Iterable[PoolRequest]]],
    path: Sequence[float],
    pools: Mapping[str, int | None],
    workers: int | None,
    handover: float = 0.0,
) -> dict[str, float]:
    """Return the seconds that a run takes at least, by what limits it.

    Parameters
    ----------
    steps
        Duration and requests of each step.
    path
        Durations along the longest path.
    pools
        Sizes; a pool that has no limit, or that no step asks for, bounds nothing.
    workers
        Steps running at once; None is no limit.
    handover
        Seconds for which a step keeps its worker and its slots after its end.
    """
    work: dict[str, float] = {}
    for duration, requests in steps:
        held = duration + handover
        work[WORKERS] = work.get(WORKERS, 0.0) + held
        for name, slots in requests:
            work[POOL + name] = work.get(POOL + name, 0.0) + held * slots
    found = {CRITICAL_PATH: sum(path) + handover * max(0, len(path) - 1)}
    for name, size in {WORKERS: workers, **{POOL + name: size for name, size in pools.items()}}.items():
        if size and name in work:
            found[name] = max(0.0, work[name] / size - handover)
    return found


def shares(
    jobs: Sequence[Job],
    suppliers: Mapping[str, Iterable[str]],
    pools: Mapping[str, int | None],
    workers: int | None,
    handover: float = 0.0,
) -> dict[str, float]:
    """Return how many seconds of a run each limit, by its name, has set; the largest comes first.

    Each job on the way back from the last end is charged to what the next one waited for: the job itself (the critical
    path), or a slot or worker that it held. The last one is charged to what it waited for itself.

    Parameters
    ----------
    jobs
        In order of their start, all successful.
    suppliers
        What each step waits for.
    pools, workers, handover
        As in `bounds`.
    """
    waits = _waits(jobs, pools, workers, handover)
    by_step = {job.step: job for job in jobs}
    freed: dict[float, list[Job]] = {}
    for job in jobs:
        freed.setdefault(_free(job, handover), []).append(job)
    found: dict[str, float] = {}
    at = max(jobs, key=_end, default=None)
    until, later = (0.0, "") if at is None else (_end(at), waits.get(at.id, CRITICAL_PATH))
    while at is not None:
        found[later] = found.get(later, 0.0) + until - at.started
        until, later = at.started, waits.get(at.id, CRITICAL_PATH)
        if later == CRITICAL_PATH:
            before = [by_step[step] for step in suppliers.get(at.step, ()) if step in by_step]
        else:
            pool = later.removeprefix(POOL)
            before = [job for job in freed.get(until, ()) if later == WORKERS or pool in job.pool]
        # What takes no time would lead in circles.
        at = max((job for job in before if job.started < until), key=_end, default=None)
    return dict(sorted(found.items(), key=lambda share: -share[1]))


def _end(job: Job) -> float:
    return job.started if job.ended is None else job.ended


def _free(job: Job, handover: float) -> float:
    return _end(job) + handover


def _waits(
    jobs: Sequence[Job], pools: Mapping[str, int | None], workers: int | None, handover: float
) -> dict[int, str]:
    """Return which limit was exhausted until a job started, of the jobs that were queued before, by their numbers."""
    found: dict[int, str] = {}
    ends: list[tuple[float, int, Job]] = []
    held: dict[str, int] = {}
    for started, group in groupby(jobs, key=lambda job: job.started):
        while ends and ends[0][0] < started:
            for name, slots in heapq.heappop(ends)[2].pool.items():
                held[name] -= slots
        begun = list(group)
        for job in begun:
            if job.queued < started:
                # What ends at this very moment still counts: that is what it waited for.
                full = [
                    name for name, slots in job.pool.items() if held.get(name, 0) + slots > _size(pools[name])
                ]
                if not full and len(ends) < _size(workers):
                    # There was room, and it was reserved for another step.
                    full = list(job.pool)
                found[job.id] = POOL + full[0] if full else WORKERS
        for job in begun:
            heapq.heappush(ends, (_free(job, handover), job.id, job))
            for name, slots in job.pool.items():
                held[name] = held.get(name, 0) + slots
    return found


def _size(size: int | None) -> float:
    return math.inf if size is None else size


def limit_words(name: str, path: Sequence[str], sets: str = "sets the time") -> str:
    """Say that a limit, by its name, sets the time."""
    if not path:
        return "nothing runs"
    if name == CRITICAL_PATH:
        return f"{'one step alone' if len(path) == 1 else 'the critical path'} {sets}: {path_words(path)}"
    if name == WORKERS:
        return f"the number of workers {sets}"
    return f"pool '{name.removeprefix(POOL)}' {sets}"


def percent(part: float) -> str:
    """Return a part of one in percent."""
    return f"{100.0 * part:.0f} %"


def path_words(path: Sequence[str]) -> str:
    """Return a path in one line: ``clean → plot → report``."""
    names = [_short(name) for name in path]
    if len(names) > SHOWN:
        first = SHOWN - 3
        names[first:-2] = [f"… {len(names) - first - 2} more …"]
    return " → ".join(names)


def _short(name: str) -> str:
    line = one_line(name)
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…"


def where_words(limits: Sequence[tuple[str, float]], sizes: Sequence[str], path: Sequence[str]) -> str:
    """Say which limit sets the time with which sizes.

    Parameters
    ----------
    limits
        The name of the limit that sets most of the time, and which part of it, for each size.
    sizes
        The sizes in words, "4 slots".
    path
        The longest path.
    """
    groups = [[at for at, _ in group] for _, group in groupby(enumerate(limits), key=lambda pair: pair[1][0])]
    parts = []
    for number, group in enumerate(groups):
        first, last = sizes[group[0]], sizes[group[-1]]
        if len(groups) == 1:
            where = "with every size" if len(group) > 1 else f"with {first}"
        elif len(group) == 1:
            where = f"with {first}"
        elif number == 0:
            where = f"up to {last}"
        elif number == len(groups) - 1:
            where = f"from {first} on"
        else:
            where = f"from {first} to {last}"
        is_all = all(limits[at][1] >= MOSTLY for at in group)
        sets = "sets the time" if is_all else "sets most of the time"
        parts.append(f"{where}, {limit_words(limits[group[0]][0], path, sets)}")
    return "; ".join(parts)
