"""The one secret of a user: with it, results are sealed and values of environment variables are hashed."""

from __future__ import annotations

import os
import secrets
import stat
from functools import cache


def key() -> bytes:
    """Return this user's secret: 32 random bytes, made at first need, and kept where only the user can read.

    With it results are sealed, so that nobody else's are believed, and values of environment variables are
    hashed. Where it cannot be kept, a key for this process only is returned.
    """
    base = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "share")
    if not os.path.isabs(base):
        # A user without a home: here, wherever that is, a secret is in nobody's keeping.
        return _own_key()
    folder = os.path.join(base, "stepup_nb")
    path = os.path.join(folder, "key")
    try:
        _make_folder(folder)
        for _ in range(3):
            found = _read_key(path)
            if found is not None:
                return found
            _make_key(path)
    except OSError:
        pass
    return _own_key()


def _make_folder(path: str) -> None:
    """Make a folder and those around it that are missing, all of them for this user only."""
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        # Not `makedirs`: it gives the outer ones away to whomever the umask lets in.
        _make_folder(os.path.dirname(path))
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


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
