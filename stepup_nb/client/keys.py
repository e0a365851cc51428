"""Single keys from a terminal, while something else goes on. Without a terminal there are none."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable

try:
    import termios
    import tty
except ImportError:  # pragma: no cover
    termios = tty = None  # type: ignore[assignment]


class Keys:
    """Hands over what is pressed, whenever it is asked to look."""

    def __init__(self, on_key: Callable[[str], None]) -> None:
        self._on_key = on_key
        self._fd = -1
        self._before: list[object] = []

    def __enter__(self) -> Keys:
        try:
            if sys.stdin is not None and sys.stdin.isatty() and os.tcgetpgrp(0) == os.getpgrp():
                self._before = termios.tcgetattr(0)
                self._fd = 0
                tty.setcbreak(0)
        except (OSError, ValueError, termios.error):
            self._fd = -1
        return self

    def look(self) -> None:
        """Hand over what was pressed since the last look."""
        if self._fd < 0 or not select.select([self._fd], [], [], 0)[0]:
            return
        try:
            pressed = os.read(self._fd, 64)
        except OSError:
            pressed = b""
        if not pressed:
            # The terminal is gone; what runs goes on.
            self._fd = -1
        for key in pressed.decode(errors="replace"):
            self._on_key(key)

    def __exit__(self, *exc: object) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
