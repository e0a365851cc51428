"""Finds a notebook's director from outside its kernel, by what its lock says; without one, asks the database.

Waits for nobody: a director that does not answer in time counts as gone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.core import places
from stepup_nb.core.errors import InternalError, UsageError, from_json

WITHIN = 3.0
"""Seconds that a director, or the look into a database, may take to answer."""

_BETWEEN = 0.1
"""Seconds between two looks at a director that is just starting or ending."""

_BUSY = "SNB-314"


def databases(folder: str) -> list[str]:
    """Return the databases in a folder, of notebooks and of a plan, by name."""
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder))
        found = [os.path.join(folder, name) for name in names if name.endswith(".stepup.db")]
        plan = os.path.join(folder, ".stepup", "graph.db")
        return [*found, *([plan] if os.path.exists(plan) else [])]
    return []


def holder(database: str) -> dict[str, Any] | None:
    """Return what the lock of a database says of its holder, who may be gone; see `core.places.holder`."""
    path = places.lock_path(os.path.abspath(database))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        # In a folder that several people can write, another one's file could lead to a director of his.
        is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        return places.holder(os.read(fd, 1 << 16)) if is_ours else None
    except OSError:
        return None
    finally:
        os.close(fd)


def connect(found: dict[str, Any] | None, timeout: float = WITHIN) -> Connection | None:
    """Return a connection to the director that a lock speaks of, or None where nobody answers.

    Parameters
    ----------
    found
        What `holder` returned.
    timeout
        Seconds that every answer may take, also later ones.
    """
    if found is None or found["host"] != socket.gethostname():
        return None
    path, token = found.get("socket"), found.get("token")
    if not isinstance(path, str) or not isinstance(token, str):
        return None
    try:
        return Connection(path, token, timeout=timeout)
    except (DirectorGone, OSError, ValueError):
        return None


def await_director(database: Callable[[], str], within: float, since: float = math.inf) -> Connection:
    """Return a connection to a live director; wait for one that is just starting.

    Parameters
    ----------
    database
        Returns which one is meant, asked anew each time; may raise UsageError while there is none.
    within
        Seconds to wait.
    since
        A session that began after this moment, and has ended already, is not waited for.

    Raises
    ------
    UsageError
        SNB-225: no session is live. Or what `database` raised last.
    DirectorGone
        The session that was to come has ended already.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            path = database()
            found = holder(path)
            connection = connect(found)
            if connection is not None:
                return connection
            if found is not None and found["started"] >= since and not _may_listen(found):
                raise DirectorGone("it has ended meanwhile")
            error = UsageError(
                "SNB-225",
                f"No session of '{os.path.basename(path)}' is live.",
                f"nothing answered in {within:g} s",
                "run a cell that uses stepup_nb first, or say which notebook is meant: '--at NOTEBOOK'",
            )
        except UsageError as unclear:
            error = unclear
        if time.monotonic() > deadline:
            raise error
        time.sleep(_BETWEEN)


def birth() -> float:
    """Return when this process was started, in seconds since the epoch."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return time.time()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def _may_listen(found: dict[str, Any]) -> bool:
    """Tell whether a director is still to say where it listens, or may be there."""
    path = found.get("socket")
    return not isinstance(path, str) or os.path.exists(path)


def status(database: str) -> dict[str, Any]:
    """Return the status of a live director, or what the database remembers.

    Has more than `core.public.status` shows: ``causes``, rows of what keeps steps from ever running.

    Raises
    ------
    UsageError
        SNB-315: there is no database. SNB-310 to SNB-314: it cannot be read.
    """
    deadline = time.monotonic() + WITHIN / 3
    while True:
        connection = connect(holder(database))
        if connection is not None:
            with contextlib.suppress(DirectorGone), contextlib.closing(connection):
                return connection.request("status", causes=True)
        try:
            return offline(database)
        except UsageError as error:
            # A director is writing there: it is just starting, or just ending.
            if error.code != _BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_BETWEEN)


def offline(database: str, verb: str = "look", **given: Any) -> dict[str, Any]:
    """Have something done with a database that has no director: ``look``, ``clean`` or ``trust``.

    It takes code which is not ours to import, and so a process of its own.
    """
    script = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "director", "peek.py")
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-I",
                *(["-S"] if verb == "look" else []),
                script,
                os.path.abspath(database),
                verb,
                json.dumps(given),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10 * WITHIN,
        )
        said = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise InternalError(f"The database '{database}' could not be looked into.", str(error)) from error
    if "error" in said:
        raise from_json(said["error"])
    answer: dict[str, Any] = said["ok"]
    return answer
