"""Loads variables from files into one namespace."""

from __future__ import annotations

import json
import os
import posixpath
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stepup_nb.core.errors import UsageError
from stepup_nb.plan.exceptions import ArgumentError
from stepup_nb.plan.paths import as_folder, make_path, normalise, path_class

if TYPE_CHECKING:
    from argparse import Namespace


def loadns(*paths_variables: str, dir_out: str | None = None, do_amend: bool = True) -> Namespace:
    """Load variables from JSON, TOML, YAML and Python files; those of later files win.

    Parameters
    ----------
    dir_out
        Paths (of the package ``path``, in Python files) are relative to the folder of their file, and are
        made relative to this one; without it, to the current directory.
    do_amend
        Have the step depend on the files, after they have been read.

    Returns
    -------
    argparse.Namespace
        A Python file is run in its own folder, and may import modules from there. StepUp 3.0 also returns
        what Python puts into every module (``__name__`` and the like).

    Raises
    ------
    ArgumentError
        SNB-135: the extension is none of these, or there are no variables by name.
    OSError, ValueError
        As reading the file raises them.
    """
    from argparse import Namespace

    found: dict[str, Any] = {}
    for path in map(os.fspath, paths_variables):
        found.update(_load(path, dir_out or "."))
    if do_amend and paths_variables:
        from stepup_nb import api

        api.amend(inp=list(paths_variables))
    return Namespace(**found)


def _load(path: str, dir_out: str) -> dict[str, Any]:
    found: Any
    extension = posixpath.splitext(path)[1]
    if extension == ".py":
        return _run(path, dir_out)
    if extension == ".json":
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    elif extension == ".toml":
        import tomllib

        with open(path, "rb") as binary:
            found = tomllib.load(binary)
    elif extension in (".yaml", ".yml"):
        found = _load_yaml(path)
    else:
        raise ArgumentError(
            "SNB-135",
            f"unsupported variable file format: {path}",
            "variables are read by the extension of their file",
            "use .json, .toml, .yaml, .yml or .py",
        )
    if not isinstance(found, dict):
        raise ArgumentError(
            "SNB-135", f"'{path}' defines no variables by name.", "", "have it hold a mapping at its top"
        )
    return found


def _load_yaml(path: str) -> Any:
    try:
        yaml = import_module("yaml")
    except ImportError:
        raise UsageError(
            "SNB-136", f"'{path}' cannot be read.", "PyYAML is not installed", "pip install pyyaml"
        ) from None
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def _run(path: str, dir_out: str) -> dict[str, Any]:
    folder, name = posixpath.split(posixpath.abspath(path))
    start = posixpath.abspath(dir_out)
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    names: dict[str, Any] = {"__name__": "<variables>", "__file__": name}
    before = os.getcwd()
    sys.path.insert(0, folder)
    os.chdir(folder)
    try:
        exec(code, names)
    finally:
        os.chdir(before)
        if folder in sys.path:
            sys.path.remove(folder)
    return {
        key: _relative(value, folder, start)
        for key, value in names.items()
        if not (key.startswith("__") and key.endswith("__"))
    }


def _relative(value: Any, folder: str, start: str) -> Any:
    if path_class() is str or not isinstance(value, path_class()):
        return value
    found = posixpath.relpath(normalise(posixpath.join(folder, value)), start)
    return make_path(as_folder(found) if value.endswith("/") else found)
