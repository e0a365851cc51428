"""A build tool that lives with a Jupyter notebook: the notebook is the plan, its kernel has a director.

``%load_ext stepup_nb`` brings the magics; `stepup_nb.api` has the same calls for Python. The functions here
look at the steps of this process' session, and steer them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepup_nb.client.handles import StepHandle
    from stepup_nb.exercises import assert_no_overlap, assert_order, assert_peak, assert_skipped
    from stepup_nb.notebook.audits import Audited
    from stepup_nb.notebook.whatif import Forecast

__version__ = "0.1.0"

__all__ = [
    "assert_no_overlap", "assert_order", "assert_peak", "assert_skipped", "audit", "cancel", "executor", "export_plan",
    "hints", "history", "narrate", "panel", "report", "rerun", "simulate", "status", "wait", "why",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Steps import this package, too, and the sooner the less is in it.
    if name.startswith("assert_") and name in __all__:
        from stepup_nb import exercises

        return getattr(exercises, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


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
    from stepup_nb.client.handles import names_of
    from stepup_nb.client.session import check
    from stepup_nb.notebook.waiting import wait_async

    report = await wait_async(session().begin_wait(names_of(*steps) or None, timeout))
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


def hints(pool: str | None = None) -> dict[str, list[str]]:
    """Say how large pools may be, and need be, from the memory and processor time that their steps took.

    Parameters
    ----------
    pool
        Its name; none means all.

    Returns
    -------
    dict
        Sentences by name of the pool.

    Raises
    ------
    UsageError
        SNB-502: there is no such pool.
    """
    from stepup_nb.client.current import session
    from stepup_nb.notebook.hints import of_session

    return of_session(session(), pool)[0]


def why(step: StepHandle | str) -> list[str]:
    """Say why a step ran, runs, or waits."""
    from stepup_nb.client.current import session
    from stepup_nb.client.handles import StepHandle, names_of

    return StepHandle(session(), names_of(step)[0]).why()


def cancel(*steps: StepHandle | str, all: bool = False) -> list[str]:
    """Stop steps with everything they started; return the names of those that were not finished."""
    from stepup_nb.client.current import session
    from stepup_nb.client.handles import names_of

    return session().cancel(*names_of(*steps), all=all)


def rerun(*steps: StepHandle | str, failed: bool = False, all: bool = False) -> list[str]:
    """Run steps again, whether or not they are up to date; return their names."""
    from stepup_nb.client.current import session
    from stepup_nb.client.handles import names_of

    return session().rerun(*names_of(*steps), failed=failed, all=all)


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


def audit(
    pools: Mapping[str, Iterable[int | None]],
    steps: Iterable[StepHandle | str] | StepHandle | str | None = None,
    *,
    repeat: int = 1,
    workers: int | None = None,
    keep: bool = False,
    most: int = 1000,
    allow_absolute: bool = False,
) -> Audited:
    """Find steps whose results depend on how many others run beside them: ``audit({"test": [1, 4]})``.

    Runs the steps with all they need, from scratch, in a copy of the project for each run, with a director of its
    own; files, database and session stay as they are. ``%stepup audit`` is the same.

    Parameters
    ----------
    pools
        Sizes to compare, by pool; None is no limit. Other pools have the size they have. Of several pools, the
        first run has the first size of each, and so on.
    steps
        Handles or names; None means all that are declared.
    repeat
        Runs with each size: races are a matter of chance.
    workers
        Steps running at once; None: as in the session, but no fewer than the largest pool has slots.
    keep
        Leave the copies where they are; `Audited.runs` says where.
    most
        Megabytes of a project that are copied, at most.
    allow_absolute
        Also run steps that name the project's own folder, and may write there.

    Returns
    -------
    Audited
        ``differing`` has a row for each output that is another one, and for each step that ends otherwise.

    Raises
    ------
    UsageError
        SNB-160: there is nothing to compare; SNB-161: a step would reach the project's own files; SNB-162: the
        project is too large, or cannot be copied.
    """
    from stepup_nb.client.audit import Asked
    from stepup_nb.client.current import session
    from stepup_nb.client.handles import names_of
    from stepup_nb.notebook.load import loaded

    session()
    extension = loaded()
    assert extension is not None
    asked = Asked(
        pools=dict(pools),
        steps=None if steps is None else tuple(names_of(steps)),
        repeat=repeat,
        workers=workers,
        keep=keep,
        most=most,
        allow_absolute=allow_absolute,
    )
    return extension.audit(asked, is_brief=True)


def export_plan(path: str = "plan.py", *, stepup: int = 3, force: bool = False) -> list[str]:
    """Write the declared steps as a plan that StepUp runs; ``%stepup export`` is the same.

    Parameters
    ----------
    path
        Name of a file in the notebook's folder.
    stepup
        The version of StepUp that is to run it: 3 or 4.
    force
        Overwrite what is there.

    Returns
    -------
    list
        What the plan cannot say, or says in another way; its comments say the same.

    Raises
    ------
    UsageError
        SNB-170: something is there already; SNB-171: the plan cannot lie there; SNB-172: there is nothing to
        export.
    """
    from stepup_nb.client.current import session
    from stepup_nb.client.exporting import export_plan as export

    return export(session(), path, stepup=stepup, force=force)


def simulate(
    pools: Mapping[str, Any] | None = None,
    workers: int | None = None,
    steps: Iterable[Mapping[str, Any]] | None = None,
) -> Forecast:
    """Predict how long all steps would take from nothing, with other pools and workers. Runs nothing, changes nothing.

    The scheduler is the real one, under a virtual clock; durations are those that were recorded, else those given by
    ``--duration``, else a guess (the median of the others).

    Parameters
    ----------
    pools
        Sizes by name; None is no limit. A pool that is left out keeps its size.
    workers
        Steps running at once; None: as many as now.
    steps
        Steps to play with, instead of those of this session: dictionaries with ``name``, ``duration`` (seconds), and
        what they need of ``inp``, ``out``, ``after``, ``pool``, ``priority``. Nothing else is known then: there are the
        pools that are given, as many workers as there are steps, and a step starts when the one before it ends.

    Returns
    -------
    Forecast
        ``makespan`` (seconds), ``bounds`` (seconds that it takes at least, by what limits it), ``timeline`` (rows like
        those of `history`, in seconds from the beginning), ``path``, ``bottleneck``; a cell shows it drawn.

    Raises
    ------
    UsageError
        SNB-150 to SNB-153, SNB-502: a size or a step makes no sense, or some step could never run.
    """
    from stepup_nb.notebook.whatif import forecast

    return forecast(pools, workers, steps)


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


def narrate(is_on: bool = True) -> None:
    """Say under this cell why the scheduler decides as it does, a sentence for each decision; or no longer.

    Other cells go on; the last sentences stay in the saved notebook.
    """
    from stepup_nb.notebook.load import loaded

    extension = loaded()
    if extension is None or not extension.has_front_end:
        print("Sentences that come while steps run need a notebook with '%load_ext stepup_nb'.")
    else:
        extension.narrate(is_on)


def report(path: str, *, force: bool = False) -> str:
    """Write one page of html on everything: steps, pools, timeline, graph, failures; return its path.

    It opens without a kernel, and loads nothing.

    Parameters
    ----------
    path
        Relative to the notebook's folder.
    force
        Replace a file that is no report.

    Raises
    ------
    UsageError
        SNB-146: another file is there. SNB-147: it cannot be written.
    """
    from stepup_nb.client.current import session
    from stepup_nb.notebook.report import save

    return str(save(session(), path, force=force))


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
