"""Remembers what the scheduler decided, and how every job ended; the only one that writes the database.

Knows the nouns and their rows; decides nothing. One thread at a time may use a store.
"""

from __future__ import annotations

import gc
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest
from operator import attrgetter
from typing import Any

from stepup_nb import __version__
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Decision
from stepup_nb.core.model import (
    FINISHED,
    File,
    FileHash,
    Job,
    Pool,
    Step,
    StepState,
)
from stepup_nb.core.scheduler import Restored
from stepup_nb.director import schema, secret
from stepup_nb.director.results import (
    NEVER_ENDED,
    Declared,
    Disbelieved,
    Ended,
    Kept,
    Row,
    kept_of,
    spec_of,
    spec_words,
    words_of,
)
from stepup_nb.director.rows import (
    HISTORY,
    INSERT_JOB,
    JOB,
    UNREADABLE,
    Work,
    decode,
    encode,
    fits,
    from_blob,
    history_row,
    job_of,
    slots_words,
    texts_of,
    to_blob,
)

key = secret.key

HASH = "blake3"
"""The algorithm of content digests; its name is stored in each digest, and once for the database."""

TAIL = 4096
"""Bytes of each stream that are kept of a job; the log file has all of it."""

KEPT_JOBS = 30
"""Jobs of one step that the history keeps."""

_PRUNED_AT_ONCE = 5000
"""Jobs that one pruning drops: some 20 ms."""


class StoreFull(Exception):
    """The database cannot be written now: no space, no permission, no memory; the text is for people.

    Nothing of the call was stored, and nothing is lost: repeat it when there is room.
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


_Table = Sequence[tuple[Any, ...]]
"""Rows as they are stored."""


class Store:
    """The database of one notebook or plan.

    Attributes
    ----------
    path
        Of the file, absolute.
    notes
        What had to be done to open it or to go on with it, in words for people; empty when all is as usual.
    is_in_memory
        Nothing will be remembered: the place cannot be written, or the file was opened read-only.
    """

    def __init__(self, db: sqlite3.Connection, path: str, notes: list[str], *, is_in_memory: bool) -> None:
        self.path = path
        self.notes = notes
        self.is_in_memory = is_in_memory
        self._db = db
        self._mark = (0, 0) if is_in_memory else schema.mark(path)
        self._run = secrets.token_hex(8)
        self._key = secret.key()
        self._database = ""
        self._loaded: Loaded | None = None
        self._interrupted: tuple[int, ...] = ()
        # What is in the tables, so that only what differs is written.
        self._settings: dict[str, str] = {}
        self._names: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}
        self._next_name = 1
        self._rows: dict[str, Row] = {}
        self._files: dict[str, tuple[int, FileHash]] = {}
        self._next_file = 1
        self._pools: dict[str, tuple[Any, ...]] = {}
        self._unfinished: dict[int, Job] = {}
        self._ran: dict[int, int] = {}
        """Jobs since the last pruning, and their steps' numbers."""
        self._counts: Counter[int] | None = None
        """How many jobs the history had of each step at the last pruning."""

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
            return cls._begun(schema.in_memory(path), path, notes, is_in_memory=True)
        except (schema.Unusable, schema.Unwritable):
            return cls._begun(schema.in_memory(None), path, notes, is_in_memory=True)

    @classmethod
    def _open_to_read(cls, path: str) -> Store:
        try:
            if schema.is_present(path):
                return cls._begun(schema.in_memory(path), path, [], is_in_memory=True)
        except (schema.Unusable, schema.Unwritable) as why:
            raise UsageError(
                "SNB-310",
                f"'{schema.shown(path)}' is not a usable state file ({why}).",
                "it was cut or changed, or another program made it",
                "start a session: it moves the file aside, and checks everything again",
            ) from why
        raise UsageError(
            "SNB-315",
            f"There is no state file '{schema.shown(path)}'.",
            "no step was declared here yet, or the file was moved",
            "execute the notebook first, or say where it is",
        )

    @classmethod
    def _open_to_write(cls, path: str, notes: list[str]) -> Store:
        for _ in range(2):
            try:
                if not schema.is_present(path):
                    schema.create(path)
                schema.upgrade(path)
                return cls._begun(schema.connect(path), path, notes, is_in_memory=False)
            except schema.Unusable as why:
                notes.append(schema.set_aside(path, str(why)))
        raise schema.Unwritable("what was written there cannot be read again")

    @classmethod
    def _begun(cls, db: sqlite3.Connection, path: str, notes: list[str], *, is_in_memory: bool) -> Store:
        store = cls(db, path, notes, is_in_memory=is_in_memory)
        try:
            schema.check(db)
            store._begin()
            store._loaded = store.load()
        except BaseException as error:
            store._abandon()
            if isinstance(error, sqlite3.Error):
                raise schema.explained(error, path) from error
            if isinstance(error, UNREADABLE):
                raise schema.Unusable("a row of it cannot be understood") from error
            raise
        return store

    def _begin(self) -> None:
        """Take over what an earlier session left: its running jobs were interrupted."""
        db = self._db
        self._settings = dict(db.execute("SELECT name, value FROM setting"))
        before = {name: decode(value) for name, value in self._settings.items()}
        work = Work()
        if before.get("run") is not None:
            # The last session did not end in order. What ran has no result, also not the one before.
            jobs = db.execute("SELECT id, step FROM job WHERE outcome IS NULL ORDER BY id").fetchall()
            is_known = isinstance(before.get("database"), str)
            self._database = before["database"] if is_known else ""
            self._interrupted = tuple(step for _, step in jobs)
            for job, step in jobs:
                work.add("UPDATE job SET outcome = 'interrupted' WHERE id = ?", (job,))
                words, seal = self._after_interruption(step) if is_known else (None, None)
                work.add(
                    "INSERT OR REPLACE INTO result (step, state, reason, last_job, record, seal)"
                    " SELECT id, 'PENDING', x'', ?, ?, ? FROM step WHERE id = ?",
                    (job, words, seal, step),
                )
        home = [schema.boot(), *self._mark]
        was_home = before.get("home", home)
        if was_home != home:
            # After a reboot, a copy or a move, equal marks prove nothing: every file is read once more.
            work.add("UPDATE file SET looked_ns = 0", ())
        database, marker = before.get("database"), before.get("marker")
        self._database = database if isinstance(database, str) else secrets.token_hex(16)
        if was_home[1:] != home[1:] or not isinstance(marker, str) or not marker.isalnum():
            # A copy must not take the original's processes for its own.
            marker = secrets.token_hex(16)
        self._write_settings(
            work,
            {
                "database": self._database,
                "hash": HASH,
                "home": home,
                "marker": marker,
                "release": __version__,
                "run": self._run,
            },
        )
        self._transact(work)

    def _after_interruption(self, step: int) -> tuple[str | None, bytes | None]:
        """Return what is left of a step's result when its next job was interrupted: the files that are its own."""
        row = self._db.execute(
            "SELECT key, spec, record, seal FROM result JOIN step ON step.id = result.step"
            " JOIN name ON name.id = step.id WHERE step.id = ?",
            (step,),
        ).fetchone()
        if row is None or row[2] is None:
            return None, None
        key, spec, words, seal = from_blob(row[0]), row[1], row[2], row[3]
        if not compare_digest(self._seal(key, spec, words), seal):
            return None, None
        kept = kept_of(words)
        made = dict(kept.made)
        if kept.record is not None:
            made.update((*kept.record.outputs, *kept.record.volatiles))
        if not made:
            return None, None
        words = words_of(Kept(None, None, tuple(sorted(made.items()))))
        return words, self._seal(key, spec, words)

    def close(self) -> None:
        """Put everything into the one file, and let go of it."""
        if not self.is_in_memory and not self.moved():
            try:
                if not self._unfinished:
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
        work = Work()
        for key, step in decision.steps.items():
            if key in forgotten:
                self._forget(work, key)
            else:
                self._write_step(work, key, step)
        for file in decision.files.values():
            self._write_file(work, file)
        for pool in decision.pools.values():
            self._write_pool(work, pool)
        for job in decision.jobs.values():
            self._write_job(work, job, tails)
        for number in decision.dropped_jobs & self._unfinished.keys():
            # Its start was taken back, after it had been written down: there was no job.
            work.add("DELETE FROM job WHERE id = ?", (number,))
            work.know(self._unfinished, number, None)
            work.know(self._ran, number, None)
        if settings is not None:
            self._write_settings(work, settings)
        if work.rows:
            self._commit(work)

    def set(self, name: str, value: Any) -> None:
        """Remember one setting, which may be any JSON; raise as `save` does."""
        self.save(Decision(), lambda job: (b"", b""), settings={name: value})

    def _commit(self, work: Work) -> None:
        try:
            self._transact(work)
        except sqlite3.Error as error:
            if schema.is_write_trouble(error):
                raise _full(error) from error
            if not schema.is_broken(error):
                raise
            self._renew(f"SNB-310 '{schema.shown(self.path)}' broke while it was in use ({error})")
            self._transact(work)

    def _transact(self, work: Work) -> None:
        db = self._db
        try:
            db.execute("BEGIN")
            if self._unwritten:
                names = [(number, to_blob(key)) for key, number in self._unwritten.items()]
                db.executemany("INSERT INTO name (id, key) VALUES (?, ?)", names)
            for statement, rows in work.rows.items():
                db.executemany(statement, rows)
            db.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled back already.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._loaded = None
        self._unwritten.clear()
        for table, name, row in work.after:
            if row is None:
                table.pop(name, None)
            else:
                table[name] = row

    def _write_settings(self, work: Work, settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            words = encode(value)
            if self._settings.get(name) != words:
                self._put_setting(work, name, words)

    def _put_setting(self, work: Work, name: str, words: str) -> None:
        work.add("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", (name, words))
        work.know(self._settings, name, words)

    def _write_step(self, work: Work, key: str, step: Step) -> None:
        old = self._rows.get(key) or Row(self._name(key), step.spec, "")
        spec, scope, state = step.spec, step.scope, step.state
        kept: Kept | Disbelieved | None = None
        if step.record is not None or step.made:
            kept = Kept(step.record, step.products, tuple(sorted(step.made.items())))
            if isinstance(old.kept, Kept) and kept.is_same(old.kept):
                kept = old.kept
        ended: Ended
        declared: Declared
        if scope is not None:
            declared = (step.seq, step.number, step.is_retired, scope.id, scope.kind.value, scope.title)
        else:
            declared = (step.seq, step.number, step.is_retired, *old.declared[3:5], step.cell)
        is_disbelieved = isinstance(old.kept, Disbelieved)
        if state in FINISHED:
            last = step.last
            ended = (state.value, step.reason, None if last is None else last.id)
        elif kept is old.kept or (
            # That it runs, its job says; only of somebody else's result nothing may be left by then.
            not is_disbelieved
            if state is StepState.RUNNING
            # Until then the user may yet say that it is to be trusted.
            else is_disbelieved
        ):
            # That it waits is not worth a write: what was on its way begins anew after a restart.
            ended, kept = old.ended, old.kept
        else:
            ended = (StepState.PENDING.value, "", old.ended[2])
        text = old.text
        if not text or (old.spec is not spec and (old.spec != spec or step.unamended is not None)):
            text = spec_words(step)
        row = Row(old.id, spec, text, declared, ended, kept)
        if text is not old.text or declared != old.declared:
            self._put_step(work, row)
        if kept is not old.kept or (text is not old.text and isinstance(kept, Kept)):
            self._put_result(work, key, row)
        elif ended != old.ended:
            work.add(
                "INSERT INTO result (step, state, reason, last_job) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (step) DO UPDATE"
                " SET state = excluded.state, reason = excluded.reason, last_job = excluded.last_job",
                (row.id, ended[0], to_blob(ended[1]), ended[2]),
            )
        work.know(self._rows, key, row)

    def _put_step(self, work: Work, row: Row) -> None:
        seq, number, is_retired, scope, kind, cell = row.declared
        work.add(
            "INSERT OR REPLACE INTO step (id, seq, number, is_retired, scope_id, scope_kind, cell, spec)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.id,
                seq,
                number,
                int(is_retired),
                None if scope is None else to_blob(scope),
                kind,
                to_blob(cell),
                row.text,
            ),
        )

    def _put_result(self, work: Work, key: str, row: Row) -> None:
        state, reason, last = row.ended
        words = seal = None
        if isinstance(row.kept, Kept):
            words = words_of(row.kept)
            seal = self._seal(key, row.text, words)
        work.add(
            "INSERT OR REPLACE INTO result (step, state, reason, last_job, record, seal)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (row.id, state, to_blob(reason), last, words, seal),
        )

    def _forget(self, work: Work, key: str) -> None:
        row = self._rows.get(key)
        if row is not None:
            work.add("DELETE FROM step WHERE id = ?", (row.id,))
            work.add("DELETE FROM result WHERE step = ?", (row.id,))
            # What it printed is forgotten with it; that it ran stays in the history.
            work.add("DELETE FROM tail WHERE job IN (SELECT id FROM job WHERE step = ?)", (row.id,))
            work.know(self._rows, key, None)

    def _write_file(self, work: Work, file: File) -> None:
        look = file.look
        if not isinstance(look, FileHash) or not fits(look):
            look = None
        known = self._files.get(file.path)
        if look is None:
            if known is not None:
                work.add("DELETE FROM file WHERE id = ?", (known[0],))
                work.know(self._files, file.path, None)
        elif known is None:
            self._put_file(work, file.path, self._next_file, look)
            self._next_file += 1
        elif look != known[1]:
            self._put_file(work, file.path, known[0], look)

    def _put_file(self, work: Work, path: str, number: int, look: FileHash) -> None:
        digest, size, mode, inode, mtime, ctime, looked = look
        work.add(
            "INSERT OR REPLACE INTO file"
            " (id, path, digest, size, mode, inode, mtime_ns, ctime_ns, looked_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, to_blob(path), digest, size, mode, str(inode), mtime, ctime, looked),
        )
        work.know(self._files, path, (number, look))

    def _write_pool(self, work: Work, pool: Pool) -> None:
        row = (pool.size, pool.tokens, pool.scope) if pool.is_defined else None
        if row == self._pools.get(pool.name):
            return
        if row is None:
            work.add("DELETE FROM pool WHERE name = ?", (pool.name,))
            work.know(self._pools, pool.name, None)
        else:
            self._put_pool(work, pool.name, row)

    def _put_pool(self, work: Work, name: str, row: tuple[Any, ...]) -> None:
        size, tokens, scope = row
        work.add(
            "INSERT OR REPLACE INTO pool (name, size, tokens, scope) VALUES (?, ?, ?, ?)",
            (name, size, encode(tokens), to_blob(scope)),
        )
        work.know(self._pools, name, row)

    def _write_job(self, work: Work, job: Job, tails: Callable[[int], tuple[bytes, bytes]]) -> None:
        is_known = job.id in self._unfinished
        outcome = None if job.outcome is None else job.outcome.value
        news = (
            job.started,
            job.ended,
            outcome,
            job.returncode,
            to_blob(job.why),
            job.peak_rss,
            job.cpu,
            encode(job.leftovers) if job.leftovers else "[]",
            encode(job.notes) if job.notes else "[]",
        )
        if is_known:
            work.add(
                "UPDATE job SET started = ?, ended = ?, outcome = ?, returncode = ?, why = ?, peak_rss = ?,"
                " cpu = ?, leftovers = ?, notes = ? WHERE id = ?",
                (*news, job.id),
            )
        else:
            number = self._name(job.step)
            work.add(
                INSERT_JOB,
                (
                    job.id,
                    number,
                    self._run,
                    slots_words(tuple(job.pool.items())),
                    slots_words(tuple(job.slots.items())),
                    job.worker,
                    job.queued,
                    *news,
                ),
            )
            work.know(self._ran, job.id, number)
        work.know(self._unfinished, job.id, None if outcome else job)
        if outcome is not None:
            stdout, stderr = tails(job.id)
            if stdout or stderr:
                work.add(
                    "INSERT OR REPLACE INTO tail (job, stdout, stderr) VALUES (?, ?, ?)",
                    (job.id, stdout[-TAIL:], stderr[-TAIL:]),
                )

    def _name(self, key: str) -> int:
        """Return the number that stands for a step's key in the tables."""
        number = self._names.get(key)
        if number is None:
            number = self._names[key] = self._unwritten[key] = self._next_name
            self._next_name += 1
        return number

    def _seal(self, key: str, spec: str, record: str) -> bytes:
        """Return the keyed hash that only this user can make of what a step is and of what it made."""
        words = f"{self._database} {len(key)} {len(spec)} {key}{spec}{record}"
        return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()

    # --- a new file for the old content ----------------------------------------------------------------

    def moved(self) -> bool:
        """Tell whether the open file was moved, removed or replaced; costs one `lstat`."""
        if self.is_in_memory:
            return False
        try:
            return schema.mark(self.path) != self._mark
        except OSError:
            return True

    def rescue(self) -> None:
        """Go on with a new file at the old place, after `moved` said that it is needed; a note tells of it.

        The old file, wherever it is now, is complete, too. What is in its place is moved aside.

        Raises
        ------
        UsageError
            As `open` does.
        """
        history = []
        try:
            self.checkpoint()
            history = self._db.execute(f"SELECT {JOB} FROM job").fetchall()
            tails = self._db.execute("SELECT job, stdout, stderr FROM tail").fetchall()
        except (StoreFull, sqlite3.Error):
            tails = []
        self._renew(
            f"SNB-305 the state file '{schema.shown(self.path)}' was moved or replaced while in use",
            history,
            tails,
        )

    def _renew(self, what: str, jobs: _Table = (), tails: _Table = ()) -> None:
        self._abandon()
        work = self._everything(jobs, tails)
        try:
            aside = schema.move_aside(self.path) if schema.is_present(self.path) else ""
            schema.create(self.path)
            self._db = schema.connect(self.path)
            self._mark = schema.mark(self.path)
            self._put_setting(work, "home", encode([schema.boot(), *self._mark]))
            self._transact(work)
            there = f"; what was there is '{schema.shown(aside)}' now" if aside else ""
            self.notes.append(f"{what}. A new one was written{there}.")
        except (schema.Unusable, schema.Unwritable, sqlite3.Error) as trouble:
            self._db = schema.in_memory(None)
            self.is_in_memory = True
            self._mark = (0, 0)
            self._transact(work)
            self.notes.append(f"{what}. No new one can be written ({trouble}): nothing will be remembered.")

    def _everything(self, jobs: _Table, tails: _Table) -> Work:
        """Return what writes all that is known, and this history, into empty tables."""
        work = Work()
        self._unwritten = dict(self._names)
        for name, words in self._settings.items():
            self._put_setting(work, name, words)
        for key, row in self._rows.items():
            self._put_step(work, row)
            if row.ended != NEVER_ENDED or row.kept is not None:
                self._put_result(work, key, row)
        for path, (number, look) in self._files.items():
            self._put_file(work, path, number, look)
        for name, pool in self._pools.items():
            self._put_pool(work, name, pool)
        for cells in jobs:
            work.add(INSERT_JOB, cells)
        for cells in tails:
            work.add("INSERT OR REPLACE INTO tail (job, stdout, stderr) VALUES (?, ?, ?)", cells)
        # Whatever became of the history: that these run is why their steps have no result.
        running, self._unfinished = self._unfinished, {}
        for job in running.values():
            self._write_job(work, job, lambda job: (b"", b""))
        return work

    # --- reading -----------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Return what the database remembers, as fresh nouns: no step is live, no file was seen."""
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            return loaded
        # Tens of thousands of objects that all stay: to look for garbage among them doubles the time.
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
        settings = {name: decode(value) for name, value in self._settings.items()}
        keys = {number: from_blob(blob) for number, blob in db.execute("SELECT id, key FROM name")}
        self._names = {key: number for number, key in keys.items()}
        self._next_name = max(keys, default=0) + 1
        if len(self._names) < len(keys):
            raise ValueError("two rows for one key")
        lasts = {
            row[0]: job_of(row, keys[row[1]])
            for row in db.execute(f"SELECT {JOB} FROM job WHERE id IN (SELECT last_job FROM result)")
        }
        self._rows = {}
        for row in db.execute(
            "SELECT id, seq, number, is_retired, scope_id, scope_kind, cell, spec, state, reason, last_job,"
            " record, seal FROM step LEFT JOIN result ON result.step = step.id"
        ):
            step = self._step(keys[row[0]], row, lasts)
            _, _, _, scope, kind, _ = self._rows[step.key].declared
            if kind in ("cell", "step") and scope is not None:
                restored.scopes[step.key] = scope
            restored.steps.append(step)
        restored.steps.sort(key=attrgetter("seq"))
        self._files = {}
        for number, blob, digest, size, mode, inode, mtime, ctime, looked in db.execute(
            "SELECT id, path, digest, size, mode, inode, mtime_ns, ctime_ns, looked_ns FROM file ORDER BY id"
        ):
            look = FileHash(digest, size, mode, int(inode), mtime, ctime, looked)
            path = from_blob(blob)
            self._files[path] = (number, look)
            self._next_file = number + 1
            restored.files.append(File(path, look=look))
        self._pools = {}
        for name, limit, tokens, scope in db.execute("SELECT name, size, tokens, scope FROM pool"):
            pool = Pool(name, limit, True, texts_of(tokens), scope=from_blob(scope))
            self._pools[name] = (pool.size, pool.tokens, pool.scope)
            restored.pools.append(pool)
        workers = settings.get("workers")
        restored.workers = workers if isinstance(workers, int) and workers > 0 else None
        restored.next_job = (db.execute("SELECT max(id) FROM job").fetchone()[0] or 0) + 1
        if max(self._next_name, self._next_file, restored.next_job) > 2**62:
            raise ValueError("no room for more rows")
        return Loaded(
            restored,
            settings,
            tuple(key for key, row in self._rows.items() if isinstance(row.kept, Disbelieved)),
            tuple(keys[number] for number in self._interrupted),
        )

    def _step(self, key: str, row: tuple[Any, ...], lasts: dict[int, Job]) -> Step:
        number, seq, occurrence, is_retired, scope, kind, cell, text, state, reason, last, words, seal = row
        spec, unamended = spec_of(text)
        kept: Kept | Disbelieved | None = None
        if words is not None:
            is_ours = compare_digest(self._seal(key, text, words), seal)
            kept = kept_of(words) if is_ours else Disbelieved()
        ended: Ended = NEVER_ENDED if state is None else (state, from_blob(reason), last)
        declared: Declared = (
            seq,
            occurrence,
            is_retired == 1,
            None if scope is None else from_blob(scope),
            kind,
            from_blob(cell),
        )
        self._rows[key] = Row(number, spec, text, declared, ended, kept)
        step = Step(
            key, spec, seq, occurrence, cell=declared[5], is_retired=declared[2], last=lasts.get(last)
        )
        step.unamended = unamended
        if isinstance(kept, Disbelieved):
            # What a stranger's job amended is as little believed as what it made.
            step.spec, step.unamended = step.declared, None
            return step
        step.state, step.reason = StepState(ended[0]), ended[1]
        if kept is not None:
            kept.give(step)
        if step.state is StepState.SUCCEEDED and step.record is None:
            step.state = StepState.PENDING
        return step

    def history(self, most: int = -1) -> list[dict[str, Any]]:
        """Return a row per job that ran or still runs, over all sessions, newest last: all, or the last few.

        Times are seconds since the epoch, memory is bytes, processor time seconds; `pool` is the number of
        slots by pool, `slots` are their numbers.
        """
        rows = self._ask(
            f"SELECT {HISTORY} FROM job JOIN name ON name.id = job.step ORDER BY job.id DESC LIMIT ?", (most,)
        )
        return [history_row(row) for row in reversed(rows)]

    def jobs_of(self, step: str) -> list[Job]:
        """Return the jobs that the history keeps of a step, by its key, newest last."""
        number = self._names.get(step)
        rows = self._ask(f"SELECT {JOB} FROM job WHERE step = ? ORDER BY id", (number,))
        return [job_of(row, step) for row in rows]

    def tails(self, jobs: Iterable[int]) -> dict[int, tuple[bytes, bytes]]:
        """Return the last bytes of stdout and stderr by job; jobs that printed nothing are left out."""
        found = {}
        for job in jobs:
            for stdout, stderr in self._ask("SELECT stdout, stderr FROM tail WHERE job = ?", (job,)):
                found[job] = (stdout, stderr)
        return found

    def _ask(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query about the past; what broke meanwhile is the past that is lost."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if not schema.is_broken(error):
                raise
            self._renew(f"SNB-310 '{schema.shown(self.path)}' broke while it was in use ({error})")
        return self._db.execute(query, values).fetchall()

    # --- trust -------------------------------------------------------------------------------------

    @property
    def is_trusted(self) -> bool:
        """Whether all results that are stored were recorded with this user's key."""
        return not any(isinstance(row.kept, Disbelieved) for row in self._rows.values())

    def trust(self) -> dict[str, Kept]:
        """Believe the results that somebody else recorded, from now on; return them by key of their step.

        Raises
        ------
        StoreFull
            Nothing was changed for now.
        """
        work = Work()
        believed = {}
        for key, row in self._rows.items():
            if not isinstance(row.kept, Disbelieved):
                continue
            for (words,) in self._ask("SELECT record FROM result WHERE step = ?", (row.id,)):
                try:
                    kept = kept_of(words)
                except UNREADABLE:
                    continue
                believed[key] = kept
                work.add(
                    "UPDATE result SET seal = ? WHERE step = ?", (self._seal(key, row.text, words), row.id)
                )
                work.know(self._rows, key, row._replace(kept=kept))
        if believed:
            self._commit(work)
        return believed

    # --- care, while nothing else is to be done --------------------------------------------------------

    def prune(self, kept: int = KEPT_JOBS) -> list[int]:
        """Drop the oldest jobs of steps that have more than so many; return their numbers.

        A call drops only so many: there may be more as long as it returns any.

        To find them costs a look at every job; where these are many, it waits until a twentieth is to go.

        Raises
        ------
        StoreFull
            Nothing was dropped for now.
        """
        if self._counts is None:
            self._counts = Counter(step for (step,) in self._ask("SELECT step FROM job"))
        else:
            self._counts.update(self._ran.values())
        self._ran.clear()
        surplus = sum(count - kept for count in self._counts.values() if count > kept)
        if not surplus or 20 * surplus < self._counts.total() - 1000:
            return []
        met: Counter[int] = Counter()
        old = []
        for job, step in self._ask("SELECT id, step FROM job ORDER BY id DESC"):
            met[step] += 1
            if met[step] > kept:
                old.append((job, step))
        oldest = old[-_PRUNED_AT_ONCE:]
        work = Work()
        for job, _ in oldest:
            work.add("DELETE FROM job WHERE id = ?", (job,))
            work.add("DELETE FROM tail WHERE job = ?", (job,))
        self._commit(work)
        self._counts.subtract(step for _, step in oldest)
        return [job for job, _ in oldest]

    def checkpoint(self) -> None:
        """Put all that was committed into the one file: to copy or move it then loses nothing.

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
                raise _full(error) from error
            if not schema.is_broken(error):
                raise
            self._renew(f"SNB-310 '{schema.shown(self.path)}' broke while it was in use ({error})")


def _full(error: sqlite3.Error) -> StoreFull:
    if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
        return StoreFull("SNB-320 no space left for the state file; scheduling paused")
    return StoreFull(f"SNB-320 the state file cannot be written ({error}); scheduling paused")
