"""Writes reports and drawings where the user says, and never over a file that is none of them."""

from __future__ import annotations

import os
from pathlib import Path

from stepup_nb.client.replacing import replace_file
from stepup_nb.core.errors import UsageError

_BEGINNING = 2000
"""Bytes of a file in which a mark stands, if it has one."""


def write(path: Path, text: str, mark: str, *, force: bool = False) -> None:
    """Write a file, whole or not at all; make its folder if need be.

    Parameters
    ----------
    path
        Where to.
    text
        What is to be in it, the mark near the beginning.
    mark
        By this a file that is there already is known as one that may be replaced.
    force
        Replace it whatever it is.

    Raises
    ------
    UsageError
        SNB-146: something else is there. SNB-147: it cannot be written.
    """
    if not force and os.path.lexists(path) and not _is_ours(path, mark):
        raise UsageError(
            "SNB-146",
            f"'{path.name}' is there already, and was not made by this.",
            "what is in it would be lost",
            "take another name, or say --force (force=True)",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text)
    except OSError as error:
        raise UsageError(
            "SNB-147",
            f"'{path.name}' cannot be written.",
            f"{error.strerror or error}: '{path}'",
            "name a file in a folder that is yours",
        ) from error


def _is_ours(path: Path, mark: str) -> bool:
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return mark.encode() in file.read(_BEGINNING)
    except OSError:
        return False


def named(root: str | os.PathLike[str], given: str, endings: tuple[str, ...]) -> Path:
    """Return the path of a file that is to be written, relative to the notebook's folder.

    Raises
    ------
    UsageError
        SNB-147: its name says that it is of another kind.
    """
    path = Path(root) / given
    if path.suffix.lower() not in endings:
        raise UsageError(
            "SNB-147",
            f"'{path.name}' cannot be written.",
            f"what is written is of the kind '{endings[0]}'",
            f"name it '{path.stem or 'name'}{endings[0]}'",
        )
    return path
