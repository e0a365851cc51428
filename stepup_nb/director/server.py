"""Clients of the director: sockets, frames, who may ask, and what each of them subscribed to.

Knows nothing of what requests mean; the loop hands them on and answers through `Client.answer`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from stepup_nb.core.errors import StepUpError
from stepup_nb.core.frames import ANSWER_LIMIT, Frames, frame
from stepup_nb.director.reactor import READ, WRITE, Reactor

GREET_WITHIN = 30.0
"""Seconds in which a client has to show the token."""

_CHUNK = 1 << 18
_BACKLOG = 8 << 20
"""Bytes that may wait for a client that does not read; beyond, it gets no events and is not listened to."""
_PAUSE = 0.5
"""Seconds until the next try to accept where there are no descriptors left."""

Request = dict[str, Any]


class Client:
    """One connection."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._frames = Frames()
        self._out = bytearray()
        self._events: int = READ
        self._is_behind = False
        """Events were left out because it did not read."""
        self.is_known = False
        """It has shown the token."""
        self.job: int | None = None
        """The job that it belongs to; None for the kernel and for terminals."""
        self.is_subscribed = False
        self.is_gone = False
        self.seq = 0
        """Number of the last event that was meant for it, whether or not it was sent."""
        self.holds: set[str] = set()
        self.waits: set[int] = set()
        self.environment = ""
        """Name of the environment that it declared with last, and need not send again."""

    def answer(self, request: Request, result: dict[str, Any]) -> None:
        """Send the answer to a request."""
        self._send({"id": request.get("id"), "ok": result})

    def refuse(self, request: Request, error: StepUpError) -> None:
        """Send an error as the answer to a request."""
        self._send({"id": request.get("id"), "error": error.to_json()})

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event, numbered; who does not keep up misses it, and sees that from the number."""
        self.seq += 1
        if len(self._out) < _BACKLOG:
            self._send({**event, "seq": self.seq})
        else:
            self._is_behind = True

    def _send(self, message: dict[str, Any]) -> None:
        if self.is_gone:
            return
        try:
            data = frame(message, ANSWER_LIMIT)
        except StepUpError as error:
            data = frame({"id": message.get("id"), "error": error.to_json()})
        if not self._out:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._out += data
        self._watch()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._sock.send(memoryview(self._out)[:_CHUNK])
                del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._watch()
        if self._is_behind and not self._out:
            # Without one more event it would not see the gap before the next thing happens, perhaps never.
            self._is_behind = False
            self._server.on_behind()

    def _watch(self) -> None:
        # Who does not read the answers is not listened to.
        events = READ if len(self._out) < _BACKLOG else 0
        if self._out:
            events |= WRITE
        if events != self._events:
            self._events = events
            self._server.reactor.rewatch(self._sock.fileno(), events)

    def on_ready(self) -> None:
        """Write what waits, read what came, and hand on complete requests."""
        if self._out:
            self._flush()
        if not self.is_gone and self._events & READ:
            self._read()

    def _read(self) -> None:
        buffer = self._server.buffer
        try:
            size = self._sock.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        try:
            requests = self._frames.feed(buffer[:size])
        except ValueError:
            size, requests = 0, []
        for request in requests:
            if self.is_known:
                self._server.on_request(self, request)
            else:
                self._server.greet(self, request)
            if self.is_gone:
                return
        if not size:
            self.close()

    def close(self) -> None:
        """Cut the connection; what it asked for is forgotten."""
        if self.is_gone:
            return
        self.is_gone = True
        self._server.reactor.unwatch(self._sock.fileno())
        self._sock.close()
        self._server.forget(self)


def job_token(token: str, job: int) -> str:
    """Return what a job shows in place of the token, which it could do everything with."""
    return hashlib.blake2b(str(job).encode(), key=token.encode()[:64], digest_size=16).hexdigest()


class Server:
    """Listens in a folder that only this user can enter, and lets in who shows the token.

    Parameters
    ----------
    reactor
        The loop.
    path
        Where to listen; at most 107 bytes.
    token
        What a client has to show first.
    on_request, on_gone
        Called with a client and its request, and with a client that is gone.
    on_behind
        Called when a client that has missed events can take more: it is time for another event.
    greeting
        What a client that is let in is told.
    """

    def __init__(
        self,
        reactor: Reactor,
        path: str,
        token: str,
        on_request: Callable[[Client, Request], None],
        on_gone: Callable[[Client], None],
        on_behind: Callable[[], None],
        greeting: dict[str, Any],
    ) -> None:
        self.reactor = reactor
        # For all clients, for all time: memory for each piece anew would cost three calls of the system.
        self.buffer = memoryview(bytearray(_CHUNK))
        self.clients: dict[Client, None] = {}
        self.on_request = on_request
        self._on_gone = on_gone
        self.on_behind = on_behind
        self._token = token.encode()
        self._path = path
        self._greeting = greeting
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(path)
            os.chmod(path, 0o600)
            self._listener.listen(64)
        except OSError:
            self._listener.close()
            raise
        self._listener.setblocking(False)
        self._is_listening = False
        self._listen()

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            self.reactor.watch(self._listener.fileno(), READ, self._accept)
            self._is_listening = True

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # No descriptors left, most likely: whoever knocks goes on knocking, and would keep us awake.
            self.reactor.unwatch(self._listener.fileno())
            self._is_listening = False
            self.reactor.call_after(_PAUSE, self._listen)
            return
        # The folder keeps other users out; this is the second lock on the same door.
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != os.geteuid():
            sock.close()
            return
        sock.setblocking(False)
        client = Client(self, sock)
        self.clients[client] = None
        self.reactor.watch(sock.fileno(), READ, client.on_ready)
        self.reactor.call_after(GREET_WITHIN, lambda: None if client.is_known else client.close())

    def greet(self, client: Client, request: Request) -> None:
        """Let a client in whose first message shows the token; cut off every other one."""
        token, job = request.get("hello"), request.get("job")
        expected = self._token
        if isinstance(job, int):
            expected = job_token(expected.decode(), job).encode()
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(errors="replace"), expected):
            client.close()
            return
        client.is_known = True
        client.job = job if isinstance(job, int) else None
        client.answer(request, self._greeting)

    def forget(self, client: Client) -> None:
        """Take note that a client is gone."""
        del self.clients[client]
        self._on_gone(client)

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to all who subscribed."""
        for client in list(self.clients):
            if client.is_subscribed:
                client.tell(event)

    def has_subscribers(self) -> bool:
        """Tell whether anybody wants events."""
        return any(client.is_subscribed for client in self.clients)

    def close(self) -> None:
        """Cut all connections, and listen no more."""
        for client in list(self.clients):
            client.close()
        if self._is_listening:
            self.reactor.unwatch(self._listener.fileno())
        self._listener.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass
