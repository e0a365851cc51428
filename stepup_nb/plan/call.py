"""The call protocol: a plan calls a script with arguments, and the script's `driver` calls its ``run`` with them.

The script's command line is ``[JSON] [--inp=PATH] [--out=PATH [--amend-out]]``: arguments come as JSON
text, or in a JSON or pickle file; a value that is returned goes to a file. StepUp 3.0 calls the protocol
experimental.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stepup_nb.plan.exceptions import ArgumentError
from stepup_nb.plan.paths import action_of, command_word, make_path, normalise
from stepup_nb.plan.variables import subs_env_vars

_PLACEHOLDER = re.compile(r"\$(?=\{?(?:inp|out|vol))")

FORMATS = ("json", "pickle")

_LONGEST = 64 * 1024
"""Bytes of JSON on a command line: the system takes no word of more than 128 KiB, quotes included."""


def call(
    executable: str,
    *,
    prefix: str | None = None,
    fmt: str = "auto",
    inp: Sequence[Any] | str | bool | None = None,
    env: Iterable[str] | str = (),
    out: Sequence[Any] | str | bool | None = None,
    vol: Iterable[str] | str = (),
    workdir: str = "./",
    optional: bool = False,
    pool: Any = None,
    block: bool = False,
    pars: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Declare a step that calls a script with keyword arguments.

    Parameters
    ----------
    executable
        Path of the script, relative to ``workdir``; it becomes an input. ``.py`` runs as ``runpy``, others
        as ``runsh``.
    prefix
        What the names of files begin with: ``PREFIX_inp.json``, ``PREFIX_out.pickle``. Default: the
        script's name, without extension.
    fmt
        ``json``, ``pickle``, or ``auto``: pickle where JSON cannot hold the arguments. Where ``inp`` or
        ``out`` is a path, its extension says so.
    inp
        Where the arguments go. None: the command line, or a pickle file. True: a file. A path: this file,
        which is written if there are arguments, and otherwise made by another step. A sequence: one of
        these, then further inputs, which the script gets as ``inp=``.
    out
        Where a returned value goes. None: a file, which the script amends if it returns something. True: a
        file. A path: this file. False: nowhere. A sequence: one of these, then further outputs, which the
        script gets as ``out=``.
    pars
        More arguments, also of names that are taken here.
    env, vol, workdir, optional, pool, block
        As in `stepup_nb.api.step`.

    Returns
    -------
    StepInfo

    Raises
    ------
    ArgumentError
        SNB-135, for ``executable``, ``fmt``, ``inp`` and ``out``.
    TypeError
        ``fmt`` is ``json``, and JSON cannot hold the arguments.

    StepUp 3.0 writes the file of arguments into the caller's directory even if ``workdir`` is another,
    where the step looks for it in vain, forgets it if there are no arguments, and does not put in variables
    on the command line. JSON that is too long for a command line goes to a file here.
    """
    from stepup_nb import api

    with subs_env_vars() as subs:
        executable = str(subs(executable))
        folder = str(subs(workdir))
        first_inp, more_inp = _first("inp", inp, subs)
        first_out, more_out = _first("out", out, subs)
        prefix = _as_given(prefix or posixpath.splitext(posixpath.basename(executable))[0], subs)
    command = command_word(executable)
    arguments = {**kwargs, **(pars or {})}
    for name, more in (("inp", more_inp), ("out", more_out)):
        if more:
            arguments[name] = [*arguments.get(name, ()), *more]

    fmt = _format(fmt, first_inp, first_out)
    text, content, fmt = _serialise(arguments, fmt, is_file=first_inp is not None)
    path_inp = first_inp if isinstance(first_inp, str) else None
    if first_inp is True or content is not None:
        path_inp = path_inp or f"{prefix}_inp.{fmt}"
    if path_inp is not None and content is not None and (arguments or first_inp is True):
        path = normalise(posixpath.join(folder, path_inp))
        api.amend(out=[path])
        with open(path, "wb") as file:
            file.write(content)
    path_out = f"{prefix}_out.{fmt}" if first_out in (None, True) else first_out

    words = [action_of(executable), command]
    if text is not None:
        # In JSON a '$' stands in texts only, and may be written so that no list of paths is put in for it.
        words.append(shlex.quote(_PLACEHOLDER.sub(r"\\u0024", text)))
    if path_inp is not None:
        words.append(f"--inp={shlex.quote(path_inp)}")
    if path_out:
        words.append(f"--out={shlex.quote(path_out)}")
    if first_out is None:
        words.append("--amend-out")
    return api.step(
        " ".join(words),
        inp=[*([path_inp] if path_inp else []), *more_inp, executable],
        env=env,
        out=[*([path_out] if path_out and first_out is not None else []), *more_out],
        vol=vol,
        workdir=workdir,
        optional=optional,
        pool=pool,
        block=block,
    )


def _first(name: str, given: Any, subs: Any) -> tuple[Any, list[str]]:
    """Take apart what says where arguments or the result go, and the further paths."""
    first, more = given, []
    if isinstance(given, list | tuple):
        first, more = (given[0], [os.fspath(path) for path in given[1:]]) if given else (None, [])
    if isinstance(first, str | os.PathLike):
        return _as_given(os.fspath(first), subs), more
    if first is None or first is True or (first is False and name == "out"):
        return first, more
    allowed = (
        "None, True, str or Sequence[str]" if name == "inp" else "None, True, False, str or Sequence[str]"
    )
    raise ArgumentError(
        "SNB-135", f"Invalid value for {name}: {first!r}. Must be {allowed}.", "", "see help(call)"
    )


def _as_given(path: str, subs: Any) -> str:
    # What stands on the command line is the step's identity: left alone where nothing has to be put in.
    return str(subs(path)) if "$" in path else path


def _format(fmt: str, first_inp: Any, first_out: Any) -> str:
    paths = [path for path in (first_inp, first_out) if isinstance(path, str)]
    if fmt != "auto" and paths:
        raise ArgumentError(
            "SNB-135",
            "When specifying input or output files, the format cannot be set.",
            f"the extension of '{paths[0]}' says it",
            f"leave out fmt='{fmt}'",
        )
    found = posixpath.splitext(paths[0])[1].lstrip(".") if paths else fmt
    if found not in FORMATS and (paths or found != "auto"):
        raise ArgumentError(
            "SNB-135",
            f"Invalid format for serialization of arguments: {found}.",
            "",
            "use json or pickle" + (", also as the extension" if paths else ", or auto"),
        )
    return found


def _serialise(arguments: dict[str, Any], fmt: str, is_file: bool) -> tuple[str | None, bytes | None, str]:
    """Return the text for the command line or the content for a file, and the format that was chosen."""
    if not arguments and not is_file:
        return None, None, "json" if fmt == "auto" else fmt
    if fmt != "pickle":
        try:
            text = json.dumps(arguments)
            if not is_file and len(text) <= _LONGEST:
                return text, None, "json"
            return None, json.dumps(arguments, indent=2).encode(), "json"
        except TypeError:
            if fmt == "json":
                raise
    import pickle

    return None, pickle.dumps(arguments), "pickle"


def driver(obj: Any = None) -> None:
    """Call ``run`` as the command line says, and write what it returns.

    Arguments that ``run`` does not name are left out; lists in ``inp=`` and ``out=`` become lists of paths.

    Parameters
    ----------
    obj
        Where ``run`` is an attribute; default: the module that calls the driver.

    Raises
    ------
    AttributeError
        There is no ``run``.
    ValueError
        It returned something, and there is no path for it; or arguments come in two ways.
    NotImplementedError
        A file is neither JSON nor pickle.
    """
    import argparse
    import inspect

    names = sys._getframe(1).f_globals if obj is None else {"run": getattr(obj, "run", None)}
    script = posixpath.basename(sys.argv[0])
    parser = argparse.ArgumentParser(prog=script, description=f"StepUp call driver for {script}.")
    parser.add_argument("json_inp", nargs="?", help="JSON string input (if any)")
    parser.add_argument("--out", metavar="PATH_OUT", help="Output path (if any)")
    parser.add_argument("--inp", metavar="PATH_INP", help="Input path (if any)")
    parser.add_argument("--amend-out", action="store_true", help="Amend the output file")
    args = parser.parse_args()

    run = names.get("run")
    if run is None:
        raise AttributeError("The module must define a 'run' function")
    if args.json_inp is not None and args.inp is not None:
        raise ValueError("Cannot provide both JSON input string and an input file")
    arguments: dict[str, Any] = {}
    if args.json_inp is not None:
        arguments = json.loads(args.json_inp)
    elif args.inp is not None:
        arguments = _read(args.inp)
    for name in ("inp", "out"):
        if isinstance(arguments.get(name), list):
            arguments[name] = [make_path(path) for path in arguments[name]]
    known = inspect.signature(run).parameters
    result = run(**{name: value for name, value in arguments.items() if name in known})
    if result is not None:
        _write(args.out, result, is_amended=args.amend_out)


def _read(path: str) -> Any:
    if path.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    if path.endswith(".pickle"):
        import pickle

        with open(path, "rb") as binary:
            return pickle.load(binary)
    raise NotImplementedError(f"Unsupported input file format: {posixpath.splitext(path)[1]}")


def _write(path: str | None, result: Any, *, is_amended: bool) -> None:
    if path is None:
        raise ValueError("The output path is mandatory when the run function returns a value.")
    if path.endswith(".json"):
        content = json.dumps(result).encode()
    elif path.endswith(".pickle"):
        import pickle

        content = pickle.dumps(result)
    else:
        raise NotImplementedError(f"Unsupported output file format: {posixpath.splitext(path)[1]}")
    if is_amended:
        from stepup_nb import api

        api.amend(out=[path])
    with open(path, "wb") as file:
        file.write(content)
