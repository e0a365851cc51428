"""The part of ``status`` that others may rely on: its keys do not change without a word in the changelog.

Tables and records also use keys that are not here; those may come and go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATUS = ("notebook", "database", "workers", "paused", "director_pid", "pools", "counts", "steps")
POOL = ("name", "size", "used", "waiting", "tokens")
STEP = (
    *("name", "label", "action", "command", "workdir", "state", "reason", "pool", "inp", "out", "vol", "env"),
    *("cell", "dormant", "skipped", "returncode", "duration", "stdout_tail", "stderr_tail"),
)


def status(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``status --json`` shows of a director's answer."""
    shown = _only(STATUS, found)
    shown["pools"] = [_only(POOL, row) for row in found["pools"]]
    shown["steps"] = [_only(STEP, row) for row in found["steps"]]
    return shown


def _only(keys: tuple[str, ...], row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in keys}
