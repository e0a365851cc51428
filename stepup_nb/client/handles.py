"""What a declaration returns: a name to ask the director about."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from stepup_nb.core.errors import StepUpError
from stepup_nb.core.words import visible

if TYPE_CHECKING:
    from stepup_nb.client.session import Session


class StepHandle:
    """A declared step. Every attribute asks the director anew; ``await`` waits for the step.

    Attributes
    ----------
    name
        The step's unique key.
    notes
        What the director remarked on the declaration, such as a pool that nobody defined.
    """

    def __init__(self, session: Session, name: str, notes: tuple[str, ...] = ()) -> None:
        self._session = session
        self.name = name
        self.notes = notes

    def _row(self) -> dict[str, Any]:
        return self._session.rows([self.name])[0]

    @property
    def label(self) -> str:
        """The name in one line of at most 80 characters."""
        return str(self._row()["label"])

    @property
    def state(self) -> str:
        """PENDING, CHECKING, QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED."""
        return str(self._row()["state"])

    @property
    def reason(self) -> str:
        """Why it is in that state, in words."""
        return str(self._row()["reason"])

    @property
    def returncode(self) -> int | None:
        """Exit status of the last job; negative: the signal that killed it; None before there was one."""
        code: int | None = self._row()["returncode"]
        return code

    @property
    def duration(self) -> float | None:
        """Seconds that the last job took, or None before one ended."""
        seconds: float | None = self._row()["duration"]
        return seconds

    @property
    def inp(self) -> list[str]:
        """Declared inputs, relative to the root."""
        return list(self._row()["inp"])

    @property
    def out(self) -> list[str]:
        """Declared outputs, relative to the root."""
        return list(self._row()["out"])

    @property
    def vol(self) -> list[str]:
        """Declared volatile outputs, relative to the root."""
        return list(self._row()["vol"])

    @property
    def env(self) -> list[str]:
        """Names of the environment variables that it is sensitive to."""
        return list(self._row()["env"])

    @property
    def pool(self) -> dict[str, int]:
        """Slots that it asks for, by pool."""
        return dict(self._row()["pool"])

    @property
    def job(self) -> int | None:
        """Id of the last job, or None."""
        job: int | None = self._row()["job"]
        return job

    @property
    def stdout(self) -> str:
        """All that the log kept of the last job's standard output."""
        return self._session.log(self.name, "stdout").decode(errors="replace")

    @property
    def stderr(self) -> str:
        """All that the log kept of the last job's standard error."""
        return self._session.log(self.name, "stderr").decode(errors="replace")

    def wait(self, timeout: float | None = None) -> StepHandle:
        """Wait until it is finished, and return the handle.

        Raises
        ------
        StepsFailed
            SNB-601: it did not succeed, or cannot run.
        TimeoutError
            The time was over; the step goes on.
        """
        from stepup_nb.client.session import check

        check(self._session.wait([self.name], timeout))
        return self

    def __await__(self) -> Generator[Any, None, StepHandle]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> StepHandle:
        from stepup_nb.client.session import check

        waiting = asyncio.wrap_future(self._session.begin_wait([self.name]))
        try:
            while not waiting.done():
                # A kernel's interrupt does not wake the loop: look every now and then.
                await asyncio.wait({waiting}, timeout=0.1)
        finally:
            # Whoever stops awaiting stops waiting, and nothing else.
            waiting.cancel()
        check(waiting.result())
        return self

    def cancel(self) -> None:
        """Stop the step; one that is finished stays as it is."""
        self._session.cancel(self.name)

    def rerun(self) -> None:
        """Run it again, whether or not it is up to date."""
        self._session.rerun(self.name)

    def why(self) -> list[str]:
        """Say why it ran, runs, or waits."""
        found = self._session.why(self.name)
        words = list(found["outdated"])
        # What was outdated is the reason of the job, too.
        words += [more for more in (found["reason"], found["root"]) if more and more not in "; ".join(words)]
        return words

    def __repr__(self) -> str:
        # Shown where nobody asked for it, as at the end of a cell: it starts nothing and never fails.
        try:
            row = self._row() if self._session.is_started else None
        except (StepUpError, OSError):
            row = None
        if row is None:
            return f"<step {self.name!r}>"
        reason = f": {row['reason']}" if row["reason"] else ""
        return visible(f"<step {row['label']!r} {row['state']}{reason}>")


def names_of(*steps: StepHandle | str | Iterable[StepHandle | str]) -> list[str]:
    """Return the names of steps that are given as handles, names, or several of them at once."""
    several = ([one] if isinstance(one, str | StepHandle) else one for one in steps)
    return [step.name if isinstance(step, StepHandle) else step for one in several for step in one]
