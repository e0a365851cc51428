"""Lists folders for globs: names, and whether each is a folder itself."""

from __future__ import annotations

import os
from collections.abc import Callable


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
