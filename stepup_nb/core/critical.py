"""How much depends on a step: the longest remaining time from its start to the end of everything behind it.

Knows links and expected seconds, nothing of pools. The *tail* of a step is its own expected time and the longest
tail of those that wait for it. It only orders what may start, so it may lag behind while there is much to work out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

from stepup_nb.core.graph import Graph
from stepup_nb.core.model import FINISHED, Step

PROMPT = 256
"""Links that are looked at for any change, however small."""

PER_CHANGE = 16
"""Links more that are looked at for every further change since tails were last worked out."""


class CriticalPath:
    """The tails of all steps that are not finished."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._stale: dict[str, Step] = {}
        self._patience = 0
        """So many changes are not worth another attempt."""

    def mark(self, step: Step) -> None:
        """Take note that a step's expected time, or what waits for it, changed."""
        self._stale[step.key] = step

    def mark_suppliers(self, step: Step) -> None:
        """Take note that a step no longer waits, or waits anew, for its suppliers."""
        for supplier in suppliers(self._graph, step):
            self._stale[supplier.key] = supplier

    def be_sure(self) -> None:
        """Take note that all tails are right as they are."""
        self._stale.clear()

    def work_out(self, *, at_any_price: bool = False) -> list[Step]:
        """Bring the tails up to date where that is worth its time; return the steps whose tail changed.

        Adding one step at the end of a long chain changes the tails of all of it. So that a chain of any length
        costs the same for each step, a change pays for a limited number of links, and what is more has to wait
        for further changes.
        """
        if len(self._stale) <= self._patience:
            return []
        budget: float = math.inf if at_any_price else PROMPT + PER_CHANGE * len(self._stale)
        behind: dict[str, list[Step]] = {}
        ahead: dict[str, list[Step]] = {}
        unknown: dict[str, int] = {}
        todo = [step for step in self._stale.values() if _counts(step)]
        affected: dict[str, Step] = {}
        while todo:
            step = todo.pop()
            if step.key in affected:
                continue
            affected[step.key] = step
            budget -= _links(self._graph, step)
            if budget < 0:
                self._patience = 2 * len(self._stale)
                return []
            ahead[step.key] = list(suppliers(self._graph, step))
            behind[step.key] = list(waiters(self._graph, step))
            for supplier in ahead[step.key]:
                unknown[supplier.key] = unknown.get(supplier.key, 0) + 1
            todo += ahead[step.key]
        self._stale.clear()
        self._patience = 0
        changed = []
        ready = [step for key, step in affected.items() if key not in unknown]
        while ready:
            step = ready.pop()
            tail = step.estimate + max((other.tail for other in behind[step.key]), default=0.0)
            if tail != step.tail:
                step.tail = tail
                changed.append(step)
            for supplier in ahead[step.key]:
                unknown[supplier.key] -= 1
                if not unknown[supplier.key]:
                    ready.append(supplier)
        return changed


def suppliers(graph: Graph, step: Step) -> Iterator[Step]:
    """Yield the live unfinished steps that a step waits for; one may come more than once."""
    for path in step.spec.inp:
        file = graph.files.get(path)
        if file is not None and file.producer is not None and _counts(file.producer):
            yield file.producer
    for target in step.needs_after.values():
        if target is not None and _counts(target):
            yield target


def waiters(graph: Graph, step: Step) -> Iterator[Step]:
    """Yield the live unfinished steps that wait for a step; one may come more than once."""
    files = (graph.files.get(path) for path in step.spec.out)
    readers = (file.consumers.values() for file in files if file is not None)
    for other in chain(chain.from_iterable(readers), step.followers.values()):
        if _counts(other):
            yield other


def _links(graph: Graph, step: Step) -> int:
    files = (graph.files.get(path) for path in step.spec.out)
    readers = sum(len(file.consumers) for file in files if file is not None)
    return 1 + len(step.spec.inp) + len(step.needs_after) + readers + len(step.followers)


def _counts(step: Step) -> bool:
    return step.is_live and step.state not in FINISHED
