"""What floods of output cost, and how soon a cell answers meanwhile: `make bench-flood` prints it.

A real kernel shows a record and follows each step in its panel, as a browser would have it. While the step prints as
fast as it can, the cell `1+1` is executed again and again; told are the times until its reply, and by how much kernel
and director have grown at most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

from faults.test_flood import MIB, Memory, panel_of
from notebook.helpers_kernel import Kernel

FLOODS = {
    "1 GB of lines": "(yes 0123456789abcdef0123456789abcdef || true) | head -c 1000000000",
    "one line of 300 MB": "head -c 300000000 /dev/zero | tr '\\0' x",
    "a progress bar with 1,000,000 updates": (
        "awk 'BEGIN { for (i = 1; i <= 1000000; i++) printf \"\\r%7d of 1000000 \\033[32mOK\\033[0m\", i }'"
    ),
    "lines for some seconds": "timeout {seconds} yes 0123456789abcdef0123456789abcdef || true",
    "lines on both streams for some seconds": (
        "(timeout {seconds} yes all is lost >&2 || true) & timeout {seconds} yes all is well || true; wait"
    ),
    "colours for some seconds": "timeout {seconds} awk 'BEGIN {{ while (1) {{ for (i = 0; i < 300; i++) printf "
    '"\\033[3%dm%c", i % 6 + 1, 97 + i % 26; print "" }} }}\' || true',
}


def answers(kernel: Kernel) -> list[float]:
    """Execute `1+1` as long as the step runs, and return the seconds until each reply."""
    found = []
    while True:
        begin = time.perf_counter()
        id = kernel.client.execute("1+1", store_history=False)
        while True:
            # Only the reply is waited for; what else comes is read between two cells.
            message = kernel.client.get_shell_msg(timeout=60)
            if message["parent_header"].get("msg_id") == id:
                break
        found.append(time.perf_counter() - begin)
        kernel._take(0)
        if len(found) % 20 == 0 and kernel.value("handle.state") not in ("RUNNING", "QUEUED", "CHECKING"):
            return found


def measure(kernel: Kernel, name: str, command: str) -> dict[str, Any]:
    """Let a step flood, and return the figures."""
    panel = panel_of(kernel)
    kernel.say(panel, {"kind": "hello"})
    kernel.say(panel, {"kind": "follow", "view": "v", "step": name, "job": None})
    memory, director = Memory(kernel.process.pid), Memory(kernel.status()["director_pid"])
    before = len(kernel.said(panel))
    kernel.run_ok(f"%%runsh --name {name} --var handle\n{command}", cell=name)
    begin = time.perf_counter()
    times = answers(kernel)
    kernel.run_ok("%stepup wait", cell=f"wait {name}")
    (row,) = [row for row in kernel.history() if row["step"] == name]
    seconds = row["ended"] - row["started"]
    # What was executed after its end does not count.
    flowing = [times[number] for number, at in enumerate(accumulate(times)) if at <= seconds] or times[:1]
    messages = [len(json.dumps(each)) for each in kernel.said(panel)[before:]]
    return {
        "seconds": seconds,
        "cells": len(flowing),
        "median": statistics.median(flowing),
        "99th": sorted(flowing)[min(len(flowing) - 1, int(0.99 * len(flowing)))],
        "most": max(flowing),
        "kernel": memory.grown() / MIB,
        "director": director.grown() / MIB,
        "messages": len(messages) / max(1.0, time.perf_counter() - begin),
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-s", "--seconds", type=int, default=10, help="how long is some seconds (default 10)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}"
    print(machine)
    heads = ("seconds", "cells", "1+1: median", "99th percentile", "most", "kernel grew", "director grew")
    print(f"| flood | {' | '.join(heads)} | messages a second |")
    print("|---|---|---|---|---|---|---|---|---|")
    figures = {}
    with tempfile.TemporaryDirectory(prefix="stepup-bench-") as folder:
        kernel = Kernel(Path(sys.executable), Path(folder) / "nb")
        try:
            kernel.load()
            kernel.run_ok("%stepup panel", cell="panel")
            kernel.run_ok("%runsh --name warm --var handle -- echo warm", cell="warm")
            kernel.run_ok("%stepup wait", cell="wait")
            for number, (title, command) in enumerate(FLOODS.items()):
                command = command.format(seconds=asked.seconds) if "{seconds}" in command else command
                found = figures[title] = measure(kernel, f"flood{number}", command)
                print(
                    f"| {title} | {found['seconds']:.1f} | {found['cells']} | {found['median'] * 1e3:.1f} ms"
                    f" | {found['99th'] * 1e3:.1f} ms | {found['most'] * 1e3:.1f} ms | {found['kernel']:.1f} MiB"
                    f" | {found['director']:.1f} MiB | {found['messages']:.1f} |",
                    flush=True,
                )
        finally:
            kernel.close()
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
