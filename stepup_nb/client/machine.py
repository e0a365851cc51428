"""How much of the machine this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def usable_cores(
    environ: Mapping[str, str] = os.environ,
    cgroup: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
) -> int:
    """Return how many cores a container, a hub or the affinity leaves us; at least 1.

    Parameters
    ----------
    environ
        ``CPU_LIMIT`` is what JupyterHub sets.
    cgroup
        Where the control groups are mounted: version 2 has ``cpu.max``, version 1 a quota and a period.
    own
        Says in which groups this process is; each group's limit counts for all groups in it.
    """
    limits = [
        float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    ]
    limits += _quota(environ.get("CPU_LIMIT", ""), "1")
    for folder in _groups(cgroup, own, "cpu"):
        limits += _quota(*_words(folder / "cpu.max"))
        limits += _quota(*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us"))
    return max(1, math.floor(min(limits)))


def usable_memory(
    environ: Mapping[str, str] = os.environ,
    cgroup: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
) -> int | None:
    """Return how many bytes of memory a container, a hub or the machine leaves us; None where nobody says."""
    limit = memory_limit(environ, cgroup, own)
    return None if limit is None else limit[0]


def memory_limit(
    environ: Mapping[str, str] = os.environ,
    cgroup: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
) -> tuple[int, str] | None:
    """Return how many bytes of memory are left us, and whose limit that is in words; None where nobody says.

    Parameters
    ----------
    environ
        ``MEM_LIMIT`` is what JupyterHub sets, and Binder with it.
    cgroup, own
        As in `usable_cores`; version 2 has ``memory.max``, version 1 ``memory.limit_in_bytes``.
    """
    limits = [(bytes, "this container's limit") for bytes in _memory_of_groups(cgroup, own)]
    limits += [(bytes, "MEM_LIMIT of this server") for bytes in _quota(environ.get("MEM_LIMIT", ""), "1")]
    try:
        all_there_is = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError):
        pass
    else:
        # Version 1 writes a number without end where there is no limit.
        limits = [limit for limit in limits if limit[0] < all_there_is]
        limits.append((all_there_is, "this machine's memory"))
    if not limits:
        return None
    bytes, words = min(limits, key=lambda limit: limit[0])
    return int(bytes), words


def _memory_of_groups(cgroup: Path, own: Path) -> Iterator[float]:
    for folder in _groups(cgroup, own, "memory"):
        yield from _quota(*_words(folder / "memory.max"), "1")
        yield from _quota(*_words(folder / "memory.limit_in_bytes"), "1")


def _groups(cgroup: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, with those around them."""
    yield cgroup
    yield cgroup / controller
    for line in _lines(own):
        # "0::/user.slice/session" in version 2, "4:cpu,cpuacct:/docker/1f" in version 1
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroup / controller if controllers else cgroup
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for number in range(len(parts), 0, -1):
            yield root.joinpath(*parts[:number])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path)[:1] for word in line.split()]


def _quota(*words: str) -> list[float]:
    """Return how many cores a quota per period is, if these words are one: ``max`` and -1 are no limit."""
    try:
        quota, period = (float(word) for word in words)
    except ValueError:
        return []
    is_limit = math.isfinite(quota) and quota > 0 and period > 0
    return [quota / period] if is_limit else []


def workers_from(text: str, cores: int) -> int | None:
    """Return the number of workers that a text means: ``4`` a count, ``1.5`` a multiple of the cores.

    None where it means none, or less than one worker (StepUp 3.0's ``-n``).
    """
    text = text.strip()
    try:
        number = int(text) if text.isdigit() else int(float(text) * cores)
    except (ValueError, OverflowError):
        return None
    return number if number >= 1 else None
