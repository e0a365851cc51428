"""Joins a Dask cluster, in a thread that may wait for it: finds it or starts it, lets itself in, and looks around.

Refuses what would go wrong later: a line that others can read or write on, workers that do not see the project.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Capacity, JobBegan, JobEnded, JobLost, JobNotStarted
from stepup_nb.director.output import LogFolder
from stepup_nb.director.reactor import Reactor

if TYPE_CHECKING:
    from distributed import Security

    from stepup_nb.director.dask_executor import DaskExecutor

CONNECT_WITHIN = 10.0
"""Seconds in which a cluster has to answer."""
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@dataclass(frozen=True, slots=True)
class Home:
    """What an executor of a cluster has in common with that of this machine."""

    reactor: Reactor
    report: Callable[[JobBegan | JobEnded | JobNotStarted | JobLost], None]
    logs: LogFolder
    state: str
    """Folder of logs and lock."""
    marker: str
    clock: Callable[[], float]
    on_output: Callable[[int], None]
    on_capacity: Callable[[Capacity], None]
    on_note: Callable[[str], None]
    workers: Callable[[], int]
    """Steps that run at once on this machine."""
    grace: float
    door: str
    """The director's socket."""
    waiting: Callable[[], int]
    """Steps that wait for room."""


def join(home: Home, request: dict[str, Any]) -> DaskExecutor:
    """Join the cluster that a request names: ``address``, or None for one on this machine; ``security``; ``plain``.

    Raises
    ------
    UsageError
        SNB-233: Dask is not installed. SNB-234: the line to the cluster is not safe. SNB-235: it does not answer.
        SNB-236: a worker does not see the project.
    """
    try:
        from distributed import Client

        from stepup_nb.director.dask_executor import DaskExecutor
    except ImportError as error:
        raise UsageError(
            "SNB-233", "Dask is not installed.", str(error), "pip install 'stepup_nb[dask]'"
        ) from None
    address, own, given = request.get("address"), None, request.get("security")
    if address is None:
        own, given = _start(home.workers())
        address = given["address"]
    else:
        _check_line(str(address), is_plain_allowed=request.get("plain") is True)
    try:
        _knock(str(address))
        client = Client(
            address,
            security=_security(given),
            timeout=CONNECT_WITHIN,
            name="stepup_nb",
            set_as_default=False,
        )
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        if own is not None:
            own.kill()
        raise UsageError(
            "SNB-235",
            f"There is no cluster at '{address}'.",
            str(error) or "nobody answers there",
            "start it, or give the address of its scheduler",
        ) from None
    try:
        executor = DaskExecutor(
            home.reactor,
            home.report,
            client=client,
            own=own,
            logs=home.logs,
            claims=_claims(home),
            marker=home.marker,
            clock=home.clock,
            on_output=home.on_output,
            on_capacity=home.on_capacity,
            on_note=home.on_note,
            grace=home.grace,
            door=home.door,
            waiting=home.waiting,
            is_far=bool(os.environ.get("STEPUP_NB_FAR")),
        )
    except BaseException:
        client.close(timeout=2)
        if own is not None:
            own.kill()
        raise
    for worker, why in executor.blind.items():
        executor.close()
        raise UsageError(
            "SNB-236",
            f"Worker {worker} does not see this project.",
            f"'{home.state}' is not there, or is another folder ({why})",
            "let all machines have the project's folder under the same path, and install stepup_nb there",
        )
    return executor


def _claims(home: Home) -> str:
    """Return the path of a new folder; remove those of runs that were killed, for one director at a time is here."""
    folder = os.path.join(home.state, "claims")
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if not name.startswith(home.marker):
                shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    return os.path.join(folder, f"{home.marker}.{secrets.token_hex(4)}")


def _start(number: int) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start a cluster on this machine, with room for so many steps, which nobody else can use."""
    workers = min(number, 4)
    script = Path(__file__).with_name("dask_cluster.py")
    process = subprocess.Popen(
        [
            sys.executable,
            "-I",
            os.fspath(script),
            *map(json.dumps, (workers, -(-number // workers), [_HOME, *sys.path])),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    )
    assert process.stdout is not None
    try:
        said: dict[str, str] = json.loads(process.stdout.readline())
    except ValueError:
        process.kill()
        raise UsageError(
            "SNB-235",
            "The cluster on this machine could not be started.",
            "it said nothing; its troubles are in 'director.log'",
            "try 'dask scheduler' and 'dask worker' in a terminal, and give the address",
        ) from None
    return process, said


def _knock(address: str) -> None:
    """Find out at once where nobody listens: Dask would try again and again."""
    parts = _parts(address)
    # A scheduler with TLS would complain about who comes and goes without a word.
    if parts.scheme != "tls" and parts.hostname is not None and parts.port is not None:
        socket.create_connection((parts.hostname, parts.port), CONNECT_WITHIN).close()


def _parts(address: str) -> SplitResult:
    return urlsplit(address if "://" in address else f"tcp://{address}")


def _security(given: Any) -> Security | None:
    from distributed import Security

    if not isinstance(given, dict):
        return None
    return Security(
        tls_ca_file=given["ca"],
        tls_client_cert=given["cert"],
        tls_client_key=given["key"],
        require_encryption=True,
    )


def _check_line(address: str, *, is_plain_allowed: bool) -> None:
    parts = _parts(address)
    if parts.scheme == "tls" or is_plain_allowed:
        return
    try:
        is_here = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise UsageError(
            "SNB-234",
            f"The line to the cluster at '{address}' is open to everybody on that network.",
            "without TLS anybody there can read what your steps do, and run programs in your name",
            "use a cluster with TLS (tls://...), or say --plain if only you are on that network",
        )
