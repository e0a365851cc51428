"""A small world for tests of processes: a loop, an executor, and what is really alive."""

import os
import select
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stepup_nb.core.messages import JobBegan, JobEnded, JobLost, JobNotStarted
from stepup_nb.director import clusters, processes
from stepup_nb.director.executor import CannotStart, Executor
from stepup_nb.director.local import LocalExecutor
from stepup_nb.director.output import LogFolder
from stepup_nb.director.processes import run_marker
from stepup_nb.director.reactor import Reactor

PATIENCE = 60.0
"""Seconds after which a condition that did not come true fails its test."""


def until(
    condition: Callable[[], object],
    turn: Callable[[], None] | None = None,
    patience: float = PATIENCE,
) -> None:
    """Wait for a condition; turn a loop meanwhile, if there is one."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "this did not become true in time"
        if turn is not None:
            turn()
        else:
            select.poll().poll(2)


def python(code: str) -> tuple[str, str, str]:
    """Return the words of a command that runs this Python."""
    return sys.executable, "-c", textwrap.dedent(code)


def alive(word: str) -> list[int]:
    """Return the processes that have exactly this word in their command line and are no zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
            state = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:
            continue
        if word.encode() in words.split(b"\0") and state not in b"ZX":
            found.append(int(entry))
    return found


def children() -> dict[int, str]:
    """Return our children, with how the system shows each."""
    found = {}
    for pid in processes.children(os.getpid()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
            found[pid] = f"{processes.look(pid)} {words}"
        except OSError:
            # Reaped meanwhile.
            continue
    return found


class Gate:
    """What a command waits for with ``read x < gate``."""

    def __init__(self, folder: Path) -> None:
        os.mkfifo(folder / "gate")
        self._fd = os.open(folder / "gate", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def open(self) -> None:
        """Let one reader go on."""
        os.write(self._fd, b"go\n")

    def close(self) -> None:
        """Give it back."""
        os.close(self._fd)


class World:
    """An executor with its loop, as a director has it; ended jobs by number."""

    def __init__(
        self,
        folder: Path,
        cap: int = 64 * 1024 * 1024,
        grace: float = 5.0,
        python: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self._others = children()
        self.reactor = Reactor()
        self.ended: dict[int, JobEnded] = {}
        self.refused: dict[int, JobNotStarted] = {}
        self.reported_at: dict[int, float] = {}
        self.outputs: list[int] = []
        self.logs = LogFolder(str(folder / "logs"), cap)
        self.marker = run_marker(f"test-{os.urandom(4).hex()}")
        self.executor = self._begin(grace, python)
        self._count = 0

    def _begin(self, grace: float, python: Sequence[str]) -> Executor:
        return LocalExecutor(
            self.reactor,
            self._take,
            logs=self.logs,
            marker=self.marker,
            on_output=self.outputs.append,
            grace=grace,
            python=python,
        )

    def start(self, *argv: str, cwd: str | None = None, env: Mapping[str, str] | None = None) -> int:
        """Start a command, by a shell unless it is a path or several words."""
        self._count += 1
        is_path = argv[0].startswith(("/", ".")) and " " not in argv[0]
        words = argv if len(argv) > 1 or is_path else ("/bin/sh", "-c", *argv)
        self.executor.start(
            self._count, words, cwd or str(self.folder), {"PATH": "/usr/bin:/bin"} if env is None else env
        )
        return self._count

    def refuse(self, *argv: str, cwd: str | None = None) -> CannotStart:
        """Start a command that cannot be started, and return why; some learn it at once, some late."""
        self._count += 1
        job = self._count
        try:
            self.executor.start(job, argv, cwd or str(self.folder), {"PATH": "/usr/bin:/bin"})
        except CannotStart as cannot:
            return cannot
        self.until(lambda: job in self.refused)
        report = self.refused[job]
        return CannotStart(report.words, report.is_transient, report.is_full)

    def wait(self, *jobs: int) -> JobEnded:
        """Turn the loop until these jobs have ended; return the last one's end."""
        until(lambda: all(job in self.ended for job in jobs), self.turn)
        return self.ended[jobs[-1]]

    def run(self, *argv: str, cwd: str | None = None, env: Mapping[str, str] | None = None) -> JobEnded:
        """Run a command to its end."""
        return self.wait(self.start(*argv, cwd=cwd, env=env))

    def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop until a condition holds."""
        until(condition, self.turn)

    def turn(self) -> None:
        """Turn the loop once, for 10 ms at most."""
        self.reactor.turn(0.01)

    def out(self, job: int) -> bytes:
        """Return all that a job wrote to stdout, as far as it is in the log."""
        return self.executor.read_log(job, "stdout", 0, 1 << 30)

    def err(self, job: int) -> bytes:
        """Return all that a job wrote to stderr, as far as it is in the log."""
        return self.executor.read_log(job, "stderr", 0, 1 << 30)

    def close(self) -> None:
        """Kill what is left, give everything back, and see that nobody outlives this world who was not there before."""
        self.executor.close()
        self.reactor.close()
        left = self.left()
        assert not left, f"a process outlived its test: {left}"

    def left(self) -> dict[int, str]:
        """Return the children that are there at the end and were not before."""
        return self.children()

    def children(self) -> dict[int, str]:
        """Return our children that were not there before, with how the system shows each."""
        return {pid: words for pid, words in children().items() if pid not in self._others}

    def _take(self, report: JobBegan | JobEnded | JobNotStarted | JobLost) -> None:
        if isinstance(report, JobBegan):
            return
        if isinstance(report, JobNotStarted):
            assert report.job not in self.refused
            self.refused[report.job] = report
            return
        assert isinstance(report, JobEnded)
        assert report.job not in self.ended
        self.ended[report.job] = report
        self.reported_at[report.job] = time.monotonic()


class ClusterWorld(World):
    """The same with an executor of a cluster, which the director would join just so."""

    def __init__(self, folder: Path, address: str, security: dict[str, str], grace: float = 5.0) -> None:
        self._request = {"address": address, "security": security}
        super().__init__(folder, grace=grace)

    def _begin(self, grace: float, python: Sequence[str]) -> Executor:
        home = clusters.Home(
            self.reactor,
            self._take,
            self.logs,
            str(self.folder),
            self.marker,
            time.time,
            self.outputs.append,
            lambda capacity: None,
            lambda words: None,
            lambda: 2,
            grace,
            str(self.folder / "socket"),
            lambda: 0,
        )
        return clusters.join(home, self._request)
