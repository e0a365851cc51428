"""Paths as plan scripts give and get them: relative to a working directory, with a slash at the end of directories.

The graph knows every path relative to the root. A step finds the absolute root in ``STEPUP_ROOT``, and
where it runs, relative to the root, in ``HERE``. Without a session the root is the current directory. Works
on texts; only `check` looks at the disk.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Iterable
from typing import Any

from stepup_nb.plan.exceptions import ArgumentError, PathError

_path_class: type[str] | None = None


def make_path(text: str | os.PathLike[str]) -> Any:
    """Return a path as StepUp gives it to scripts: a ``path.Path``, where that package is installed, else a str.

    Both are texts: they compare, sort and join as such.
    """
    return path_class()(os.fspath(text))


def path_class() -> type[str]:
    """Return the class of what `make_path` makes."""
    global _path_class
    if _path_class is None:
        found: Any = str
        try:
            # Not at import: it takes longer than all the rest.
            import path

            found = getattr(path, "Path", str)
        except ImportError:
            pass
        # A module of the user's may have the same name.
        _path_class = found if isinstance(found, type) and issubclass(found, str) else str
    return _path_class


def normalise(path: str | os.PathLike[str]) -> str:
    """Return a path without ``.``, doubled slashes and inner ``..``; a slash at its end stays.

    As in StepUp this is a matter of text: that ``a`` may be a link in ``a/../b`` is not asked.
    """
    text = os.fspath(path)
    found = posixpath.normpath(text)
    if found.startswith("//"):
        # POSIX lets two leading slashes mean something else; on Linux they do not.
        found = found[1:]
    return as_folder(found) if text.endswith("/") else found


def as_folder(path: str) -> str:
    """Return a path with a slash at its end."""
    return path if path.endswith("/") else path + "/"


def root() -> str:
    """Return the absolute path of the root."""
    return os.environ.get("STEPUP_ROOT") or os.getcwd()


def here() -> str:
    """Return the working directory of this step relative to the root; ``.`` there."""
    return os.environ.get("HERE") or "."


def translate(path: str | os.PathLike[str], workdir: str = ".") -> str:
    """Return a path, relative to a working directory of the caller's, relative to the root.

    Absolute paths stay so, and an absolute working directory makes them so.
    """
    return normalise(posixpath.join(here(), workdir, os.fspath(path)))


def translate_back(path: str | os.PathLike[str], workdir: str = ".") -> str:
    """Return a path, relative to the root, relative to a working directory of the caller's.

    Absolute paths stay so, unless they lie below a working directory that is absolute, too.
    """
    text = os.fspath(path)
    start = posixpath.join(root(), here(), workdir)
    if posixpath.isabs(text) and not (
        posixpath.isabs(workdir) and normalise(text).startswith(as_folder(normalise(workdir)))
    ):
        return normalise(text)
    found = posixpath.relpath(posixpath.join(root(), text), start)
    return as_folder(found) if text.endswith("/") else found


def words(given: str | os.PathLike[str] | Iterable[Any]) -> list[str]:
    """Return the texts in an argument that takes one text or several.

    StepUp 3.0 takes texts only; here a path of any kind will do.
    """
    if isinstance(given, str | os.PathLike):
        return [os.fspath(given)]
    return [os.fspath(one) if isinstance(one, os.PathLike) else one for one in given]


def command_word(executable: str) -> str:
    """Return how a shell calls an executable that is given by its path, quoted.

    Raises
    ------
    ArgumentError
        SNB-135: the path is absolute.
    """
    if posixpath.isabs(executable):
        raise ArgumentError(
            "SNB-135",
            f"Executable is not a relative path: {executable}",
            "only scripts of the project itself are called so",
            "give a path relative to the working directory, or declare the step with runsh()",
        )
    path = normalise(executable)
    return shlex.quote(path if path.startswith("../") else f"./{path}")


def action_of(executable: str) -> str:
    """Return the name of the action that runs a script."""
    return "runpy" if executable.endswith(".py") else "runsh"


def check(path: str) -> None:
    """Refuse a path of a file that is not there, or whose slash at the end says the wrong thing.

    Raises
    ------
    PathError
        SNB-134. The path is relative to the current directory.
    """
    if not os.path.exists(path):
        raise PathError(
            "SNB-134",
            f"Path does not exist: {path}",
            f"the current directory is '{os.getcwd()}'",
            "correct the path, or declare what is there only",
        )
    if os.path.isdir(path) != path.endswith("/"):
        if path.endswith("/"):
            raise PathError(
                "SNB-134", f"Path is not a directory: {path}", "", "leave out the slash at its end"
            )
        raise PathError(
            "SNB-134",
            f"Directory without trailing separator: {path}",
            "the path of a directory ends in a slash",
            f"write '{path}/'",
        )
