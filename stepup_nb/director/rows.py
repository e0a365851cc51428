"""How the nouns become cells of a row, and are read again. Knows no connection."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from stepup_nb.core.model import FileHash, Job, Outcome

_BIG = 2**63
"""The first number that SQLite does not hold."""

UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What decoding raises where a row is not what was written."""

# --- jobs ---------------------------------------------------------------------------------------

JOB = """id, step, run, pool, slots, worker, queued, started, ended, outcome, returncode, why, peak_rss, cpu,
    leftovers, notes, machine"""

INSERT_JOB = f"INSERT OR REPLACE INTO job ({JOB}) VALUES ({', '.join('?' * 17)})"


def job_of(row: tuple[Any, ...], step: str) -> Job:
    """Return the job of a row with the columns `JOB`, of a step with this key."""
    (number, _, _, pool, slots, worker, queued, started, ended) = row[:9]
    (outcome, returncode, why, peak_rss, cpu, leftovers, notes, machine) = row[9:]
    return Job(
        number,
        step,
        pool={} if pool == "{}" else decode(pool),
        slots={} if slots == "{}" else {name: tuple(held) for name, held in decode(slots).items()},
        worker=worker,
        queued=queued,
        started=started,
        ended=ended,
        outcome=None if outcome is None else Outcome(outcome),
        returncode=returncode,
        why=from_blob(why),
        peak_rss=peak_rss,
        cpu=cpu,
        leftovers=texts_of(leftovers),
        notes=texts_of(notes),
        machine=machine,
    )


# --- texts --------------------------------------------------------------------------------------

encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
# ASCII only, so that names with surrogates pass through JSON unharmed.

_scan = json.JSONDecoder().raw_decode


def decode(text: str) -> Any:
    """Return what `encode` was given, but for tuples, which became lists."""
    # What json.loads does about blanks around the text takes longer than a short text itself.
    value, end = _scan(text)
    if end != len(text):
        raise ValueError("more than one value")
    return value


@lru_cache(maxsize=1024)
def slots_words(slots: tuple[tuple[str, Any], ...]) -> str:
    """Return the JSON of a dictionary from its items; most jobs hold what others held before."""
    return encode(dict(slots))


HISTORY = (
    "job.id, key, outcome, returncode, queued, started, ended, pool, slots, worker, machine, peak_rss, cpu"
)
"""The columns of a row of ``history``."""


def history_row(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a row of ``history`` from its columns."""
    names = ("job", "step", *HISTORY.split(", ")[2:])
    form = dict(zip(names, row, strict=True))
    form["step"] = from_blob(form["step"])
    form["pool"], form["slots"] = decode(form["pool"]), decode(form["slots"])
    return form


def texts_of(text: str) -> tuple[str, ...]:
    """Return the texts of a JSON list."""
    if text == "[]":
        return ()
    words = decode(text)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("texts expected")
    return tuple(words)


def fits(look: FileHash) -> bool:
    """Whether SQLite's integers hold it; a file of an impossible time is simply read again next time."""
    return -_BIG <= look.mtime_ns < _BIG and -_BIG <= look.ctime_ns < _BIG and look.size < _BIG


def to_blob(text: str) -> bytes:
    """Return the bytes that stand for a text which need not be Unicode: of a path, its bytes on disk.

    Undone exactly by `from_blob`, whatever surrogates the text has. Those that are no undecoded bytes of a
    file name can come in through JSON, and are told by a zero byte in front, which no name has.
    """
    if text.isascii() and text[:1] != "\0":
        return text.encode()
    try:
        blob = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b"\0" + text.encode("utf-8", "surrogatepass")
    if blob[:1] == b"\0" or (len(blob) != len(text) and from_blob(blob) != text):
        return b"\0" + text.encode("utf-8", "surrogatepass")
    return blob


def from_blob(blob: bytes) -> str:
    """Return the text that `to_blob` was given."""
    if blob[:1] == b"\0":
        return blob[1:].decode("utf-8", "surrogatepass")
    return blob.decode("utf-8", "surrogateescape")


# --- a transaction ------------------------------------------------------------------------------


class Work:
    """What one transaction writes, and what is known to be stored once it has."""

    __slots__ = ("after", "is_due", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = {}
        self.after: list[tuple[dict[Any, Any], Any, Any]] = []
        self.is_due = False
        """Something of it has to be written before anything follows from it."""

    def add(self, statement: str, row: tuple[Any, ...], *, is_due: bool = True) -> None:
        """Have a statement carried out with the values of a row."""
        self.is_due = self.is_due or is_due
        rows = self.rows.get(statement)
        if rows is None:
            self.rows[statement] = [row]
        else:
            rows.append(row)

    def join(self, later: Work) -> None:
        """Have what somebody else wants written, too, after all that is in here."""
        for statement, rows in later.rows.items():
            self.rows.setdefault(statement, []).extend(rows)
        self.after += later.after
        self.is_due = self.is_due or later.is_due

    def know(self, table: dict[Any, Any], name: Any, row: Any) -> None:
        """Take note of a table's row once it is stored; None: there is none any more."""
        self.after.append((table, name, row))
