"""Messages on a stream: four bytes of length, then JSON. Both ends of the socket speak it, neither is known.

JSON escapes everything outside ASCII, so that names that are no UTF-8 pass through unharmed. Nothing is ever
unpickled (P26).
"""

from __future__ import annotations

import json
from typing import Any

from stepup_nb.core.errors import UsageError

LIMIT = 4 * 1024 * 1024
"""Bytes of one message to a director; whoever announces more is cut off."""
ANSWER_LIMIT = 256 * 1024 * 1024
"""Bytes of one message from a director: the status of many steps is long, and its clients trust it."""


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_scan = json.JSONDecoder(parse_constant=_refuse).raw_decode
# Not `decode`: what it does about blanks around a message, of which there are none, takes longer than a short message.


def frame(message: dict[str, Any], limit: int = LIMIT) -> bytes:
    """Return the bytes that carry a message.

    Raises
    ------
    UsageError
        SNB-205 for a message of more bytes than the limit.
    """
    body = _encode(message).encode("ascii")
    if len(body) > limit:
        raise UsageError(
            "SNB-205",
            f"A message of {len(body)} bytes is too long.",
            f"the limit is {limit} bytes",
            "put what is long into a file, and give the file's name",
        )
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Bytes in, messages out."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[dict[str, Any]]:
        """Take bytes as they came, and return the messages that are complete.

        Raises
        ------
        ValueError
            The peer does not speak this protocol.
        """
        buffer = self._buffer
        buffer += data
        messages: list[dict[str, Any]] = []
        start = 0
        while len(buffer) - start >= 4:
            end = start + 4 + int.from_bytes(buffer[start : start + 4], "big")
            if end - start - 4 > self._limit:
                raise ValueError(f"a message of {end - start - 4} bytes")
            if len(buffer) < end:
                break
            try:
                text = buffer[start + 4 : end].decode()
                message, length = _scan(text)
            except RecursionError:
                raise ValueError("a message nested too deeply") from None
            if not isinstance(message, dict) or length != len(text):
                raise ValueError("a message that is not one object")
            messages.append(message)
            start = end
        del buffer[:start]
        return messages
