"""The tables of the database, how each release changed them, and how it is told whether a database is ours.

Knows nothing of steps: what the rows mean is the matter of `stepup_nb.director.store`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache

from stepup_nb import __version__
from stepup_nb.core.errors import UsageError

APPLICATION_ID = 0x53744E42
"""Marks a SQLite file as ours: "StNB"."""

_LONG_HISTORY = 16_000
"""Pages of a file whose history is not checked when it is opened: 64 MB."""

Migration = Callable[[sqlite3.Connection], None]


# --- the tables ----------------------------------------------------------------------------------


def _m1_first_tables(db: sqlite3.Connection) -> None:
    # Names, paths and words are BLOBs: a file name need not be text (see `store.to_blob`).
    db.execute("""
        CREATE TABLE setting (
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL -- JSON
        ) STRICT, WITHOUT ROWID
    """)
    # Keys outlive their steps: the history names steps that are forgotten. That keys here and paths below are
    # unique is the store's doing: an index would add to the pages that a step's result writes.
    db.execute("""
        CREATE TABLE name (
            id INTEGER PRIMARY KEY,
            key BLOB NOT NULL
        ) STRICT
    """)
    db.execute("""
        CREATE TABLE step (
            id INTEGER PRIMARY KEY, -- name.id of its key
            seq INTEGER NOT NULL, -- order of declaration
            number INTEGER NOT NULL CHECK (number >= 1), -- which occurrence of its base
            is_retired INTEGER NOT NULL CHECK (is_retired IN (0, 1)),
            scope_id BLOB, -- who declared it last
            scope_kind TEXT CHECK (scope_kind IN ('cell', 'run', 'session')),
            cell BLOB NOT NULL, -- that scope's title
            spec TEXT NOT NULL, -- JSON
            CHECK ((scope_id IS NULL) = (scope_kind IS NULL))
        ) STRICT
    """)
    # Apart from the steps, so that a result is appended where others were, and makes no row grow.
    db.execute("""
        CREATE TABLE result (
            step INTEGER PRIMARY KEY, -- step.id; a step without a row never ended
            state TEXT NOT NULL CHECK (state IN ('PENDING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
            reason BLOB NOT NULL, -- why it ended in this state, for people
            last_job INTEGER, -- job.id
            record TEXT, -- JSON; NULL while no success holds
            seal BLOB CHECK (length(seal) = 16), -- keyed hash of key, spec and record: who wrote it
            CHECK ((record IS NULL) = (seal IS NULL))
        ) STRICT
    """)
    # What was there at the last look; no row: no regular file was.
    db.execute("""
        CREATE TABLE file (
            id INTEGER PRIMARY KEY,
            path BLOB NOT NULL,
            digest TEXT NOT NULL,
            size INTEGER NOT NULL CHECK (size >= 0),
            mode INTEGER NOT NULL, -- st_mode
            inode TEXT NOT NULL, -- decimal; may exceed 2^63
            mtime_ns INTEGER NOT NULL,
            ctime_ns INTEGER NOT NULL,
            looked_ns INTEGER NOT NULL -- when its reading began; 0: its marks prove nothing
        ) STRICT
    """)
    db.execute("""
        CREATE TABLE pool (
            name TEXT PRIMARY KEY,
            size INTEGER CHECK (size >= 0), -- NULL: no limit
            tokens TEXT NOT NULL, -- JSON
            scope BLOB NOT NULL -- title of the scope that said so
        ) STRICT, WITHOUT ROWID
    """)
    # A job without an outcome runs; after the end of its session it was interrupted. No other table says so.
    # No index by step: every result would pay for a question that people ask now and then.
    db.execute("""
        CREATE TABLE job (
            id INTEGER PRIMARY KEY,
            step INTEGER NOT NULL, -- name.id
            run TEXT NOT NULL, -- which session of the director
            pool TEXT NOT NULL, -- JSON: number of slots by pool
            slots TEXT NOT NULL, -- JSON: the slots by pool
            worker INTEGER NOT NULL,
            queued REAL NOT NULL, -- seconds since the epoch
            started REAL NOT NULL,
            ended REAL, -- may be set before there is an outcome: outputs are being hashed
            outcome TEXT CHECK (outcome IN
                ('succeeded', 'failed', 'cancelled', 'timed out', 'interrupted', 'lost')),
            returncode INTEGER,
            why BLOB NOT NULL, -- what was outdated, for people
            peak_rss INTEGER, -- bytes
            cpu REAL, -- seconds
            leftovers TEXT NOT NULL, -- JSON
            notes TEXT NOT NULL -- JSON
        ) STRICT
    """)
    # Apart from the jobs, so that the history is read without them.
    db.execute("""
        CREATE TABLE tail (
            job INTEGER PRIMARY KEY,
            stdout BLOB NOT NULL CHECK (length(stdout) <= 4096),
            stderr BLOB NOT NULL CHECK (length(stderr) <= 4096)
        ) STRICT
    """)


def _m2_steps_that_declare(db: sqlite3.Connection) -> None:
    # A scope may be a step from here on. SQLite changes no CHECK: the table is made anew.
    db.execute("ALTER TABLE step RENAME TO old_step")
    db.execute("""
        CREATE TABLE step (
            id INTEGER PRIMARY KEY, -- name.id of its key
            seq INTEGER NOT NULL, -- order of declaration
            number INTEGER NOT NULL CHECK (number >= 1), -- which occurrence of its base
            is_retired INTEGER NOT NULL CHECK (is_retired IN (0, 1)),
            scope_id BLOB, -- who declared it last
            scope_kind TEXT CHECK (scope_kind IN ('cell', 'run', 'session', 'step')),
            cell BLOB NOT NULL, -- that scope's title
            spec TEXT NOT NULL, -- JSON; what its last job amended in a key of its own
            CHECK ((scope_id IS NULL) = (scope_kind IS NULL))
        ) STRICT
    """)
    db.execute("INSERT INTO step SELECT * FROM old_step")
    db.execute("DROP TABLE old_step")


def _m3_machines(db: sqlite3.Connection) -> None:
    # The address of a cluster's worker; empty: the director's own machine.
    db.execute("ALTER TABLE job ADD COLUMN machine TEXT NOT NULL DEFAULT ''")
    db.execute(
        "ALTER TABLE pool ADD COLUMN is_per_machine INTEGER NOT NULL DEFAULT 0 CHECK (is_per_machine IN (0, 1))"
    )


MIGRATIONS: tuple[Migration, ...] = (_m1_first_tables, _m2_steps_that_declare, _m3_machines)
"""Frozen once released: a change of the tables is one more function at the end, and a stored database of
the schema before it goes to tests/data/."""


def migrate(db: sqlite3.Connection, migrations: Sequence[Migration] | None = None) -> None:
    """Bring a database to the newest schema, in one transaction: all of it or nothing."""
    version = version_of(db)
    todo = (MIGRATIONS if migrations is None else migrations)[version:]
    db.execute("BEGIN IMMEDIATE")
    try:
        for number, migration in enumerate(todo, start=version + 1):
            migration(db)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def version_of(db: sqlite3.Connection) -> int:
    """Return the number of migrations that a database has had."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


# --- recognising ---------------------------------------------------------------------------------


class Unusable(Exception):
    """The file is none that we can work with; the text says why, in words that go into brackets."""


_Objects = list[tuple[str, str, str, str | None]]


def _objects(db: sqlite3.Connection) -> _Objects:
    return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


@cache
def _expected(migrations: tuple[Migration, ...]) -> _Objects:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, migrations)
    objects = _objects(db)
    db.close()
    return objects


def recognise(db: sqlite3.Connection, name: str) -> int:
    """Return the schema's number of a database of ours, of this release or an earlier one.

    A trigger in a stranger's file could rewrite what we store, and neither `trusted_schema` nor a check of
    integrity stops it: every object of the schema must be, to the letter, one that our migrations made.

    Parameters
    ----------
    db
        Open, perhaps only to be read.
    name
        The file's, as people may see it.

    Raises
    ------
    UsageError
        SNB-312: a newer release wrote it.
    Unusable
        It is none of ours, or broken.
    """
    version = version_of(db)
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise Unusable("its tables are missing" if not _objects(db) else "another program made it")
    if len(MIGRATIONS) < version < 10_000:
        raise UsageError(
            "SNB-312",
            f"'{name}' was written by stepup_nb {_writer(db)} (schema {version}), "
            f"this is {__version__} (schema {len(MIGRATIONS)}).",
            "an older release cannot know what the newer one stores; nothing was changed",
            "install the newer release, or move the file away to start afresh",
        )
    if not 1 <= version <= len(MIGRATIONS) or _objects(db) != _expected(MIGRATIONS[:version]):
        raise Unusable("its tables are not those of stepup_nb")
    return version


def check(db: sqlite3.Connection) -> None:
    """Raise Unusable where tables are broken, or hold what they must not; some 2 ms for 1000 steps."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    # A long history would take longer than all the rest; nothing is decided by it.
    words = (
        ["PRAGMA quick_check(1)"]
        if pages < _LONG_HISTORY
        else [
            f"PRAGMA quick_check('{table}')"
            for table in ("setting", "name", "step", "result", "file", "pool")
        ]
    )
    for word in words:
        if db.execute(word).fetchone() != ("ok",):
            raise Unusable("database disk image is malformed")


def _writer(db: sqlite3.Connection) -> str:
    # A release that does not exist yet may keep this elsewhere.
    try:
        row = db.execute("SELECT value FROM setting WHERE name = 'release'").fetchone()
        words = str(row[0]).strip('"')
        return words if words.isprintable() and len(words) < 40 else "of a newer release"
    except (sqlite3.Error, TypeError, ValueError):
        return "of a newer release"


def protect(db: sqlite3.Connection) -> None:
    """Take from a connection what we never need and a hostile file could use."""
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    for limit, value in (
        (sqlite3.SQLITE_LIMIT_LENGTH, 64 << 20),
        (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000),
        (sqlite3.SQLITE_LIMIT_COLUMN, 50),
        (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100),
        (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 5),
        (sqlite3.SQLITE_LIMIT_FUNCTION_ARG, 20),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
        (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
        (sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1000),
        (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 1),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):
        db.setlimit(limit, value)
