"""How much of the machine this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path


def usable_cores(environ: Mapping[str, str] = os.environ, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores a container, a hub or the affinity leaves us; at least 1.

    Parameters
    ----------
    environ
        ``CPU_LIMIT`` is what JupyterHub sets.
    cgroup
        Where the control groups are mounted: version 2 has ``cpu.max``, version 1 a quota and a period.
    """
    limits = [
        float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    ]
    limits += _number(environ.get("CPU_LIMIT", ""), "1")
    limits += _number(*_words(cgroup / "cpu.max"))
    limits += _number(
        *_words(cgroup / "cpu" / "cpu.cfs_quota_us")[:1], *_words(cgroup / "cpu" / "cpu.cfs_period_us")[:1]
    )
    return max(1, math.floor(min(limits)))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(*words: str) -> list[float]:
    try:
        quota, period = (float(word) for word in words)
    except ValueError:
        return []
    return [quota / period] if quota > 0 and period > 0 else []


def workers_from(text: str, cores: int) -> int | None:
    """Return the number of workers that a text means: ``4`` a count, ``1.5`` a multiple of the cores.

    None where it means none, or less than one worker (StepUp 3.0's ``-n``).
    """
    try:
        number = int(text) if text.strip().isdigit() else int(float(text) * cores)
    except ValueError:
        return None
    return number if number >= 1 else None
