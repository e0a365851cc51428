"""Remembers what the scheduler decided, and how every job ended; the only one that writes the database.

Knows the nouns and their rows; decides nothing. One thread at a time may use a store.
"""

from __future__ import annotations

import gc
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

from stepup_nb import __version__
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Decision
from stepup_nb.core.model import (
    Job,
)
from stepup_nb.core.scheduler import Restored
from stepup_nb.director import faults, schema, secret, state_file
from stepup_nb.director.results import (
    Kept,
    kept_of,
    words_of,
)
from stepup_nb.director.rows import (
    HISTORY,
    JOB,
    UNREADABLE,
    Work,
    decode,
    from_blob,
    history_row,
    job_of,
    to_blob,
)
from stepup_nb.director.tables import Cells, Tables

key = secret.key

HASH = "blake3"
"""The algorithm of content digests; its name is stored in each digest, and once for the database."""

KEPT_JOBS = 30
"""Jobs of one step that the history keeps."""

_PRUNED_AT_ONCE = 5000
_POSTPONED = 1000
"""Rows that can wait which are written all the same."""
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


@contextmanager
def _judged(path: str) -> Iterator[None]:
    """Raise what an error tells of the file: Unusable, Unwritable, or UsageError where another program holds it."""
    try:
        yield
    except sqlite3.Error as error:
        raise state_file.explained(error, path) from error
    except UNREADABLE as error:
        raise schema.Unusable("a row of it cannot be understood") from error


_NO_HOME = (UsageError, schema.Unusable, state_file.Unwritable, sqlite3.Error)
"""What keeps a new file from being written."""


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
    is_homeless
        It is in memory because its file was lost and no new one could be written: `rescue` tries again.
    kept_jobs
        Jobs of one step that `prune` leaves in the history. May be changed.
    """

    def __init__(self, db: sqlite3.Connection, path: str, notes: list[str], *, is_in_memory: bool) -> None:
        self.path = path
        self.notes = notes
        self.is_in_memory = is_in_memory
        self.is_homeless = False
        self.kept_jobs = KEPT_JOBS
        self._db = db
        self._mark = (0, 0) if is_in_memory else state_file.mark(path)
        self._run = secrets.token_hex(8)
        self._is_tidy = True
        """All that was committed is in the one file."""
        self._postponed = Work()
        """What can wait for the next transaction, or for a moment in which nothing else is to be done."""
        self._restored: Restored | None = None
        """What was read when it was opened, as long as nothing was written since."""
        self._interrupted: tuple[int, ...] = ()
        self._tables = Tables(secret.key(), self._run)
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
        except state_file.Unwritable as trouble:
            notes.append(
                f"SNB-316 '{state_file.shown(path)}' cannot be written ({trouble}). "
                "The session works in memory: nothing will be remembered."
            )
        try:
            return cls._begun(state_file.in_memory(path), path, notes)
        except (schema.Unusable, state_file.Unwritable):
            return cls._begun(state_file.in_memory(None), path, notes)

    @classmethod
    def _open_to_read(cls, path: str) -> Store:
        try:
            if state_file.is_present(path):
                return cls._begun(state_file.in_memory(path), path, [])
        except (schema.Unusable, state_file.Unwritable) as why:
            raise UsageError(
                "SNB-310",
                f"'{state_file.shown(path)}' is not a usable state file ({why}).",
                "it was cut or changed, or another program made it",
                "start a session: it moves the file aside, and checks everything again",
            ) from why
        raise UsageError(
            "SNB-315",
            f"There is no state file '{state_file.shown(path)}'.",
            "no step was declared here yet, or the file was moved",
            "execute the notebook first, or say where it is",
        )

    @classmethod
    def _open_to_write(cls, path: str, notes: list[str]) -> Store:
        for _ in range(2):
            try:
                if not state_file.is_present(path):
                    state_file.create(path)
                state_file.upgrade(path)
                with state_file.looking_into(path) as db:
                    # To the last row, before a byte is written: what cannot be used shall be kept as it was.
                    store = cls._looked(db, path, notes)
                    with _judged(path):
                        store._restored = store._reload()
                remarks: list[str] = []
                store._settle(state_file.connect(path, remarks))
                notes += remarks
                return store
            except schema.Unusable as why:
                notes.append(state_file.set_aside(path, str(why)))
        raise state_file.Unwritable("what was written there cannot be read again")

    @classmethod
    def _begun(cls, db: sqlite3.Connection, path: str, notes: list[str]) -> Store:
        """Return a store that works in memory, on what is there."""
        try:
            store = cls._looked(db, path, notes)
            store._begin()
        except BaseException:
            db.close()
            raise
        return store

    @classmethod
    def _looked(cls, db: sqlite3.Connection, path: str, notes: list[str]) -> Store:
        """Return a store that knows the settings of a database, which was checked."""
        store = cls(db, path, notes, is_in_memory=True)
        with _judged(path):
            schema.check(db)
            store._tables.settings = dict(db.execute("SELECT name, value FROM setting"))
            database = {name: decode(value) for name, value in store._tables.settings.items()}.get("database")
            store._tables.database = database if isinstance(database, str) else ""
        return store

    def _settle(self, db: sqlite3.Connection) -> None:
        """Go on in the file itself, whose content was read."""
        self._db, self.is_in_memory = db, False
        try:
            self._mark = state_file.mark(self.path)
            self._begin()
        except BaseException:
            self._abandon()
            raise

    def _begin(self) -> None:
        """Take over what an earlier session left: its running jobs were interrupted."""
        with _judged(self.path):
            self._take_over()

    def _take_over(self) -> None:
        db, tables, restored = self._db, self._tables, self._restored
        before = {name: decode(value) for name, value in tables.settings.items()}
        work = Work()
        if before.get("run") is not None:
            # The last session did not end in order. What ran has no result, also not the one before.
            jobs = db.execute("SELECT id, step FROM job WHERE outcome IS NULL ORDER BY id").fetchall()
            self._interrupted = tuple(step for _, step in jobs)
            for job, step in jobs:
                work.add("UPDATE job SET outcome = 'interrupted' WHERE id = ?", (job,))
                words, seal = self._after_interruption(step) if tables.database else (None, None)
                work.add(
                    "INSERT OR REPLACE INTO result (step, state, reason, last_job, record, seal)"
                    " SELECT id, 'PENDING', x'', ?, ?, ? FROM step WHERE id = ?",
                    (job, words, seal, step),
                )
        home = [state_file.boot(), *self._mark]
        was_home = before.get("home", home)
        if not isinstance(was_home, list):
            was_home = []
        if was_home != home:
            # After a reboot, a copy or a move, equal marks prove nothing: every file is read once more.
            work.add("UPDATE file SET looked_ns = 0", ())
        is_as_read = not work.rows and tables.database
        tables.database = tables.database or secrets.token_hex(16)
        marker = before.get("marker")
        if was_home[1:] != home[1:] or not isinstance(marker, str) or not marker.isalnum():
            # A copy must not take the original's processes for its own.
            marker = secrets.token_hex(16)
        tables.write_settings(
            work,
            {
                "database": tables.database,
                "hash": HASH,
                "home": home,
                "marker": marker,
                "release": __version__,
                "run": self._run,
            },
        )
        self._transact(work)
        # Read before anything was written, and still so.
        self._restored = restored if restored is not None and is_as_read else self._reload()

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
        if not compare_digest(self._tables.seal(key, spec, words), seal):
            return None, None
        kept = kept_of(words)
        made = dict(kept.made)
        if kept.record is not None:
            made.update(kept.record.made())
        if not made:
            return None, None
        words = words_of(Kept(None, None, tuple(sorted(made.items()))))
        return words, self._tables.seal(key, spec, words)

    def close(self) -> None:
        """Put everything into the one file, and let go of it."""
        if not self._is_tidy:
            # Whoever removes a file of a session that does nothing any more wants it forgotten.
            self.rescue()
        if not self.is_in_memory and not self.moved():
            with suppress(StoreFull):
                self._catch_up()
            try:
                if not self._tables.unfinished:
                    self._db.execute("DELETE FROM setting WHERE name = 'run'")
                # Without a log the file can be read even where nothing can be written beside it.
                self._db.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.Error:
                pass  # the log stays beside the file, and is worked in at the next start
        self._abandon()

    def _abandon(self) -> None:
        self._db.close()
        state_file.release(self._mark)

    # --- writing -----------------------------------------------------------------------------------

    def save(
        self,
        decision: Decision,
        tails: Callable[[int], tuple[bytes, bytes]],
        *,
        forgotten: Collection[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Write all that a decision changed, in one transaction; what nothing follows from, with a later one.

        Parameters
        ----------
        decision
            What one turn of the loop decided.
        tails
            Tells the last bytes of stdout and stderr of a job that ended; at most `tables.TAIL` of each are kept.
        forgotten
            Keys of the decision's steps that are no longer in the graph.
        settings
            Settings to remember, by name; any JSON. None leaves all as they are.

        Raises
        ------
        StoreFull
            Nothing was written for now; the same call may succeed later.
        """
        work = self._tables.changes(decision, tails, forgotten, settings)
        if work.is_due:
            self._commit(work)
        elif work.rows:
            self._postponed.join(work)
            if sum(map(len, self._postponed.rows.values())) >= _POSTPONED:
                self._catch_up()

    def _catch_up(self) -> None:
        """Write what could wait until now."""
        if self._postponed.rows:
            self._commit(Work())

    def set(self, name: str, value: Any) -> None:
        """Remember one setting, which may be any JSON; raise as `save` does."""
        self.save(Decision(), lambda job: (b"", b""), settings={name: value})

    def _commit(self, work: Work) -> None:
        if not self.is_homeless and self.moved():
            # What is told after this must be where the next session looks for it.
            self.rescue()
        if self._postponed.rows:
            # What waits keeps waiting should this fail.
            work, later = Work(), work
            work.join(self._postponed)
            work.join(later)
        try:
            self._transact(work)
        except sqlite3.Error as error:
            if state_file.is_write_trouble(error):
                raise _full(error) from error
            if not state_file.is_broken(error):
                raise
            self._renew(f"SNB-310 '{state_file.shown(self.path)}' broke while it was in use ({error})")
            self._transact(work)
        self._postponed = Work()

    def _transact(self, work: Work) -> None:
        db = self._db
        try:
            db.execute("BEGIN")
            if self._tables.unwritten:
                names = [(number, to_blob(key)) for key, number in self._tables.unwritten.items()]
                db.executemany("INSERT INTO name (id, key) VALUES (?, ?)", names)
            for statement, rows in work.rows.items():
                db.executemany(statement, rows)
            faults.reach("writing")
            db.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled back already.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._restored = None
        self._is_tidy = False
        self._tables.unwritten.clear()
        for table, name, row in work.after:
            if row is None:
                table.pop(name, None)
            else:
                table[name] = row

    # --- a new file for the old content ----------------------------------------------------------------

    def moved(self) -> bool:
        """Tell whether the open file was moved, removed or replaced; costs one `lstat`."""
        if self.is_in_memory:
            return False
        try:
            return state_file.mark(self.path) != self._mark
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            # A disk or a server that does not answer now has moved nothing.
            return False

    def rescue(self) -> None:
        """Go on with a new file at the old place, if the open one is not there any more; a note tells of it.

        The old file, wherever it is now, is complete, too. What is in its place is moved aside. Where no new file can
        be written, the session goes on in memory, and may be rescued later.
        """
        what = f"SNB-305 the state file '{state_file.shown(self.path)}' was moved or replaced while in use"
        if self.is_homeless:
            try:
                self._move_in(what)
            except _NO_HOME:
                pass
        if not self.moved():
            return
        jobs: Cells = ()
        tails: Cells = ()
        try:
            self.checkpoint()
            jobs, tails = self._past()
        except (StoreFull, sqlite3.Error):
            pass
        self._renew(what, jobs, tails)

    def _past(self) -> tuple[Cells, Cells]:
        return (
            self._db.execute(f"SELECT {JOB} FROM job").fetchall(),
            self._db.execute("SELECT job, stdout, stderr FROM tail").fetchall(),
        )

    def _renew(self, what: str, jobs: Cells = (), tails: Cells = ()) -> None:
        # Closed before anything else bears its name: it would take the new one's log for its own.
        self._abandon()
        self._db = state_file.in_memory(None)
        self._mark = (0, 0)
        self.is_in_memory = self.is_homeless = True
        self._transact(self._tables.everything(jobs, tails))
        try:
            self._move_in(what)
        except _NO_HOME as trouble:
            why = trouble.what if isinstance(trouble, UsageError) else str(trouble)
            self.notes.append(f"{what}. No new one can be written ({why}): until then nothing is remembered.")

    def _move_in(self, what: str) -> None:
        """Put what is in memory into a new file, and go on with that; raise one of `_NO_HOME` where none can be."""
        aside = state_file.make_room(self.path)
        state_file.create(self.path, self._db)
        homeless, remarks = self._db, list[str]()
        try:
            self._db = state_file.connect(self.path, remarks)
            self._mark = state_file.mark(self.path)
            work = Work()
            self._tables.write_settings(work, {"home": [state_file.boot(), *self._mark]})
            self._transact(work)
        except BaseException:
            if self._db is not homeless:
                self._abandon()
            state_file.discard(self.path)
            self._db, self._mark = homeless, (0, 0)
            raise
        homeless.close()
        self.is_in_memory = self.is_homeless = False
        there = f"; what was there is '{state_file.shown(aside)}' now" if aside else ""
        self.notes += [f"{what}. A new one was written{there}.", *remarks]

    # --- reading -----------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Return what the database remembers, as fresh nouns: no step is live, no file was seen."""
        restored, self._restored = self._restored or self._reload(), None
        keys = {number: key for key, number in self._tables.names.items()}
        return Loaded(
            restored,
            {name: decode(words) for name, words in self._tables.settings.items()},
            self._tables.strangers(),
            tuple(keys[number] for number in self._interrupted),
        )

    def _reload(self) -> Restored:
        # Tens of thousands of objects that all stay: to look for garbage among them doubles the time.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return self._tables.load(self._db)
        finally:
            if was_enabled:
                gc.enable()

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
        number = self._tables.names.get(step)
        rows = self._ask(f"SELECT {JOB} FROM job WHERE step = ? ORDER BY id", (number,))
        return [job_of(row, step) for row in rows]

    def durations(self) -> dict[str, float]:
        """Return the seconds that the last success of each step took, by the step's key."""
        # SQLite takes the other columns from the row that has the greatest number.
        rows = self._ask(
            "SELECT key, ended - started, max(job.id) FROM job JOIN name ON name.id = job.step"
            " WHERE outcome = 'succeeded' AND ended IS NOT NULL GROUP BY job.step"
        )
        return {from_blob(key): seconds for key, seconds, _ in rows}

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
            if not state_file.is_broken(error):
                raise
            self._renew(f"SNB-310 '{state_file.shown(self.path)}' broke while it was in use ({error})")
        return self._db.execute(query, values).fetchall()

    # --- trust -------------------------------------------------------------------------------------

    @property
    def is_trusted(self) -> bool:
        """Whether all results that are stored were recorded with this user's key."""
        return not self._tables.strangers()

    def trust(self) -> dict[str, Kept]:
        """Believe the results that somebody else recorded, from now on; return them by key of their step.

        Raises
        ------
        StoreFull
            Nothing was changed for now.
        """
        believed, work = self._tables.believe(
            lambda step: self._ask("SELECT record FROM result WHERE step = ?", (step,))
        )
        if believed:
            self._commit(work)
        return believed

    # --- care, while nothing else is to be done --------------------------------------------------------

    @property
    def unpruned(self) -> int:
        """How many jobs began since the last pruning."""
        return len(self._tables.ran)

    def prune(self) -> list[int]:
        """Drop the oldest jobs of steps that have more than `kept_jobs`; return their numbers.

        A call drops only so many: there may be more as long as it returns any.

        To find them costs a look at every job; where these are many, it waits until a twentieth is to go.

        Raises
        ------
        StoreFull
            Nothing was dropped for now.
        """
        if self._counts is None:
            self._counts = Counter(dict(self._ask("SELECT step, count(*) FROM job GROUP BY step")))
        else:
            self._counts.update(self._tables.ran.values())
        self._tables.ran.clear()
        kept = self.kept_jobs
        surplus = sum(count - kept for count in self._counts.values() if count > kept)
        if not surplus or 20 * surplus < self._counts.total() - 1000:
            return []
        left = Counter(self._counts)
        oldest: list[tuple[int, int]] = []
        at = 0
        while len(oldest) < _PRUNED_AT_ONCE and (rows := self._jobs_after(at)):
            for job, step in rows[: _PRUNED_AT_ONCE - len(oldest)]:
                if left[step] > kept:
                    left[step] -= 1
                    oldest.append((job, step))
                at = job
        work = Work()
        for job, _ in oldest:
            work.add("DELETE FROM job WHERE id = ?", (job,))
            work.add("DELETE FROM tail WHERE job = ?", (job,))
        self._commit(work)
        self._counts = left
        return [job for job, _ in reversed(oldest)]

    def _jobs_after(self, job: int) -> list[tuple[Any, ...]]:
        words = "SELECT id, step FROM job WHERE id > ? ORDER BY id LIMIT ?"
        return self._ask(words, (job, _PRUNED_AT_ONCE))

    def checkpoint(self) -> None:
        """Put all that was committed into the one file: to copy or move it then loses nothing.

        Raises
        ------
        StoreFull
            Not all of it fitted; nothing is lost, and a later call may succeed.
        """
        self._catch_up()
        if self.is_in_memory:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._is_tidy = True
            faults.reach("tidied")
        except sqlite3.Error as error:
            if state_file.is_write_trouble(error):
                raise _full(error) from error
            if not state_file.is_broken(error):
                raise
            self._renew(f"SNB-310 '{state_file.shown(self.path)}' broke while it was in use ({error})")


def _full(error: sqlite3.Error) -> StoreFull:
    if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
        return StoreFull("SNB-320 no space left for the state file; scheduling paused")
    return StoreFull(f"SNB-320 the state file cannot be written ({error}); scheduling paused")
