"""Where jobs run: on this machine, or on the cluster that the session was given.

Knows when a cluster is being joined and left; what a cluster is, `dask_executor` knows, which is imported only then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from stepup_nb.core.errors import InternalError, StepUpError, UsageError
from stepup_nb.core.messages import Capacity
from stepup_nb.director.executor import Executor, Found, Stream, Tail
from stepup_nb.director.local import LocalExecutor
from stepup_nb.director.reactor import Reactor

Request = dict[str, Any]


class Cluster(Executor, Protocol):
    """An executor of a cluster, and what is told of that."""

    address: str
    dashboard: str

    def leave(self) -> None:
        """Take no more jobs: what becomes of the cluster concerns only those that are there."""

    @property
    def threads(self) -> int | None:
        """Threads of its workers; None when it is gone."""

    @property
    def jobs(self) -> Collection[int]:
        """Jobs that are there and have not ended."""


Join = Callable[[Request], Cluster]
"""Joins a cluster, in a thread that may wait for it; raises UsageError where that cannot be."""


class Executors(Executor):
    """Sends each new job to where jobs run now, and everything else about it to where it is.

    Parameters
    ----------
    reactor
        The loop.
    local
        This machine.
    join
        See `Join`.
    on_capacity
        Told how many steps may run at once; None where that is the session's own choice.
    """

    def __init__(
        self, reactor: Reactor, local: LocalExecutor, join: Join, on_capacity: Callable[[Capacity], None]
    ) -> None:
        self._reactor = reactor
        self._local = local
        self._join = join
        self._on_capacity = on_capacity
        self._cluster: Cluster | None = None
        self._left: list[Cluster] = []
        """Clusters where jobs are still being run, but none are started."""
        self._is_joining = False

    # --- going somewhere else ----------------------------------------------------------------------

    def turn_to(self, request: Request, done: Callable[[dict[str, Any] | StepUpError], None]) -> None:
        """Let jobs run elsewhere from now on, and tell when they do: ``kind`` is ``local`` or ``dask``."""
        kind = request.get("kind")
        if kind == "local":
            self._leave()
            self._on_capacity(Capacity(None))
            done(self.where())
        elif kind != "dask":
            done(UsageError("SNB-231", f"There is no executor {kind!r:.40}.", "", "choose 'local' or 'dask'"))
        elif self._is_joining:
            done(UsageError("SNB-232", "A cluster is being joined already.", "", "wait for that to end"))
        else:
            self._is_joining = True
            threading.Thread(
                target=self._join_there, args=(request, done), name="stepup-join", daemon=True
            ).start()

    def where(self) -> dict[str, Any]:
        """Return where jobs run now, and the ``threads`` of a cluster: None when it is gone."""
        cluster = self._cluster
        if cluster is None:
            return {"kind": "local", "address": None, "dashboard": None}
        return {
            "kind": "dask",
            "address": cluster.address,
            "dashboard": cluster.dashboard,
            "threads": cluster.threads,
        }

    def _join_there(self, request: Request, done: Callable[[dict[str, Any] | StepUpError], None]) -> None:
        try:
            cluster: Cluster | StepUpError = self._join(request)
        except StepUpError as error:
            cluster = error
        except Exception as error:
            cluster = InternalError(f"The cluster could not be joined: {error!r}", "")
        self._reactor.post(partial(self._joined, cluster, done))

    def _joined(
        self, cluster: Cluster | StepUpError, done: Callable[[dict[str, Any] | StepUpError], None]
    ) -> None:
        self._is_joining = False
        if isinstance(cluster, StepUpError):
            done(cluster)
            return
        self._leave()
        self._cluster = cluster
        done(self.where())

    def _leave(self) -> None:
        if self._cluster is not None:
            self._cluster.leave()
            self._left.append(self._cluster)
            self._cluster = None
        self._close_empty()

    def _close_empty(self) -> None:
        for cluster in list(self._left):
            if not cluster.jobs:
                self._left.remove(cluster)
                threading.Thread(target=cluster.close, name="stepup-leave", daemon=True).start()

    def use_warm(self, is_on: bool) -> None:
        """Start this machine's Python steps in interpreters that wait for them, or each in a fresh one."""
        self._local.use_warm(is_on)

    def _place(self, job: int) -> Executor:
        for cluster in (self._cluster, *self._left):
            if cluster is not None and job in cluster.jobs:
                return cluster
        return self._local

    # --- the executor --------------------------------------------------------------------------------

    def start(
        self, job: int, argv: Sequence[str], cwd: str, env: Mapping[str, str], place: str | None = None
    ) -> None:
        """Start a command where jobs run now; see `Executor.start`."""
        (self._cluster or self._local).start(job, argv, cwd, env, place)

    def stop(self, job: int) -> None:
        """End a job's whole tree; see `Executor.stop`."""
        self._place(job).stop(job)

    def kill_all(self) -> None:
        """Kill every process of every job; see `Executor.kill_all`."""
        for cluster in (self._cluster, *self._left):
            if cluster is not None:
                cluster.kill_all()
        self._local.kill_all()

    def tail(self, job: int) -> Tail:
        """Return the end of what a job wrote; see `Executor.tail`."""
        return self._place(job).tail(job)

    def read_log(self, job: int, stream: Stream, offset: int, limit: int) -> bytes:
        """Return a piece of a log; see `Executor.read_log`."""
        return self._local.read_log(job, stream, offset, limit)

    def output(self, job: int, place: tuple[int, int], most: int, *, is_last: bool) -> Found:
        """Return what a job wrote after a place; see `Executor.output`."""
        return self._place(job).output(job, place, most, is_last=is_last)

    def memory(self) -> int:
        """Return the bytes of memory that the jobs of this machine use; see `Executor.memory`."""
        return self._local.memory()

    def log_path(self, job: int, stream: Stream) -> str:
        """Return where a log is; see `Executor.log_path`."""
        return self._local.log_path(job, stream)

    def forget(self, jobs: Iterable[int]) -> None:
        """Remove the logs of ended jobs; see `Executor.forget`."""
        self._local.forget(jobs)

    def close(self) -> None:
        """Leave everything, and give back what is held; see `Executor.close`."""
        for cluster in (self._cluster, *self._left):
            if cluster is not None:
                cluster.close()
        self._local.close()
