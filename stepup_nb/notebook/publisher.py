"""One thread between the director's events and the outputs of cells: events in, coalesced updates out.

The only writer of updates. The first display of an output is the executing cell's own, so that the front end
knows where it belongs; after that this thread sends at most `MOST` updates a second over all outputs, and to
each output at most one every `EACH` seconds, the last one always. Only `Publisher.flush`, at the end of a
wait or of a cell, does not stand in that line.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.core.errors import StepUpError

EACH = 0.5
"""Least seconds between two updates of one output."""
MOST = 10
"""Most updates in a second over all outputs."""

Bundle = dict[str, str]
Row = dict[str, Any]


class Ask(Protocol):
    """Asks the director; None where it is gone, or refuses."""

    def __call__(self, op: str, **fields: Any) -> Row | None: ...


Send = Callable[[str, Bundle], None]
"""Replaces the output of a display id by a bundle."""


class Live:
    """An output that follows the director: what it is about, and how it is drawn."""

    each = EACH
    """Least seconds between two updates of it."""
    has_children = False
    """It is also about what its steps declare."""
    share = 0
    """Updates a second that are kept for it, of all that there may be; 0: it stands in line with the others."""

    def __init__(self, display_id: str) -> None:
        self.display_id = display_id
        self.steps: dict[str, Row] = {}
        """Rows by name of the step, in order of declaration; one that is not known yet has its name alone."""
        self.follows_all = False
        """It is about every step, so that any event is news."""
        self.last_bundle: Bundle = {}
        self.last_sent = time.monotonic()
        self.is_dirty = False
        self.is_urgent = False
        """Somebody waits for its next update."""
        self.is_busy = False
        """It is being drawn and sent."""
        self.is_new = True
        """What its steps had declared before it was followed has not been asked for."""

    def draw(self, rows: list[Row], event: Row) -> Bundle:
        """Return the output for the rows of its steps and the last event."""
        raise NotImplementedError

    def publish(self, rows: list[Row], event: Row, ask: Ask, send: Send) -> bool:
        """Bring the output up to date, and return whether that took an update.

        The publisher's thread calls it with the rows of its steps and the last event.
        """
        bundle = self.draw(rows, event)
        if bundle == self.last_bundle:
            return False
        self.last_bundle = bundle
        send(self.display_id, bundle)
        return True

    def take_all(self, ask: Ask) -> None:
        """A director is new, or events were missed. The thread that takes events calls it."""

    def take(self, event: Row) -> None:
        """An event has come. The thread that takes events calls it."""

    def lose(self) -> None:
        """The director is gone. The thread that takes events calls it."""

    def pulse(self, rows: Iterable[Row]) -> float | None:
        """Return in how many seconds it looks different although nothing happened, or None for never."""
        return None


class Follows(Protocol):
    """What the publisher needs of a session."""

    def connect(self) -> Connection:
        """Return a new connection to the director."""


class Publisher:
    """Follows a session's director, and keeps outputs up to date.

    Parameters
    ----------
    session
        Whose director is followed.
    send
        Updates an output.
    on_note
        Called with each new thing that the director has to say about the session, in the thread that takes events.
    """

    def __init__(
        self, session: Follows, send: Send, on_note: Callable[[str], None] = lambda note: None
    ) -> None:
        self.last_event: Row = {}
        """Counts, pools and workers as the director told them last; ``lost`` when it is gone."""
        self.troubles: list[str] = []
        """Tracebacks of ours; an output that could not be drawn stays as it is."""
        self._session = session
        self._send = send
        self._on_note = on_note
        self._notes: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)
        self._lives: dict[str, Live] = {}
        self._about: dict[str, set[str]] = {}
        """Display ids by name of a step."""
        self._sent_at: list[float] = []
        self._is_closed = False
        self._directors = 0
        """How many directors this session has had, as far as we were told."""
        self._threads: list[threading.Thread] = []
        self._events: Connection | None = None
        self._followed: Connection | None = None
        """The connection whose events are being taken."""
        self._told = 0
        """Number of the last request on that connection which was answered."""
        self._asking: Connection | None = None

    # --- what the kernel's main thread calls -----------------------------------------------------

    def follow(self, live: Live) -> None:
        """Keep an output up to date from now on."""
        with self._lock:
            self._lives[live.display_id] = live
            self._learn(live, live.steps)
            # Events may have told of a plan's steps while nobody knew that its record is about them.
            live.is_dirty = live.is_dirty or live.has_children
            if not self._threads and not self._is_closed:
                self._threads = [
                    threading.Thread(target=self._read, name="stepup-events", daemon=True),
                    threading.Thread(target=self._write, name="stepup-publisher", daemon=True),
                ]
                for thread in self._threads:
                    thread.start()
            self._wake.notify_all()

    def add_steps(self, live: Live, names: Iterable[str]) -> None:
        """Let an output be about more steps."""
        with self._lock:
            self._learn(live, names)
            self._soil(live)

    def _soil(self, live: Live) -> None:
        if not live.is_dirty:
            # Else the other thread knows when it is to draw it: a loop of declarations shall not wake it each time.
            live.is_dirty = True
            self._wake.notify_all()

    def _learn(self, live: Live, names: Iterable[str]) -> None:
        for name in list(names):
            live.steps.setdefault(name, {"name": name})
            if live.display_id in self._lives:
                self._about.setdefault(name, set()).add(live.display_id)

    def drop(self, live: Live) -> None:
        """Leave an output as it is from now on."""
        with self._lock:
            self._lives.pop(live.display_id, None)
            for name in live.steps:
                about = self._about.get(name, set())
                about.discard(live.display_id)
                if not about:
                    self._about.pop(name, None)

    def touch(self, live: Live) -> None:
        """Take note that an output is to be drawn anew."""
        with self._lock:
            self._soil(live)

    def flush(self, lives: Iterable[Live] | None = None, timeout: float = 10.0) -> None:
        """Bring outputs up to date now, and return when the updates are out."""
        end = time.monotonic() + timeout
        with self._lock:
            chosen = list(self._lives.values() if lives is None else lives)
            self._changed.wait_for(
                lambda: self._followed is not None or "lost" in self.last_event or self._is_idle(), timeout
            )
            followed = self._followed
        self._catch_up(followed, end)
        with self._lock:
            for live in chosen:
                live.is_urgent = live.is_dirty and live.display_id in self._lives
            self._wake.notify_all()
            self._changed.wait_for(
                lambda: self._is_idle() or not any(live.is_urgent or live.is_busy for live in chosen),
                end - time.monotonic(),
            )

    def _catch_up(self, events: Connection | None, end: float) -> None:
        """Wait until everything that the director has decided by now has come as an event."""
        if events is None:
            return
        try:
            # Its answer comes after them, on the same connection.
            number = events.send("tell")
        except (StepUpError, DirectorGone):
            return
        with self._lock:
            self._changed.wait_for(
                lambda: self._told >= number or self._followed is not events or self._is_idle(),
                end - time.monotonic(),
            )

    def _is_idle(self) -> bool:
        return self._is_closed or not self._threads

    def reconnect(self) -> None:
        """Follow the director that has been started just now in place of one that was lost."""
        with self._lock:
            self._directors += 1
            self._wake.notify_all()

    def close(self) -> None:
        """End the threads; outputs stay as they are."""
        with self._lock:
            self._is_closed = True
            self._wake.notify_all()
            connections = [each for each in (self._events, self._asking) if each is not None]
        for connection in connections:
            connection.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(2.0)

    # --- the thread that takes events ------------------------------------------------------------

    def _read(self) -> None:
        with self._lock:
            directors = self._directors
        while not self._is_closed:
            with contextlib.suppress(StepUpError, DirectorGone):
                self._follow_director()
            with self._lock:
                self.last_event = {**self.last_event, "lost": True}
                lost = [each for each in (self._events, self._asking) if each is not None]
                self._events = self._asking = self._followed = None
                for live in self._lives.values():
                    live.lose()
                self._mark(lambda live: True)
                self._changed.notify_all()
            for connection in lost:
                connection.close()
            with self._lock:
                self._wake.wait_for(lambda: self._is_closed or self._directors != directors)  # noqa: B023
                directors = self._directors

    def _follow_director(self) -> None:
        events, asking = self._session.connect(), self._session.connect()
        with self._lock:
            self._events, self._asking = events, asking
            if self._is_closed:
                events.close()
                asking.close()
                return
        events.request("subscribe", snapshot=False)
        number = 0
        self._look_at_all()
        with self._lock:
            self._followed, self._told = events, 0
            self._changed.notify_all()
        for event in events.events():
            if event.get("event") != "changes":
                with self._lock:
                    self._told = event["id"]
                    self._changed.notify_all()
                continue
            with self._lock:
                self._take(event)
            for note in event["notes"]:
                if note not in self._notes:
                    self._notes.add(note)
                    self._on_note(note)
            if event["seq"] != number + 1:
                self._look_at_all()  # some were not sent, since we were slow
            number = event["seq"]

    def _look_at_all(self) -> None:
        with self._lock:
            self.last_event = {key: value for key, value in self.last_event.items() if key != "lost"}
            names, lives = list(self._about), list(self._lives.values())
        rows = self._ask_rows(names)
        for live in lives:
            live.take_all(self._ask)
        with self._lock:
            self._take_rows(rows)
            self._mark(lambda live: live.follows_all)

    def _ask_rows(self, names: Iterable[str]) -> list[Row]:
        """Ask for rows; a director that is gone knows none."""
        asked = list(names)
        answer = self._ask("rows", steps=asked, known=True, family=True) if asked else None
        if answer is None:
            return []
        rows: list[Row] = answer["rows"]
        known = {row["name"] for row in rows}
        return rows + [_forgotten(name) for name in asked if name not in known]

    def _ask(self, op: str, **fields: Any) -> Row | None:
        """Ask the director; None where it is gone, or refuses."""
        asking = self._asking
        if asking is None:
            return None
        try:
            return asking.request(op, **fields)
        except (StepUpError, DirectorGone):
            return None

    def _take(self, event: Row) -> None:
        self.last_event = event
        # Who is forgotten and declared again at once is in both.
        self._take_rows([_forgotten(name) for name in event["gone"]])
        self._take_rows(event["steps"])
        for live in self._lives.values():
            live.take(event)
        self._mark(lambda live: live.follows_all)

    def _take_rows(self, rows: Iterable[Row]) -> None:
        # Creators before what they declare.
        for row in sorted(rows, key=lambda row: row.get("seq", 0)):
            if (creator := row.get("creator")) in self._about and not row.get("dormant"):
                for display_id in list(self._about[creator]):
                    if self._lives[display_id].has_children:
                        self._learn(self._lives[display_id], [row["name"]])
            for display_id in self._about.get(row["name"], ()):
                live = self._lives[display_id]
                if live.steps.get(row["name"]) != row:
                    live.steps[row["name"]] = row
                    live.is_dirty = True

    def _mark(self, is_meant: Callable[[Live], bool]) -> None:
        for live in self._lives.values():
            live.is_dirty = live.is_dirty or is_meant(live)
        self._wake.notify_all()

    # --- the thread that sends updates -----------------------------------------------------------

    def _write(self) -> None:
        with self._lock:
            while not self._is_closed:
                now = time.monotonic()
                self._sent_at = [moment for moment in self._sent_at if moment > now - 1.0]
                times = {live: self._time_of(live) for live in self._lives.values()}
                due = [(when, live) for live, when in times.items() if when is not None]
                # The one that has waited longest is the first.
                when, live = min(due, key=lambda pair: pair[0], default=(None, None))
                if live is None or when is None:
                    self._wake.wait()
                elif when > now:
                    self._wake.wait(when - now)
                else:
                    self._send_one(live, now)

    def _time_of(self, live: Live) -> float | None:
        """Return when an output may or is to be sent again, or None while it is up to date."""
        if live.is_urgent:
            return 0.0
        room = 0.0 if live.share else self._room()
        if live.is_dirty:
            return max(live.last_sent + live.each, room)
        seconds = live.pulse(live.steps.values())
        return None if seconds is None else max(live.last_sent + max(seconds, live.each), room)

    def _room(self) -> float:
        """Return when the next update of an output without a share may be sent."""
        most = max(1, MOST - sum(live.share for live in self._lives.values()))
        return 0.0 if len(self._sent_at) < most else self._sent_at[-most] + 1.0

    def _send_one(self, live: Live, now: float) -> None:
        live.is_dirty = live.is_urgent = False
        live.is_busy = True
        live.last_sent = now
        is_first, live.is_new = live.is_new and live.has_children, False
        unknown = [name for name, row in live.steps.items() if is_first or "state" not in row]
        if unknown:
            self._lock.release()
            try:
                rows = self._ask_rows(unknown)
            finally:
                self._lock.acquire()
            self._take_rows(rows)
            live.is_dirty = False
        rows, event = [row for row in live.steps.values() if "state" in row], self.last_event
        self._lock.release()
        is_new = False
        try:
            # An empty context: clients without a browser drop what belongs to a finished cell.
            is_new = contextvars.Context().run(live.publish, rows, event, self._ask, self._send)
        except Exception:
            self.troubles = [*self.troubles[-9:], traceback.format_exc()]
            if not live.share:
                self.drop(live)
        finally:
            self._lock.acquire()
            live.is_busy = False
            if is_new:
                # Counted from when it is out: on a busy machine two must not come closer than they may.
                live.last_sent = time.monotonic()
                if not live.share:
                    self._sent_at.append(live.last_sent)
            self._changed.notify_all()


def _forgotten(name: str) -> Row:
    return {"name": name, "label": name, "state": "DELETED", "reason": "forgotten"}
