"""How large a pool may be, and need be: from what its steps took of memory and processors, in words.

Pure functions of rows of ``status`` and ``history``, but for `of_session`. They tell what was measured and what
follows from that; why somebody limits a pool (a licence, a scratch file) they cannot know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepup_nb.client.machine import memory_limit, usable_cores
from stepup_nb.core.errors import no_pool
from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, record, show

if TYPE_CHECKING:
    from stepup_nb.client.session import Session

Row = Mapping[str, Any]

_BUSY = 0.75
"""Shares of a core, or of all of them, from which on steps are held up by computing."""
_LAZY = 0.3
"""Share of a core below which steps mostly wait."""
_SHORT = 0.5
"""Seconds of all jobs together below which times say nothing."""
_LITTLE = 4
"""Memory for so many times more steps than there are slots and cores is no limit."""
_UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_UNIT = re.compile(r"(?:^|[-_.])([kmg]i?b)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to share."""

    cores: int
    memory: int | None
    """Bytes; None where nobody says."""
    whose: str = ""
    """Whose limit of memory that is."""


def hints(
    pools: Sequence[Row], jobs: Sequence[Row], labels: Mapping[str, str], machine: Machine
) -> dict[str, list[str]]:
    """Return sentences for each pool.

    Parameters
    ----------
    pools
        Rows of ``status``.
    jobs
        Rows of ``history``; of each step the last job that has ended counts.
    labels
        What people see of a step, by its name.
    machine
        What there is to share.
    """
    return {
        pool["name"]: _Pool(pool, _last_of_each(pool["name"], jobs), labels, machine).sentences()
        for pool in pools
    }


def of_session(session: Session, name: str | None = None) -> tuple[dict[str, list[str]], Machine]:
    """Return the sentences for a session's pools, or for one of them, and what they were compared with.

    Raises
    ------
    UsageError
        SNB-502: there is no such pool.
    """
    status = session.status()
    known = {row["name"]: row for row in status["pools"]}
    if name is not None and name not in known:
        raise no_pool(name, known)
    limit = memory_limit()
    machine = Machine(usable_cores(), *limit) if limit is not None else Machine(usable_cores(), None)
    labels = {row["name"]: row["label"] for row in status["steps"]}
    chosen = status["pools"] if name is None else [known[name]]
    return hints(chosen, session.history(), labels, machine), machine


def page(found: Mapping[str, Sequence[str]], machine: Machine) -> show.Page:
    """Return the sentences as a page of a cell."""
    if not found:
        return ["No pools. '%pool test 2' makes one with two slots."]
    rows = [
        (name if number == 0 else "", words)
        for name, sentences in found.items()
        for number, words in enumerate(sentences)
    ]
    return [
        show.Table(("pool", "what its steps took, and what follows"), rows, widest=300, code=()),
        caveat(machine),
    ]


def caveat(machine: Machine) -> str:
    """Say what the figures leave out."""
    if machine.memory is None:
        return "How much memory there is nobody says here."
    return "The kernel, and whatever else runs here, need some of that memory as well."


def _last_of_each(pool: str, jobs: Sequence[Row]) -> list[Row]:
    ended = {row["step"]: row for row in jobs if row["pool"].get(pool) and row["ended"] is not None}
    return list(ended.values())


class _Pool:
    """A pool, and the last job of each of its steps."""

    def __init__(self, pool: Row, jobs: list[Row], labels: Mapping[str, str], machine: Machine) -> None:
        self.name, self.size = pool["name"], pool["size"]
        self.jobs, self.labels, self.machine = jobs, labels, machine
        self.measured = [row for row in jobs if row["peak_rss"]]
        self.is_of_units = any(row["pool"][self.name] != 1 for row in jobs)
        unit = _UNIT.search(self.name)
        self.unit = unit[1] if unit is not None else ""

    def sentences(self) -> list[str]:
        """Return all that there is to say."""
        if not self.jobs:
            return ["no step of it has finished yet"]
        said = self._killed()
        if self.measured and self.machine.memory is not None:
            said += self._units() if self.is_of_units else self._slots()
        elif self.measured:
            said.append(
                f"its steps took {record.size(max(row['peak_rss'] for row in self.measured))} at most"
            )
        else:
            said.append("no memory was measured of its steps")
        return said + self._processors()

    def _label(self, row: Row) -> str:
        return f"'{ansi.one_line(self.labels.get(row['step'], row['step']), 40)}'"

    def _asked(self, row: Row) -> int:
        return int(row["pool"][self.name])

    def _density(self, row: Row) -> float:
        """Return the bytes that one slot of a job stood for."""
        return float(row["peak_rss"]) / self._asked(row)

    def _killed(self) -> list[str]:
        killed = [row for row in self.jobs if row["returncode"] in (-9, 137) and row["outcome"] == "failed"]
        if not killed:
            return []
        verb = "was" if len(killed) == 1 else "were"
        return [f"{counted(len(killed), 'step')} {verb} killed by signal 9: memory may have run out"]

    def _slots(self) -> list[str]:
        """Compare the size with the largest of steps that take one slot each."""
        memory = self.machine.memory or 0
        largest = max(row["peak_rss"] for row in self.measured)
        fit = memory // largest
        there = f"{record.size(memory)} ({self.machine.whose})"
        if not fit:
            return [f"not even one step fits: it took {record.size(largest)}, on {there}"]
        enough = _LITTLE * max(self.size or 0, self.machine.cores)
        if self.size is not None and fit >= enough:
            few = f"{counted(fit, 'step')} of {record.size(largest)} at most would fit on {there}"
            return [f"memory is no reason to limit it: {few}"]
        steps = f"{counted(fit, 'step')} of {record.size(largest)} at most on {there}"
        said = [f"{steps}: a pool of {fit} is the limit"]
        if self.size is None:
            said.append(f"it has no limit: '%pool {self.name} {fit}'")
        elif self.size > fit:
            need = record.size(self.size * largest)
            said.append(
                f"it has {self.size}, too many: together they would need {need}; '%pool {self.name} {fit}'"
            )
        elif not self.size:
            said.append("it is closed")
        elif self.size < fit:
            said.append(f"it has {self.size}, fewer than memory allows")
        else:
            said.append(f"it has {self.size}")
        return said

    def _units(self) -> list[str]:
        """Compare what steps asked for with what they took, and the size with what a unit stands for."""
        memory = self.machine.memory or 0
        there = f"{record.size(memory)} ({self.machine.whose})"
        widest = max(self.measured, key=self._density)
        per_unit = self._density(widest)
        size, units = record.size(widest["peak_rss"]), counted(self._asked(widest), "slot")
        said = []
        if self.unit:
            said += self._promises(_UNITS[self.unit.lower()])
            most = int(memory / _UNITS[self.unit.lower()])
        else:
            most = int(memory / per_unit)
            what = f"a slot stands for {record.size(per_unit)} at most"
            said.append(f"{what}: {self._label(widest)} took {size} with {units}")
        said.append(f"{counted(most, 'slot')} would be all of {there}")
        if self.size is None:
            said.append("it has no limit")
        elif self.size > most:
            said.append(f"it has {self.size}, too many: '%pool {self.name} {most}'")
        else:
            full = record.size(self.size * per_unit)
            over = ", and that is too much" if self.size * per_unit > memory else ""
            said.append(
                f"it has {self.size}: full of such steps as took most for a slot, that is {full}{over}"
            )
        return said

    def _promises(self, unit: float) -> list[str]:
        """Say which steps took more, or far less, than they asked for."""
        said = []
        asked = sum(self._asked(row) for row in self.measured)
        took = sum(row["peak_rss"] for row in self.measured)
        words = f"its {counted(len(self.measured), 'step')} asked for {asked} {self.unit.upper()} and took"
        said.append(f"{words} {max(1, round(took / unit))}")
        for row in self.measured:
            share = row["peak_rss"] / (self._asked(row) * unit)
            need = -int(-row["peak_rss"] // unit)
            if share > 1.0:
                asks = f"{self._label(row)} asks for {self._asked(row)}"
                said.append(f"{asks} and took {need}: --pool {self.name}:{need}")
            elif share < 0.5:
                said.append(f"{self._label(row)} asks for {self._asked(row)}, and {max(1, need)} would do")
        return said[:6] + ([f"… and {len(said) - 6} more"] if len(said) > 6 else [])

    def _processors(self) -> list[str]:
        """Say whether more slots would help, as far as processors go."""
        jobs = [row for row in self.jobs if row["cpu"] is not None]
        seconds = sum(row["ended"] - row["started"] for row in jobs)
        if seconds < _SHORT:
            return []
        cores, took = self.machine.cores, sum(row["cpu"] for row in jobs)
        each, together = took / seconds, took / max(_covered(jobs), 1e-9)
        if each < _BUSY and together < _BUSY * cores:
            if each < _LAZY:
                return [
                    f"each of its steps keeps {_share(each)} of a core busy: they may be more than the cores"
                ]
            return []
        useful = max(1, int(cores / max(each, 1.0)))
        if each >= _BUSY:
            what = f"each of its steps keeps {_share(each)} of a core busy"
        else:
            what = f"its steps together kept {_share(together)} of {counted(cores, 'core')} busy"
        words = (
            f"{what}: more than {counted(useful, 'step')} at once {'does' if useful == 1 else 'do'} not help"
        )
        if not self.is_of_units and (self.size is None or self.size > useful):
            words += "; it has no limit" if self.size is None else f"; it has {self.size}"
        return [words]


def _share(number: float) -> str:
    return f"{number:.2f}" if number < 0.995 else f"{number:.1f}"


def _covered(jobs: Sequence[Row]) -> float:
    """Return the seconds in which any of the jobs ran."""
    total, until = 0.0, float("-inf")
    for row in sorted(jobs, key=lambda row: row["started"]):
        total += max(0.0, row["ended"] - max(row["started"], until))
        until = max(until, row["ended"])
    return total
