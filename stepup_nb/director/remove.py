"""Deletes outdated outputs, and nothing else: never through a symbolic link, never what was changed since.

What it is told to remove comes from a database and names paths; both are taken for a stranger's.
"""

from __future__ import annotations

import errno
import os
import stat

from stepup_nb.core.messages import FilesRemoved, RemoveFiles
from stepup_nb.core.model import FOLDER, Content
from stepup_nb.director import faults
from stepup_nb.director.hashing import digest_of, marks_of


class _Kept(Exception):
    """Why a file is kept, in words that go after its path."""


def remove_files(order: RemoveFiles, root: str) -> FilesRemoved:
    """Remove files that are still as recorded, and say of all others why they are kept.

    A file goes only if it is a regular file inside the root, reached without following a symbolic link, and
    has the recorded content and mode. Between the last comparison and the removal there are some microseconds
    in which another process can put a different file in its place; that one would go, in the same folder.

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
            if marks_of(before) != marks_of(os.stat(name, dir_fd=folder, follow_symlinks=False)):
                raise _Kept("is being changed")
            if not is_dry:
                os.unlink(name, dir_fd=folder)
                faults.reach("removed")
        finally:
            os.close(fd)
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
