"""What was clicked: heard in whatever thread the kernel hears the browser in, carried out in one of its own.

A click must never keep the kernel's threads waiting, not even for the milliseconds that the director takes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from stepup_nb.client.connection import DirectorGone
from stepup_nb.client.session import Session
from stepup_nb.core.errors import StepUpError
from stepup_nb.core.model import ScopeKind
from stepup_nb.notebook.panel.live import PanelLive

SCOPE = "panel"
"""Who gave a pool its size, when it was somebody at the panel."""
REMEMBERED = 1000
"""Actions whose answers are kept, for those that are heard again."""


class Controls:
    """Takes the browser's messages.

    Parameters
    ----------
    live
        What the browser is told.
    begin_session
        Returns the session.
    touch
        Called when there is something to tell.
    """

    def __init__(
        self, live: PanelLive, begin_session: Callable[[], Session], touch: Callable[[], None]
    ) -> None:
        self._live = live
        self._begin_session = begin_session
        self._touch = touch
        self._actions: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._answers: dict[int, str] = {}
        """What was said about the last actions, by number; only the thread's own."""

    def take(self, message: Any) -> None:
        """Take a message; whatever is none is ignored. Any thread may call it, and it returns at once."""
        kind = message.get("kind") if isinstance(message, dict) else None
        if kind == "hello":
            self._live.hello()
        elif kind == "follow":
            self._live.follow(
                str(message.get("view")), _text(message.get("step")), _number(message.get("job"))
            )
        elif kind == "graph":
            self._live.show_graph(str(message.get("view")), is_open=message.get("open") is True)
        elif kind == "act":
            self._begin()
            self._actions.put(message)
            return
        else:
            return
        self._touch()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="stepup-controls", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread after what is under way."""
        self._actions.put(None)

    def _work(self) -> None:
        self._begin_session().open_scope(SCOPE, ScopeKind.SESSION, "the panel", [])
        while (message := self._actions.get()) is not None:
            number = _number(message.get("id")) or 0
            if number not in self._answers:
                self._answers[number] = self._answer(message)
                if len(self._answers) > REMEMBERED:
                    del self._answers[next(iter(self._answers))]
            self._live.answer(number, self._answers[number])
            self._touch()

    def _answer(self, message: dict[str, Any]) -> str:
        """Do what a message says, and return what is wrong with that, or ""."""
        try:
            self._act(message)
        except StepUpError as error:
            return f"{error.what} {error.fix}".strip()
        except DirectorGone:
            return "The director of this notebook is gone; the next use of it starts a new one."
        except Exception as error:
            return f"This went wrong: {error!r}"
        return ""

    def _act(self, message: dict[str, Any]) -> None:
        session, verb = self._begin_session(), message.get("verb")
        pool = _text(message.get("pool"))
        if verb == "cancel":
            session.cancel(self._key(message))
        elif verb == "rerun":
            session.rerun(self._key(message))
        elif verb == "rerun failed":
            session.rerun(failed=True)
        elif verb == "cancel all":
            session.cancel(all=True)
        elif verb == "pause":
            session.pause(pool)
        elif verb == "resume":
            session.resume(pool)
        elif verb == "resize":
            session.pool(str(pool), message.get("size"))
        elif verb == "workers":
            session.set_workers(message["number"])
        elif verb == "run":
            session.run()
        else:
            raise ValueError(f"the panel does not know how to {verb!r:.40}")

    def _key(self, message: dict[str, Any]) -> str:
        name = str(message.get("step"))
        return self._live.key_of(name) or name


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
