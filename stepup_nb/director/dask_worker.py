"""The part of the Dask executor that lives in Dask's workers: a plugin, and the task that each job is.

The plugin keeps one `station` for each worker. Nothing here decides anything: a task hands its order to the station,
tells the director's topic what comes back, and returns when the job has ended.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from stepup_nb.core.frames import ANSWER_LIMIT, Frames, frame

Message = dict[str, Any]


def topic_of(run: str) -> str:
    """Return the topic on which a director hears of its jobs."""
    return f"stepup-{run}"


def key_of(run: str, job: int) -> str:
    """Return the key of the task that is a job."""
    return f"stepup-{run}-{job}"


def run_job(order: Message) -> Message:
    """Run a job to its end; the task of Dask. Return the last message about it."""
    plugin = get_worker().plugins[topic_of(order["run"])]
    assert isinstance(plugin, StationPlugin)
    return plugin.run(order)


def read_probe(path: str) -> str:
    """Return what is in a file of the project, as a worker sees it."""
    with open(path, encoding="ascii") as file:
        return file.read()


def talk(run: str, call: int, data: str, dask_worker: Any = None) -> None:
    """Hand on what the director says to a job of this worker."""
    plugin = dask_worker.plugins[topic_of(run)]
    assert isinstance(plugin, StationPlugin)
    plugin.talk(call, data)


class StationPlugin(WorkerPlugin):
    """Keeps the station of a worker, as long as the worker and the director's session live.

    Parameters
    ----------
    run
        The director's run; names plugin, topic and keys.
    claims
        Folder in which each job that is started is claimed by a file, by whoever is first.
    station
        The station's parameters.
    """

    def __init__(self, run: str, claims: str, station: Message) -> None:
        self.name = topic_of(run)
        self._run = run
        self._claims = claims
        self._given = station

    def setup(self, worker: Worker) -> None:
        """Begin to serve a worker; the station itself starts with the first job."""
        self._worker = worker
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, queue.SimpleQueue[Message]] = {}

    def teardown(self, worker: Worker) -> None:
        """End the station, and with it all that it runs: the worker goes, or the session has ended."""
        self._end()

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Stop a job whose task nobody wants any more: it was cancelled, or the director is gone."""
        prefix = f"{self.name}-"
        if start == "executing" and finish not in ("memory", "error") and str(key).startswith(prefix):
            self.stop(int(str(key).removeprefix(prefix)))

    # --- jobs --------------------------------------------------------------------------------------

    def run(self, order: Message) -> Message:
        """Run a job to its end in the calling thread, which waits; return the last message."""
        job = order["job"]
        if not self._claim(job):
            # Another worker had it, and is lost; or it was cancelled before it got here.
            return self._tell({"job": job, "is": "claimed"})
        heard = self._waiting[job] = queue.SimpleQueue()
        try:
            self._send({"op": "start", **{name: order[name] for name in ("job", "argv", "cwd", "env")}})
            while True:
                message = self._tell({**heard.get(), "worker": self._worker.address})
                if message["is"] in ("ended", "refused", "lost"):
                    return message
        except OSError as error:
            return self._tell({"job": job, "is": "lost", "words": f"its station cannot be started: {error}"})
        finally:
            self._waiting.pop(job, None)

    def stop(self, job: int) -> None:
        """End a job's whole tree; one that is not here is ignored."""
        if job in self._waiting:
            self._send({"op": "stop", "job": job})

    def talk(self, call: int, data: str) -> None:
        """Hand on what the director says to a job."""
        self._send({"op": "talk", "call": call, "data": data})

    def _claim(self, job: int) -> bool:
        try:
            os.makedirs(self._claims, mode=0o700, exist_ok=True)
            fd = os.open(
                os.path.join(self._claims, str(job)),
                os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC,
                0o600,
            )
        except FileExistsError:
            return False
        os.close(fd)
        return True

    def _tell(self, message: Message) -> Message:
        self._worker.log_event(self.name, message)
        return message

    # --- the station -------------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        with self._lock:
            if self._line is None:
                self._begin()
            assert self._line is not None
            self._line.sendall(frame(message, ANSWER_LIMIT))

    def _begin(self) -> None:
        """Start the station below a guard, which watches this process."""
        here, there = socket.socketpair()
        script = Path(__file__).with_name("guard.py")
        given = {
            "path": [path for path in sys.path if os.path.isabs(path)],
            "module": "station",
            "arguments": {**self._given, "line": there.fileno()},
        }
        with there:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", os.fspath(script), str(os.getpid()), json.dumps(given)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                start_new_session=True,
                cwd="/",
            )
        self._line = here
        threading.Thread(target=self._listen, args=(here,), name="stepup-station", daemon=True).start()

    def _listen(self, line: socket.socket) -> None:
        frames = Frames(ANSWER_LIMIT)
        try:
            while data := line.recv(1 << 16):
                for message in frames.feed(data):
                    if message["is"] == "talk":
                        self._tell({**message, "worker": self._worker.address})
                    elif (heard := self._waiting.get(message["job"])) is not None:
                        heard.put(message)
        except (OSError, ValueError):
            pass
        with self._lock:
            if self._line is line:
                self._line = None
        line.close()
        for job, heard in list(self._waiting.items()):
            heard.put({"job": job, "is": "lost", "words": "the processes beside its worker were killed"})

    def _end(self) -> None:
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            # The station ends when nobody is at this end any more, and its guard with it.
            line.shutdown(socket.SHUT_RDWR)
        if self._guard is not None:
            self._guard.wait()
