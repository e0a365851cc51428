"""Ends this process at a named point, so that what comes after a crash just there can be tested.

``STEPUP_NB_FAULT=<point>:<n>`` in the environment of the kernel: its director is killed by SIGKILL when it
passes that point for the n-th time. Without it, to pass a point costs nothing that matters.
"""

from __future__ import annotations

import os
import signal

from stepup_nb.core.errors import UsageError

VARIABLE = "STEPUP_NB_FAULT"

POINTS = {
    "created": "A fresh database is complete, but does not bear its name yet.",
    "locked": "The lock is held, nothing was read, and nobody was told where this director listens.",
    "decided": "A turn of the loop has decided, and nothing of it is written down.",
    "writing": "Its changes are in a transaction that has not been committed.",
    "committed": "They are committed, and nothing was done yet: what is RUNNING has no process.",
    "started": "A process was just started, and nobody knows it yet but its RUNNING row.",
    "acted": "All that a turn called for was done, and its callers were answered; subscribers were not told.",
    "ended": "A command has ended, all of its tree is gone, and the scheduler has not heard of it.",
    "looked": "Files were looked at, those that a job made among them, and the result is not written down.",
    "removed": "An outdated output was just removed, and that is not written down.",
    "tidied": "What had been committed was put into the one file.",
}
"""What is true at each point."""


def _read(words: str) -> tuple[str, int]:
    point, _, number = words.partition(":")
    if point not in POINTS or not (number.isascii() and number.isdigit() and int(number)):
        raise UsageError(
            "SNB-109",
            f"{VARIABLE} names no point and number.",
            f"it is '{words[:40]}', and the points are {', '.join(POINTS)}",
            f"write {VARIABLE}=committed:1, or take the variable away",
        )
    return point, int(number)


_point = ""
_left = 0


def arm(words: str) -> None:
    """Have this process end at a point, as ``point:n``; empty: nowhere.

    Raises
    ------
    UsageError
        SNB-109: there is no such point.
    """
    global _point, _left
    _point, _left = _read(words) if words else ("", 0)


def reach(point: str) -> None:
    """Pass a point of `POINTS`."""
    if point == _point:
        _count_down()


def _count_down() -> None:
    global _left
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
        # The signal may be a moment on its way; nothing more is done until then.
        signal.pause()
