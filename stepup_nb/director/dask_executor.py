"""Runs jobs on a Dask cluster. Dask decides where; which and when was decided before a job comes here.

Each job is one task, which hands it to a station beside its worker (`dask_worker`). What becomes of it is told on a
topic of the cluster's events. Dask's client lives in threads of its own, which report through the reactor: nothing
here ever waits for the cluster. Imported, and Dask with it, only when somebody asks for a cluster.

A job is *claimed* in a folder of the project by whoever is first: the worker that starts it, or this executor when it
takes it back. So it starts once at most, whatever Dask does with its task when a worker is lost.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Future

from stepup_nb.core.messages import Capacity, JobBegan, JobEnded, JobLost, JobNotStarted
from stepup_nb.director.dask_worker import StationPlugin, key_of, read_probe, run_job, talk, topic_of
from stepup_nb.director.executor import Executor, Found, Stream, Tail
from stepup_nb.director.output import LogFolder, Sums, decode, log_name, stored
from stepup_nb.director.reactor import Reactor

Message = dict[str, Any]
Cluster = dict[str, int]
"""Threads of each worker, by its address."""

_ENDED = 128
"""Ended jobs whose tails are kept in memory."""
_LOOK_EVERY = 1.0
"""Seconds between two looks whether the cluster is there, while nothing happens."""
_WANTED = 32
"""So many workers more than there are a cluster is asked for at most, at one time."""
_NOWHERE = {"stepup_nb that never comes": 1}
"""What the tasks need that only show that steps wait. Could they run, they would be over at once, and the cluster
take the new worker away again before a step has come to it."""
_PROBE = "probe"


@dataclass(slots=True)
class _Job:
    """A job that was handed over and has not ended."""

    id: int
    place: str | None = None
    """The machine that it has to run on."""
    worker: str = ""
    """Address of the worker that has started it."""
    is_stopping: bool = False
    totals: tuple[int, int] = (0, 0)
    lines: int = 0
    tails: tuple[str, str] = ("", "")
    future: Future[Message] | None = field(default=None, repr=False)


class DaskExecutor(Executor):
    """The `Executor` of a cluster.

    Parameters
    ----------
    reactor
        The loop, whose thread every call belongs to.
    report
        Gets `JobBegan`, then one of `JobEnded`, `JobNotStarted` and `JobLost`, for each job.
    client
        A client of the cluster, connected.
    own
        The process that is the cluster, where it is there for this executor alone.
    logs
        Where output is kept; its folder must be the same for the workers.
    claims
        A folder for this executor alone, which the workers see under the same path; it is removed in the end.
    marker
        The run; see `processes.run_marker`.
    clock
        Seconds since the epoch.
    on_output
        Called with the job whenever some of its output arrived.
    on_capacity
        Told how many jobs the cluster has room for, and each of its machines, whenever that changes.
    on_note
        Called with a sentence for the user.
    grace
        Seconds between SIGTERM and SIGKILL, for good.
    door
        The director's socket, where jobs talk back to it.
    waiting
        Returns how many steps wait for room.
    is_far
        See `Station`.
    """

    def __init__(
        self,
        reactor: Reactor,
        report: Callable[[JobBegan | JobEnded | JobNotStarted | JobLost], None],
        *,
        client: Client,
        own: subprocess.Popen[bytes] | None = None,
        logs: LogFolder,
        claims: str,
        marker: str,
        clock: Callable[[], float],
        on_output: Callable[[int], None],
        on_capacity: Callable[[Capacity], None],
        on_note: Callable[[str], None],
        grace: float,
        door: str,
        waiting: Callable[[], int],
        is_far: bool = False,
    ) -> None:
        self.address = client.scheduler_info(n_workers=0)["address"]
        self.dashboard = str(client.dashboard_link or "")
        self._reactor = reactor
        self._report = report
        self._client = client
        self._own = own
        self._logs = logs
        self._claims = claims
        self._run = marker
        self._clock = clock
        self._on_output = on_output
        self._on_capacity = on_capacity
        self._on_note = on_note
        self.blind: dict[str, str] = {}
        """Workers that do not see the project, and why; they get no jobs."""
        self._door = door
        self._waiting = waiting
        self._is_wanting = False
        self._calls: dict[tuple[str, int], socket.socket] = {}
        """What jobs elsewhere say to the director, by their worker and its number of the call; the thread's own."""
        self._probe = secrets.token_hex(8)
        self._known: set[str] = set()
        """Workers that were asked whether they see it; only the thread's own."""
        self._jobs: dict[int, _Job] = {}
        self._sums: dict[int, Sums] = {}
        self._workers: Cluster = {}
        self._wanted: Sequence[Future[int]] = ()
        """Tasks that no worker can run; only the thread's own."""
        self._is_gone = False
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._unsent: queue.SimpleQueue[tuple[Message, str | None]] = queue.SimpleQueue()
        """Jobs to be handed over, and where they have to run."""
        os.makedirs(claims, mode=0o700, exist_ok=True)
        with open(os.path.join(claims, _PROBE), "w", encoding="ascii") as file:
            file.write(self._probe)
        station = {"logs": logs.path, "cap": logs.cap, "grace": grace, "marker": marker, "is_far": is_far}
        client.register_plugin(StationPlugin(marker, claims, station))
        client.subscribe_topic(topic_of(marker), self._on_event)
        client.subscribe_topic("all", self._on_event_of_all)
        self._count()
        self._thread = threading.Thread(target=self._work, name="stepup-dask", daemon=True)
        self._thread.start()

    # --- the thread that talks to the cluster --------------------------------------------------------

    def _work(self) -> None:
        look_at = time.monotonic()
        while True:
            try:
                order = self._orders.get(timeout=max(0.0, look_at - time.monotonic()))
            except queue.Empty:
                order, look_at = self._look, time.monotonic() + _LOOK_EVERY
            if order is None:
                return
            try:
                order()
            except Exception as error:
                self._reactor.post(partial(self._lose_all, f"the cluster does not answer ({error})"))

    def _look(self) -> None:
        """Is the cluster still there?"""
        if self._client.status != "running":
            self._reactor.post(self._vanish)
        else:
            self._reactor.post(self._want)

    def _ask_for(self, number: int) -> None:
        """Let the cluster know that more could run at once: one that adapts grows when tasks wait."""
        if number != len(self._wanted) or any(future.done() for future in self._wanted):
            self._wanted = self._client.map(
                int, range(number), key="step-that-waits", pure=False, resources=_NOWHERE
            )

    def _submit(self) -> None:
        """Hand over all jobs that have come up to now, in one message for each place."""
        todo: dict[str | None, list[Message]] = {}
        with contextlib.suppress(queue.Empty):
            while True:
                order, place = self._unsent.get_nowait()
                todo.setdefault(place, []).append(order)
        for place, orders in todo.items():
            self._submit_to(place, orders)

    def _submit_to(self, place: str | None, orders: list[Message]) -> None:
        workers = sorted(self._known - self.blind.keys())
        if place is not None:
            if not workers:
                self._ask_for(1)
            workers = [worker for worker in workers if _machine_of(worker) == place]
            if not workers:
                for order in orders:
                    self._reactor.post(partial(self._miss, order["job"]))
                return
            if ":" not in place and not any(_machine_of(worker) == place for worker in self.blind):
                # Also a worker that takes the place of one that dies meanwhile.
                workers = [place]
        futures = self._client.map(
            run_job,
            orders,
            key=[key_of(self._run, order["job"]) for order in orders],
            pure=False,
            retries=0,
            workers=workers if place is not None or self.blind else None,
        )
        for order, future in zip(orders, futures, strict=True):
            job = order["job"]
            future.add_done_callback(
                lambda done, job=job: self._reactor.post(partial(self._on_done, job, done.status))
            )
            self._reactor.post(partial(self._keep, job, future))

    def _take_back(self, job: int) -> None:
        """Stop a job: it never starts if it has not, else its station ends it."""
        path = os.path.join(self._claims, str(job))
        try:
            os.makedirs(self._claims, mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            # Somebody has started it: cancelling its task tells that worker's station.
            self._client.cancel([Future(key_of(self._run, job), self._client)], force=True)
        else:
            self._reactor.post(partial(self._miss, job))

    def _ask_again(self, future: Future[Message]) -> None:
        """Fetch what the topic should have told."""
        self._reactor.post(partial(self._take, future.result()))

    def _count(self) -> None:
        info = self._client.scheduler_info(n_workers=-1)["workers"]
        self._known &= info.keys()
        if new := info.keys() - self._known:
            seen = self._client.run(
                read_probe, os.path.join(self._claims, _PROBE), workers=sorted(new), on_error="return"
            )
            self._known |= new
            blind = {worker: f"{found!r:.200}" for worker, found in seen.items() if found != self._probe}
            self.blind.update(blind)
            for worker, why in blind.items():
                words = f"worker {worker} gets no steps, because it does not see this project ({why})"
                self._reactor.post(partial(self._on_note, words))
        workers = {a: w["nthreads"] for a, w in info.items() if a not in self.blind}
        self._reactor.post(partial(self._take_workers, workers))

    def _talk(self, call: tuple[str, int], data: str) -> None:
        """Say to the director what a job elsewhere says to it."""
        line = self._calls.get(call)
        if line is None:
            if not data:
                return
            line = self._calls[call] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with contextlib.suppress(OSError):
                line.connect(self._door)
            threading.Thread(target=self._listen, args=(call, line), name="stepup-call", daemon=True).start()
        with contextlib.suppress(OSError):
            if data:
                line.sendall(data.encode("latin-1"))
            else:
                line.shutdown(socket.SHUT_RDWR)

    def _listen(self, call: tuple[str, int], line: socket.socket) -> None:
        """Tell a job elsewhere what the director answers."""
        data = b"begins"
        while data:
            try:
                data = line.recv(1 << 16)
            except OSError:
                data = b""
            self._orders.put(partial(self._answer, call, data))

    def _answer(self, call: tuple[str, int], data: bytes) -> None:
        if not data:
            self._calls.pop(call).close()
        worker, number = call
        words = data.decode("latin-1")
        self._client.run(talk, self._run, number, words, workers=[worker], on_error="ignore")

    # --- Dask's threads ------------------------------------------------------------------------------

    def _on_event(self, event: tuple[float, Message]) -> None:
        message = event[1]
        if message["is"] == "talk":
            self._orders.put(partial(self._talk, (message["worker"], message["call"]), message["data"]))
        else:
            self._reactor.post(partial(self._take, message))

    def _on_event_of_all(self, event: tuple[float, Message]) -> None:
        message = event[1]
        if message.get("action") == "remove-worker":
            self._reactor.post(partial(self._remove, str(message.get("worker"))))
        if message.get("action") in ("add-worker", "remove-worker"):
            self._orders.put(self._count)

    # --- reports, in the loop ------------------------------------------------------------------------

    def _want(self) -> None:
        """Ask for room for the steps that wait, or no longer."""
        is_full = len(self._jobs) >= sum(self._workers.values())
        number = min(self._waiting(), _WANTED) if is_full else 0
        if number or self._is_wanting:
            self._is_wanting = bool(number)
            self._orders.put(partial(self._ask_for, number))

    def _keep(self, number: int, future: Future[Message]) -> None:
        job = self._jobs.get(number)
        if job is not None:
            job.future = future

    def _remove(self, worker: str) -> None:
        self._take_workers({address: n for address, n in self._workers.items() if address != worker})

    def _take_workers(self, workers: Cluster) -> None:
        if workers != self._workers:
            gone = self._workers.keys() - workers.keys()
            self._workers = workers
            machines: dict[str, int] = {}
            for address, threads in workers.items():
                machine = _machine_of(address)
                machines[machine] = machines.get(machine, 0) + threads
            for job in self._jobs.values():
                if job.place is not None and job.place not in machines and not job.worker:
                    self._orders.put(partial(self._take_back, job.id))
            # An adaptive cluster grows when it is asked for something.
            number = max(1, sum(workers.values()))
            # First where steps can run now, then which are to run again.
            self._on_capacity(Capacity(number, tuple(sorted(machines.items()))))
            for address in gone:
                self._lose(address)

    def _take(self, message: Message) -> None:
        job = self._jobs.get(message["job"])
        if job is None:
            return
        what = message["is"]
        if what == "started":
            job.worker = message["worker"]
            self._report(JobBegan(job.id, message["at"], job.worker))
        elif what == "output":
            self._take_output(job, message)
        elif what == "ended":
            self._take_output(job, message)
            self._drop(job)
            self._report(
                JobEnded(
                    job.id,
                    message["returncode"],
                    message["ended"],
                    message["peak_rss"],
                    message["cpu"],
                    tuple(message["leftovers"]),
                    tuple(message["notes"]),
                )
            )
        elif what == "refused":
            self._drop(job)
            self._report(JobNotStarted(job.id, message["words"], message["is_transient"], message["is_full"]))
        elif what == "lost":
            self._drop(job)
            self._report(JobLost(job.id, message["words"]))
        elif job.worker:
            # Dask gave its task to another worker, so the one that had claimed it is gone.
            self._lose(job.worker)
        elif not job.is_stopping:
            self._drop(job)
            self._report(JobLost(job.id, "its worker was lost"))

    def _take_output(self, job: _Job, message: Message) -> None:
        totals = (message["totals"][0], message["totals"][1])
        has_news, job.totals = totals != job.totals, totals
        job.lines, job.tails = message["lines"], (message["tails"][0], message["tails"][1])
        if has_news:
            self._on_output(job.id)

    def _on_done(self, number: int, status: str) -> None:
        """A task is over. What became of the job was told before, unless the cluster failed."""
        job = self._jobs.get(number)
        if job is None:
            return
        if self._client.status != "running":
            # Handed over again to a cluster that is gone, its step would be lost until it counts as failed.
            self._vanish()
            return
        if status == "cancelled" and job.is_stopping:
            # The station tells when its tree is dead.
            return
        if status == "finished" and job.future is not None:
            self._orders.put(partial(self._ask_again, job.future))
            return
        self._drop(job)
        where = f"worker {job.worker} was lost" if job.worker else "the cluster lost it"
        self._report(JobLost(job.id, where))

    def _lose(self, worker: str) -> None:
        """A worker is gone, and with it, by its guard, all that it ran."""
        for job in [job for job in self._jobs.values() if job.worker == worker]:
            self._drop(job)
            if job.is_stopping:
                self._report(JobEnded(job.id, -9, self._clock(), notes=(f"worker {worker} was lost",)))
            else:
                self._report(JobLost(job.id, f"worker {worker} was lost"))

    def _lose_all(self, words: str) -> None:
        for job in list(self._jobs.values()):
            self._drop(job)
            self._report(JobLost(job.id, words))

    def _vanish(self) -> None:
        """The cluster itself is gone; what it ran dies with its workers."""
        if not self._is_gone:
            self._is_gone = True
            self._on_capacity(Capacity(0))
            self._lose_all("the cluster was lost")
            self._on_note(f"The cluster at {self.address} is gone; '%stepup executor local' goes on here.")

    def _miss(self, number: int) -> None:
        """A job was taken back before it had started."""
        job = self._jobs.get(number)
        if job is None:
            return
        self._drop(job)
        if job.is_stopping:
            self._report(JobEnded(job.id, -15, self._clock()))
        else:
            words = f"machine {job.place or 'of the notebook'} is not in the cluster (any more)"
            self._report(JobNotStarted(job.id, words, is_transient=True))

    def _drop(self, job: _Job) -> None:
        del self._jobs[job.id]
        self._sums[job.id] = Sums(job.totals, job.lines)
        if len(self._sums) > _ENDED:
            del self._sums[next(iter(self._sums))]
        # The claim stays: until Dask has forgotten the task it may yet give it to another worker.
        future, job.future = job.future, None
        if future is not None:
            # Letting go of it may talk to Dask's loop.
            self._orders.put(future.release)

    # --- the executor ----------------------------------------------------------------------------------

    @property
    def threads(self) -> int | None:
        """Threads of the workers that see the project; None when the cluster is gone."""
        return None if self._is_gone else sum(self._workers.values())

    def leave(self) -> None:
        """Take no more jobs; see `Cluster.leave`."""
        # Its last steps may run for long: how large it is then is no limit for those that run elsewhere.
        self._on_capacity = lambda capacity: None
        self._on_note = lambda words: None
        self._waiting = lambda: 0

    @property
    def jobs(self) -> Collection[int]:
        """Jobs that were handed over and have not ended."""
        return self._jobs.keys()

    def start(
        self, job: int, argv: Sequence[str], cwd: str, env: Mapping[str, str], place: str | None = None
    ) -> None:
        """Hand a job over; see `Executor.start`. Whether it could be started is told later."""
        self._jobs[job] = _Job(job, place)
        order = {"run": self._run, "job": job, "argv": list(argv), "cwd": cwd, "env": dict(env)}
        self._unsent.put((order, place))
        self._orders.put(self._submit)

    def stop(self, job: int) -> None:
        """End a job's whole tree, on whatever machine; see `Executor.stop`."""
        found = self._jobs.get(job)
        if found is not None and not found.is_stopping:
            found.is_stopping = True
            self._orders.put(partial(self._take_back, job))

    def kill_all(self) -> None:
        """Let the cluster end everything: without this client nobody wants its tasks any more."""
        self._report = lambda report: None
        self._jobs.clear()

    def close(self) -> None:
        """Leave the cluster; see `Executor.close`."""
        self.kill_all()
        self._orders.put(None)
        # Dask's scheduler goes on telling a client that has left, and complains that it cannot.
        for topic in ("all", topic_of(self._run)):
            with contextlib.suppress(Exception):
                self._client.unsubscribe_topic(topic)
        with contextlib.suppress(Exception):
            self._client.unregister_worker_plugin(topic_of(self._run))
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)
        if self._own is not None:
            self._own.kill()
            self._own.wait()
        shutil.rmtree(self._claims, ignore_errors=True)

    # --- output ------------------------------------------------------------------------------------------

    def tail(self, job: int) -> Tail:
        """Return the end of what a job wrote; see `Executor.tail`."""
        live = self._jobs.get(job)
        if live is not None:
            return Tail(*live.tails)
        names = (log_name(job, "stdout"), log_name(job, "stderr"))
        return Tail(*(decode(self._logs.read(name, -8192, 8192), True) for name in names))

    def read_log(self, job: int, stream: Stream, offset: int, limit: int) -> bytes:
        """Return a piece of a log; see `Executor.read_log`."""
        return self._logs.read(log_name(job, stream), offset, limit)

    def output(self, job: int, place: tuple[int, int], most: int, *, is_last: bool) -> Found:
        """Return what a job wrote after a place; see `Executor.output`."""
        return stored(self._logs, job, place, most, is_last=is_last, sums=self._sums.get(job))

    def memory(self) -> int:
        """Return nothing: the memory of other machines is not ours."""
        return 0

    def log_path(self, job: int, stream: Stream) -> str:
        """Return where a log is; see `Executor.log_path`."""
        return os.path.join(self._logs.path, log_name(job, stream))

    def forget(self, jobs: Iterable[int]) -> None:
        """Remove the logs of ended jobs; see `Executor.forget`."""
        self._logs.remove(jobs)


def _machine_of(worker: str) -> str:
    """Return the name of a worker's machine: its host."""
    return urlsplit(worker).hostname or worker
