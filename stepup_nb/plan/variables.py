"""Environment variables in the arguments of a plan script, and what the step thereby depends on.

``${NAME}`` and ``$NAME`` in paths stand for values of the calling process. ``${*name}`` is a wildcard and
stays.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from stepup_nb.plan.exceptions import PathError
from stepup_nb.plan.paths import make_path, normalise, translate_back, words

OWN = frozenset({"HERE", "ROOT"})
"""Variables that every step has of its own. They are no outside influence, and nobody depends on them.

StepUp 3.0 does record them, with whatever its worker had left over, so that plans run again without cause.
"""

_VARIABLE = re.compile(
    r"\$(?:(?P<twice>\$)|\{(?P<braced>\*?[A-Za-z_]\w*)\}|(?P<plain>\*?[A-Za-z_]\w*)|)", re.ASCII
)


def substitute(text: str) -> tuple[str, set[str]]:
    """Put values in for the environment variables in a path.

    Returns
    -------
    text, used
        ``$$`` stays as it is. ``used`` are the names that the step depends on from now on.

    Raises
    ------
    PathError
        SNB-133: a variable is not set, or a ``$`` begins none.
    """
    used: set[str] = set()

    def put_in(match: re.Match[str]) -> str:
        name = match["braced"] or match["plain"]
        if match["twice"]:
            return match[0]
        if not name:
            raise PathError(
                "SNB-133",
                f"The path contains invalid shell variable identifiers. It is '{text}'.",
                "a '$' begins the name of a variable",
                "write ${NAME}, with ASCII letters, digits and '_'",
            )
        if name.startswith("*"):
            return f"${{{name}}}"
        value = os.environ.get(name)
        if value is None:
            raise PathError(
                "SNB-133",
                f"Undefined shell variable: {name}",
                f"it is used in the path '{text}'",
                f"set {name} before the plan is started",
            )
        if name not in OWN:
            used.add(name)
        return value

    return _VARIABLE.sub(put_in, text), used


@contextlib.contextmanager
def subs_env_vars() -> Iterator[Callable[[Any], Any]]:
    """Put variables in for several paths, and have the step depend on them at the end of the block.

    Yields a function from a text (or None) to a normalised path (or None). Its errors are those of
    `substitute`.
    """
    used: set[str] = set()

    def subs(path: str | os.PathLike[str] | None) -> Any:
        if path is None:
            return None
        text, names = substitute(os.fspath(path))
        used.update(names)
        return make_path(normalise(text))

    yield subs
    if used:
        _depend_on(used)


def read_paths(**given: str | os.PathLike[str] | Iterable[Any]) -> dict[str, list[Any]]:
    """Return the paths of several arguments by their names, normalised, with variables put in; SNB-133."""
    with subs_env_vars() as subs:
        return {name: [subs(path) for path in words(paths)] for name, paths in given.items()}


def _depend_on(names: set[str]) -> None:
    """Have the running step depend on variables; a cell depends on nothing, its steps have what it has."""
    from stepup_nb import api

    if api.is_in_script():
        api.amend(env=sorted(names))


def getenv(
    name: str, default: Any = None, *, path: bool = False, back: bool = False, multi: bool = False
) -> Any:
    """Read an environment variable, on which the step depends from now on.

    Parameters
    ----------
    default
        What to return, or what the path is, where it is not set.
    path
        It is a path: variables in it are replaced (once), and it is normalised.
    back
        It is a path relative to the root: make it relative to the current directory. Implies ``path``.
    multi
        It is several paths with colons between. Implies ``path``.

    Returns
    -------
    str, Path, list of Paths
        Or the default as it is.

    Raises
    ------
    PathError
        SNB-133: it is to be a path and is not set, or a variable in it is not.
    """
    value = os.environ.get(name, default)
    if name not in OWN:
        _depend_on({name})
    if multi:
        with subs_env_vars() as subs:
            found = [subs(part) for part in os.fspath(value or "").split(":") if part]
        return [make_path(translate_back(one)) for one in found] if back else found
    if not (path or back):
        return value
    if value is None:
        raise PathError(
            "SNB-133",
            f"Undefined shell variable: {name}. Cannot create path.",
            "",
            f"set {name} before the plan is started, or give a default",
        )
    with subs_env_vars() as subs:
        one = subs(value)
    return make_path(translate_back(one)) if back else one
