"""Messages on a stream: four bytes of length, then JSON. Both ends of the socket speak it, neither is known here.

JSON escapes everything outside ASCII, so that names that are no UTF-8 pass through unharmed. Nothing is ever
unpickled (P26).
"""

from __future__ import annotations

import json
from typing import Any

from stepup_nb.core.errors import UsageError

LIMIT = 4 * 1024 * 1024
"""Bytes of one message; whoever sends more is cut off."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def frame(message: dict[str, Any]) -> bytes:
    """Return the bytes that carry a message.

    Raises
    ------
    UsageError
        SNB-205 for a message of more than `LIMIT` bytes.
    """
    body = _encode(message).encode("ascii")
    if len(body) > LIMIT:
        raise UsageError(
            "SNB-205",
            f"A message of {len(body)} bytes is too long.",
            f"the limit is {LIMIT} bytes",
            "shorten the command, for instance by putting it into a file",
        )
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take bytes as they came, and return the messages that are complete.

        Raises
        ------
        ValueError
            The peer does not speak this protocol.
        """
        self._buffer += data
        messages: list[dict[str, Any]] = []
        start = 0
        while len(self._buffer) - start >= 4:
            size = int.from_bytes(self._buffer[start : start + 4], "big")
            if size > LIMIT:
                raise ValueError(f"a message of {size} bytes")
            if len(self._buffer) - start - 4 < size:
                break
            try:
                message = json.loads(self._buffer[start + 4 : start + 4 + size])
            except RecursionError:
                raise ValueError("a message nested too deeply") from None
            if not isinstance(message, dict):
                raise ValueError("a message that is no object")
            messages.append(message)
            start += 4 + size
        del self._buffer[:start]
        return messages
