"""Remembers what the scheduler decided, and how every job ended; the only one that writes the database.

Knows the nouns and their rows; decides nothing. One thread at a time may use a store.
"""

from __future__ import annotations

import gc
import json
import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, NamedTuple

from stepup_nb import __version__
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Decision, spec_from_json, spec_to_json
from stepup_nb.core.model import FINISHED, File, FileHash, Job, Outcome, Pool, Step, StepSpec, StepState
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

_scan = json.JSONDecoder().raw_decode


def _decode(text: str) -> Any:
    # What json.loads does about blanks around the text takes longer than a short text itself.
    value, end = _scan(text)
    if end != len(text):
        raise ValueError("more than one value")
    return value


@lru_cache(maxsize=1024)
def _slots_words(slots: tuple[tuple[str, Any], ...]) -> str:
    return _encode(dict(slots))


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


class _Row(NamedTuple):
    """What is stored of a step: enough to tell whether, and what, has to be written."""

    id: int
    spec: StepSpec
    text: str
    """The spec as it is stored."""
    declared: tuple[Any, ...]
    ended: tuple[Any, ...]
    record: Record | _Disbelieved | None


class _Disbelieved:
    """Stands for a stored record that somebody else made."""


_NEVER_ENDED = ("PENDING", "", None)
"""State, reason and job of a step that has no row of results."""

_Work = dict[str, list[tuple[Any, ...]]]
"""Rows by the statement that takes them."""

_After = list[tuple[dict[Any, Any], Any, Any]]
"""What is known to be stored once it is: a table's view, a name in it, and its row, None for no more row."""


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
        self._database = ""
        self._loaded: Loaded | None = None
        self._interrupted: tuple[int, ...] = ()
        # What is in the tables, so that only what changed is written.
        self._settings: dict[str, str] = {}
        self._names: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}
        self._next_name = 1
        self._rows: dict[str, _Row] = {}
        self._files: dict[str, tuple[int, FileHash]] = {}
        self._next_file = 1
        self._pools: dict[str, tuple[Any, ...]] = {}
        self._unfinished: dict[int, bool] = {}
        """Jobs without an outcome."""
        self._ran: dict[int, bool] = {}
        """Steps that got a job since their history was pruned, in that order."""

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
        self._settings = dict(db.execute("SELECT name, value FROM setting"))
        before = {name: _decode(value) for name, value in self._settings.items()}
        home = [_boot(), *self._mark]
        work: _Work = {}
        after: _After = []
        now = {"database": before.get("database") or secrets.token_hex(16), "run": self._run, "home": home}
        self._write_settings(work, after, now | {"hash": HASH, "release": __version__})
        self._database = str(now["database"])
        if before.get("run") is not None:
            # The last session did not end in order. What ran has no result, also not the one before.
            jobs = db.execute("SELECT id, step FROM job WHERE outcome IS NULL ORDER BY id").fetchall()
            work["UPDATE job SET outcome = 'interrupted' WHERE id = ?"] = [(job,) for job, _ in jobs]
            work[
                "UPDATE step SET state = 'PENDING', record = NULL, seal = NULL, last_job = ? WHERE id = ?"
            ] = jobs
            self._interrupted = tuple(step for _, step in jobs)
        if before.get("home", home) != home:
            # After a reboot, a copy or a move, equal marks prove nothing: every file is read once more.
            work["UPDATE file SET looked_ns = 0 WHERE looked_ns IS NOT NULL"] = [()]
        self._commit(work, after)

    def close(self) -> None:
        """Put everything into the one file, and let go of it."""
        if not self.is_in_memory and not self.moved():
            try:
                self._db.execute("DELETE FROM setting WHERE name = 'run'")
                # Without a log the file can be read even where nothing can be written beside it.
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
            Settings to remember, by name; any JSON. None leaves all as they are.

        Raises
        ------
        StoreFull
            Nothing was written for now; the same call may succeed later.
        """
        work: _Work = {}
        after: _After = []
        for key, step in decision.steps.items():
            if key in forgotten:
                self._forget(work, after, key)
            else:
                self._write_step(work, after, key, step)
        for file in decision.files.values():
            self._write_file(work, after, file)
        for pool in decision.pools.values():
            self._write_pool(work, after, pool)
        for job in decision.jobs.values():
            self._write_job(work, after, job, tails)
        if settings is not None:
            self._write_settings(work, after, settings)
        if work:
            self._commit(work, after)

    def set(self, name: str, value: Any) -> None:
        """Remember one setting, which may be any JSON; raise as `save` does."""
        self.save(Decision(), lambda job: (b"", b""), settings={name: value})

    def _commit(self, work: _Work, after: _After) -> None:
        db = self._db
        try:
            db.execute("BEGIN")
            if self._unwritten:
                names = [(number, to_blob(key)) for key, number in self._unwritten.items()]
                db.executemany("INSERT INTO name (id, key) VALUES (?, ?)", names)
            for statement, rows in work.items():
                db.executemany(statement, rows)
            db.execute("COMMIT")
        except BaseException as error:
            # A full disk may have rolled back already.
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and schema.is_write_trouble(error):
                raise StoreFull(
                    f"SNB-320 no space left for the state file ({error}); scheduling paused"
                ) from error
            raise
        self._loaded = None
        self._unwritten.clear()
        for known, name, row in after:
            if row is None:
                known.pop(name, None)
            else:
                known[name] = row

    def _write_settings(self, work: _Work, after: _After, settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            words = _encode(value)
            if self._settings.get(name) != words:
                work.setdefault(
                    "INSERT INTO setting (name, value) VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    [],
                ).append((name, words))
                after.append((self._settings, name, words))

    def _write_step(self, work: _Work, after: _After, key: str, step: Step) -> None:
        row = self._rows.get(key)
        spec, scope, state = step.spec, step.scope, step.state
        if scope is not None:
            declared = (step.seq, step.number, step.is_retired, scope.id, scope.kind.value, scope.title)
        elif row is not None:
            declared = (step.seq, step.number, step.is_retired, *row.declared[3:5], step.cell)
        else:
            declared = (step.seq, step.number, step.is_retired, None, None, step.cell)
        record: Record | _Disbelieved | None = step.record
        ended: tuple[Any, ...]
        if row is None:
            row = _Row(self._name(key), spec, "", (), _NEVER_ENDED, None)
        if state in FINISHED:
            last = step.last
            ended = (state.value, step.reason, None if last is None else last.id)
        elif state is StepState.RUNNING or record is row.record:
            # That it runs, its job says. That it is looked at again changes nothing that is worth a write:
            # after a restart it will be looked at again.
            ended, record = row.ended, row.record
        elif record is None and isinstance(row.record, _Disbelieved):
            # As long as it only waits, the user may yet say that the record is to be trusted.
            ended, record = row.ended, row.record
        else:
            ended = ("PENDING", "", row.ended[2])
        is_new = not row.text or (row.spec is not spec and row.spec != spec)
        if is_new or declared != row.declared:
            text = _encode(spec_to_json(spec)) if is_new else row.text
            seq, number, is_retired, scope_id, kind, cell = declared
            scope_id = None if scope_id is None else to_blob(scope_id)
            work.setdefault(
                "INSERT OR REPLACE INTO step (id, seq, number, is_retired, scope_id, scope_kind, cell, spec)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [],
            ).append((row.id, seq, number, int(is_retired), scope_id, kind, to_blob(cell), text))
        else:
            text = row.text
        if record is not row.record or (is_new and isinstance(record, Record)):
            is_sealed = isinstance(record, Record)
            words = _encode(record.to_json()) if isinstance(record, Record) else None
            seal = None if words is None else self._seal(key, text, words)
            work.setdefault(
                "INSERT OR REPLACE INTO result (step, state, reason, last_job, record, seal)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [],
            ).append((row.id, ended[0], to_blob(ended[1]), ended[2], words, seal))
        elif ended != row.ended:
            work.setdefault(
                "INSERT INTO result (step, state, reason, last_job) VALUES (?, ?, ?, ?) ON CONFLICT (step)"
                " DO UPDATE SET state = excluded.state, reason = excluded.reason, last_job = excluded.last_job",
                [],
            ).append((row.id, ended[0], to_blob(ended[1]), ended[2]))
        elif text is row.text and declared == row.declared:
            return
        after.append((self._rows, key, _Row(row.id, spec, text, declared, ended, record)))

    def _forget(self, work: _Work, after: _After, key: str) -> None:
        row = self._rows.get(key)
        if row is not None:
            work.setdefault("DELETE FROM step WHERE id = ?", []).append((row.id,))
            work.setdefault("DELETE FROM result WHERE step = ?", []).append((row.id,))
            # What it printed is forgotten with it; that it ran stays in the history.
            work.setdefault("DELETE FROM tail WHERE job IN (SELECT id FROM job WHERE step = ?)", []).append(
                (row.id,)
            )
            after.append((self._rows, key, None))

    def _write_file(self, work: _Work, after: _After, file: File) -> None:
        look = file.look
        if not isinstance(look, FileHash) or not _fits(look):
            look = None
        known = self._files.get(file.path)
        if look is None:
            if known is not None:
                work.setdefault("DELETE FROM file WHERE id = ?", []).append((known[0],))
                after.append((self._files, file.path, None))
        elif known is None or look != known[1]:
            if known is not None:
                number = known[0]
            else:
                number = self._next_file
                self._next_file += 1
            digest, size, mode, inode, mtime, ctime, looked = look
            work.setdefault(
                "INSERT OR REPLACE INTO file (id, path, digest, size, mode, inode, mtime_ns, ctime_ns,"
                " looked_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [],
            ).append((number, to_blob(file.path), digest, size, mode, str(inode), mtime, ctime, looked))
            after.append((self._files, file.path, (number, look)))

    def _write_pool(self, work: _Work, after: _After, pool: Pool) -> None:
        row = (pool.size, pool.tokens, pool.scope) if pool.is_defined else None
        if row == self._pools.get(pool.name):
            return
        if row is None:
            work.setdefault("DELETE FROM pool WHERE name = ?", []).append((pool.name,))
        else:
            work.setdefault(
                "INSERT OR REPLACE INTO pool (name, size, tokens, scope) VALUES (?, ?, ?, ?)", []
            ).append((pool.name, pool.size, _encode(pool.tokens), to_blob(pool.scope)))
        after.append((self._pools, pool.name, row))

    def _write_job(
        self, work: _Work, after: _After, job: Job, tails: Callable[[int], tuple[bytes, bytes]]
    ) -> None:
        outcome = None if job.outcome is None else job.outcome.value
        ending = (job.started, job.ended, outcome, job.returncode, to_blob(job.why), job.peak_rss, job.cpu)
        words = (
            _encode(job.leftovers) if job.leftovers else "[]",
            _encode(job.notes) if job.notes else "[]",
        )
        if job.id in self._unfinished:
            if outcome is None and job.ended is not None and job.returncode is None:
                # Its start was taken back: there was no job.
                work.setdefault("DELETE FROM job WHERE id = ?", []).append((job.id,))
                after.append((self._unfinished, job.id, None))
                return
            work.setdefault(
                "UPDATE job SET started = ?, ended = ?, outcome = ?, returncode = ?, why = ?, peak_rss = ?,"
                " cpu = ?, leftovers = ?, notes = ? WHERE id = ?",
                [],
            ).append((*ending, *words, job.id))
        else:
            number = self._name(job.step)
            work.setdefault(
                "INSERT OR REPLACE INTO job (id, step, run, pool, slots, worker, queued, started, ended,"
                " outcome, returncode, why, peak_rss, cpu, leftovers, notes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [],
            ).append(
                (
                    job.id,
                    number,
                    self._run,
                    _slots_words(tuple(job.pool.items())),
                    _slots_words(tuple(job.slots.items())),
                    job.worker,
                    job.queued,
                    *ending,
                    *words,
                )
            )
            after.append((self._ran, number, True))
        after.append((self._unfinished, job.id, None if outcome else True))
        if outcome is not None:
            stdout, stderr = tails(job.id)
            if stdout or stderr:
                work.setdefault(
                    "INSERT OR REPLACE INTO tail (job, stdout, stderr) VALUES (?, ?, ?)", []
                ).append((job.id, stdout[-TAIL:], stderr[-TAIL:]))

    def _name(self, key: str) -> int:
        """Return the number that stands for a step's key in the tables."""
        number = self._names.get(key)
        if number is None:
            number = self._names[key] = self._unwritten[key] = self._next_name
            self._next_name += 1
        return number

    def _seal(self, key: str, spec: str, record: str) -> bytes:
        """Return the keyed hash that only this user can make of what a step is and of what it made."""
        words = f"{self._database} {len(key)} {len(spec)} {key}{spec}{record}".encode(
            "utf-8", "surrogatepass"
        )
        return blake2b(words, digest_size=16, key=self._key).digest()

    # --- reading -----------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Return what the database remembers, as fresh nouns: no step is live, no file was seen."""
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            return loaded
        # Tens of thousands of objects that all stay: looking for garbage among them doubles the time.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return self._load()
        finally:
            if was_enabled:
                gc.enable()

    def _load(self) -> Loaded:
        db = self._db
        restored = Restored()
        self._names, self._rows, self._files, self._pools = {}, {}, {}, {}
        for number, blob in db.execute("SELECT id, key FROM name"):
            self._names[from_blob(blob)] = number
        keys = {number: key for key, number in self._names.items()}
        self._next_name = max(keys, default=0) + 1
        lasts = {
            row[0]: _job(row, keys)
            for row in db.execute(f"SELECT {_JOB} FROM job WHERE id IN (SELECT last_job FROM result)")
        }
        for row in db.execute(
            "SELECT id, seq, number, is_retired, scope_id, scope_kind, cell, spec, state, reason, last_job, record,"
            " seal FROM step LEFT JOIN result ON result.step = step.id"
        ):
            step = self._step(keys[row[0]], row, lasts)
            scope, kind = self._rows[step.key].declared[3:5]
            if kind == "cell":
                restored.scopes[step.key] = scope
            restored.steps.append(step)
        restored.steps.sort(key=attrgetter("seq"))
        for number, blob, digest, size, mode, inode, mtime, ctime, looked in db.execute(
            "SELECT id, path, digest, size, mode, inode, mtime_ns, ctime_ns, looked_ns FROM file ORDER BY id"
        ):
            path = from_blob(blob)
            look = FileHash(digest, size, mode, int(inode), mtime, ctime, looked)
            self._files[path] = (number, look)
            self._next_file = number + 1
            restored.files.append(File(path, look=look))
        for name, limit, tokens, blob in db.execute("SELECT name, size, tokens, scope FROM pool"):
            pool = Pool(name, limit, True, _texts(tokens), scope=from_blob(blob))
            restored.pools.append(pool)
            self._pools[name] = (pool.size, pool.tokens, pool.scope)
        settings = {name: _decode(value) for name, value in self._settings.items()}
        workers = settings.get("workers")
        restored.workers = workers if isinstance(workers, int) and workers > 0 else None
        restored.next_job = (db.execute("SELECT max(id) FROM job").fetchone()[0] or 0) + 1
        strangers = [key for key, row in self._rows.items() if isinstance(row.record, _Disbelieved)]
        interrupted = [keys[number] for number in self._interrupted]
        return Loaded(restored, settings, tuple(strangers), tuple(interrupted))

    def _step(self, key: str, row: tuple[Any, ...], lasts: dict[int, Job]) -> Step:
        number, seq, occurrence, is_retired, scope, kind, cell, text, state, reason, last, words, seal = row
        spec = spec_from_json(_decode(text))
        record: Record | _Disbelieved | None = None
        if words is not None:
            is_ours = compare_digest(self._seal(key, text, words), seal)
            record = Record.from_json(_decode(words)) if is_ours else _Disbelieved()
        scope = None if scope is None else from_blob(scope)
        declared = (seq, occurrence, is_retired == 1, scope, kind, from_blob(cell))
        ended = _NEVER_ENDED if state is None else (state, from_blob(reason), last)
        self._rows[key] = _Row(number, spec, text, declared, ended, record)
        step = Step(key, spec, seq, occurrence, cell=declared[5], is_retired=declared[2], last=lasts.get(last))
        if not isinstance(record, _Disbelieved):
            step.state, step.reason, step.record = StepState(ended[0]), ended[1], record
        return step

    def history(self) -> list[dict[str, Any]]:
        """Return a row per job that ran or still runs, over all sessions, newest last.

        Times are seconds since the epoch, memory is bytes, processor time seconds; `pool` is the number of
        slots by pool, `slots` are their numbers.
        """
        names = "job step outcome returncode queued started ended pool slots worker peak_rss cpu".split()
        rows = []
        for row in self._db.execute(
            "SELECT job.id, key, outcome, returncode, queued, started, ended, pool, slots, worker, peak_rss,"
            " cpu FROM job JOIN name ON name.id = job.step ORDER BY job.id"
        ):
            form = dict(zip(names, row, strict=True))
            form["step"] = from_blob(form["step"])
            form["pool"], form["slots"] = _decode(form["pool"]), _decode(form["slots"])
            rows.append(form)
        return rows

    def jobs_of(self, step: str) -> list[Job]:
        """Return the jobs that the history keeps of a step, by its key, newest last."""
        number = self._names.get(step)
        return [
            _job(row, {number: step})
            for row in self._db.execute(f"SELECT {_JOB} FROM job WHERE step = ? ORDER BY id", (number,))
        ]

    def tails(self, jobs: Iterable[int]) -> dict[int, tuple[bytes, bytes]]:
        """Return the last bytes of stdout and stderr by job; jobs that printed nothing are left out."""
        found = {}
        for job in jobs:
            row = self._db.execute("SELECT stdout, stderr FROM tail WHERE job = ?", (job,)).fetchone()
            if row is not None:
                found[job] = (row[0], row[1])
        return found

    # --- trust -------------------------------------------------------------------------------------

    @property
    def is_trusted(self) -> bool:
        """Whether all results that are stored were recorded by this user, on this machine or with its key."""
        return not any(isinstance(row.record, _Disbelieved) for row in self._rows.values())

    def trust(self) -> dict[str, Record]:
        """Believe the results that somebody else recorded, from now on; return them by key of their step.

        Raises
        ------
        StoreFull
            Nothing was changed for now.
        """
        work: _Work = {}
        after: _After = []
        believed = {}
        for key, row in self._rows.items():
            if isinstance(row.record, _Disbelieved):
                words = self._db.execute("SELECT record FROM step WHERE id = ?", (row.id,)).fetchone()[0]
                believed[key] = record = Record.from_json(_decode(words))
                work.setdefault("UPDATE step SET seal = ? WHERE id = ?", []).append(
                    (self._seal(key, row.text, words), row.id)
                )
                after.append((self._rows, key, row._replace(record=record)))
        if work:
            self._commit(work, after)
        return believed

    # --- care, when nothing else is to do ------------------------------------------------------------

    def prune(self, kept: int = KEPT_JOBS) -> bool:
        """Drop the oldest jobs of steps that have more than so many; return whether another call has more to do.

        To find them costs a look at every job, so it is done when they are many: there may be 5 % more, or 50.
        """
        if self._counts is None:
            self._counts = Counter(step for (step,) in self._db.execute("SELECT step FROM job"))
        total = self._counts.total()
        if total > 1000 and 20 * (total - sum(min(kept, count) for count in self._counts.values())) < total:
        numbers = list(self._ran)[:steps]
        work: _Work = {}
        return False

    def checkpoint(self) -> None:
        """Put all that was committed into the one file: copying or moving it then loses nothing.

        Raises
        ------
        StoreFull
            Not all of it fitted; nothing is lost, and a later call may succeed.
        """
        if self.is_in_memory:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            if schema.is_write_trouble(error):
                raise StoreFull(f"SNB-320 no space left for the state file ({error})") from error
            raise

    def moved(self) -> bool:
        """Tell whether the open file was moved, removed or replaced. It costs one `lstat`."""
        if self.is_in_memory:
            return False
        try:
            return schema.mark(self.path) != self._mark
        except OSError:
            return True


# --- rows ------------------------------------------------------------------------------------------

_JOB = """id, step, pool, slots, worker, queued, started, ended, outcome, returncode, why, peak_rss, cpu,
    leftovers, notes"""


def _job(row: tuple[Any, ...], keys: Mapping[int, str]) -> Job:
    (number, step, pool, slots, worker, queued, started, ended) = row[:8]
    (outcome, returncode, why, rss, cpu, left, notes) = row[8:]
    return Job(
        number,
        keys[step],
        pool=_decode(pool) if pool != "{}" else {},
        slots={name: tuple(numbers) for name, numbers in _decode(slots).items()} if slots != "{}" else {},
        worker=worker,
        queued=queued,
        started=started,
        ended=ended,
        outcome=None if outcome is None else Outcome(outcome),
        returncode=returncode,
        why=from_blob(why),
        peak_rss=rss,
        cpu=cpu,
        leftovers=_texts(left),
        notes=_texts(notes),
    )


def _texts(text: str) -> tuple[str, ...]:
    if text == "[]":
        return ()
    words = _decode(text)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("texts expected")
    return tuple(words)


def _fits(look: FileHash) -> bool:
    """Whether SQLite's integers hold it; a file of another time is simply read again next time."""
    return -_BIG <= look.mtime_ns < _BIG and -_BIG <= look.ctime_ns < _BIG and look.size < _BIG


_BIG = 2**63


def to_blob(text: str) -> bytes:
    """Return the bytes that stand for a text which need not be Unicode: of a path, its bytes on disk.

    Undone exactly by `from_blob`, whatever surrogates the text has. Those that are no undecoded bytes of a
    file name can come in through JSON, and are told by a zero byte in front, which no name has.
    """
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


# --- the database in memory --------------------------------------------------------------------------


def _in_memory(path: str | None) -> sqlite3.Connection:
    """Return a database that lives in memory, with the content of the file, if there is one to be read."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    schema.protect(db)
    if path is not None and schema.is_present(path):
        with schema.looking_into(path) as source:
            schema.recognise(source, path)
            source.backup(db)
    schema.migrate(db)
    return db


def _boot() -> str:
    """Return what changes with every start of the machine; empty where nobody tells."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


# --- the key -----------------------------------------------------------------------------------------


def key() -> bytes:
    """Return this user's secret: 32 random bytes, made at first need, and kept where only the user can read.

    With it results are sealed, so that nobody else's are believed, and values of environment variables are
    hashed. Where it cannot be kept, a key for this process only is returned.
    """
    folder = os.path.join(
        os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share"),
        "stepup_nb",
    )
    path = os.path.join(folder, "key")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for _ in range(3):
            found = _read_key(path)
            if found is not None:
                return found
            _make_key(path)
    except OSError:
        pass
    return _own_key()


def _read_key(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(fd)
        is_safe = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        words = os.read(fd, 64) if is_safe else b""
    finally:
        os.close(fd)
    if len(words) == 32:
        return words
    # Cut, or seen by others: no secret any more.
    os.unlink(path)
    return None


def _make_key(path: str) -> None:
    new = f"{path}.{secrets.token_hex(4)}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
        os.write(fd, secrets.token_bytes(32))
        os.fsync(fd)
        # Not a rename: of two processes at once the first one's key stays.
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        os.close(fd)
        os.unlink(new)


@cache
def _own_key() -> bytes:
    return secrets.token_bytes(32)
