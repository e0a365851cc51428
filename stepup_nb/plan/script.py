"""The script protocol: one source file says what it needs and makes, and does it.

``./SCRIPT plan [--step-info=F] [--optional]`` declares steps ``./SCRIPT run`` or ``./SCRIPT run CASE``;
`script` declares the first, and the script's `driver` does both.
"""

from __future__ import annotations

import os
import posixpath
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from stepup_nb.core.errors import UsageError
from stepup_nb.plan.paths import action_of, command_word
from stepup_nb.plan.paths import words as texts
from stepup_nb.plan.stepinfo import dump_step_info
from stepup_nb.plan.variables import subs_env_vars


def script(
    executable: str,
    *,
    step_info: str | None = None,
    inp: Iterable[str] | str = (),
    env: Iterable[str] | str = (),
    out: Iterable[str] | str = (),
    vol: Iterable[str] | str = (),
    workdir: str = "./",
    optional: bool = False,
    pool: Any = None,
    block: bool = False,
    **options: Any,
) -> Any:
    """Declare a step that has a script plan itself.

    Parameters
    ----------
    executable
        Path of the script, relative to ``workdir``; it becomes an input. ``.py`` runs as ``runpy``, others
        as ``runsh``.
    step_info
        A file (an output, relative to ``workdir``) to which the script writes what it planned; see
        `stepup_nb.plan.stepinfo`.
    optional
        Whether the steps that the script plans are optional. The planning itself never is (StepUp 3.0 makes
        it so, and then nobody ever runs it).
    inp, env, out, vol, workdir, pool, block, options
        Of the planning step, as in `stepup_nb.api.step`.

    Returns
    -------
    StepInfo

    Raises
    ------
    ArgumentError
        SNB-135: the path of the script is absolute.
    """
    from stepup_nb import api

    with subs_env_vars() as subs:
        executable = str(subs(executable))
        if step_info is not None and "$" in step_info:
            step_info = str(subs(step_info))
    words = [action_of(executable), command_word(executable), "plan"]
    outs = texts(out)
    if step_info is not None:
        words.append(f"--step-info={shlex.quote(step_info)}")
        outs.append(step_info)
    if optional:
        words.append("--optional")
    return api.step(
        " ".join(words),
        inp=[*texts(inp), executable],
        env=env,
        out=outs,
        vol=vol,
        workdir=workdir,
        pool=pool,
        block=block,
        **options,
    )


def driver(obj: Any = None) -> None:
    """Plan, run or list what a script does, as its command line says.

    The script has ``info()``, which returns a dictionary with ``inp``, ``out`` and ``static`` (a path or a
    list of them; all may be missing) and anything else that ``run`` takes. Or, or also, it has ``cases()``,
    ``CASE_FMT`` and ``case_info(...)``: every case is arguments of ``case_info`` (a dictionary, a list, a
    list and a dictionary, or one value), and is written into the command line with ``CASE_FMT.format``,
    from which it is read back with the package ``parse``. ``run`` gets what it names of that dictionary.

    Parameters
    ----------
    obj
        Where these are attributes; default: the module that calls the driver.

    Raises
    ------
    TypeError
        Something of this is missing, or is no dictionary or no list.
    RuntimeError
        The script is to run without a case, and has no ``info``; or with one, and has no ``case_info``.
    ValueError
        A case is not as ``CASE_FMT`` writes it.
    """
    import argparse

    names = sys._getframe(1).f_globals if obj is None else _Attributes(obj)
    path = posixpath.relpath(sys.argv[0])
    planner = _Planner(names, path)
    parser = argparse.ArgumentParser(
        prog=posixpath.basename(path), description=f"StepUp script driver for {posixpath.basename(path)}."
    )
    commands = parser.add_subparsers(dest="cmd", required=True)
    plan = commands.add_parser("plan", help="declare the steps that run the script")
    plan.add_argument("--step-info", help="write what was declared to this file")
    plan.add_argument("-o", "--optional", action="store_true", help="make these steps optional")
    commands.add_parser("cases", help="print all ways to run the script")
    run = commands.add_parser("run", help="do the work")
    run.add_argument("string", nargs="?", help="which case, as 'cases' prints it")
    args = parser.parse_args()
    if args.cmd == "plan":
        planner.plan(args.step_info, optional=args.optional)
    elif args.cmd == "cases":
        planner.list_cases()
    else:
        planner.run(args.string)


class _Attributes(Mapping[str, Any]):
    """The attributes of an object, in the form of the names of a module."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self._obj, name)
        except AttributeError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(dir(self._obj))

    def __len__(self) -> int:
        return len(dir(self._obj))


class _Planner:
    """A script's parts, and what its driver does with them."""

    def __init__(self, names: Mapping[str, Any], path: str) -> None:
        self._path = path
        self._name = name = posixpath.basename(path)
        self._info, self._run = names.get("info"), names.get("run")
        parts = [names.get(part) for part in ("CASE_FMT", "cases", "case_info")]
        self._case_fmt: Any
        self._cases: Any
        self._case_info: Any
        self._case_fmt, self._cases, self._case_info = parts
        if self._run is None:
            raise TypeError(f"Script {name} has no run function.")
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise TypeError(
                f"The script {name} must either define all or none of the following: CASE_FMT, cases and case_info"
            )
        if self._info is None and self._case_info is None:
            raise TypeError(f"The script {name} has neither info nor case_info.")

    def plan(self, step_info: str | None, *, optional: bool) -> None:
        found = []
        if self._info is not None:
            found.append(self._declare(_dictionary(self._info(), "info"), "info", "", optional))
        for case, args, kwargs in self._every_case():
            info = _dictionary(self._case_info(*args, **kwargs), "case_info")
            found.append(self._declare(info, "case_info", case, optional))
        if step_info is not None:
            dump_step_info(step_info, found[0] if self._case_info is None else found)

    def _declare(self, info: dict[str, Any], source: str, case: str, optional: bool) -> Any:
        from stepup_nb import api

        static, inp, out = (self._paths(info, name, source) for name in ("static", "inp", "out"))
        if static:
            api.static(static)
        command = f"{action_of(self._path)} {command_word(self._path)} run{case}"
        return api.step(command, inp=[*inp, self._path], out=out, optional=optional)

    def _paths(self, info: dict[str, Any], name: str, source: str) -> list[str]:
        given = info.get(name, ())
        paths = [given] if isinstance(given, str | os.PathLike) else given
        if isinstance(paths, Iterable) and not isinstance(paths, bytes):
            found = [os.fspath(path) if isinstance(path, os.PathLike) else path for path in paths]
            if all(isinstance(path, str) for path in found):
                return found
        raise TypeError(f"{name} is not a list of strings in function {source} in {self._name}")

    def list_cases(self) -> None:
        if self._info is not None:
            print(f"{command_word(self._path)} run")
        for case, _, _ in self._every_case():
            print(f"{command_word(self._path)} run{case}")

    def run(self, case: str | None) -> None:
        import inspect

        if case is None:
            if self._info is None:
                raise RuntimeError(f"Script has no info function: {self._name}")
            info = _dictionary(self._info(), "info")
        else:
            if self._case_info is None:
                raise RuntimeError(f"Script has no case_info function: {self._name}")
            args, kwargs = self._parse(case)
            info = _dictionary(self._case_info(*args, **kwargs), "case_info")
        assert self._run is not None
        known = inspect.signature(self._run).parameters
        self._run(**{name: value for name, value in info.items() if name in known})

    def _every_case(self) -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
        """Yield the cases: as a blank and a word for the command line, and as arguments."""
        for item in self._cases() if self._cases is not None else ():
            args, kwargs = _arguments(item)
            yield f" {shlex.quote(self._case_fmt.format(*args, **kwargs))}", args, kwargs

    def _parse(self, case: str) -> tuple[list[Any], dict[str, Any]]:
        try:
            parse = import_module("parse")
        except ImportError:
            raise UsageError(
                "SNB-136",
                f"The case '{case}' cannot be read.",
                "the package that reads what CASE_FMT writes is not installed",
                "pip install parse",
            ) from None
        found = parse.parse(self._case_fmt, case, case_sensitive=True)
        if found is None:
            raise ValueError(f"Could not parse string '{case}' with CASE_FMT '{self._case_fmt}'.")
        return list(found.fixed), dict(found.named)


def _arguments(item: Any) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(item, dict):
        return [], item
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], dict):
        if isinstance(item[0], list | tuple):
            return list(item[0]), item[1]
    if isinstance(item, list | tuple):
        return list(item), {}
    return [item], {}


def _dictionary(found: Any, source: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise TypeError(f"{source} must return a dictionary.")
    return found
