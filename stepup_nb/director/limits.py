"""Limits of a director that its user may set by environment variables; a wrong value is refused at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from stepup_nb.core.errors import UsageError
from stepup_nb.director.output import CAP
from stepup_nb.director.store import KEPT_JOBS


@dataclass(frozen=True, slots=True)
class Limits:
    """One field for each variable: ``STEPUP_NB_LOG_CAP`` sets `log_cap`."""

    log_cap: int = CAP
    """Bytes of each stream of a job that its log holds exactly as written; beyond, only the end is kept besides."""
    grace: float = 5.0
    """Seconds between SIGTERM and SIGKILL for a step that is stopped."""
    history: int = KEPT_JOBS
    """Jobs of one step that the history keeps."""
    hash_threads: int = 2
    """Threads that look at files as long as no file keeps one waiting."""
    warm: int = 1
    """1: Python steps start in interpreters that wait for them; 0: each in a fresh one."""


def limits_from(environment: Mapping[str, str]) -> Limits:
    """Return the limits that an environment sets, the usual ones where it sets none.

    Raises
    ------
    UsageError
        SNB-109: a value is no number that makes sense.
    """
    found: dict[str, float] = {}
    for field in fields(Limits):
        name = f"STEPUP_NB_{field.name.upper()}"
        words = environment.get(name, "")
        if not words:
            continue
        is_whole = isinstance(field.default, int)
        try:
            number = int(words) if is_whole else float(words)
        except ValueError:
            number = -1
        least = 0 if field.name in ("log_cap", "grace", "warm") else 1
        most = 1 if field.name == "warm" else 2**53
        if not least <= number <= most:
            kind = "a whole number" if is_whole else "a number"
            wanted = "0 or 1" if most == 1 else f"{kind} of at least {least}"
            raise UsageError(
                "SNB-109",
                f"The environment variable {name} is '{words[:40]}'.",
                f"{wanted} is expected",
                f"write {name}={field.default}, which is what holds without it",
            )
        found[field.name] = number
    return Limits(**found)  # type: ignore[arg-type]
