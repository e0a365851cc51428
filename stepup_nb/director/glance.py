"""Sees at a glance that files are as they are known, and never waits for a disk. Linux 5.12.

With RESOLVE_CACHED, `openat2` goes only along names that the system has in memory, and gives up where it would have to
read one. RESOLVE_NO_XDEV and RESOLVE_NO_SYMLINKS keep it on the project's own file system. Where that one is
of this machine, what `fstat` then tells is in memory as well. Nothing but "as it is known" is told here, the rest by
those who may wait (`hashing`).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from stepup_nb.core.model import FileHash, Look
from stepup_nb.director import mounts

_OPENAT2 = 437
"""The same number on all machines but Alpha."""
_AT_FDCWD = -100
_NO_XDEV, _NO_SYMLINKS, _CACHED = 0x01, 0x04, 0x20

_FLAGS = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
_ROOT = struct.pack("QQQ", _FLAGS & ~os.O_NOFOLLOW, 0, _CACHED)
_BELOW = struct.pack("QQQ", _FLAGS, 0, _CACHED | _NO_XDEV | _NO_SYMLINKS)

_LOCAL = frozenset("bcachefs btrfs ext2 ext3 ext4 f2fs overlay tmpfs xfs zfs".split())
"""File systems that answer `fstat` from memory."""

_MOST = 64
"""Files that are looked at together: some 10 microseconds each, for which the director does nothing else."""

# Not CDLL: to give the interpreter's lock away and back takes longer than what never waits.
_syscall = ctypes.PyDLL(None).syscall
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_syscall.restype = ctypes.c_long


class Glance:
    """Looks below one folder.

    Parameters
    ----------
    root
        Absolute path.
    tick_ns
        See `is_as_known`.
    """

    def __init__(self, root: str, tick_ns: int) -> None:
        self._root = os.fsencode(root)
        self._tick_ns = tick_ns
        self._device = os.stat(root).st_dev
        self.is_able = mounts.kind_of(root) in _LOCAL and self._has_openat2()
        """Whether this file system and this Linux are such that anything is ever seen."""

    def sees(self, files: Sequence[tuple[str, FileHash | None]]) -> dict[str, Look] | None:
        """Return what is known of these files, where all of them are seen to be that; else None.

        Parameters
        ----------
        files
            Paths, relative to the root, and what is known of each.
        """
        if not self.is_able or len(files) > _MOST:
            return None
        if not all(isinstance(known, FileHash) and not path.startswith("/") for path, known in files):
            return None
        folder = _open(_AT_FDCWD, self._root, _ROOT)
        if folder < 0:
            return None
        try:
            # Something else may have been put, or mounted, in its place.
            if os.fstat(folder).st_dev != self._device:
                return None
            found: dict[str, Look] = {}
            for path, known in files:
                assert known is not None
                if not self._is_as_known(folder, path, known):
                    return None
                found[path] = known
            return found
        finally:
            os.close(folder)

    def _has_openat2(self) -> bool:
        # Not before 5.12, and not in every container.
        fd = _open(_AT_FDCWD, self._root, _ROOT)
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def _is_as_known(self, folder: int, path: str, known: FileHash) -> bool:
        fd = _open(folder, os.fsencode(path), _BELOW)
        if fd < 0:
            return False
        try:
            return is_as_known(os.fstat(fd), known, 0, self._tick_ns)
        finally:
            os.close(fd)


def is_as_known(found: os.stat_result, known: FileHash, linked_ns: int, tick_ns: int) -> bool:
    """Whether nobody can have written a file, nor changed its mode, since what is known of it was read.

    Parameters
    ----------
    linked_ns
        When the youngest symbolic link on the way was made; 0 where there is none.
    tick_ns
        See `core.model.TICK_NS`: the reading has to have begun so much later than both times.
    """
    return (
        found.st_ino == known.inode
        and found.st_mtime_ns == known.mtime_ns
        and max(found.st_ctime_ns, linked_ns) == known.ctime_ns
        and found.st_size == known.size
        and found.st_mode == known.mode
        and known.looked_ns > max(known.mtime_ns, known.ctime_ns) + tick_ns
    )


def _open(folder: int, path: bytes, how: bytes) -> int:
    return int(_syscall(_OPENAT2, folder, path, how, len(how)))
