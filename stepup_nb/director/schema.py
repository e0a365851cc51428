"""The database as a file: its tables, and how it is created, recognised, looked into, or moved aside.

A file that is found beside a notebook is data from a stranger until it proves to be ours. Knows nothing of
steps: what the rows mean is the matter of `stepup_nb.director.store`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from stepup_nb import __version__
from stepup_nb.core.errors import UsageError
from stepup_nb.director import faults, mounts

APPLICATION_ID = 0x53744E42
"""Marks a SQLite file as ours: "StNB"."""

PATIENCE = 1.5
"""Seconds to wait for another program that holds the file; only ever while it is opened."""

LOG_PAGES = 4000
"""Pages of 4 KiB after which the log is worked in although nothing is idle: every thousand results or so."""

_LONG_HISTORY = 16_000
"""Pages of a file whose history is not checked when it is opened: 64 MB."""

SIBLINGS = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a database file; a log there is part of the database."""

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


class Unwritable(Exception):
    """The file or its folder cannot be written, and that is nobody's mistake; the text says why."""


_WRITE_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


def is_write_trouble(error: sqlite3.Error) -> bool:
    """Tell whether the machine, not the file's content, is the reason: no space, no permission, no memory."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _WRITE_TROUBLE and code != sqlite3.SQLITE_IOERR_SHORT_READ


def is_broken(error: sqlite3.Error) -> bool:
    """Tell whether the file's content is the reason."""
    return (
        getattr(error, "sqlite_errorcode", 0) & 0xFF
        in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        )
        or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHORT_READ
    )


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


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


def recognise(db: sqlite3.Connection, path: str) -> int:
    """Return the schema's number of a database of ours, of this release or an earlier one.

    A trigger in a stranger's file could rewrite what we store, and neither `trusted_schema` nor a check of
    integrity stops it: every object of the schema must be, to the letter, one that our migrations made.

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
            f"'{shown(path)}' was written by stepup_nb {_writer(db)} (schema {version}), "
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


# --- the file ------------------------------------------------------------------------------------

_held: set[tuple[int, int]] = set()
"""Device and inode of the files that this process has open for writing. Opening and closing such a file
once more by other means than SQLite would silently drop its locks."""


def is_present(path: str) -> bool:
    """Tell whether there is a database file, and refuse what must not be opened at all.

    Raises
    ------
    UsageError
        SNB-311: it is no regular file. SNB-313: somebody else owns it, or may write it.
    """
    for name in (*(path + end for end in SIBLINGS), path):
        try:
            found = os.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        _refuse_odd(name, found)
        _refuse_shared(name, found)
        if name == path:
            return True
    return False


_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _refuse_odd(name: str, found: os.stat_result) -> None:
    for is_kind, words in _KINDS:
        if is_kind(found.st_mode):
            raise UsageError(
                "SNB-311",
                f"'{shown(name)}' is {words}, not a state file.",
                "stepup_nb reads and writes only regular files there; it was not opened",
                "move it away",
            )


def _refuse_shared(name: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        why = f"it belongs to another user (uid {found.st_uid})"
        fix = "work in a folder of your own, or move the file away; results are then computed again"
    elif found.st_mode & 0o022:
        why = f"others may write it (mode {stat.S_IMODE(found.st_mode):04o})"
        fix = f"if you trust its content: chmod 600 '{shown(name)}'"
    else:
        return
    raise UsageError("SNB-313", f"'{shown(name)}' is not safe to use.", why, fix)


def shown(path: str) -> str:
    """Return a file's name as people may see it: one line, no control characters."""
    name = os.path.basename(path)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def create(path: str, content: sqlite3.Connection | None = None) -> None:
    """Make a database file, complete from its first moment on, that only its owner can read.

    Parameters
    ----------
    path
        Of the file, which is not there.
    content
        A database of the newest schema to be copied; None makes an empty one.

    Raises
    ------
    Unwritable
        The place cannot be written, or is full.
    """
    new = path + ".new"
    if any(os.path.lexists(path + end) for end in SIBLINGS):
        # Logs of a file that is gone: beside the new one they would be taken for its own.
        move_aside(path)
    try:
        # Nothing else bears this name but what a crash at this very place left.
        if os.path.lexists(new):
            os.unlink(new)
        _create_empty(new)
        db = sqlite3.connect(new, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = MEMORY")
            if content is None:
                migrate(db)
            else:
                content.backup(db)
        finally:
            db.close()
        faults.reach("created")
        os.rename(new, path)
    except OSError as error:
        raise Unwritable(_words(error)) from error
    except sqlite3.Error as error:
        if is_write_trouble(error):
            raise Unwritable(str(error)) from error
        raise
    finally:
        discard(new)


def discard(path: str) -> None:
    """Remove a file that was just made and never used, if it is there."""
    for name in (*(path + end for end in SIBLINGS), path):
        try:
            os.unlink(name)
        except OSError:
            pass


def _create_empty(path: str) -> None:
    # It has its final mode before SQLite writes into it, whatever the umask is; the logs get the same.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o600)
    os.close(fd)


def connect(path: str, notes: list[str]) -> sqlite3.Connection:
    """Open a recognised file for writing, and keep everybody else out as long as it is open.

    Parameters
    ----------
    path
        Of the file.
    notes
        Gets a note, in words for people, where the file lies on a network file system.

    Raises
    ------
    UsageError
        SNB-314: another program holds it.
    Unusable
        It is broken.
    Unwritable
        It cannot be written.
    """
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        protect(db)
        # Before the first access: without it SQLite would share the log through an -shm file.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        kind = mounts.kind_of(path)
        if mounts.is_network(kind):
            # SQLite asks for it: another machine that opens the file must find all of it in there.
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("PRAGMA synchronous = FULL")
            notes.append(
                f"SNB-317 '{shown(path)}' lies on a network file system ({kind}): every change is written through "
                "at once, which is slower. Work on one machine at a time, or in a folder of a local disk."
            )
        else:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        recognise(db, path)
        found = os.lstat(path)
        os.chmod(path, 0o600)
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            raise explained(error, path) from error
        if isinstance(error, OSError):
            raise Unwritable(_words(error)) from error
        raise
    _held.add((found.st_dev, found.st_ino))
    return db


def mark(path: str) -> tuple[int, int]:
    """Return device and inode of a file: what stays the same as long as it is the same file."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def boot() -> str:
    """Return what changes with every start of the machine; empty where nobody tells."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def release(mark: tuple[int, int]) -> None:
    """Take note that the file with this mark is no longer open for writing."""
    _held.discard(mark)


def upgrade(path: str) -> None:
    """Bring a file of an earlier release to the newest schema, and keep a copy of it as it was.

    Raises
    ------
    UsageError, Unusable, Unwritable
        As `recognise`, `looking_into` and `connect` do; the file is as it was.
    """
    with looking_into(path) as db:
        version = recognise(db, path)
        if version == len(MIGRATIONS):
            return
        copy = f"{path}.schema-{version}"
        if not os.path.lexists(copy):
            _create_empty(copy)
            saved = sqlite3.connect(copy, isolation_level=None)
            try:
                db.backup(saved)
            finally:
                saved.close()
    newer = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        protect(newer)
        migrate(newer)
    except sqlite3.Error as error:
        raise explained(error, path) from error
    finally:
        newer.close()


def explained(error: sqlite3.Error | UnicodeDecodeError, path: str) -> Exception:
    """Return what an error of SQLite means to whoever opens a file."""
    if isinstance(error, UnicodeDecodeError):
        # The message quotes a broken schema, and is no text itself.
        return Unusable("malformed database schema")
    if _is_busy(error):
        return _busy(path)
    if is_write_trouble(error):
        return Unwritable(str(error))
    return Unusable(str(error))


def _busy(path: str) -> UsageError:
    return UsageError(
        "SNB-314",
        f"'{shown(path)}' is in use by another program.",
        "a director or a database browser has it open",
        "ask that director (it answers 'status'), or close the other program, and try again",
    )


@contextmanager
def looking_into(path: str) -> Iterator[sqlite3.Connection]:
    """Open a file only to read it: nothing in its folder is changed, and nobody is waited for.

    Raises
    ------
    UsageError
        SNB-314: a director, or another program, is writing it.
    Unusable
        It is broken.
    Unwritable
        It cannot even be read.
    """
    try:
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) in _held:
            raise _busy(path)
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unwritable(_words(error)) from error
    try:
        if any(version not in (1, 2) for version in os.pread(fd, 2, 18)):
            # SQLite would take a file format that it does not know for a read-only one.
            raise Unusable("file is not a database")
        _keep_writers_out(fd, path)
        if any(_has_content(path + end) for end in ("-wal", "-journal")):
            with _copied(path) as copy, _reading(copy, "") as db:
                yield db
        else:
            # No log, no writer: the file is all there is, and SQLite need not leave files beside it.
            with _reading(path, "&immutable=1") as db:
                (pages,), (size,) = (
                    db.execute(f"PRAGMA page_{what}").fetchone() for what in ("count", "size")
                )
                if pages * size != found.st_size:
                    # SQLite itself takes what is missing of the last page for zeros.
                    raise Unusable("it was cut")
                yield db
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise explained(error, path) from error
    except OSError as error:
        raise Unwritable(_words(error)) from error
    finally:
        os.close(fd)


def in_memory(path: str | None) -> sqlite3.Connection:
    """Return a database that lives in memory, with what the file holds if there is one; raise as above."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    protect(db)
    if path is not None and is_present(path):
        with looking_into(path) as source:
            recognise(source, path)
            source.backup(db)
    migrate(db)
    return db


def _keep_writers_out(fd: int, path: str) -> None:
    """Hold the shared lock of SQLite's file format until the descriptor is closed."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 510, 0x40000002)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise _busy(path) from error
        # A file system without locks: nobody can be told from nobody.


def _has_content(name: str) -> bool:
    try:
        return os.lstat(name).st_size > 0
    except OSError:
        return False


@contextmanager
def _reading(path: str, options: str) -> Iterator[sqlite3.Connection]:
    mode = "ro" if options else "rw"
    name = urllib.parse.quote(os.fsencode(path))
    db = sqlite3.connect(f"file:{name}?mode={mode}{options}", uri=True, timeout=0.0, isolation_level=None)
    try:
        protect(db)
        yield db
    finally:
        db.close()


@contextmanager
def _copied(path: str) -> Iterator[str]:
    """Copy a database whose log was not worked in: reading that would mean to write."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="stepup-nb-") as folder:
        copy = os.path.join(folder, "copy.db")
        for end in ("", "-wal", "-journal"):
            try:
                shutil.copyfile(path + end, copy + end, follow_symlinks=False)
            except FileNotFoundError:
                pass
        yield copy


def make_room(path: str) -> str:
    """Move aside whatever file is there, without opening it; return its new path, or nothing.

    Raises
    ------
    UsageError
        SNB-311: it is no regular file.
    Unwritable
        The folder cannot be written.
    """
    is_there = False
    for name in (*(path + end for end in SIBLINGS), path):
        try:
            found = os.lstat(name)
            _refuse_odd(name, found)
            if name != path and not found.st_size:
                # The log of the file that is gone, and nothing in it.
                os.unlink(name)
                continue
        except OSError:
            continue
        is_there = True
    return move_aside(path) if is_there else ""


def move_aside(path: str) -> str:
    """Rename an unusable database, and what belongs to it; return the new path.

    Raises
    ------
    Unwritable
        The folder cannot be written.
    """
    day = time.strftime("%Y%m%d")
    number = 1
    while any(os.path.lexists(f"{path}.bad-{day}-{number}{end}") for end in ("", *SIBLINGS)):
        number += 1
    aside = f"{path}.bad-{day}-{number}"
    try:
        # The logs first: one that stayed behind would be taken for the fresh file's.
        for end in (*SIBLINGS, ""):
            if os.path.lexists(path + end):
                os.rename(path + end, aside + end)
    except OSError as error:
        raise Unwritable(_words(error)) from error
    return aside


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def set_aside(path: str, why: str) -> str:
    """Move an unusable file aside, and return a note of it, in words for people."""
    aside = move_aside(path)
    return (
        f"SNB-310 '{shown(path)}' is not a usable state file ({why}). "
        f"Moved to '{shown(aside)}'. Everything will be checked again."
    )
