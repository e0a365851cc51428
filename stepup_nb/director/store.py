"""Remembers: what the scheduler decided, and how every job ended. The only connection that writes the database.

Knows the nouns and their rows; decides nothing. One thread at a time may use a store.
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepup_nb import __version__
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Decision, spec_from_json, spec_to_json
from stepup_nb.core.model import File, FileHash, Job, Outcome, Pool, ScopeKind, Step, StepSpec, StepState
from stepup_nb.core.scheduler import Restored
from stepup_nb.core.uptodate import Record
from stepup_nb.director import schema

HASH = "blake3"
"""The algorithm of content digests; its name is stored in each digest, and once for the database."""

TAIL = 4096
"""Bytes of each stream that are kept of a job; the log file has all of it."""

KEPT_JOBS = 30
"""Jobs of one step that the history keeps."""

_LOG_PAGES = 4000
"""Pages of 4 KiB after which the log is worked in although nothing is idle."""

_encode = json.JSONEncoder(separators=(",", ":")).encode
# ASCII only: names with surrogates pass through JSON unharmed.

_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What the decoders raise where a row is not what we wrote."""


class StoreFull(Exception):
    """The database cannot be written now: no space, no permission, no memory; the text is for people.

    Nothing of the decision was stored, and nothing is lost: save it again when there is room.
    """


@dataclass(slots=True)
class Loaded:
    """What the database remembers."""

    restored: Restored
    """For a new scheduler: steps that are only known from the database, their files, the pools."""
    settings: dict[str, Any] = field(default_factory=dict)
    """By name, as they were saved."""
    strangers: tuple[str, ...] = ()
    """Keys of steps whose results somebody else recorded: they are not believed until `Store.trust`."""
    interrupted: tuple[str, ...] = ()
    """Keys of steps that were running when the last session ended."""


class _Row:
    """What is stored of a step: enough to tell whether, and what, has to be written."""

    __slots__ = ("id", "plain", "record", "spec", "spec_seal")

    def __init__(self, number: int, spec: StepSpec, spec_seal: bytes) -> None:
        self.id = number
        self.spec = spec
        self.spec_seal = spec_seal
        self.plain: tuple[Any, ...] = ()
        self.record: Record | _Disbelieved | None = None


class _Disbelieved:
    """Stands for a stored record that somebody else made."""


_STORED = {
    StepState.PENDING: "PENDING",
    StepState.CHECKING: "PENDING",
    StepState.QUEUED: "PENDING",
    StepState.RUNNING: "RUNNING",
    StepState.SUCCEEDED: "SUCCEEDED",
    StepState.FAILED: "FAILED",
    StepState.CANCELLED: "CANCELLED",
}
"""What is worth a write: after a restart, all that only waits begins anew."""

_JOB = """job.id, job.step, job.pool, job.slots, job.worker, job.queued, job.started, job.ended, job.outcome,
    job.returncode, job.why, job.peak_rss, job.cpu, job.leftovers, job.notes"""


class Store:
    """The database of one notebook or plan.

    Attributes
    ----------
    path
        Of the file, absolute.
    notes
        What had to be done to open it, in words for people; empty when nothing was unusual.
    is_in_memory
        Nothing will be remembered: the place cannot be written, or it was opened read-only.
    """

    def __init__(self, db: sqlite3.Connection, path: str, notes: list[str], *, is_in_memory: bool) -> None:
        self.path = path
        self.notes = notes
        self.is_in_memory = is_in_memory
        self._db = db
        self._mark = (0, 0)
        self._run = secrets.token_hex(8)
        self._key = b""
        self._settings: dict[str, Any] = {}
        self._loaded: Loaded | None = None
        self._strangers: tuple[str, ...] = ()
        self._interrupted: tuple[str, ...] = ()
        self._names: dict[str, int] = {}
        self._rows: dict[str, _Row] = {}
        self._files: dict[str, tuple[bool, Any]] = {}
        self._running: set[int] = set()
        self._ran: set[int] = set()

    # --- opening -----------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_only: bool = False) -> Store:
        """Open the database, or make one.

        A file that is no usable database of ours is moved aside, never changed or removed. Where the place
        cannot be written, what is there is read, and changes are kept in memory only. The notes say so.

        Parameters
        ----------
        path
            Of the database file.
        read_only
            Look at what the last session left, and change nothing on disk, not even beside the file.

        Raises
        ------
        UsageError
            SNB-310: unusable, and opened read-only. SNB-311: no regular file. SNB-312: a newer release wrote
            it. SNB-313: somebody else owns it, or may write it. SNB-314: another program holds it. SNB-315:
            it is not there, and opened read-only.
        """
        path = os.path.abspath(os.fspath(path))
        if read_only:
            return cls._open_to_read(path)
        notes: list[str] = []
        try:
            return cls._open_to_write(path, notes)
        except schema.Unwritable as trouble:
            notes.append(
                f"SNB-316 '{schema.shown(path)}' cannot be written ({trouble}). "
                "The session works in memory: nothing will be remembered."
            )
        try:
            return cls._begun(_in_memory(path), path, notes)
        except (schema.Unusable, schema.Unwritable):
            return cls._begun(_in_memory(None), path, notes)

    @classmethod
    def _open_to_read(cls, path: str) -> Store:
        try:
            if not schema.is_present(path):
                raise UsageError(
                    "SNB-315",
                    f"There is no state file '{schema.shown(path)}'.",
                    "no step was declared here yet, or the file was moved",
                    "execute the notebook first, or say where it is",
                )
            return cls._begun(_in_memory(path), path, [])
        except (schema.Unusable, schema.Unwritable) as why:
            raise UsageError(
                "SNB-310",
                f"'{schema.shown(path)}' is not a usable state file ({why}).",
                "it was cut or changed, or another program made it",
                "start a session: it moves the file aside, and checks everything again",
            ) from why

    @classmethod
    def _open_to_write(cls, path: str, notes: list[str]) -> Store:
        for _ in range(2):
            try:
                if not schema.is_present(path):
                    schema.create(path)
                schema.upgrade(path)
                return cls._begun(schema.connect(path), path, notes, is_in_memory=False)
            except schema.Unusable as why:
                aside = schema.move_aside(path)
                notes.append(
                    f"SNB-310 '{schema.shown(path)}' is not a usable state file ({why}). "
                    f"Moved to '{schema.shown(aside)}'. Everything will be checked again."
                )
        raise schema.Unwritable("what was written there cannot be read again")

    @classmethod
    def _begun(
        cls, db: sqlite3.Connection, path: str, notes: list[str], *, is_in_memory: bool = True
    ) -> Store:
        store = cls(db, path, notes, is_in_memory=is_in_memory)
        try:
            store._key = key()
            if not is_in_memory:
                store._mark = schema.mark(path)
            store._begin()
            # A file can be broken where its tables are not: only reading all of it tells.
            store._loaded = store.load()
        except BaseException as error:
            store._abandon()
            if isinstance(error, sqlite3.Error):
                raise schema.explained(error, path) from error
            if isinstance(error, _UNREADABLE):
                raise schema.Unusable("a row of it cannot be understood") from error
            raise
        return store

    def _begin(self) -> None:
        """Take over what an earlier session left: its running jobs were interrupted."""
        db = self._db
        self._settings = {
            name: json.loads(value) for name, value in db.execute("SELECT name, value FROM setting")
        }
        before = dict(self._settings)
        self._settings.setdefault("database", secrets.token_hex(16))
        self._settings["hash"] = HASH
        self._settings["release"] = __version__
        was_ended = before.get("run") is None
        self._settings["run"] = self._run
        home = [_boot(), *self._mark]
        self._settings["home"] = home
        self._interrupted = tuple(
            from_blob(key)
            for (key,) in db.execute(
                "SELECT key FROM name JOIN step ON step.id = name.id WHERE state = 'RUNNING' ORDER BY seq"
            )
        )
        with _transaction(db):
            if not was_ended:
                db.execute("UPDATE job SET outcome = 'interrupted' WHERE outcome IS NULL")
                db.execute(
                    "UPDATE step SET state = 'PENDING', record = NULL, seal = NULL WHERE state = 'RUNNING'"
                )
            if before.get("home", home) != home:
                # After a reboot, a copy or a move, equal marks prove nothing: every file is read once more.
                db.execute("UPDATE file SET looked_ns = 0 WHERE looked_ns IS NOT NULL")
            self._write_settings(before)

    def close(self) -> None:
        """Put everything into the one file, and let go of it."""
        if not self.is_in_memory and not self.moved():
            try:
                del self._settings["run"]
                with _transaction(self._db):
                    self._db.execute("DELETE FROM setting WHERE name = 'run'")
                # Without the log's mark in its header, the file can be read where nothing can be written.
                self._db.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.Error:
                pass  # the log stays beside the file, and is worked in at the next start
        self._abandon()

    def _abandon(self) -> None:
        self._db.close()
        schema.release(self._mark)

    # --- writing -----------------------------------------------------------------------------------

    def save(
        self,
        decision: Decision,
        tails: Callable[[int], tuple[bytes, bytes]],
        *,
        forgotten: Collection[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Write all that a decision changed, in one transaction.

        Parameters
        ----------
        decision
            What one turn of the loop decided.
        tails
            Tells the last bytes of stdout and stderr of a job that ended; at most `TAIL` of each are kept.
        forgotten
            Keys of the decision's steps that are no longer in the graph.
        settings
            Settings to remember, by name; any JSON. None leaves them alone.

        Raises
        ------
        StoreFull
            Nothing was written for now; the same call may succeed later.
        """
        gone: list[tuple[int]] = []
        names: list[tuple[int, bytes]] = []
        whole: list[tuple[Any, ...]] = []
        results: list[tuple[Any, ...]] = []
        moves: list[tuple[Any, ...]] = []
        rows: list[tuple[str, _Row, StepSpec, bytes, tuple[Any, ...], Record | _Disbelieved | None]] = []
        for step_key, step in decision.steps.items():
            if step_key in forgotten:
                if step_key in self._rows:
                    gone.append((self._rows[step_key].id,))
                continue
            row = self._rows.get(step_key)
            plain = _plain(step)
            record: Record | _Disbelieved | None = step.record
            if row is None or row.spec is not step.spec:
                row = row or _Row(self._name(step_key, names), step.spec, b"")
                text = _encode(spec_to_json(step.spec))
                spec_seal = self._seal(step_key, text)
                words = None if step.record is None else _encode(step.record.to_json())
                seal = None if words is None else self._seal_record(spec_seal, words)
                whole.append((row.id, *plain, text, words, seal))
                rows.append((step_key, row, step.spec, spec_seal, plain, record))
                continue
            if record is None and isinstance(row.record, _Disbelieved) and plain[2] == "PENDING":
                # It waits, and may be believed yet; once the step runs, nobody needs it.
                record = row.record
            if record is not row.record:
                words = seal = None
                if isinstance(record, Record):
                    words = _encode(record.to_json())
                    seal = self._seal_record(row.spec_seal, words)
                results.append((*plain, words, seal, row.id))
            elif plain != row.plain:
                moves.append((*plain, row.id))
            else:
                continue
            rows.append((step_key, row, step.spec, row.spec_seal, plain, record))
