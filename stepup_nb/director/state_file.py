"""The database as a file: how it is created, opened, looked into, brought to the newest schema, or moved aside.

A file that is found beside a notebook is data from a stranger until it proves to be ours.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

from stepup_nb.core.errors import UsageError
from stepup_nb.director import faults, mounts, schema
from stepup_nb.director.schema import Unusable

PATIENCE = 1.5
"""Seconds to wait for another program that holds the file; only ever while it is opened."""

LOG_PAGES = 4000
"""Pages of 4 KiB after which the log is worked in although nothing is idle: every thousand results or so."""

SIBLINGS = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a database file; a log there is part of the database."""


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
                schema.migrate(db)
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
        schema.protect(db)
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
        schema.recognise(db, shown(path))
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
        version = schema.recognise(db, shown(path))
        if version == len(schema.MIGRATIONS):
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
        schema.protect(newer)
        schema.migrate(newer)
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
    schema.protect(db)
    if path is not None and is_present(path):
        with looking_into(path) as source:
            schema.recognise(source, shown(path))
            source.backup(db)
    schema.migrate(db)
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
        schema.protect(db)
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
