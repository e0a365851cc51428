"""Times that tests must not assert: `make bench` prints them, with what they are compared with.

Everything is measured as users meet it: in a real kernel, extension loaded, from the first declaration to the
end of the wait. ninja does the same work in the same run, interleaved; it comes from the package index.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

SETUP = """
import json, os, statistics, time
get_ipython().run_line_magic("load_ext", "stepup_nb")
import stepup_nb
from stepup_nb.api import pool, runsh
from stepup_nb.client.current import session

def ticks(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

def answer(**values):
    print("ANSWER" + json.dumps(values))
"""

THOUSAND = """
session().set_workers(2)
director = stepup_nb.status()["director_pid"]
before, begin = ticks(director), time.perf_counter()
for _ in range(1000):
    runsh("true")
declared = time.perf_counter()
session().wait()
answer(wall=time.perf_counter() - begin, declared=declared - begin, director=ticks(director) - before)
"""

SLEEPS = """
session().set_workers(8)
pool("two", 2)
begin = time.perf_counter()
for _ in range(200):
    runsh("sleep 0.02", pool="two")
session().wait()
answer(wall=time.perf_counter() - begin)
"""

OVERLAP = """
session().set_workers(8)
pool("two", 2)
for number in range(20):
    runsh("sleep 0.2", pool="two")
session().wait()
rows = stepup_nb.history()
answer(makespan=max(r["ended"] for r in rows) - min(r["started"] for r in rows))
"""

DECLARE = """
def median(count, prefix):
    times = []
    for number in range(count):
        begin = time.perf_counter()
        get_ipython().run_cell_magic("runsh", "", f"true {prefix}{number}")
        times.append(time.perf_counter() - begin)
    return statistics.median(times), max(times)

session().set_workers(60)
quiet = median(100, "a")
session().wait()
for number in range(50):
    runsh(f"sleep 30; true {number}")
busy = median(100, "b")
session().cancel(all=True)
answer(quiet=quiet[0], busy=busy[0], worst=max(quiet[1], busy[1]))
"""

RESIZE = """
session().set_workers(8)
pool("test", 1)
for number in range(9):
    runsh(f"sleep 1; true {number}", pool="test")
time.sleep(0.1)
begin = time.time()
pool("test", 4)
time.sleep(0.4)
started = sorted(r["started"] - begin for r in stepup_nb.history())[1:4]
answer(grown=max(started), number=len(started))
session().cancel(all=True)
"""


SOCKET = """
from pathlib import Path
for number in range(1000):
    Path(f"{number}.txt").write_text("")
Path("plan.py").write_text('''#!/usr/bin/env python3
import json, time
from stepup.core.api import amend, runsh, static
static(*(f"{number}.txt" for number in range(1000)))
begin = time.perf_counter()
for number in range(1000):
    amend(inp=f"{number}.txt")
amended = time.perf_counter()
for number in range(1000):
    runsh(f"true {number}", inp=f"{number}.txt", block=True)
print(json.dumps([amended - begin, time.perf_counter() - amended]))
''')
Path("plan.py").chmod(0o755)
step = session().boot("plan.py")
step.wait()
amends, declarations = json.loads(step.stdout)
answer(amends=amends, declarations=declarations)
"""


class Kernel:
    """A fresh kernel in a fresh folder."""

    def __enter__(self) -> Kernel:
        self.folder = tempfile.mkdtemp(prefix="stepup-bench-")
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(cwd=self.folder)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        self.run(SETUP)
        return self

    def run(self, code: str) -> dict[str, Any]:
        """Execute a cell and return what it answered."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])
            elif message["msg_type"] == "error":
                raise RuntimeError("\n".join(message["content"]["traceback"]))

        self._client.execute_interactive(code, output_hook=hear, timeout=300)
        lines = [line for line in "".join(said).splitlines() if line.startswith("ANSWER")]
        answer: dict[str, Any] = json.loads(lines[-1].removeprefix("ANSWER")) if lines else {}
        return answer

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def in_kernel(code: str) -> dict[str, Any]:
    """Execute a cell in a fresh kernel."""
    with Kernel() as kernel:
        return kernel.run(code)


def ninja(rules: str, *options: str) -> dict[str, Any]:
    """Let ninja do the same; return its wall seconds."""
    program = shutil.which("ninja", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "build.ninja").write_text(rules)
        begin = time.perf_counter()
        subprocess.run([program, *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return {"wall": time.perf_counter() - begin}


def ninja_thousand() -> dict[str, Any]:
    """1,000 times ``true``, two at a time."""
    edges = "\n".join(f"build o{n}: run\n n = {n}" for n in range(1000))
    return ninja(f"rule run\n command = true $n\n{edges}\n", "-j2")


def ninja_sleeps() -> dict[str, Any]:
    """200 times ``sleep 0.02`` in a pool of two, eight jobs."""
    edges = "\n".join(f"build o{n}: run\n pool = two\n n = {n}" for n in range(200))
    return ninja(f"pool two\n depth = 2\nrule run\n command = sleep 0.02 # $n\n{edges}\n", "-j8")


def interleaved(rounds: int, *measures: Callable[[], dict[str, Any]]) -> list[dict[str, float]]:
    """Measure in turn, and return the medians of each."""
    found: list[list[dict[str, Any]]] = [[] for _ in measures]
    for _ in range(rounds):
        for results, measure in zip(found, measures, strict=True):
            results.append(measure())
    return [
        {key: statistics.median(result[key] for result in results) for key in results[0]} for results in found
    ]


def main() -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-r", "--rounds", type=int, default=3, help="rounds; medians are printed (default 3)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}"
    print(machine)

    overlap, declare, resize = interleaved(
        asked.rounds, lambda: in_kernel(OVERLAP), lambda: in_kernel(DECLARE), lambda: in_kernel(RESIZE)
    )
    span = overlap["makespan"]
    print(f"20 x sleep 0.2, pool of 2, 8 workers: {span:.3f} s, {span / 2:.3f} x the ideal 2.0 s")
    quiet, busy = declare["quiet"] * 1e3, declare["busy"] * 1e3
    print(f"a cell that declares a step: {quiet:.2f} ms; while 50 steps run {busy:.2f} ms (medians of 100)")
    print(f"resize 1 to 4: three more have started after {resize['grown'] * 1e3:.1f} ms")
    ours, theirs = interleaved(asked.rounds, lambda: in_kernel(THOUSAND), ninja_thousand)
    print(f"1,000 x true, 2 workers: {ours['wall']:.3f} s, declared after {ours['declared']:.3f} s", end="; ")
    print(f"the director took {ours['director']:.2f} s of processor time")
    if theirs:
        print(f"  ninja -j2: {theirs['wall']:.3f} s; ratio {ours['wall'] / theirs['wall']:.2f}")
    slept, ninja_slept = interleaved(asked.rounds, lambda: in_kernel(SLEEPS), ninja_sleeps)
    print(
        f"200 x sleep 0.02, pool of 2, 8 workers: {slept['wall']:.3f} s, efficiency {2 / slept['wall']:.3f}"
    )
    if ninja_slept:
        print(f"  ninja: {ninja_slept['wall']:.3f} s, efficiency {2 / ninja_slept['wall']:.3f}")
    (plan,) = interleaved(asked.rounds, lambda: in_kernel(SOCKET))
    print(
        f"a plan over the socket: 1,000 amends {plan['amends']:.3f} s,"
        f" 1,000 declarations {plan['declarations']:.3f} s"
    )
    if asked.json:
        figures = {
            "machine": machine,
            "overlap": overlap,
            "declare": declare,
            "resize": resize,
            "thousand": ours,
            "thousand_ninja": theirs,
            "sleeps": slept,
            "sleeps_ninja": ninja_slept,
            "plan": plan,
        }
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
