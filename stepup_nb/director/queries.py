"""Answers what clients want to know; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

from stepup_nb.core import view
from stepup_nb.core.model import Step
from stepup_nb.core.scheduler import Scheduler
from stepup_nb.core.workload import handover
from stepup_nb.director.executor import Executor, Stream
from stepup_nb.director.output import decode
from stepup_nb.director.server import Client, Request
from stepup_nb.director.starting import Place
from stepup_nb.director.store import Store

QUEUE = 50
"""Waiting steps of one pool that are named."""
OUTPUT = 1 << 19
"""Bytes of output in one answer."""
HANDOVERS = 1000
"""Last jobs from which it is told how long one takes to follow another."""
_LARGEST = 2**62

Query = Callable[[Client, Request], dict[str, Any]]


class Queries:
    """What can be asked of a director, and the answers.

    Parameters
    ----------
    place
        Where the director works.
    scheduler, store, executor
        Those who know.
    clock
        Seconds since the epoch.
    notes
        Tells what there is to be said about the session.
    is_watching
        Tells whether changes of files are watched for.
    unwritten
        Tells the keys of steps whose news cannot be written down now.
    """

    def __init__(
        self,
        place: Place,
        scheduler: Scheduler,
        store: Store,
        executor: Executor,
        clock: Callable[[], float],
        *,
        notes: Callable[[], list[str]],
        is_watching: Callable[[], bool],
        unwritten: Callable[[], Collection[str]],
    ) -> None:
        self._place = place
        self._scheduler = scheduler
        self._store = store
        self._executor = executor
        self._clock = clock
        self._notes = notes
        self._is_watching = is_watching
        self._unwritten = unwritten
        self.by_name: dict[str, Query] = {
            "status": self._status,
            "rows": self._rows,
            "why": lambda client, request: view.why(self._scheduler, self._step(request)),
            "history": self._history,
            "now": self._now,
            "graph": lambda client, request: view.links(self._scheduler),
            "jobs": self._jobs,
            "output": self._output,
            "log": self._log,
            "subscribe": self._subscribe,
            "workload": self._workload,
            "nodes": lambda client, request: {"nodes": view.nodes(self._scheduler)},
        }

    def status(self) -> dict[str, Any]:
        """Return ``status`` of SPEC part 8."""
        found = view.status(self._scheduler)
        for row in found["steps"]:
            self.complete(row)
        return {
            "notebook": self._place.notebook,
            "database": self._place.database,
            "director_pid": os.getpid(),
            "watching": self._is_watching(),
            "notes": self._notes(),
            **found,
        }

    def _status(self, client: Client, request: Request) -> dict[str, Any]:
        if request.get("brief"):
            return self._brief()
        found = self.status()
        if request.get("causes"):
            found["causes"] = view.root_causes(self._scheduler)
        return found

    def _brief(self) -> dict[str, Any]:
        """Return of ``status`` what takes no look at every step."""
        scheduler = self._scheduler
        return {
            "database": self._place.database,
            "director_pid": os.getpid(),
            "watching": self._is_watching(),
            "counts": view.counts(scheduler),
            "known": len(scheduler.graph.steps),
            "draining": scheduler.pools.is_draining,
            "phase": scheduler.phase,
        }

    def row(self, step: Step) -> dict[str, Any]:
        """Return the row of a step, with the end of its outputs."""
        return self.complete(view.step_row(self._scheduler, step))

    def complete(self, row: dict[str, Any]) -> dict[str, Any]:
        """Add what only the director knows of a step: the end of its outputs, and where all of it is."""
        job = row["job"]
        if job is None:
            row["stdout_tail"] = row["stderr_tail"] = ""
            row["log"] = None
            return row
        if row["outcome"] is None:
            row["stdout_tail"], row["stderr_tail"] = self._executor.tail(job)
        else:
            # Written down with the outcome: no file has to be opened.
            stdout, stderr = self._store.tails([job]).get(job, (b"", b""))
            row["stdout_tail"], row["stderr_tail"] = (
                decode(stdout, is_final=True),
                decode(stderr, is_final=True),
            )
        row["log"] = self._executor.log_path(job, "stdout")
        if row["name"] in self._unwritten():
            row["notes"] = [*row["notes"], "not written down yet"]
        return row

    def _step(self, request: Request) -> Step:
        return self._scheduler.graph.find(str(request["step"]))

    def _rows(self, client: Client, request: Request) -> dict[str, Any]:
        graph = self._scheduler.graph
        names = request["steps"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("'steps': a list of names is expected")
        if request.get("known"):
            steps = [step for name in names if (step := graph.steps.get(name)) is not None]
        else:
            steps = [graph.find(name) for name in names]
        if request.get("family"):
            steps = [one for step in steps for one in self._scheduler.family(step)]
        return {"rows": [self.row(step) for step in dict.fromkeys(steps)]}

    def _now(self, client: Client, request: Request) -> dict[str, Any]:
        """Return what changes all the time: who is first in each line, memory in use, and the time."""
        return {
            "queues": view.queues(self._scheduler, QUEUE),
            "memory": self._executor.memory(),
            "at": self._clock(),
        }

    def _history(self, client: Client, request: Request) -> dict[str, Any]:
        return {"rows": self._store.history(whole(request, "most") if "most" in request else -1)}

    def _workload(self, client: Client, request: Request) -> dict[str, Any]:
        """Return what a simulation needs to know, and how long one job takes to follow another."""
        gap = handover(self._store.history(HANDOVERS))
        return {**view.workload(self._scheduler, self._store.durations), "handover": gap}

    def _jobs(self, client: Client, request: Request) -> dict[str, Any]:
        """Return the jobs of one step that the history keeps, newest last."""
        return {"rows": [view.job_row(job) for job in self._store.jobs_of(self._step(request).key)]}

    def _output(self, client: Client, request: Request) -> dict[str, Any]:
        """Return what a job wrote after a place, both streams in their order of arrival.

        The place is a number of bytes of each stream; with ``last``, it is set so that no more than so many
        bytes follow. ``lines`` is the number of lines up to the place reached, None where nobody counted.
        """
        job, most = whole(request, "job"), min(whole(request, "most"), OUTPUT)
        out, err = whole(request, "out"), whole(request, "err")
        found = self._executor.output(job, (out, err), most, is_last=request.get("last") is True)
        return {
            "pieces": [[number, piece.decode("latin-1")] for number, piece in found.pieces],
            "out": found.place[0],
            "err": found.place[1],
            "lines": found.lines,
            "more": found.is_more,
            "final": job not in self._scheduler.jobs,
            "path": self._executor.log_path(job, "stdout"),
        }

    def _log(self, client: Client, request: Request) -> dict[str, Any]:
        """Return a piece of the log of one job: of that number, else the last one of a step."""
        if request.get("job") is not None:
            number = whole(request, "job")
        else:
            step = self._step(request)
            job = step.job or step.last
            if job is None:
                return {"job": None, "bytes": "", "next": None, "path": None}
            number = job.id
        stream: Stream = "stderr" if request.get("stream") == "stderr" else "stdout"
        offset = whole(request, "offset")
        piece = self._executor.read_log(number, stream, offset, 1 << 19)
        # Latin-1 carries any bytes through JSON; the client decodes the whole, so that no character is cut.
        return {
            "job": number,
            "bytes": piece.decode("latin-1"),
            "next": offset + len(piece) if piece and offset >= 0 else None,
            "path": self._executor.log_path(number, stream),
        }

    def _subscribe(self, client: Client, request: Request) -> dict[str, Any]:
        client.is_subscribed = True
        return self.status() if request.get("snapshot", True) else {}


def whole(request: Request, name: str) -> int:
    """Return a whole number that a request gives, 0 where it does not; raise ValueError for anything else."""
    value = request.get(name, 0)
    if type(value) is not int or abs(value) > _LARGEST:
        raise ValueError(f"'{name}': a whole number is expected, not {value!r:.40}")
    return value
