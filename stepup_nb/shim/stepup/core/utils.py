"""``stepup.core.utils``: the helpers for paths that plans and extensions of StepUp use."""

import os
import posixpath
from typing import Any

from stepup_nb.plan import paths

__all__ = [
    "format_command", "make_path_out", "myabsolute", "mynormpath", "myparent", "myrelpath", "string_to_bool",
    "string_to_list", "translate", "translate_back",
]  # fmt: skip

format_command = paths.command_word
string_to_list = paths.words


def mynormpath(path: str) -> Any:
    """Return a path in its shortest form; a slash at its end stays."""
    return paths.make_path(paths.normalise(path))


def myabsolute(path: str, is_dir: bool = False) -> Any:
    """Return a path as an absolute one, with a slash at its end if it has one, or is to have one."""
    full = paths.normalise(posixpath.join(os.getcwd(), path))
    return paths.make_path(paths.as_folder(full) if is_dir else full)


def myrelpath(path: str, start: str = ".") -> Any:
    """Return a path relative to another; a slash at its end stays."""
    found = posixpath.relpath(path, start)
    return paths.make_path(paths.as_folder(found) if path.endswith("/") else found)


def myparent(path: str) -> Any:
    """Return the directory that a path lies in, with a slash at its end; None for roots and ``.``."""
    text = paths.normalise(path)
    if text in (".", "./", "/"):
        return None
    return paths.make_path(paths.as_folder(posixpath.dirname(text.rstrip("/")) or "."))


def translate(path: str, workdir: str = ".") -> Any:
    """Return a path relative to the root, of one relative to a working directory of the caller's."""
    return paths.make_path(paths.translate(path, workdir))


def translate_back(path: str, workdir: str = ".") -> Any:
    """Return a path relative to a working directory of the caller's, of one relative to the root."""
    return paths.make_path(paths.translate_back(path, workdir))


def string_to_bool(text: str | bool) -> bool:
    """Return what a text such as ``yes`` or ``0`` says.

    Raises
    ------
    ValueError
        It says neither.
    """
    if isinstance(text, bool):
        return text
    if text.lower() in ("1", "true", "yes", "on", "y", "t"):
        return True
    if text.lower() in ("0", "false", "no", "off", "n", "f"):
        return False
    raise ValueError(f"Cannot interpret '{text}' as a boolean value.")


def make_path_out(
    path_in: str, dest: str | None, ext: str | None, other_exts: tuple[str, ...] | list[str] = ()
) -> Any:
    """Return where the result of converting a file goes.

    Parameters
    ----------
    dest
        A path, a directory with a slash at its end, or None for the directory of ``path_in``.
    ext
        Extension of the result; None keeps that of ``path_in``.
    other_exts
        Extensions that ``dest`` may have besides.

    Raises
    ------
    ValueError
        It would be the path of the input, or has another extension.
    """
    stem, own = posixpath.splitext(path_in)
    name = posixpath.basename(stem) + (own if ext is None else ext)
    if dest is None:
        dest = posixpath.join(posixpath.dirname(path_in), name)
    elif dest.endswith("/"):
        dest = posixpath.join(dest, name)
    found = paths.normalise(dest)
    if found == paths.normalise(path_in):
        raise ValueError(f"The output path cannot equal the input path: {path_in}")
    if ext is not None and posixpath.splitext(found)[1] not in (ext, *other_exts):
        raise ValueError(f"The output path does not have extension '{ext}': {found}.")
    return paths.make_path(found)
