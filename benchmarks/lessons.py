"""How long each lesson takes a class, how much memory, and whether it holds each time: `make lessons` prints it.

`jupyter execute` executes it in a folder of its own; each second time on what the time before has left. Memory is the
largest sum over all processes, looked at twenty times a second; what they share is counted for each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
EVERY = 0.05
"""Seconds between two looks at the memory."""


def memory_of(process: psutil.Process) -> int:
    """Return the bytes that a process and all below it hold now."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for each in family:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            pass
    return total


def execute(notebook: Path) -> tuple[str, float, float, int]:
    """Execute a notebook; return what it complains of ("" for nothing), seconds, processor seconds, and bytes."""
    before, began = os.times(), time.perf_counter()
    command = [Path(sys.executable).parent / "jupyter-execute", notebook.name, "--timeout=60"]
    process = psutil.Popen(
        command, cwd=notebook.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    most = 0
    while process.poll() is None:
        most = max(most, memory_of(process))
        time.sleep(EVERY)
    took, after = time.perf_counter() - began, os.times()
    said = process.stdout.read() if process.returncode else ""
    work = after.children_user + after.children_system - before.children_user - before.children_system
    return said, took, work, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-n", type=int, default=2, metavar="TIMES", help="times that each is executed (default 2)"
    )
    parser.add_argument("lessons", nargs="*", help="beginnings of their names, such as 02 (default: all)")
    asked = parser.parse_args()
    lessons = [
        path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name.startswith(tuple(asked.lessons) or "")
    ]
    print(f"{'lesson':<14} {'good':>9} {'seconds (most)':>16} {'processor':>10} {'memory':>8}")
    is_good = True
    for lesson in lessons:
        runs = []
        with tempfile.TemporaryDirectory() as aside:
            for number in range(asked.n):
                folder = Path(aside, f"{number // 2}")
                if number % 2 == 0:
                    left_behind = shutil.ignore_patterns(".*", "*.stepup.db*", "build")
                    shutil.copytree(NOTEBOOKS, folder, ignore=left_behind)
                runs.append(execute(folder / lesson.name))
        complaints, took, work, most = zip(*runs, strict=True)
        good = complaints.count("")
        print(
            f"{lesson.stem:<14} {good:>2} of {len(runs):<2}   {statistics.median(took):>6.1f} s ({max(took):.1f})"
            f" {statistics.median(work):>8.1f} s {max(most) / 1e6:>5.0f} MB",
            flush=True,
        )
        for said in filter(None, complaints):
            print(said, file=sys.stderr)
            is_good = False
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
