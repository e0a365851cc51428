"""A director's log lines, each once and in order, with the pages of what the step printed.

Asks the director and puts together. What the lines look like, and that they are safe to show, is the matter
of whoever shows them: texts are passed on as the steps wrote them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stepup_nb.client import find
from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.core.errors import StepUpError
from stepup_nb.core.words import counted, ending

LOOK_EVERY = 0.1
"""Seconds between two looks for a director that has not started yet."""

LISTEN = 0.2
"""Seconds to listen for news before it is asked again whether to stop."""

PAGE = 256 * 1024
"""Bytes of one stream of one job that are shown: of longer ones the end."""


@dataclass(frozen=True, slots=True)
class Page:
    """Text under a line."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """What happened to a step."""

    tag: str
    """StepUp's word: START, SUCCESS, FAIL, SKIP, RESCHEDULE; WARNING for one about the lines themselves."""
    text: str
    done: int
    """Steps that have succeeded, by then."""
    total: int
    """Steps that have, or still may."""
    pages: Sequence[Page] = ()


class LineReader:
    """Reads the lines of one director.

    Parameters
    ----------
    connection
        To that director, and for this purpose only.
    since
        Number of the last line that is known.
    has_keys
        Whether lines name steps by their keys, however long, as StepUp does; else by their labels.
    """

    def __init__(self, connection: Connection, since: int = 0, *, has_keys: bool = False) -> None:
        self.last = since
        self.phase = ""
        """Where a plan's session is, as of the last reading."""
        self.ending: list[str] = []
        """How it was asked to end, each time."""
        self._connection = connection
        self._has_keys = has_keys
        connection.request("subscribe", snapshot=False)

    def read(self, wait: float = 0.0) -> list[Line]:
        """Return some of the lines that are new; if there are none, wait for news so many seconds first.

        Raises
        ------
        DirectorGone
            There will be no more.
        """
        lines = self._ask()
        if not lines and wait > 0:
            # Only the news that there is news: what was missed is asked for, so that no line is lost.
            self._connection.receive(wait)
            lines = self._ask()
        return lines

    def _ask(self) -> list[Line]:
        answer = self._connection.request("lines", since=self.last)
        self.phase, self.ending = answer["phase"], answer["ending"]
        lines = []
        if answer["missed"]:
            words = f"{counted(answer['missed'], 'line')} came too fast to be shown"
            first = answer["lines"][0]
            lines.append(Line("WARNING", words, first["done"], first["total"]))
        for row in answer["lines"]:
            self.last = row["number"]
            text = row["key"] if self._has_keys else row["label"]
            lines.append(Line(row["tag"], text, row["done"], row["total"], self._pages(row)))
        return lines

    def _pages(self, row: dict[str, Any]) -> list[Page]:
        pages = [*_about(row), *(Page(title, text) for title, text in row.get("pages", ()))]
        if row["tag"] not in ("SUCCESS", "FAIL", "RESCHEDULE"):
            return pages
        streams = [("Standard output", "stdout"), ("Standard error", "stderr")]
        if _is_deferred(row):
            del streams[1]  # the traceback of an error that is none (StepUp 3.0)
        for title, stream in streams:
            text = self._log(row["job"], stream)
            if text.strip():
                pages.append(Page(title, text.rstrip()))
        return pages

    def _log(self, job: int | None, stream: str) -> str:
        if job is None:
            return ""
        with contextlib.suppress(StepUpError):
            answer = self._connection.request("log", job=job, stream=stream, offset=-PAGE)
            text: bytes = answer["bytes"].encode("latin-1")
            if len(text) < PAGE:
                return text.decode(errors="replace")
            end = text.partition(b"\n")[2] or text
            note = f"(the beginning is left out; all of it is in {answer['path']})\n"
            return note + end.decode(errors="replace")
        return ""


def _is_deferred(row: dict[str, Any]) -> bool:
    """Tell whether a step was put back because of inputs that it amended; a page names them."""
    return row["tag"] == "RESCHEDULE" and bool(row.get("pages"))


def _about(row: dict[str, Any]) -> list[Page]:
    facts: list[tuple[str, str]] = []
    returncode = row.get("returncode")
    if row["tag"] == "FAIL" and "command" in row:
        is_elsewhere = row["workdir"] not in (".", "./")
        command = f"(cd {row['workdir']}/ && {row['command']})" if is_elsewhere else row["command"]
        facts.append(("Command", command))
        if returncode is not None:
            facts.append(("Return code", str(returncode)))
    reason = row.get("reason", "")
    if row["tag"] == "FAIL" and reason and (returncode is None or reason != ending(returncode)):
        facts.append(("Reason", reason))
    # What a page, or the reason, says already is left out.
    facts += [
        ("Note", note)
        for note in row.get("notes", ())
        if note != reason and not (_is_deferred(row) and note.startswith("put back: "))
    ]
    # Further lines of a text are indented, so that they cannot be taken for facts of their own.
    lines = [f"{name:<20}  {text.rstrip()}".replace("\n", "\n" + " " * 22) for name, text in facts]
    return [Page("Step info", "\n".join(lines))] if lines else []


class Follower:
    """Shows the lines of the director that a database gets, from the first one on, while others work.

    Parameters
    ----------
    database
        Absolute path of the database file, which need not be there yet.
    started
        Time before which a director is another kernel's, in seconds since the epoch.
    show
        Called with each line, in a thread of its own.
    """

    def __init__(self, database: str, started: float, show: Callable[[Line], None]) -> None:
        self._database = database
        self._started = started
        self._show = show
        self._last: dict[Any, int] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stepup-lines", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Show what there is up to now, and nothing after that."""
        self._is_over.set()
        self._thread.join()

    def connect(self, timeout: float) -> Connection | None:
        """Return a new connection to the director, if there is one now; see `find.connect`."""
        return find.connect(self._holder(), timeout)

    def _holder(self) -> dict[str, Any] | None:
        found = find.holder(self._database)
        return found if found is not None and found["started"] >= self._started else None

    def _run(self) -> None:
        while True:
            is_over = self._is_over.is_set()
            found = self._holder()
            connection = find.connect(found)
            if found is not None and connection is not None:
                with contextlib.suppress(DirectorGone, StepUpError), contextlib.closing(connection):
                    self._follow(connection, found["token"])
                    return
            if is_over:
                return
            # Another director may come: one that was lost is replaced.
            self._is_over.wait(LOOK_EVERY)

    def _follow(self, connection: Connection, director: str) -> None:
        """Show the lines of one director until told to stop; raise DirectorGone when it ends."""
        reader = LineReader(connection, self._last.get(director, 0))
        while True:
            is_over = self._is_over.is_set()
            lines = reader.read(0.0 if is_over else LISTEN)
            for line in lines:
                # Why a step runs is told by its record, and by `why`.
                if line.tag not in ("NOSKIP", "DROPAMEND"):
                    self._show(line)
            self._last[director] = reader.last
            if is_over and not lines:
                return
