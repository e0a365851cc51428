"""A session in a folder of its own, with a director process, and no notebook or kernel around it."""

from __future__ import annotations

import time
from pathlib import Path

from stepup_nb.client.session import Place, Session

MEET = "touch {me}; until test -e {other}; do sleep 0.01; done"
"""Ends when the other one has begun, too: two of these have met, whatever the machine does."""

LONG = 60.0
"""Seconds after which a condition counts as never coming true."""


def session_in(folder: Path, stem: str = "a", workers: int = 2) -> Session:
    """Return a session for the notebook `a.ipynb`, which need not exist."""
    return Session(
        Place(
            root=str(folder),
            notebook=str(folder / f"{stem}.ipynb"),
            database=str(folder / f"{stem}.stepup.db"),
            state=str(folder / ".stepup" / stem),
        ),
        workers=workers,
    )


def is_asleep(thread: int) -> bool:
    """Tell whether a thread of this process, of this native number, waits in a system call.

    A signal that comes between Python's last look for one and the call would only be noticed after it: who interrupts
    what has no end by itself has to do it now.
    """
    return Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def until(condition, patience=LONG):
    """Return what the condition returns as soon as it is true."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, "this never became true"
        time.sleep(0.005)
    return found
