"""What an executor is to the loop: the place where jobs become processes.

Knows nothing of steps and pools. `LocalExecutor` runs jobs on this machine; an executor for a cluster
offers the same and may learn later what the local one knows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from stepup_nb.core.messages import JobEnded, JobNotStarted

Stream = Literal["stdout", "stderr"]

Reporter = Callable[[JobEnded | JobNotStarted], None]
"""Called in the loop's thread, once a started job, after the last `Executor.tail` has become final."""


class CannotStart(Exception):
    """No process came to be, and nothing of the job is left.

    Attributes
    ----------
    words
        What happened and what to do, to go after the name of the step.
    is_transient
        Worth another try.
    is_full
        The machine has no room for any process now.
    """

    def __init__(self, words: str, is_transient: bool = False, is_full: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.is_transient = is_transient
        self.is_full = is_full


class Tail(NamedTuple):
    """The last few KiB of what a job wrote, decoded; what is not UTF-8 is replaced."""

    stdout: str
    stderr: str


class Found(NamedTuple):
    """What a job wrote, from a place on; a place is a number of bytes of stdout and of stderr."""

    pieces: list[tuple[int, bytes]]
    """In order of arrival: 0 for stdout or 1 for stderr, and what was written."""
    place: tuple[int, int]
    """The place after them."""
    lines: int | None
    """How many lines had ended at that place, where that is known."""
    is_more: bool
    """There is more by now."""


class Executor(Protocol):
    """Starts commands, stops them with all they started, and keeps what they write.

    Every method belongs to the loop's thread, and none waits, but for `kill_all`. Numbers of jobs are
    the caller's and never used twice. For each job that was started, exactly one `JobEnded` (or
    `JobNotStarted`, from an executor that learns it late) goes to the reporter given at construction,
    stopped or not; never from within `start` or `stop`.
    """

    def start(
        self, job: int, argv: Sequence[str], cwd: str, env: Mapping[str, str], place: str | None = None
    ) -> None:
        """Start a command; RUNNING was committed before.

        Parameters
        ----------
        job
            Its number.
        argv
            The command's words. One without a slash is looked for in the PATH of ``env``.
        cwd
            Absolute path of the directory to run in.
        env
            The whole environment; the executor adds its own markers.
        place
            The machine that it has to run on; None: wherever there is room.

        Raises
        ------
        CannotStart
            Where that is known at once.
        """

    def stop(self, job: int) -> None:
        """End a job's whole tree: SIGTERM and SIGCONT, after the grace SIGKILL. Unknown jobs are ignored."""

    def kill_all(self) -> None:
        """Kill every process of every job and wait for their ends, two seconds at most.

        For the end of the director: nothing is reported any more, and nothing can be started.
        """

    def tail(self, job: int) -> Tail:
        """Return the end of what a job, live or ended, wrote."""

    def read_log(self, job: int, stream: Stream, offset: int, limit: int) -> bytes:
        """Return a piece of a log, from an offset in bytes; empty at its end, or where there is none."""

    def output(self, job: int, place: tuple[int, int], most: int, *, is_last: bool) -> Found:
        """Return what a job wrote after a place, in the order of arrival as far as that was kept.

        Parameters
        ----------
        job
            Its number.
        place
            What has been seen of stdout and of stderr, in bytes.
        most
            Bytes of both streams together.
        is_last
            Leave out the first of them where there are more, not the last.
        """

    def memory(self) -> int:
        """Return the bytes of memory that all live jobs together used when they were looked at last."""

    def log_path(self, job: int, stream: Stream) -> str:
        """Return where that log is, if it is anywhere. A job that wrote nothing has no file."""

    def forget(self, jobs: Iterable[int]) -> None:
        """Remove the logs of ended jobs that are not remembered any more."""

    def close(self) -> None:
        """Kill what is left, and give back everything that is held."""
