"""One connection to a director: requests and answers, or events.

Any thread may ask; one request is under way at a time. Knows frames, nothing of steps.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

from stepup_nb.core.errors import StepUpError, UsageError, from_json
from stepup_nb.core.frames import ANSWER_LIMIT, Frames, frame

_CHUNK = 1 << 16
"""Bytes read at once; memory for more would be asked from the system, and given back, each time."""
_KNOCK_AGAIN = 0.01
"""Seconds until the next try to connect where too many do."""
_LONGEST = 1e6
"""Seconds of one wait at most: the system counts milliseconds in 31 bits."""


class DirectorGone(ConnectionError):
    """The director does not answer any more."""


def _forked() -> None:
    """A forked child has copies of our sockets, and must not talk into its parent's conversation."""
    for connection in list(_open):
        connection.poison()


_open: weakref.WeakSet[Connection] = weakref.WeakSet()
os.register_at_fork(after_in_child=_forked)


class Connection:
    """A conversation with a director.

    Parameters
    ----------
    path
        The director's socket.
    token
        What lets us in.
    job
        The job that this process belongs to, whose own token it is.
    timeout
        Seconds after which a director that does not answer counts as gone; None waits for ever.

    Raises
    ------
    DirectorGone
        Nobody listens there, or the token is not accepted.
    """

    def __init__(
        self, path: str, token: str, *, job: int | None = None, timeout: float | None = None
    ) -> None:
        self._asking = threading.Lock()
        self._sending = threading.Lock()
        self._frames = Frames(ANSWER_LIMIT)
        self._arrived: list[dict[str, Any]] = []
        self._number = 0
        self._is_forked = False
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout)
        try:
            _connect(self._sock, path, timeout)
        except OSError as error:
            self._sock.close()
            raise DirectorGone(f"no director at {path}") from error
        _open.add(self)
        more = {} if job is None else {"job": job}
        self.greeting = self.request("hello", hello=token, **more)

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask, and return the answer.

        Raises
        ------
        StepUpError
            The director's refusal.
        DirectorGone
            There is no answer any more.
        """
        self._check()
        with self._asking:
            try:
                number = self.send(op, **fields)
                while (message := self._next(None)) is None or message.get("id") != number:
                    pass
            except StepUpError:
                # It was too long, and nothing of it was sent.
                raise
            except BaseException:
                # Interrupted, perhaps in the middle of a message: nobody can go on from there.
                self.close()
                raise
        return _result(message)

    def send(self, op: str, **fields: Any) -> int:
        """Ask without waiting for the answer; return the request's number."""
        self._check()
        with self._sending:
            self._number += 1
            data = frame({"id": self._number, "op": op, **fields})
            try:
                self._sock.sendall(data)
            except OSError as error:
                raise DirectorGone("the director is gone") from error
            return self._number

    def receive(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Return the next message, whatever it is, or None when none came in so many seconds."""
        self._check()
        return self._next(timeout)

    def result(self, number: int, timeout: float | None = None) -> dict[str, Any] | None:
        """Return the answer to a request that was sent before, or None when it did not come in time."""
        message = self.receive(timeout)
        return _result(message) if message is not None and message.get("id") == number else None

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield messages until the director is gone or the connection is closed."""
        try:
            while True:
                message = self._next(None)
                if message is not None:
                    yield message
        except DirectorGone:
            return

    def _next(self, timeout: float | None) -> dict[str, Any] | None:
        while not self._arrived:
            if timeout is not None and not self._is_ready(timeout):
                return None
            try:
                data = self._sock.recv(_CHUNK)
                if not data:
                    raise DirectorGone("the director is gone")
                self._arrived += self._frames.feed(data)
            except (OSError, ValueError) as error:
                raise DirectorGone("the director is gone") from error
        return self._arrived.pop(0)

    def _is_ready(self, timeout: float) -> bool:
        # Not select(): a kernel may have more descriptors open than that can count.
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(min(timeout, _LONGEST) * 1000))

    def _check(self) -> None:
        if self._is_forked:
            raise forked()

    def be_patient(self) -> None:
        """Wait for ever for what is asked from now on."""
        self._sock.settimeout(None)

    def poison(self) -> None:
        """Let go of the socket in a forked child; its parent keeps its own."""
        self._is_forked = True
        self._sock.close()

    def close(self) -> None:
        """End the conversation; whoever waits for a message gets `DirectorGone`."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()


def _connect(sock: socket.socket, path: str, timeout: float | None) -> None:
    deadline = time.monotonic() + (timeout or 0.0)
    while True:
        try:
            sock.connect(path)
            return
        except BlockingIOError:
            # Many knock at this moment. A socket that waits for ever stands in line; one that does not is sent away.
            if time.monotonic() >= deadline:
                raise
            time.sleep(_KNOCK_AGAIN)


def forked() -> UsageError:
    """Return the refusal for a forked process."""
    return UsageError(
        "SNB-206",
        "A forked process cannot use its parent's session.",
        "the director would take it for its parent",
        "declare steps in the notebook's own process, or start a fresh process",
    )


def _result(message: dict[str, Any]) -> dict[str, Any]:
    if "error" in message:
        raise from_json(message["error"])
    result: dict[str, Any] = message["ok"]
    return result
