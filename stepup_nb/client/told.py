"""What a session told its director and what still holds of it: a new director has to be told again.

Knows messages and the rounds of cells; sends nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
Key = tuple[str, Hashable]
"""What a message is about, such as ``("step", name)``: a later one about the same takes its place."""


@dataclass(slots=True)
class _Scope:
    """A declarer."""

    opening: Message | None = None
    """How its round began; None for what is in no cell."""
    closing: Message | None = None
    now: dict[Key, Message] = field(default_factory=dict)
    """What this round declared."""
    kept: dict[Key, Message] = field(default_factory=dict)
    """What earlier rounds declared and this one has not retired (yet)."""


class Told:
    """Declarations, in the order in which they are to be repeated."""

    def __init__(self) -> None:
        self._scopes: dict[str, _Scope] = {}

    def __contains__(self, scope: str) -> bool:
        return scope in self._scopes

    def open(self, message: Message) -> None:
        """A round began."""
        old = self._scopes.pop(message["scope"], _Scope())
        # Last executed, last repeated.
        self._scopes[message["scope"]] = _Scope(message, kept={**old.kept, **old.now})

    def close(self, message: Message) -> None:
        """A round ended: if well, it retired what it had not declared again."""
        scope = self._scopes[message["scope"]]
        scope.closing = message
        if message["is_ok"]:
            scope.kept = {}

    def add(self, key: Key, message: Message) -> None:
        """Something was declared."""
        now = self._scopes.setdefault(message["scope"], _Scope()).now
        now.pop(key, None)
        now[key] = message

    def drop(self, key: Key) -> None:
        """Something does not hold any more, whoever declared it."""
        for scope in self._scopes.values():
            scope.now.pop(key, None)
            scope.kept.pop(key, None)

    def declarations(self) -> Iterator[tuple[Key, Message]]:
        """Yield what is declared and holds, with what it is about: not what a round under way has left out so far."""
        for scope in self._scopes.values():
            if scope.opening is None or scope.closing is not None:
                yield from scope.kept.items()
            yield from scope.now.items()

    def messages(self) -> Iterator[tuple[Key | None, Message]]:
        """Yield what a new director has to be told, each with what it is about."""
        for name, scope in self._scopes.items():
            if scope.opening is not None and scope.kept:
                yield None, scope.opening
                yield from scope.kept.items()
                # As if that round had failed: nothing is retired before the last one is repeated.
                yield None, {"op": "CloseScope", "scope": name, "is_ok": False}
            if scope.opening is not None:
                yield None, scope.opening
            yield from scope.now.items()
            if scope.closing is not None:
                yield None, scope.closing
