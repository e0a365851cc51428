"""A sign of life while steps run, for hubs that end a kernel from which nothing was heard for some minutes.

Such a hub (mybinder.org's takes ten minutes) counts the messages of kernels, and knows nothing of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stepup_nb.notebook.outputs import new_id
from stepup_nb.notebook.publisher import Ask, Live, Row, Send

EACH = 30.0
"""Seconds between two signs of life; no hub that is of use to anybody is less patient."""


class KeepAlive(Live):
    """Gives a sign of life while steps run, whether or not anything is shown.

    Parameters
    ----------
    beat
        Gives it.
    is_wanted
        Tells whether the user wants it.
    """

    def __init__(self, beat: Callable[[], None], is_wanted: Callable[[], bool]) -> None:
        super().__init__(new_id())
        self._beat = beat
        self._is_wanted = is_wanted
        self._running = 0

    def take_all(self, ask: Ask) -> None:
        """Learn how many steps run of a director that is new."""
        status = ask("status")
        if status is not None:
            self.take(status)

    def take(self, event: Row) -> None:
        """Learn how many steps run."""
        self._running = event["counts"].get("RUNNING", 0)

    def lose(self) -> None:
        """Nothing runs without a director."""
        self._running = 0

    def pulse(self, rows: Iterable[Row]) -> float | None:
        """Ask for the next sign of life."""
        return EACH if self._running and self._is_wanted() else None

    def publish(self, rows: list[Row], event: Row, ask: Ask, send: Send) -> bool:
        """Give a sign of life."""
        is_due = bool(self._running) and self._is_wanted()
        if is_due:
            self._beat()
        return is_due
