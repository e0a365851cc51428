"""Steps of one base: which of them is equal to a declaration, and which comes first?

Both questions take constant time, however many equal steps a loop declares. Knows nothing of rounds and states.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from stepup_nb.core.model import Step

Arguments = tuple[object, ...]


class _Index(NamedTuple):
    """Two ways to find steps."""

    # Ordered dictionaries: the first of a plain one is far away when many before it were taken out.
    arguments: OrderedDict[str, Arguments]
    equal: dict[Arguments, OrderedDict[str, Step]]

    def add(self, step: Step) -> None:
        arguments = step.declared.arguments
        self.arguments[step.key] = arguments
        self.equal.setdefault(arguments, OrderedDict())[step.key] = step


class Alike:
    """Some steps of one base, in an order.

    Of nearly all bases there is one step: it is kept as it is, and an index made when a second one comes.
    """

    __slots__ = ("_index", "_only")

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self._only: Step | None = None
        self._index: _Index | None = None
        for step in steps:
            self.add(step)

    def __len__(self) -> int:
        return int(self._only is not None) if self._index is None else len(self._index.arguments)

    def __iter__(self) -> Iterator[Step]:
        if self._index is None:
            return iter(() if self._only is None else (self._only,))
        equal = self._index.equal
        return (equal[arguments][key] for key, arguments in self._index.arguments.items())

    def add(self, step: Step) -> None:
        """Add a step at the end; it must not change its arguments while it is in here."""
        if self._index is None:
            if self._only is None or self._only.key == step.key:
                self._only = step
                return
            self._index = _Index(OrderedDict(), {})
            self._index.add(self._only)
            self._only = None
        self._index.add(step)

    def discard(self, key: str) -> None:
        """Take a step out, if it is in here."""
        if self._index is None:
            if self._only is not None and self._only.key == key:
                self._only = None
            return
        arguments = self._index.arguments.pop(key, None)
        if arguments is not None:
            equal = self._index.equal[arguments]
            del equal[key]
            if not equal:
                del self._index.equal[arguments]

    def first(self) -> Step | None:
        """Return the first step, if there is one."""
        return next(iter(self), None)

    def equal_to(self, arguments: Arguments) -> Step | None:
        """Return the first step with these arguments, if there is one."""
        if self._index is None:
            only = self._only
            return only if only is not None and only.declared.arguments == arguments else None
        equal = self._index.equal.get(arguments)
        return None if equal is None else next(iter(equal.values()))


class Same:
    """All steps of one base, told apart by their numbers."""

    __slots__ = ("count", "idle", "lowest", "owned")

    def __init__(self) -> None:
        self.count = 0
        """How many there are."""
        self.idle = Alike()
        """Those that are not live."""
        self.owned: dict[str, Alike] = {}
        """Those that are live, by the scope that declared them last."""
        self.lowest = 1
        """No number below is free."""

    def add(self, step: Step) -> None:
        """Add a step that is not live."""
        self.count += 1
        self.idle.add(step)

    def remove(self, step: Step) -> None:
        """Take a step out that is not live."""
        self.count -= 1
        self.idle.discard(step.key)
        self.lowest = min(self.lowest, step.number)

    def retire(self, step: Step) -> None:
        """Take note that a step is not live any more: its number is free."""
        self.idle.add(step)
        self.lowest = min(self.lowest, step.number)

    def own(self, step: Step, scope: str) -> None:
        """Take note who declared a live step last."""
        self.owned.setdefault(scope, Alike()).add(step)

    def disown(self, key: str, scope: str) -> None:
        """Take note that a scope has nothing to do with a step any more."""
        if (steps := self.owned.get(scope)) is not None:
            steps.discard(key)
            if not steps:
                del self.owned[scope]
