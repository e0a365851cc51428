"""Folders: what is in them, for globs, and in which of them something may change that matters."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Callable, Iterable

from stepup_nb.core import nglob
from stepup_nb.core.model import Glob

MOST = 5000
"""Folders below one ``**`` that are watched; the next full look finds what happens in the others."""


FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors by which the system says that it has no descriptors or memory left: nothing about a file or folder."""


def lister(root: str, *, is_sure: bool = False) -> Callable[[str], list[tuple[str, bool]]]:
    """Return what lists a folder, relative to the root or absolute, for `core.nglob.search`.

    A folder that cannot be read is empty; if it is to be sure, those of `FULL` are raised. A link to a folder around
    it is left out: ``**`` would go round in a circle.
    """

    def listing(folder: str) -> list[tuple[str, bool]]:
        place = os.path.join(root, folder)
        found = []
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    is_folder = entry.is_dir()
                    if not (is_folder and entry.is_symlink() and _leads_up(entry.path, place)):
                        found.append((entry.name, is_folder))
        except OSError as error:
            if is_sure and error.errno in FULL:
                raise
            return []
        return found

    return listing


def _leads_up(link: str, folder: str) -> bool:
    target, real = os.path.realpath(link), os.path.realpath(folder)
    return target == real or real.startswith(target.rstrip("/") + "/")


class Folders:
    """In which folders a change may matter; remembers what it has walked through.

    Parameters
    ----------
    root
        Absolute folder that paths are relative to.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._list = lister(root)
        self._below: dict[str, set[str]] = {}

    def forget(self) -> None:
        """Something changed: there may be other folders now."""
        self._below.clear()

    def of(self, files: Iterable[str], globs: Iterable[Glob]) -> set[str]:
        """Return the absolute folders of files, and those in which a match of a pattern may come up."""
        folders = {posixpath.dirname(path.rstrip("/")) for path in files}
        for glob in globs:
            for pattern in glob.patterns:
                folders |= self._of_pattern(pattern)
        return {posixpath.normpath(posixpath.join(self._root, folder)) for folder in folders}

    def _of_pattern(self, pattern: str) -> set[str]:
        parts: list[str] = []
        above = pattern.rstrip("/").split("/")[:-1]
        for part in above:
            if nglob.has_wildcard(part):
                break
            parts.append(part)
        base = "/".join(parts)
        if len(parts) == len(above):
            return {base}
        if base not in self._below:
            self._below[base] = self._walk(base)
        return self._below[base]

    def _walk(self, base: str) -> set[str]:
        found, todo = {base}, [base]
        while todo and len(found) < MOST:
            folder = todo.pop(0)
            for name, is_folder in self._list(folder):
                if is_folder and len(found) < MOST:
                    todo.append(posixpath.join(folder, name))
                    found.add(todo[-1])
        return found
