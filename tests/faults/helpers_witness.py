"""What can be said of a session by who did not write it: its files, its processes, and other users of the machine."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

OTHER_USER = 65534
"""Nobody, who has no business here."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not run: needs root")


def parted(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all that is in a folder, at any depth, with what the system says of it."""
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(top, name)
            with contextlib.suppress(FileNotFoundError):
                yield path, os.lstat(path)


def open_to_others(folder: Path) -> list[str]:
    """Return what in a folder of ours anybody but its owner may enter, read or write."""
    return [
        f"{stat.filemode(found.st_mode)} {path}" for path, found in parted(folder) if found.st_mode & 0o077
    ]


def names_in(folder: Path) -> set[str]:
    """Return the names of all that is in a folder, at any depth."""
    return {os.path.basename(path) for path, _ in parted(folder)}


def holding(word: bytes, *folders: Path) -> list[str]:
    """Return the files in these folders that have this word in them."""
    found = []
    for folder in folders:
        for path, about in parted(folder):
            if stat.S_ISREG(about.st_mode) and word in Path(path).read_bytes():
                found.append(path)
    return found


def as_other_user(call: Callable[[], object], user: int = OTHER_USER) -> str:
    """Do something as another user of this machine, in a fork; return the name of what it raised, or ''."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = b""
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            call()
        except BaseException as error:
            said = type(error).__name__.encode()
        finally:
            os.write(write, said)
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        words = file.read().decode()
    os.waitpid(child, 0)
    return words


def lowest_free(pid: int) -> int:
    """Return the number that the next descriptor of a process will get."""
    taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return next(number for number in range(len(taken) + 1) if number not in taken)


class Disk:
    """A small disk of its own, mounted on a folder."""

    def __init__(self, folder: Path, options: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr}")

    def fill(self) -> None:
        """Leave no room."""
        with contextlib.suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        """Make room again."""
        (self.folder / "ballast").unlink()

    def close(self) -> None:
        """Take it away, whoever still uses it."""
        subprocess.run(["umount", "--lazy", self.folder], check=True)
