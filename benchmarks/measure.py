"""Measures: a command with all that it starts, or a cell in a real kernel with all that the kernel started.

Seconds of processor time are those of whole trees, also of what was daemonised; memory is the largest resident set of
any single process, in bytes.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

_SUBREAPER = 36
_TICK = os.sysconf("SC_CLK_TCK")

Figures = dict[str, float]

HELPERS = """
import ctypes, json, os, statistics, sys, time
from pathlib import Path

def ticks(*pids):
    total = 0
    for pid in pids:
        fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")

def resident(pid):
    return int(open(f"/proc/{pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def answer(**values):
    print("ANSWER" + json.dumps(values))
"""
"""What code that is measured may use."""

SESSION = """
import stepup_nb
from stepup_nb.api import pool, runsh, runpy
from stepup_nb.client.current import session
from stepup_nb.client.session import check
def whole():
    # The kernel, its director, and the guard between them, each with the children that it waited for.
    director = session().connect().greeting["director_pid"]
    guard = int(open(f"/proc/{director}/stat").read().rpartition(")")[2].split()[1])
    return os.getpid(), director, guard
"""

EXTENSION = 'get_ipython().run_line_magic("load_ext", "stepup_nb")\n'


def command(words: list[str], folder: str | os.PathLike[str], **variables: str) -> Figures:
    """Run a command to its end, and return ``wall``, ``cpu`` and ``rss``."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, **variables},
        )
        _, status, own = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        while True:
            # What outlived it fell to us.
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        if process.returncode:
            said.seek(0)
            raise RuntimeError(
                f"{words}: {process.returncode}\n{said.read()[-2000:].decode(errors='replace')}"
            )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "rss": own.ru_maxrss * 1024.0}


class Kernel:
    """A fresh kernel, in a fresh folder unless one is given."""

    def __init__(self, folder: str | None = None, setup: str = HELPERS + EXTENSION + SESSION) -> None:
        self._made = tempfile.mkdtemp(prefix="stepup-bench-") if folder is None else None
        self.folder = folder or str(self._made)
        self._setup = setup

    def __enter__(self) -> Kernel:
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(cwd=self.folder, stderr=subprocess.DEVNULL)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        self.run(self._setup)
        return self

    def run(self, code: str) -> dict[str, Any]:
        """Execute a cell and return what it answered."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])
            elif message["msg_type"] == "error":
                raise RuntimeError("\n".join(message["content"]["traceback"]))

        self._client.execute_interactive(textwrap.dedent(code), output_hook=hear, timeout=900)
        return _answer("".join(said))

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        # In order, so that what it remembers is complete.
        self._manager.shutdown_kernel(now=False)
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)


def in_kernel(code: str, folder: str | None = None, **options: Any) -> dict[str, Any]:
    """Execute a cell in a fresh kernel."""
    with Kernel(folder, **options) as kernel:
        return kernel.run(code)


def in_process(code: str, folder: str | None = None) -> dict[str, Any]:
    """Execute the same in plain Python that owns a session: the director with next to no kernel around it."""
    made = None
    if folder is None:
        folder = made = tempfile.mkdtemp(prefix="stepup-bench-")
    place = (folder, f"{folder}/a.ipynb", f"{folder}/a.stepup.db", f"{folder}/.stepup/a")
    begin = f"""
from stepup_nb.client import current
from stepup_nb.client.session import Place, Session
current.set_session(Session(Place(*{place!r}), workers=2))
"""
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                HELPERS + begin + SESSION + textwrap.dedent(code) + "\nsession().close()\n",
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return _answer(done.stdout)
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _answer(said: str) -> dict[str, Any]:
    lines = [line for line in said.splitlines() if line.startswith("ANSWER")]
    answer: dict[str, Any] = json.loads(lines[-1].removeprefix("ANSWER")) if lines else {}
    return answer


class Burner:
    """A process that computes without end."""

    def __enter__(self) -> Burner:
        self._process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def write(folder: str | os.PathLike[str], name: str, text: str, mode: int = 0o644) -> None:
    """Write a file."""
    path = Path(folder) / name
    path.write_text(text)
    path.chmod(mode)
