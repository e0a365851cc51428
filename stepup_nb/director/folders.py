"""Folders: what is in them, for globs, and in which of them something may change that matters."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable

from stepup_nb.core import nglob
from stepup_nb.core.model import Glob

MOST = 5000
"""Folders below one ``**`` that are watched; the next full look finds what happens in the others."""


def lister(root: str) -> Callable[[str], list[tuple[str, bool]]]:
    """Return what lists a folder, relative to the root or absolute, for `core.nglob.search`.

    A folder that cannot be read is empty. A link to a folder around it is left out: ``**`` would go round in a
    circle.
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
        except OSError:
            return []
        return found

    return listing


def _leads_up(link: str, folder: str) -> bool:
    target, real = os.path.realpath(link), os.path.realpath(folder)
    return target == real or real.startswith(target.rstrip("/") + "/")


def folders_of(files: Iterable[str], globs: Iterable[Glob], root: str) -> set[str]:
    """Return the absolute folders of files, and those in which a match of a pattern may come up."""
    folders = {posixpath.dirname(path.rstrip("/")) for path in files}
    for glob in globs:
        for pattern in glob.patterns:
            folders |= _folders_of(pattern, root)
    return {posixpath.normpath(posixpath.join(root, folder)) for folder in folders}


def _folders_of(pattern: str, root: str) -> set[str]:
    parts: list[str] = []
    above = pattern.rstrip("/").split("/")[:-1]
    for part in above:
        if nglob.has_wildcard(part):
            break
        parts.append(part)
    base = "/".join(parts)
    if len(parts) == len(above):
        return {base}
    deeper = nglob.search([f"{base}/**/" if base else "**/"], {}, lister(root))[0]
    return {base, *(path.rstrip("/") for path in deeper[:MOST])}
