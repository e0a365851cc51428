"""Steps of one base: which of them is equal to a declaration, and which comes first?

Both questions take constant time, however many equal steps a loop declares. Knows nothing of rounds and states.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from stepup_nb.core.model import Step

Arguments = tuple[object, ...]


class Alike:
    """Some steps of one base, in an order."""

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        # Ordered dictionaries: the first of a plain one is far away when many before it were taken out.
        self._arguments: OrderedDict[str, Arguments] = OrderedDict()
        self._equal: dict[Arguments, OrderedDict[str, Step]] = {}
        for step in steps:
            self.add(step)

    def __len__(self) -> int:
        return len(self._arguments)

    def __iter__(self) -> Iterator[Step]:
        return (self._equal[arguments][key] for key, arguments in self._arguments.items())

    def add(self, step: Step) -> None:
        """Add a step at the end; it must not change its arguments while it is in here."""
        arguments = step.declared.arguments
        self._arguments[step.key] = arguments
        self._equal.setdefault(arguments, OrderedDict())[step.key] = step

    def discard(self, key: str) -> None:
        """Take a step out, if it is in here."""
        arguments = self._arguments.pop(key, None)
        if arguments is not None:
            equal = self._equal[arguments]
            del equal[key]
            if not equal:
                del self._equal[arguments]

    def first(self) -> Step | None:
        """Return the first step, if there is one."""
        return next(iter(self), None)

    def equal_to(self, arguments: Arguments) -> Step | None:
        """Return the first step with these arguments, if there is one."""
        return next(iter(self._equal[arguments].values())) if arguments in self._equal else None


class Same:
    """All steps of one base, told apart by their numbers."""

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
