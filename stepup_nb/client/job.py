"""A running step's hold on its director: what its process, and no other, may declare and amend.

Found through the environment that the director gave the job. Light to import: every Python step pays for it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from typing import Any

from stepup_nb.client.connection import Connection, DirectorGone

SOCKET, TOKEN, JOB = "STEPUP_DIRECTOR_SOCKET", "STEPUP_NB_TOKEN", "STEPUP_NB_JOB"

_session: JobSession | None = None


class JobSession:
    """The connection of a job.

    Attributes
    ----------
    root
        Absolute folder that paths are relative to in the graph.
    here
        Where the step runs, relative to the root.
    """

    def __init__(self, socket: str, token: str, job: int) -> None:
        self.root = os.environ.get("STEPUP_ROOT") or os.getcwd()
        self.here = os.environ.get("HERE") or "."
        self._process = os.getpid()
        self._connection = Connection(socket, token, job=job)

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it: a forked child opens one of its own."""
        return self._process == os.getpid()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the director, and return its answer; raise what it refuses."""
        return self._connection.request(op, **fields)


def is_in_job() -> bool:
    """Tell whether this process belongs to a job of a director."""
    return bool(os.environ.get(SOCKET)) and os.environ.get(JOB, "").isdigit()


def job_session() -> JobSession:
    """Return the session of this process' job; connected at first use."""
    global _session
    if _session is None or not _session.is_ours:
        _session = JobSession(
            os.environ.get(SOCKET, ""), os.environ.get(TOKEN, ""), int(os.environ.get(JOB, "0"))
        )
    return _session


def amend_read(modules: Iterable[str], script: str | None) -> None:
    """Have the step depend on the modules that it has loaded, and on its script as far as that is declared.

    Parameters
    ----------
    modules
        Absolute paths.
    script
        As on the command line, relative to where the step runs; None where there is none.
    """
    try:
        session = job_session()
        top = session.root.rstrip("/") + "/"
        paths = [path.removeprefix(top) for path in modules]
        own = (
            [posixpath.normpath(posixpath.join(top, session.here, script)).removeprefix(top)]
            if script
            else []
        )
        if paths or own:
            session.ask("Amend", inp=paths, optional=own, is_read=True)
    except DirectorGone:
        # It ends, and so does this process.
        pass
