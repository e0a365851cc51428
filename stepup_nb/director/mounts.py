"""Says on what kind of file system a file lies, as Linux lists them, and whether that is another machine's.

Knows nothing of databases.
"""

from __future__ import annotations

import os
import re

_LIST = "/proc/self/mountinfo"

_NETWORK = frozenset(
    "9p afs beegfs ceph cifs coda davfs glusterfs gpfs lustre ncpfs nfs nfs4 orangefs panfs pvfs2 smb2 smb3 smbfs "
    # Of programs, as far as they are known to reach for other machines.
    "ceph-fuse curlftpfs gcsfuse goofys juicefs mfs moosefs rclone s3fs smbnetfs sshfs wekafs".split()
)


def kind_of(path: str) -> str:
    """Return the kind of file system that an existing file or folder lies on, such as ``ext4``; empty if unknown."""
    path = os.path.realpath(path)
    try:
        device = os.stat(path).st_dev
        with open(_LIST, encoding="utf-8", errors="surrogateescape") as file:
            mounts = [_mount(line) for line in file]
    except (OSError, ValueError, IndexError):
        return ""
    # The device tells it also where one mount hides another. Some file systems show one that no list has (btrfs);
    # there the place tells it.
    same = [kind for number, _, kind in mounts if number == (os.major(device), os.minor(device))]
    if same:
        return same[-1]
    above = [
        (len(place), order, kind) for order, (_, place, kind) in enumerate(mounts) if _is_below(path, place)
    ]
    return max(above)[2] if above else ""


def is_network(kind: str) -> bool:
    """Tell whether a kind of file system is one that other machines may share, or hold."""
    return kind.removeprefix("fuse.") in _NETWORK


def _mount(line: str) -> tuple[tuple[int, int], str, str]:
    """Return device, place and kind of one line of the list (see `man 5 proc_pid_mountinfo`)."""
    before, _, after = line.partition(" - ")
    words = before.split(" ")
    major, _, minor = words[2].partition(":")
    # Blanks and the like in a name are written as octal numbers.
    place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4])
    return (int(major), int(minor)), place, after.split(" ")[0]


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
