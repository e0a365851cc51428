"""What a terminal says to a live session: of a plan, or of a notebook whose kernel may be busy.

Each function does one verb of the command line and returns the exit code. Where nobody is there (yet) it waits
half a minute for a session that is just starting, unless it needs none.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepup_nb.client import find
from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.client.pictures import write
from stepup_nb.core.declare import path_in
from stepup_nb.core.errors import UsageError
from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, show

PATIENCE = 30.0
"""Seconds to wait for a session that is just starting."""


def database(options: argparse.Namespace) -> str:
    """Return the database that is meant: the one in the folder, or of several the one that is in use.

    Raises
    ------
    UsageError
        SNB-224: there is none, or it is not clear which.
    """
    place: Path = options.at or options.root
    if place.suffix == ".ipynb":
        return os.fspath(place.with_suffix(".stepup.db").absolute())
    if not place.is_dir():
        return os.fspath(place.absolute())
    known = find.databases(os.fspath(place.absolute()))
    if not known:
        raise UsageError(
            "SNB-224",
            f"No steps are known in '{place.absolute()}'.",
            "there is no database of a notebook or plan",
            "go to the folder of the notebook or plan, or say where it is: '--at NOTEBOOK'",
        )
    if len(known) > 1:
        known = [one for one in known if _is_live(one)] or known
    if len(known) > 1:
        raise UsageError(
            "SNB-224",
            "Several notebooks have steps in this folder.",
            ", ".join(Path(one).name for one in known),
            "say which is meant: '--at NOTEBOOK'",
        )
    return known[0]


def _is_live(database: str) -> bool:
    connection = find.connect(find.holder(database))
    if connection is not None:
        connection.close()
    return connection is not None


class _Ended(UsageError):
    """The session has ended under way."""


@contextlib.contextmanager
def _session(options: argparse.Namespace) -> Any:
    try:
        connection = find.await_director(lambda: database(options), PATIENCE, find.birth())
        with contextlib.closing(connection):
            connection.be_patient()
            yield connection
    except DirectorGone:
        raise _Ended(
            "SNB-225",
            "The session does not answer.",
            "it has just ended, and its steps with it, or cannot write its state file",
            "look what it says: 'stepup-nb status'",
        ) from None


def _to_its_end(verb: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Let a verb that waits for the end of something succeed where the session itself has ended."""

    @functools.wraps(verb)
    def do(options: argparse.Namespace) -> int:
        try:
            return verb(options)
        except _Ended:
            return 0

    return do


def ask(options: argparse.Namespace, op: str, **fields: Any) -> dict[str, Any]:
    """Have the live session do one thing, and return its answer."""
    with _session(options) as connection:
        answer: dict[str, Any] = connection.request(op, **fields)
        return answer


def _is_plan(connection: Connection) -> bool:
    # By its place: who boots a plan may not have said yet which phase it is in.
    return Path(connection.request("status", brief=True)["database"]).parent.name == ".stepup"


@_to_its_end
def wait(options: argparse.Namespace) -> int:
    """Wait until a plan's session has nothing to do, or the steps of a notebook are finished."""
    with _session(options) as connection:
        if _is_plan(connection):
            connection.request("rest")
        else:
            connection.request("Wait", steps=None)
    return 0


def run(options: argparse.Namespace) -> int:
    """Look at all files, and run what is outdated."""
    ask(options, "Run")
    return 0


@_to_its_end
def drain(options: argparse.Namespace) -> int:
    """Start nothing new; of a plan's session that watches, wait until what runs has ended (StepUp 3.0)."""
    with _session(options) as connection:
        connection.request("Drain")
        if _is_plan(connection) and connection.request("status", brief=True)["watching"]:
            connection.request("rest")
    return 0


@_to_its_end
def join(options: argparse.Namespace) -> int:
    """End the session when everything is done, and wait for that."""
    with _session(options) as connection:
        if _is_plan(connection):
            connection.request("Ending", how="join")
        else:
            connection.request("Wait", steps=None)
            _end(connection)
        for _ in connection.events():
            pass
    return 0


@_to_its_end
def shutdown(options: argparse.Namespace) -> int:
    """End the session when what runs has ended; the second time, stop what runs."""
    with _session(options) as connection:
        if _is_plan(connection):
            if connection.request("Ending", how="shutdown")["times"] > 1:
                connection.request("Cancel", steps=None)
        else:
            _end(connection)
    return 0


def _end(connection: Connection) -> None:
    connection.request("Drain")
    connection.request("Wait", steps=None)
    connection.request("shutdown")


def graph(options: argparse.Namespace) -> int:
    """Write the graph into files."""
    write(ask(options, "nodes")["nodes"], options.prefix)
    return 0


def look_again(options: argparse.Namespace) -> int:
    """Tell the session that a file changed or is gone, and return when it has seen that."""
    with _session(options) as connection:
        root = connection.greeting["root"]
        path = path_in(root, root, _absolute(options.path))
        connection.request("LookAgain", paths=[path, f"{path}/"])
    return 0


def why(options: argparse.Namespace) -> int:
    """Say why steps ran, run, or wait."""
    with _session(options) as connection:
        for step in options.steps:
            print(show.why(connection.request("why", step=step)))
    return 0


def log(options: argparse.Namespace) -> int:
    """Print what the last job of each step printed."""
    with _session(options) as connection:
        for step in options.steps:
            row = connection.request("rows", steps=[step])["rows"][0]
            for stream in ("stdout", "stderr"):
                text = _all_of(connection, step, stream)
                if text:
                    print(show.log(row, stream, text, most=10_000_000))
    return 0


def _all_of(connection: Connection, step: str, stream: str) -> str:
    pieces = []
    offset: int | None = 0
    job: int | None = None
    while offset is not None:
        answer = connection.request("log", step=step, stream=stream, offset=offset, job=job)
        pieces.append(answer["bytes"].encode("latin-1"))
        job, offset = answer["job"], answer["next"]
    return b"".join(pieces).decode(errors="replace")


def _absolute(path: str) -> str:
    # Not resolved: a link in the project is known by its own name.
    return os.fspath(Path(path).absolute())


def clean(options: argparse.Namespace) -> int:
    """Remove outdated outputs, or what was built at some paths; a session is not needed."""
    meant = database(options)
    folder = Path(meant).parent
    root = os.fspath(folder.parent if folder.name == ".stepup" else folder)
    paths = None
    if options.paths:
        paths = [path_in(root, root, _absolute(path)) for path in options.paths]
    connection = find.connect(find.holder(meant), PATIENCE)
    if connection is not None:
        with contextlib.closing(connection):
            found = connection.request("Clean", dry_run=options.dry_run, paths=paths)
    else:
        found = find.offline(meant, "clean", paths=paths, dry_run=options.dry_run)
    for path in sorted(found["removed"]):
        print(f"{'would remove' if options.dry_run else 'removed'} {ansi.one_line(path, 200)}")
    for row in found["kept"]:
        print(f"kept {ansi.one_line(row['path'], 200)}: {ansi.one_line(row['why'], 200)}")
    if not found["removed"] and not found["kept"]:
        print("nothing to remove")
    return 0


def trust(options: argparse.Namespace) -> int:
    """Believe results that were recorded elsewhere."""
    meant = database(options)
    connection = find.connect(find.holder(meant))
    if connection is not None:
        with contextlib.closing(connection):
            found = connection.request("trust")
    else:
        found = find.offline(meant, "trust")
    print(f"the results of {counted(len(found['steps']), 'step')} are believed from now on")
    return 0
