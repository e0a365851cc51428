"""The panel as one of the publisher's outputs: what it asks the director for before a message goes out.

Two threads of the publisher call it, and the threads that hear the browser: all that they share is behind
one lock, which nobody holds while asking or sending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from stepup_nb.notebook.panel import feed, logs
from stepup_nb.notebook.panel.feed import JOBS, Feed, Message
from stepup_nb.notebook.publisher import Ask, Live, Row, Send

EACH = 0.17
"""Least seconds between two messages to the browser: no second, wherever it begins, has more than `SHARE`."""
SHARE = 6
"""Messages a second that go to the panel, of all that there may be."""
PULSE = 2.0
"""Seconds between two messages while a step runs that says nothing: memory and remaining time pass."""
PIECE = 64 * 1024
"""Bytes of output that one message brings of a job."""
FOLLOWED = 4
"""Steps whose output is followed at a time; the browser shows one in each of its views."""


class _Followed:
    """A step that some view shows in full."""

    def __init__(self, step: str, job: int | None) -> None:
        self.step = step
        self.chosen = job
        """The job that is shown; None means the last one."""
        self.tail: logs.Tail | None = None
        self.needs_details = True


class PanelLive(Live):
    """Keeps the browser's picture of a session up to date.

    Parameters
    ----------
    send
        Sends a message to the browser.
    state
        What the browser is told.
    """

    each = EACH
    share = SHARE

    def __init__(self, send: Callable[[Message], None], state: Feed) -> None:
        super().__init__("panel")
        self.follows_all = True
        self.feed = state
        self._send = send
        self._shared = threading.Lock()
        self._views: dict[str, _Followed] = {}
        self._graphs: dict[str, None] = {}
        """Views that show a graph."""
        self._has_new_graph = False
        self._graph_sent = 0.0
        self._early: list[Row] = []
        """Events that came before the state to which they belong."""
        self._is_lost = False
        self._at = self._at_moment = 0.0
        """What the director's clock said last, and when that was by ours."""

    # --- the threads that hear the browser -------------------------------------------------------

    def hello(self) -> None:
        """Somebody knows nothing, or has missed something."""
        with self._shared:
            self.feed.hello()
            for followed in self._views.values():
                followed.needs_details = True
                if followed.tail is not None:
                    followed.tail.again()
            self._has_new_graph = bool(self._graphs)

    def follow(self, view: str, step: str | None, job: int | None) -> None:
        """A view shows a step in full from now on, or none."""
        with self._shared:
            self._views.pop(view, None)
            if step is not None:
                self._views[view] = _Followed(step, job)
            while len(self._views) > FOLLOWED:
                # A page that was reloaded does not say goodbye.
                del self._views[next(iter(self._views))]

    def show_graph(self, view: str, *, is_open: bool) -> None:
        """A view shows the graph from now on, or does not."""
        with self._shared:
            self._graphs.pop(view, None)
            if is_open:
                self._graphs[view] = None
                self._has_new_graph = True
            while len(self._graphs) > FOLLOWED:
                del self._graphs[next(iter(self._graphs))]

    def answer(self, number: int, words: str) -> None:
        """Tell the browser what became of an action."""
        with self._shared:
            self.feed.answer(number, words)

    def key_of(self, name: str) -> str | None:
        """Return the key of what the browser calls a step by that name."""
        with self._shared:
            return self.feed.key_of(name)

    # --- the publisher's thread that takes events ------------------------------------------------

    def take_all(self, ask: Ask) -> None:
        """Take in the whole state of a director that is new, or of which something was missed."""
        status = ask("status")
        jobs = ask("history", most=JOBS)
        if status is None or jobs is None:
            return
        with self._shared:
            self.feed.take_all(status, jobs["rows"])
            # What came while the state was on its way is newer than it, or will be followed by what is.
            for event in self._early:
                self.feed.take(event)
            self._early = []
            self._is_lost = False
            for followed in self._views.values():
                followed.needs_details = True
                if followed.tail is not None:
                    followed.tail.has_news = True
            self._has_new_graph = bool(self._graphs)

    def take(self, event: Row) -> None:
        """Take in an event."""
        with self._shared:
            if not self.feed.is_known:
                self._early.append(event)
                return
            self.feed.take(event)
            told = {feed.name_of(row["name"]) for row in event["steps"]}
            for followed in self._views.values():
                if followed.step in told:
                    followed.needs_details = True
                    if followed.tail is not None:
                        followed.tail.has_news = True
            if self._graphs and (told or event["gone"]):
                self._has_new_graph = True

    def lose(self) -> None:
        """Take note that the director is gone."""
        with self._shared:
            self._is_lost = True
            self._early = []
            if self.feed.is_known:
                self.feed.lose()

    # --- the publisher's thread that sends -------------------------------------------------------

    def publish(self, rows: list[Row], event: Row, ask: Ask, send: Send) -> bool:
        """Ask for what a message needs, and send it; return whether there was anything to send."""
        if not self.feed.is_known:
            # It was made after its director.
            self.take_all(ask)
        with self._shared:
            if not self.feed.is_known:
                return False
            views = list(self._views.values())
        try:
            return self._publish(views, ask)
        except BaseException:
            with self._shared:
                # What it would have told counts as told: let it be told anew.
                self.feed.hello()
            raise

    def _publish(self, views: list[_Followed], ask: Ask) -> bool:
        if self._publish_graph(ask):
            # In the place of another message: there may be only so many.
            self.is_dirty = True
            return True
        now, where = ask("now"), ask("where")
        told = [each for followed in views if (each := self._details(followed, ask)) is not None]
        outputs = [each for followed in views if (each := self._output(followed, ask)) is not None]
        with self._shared:
            if now is not None:
                self._at, self._at_moment = now["at"], time.monotonic()
                self.feed.take_now(now)
            if where is not None and not self._is_lost:
                self.feed.take_where(where)
            is_new = bool(self.feed.has_news or told or outputs)
            message = self.feed.message(self._clock(), outputs, told) if is_new else None
            # More than one message holds, or output that came in the meantime.
            if self.feed.has_news or (not self._is_lost and any(map(_has_news, self._views.values()))):
                self.is_dirty = True
        if message is not None:
            self._send(message)
        return is_new

    def _clock(self) -> float:
        """Return the director's time: the one by which jobs start and end, also after this machine has slept."""
        return self._at + time.monotonic() - self._at_moment if self._at else time.time()

    def _details(self, followed: _Followed, ask: Ask) -> Message | None:
        key = self.key_of(followed.step)
        if key is None or not followed.needs_details:
            return None
        followed.needs_details = False
        rows, why, jobs = ask("rows", steps=[key], known=True), ask("why", step=key), ask("jobs", step=key)
        if rows is None or why is None or jobs is None or not rows["rows"]:
            return None
        row = rows["rows"][0]
        wanted = followed.chosen if followed.chosen is not None else row["job"]
        if wanted is not None and (followed.tail is None or followed.tail.job != wanted):
            followed.tail = logs.Tail(followed.step, wanted)
        return feed.details(row, why, jobs["rows"])

    def _output(self, followed: _Followed, ask: Ask) -> Message | None:
        tail = followed.tail
        if tail is None:
            return None
        if not tail.has_news:
            with self._shared:
                return tail.message() if tail.is_resent else None
        out, err = tail.place
        # Before it is asked: what an event tells meanwhile must not be forgotten.
        tail.has_news = False
        answer = ask("output", job=tail.job, out=out, err=err, most=PIECE, last=True)
        if answer is None:
            tail.has_news = True
            return None
        with self._shared:
            tail.take(answer)
            return tail.message()

    def _publish_graph(self, ask: Ask) -> bool:
        with self._shared:
            is_due = self._has_new_graph and time.monotonic() > self._graph_sent + 1.0
            if not is_due:
                # Whether it is due is looked at with the next message at the latest.
                return False
            self._has_new_graph = False
        self._graph_sent = time.monotonic()
        answer = ask("graph")
        if answer is None:
            return False
        self._send(feed.graph(answer["nodes"]))
        return True

    def pulse(self, rows: Iterable[Row]) -> float | None:
        """Let time and memory pass while something runs, and a graph come that could not be sent at once."""
        if self._has_new_graph:
            return 1.0
        return PULSE if self.feed.is_busy and not self._is_lost else None


def _has_news(followed: _Followed) -> bool:
    return followed.tail is not None and followed.tail.has_news
