"""One thread between the director's events and the outputs of cells: events in, coalesced updates out.

The only writer of updates. Their first display is the executing cell's own, so that the front end knows where they
belong; after that this thread sends at most `MOST` updates a second over all outputs, and to each output
at most one every `EACH` seconds, the last one always.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.client.session import Session
from stepup_nb.core.errors import StepUpError

EACH = 0.5
"""Least seconds between two updates of one output."""
MOST = 10
"""Most updates in a second over all outputs."""

Bundle = dict[str, str]
Row = dict[str, Any]


class Live:
    """An output that follows the director: what it is about, and how it is drawn.

    Parameters
    ----------
    display_id
        Of the output that the executing cell displayed.
    draw
        Makes the output from the rows of its steps and the last event; runs in the publisher's thread.
    """

    def __init__(self, display_id: str, draw: Callable[[list[Row], Row], Bundle]) -> None:
        self.display_id = display_id
        self.draw = draw
        self.steps: dict[str, Row] = {}
        """Rows by name of the step, in order of declaration."""
        self.is_dirty = False
        self.last_sent = 0.0
        self.last_bundle: Bundle = {}
        self.follows_all = False
        """It is about every step, so that any event is news."""


class Publisher:
    """Follows a session's director, and keeps outputs up to date.

    Parameters
    ----------
    session
        Whose director is followed.
    send
        Replaces the output of a display id by a bundle.
    """

    def __init__(self, session: Session, send: Callable[[str, Bundle], None]) -> None:
        self._session = session
        self._send = send
        self._lock = threading.Lock()
        self._lives: dict[str, Live] = {}
        self._about: dict[str, set[str]] = {}
        """Display ids by name of a step."""
        self._last_event: Row = {}
        self._sent_at: list[float] = []
        self._wake = threading.Condition(self._lock)
        self._flushes: list[threading.Event] = []
        self._is_closed = False
        self._reader: threading.Thread | None = None
        self._writer: threading.Thread | None = None
        self._connection: Connection | None = None

    # --- what the kernel's main thread calls -----------------------------------------------------

    def follow(self, live: Live) -> None:
        """Keep an output up to date from now on."""
        with self._lock:
            self._lives[live.display_id] = live
            for name in live.steps:
                self._about.setdefault(name, set()).add(live.display_id)
        self._start()

    def add_steps(self, live: Live, rows: Iterable[Row]) -> None:
        """Let an output be about more steps."""
        with self._lock:
            for row in rows:
                live.steps[row["name"]] = row
                self._about.setdefault(row["name"], set()).add(live.display_id)
            live.is_dirty = True
            self._wake.notify_all()

    def drop(self, live: Live) -> None:
        """Leave an output as it is from now on."""
        with self._lock:
            self._lives.pop(live.display_id, None)
            for name in live.steps:
                self._about.get(name, set()).discard(live.display_id)

    def flush(self, timeout: float = 2.0) -> None:
        """Bring all outputs up to date now, and return when the updates are out."""
        with self._lock:
            names = [name for name, ids in self._about.items() if ids]
        if not names:
            return
        with contextlib.suppress(StepUpError, DirectorGone):
            rows = self._session.known_rows(names)
            done = threading.Event()
            with self._lock:
                self._take_rows(rows)
                self._flushes.append(done)
                self._wake.notify_all()
            if self._writer is not None:
                done.wait(timeout)

    def close(self) -> None:
        """End the thread; outputs stay as they are."""
        with self._lock:
            self._is_closed = True
            self._wake.notify_all()
            connection = self._connection
        if connection is not None:
            connection.close()
        for thread in (self._reader, self._writer):
            if thread is not None and thread is not threading.current_thread():
                thread.join(2.0)

    # --- the threads -----------------------------------------------------------------------------

    def _start(self) -> None:
        if self._reader is None or not self._reader.is_alive():
            self._reader = threading.Thread(target=self._read, name="stepup-events", daemon=True)
            self._reader.start()
        if self._writer is None or not self._writer.is_alive():
            self._writer = threading.Thread(target=self._write, name="stepup-publisher", daemon=True)
            self._writer.start()

    def _read(self) -> None:
        try:
            connection = self._session.connect()
        except (StepUpError, DirectorGone):
            return
        with self._lock:
            self._connection = connection
            if self._is_closed:
                connection.close()
                return
        with contextlib.suppress(StepUpError, DirectorGone):
            answer = connection.request("subscribe", snapshot=True)
            with self._lock:
                self._last_event = answer
                self._take_rows(answer["steps"])
            for event in connection.events():
                if event.get("event") == "changes":
                    with self._lock:
                        self._take(event)

    def _take(self, event: Row) -> None:
        self._last_event = event
        self._take_rows(event["steps"])
        for live in self._lives.values():
            live.is_dirty = live.is_dirty or live.follows_all
        self._wake.notify_all()

    def _take_rows(self, rows: Iterable[Row]) -> None:
        for row in rows:
            for display_id in self._about.get(row["name"], ()):
                live = self._lives[display_id]
                if live.steps.get(row["name"]) != row:
                    live.steps[row["name"]] = row
                    live.is_dirty = True

    def _write(self) -> None:
        with self._lock:
            while not self._is_closed:
                now = time.monotonic()
                is_urgent = bool(self._flushes)
                due = [live for live in self._lives.values() if live.is_dirty]
                ready = [live for live in due if is_urgent or live.last_sent + EACH <= now]
                self._sent_at = [moment for moment in self._sent_at if moment > now - 1.0]
                if not is_urgent:
                    ready = ready[: max(0, MOST - len(self._sent_at))]
                if ready:
                    for live in ready:
                        self._send_one(live, now)
                    continue
                for done in self._flushes:
                    done.set()
                self._flushes.clear()
                pause = None
                if due:
                    pause = max(0.02, min(live.last_sent + EACH for live in due) - now)
                    if len(self._sent_at) >= MOST:
                        pause = max(pause, self._sent_at[0] + 1.0 - now)
                self._wake.wait(pause)

    def _send_one(self, live: Live, now: float) -> None:
        live.is_dirty = False
        live.last_sent = now
        rows, event = list(live.steps.values()), self._last_event
        self._lock.release()
        try:
            bundle = live.draw(rows, event)
            if bundle != live.last_bundle:
                live.last_bundle = bundle
                self._sent_at.append(now)
                # An empty context: the update belongs to no finished cell, which clients without a browser drop.
                contextvars.Context().run(self._send, live.display_id, bundle)
        finally:
            self._lock.acquire()
