"""What a cell, a plan script and a running step may call: the same words everywhere, and StepUp 3.0's signatures.

In a notebook the calls go to the kernel's session and return handles; in a running step to the director that
started it, and return `StepInfo`; in a script that is run by hand they print themselves and go on. Calls return
at once, and may come from any thread.
"""

from __future__ import annotations

# Some names are looked up when they are asked for.
import contextlib
import os
import posixpath
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stepup_nb.client import current
from stepup_nb.client.job import is_in_job, job_session
from stepup_nb.core.errors import UsageError

if TYPE_CHECKING:
    from stepup_nb.core.nglob import NGlobMulti
    from stepup_nb.plan.alone import Alone
    from stepup_nb.plan.caller import Caller

__all__ = [
    "StepHandle", "StepInfo", "amend", "call", "copy", "getenv", "getinfo", "glob", "graph", "hold", "loadns",
    "mkdir", "plan", "pool", "render_jinja", "run", "runpy", "runsh", "script", "shq", "static", "step",
    "subs_env_vars",
]  # fmt: skip

_ELSEWHERE = {
    "StepHandle": "client.handles",
    "StepInfo": "plan.stepinfo",
    "call": "plan.call",
    "getenv": "plan.variables",
    "loadns": "plan.namespaces",
    "render_jinja": "plan.jinja",
    "script": "plan.script",
    "subs_env_vars": "plan.variables",
}
"""Names that are imported when they are asked for: a step that calls `amend` alone starts the sooner."""

Paths = str | os.PathLike[str] | Iterable[Any]
Pools = str | Mapping[str, int] | Iterable[Any] | None


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"stepup_nb.{_ELSEWHERE[name]}"), name)


def is_in_script() -> bool:
    """Tell whether this is the process of a plan or step, or of a script that is run by hand; else a notebook's."""
    return not current.has_session() and (is_in_job() or not _is_interactive())


def _is_interactive() -> bool:
    # Whoever forgot to load the extension is told so, not shown what a plan would have done.
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _script() -> Caller | Alone:
    if is_in_job():
        from stepup_nb.plan.caller import Caller

        return Caller(job_session())
    from stepup_nb.plan.alone import Alone

    return Alone()


def pool(name: str, size: int | None, *, tokens: Iterable[str] = (), per_machine: bool | None = None) -> None:
    """Define a pool, or resize it live.

    Parameters
    ----------
    name
        Letters, digits, ``_``, ``-`` and ``.``.
    size
        Number of slots. 0 closes the pool, None is no limit.
    tokens
        What the slots are called in ``STEPUP_POOL_<NAME>``, instead of their numbers; one for each slot.
    per_machine
        Each machine of a cluster has so many slots, and a step that asks for some is placed where they are free: for
        memory, or graphics cards. Else they are counted over the whole cluster: for licences, or a database. None: as
        the pool is already, at first over the whole.

    Raises
    ------
    UsageError
        SNB-110 for the name, SNB-111 for the size, SNB-117 for the tokens, SNB-503 where two plans disagree, SNB-504
        where `per_machine` changes while slots are held.

    StepUp 3.0: sizes are strictly positive, and a second size is an error.
    """
    if is_in_script():
        _script().pool(name, size, tokens, per_machine)
        return
    session = current.session()
    notes = session.pool(name, size, tokens, per_machine)["notes"]
    if session.is_in_cell:
        # There is no cell below which the others could stand; the lines of those that gave other sizes tell it.
        for note in notes:
            current.remark(note)


def step(
    action: str,
    *,
    inp: Paths = (),
    env: Paths = (),
    out: Paths = (),
    vol: Paths = (),
    workdir: str | os.PathLike[str] = "./",
    optional: bool = False,
    pool: Pools = None,
    block: bool = False,
    **options: Any,
) -> Any:
    """Declare a step by an action string, such as ``runsh echo hello``.

    Parameters
    ----------
    action
        ``runsh COMMAND``, ``runpy SCRIPT ARGS``, ``copy SRC DST``, ``mkdir DIR`` or ``render-jinja ...``.
    inp, out, vol
        Paths relative to ``workdir``. In a notebook patterns in ``inp`` are expanded now.
        ``${NAME}`` is replaced by the value of an environment variable, on which the calling step then depends.
    env
        Names of environment variables whose values matter.
    workdir
        Where it runs, relative to the notebook's folder, or to where the calling script runs.
    optional
        Run it only if another step needs its outputs.
    pool
        A name, ``"mem:4"``, a list of these, or a dict of names to slots.
    block
        Declare it, but do not run it.
    options
        ``name``, ``resources``, ``after``, ``priority``, ``duration`` (seconds), ``timeout`` (seconds),
        ``retry``, ``shell``, ``force``.

    Returns
    -------
    StepHandle or StepInfo
        In a notebook, a handle to ask for state and output, to wait or ``await``, to cancel or rerun. In a
        script, what was declared.

    Raises
    ------
    UsageError
        SNB-1xx for an option, SNB-4xx where the graph does not allow it, SNB-501 for more slots than a pool
        has. Nothing changed then.
    """
    given: dict[str, Any] = {"inp": inp, "env": env, "out": out, "vol": vol, "workdir": os.fspath(workdir)}
    flags: dict[str, Any] = {"optional": optional, "pool": pool, "block": block}
    if is_in_script():
        return _script().step(action, **given, **flags, **options)
    kind, _, command = action.strip().partition(" ")
    return current.session().declare(kind, command, **_substituted(given), **flags, **options)


def _substituted(given: dict[str, Any]) -> dict[str, Any]:
    """Put environment variables in for their names in paths."""
    found = dict(given)
    for name in ("inp", "out", "vol", "workdir"):
        found[name] = _with_variables(given[name])
    return found


def _with_variables(value: Any) -> Any:
    if isinstance(value, str) and "$" in value:
        from stepup_nb.plan.variables import substitute

        return substitute(value)[0]
    if isinstance(value, list | tuple | set):
        return [_with_variables(one) for one in value]
    return value


def runsh(
    command: str,
    *,
    inp: Paths = (),
    env: Paths = (),
    out: Paths = (),
    vol: Paths = (),
    workdir: str | os.PathLike[str] = "./",
    optional: bool = False,
    pool: Pools = None,
    block: bool = False,
    **options: Any,
) -> Any:
    """Declare a shell command, run by ``/bin/sh -c``; everything else is as in `step`.

    ``${inp}``, ``${out}`` and ``${vol}`` in it are replaced by the declared paths, quoted for the shell.
    """
    return step(
        f"runsh {command}",
        inp=inp,
        env=env,
        out=out,
        vol=vol,
        workdir=workdir,
        optional=optional,
        pool=pool,
        block=block,
        **options,
    )


def runpy(
    command: str,
    *,
    inp: Paths = (),
    env: Paths = (),
    out: Paths = (),
    vol: Paths = (),
    workdir: str | os.PathLike[str] = "./",
    optional: bool = False,
    pool: Pools = None,
    block: bool = False,
    **options: Any,
) -> Any:
    """Declare a Python script with its arguments, run by a fresh interpreter; everything else is as in `step`.

    The script must be executable and begin with ``#!/``. It is an input by itself, and so is every module of the
    project that it imports: these are found when it has run. In a plan, a script or module that nobody
    declares static is none of the step's inputs (the script), or has it wait (a module), as in StepUp 3.0.
    """
    if not is_in_script():
        with contextlib.suppress(ValueError, IndexError):
            # In a notebook what exists is static by itself.
            inp = [*(inp if isinstance(inp, list | tuple) else [inp]), shlex.split(command)[0]]
    return step(
        f"runpy {command}",
        inp=inp,
        env=env,
        out=out,
        vol=vol,
        workdir=workdir,
        optional=optional,
        pool=pool,
        block=block,
        **options,
    )


def run(command: str, *, shell: bool = False, inp: Paths = (), **options: Any) -> Any:
    """Declare a command (StepUp 4.0's one function for all).

    Parameters
    ----------
    command
        Words. A script whose path has a slash in it, such as ``./work.py``, becomes an input by itself; ``.py``
        is run as `runpy` runs it.
    shell
        Let a shell read the command; without, its words are taken as they are.
    inp, options
        As in `step`.
    """
    words = shlex.split(command)
    if words and "/" in words[0] and not posixpath.isabs(words[0]):
        inp = [*([inp] if isinstance(inp, str | os.PathLike) else inp), words[0]]
        if words[0].endswith(".py") and not shell:
            return step(f"runpy {shlex.join(words)}", inp=inp, **options)
    return step(f"runsh {command if shell else shlex.join(words)}", inp=inp, **options)


def plan(subdir: str, *, inp: Paths = (), **options: Any) -> Any:
    """Declare the step that runs the ``plan.py`` of a folder; everything else is as in `step`."""
    more = [inp] if isinstance(inp, str | os.PathLike) else list(inp)
    return step("runpy ./plan.py", inp=["plan.py", *more], workdir=os.fspath(subdir), **options)


def copy(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    optional: bool = False,
    block: bool = False,
    **options: Any,
) -> Any:
    """Declare a step that copies a file with its mode and times; ``dst`` ending in ``/`` keeps the name.

    Everything else is as in `step`.
    """
    source, target = (_with_variables(os.fspath(path)) for path in (src, dst))
    if target.endswith("/"):
        target = posixpath.join(target, posixpath.basename(source))
    if is_in_script():
        source, target = posixpath.normpath(source), posixpath.normpath(target)
    command = f"copy {shlex.quote(source)} {shlex.quote(target)}"
    return step(command, inp=[source], out=[target], optional=optional, block=block, **options)


def mkdir(
    dirname: str | os.PathLike[str], *, optional: bool = False, block: bool = False, **options: Any
) -> Any:
    """Declare a step that makes a folder, which other steps may then name as an input, with a slash at its end.

    The folders of outputs are made anyhow, with or without this. Everything else is as in `step`.
    """
    path = os.fspath(dirname)
    path = path if path.endswith("/") else path + "/"
    return step(f"mkdir {shlex.quote(path)}", out=[path], optional=optional, block=block, **options)


def static(*paths: Paths) -> None:
    """Declare files that exist and that no step may build; patterns are expanded.

    A path that ends in ``/`` is a folder: that it is there is what counts. What lies in it is declared by itself,
    by a pattern, or by a deferred `glob`.

    Raises
    ------
    UsageError
        SNB-105, SNB-106 and SNB-134 where nothing is there, SNB-402 where a step builds it.
    """
    if is_in_script():
        _script().static(paths)
    else:
        current.session().static(*map(_with_variables, paths))


def glob(*patterns: str, _required: bool = False, _defer: bool = False, **subs: str) -> NGlobMulti | None:
    """Search for files, and declare them static; a step that asks runs again when the answer changes.

    Parameters
    ----------
    patterns
        ``*``, ``?``, ``[abc]``, ``**``, and ``${*name}``, which stands for the same text wherever it occurs.
    _required
        Raise FileNotFoundError where nothing matches.
    _defer
        Search for nothing: what matches is static as soon as a step needs it. Returns None.
    subs
        What a named wildcard matches, by name; ``*`` by default.

    Returns
    -------
    NGlobMulti
        True if anything matches; yields paths, or with named wildcards, one object for each set of values.
        What steps have built does not match.
    """
    if is_in_script():
        return _script().glob(patterns, subs, required=_required, defer=_defer)
    return current.session().glob(patterns, subs, required=_required, defer=_defer)


def amend(*, inp: Paths = (), env: Paths = (), out: Paths = (), vol: Paths = ()) -> None:
    """Say what else the running step reads, depends on, and writes.

    Raises
    ------
    InputNotFoundError
        SNB-132: an input is not there yet. The step runs again when it is, whatever it does now.
    UsageError
        SNB-4xx where the graph does not allow it, SNB-130 outside of a step.
    """
    if not is_in_script():
        raise _no_step("amend()")
    _script().amend(inp=inp, env=env, out=out, vol=vol)


def getinfo() -> Any:
    """Return what was declared of the running step, a `StepInfo`; what it amended is not in it."""
    if not is_in_script():
        raise _no_step("getinfo()")
    return _script().getinfo()


def _no_step(what: str) -> UsageError:
    return UsageError(
        "SNB-130",
        f"{what} speaks for a running step, and a cell is none.",
        "",
        "call it in the script that the step runs; a declaration has all options of its own",
    )


def graph(prefix: str | os.PathLike[str]) -> None:
    """Write the graph as it is now: ``PREFIX.txt``, ``PREFIX_provenance.dot``, ``PREFIX_dependency.dot``."""
    if is_in_script():
        _script().graph(prefix)
    else:
        from stepup_nb.client.pictures import write

        session = current.session()
        write(session.nodes(), os.path.join(session.place.root, os.fspath(prefix)))


def hold() -> contextlib.AbstractContextManager[None]:
    """Delay the steps that a ``with`` block declares until it ends, so that the best ones start first.

    They start however the block ends: also by an exception, or with the end of this process.
    """
    if not is_in_script():
        return current.session().hold()
    if is_in_job():
        from stepup_nb.plan.caller import Caller

        return Caller(job_session()).hold()
    return contextlib.nullcontext()


def shq(paths: Paths) -> str:
    """Return paths as words of a shell command, quoted where need be (StepUp 4.0)."""
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    return " ".join(shlex.quote(os.fspath(path)) for path in given)
