"""Phrases that several modules of the core say in the same way."""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the most similar known word, or an empty text."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def one_line(text: str) -> str:
    """Return a step's key in one line of at most 80 characters: what people see."""
    parts = text.strip().splitlines()
    line = parts[0] if len(parts) == 1 else " ⏎ ".join(part.strip() for part in parts if part.strip())
    return line if len(line) <= 80 else line[:79] + "…"


def ending(returncode: int) -> str:
    """Return how a command ended in words: its exit code, or the signal by name.

    >>> ending(3), ending(-9), ending(137)
    ('exit code 3', 'killed by signal 9 (SIGKILL)', 'exit code 137 (128 + signal 9, SIGKILL)')
    """
    if returncode < 0:
        return f"killed by signal {-returncode} ({_signal_name(-returncode)})"
    if 128 < returncode < 128 + 65 and (name := _signal_name(returncode - 128)) != "unknown":
        return f"exit code {returncode} (128 + signal {returncode - 128}, {name})"
    if returncode == 127:
        return "exit code 127 (command not found)"
    return f"exit code {returncode}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, in the plural where that is due."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# Controls, lone surrogates, line separators, bidi controls, and the invisible ones that are no part of
# a script or an emoji (the joiners U+200C and U+200D are).
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""The text with all that hides, reorders or commands shown by its code, such as `\x00` or `\u202e`.

    Tab and line feed stay as they are.
    """
    return _UNSEEN.sub(lambda match: _code(match[0]), text)


def _code(char: str) -> str:
    point = ord(char)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
