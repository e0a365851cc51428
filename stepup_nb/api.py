"""What a cell calls: declare pools, steps and static files. From any thread; calls return at once.

The signatures are StepUp 3.0's, with every option of a step as a keyword besides.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from stepup_nb.client.current import remark, session
from stepup_nb.client.handles import StepHandle
from stepup_nb.core.errors import UsageError

__all__ = ["StepHandle", "copy", "hold", "pool", "runsh", "static", "step"]

Paths = str | os.PathLike[str] | Iterable[Any]
Pools = str | Mapping[str, int] | Iterable[Any] | None


def pool(name: str, size: int | None, *, tokens: Iterable[str] = ()) -> None:
    """Define a pool, or resize it live.

    Parameters
    ----------
    name
        Letters, digits, ``_``, ``-`` and ``.``.
    size
        Number of slots. 0 closes the pool, None is no limit.
    tokens
        What the slots are called in ``STEPUP_POOL_<NAME>``, instead of their numbers; one for each slot.

    Raises
    ------
    UsageError
        SNB-110 for the name, SNB-111 for the size, SNB-117 for the tokens.

    StepUp 3.0: sizes are strictly positive, and a second size is an error.
    """
    for note in session().pool(name, size, tokens)["notes"]:
        remark(note)


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
) -> StepHandle:
    """Declare a step by an action string, such as ``runsh echo hello``.

    Parameters
    ----------
    action
        ``runsh COMMAND`` or ``copy SRC DST``.
    inp, out, vol
        Paths relative to ``workdir``. Patterns in ``inp`` are expanded now.
    env
        Names of environment variables whose values matter.
    workdir
        Where it runs, relative to the notebook's folder.
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
    StepHandle
        To ask for state and output, to wait or ``await``, to cancel or rerun.

    Raises
    ------
    UsageError
        SNB-1xx for an option, SNB-4xx where the graph does not allow it, SNB-501 for more slots than a pool
        has. Nothing changed then.
    """
    kind, _, command = action.strip().partition(" ")
    if kind not in ("runsh", "copy"):
        raise UsageError(
            "SNB-118",
            f"There is no action '{kind}'.",
            "an action string begins with the name of what is to be done",
            "write 'runsh COMMAND' or 'copy SRC DST'",
        )
    known = {
        "name", "resources", "after", "priority", "duration", "timeout", "retry", "shell", "force",
    }  # fmt: skip
    for unknown in sorted(options.keys() - known):
        raise UsageError(
            "SNB-119", f"There is no option '{unknown}='.", "", f"use one of {', '.join(sorted(known))}"
        )
    return session().declare(
        kind,
        command,
        inp=inp,
        env=env,
        out=out,
        vol=vol,
        workdir=os.fspath(workdir),
        optional=optional,
        pool=pool,
        block=block,
        **options,
    )


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
) -> StepHandle:
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


def copy(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    optional: bool = False,
    block: bool = False,
    **options: Any,
) -> StepHandle:
    """Declare a step that copies a file with its mode and times; ``dst`` ending in ``/`` keeps the name.

    Everything else is as in `step`.
    """
    source, target = os.fspath(src), os.fspath(dst)
    if target.endswith("/"):
        target = posixpath.join(target, posixpath.basename(source))
    command = f"copy {shlex.quote(source)} {shlex.quote(target)}"
    return step(command, inp=[source], out=[target], optional=optional, block=block, **options)


def static(*paths: Paths) -> None:
    """Declare files that exist and that no step may build; patterns are expanded, directories pass unnoticed.

    Raises
    ------
    UsageError
        SNB-105 and SNB-106 where nothing is there, SNB-402 where a step builds it.
    """
    session().static(*paths)


def hold() -> contextlib.AbstractContextManager[None]:
    """Delay the steps that a ``with`` block declares until it ends, so that the best ones start first.

    They start however the block ends: also by an exception, or with the end of this process.
    """
    return session().hold()
