"""Puts decisions of the scheduler into sentences, as they are made: for whoever wants to see how it chooses.

Is told of moves, starts and sizes by those who make them, and only while somebody listens. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stepup_nb.core.model import (
    CANCELLED,
    CHECKING,
    FAILED,
    PENDING,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    Job,
    Pool,
    Step,
    StepState,
)
from stepup_nb.core.pools import OVERTAKES, Pools, rank
from stepup_nb.core.words import counted

MOST = 100
"""Sentences about one turn at most."""
LABEL = 48
"""Characters of a step's name."""
NAMED = 4
"""Steps that a sentence names in a row."""


@dataclass(slots=True)
class _Ended:
    """A job that has ended in this turn, and given back what it held."""

    words: str
    job: Job


class Narrator:
    """Collects sentences until they are told.

    Parameters
    ----------
    pools
        Who waits, and who holds what.
    label
        Returns the label of a step, given its key.
    """

    def __init__(self, pools: Pools, jobs: dict[int, Job], label: Callable[[str], str]) -> None:
        self._pools = pools
        self._jobs = jobs
        self._label = label
        self._said: list[str] = []
        self._ended: list[_Ended] = []
        self._queued: dict[str, Step] = {}
        """Those that got in line in this turn."""
        self._waiting: set[str] = set()
        """Those of whom it was said that they wait for something else."""

    def tell(self) -> list[str]:
        """Return what is to be said of this turn, now that everything is decided in it."""
        for ended in self._ended:
            self._say(f"{ended.words}{self._unused(ended.job)}.")
        lines: dict[str, list[str]] = {}
        for step in self._queued.values():
            if step.state is QUEUED:
                lines.setdefault(self.why(step), []).append(step.key)
        for why, keys in lines.items():
            self._say(f"{self._names(keys)} {'waits' if len(keys) == 1 else 'wait'}: {why}.")
        said, more = self._said[:MOST], len(self._said) - MOST
        self._said, self._ended, self._queued = [], [], {}
        return [*said, f"… and {counted(more, 'more decision')}."] if more > 0 else said

    def _say(self, words: str) -> None:
        self._said.append(words)

    # --- what the scheduler does -------------------------------------------------------------------

    def moved(self, step: Step, old: StepState, reason: str) -> None:
        """A step went from one state to another."""
        state = step.state
        if state is QUEUED:
            self._waiting.discard(step.key)
            self._queued[step.key] = step
            if reason not in ("", "never ran"):
                self._say(f"{name(step)} is to run: {reason}.")
        elif state is SUCCEEDED and old is CHECKING:
            self._waiting.discard(step.key)
            self._say(f"{name(step)} is up to date: {_unchanged(step)}.")
        elif old is RUNNING:
            self._left(step, reason)
        elif state is CANCELLED:
            self._say(f"{name(step)} is cancelled: {reason}.")
        elif state is PENDING and reason and old is SUCCEEDED:
            self._say(f"{name(step)} is to be looked at again: {reason}.")
        elif state is PENDING and reason:
            self.waits(step, reason)

    def waits(self, step: Step, reason: str) -> None:
        """Something keeps a step back that is no pool; what it is next is said no more."""
        if step.key not in self._waiting:
            self._waiting.add(step.key)
            self._say(f"{name(step)} {reason if reason.startswith('waits ') else f'waits: {reason}'}.")

    def started(self, step: Step, job: Job, overtaken: Iterable[Step], *, is_reserved: bool) -> None:
        """A step got its slots, in spite of others that were in line before it."""
        why = "because slots were reserved for it" if is_reserved else self._preference(step)
        self._queued.pop(step.key, None)
        ended = next((ended for ended in self._ended if _is_heir(job, ended.job)), None)
        if ended is None:
            self._say(f"{name(step)} starts{_places(job)}{f', {why}' if why else ''}.")
        else:
            self._ended.remove(ended)
            place = _inherited(job, ended.job)
            self._say(f"{ended.words}; {place} goes to {name(step)}{f', {why}' if why else ''}.")
        for other in overtaken:
            self._say(
                f"{name(other)} is passed over for the {ordinal(other.overtaken)} time: {self.why(other)}."
            )
            if other.overtaken == OVERTAKES:
                self._say(
                    f"What becomes free is reserved for {name(other)} from now on: nobody passes it any more."
                )

    def resized(self, pool: Pool, size: int | None) -> None:
        """A pool is being given a size."""
        if not pool.is_defined:
            self._say(f"Pool '{pool.name}' has {_size(size)}.")
        elif pool.size != size:
            over = 0 if size is None or pool.is_per_machine else pool.used - size
            more = f"; {counted(over, 'slot')} must become free before anything starts" if over > 0 else ""
            self._say(f"Pool '{pool.name}' has {_size(size)} now, instead of {_size(pool.size)}{more}.")

    # --- reasons -----------------------------------------------------------------------------------

    def why(self, step: Step) -> str:
        """Say why a step in line has not started, and who is in its way."""
        lacking = self._pools.lacking(step)
        if lacking is None or self._pools.halted(step.spec.pool):
            words = self._pools.why(step)
            if words == "waits for a worker":
                busy = self._names(job.step for job in self._jobs.values())
                number = self._pools.workers
                return f"{'the only worker is' if number == 1 else f'all {number} workers are'} busy ({busy})"
            return words
        pool, slots = lacking
        held = self._pools.pools[pool]
        holders = self._names(self._jobs[job].step for job in held.holders if job in self._jobs)
        free = int(max(0, self._pools.free(pool)))
        if not free:
            return f"pool '{pool}' is full ({holders})"
        verb = "is" if free == 1 else "are"
        words = f"it needs {counted(slots, 'slot')} of '{pool}', and {free} {verb} free"
        return f"{words} (the rest: {holders})" if holders else words

    def _names(self, keys: Iterable[str]) -> str:
        found = [short(self._label(key)) for key in keys]
        more = f", … {len(found) - NAMED} more" if len(found) > NAMED else ""
        return ", ".join(found[:NAMED]) + more

    def _preference(self, step: Step) -> str:
        """Say why a step is before the next one in line, or return nothing where nobody else waits."""
        behind = [other for other in self._pools.rivals(step) if rank(other) > rank(step)]
        if not behind:
            return ""
        second = min(behind, key=rank)
        if step.spec.priority != second.spec.priority:
            return f"first in line because its priority is higher ({step.spec.priority})"
        if step.tail != second.tail:
            return f"first in line because it has the longest way to go (some {step.tail:g} s to the end)"
        return "first in line because it was declared first"

    def _left(self, step: Step, reason: str) -> None:
        """A step runs no longer: it has ended, or its job is being stopped."""
        job = step.last
        if job is None or job.ended is None or step.job is not None:
            self._say(f"{name(step)} is put back: {reason}.")
            return
        how = {SUCCEEDED: "ended", FAILED: "failed", CANCELLED: "was stopped"}.get(step.state, "ended")
        words = f"{name(step)} {how} after {job.ended - job.started:.2f} s"
        if step.state is not SUCCEEDED:
            words += f" ({reason})"
        self._ended.append(_Ended(words, job))

    def _unused(self, job: Job) -> str:
        words = ""
        for pool, numbers in job.slots.items():
            heir = self._pools.reserved_for(pool)
            kept = "free" if heir is None else f"kept for {name(heir)}"
            words += f"; {_slots(numbers)} of '{pool}' {'is' if len(numbers) == 1 else 'are'} {kept}"
        return words


def name(step: Step) -> str:
    """Return what a sentence calls a step."""
    return short(step.label)


def short(label: str) -> str:
    """Return the beginning of a long label."""
    return label if len(label) <= LABEL else label[: LABEL - 1] + "…"


def ordinal(number: int) -> str:
    """Return a number as a place in a row.

    >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 22)]
    ['first', '2nd', '3rd', '4th', '11th', '22nd']
    """
    if number == 1:
        return "first"
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _unchanged(step: Step) -> str:
    if step.spec.inp:
        return "nothing that it reads has changed"
    if step.spec.out or step.spec.env:
        return "what was declared of it has not changed"
    return "it has run, and it declares nothing that could have changed"


def _size(size: int | None) -> str:
    return "no limit" if size is None else counted(size, "slot") if size else "no slot"


def _slots(numbers: tuple[int, ...]) -> str:
    words = ", ".join(map(str, numbers[:NAMED])) + (", …" if len(numbers) > NAMED else "")
    return f"slot{'s' if len(numbers) > 1 else ''} {words}"


def _places(job: Job) -> str:
    places = [f"{_slots(numbers)} of '{pool}'" for pool, numbers in job.slots.items()]
    return f" in {' and '.join(places)}" if places else ""


def _is_heir(job: Job, before: Job) -> bool:
    """Tell whether a job got something that another one held: a slot, or where no pool is asked for, a worker."""
    if job.slots:
        return any(set(numbers) & set(before.slots.get(pool, ())) for pool, numbers in job.slots.items())
    return not before.slots and job.worker == before.worker


def _inherited(job: Job, before: Job) -> str:
    for pool, numbers in job.slots.items():
        common = tuple(sorted(set(numbers) & set(before.slots.get(pool, ()))))
        if common:
            return f"its {_slots(common)} of '{pool}'"
    return "its place"
