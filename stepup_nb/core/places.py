"""Where the lock of a director is, and what it says: what both ends of the socket must agree on.

Only rules for names and words; whoever needs them does the reading and writing.
"""

from __future__ import annotations

import json
import posixpath
from typing import Any

_HOLDER = {
    "host": str,
    "director_pid": int,
    "kernel_pid": int,
    "kernel_start": str,
    "started": float,
    "notebook": str,
}


def lock_path(database: str) -> str:
    """Return where the lock of a database is: ``.stepup/analysis/lock`` beside ``analysis.stepup.db``.

    A plan's database is in ``.stepup`` itself, and its lock in ``.stepup/graph/``.
    """
    folder, name = posixpath.split(database)
    stem = name.removesuffix(".db").removesuffix(".stepup") or name
    if posixpath.basename(folder) != ".stepup":
        folder = posixpath.join(folder, ".stepup")
    return posixpath.join(folder, stem, "lock")


def holder(words: bytes) -> dict[str, Any] | None:
    """Return what a lock's file says about its holder, who may be gone; None where it says nothing.

    Has at least ``host``, ``director_pid``, ``kernel_pid``, ``kernel_start``, ``started`` (seconds since the
    epoch), ``notebook``; of a director that listens also ``socket`` and ``token``.
    """
    try:
        found = json.loads(words)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return found if all(isinstance(found.get(name), kind) for name, kind in _HOLDER.items()) else None
