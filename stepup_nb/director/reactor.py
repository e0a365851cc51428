"""One selector, its timers, and a door for other threads.

Knows nothing of steps or clients: whoever has a file descriptor or a moment to wait for brings a function
to call. Everything but `post` belongs to the thread that turns it.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count

Callback = Callable[[], None]

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
"""What a descriptor may be watched for. That its other end is gone is told in any case."""

_EVENTS = 32
"""Descriptors that one turn serves, so that those who flood leave turns to the others."""

_LONGEST = 3600.0
"""Seconds of one wait at most: the system counts milliseconds in 31 bits, which is less than a month."""


class Timer:
    """A function to be called once at a moment of the monotonic clock, unless cancelled before."""

    __slots__ = ("call",)

    def __init__(self, call: Callback) -> None:
        self.call: Callback | None = call

    def cancel(self) -> None:
        """Make sure that it is not called any more; harmless when it was."""
        self.call = None


class Reactor:
    """Waits for descriptors and moments, and calls whoever asked for them."""

    def __init__(self) -> None:
        # Not `selectors`, which takes ten times as long for a descriptor as this does.
        self._epoll = select.epoll()
        self._calls: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._posted: deque[Callback] = deque()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_awake = False
        # Reentrant: a signal's handler may post while the same thread does.
        self._door = threading.RLock()
        self._heeds_signals = False
        self.watch(self._wake_r, READ, self._on_wake)

    def watch(self, fd: int, events: int, call: Callback) -> None:
        """Call the function whenever the descriptor is ready for one of the events."""
        self._epoll.register(fd, events)
        self._calls[fd] = call

    def rewatch(self, fd: int, events: int) -> None:
        """Change what a watched descriptor is watched for."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; before it is closed, never after."""
        del self._calls[fd]
        self._epoll.unregister(fd)

    def call_after(self, seconds: float, call: Callback) -> Timer:
        """Call the function once, so many seconds from now."""
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def post(self, call: Callback) -> None:
        """Have the function called by the turning thread soon. The one method that any thread may call."""
        self._posted.append(call)
        with self._door:
            # Not after `close`: the number may be that of another file by then.
            if not self._is_awake and self._wake_w >= 0:
                self._is_awake = True
                os.write(self._wake_w, b"!")

    def on_signal(self, number: int, call: Callback) -> None:
        """Have the function called soon after each such signal. For the main thread, and one of these objects."""
        # Python runs a handler between two of its own instructions: of a signal that comes just before the wait
        # it would know after it. The system call is ended by what Python writes when the signal comes.
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        self._heeds_signals = True
        signal.signal(number, lambda *_: self.post(call))

    def turn(self, timeout: float | None = None) -> None:
        """Wait for something to happen, at most so many seconds, and call all who asked for it."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        if self._timers:
            due = max(0.0, self._timers[0][0] - time.monotonic())
            timeout = due if timeout is None else min(due, timeout)
        ready = self._epoll.poll(None if timeout is None else min(timeout, _LONGEST), _EVENTS)
        calls = self._calls
        if len(ready) == 1:
            calls[ready[0][0]]()
        else:
            for fd, call in [(fd, calls[fd]) for fd, _ in ready]:
                # An earlier call of this turn may have closed this descriptor, and its number be another's by now.
                if calls.get(fd) is call:
                    call()
        while self._posted:
            self._posted.popleft()()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                timer.call()

    def close(self) -> None:
        """Give back the descriptors of its own."""
        if self._heeds_signals:
            signal.set_wakeup_fd(-1)
        self._epoll.close()
        with self._door:
            os.close(self._wake_r)
            os.close(self._wake_w)
            self._wake_w = -1

    def _on_wake(self) -> None:
        os.read(self._wake_r, 4096)
        # Whoever posts from now on writes again; what was posted before is called in this turn.
        self._is_awake = False


def steady_clock() -> Callable[[], float]:
    """Return a clock that tells seconds since the epoch and never jumps or goes backwards."""
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()
