"""Deletes outdated outputs, and nothing else: never through a symbolic link, never what was changed since.

What it is told to remove comes from a database and names paths; both are taken for a stranger's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
import stat

from stepup_nb.core.messages import FilesRemoved, RemoveFiles
from stepup_nb.core.model import FOLDER, Content
from stepup_nb.director import faults
from stepup_nb.director.hashing import digest_of, is_same


class _Kept(Exception):
    """Why a file is kept, in words that go after its path."""


def remove_files(order: RemoveFiles, root: str) -> FilesRemoved:
    """Remove files that are still as recorded, and say of all others why they are kept.

    A file goes only if it is a regular file inside the root, reached without following a symbolic link, has
    the recorded content and mode, and nobody has it open to write. What others put in its place meanwhile is
    given back. Where the file system does not tell who has a file open, such as one on a network, whoever does
    in the last microseconds writes into one that is gone.

    Parameters
    ----------
    order
        The files, relative to the root, each with its recorded content. With `dry_run`, the same is reported
        and nothing is removed.
    root
        The folder of the notebook or plan; it may be reached through links.
    """
    removed = []
    kept = []
    gone = []
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path, content in order.files:
            try:
                _remove(folder, path, content, is_dry=order.dry_run)
            except _Kept as why:
                kept.append((path, str(why)))
            except FileNotFoundError:
                gone.append(path)
            except (OSError, ValueError) as error:
                kept.append((path, f"cannot be removed ({_words(error)})"))
            else:
                removed.append(path)
        for path, since in order.doubtful:
            if _is_there(folder, path, since):
                kept.append((path, "may be half of an output of a job that was interrupted, or your own"))
    finally:
        os.close(folder)
    return FilesRemoved(order.token, tuple(removed), tuple(kept), tuple(gone))


def _remove(root: int, path: str, content: Content, *, is_dry: bool) -> None:
    if path.endswith("/") and content == FOLDER.content:
        _remove_folder(root, path, is_dry=is_dry)
        return
    *folders, name = path.split("/")
    if path.startswith("/") or ".." in folders or name in ("", ".", ".."):
        raise _Kept("is not inside the project's folder")
    folder = os.dup(root)
    try:
        for part in folders:
            folder = _enter(folder, part)
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise _Kept("is a symbolic link now")
        if not stat.S_ISREG(mode):
            raise _Kept("is no regular file now")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=folder)
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise _Kept("is no regular file now")
            digest, size, mode = content
            if before.st_size != size or digest_of(fd, before.st_size) != digest:
                raise _Kept("was changed after stepup_nb wrote it")
            if before.st_mode != mode:
                raise _Kept("got other permissions after stepup_nb wrote it")
            # Neither written nor replaced since it was opened.
            if not is_same(before, os.stat(name, dir_fd=folder, follow_symlinks=False)):
                raise _Kept("is being changed")
            _refuse_written(fd)
            if not is_dry:
                _take_away(folder, name, fd, before)
                faults.reach("removed")
        finally:
            os.close(fd)
    finally:
        os.close(folder)


def _take_away(folder: int, name: str, fd: int, before: os.stat_result) -> None:
    """Remove a file that was found to be ours, and nothing that somebody puts in its place meanwhile."""
    # By a name that nobody else knows it can neither be exchanged nor be opened any more.
    aside = f".stepup-nb-{secrets.token_hex(8)}"
    os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
    try:
        _refuse_written(fd)
        now = os.stat(aside, dir_fd=folder, follow_symlinks=False)
        if _lasting(now) != _lasting(before):
            raise _Kept("is being changed")
        os.unlink(aside, dir_fd=folder)
    except (_Kept, OSError):
        _give_back(folder, aside, name)
        raise


def _lasting(found: os.stat_result) -> tuple[int, ...]:
    """Return the marks of a file that stay the same when it gets another name."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mode, found.st_mtime_ns)


def _give_back(folder: int, aside: str, name: str) -> None:
    """Give a file, or whatever it is, its name back, unless something else has that name by now."""
    try:
        if stat.S_ISDIR(os.stat(aside, dir_fd=folder, follow_symlinks=False).st_mode):
            # In place of an empty folder at most.
            os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.link(aside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            os.unlink(aside, dir_fd=folder)
    except OSError:
        raise _Kept(f"is being changed; what it was for a moment is called '{aside}' now") from None


def _refuse_written(fd: int) -> None:
    """Refuse a file that somebody has open to write: an editor, or a program that was left running."""
    set_lease = getattr(fcntl, "F_SETLEASE", None)
    if set_lease is None:
        return
    try:
        # Whoever opens it just now, by another name, is not kept waiting; that we hear of it must do no harm.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, set_lease, fcntl.F_RDLCK)
        fcntl.fcntl(fd, set_lease, fcntl.F_UNLCK)
    except BlockingIOError:
        raise _Kept("is open in a program that may write it") from None
    except OSError:
        # No such thing on this file system, or not for a file of another owner.
        pass


def _is_there(root: int, path: str, since: float) -> bool:
    """Tell whether there is something that was changed after a time."""
    *folders, name = path.split("/")
    if path.startswith("/") or ".." in folders:
        return False
    folder = os.dup(root)
    try:
        for part in folders:
            folder = _enter(folder, part)
        # Files are stamped by another clock than jobs are, and a little late.
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ctime >= since - 1.0
    except (_Kept, OSError, ValueError):
        return False
    finally:
        os.close(folder)


def _remove_folder(root: int, path: str, *, is_dry: bool) -> None:
    """Remove a folder that a step made, if nothing is left in it (StepUp 3.0)."""
    *folders, name = path.rstrip("/").split("/")
    if path.startswith("/") or ".." in (*folders, name) or name in ("", "."):
        raise _Kept("is not inside the project's folder")
    folder = os.dup(root)
    try:
        for part in folders:
            folder = _enter(folder, part)
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _Kept("is no folder now")
        if not is_dry:
            try:
                os.rmdir(name, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise _Kept("is not empty") from None
                raise
    finally:
        os.close(folder)


def _enter(folder: int, part: str) -> int:
    """Return a descriptor of a folder's folder, in exchange for the folder's."""
    if part in ("", "."):
        return folder
    try:
        inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except NotADirectoryError:
        # Linux says so of a symbolic link, too.
        raise _Kept("is reached through a symbolic link, or its folder is none now") from None
    os.close(folder)
    return inner


def _words(error: OSError | ValueError) -> str:
    return ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
