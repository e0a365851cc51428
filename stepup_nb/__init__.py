"""A build tool that lives with a Jupyter notebook: the notebook is the plan, its kernel has a director.

``%load_ext stepup_nb`` brings the magics; `stepup_nb.api` has the same calls for Python. The functions here
look at the steps of this process' session, and steer them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepup_nb.client.handles import StepHandle

__version__ = "0.1.0"

__all__ = ["cancel", "executor", "history", "panel", "rerun", "status", "wait", "why"]


def load_ipython_extension(ip: Any) -> None:
    """Bring the magics to a shell. Starts nothing: the director comes with the first step or pool."""
    from stepup_nb.notebook.load import load

    load(ip)


def unload_ipython_extension(ip: Any) -> None:
    """End the session and take the magics away; `%reload_ext` keeps the session."""
    from stepup_nb.notebook.load import unload

    unload(ip, is_reload=_is_reloading())


def _is_reloading() -> bool:
    # IPython reloads by unloading first, and does not say which of the two it is.
    frame = sys._getframe().f_back
    while frame is not None:
        if frame.f_code.co_name == "reload_extension":
            return True
        frame = frame.f_back
    return False


def _names(steps: Iterable[StepHandle | str] | StepHandle | str) -> list[str]:
    from stepup_nb.client.handles import StepHandle

    several = [steps] if isinstance(steps, str | StepHandle) else list(steps)
    return [step.name if isinstance(step, StepHandle) else step for step in several]


async def wait(*steps: StepHandle | str, timeout: float | None = None) -> None:
    """Wait for steps, or for all of them: ``await stepup_nb.wait()``.

    Ends when they are finished, or when nothing can move any more. Where nothing can be awaited, in a
    function or a loop, the magic ``%stepup wait`` or a handle's ``wait()`` do the same.

    Parameters
    ----------
    steps
        Handles or names; none means all steps that are declared.
    timeout
        Seconds after which waiting ends; the steps go on.

    Raises
    ------
    StepsFailed
        SNB-601: some did not succeed, or cannot run.
    TimeoutError
        The time was over.
    """
    from stepup_nb.client.current import session
    from stepup_nb.client.session import check
    from stepup_nb.notebook.waiting import wait_async

    report = await wait_async(session().begin_wait(_names(steps) or None, timeout))
    session().settle()
    check(report)


def status() -> dict[str, Any]:
    """Return notebook, pools, counts and steps as plain data, as ``%stepup status --json`` shows them."""
    from stepup_nb.client.current import session
    from stepup_nb.core import public

    return public.status(session().status())


def history() -> list[dict[str, Any]]:
    """Return a row per job that ran or still runs, over all sessions, newest last.

    Times are seconds since the epoch, ``peak_rss`` is bytes, ``cpu`` processor seconds; ``pool`` maps a pool
    to the number of slots, ``slots`` to the slot numbers held.
    """
    from stepup_nb.client.current import session

    return session().history()


def why(step: StepHandle | str) -> list[str]:
    """Say why a step ran, runs, or waits."""
    from stepup_nb.client.current import session
    from stepup_nb.client.handles import StepHandle

    return StepHandle(session(), _names(step)[0]).why()


def cancel(*steps: StepHandle | str, all: bool = False) -> list[str]:
    """Stop steps with everything they started; return the names of those that were not finished."""
    from stepup_nb.client.current import session

    return session().cancel(*_names(steps), all=all)


def rerun(*steps: StepHandle | str, failed: bool = False, all: bool = False) -> list[str]:
    """Run steps again, whether or not they are up to date; return their names."""
    from stepup_nb.client.current import session

    return session().rerun(*_names(steps), failed=failed, all=all)


def executor(where: Any = "local") -> dict[str, Any]:
    """Let steps run on a Dask cluster from now on, or on this machine again; pools mean the same.

    Parameters
    ----------
    where
        ``local``; ``dask`` for a cluster of this machine; the address of a cluster's scheduler; or a
        ``distributed.Client``, of which address and TLS are taken.

    Returns
    -------
    dict
        ``kind``, ``address`` and ``dashboard``.

    Raises
    ------
    UsageError
        SNB-233: Dask is not installed. SNB-234: the line to the cluster is open to others. SNB-235: there is no
        cluster. SNB-236: a worker does not see the project.
    """
    from stepup_nb.client.current import session

    if isinstance(where, str):
        is_address = where not in ("local", "dask")
        return session().executor("dask" if is_address else where, where if is_address else None)
    tls = where.security
    names = {"ca": tls.tls_ca_file, "cert": tls.tls_client_cert, "key": tls.tls_client_key}
    # Whoever has made a client has chosen its line.
    return session().executor(
        "dask", where.scheduler.address, security=names if names["ca"] else None, plain=True
    )


def panel(mode: str = "full") -> None:
    """Show the live panel: pools, steps, timeline, graph and output, with their controls.

    Parameters
    ----------
    mode
        How it begins: ``full``, or ``compact`` for one line.
    """
    from stepup_nb.notebook.load import loaded

    extension = loaded()
    if extension is None or not extension.has_front_end:
        print(
            "The panel needs a notebook with '%load_ext stepup_nb'; 'stepup_nb.status()' says the same as data."
        )
    else:
        extension.show_panel(mode)


def _finish() -> dict[str, int]:
    """Wait for all steps and bring all records up to date: the end of a notebook that nobody watches.

    ``stepup-nb execute`` runs this in a last cell of its own, since clients without a browser take updates
    only while a cell executes. It raises nothing for steps that did not succeed.

    Returns
    -------
    dict
        Numbers of steps: ``failed`` (or cancelled), and ``pending`` (cannot run).
    """
    from stepup_nb.notebook.load import loaded

    extension = loaded()
    return {"failed": 0, "pending": 0} if extension is None else extension.finish()
