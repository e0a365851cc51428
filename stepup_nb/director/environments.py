"""The environments that steps were declared in: each is kept once, and only as long as somebody needs it.

A client sends an environment when it is another one than it sent before, and refers to it by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern

from stepup_nb.core.environment import is_denied, name_of

_ROOM = 64
"""Environments that are kept without asking who needs them."""


class Environments:
    """Environments by name."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {"": {}}
        self._denied: dict[str, frozenset[str]] = {"": frozenset()}
        """Names of the variables in each that are kept from all steps."""
        self._room = _ROOM

    def take(self, name: str, variables: object) -> None:
        """Keep an environment; raise ValueError where it is none, or has another name."""
        if name in self._known:
            return
        if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
            raise ValueError("'variables': texts by name are expected")
        if name_of(variables) != name:
            raise ValueError("'environment': this is not the name of these variables")
        # From one to the next hardly anything is different: what is equal is kept once.
        self._known[name] = {intern(word): intern(value) for word, value in variables.items()}
        self._denied[name] = frozenset(filter(is_denied, variables))

    def value(self, name: str, variable: str) -> str | None:
        """Return the value of a variable; None where it is not set."""
        return self._known[name].get(variable)

    def for_step(self, name: str, asked: Iterable[str]) -> dict[str, str]:
        """Return a new dictionary of what a step gets, with what it asks for by name even if it is denied."""
        found = dict(self._known.get(name, {}))
        for word in self._denied.get(name, frozenset()).difference(asked):
            del found[word]
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def is_crowded(self) -> bool:
        """Tell whether it is time to find out who needs what."""
        return len(self._known) > self._room

    def keep(self, needed: Iterable[str]) -> None:
        """Forget all environments but these."""
        names = {"", *needed} & self._known.keys()
        self._known = {name: self._known[name] for name in names}
        self._denied = {name: self._denied[name] for name in names}
        # Asking takes a walk over all steps: the more are needed, the less often.
        self._room = max(_ROOM, 2 * len(names))
