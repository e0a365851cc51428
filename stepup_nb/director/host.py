"""Puts a director together: as a process of its own below the guard, or in a thread, for tests."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from stepup_nb.core.errors import InternalError, StepUpError
from stepup_nb.core.messages import LookAt, RemoveFiles
from stepup_nb.core.scheduler import Scheduler
from stepup_nb.core.words import counted
from stepup_nb.director import clusters, faults, owner, processes
from stepup_nb.director.executors import Executors
from stepup_nb.director.hashing import Hasher, hash_env
from stepup_nb.director.limits import limits_from
from stepup_nb.director.local import LocalExecutor
from stepup_nb.director.loop import Director
from stepup_nb.director.output import LogFolder
from stepup_nb.director.reactor import Reactor, steady_clock
from stepup_nb.director.remove import remove_files
from stepup_nb.director.server import Server
from stepup_nb.director.starting import RUNNER, Door, Place
from stepup_nb.director.store import Store, key


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a director is started with."""

    kernel: int
    """Process number of the kernel it lives with."""
    root: str
    notebook: str | None
    database: str
    state: str
    folder: str
    """A folder of this user's alone, for the socket."""
    token: str
    workers: int
    guard: int | None = None
    """Process number of the guard; None in a thread."""


class _Looker:
    """Looks and removes through the hashing threads."""

    def __init__(self, hasher: Hasher, root: str) -> None:
        self._hasher = hasher
        self._root = root

    def look(self, instruction: LookAt) -> None:
        self._hasher.look_at(instruction)

    def remove(self, instruction: RemoveFiles) -> None:
        self._hasher.run(partial(remove_files, instruction, self._root))


def serve(arguments: Arguments, say: Callable[[dict[str, Any]], None]) -> None:
    """Be the director, until the owner or the end of the guard ends it.

    Parameters
    ----------
    arguments
        Where and for whom.
    say
        Gets one message: ``socket`` and ``notes`` when clients can come.

    Raises
    ------
    StepUpError
        The director cannot start: another one owns the database, or the database cannot be used.
    """
    lock = owner.acquire(
        owner.lock_path(arguments.database),
        notebook=arguments.notebook or arguments.root,
        kernel_pid=arguments.kernel,
    )
    faults.reach("locked")
    try:
        _serve(arguments, lock, say)
    finally:
        lock.release()


def _serve(arguments: Arguments, lock: owner.Lock, say: Callable[[dict[str, Any]], None]) -> None:
    with ExitStack() as ends:
        reactor = Reactor()
        ends.callback(reactor.close)
        limits = limits_from(os.environ)
        store = Store.open(arguments.database)
        store.kept_jobs = limits.history
        ends.callback(store.close)
        loaded = store.load()
        marker = processes.run_marker(str(loaded.settings["marker"]))
        # Nothing of an earlier run may be alive when the first job of this one starts.
        swept = processes.sweep(marker)
        notes = [*store.notes, *([lock.note] if lock.note else [])]
        if swept:
            notes.append(f"stopped what an earlier session had left running: {', '.join(swept)}")
        if loaded.interrupted:
            notes.append(
                f"{counted(len(loaded.interrupted), 'step')} ran when the last session ended: stopped then, "
                "and to run again when declared again"
            )
        if loaded.strangers:
            notes.append(
                f"the results of {counted(len(loaded.strangers), 'step')} were recorded elsewhere: they are "
                "not believed before '%stepup trust'"
            )
        clock = steady_clock()
        director = Director(
            Place(arguments.root, arguments.notebook, arguments.database, arguments.state),
            reactor=reactor,
            scheduler=Scheduler(arguments.workers, loaded.restored),
            store=store,
            hash_env=partial(hash_env, key()),
            clock=clock,
            notes=notes,
            door=Door(os.path.join(arguments.folder, "socket"), arguments.token, sys.executable),
        )
        hasher = Hasher(reactor, director.report, arguments.root, threads=limits.hash_threads)
        logs = LogFolder(os.path.join(arguments.state, "logs"), limits.log_cap)
        if not store.is_in_memory:
            logs.remove_from(loaded.restored.next_job)
        local = LocalExecutor(
            reactor,
            director.report,
            logs=logs,
            marker=marker,
            clock=clock,
            on_output=director.on_output,
            grace=limits.grace,
            owns_process=arguments.guard is not None,
            python=(sys.executable, RUNNER),
            is_warm=bool(limits.warm),
        )

        home = clusters.Home(
            reactor,
            director.report,
            logs,
            arguments.state,
            marker,
            clock,
            director.on_output,
            director.report,
            director.note,
            lambda: director.scheduler.pools.workers,
            limits.grace,
            os.path.join(arguments.folder, "socket"),
            lambda: director.scheduler.pools.length,
        )
        executor = Executors(
            reactor,
            local,
            partial(clusters.join, home),
            director.report,
        )
        ends.callback(executor.close)
        ends.callback(hasher.close)
        path = os.path.join(arguments.folder, "socket")
        server = Server(
            reactor,
            path,
            arguments.token,
            director.on_request,
            director.on_gone,
            director.on_behind,
            {"director_pid": os.getpid(), "notebook": arguments.notebook, "root": arguments.root},
        )
        ends.callback(server.close)
        # Whatever happens: no process of any step outlives its director (R3).
        ends.callback(executor.kill_all)
        director.connect(executor, _Looker(hasher, arguments.root), server)
        if arguments.guard is not None:
            processes.watch_parent(reactor, director.end, arguments.guard)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                reactor.on_signal(number, director.end)
        lock.tell(socket=path, token=arguments.token)
        say({"socket": path, "notes": notes})
        director.run()


def main(given: dict[str, Any]) -> int:
    """Run as the process that the guard forked; return the exit status.

    The token comes as a line through stdin, the answer goes as one line of JSON to stdout: ``socket`` and
    ``notes``, or ``error``. After that, stderr is a file in the state folder.
    """
    token = sys.stdin.readline().strip()

    def say(words: dict[str, Any]) -> None:
        os.write(1, json.dumps(words).encode() + b"\n")
        _leave_streams(given["state"])

    try:
        faults.arm(os.environ.get(faults.VARIABLE, ""))
        serve(Arguments(token=token, **given), say)
    except StepUpError as error:
        _say_error(error)
        return 1
    except Exception as error:
        # Before the first message the client reads this, later the log does.
        traceback.print_exc()
        _say_error(InternalError(f"The director failed: {error!r}", traceback.format_exc()))
        return 1
    return 0


def _say_error(error: StepUpError) -> None:
    try:
        os.write(1, json.dumps({"error": error.to_json()}).encode() + b"\n")
    except OSError:
        pass


def _leave_streams(state: str) -> None:
    """Let go of the kernel's pipes, so that nobody waits for their end; what we may say goes into a log."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(null, 1)
    log = null
    try:
        os.makedirs(state, mode=0o700, exist_ok=True)
        # What the last one said of its end stays for a while.
        path = os.path.join(state, "director.log")
        if os.path.lexists(path) and os.lstat(path).st_size:
            os.replace(path, path + ".1")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        log = os.open(path, flags, 0o600)
    except OSError:
        pass
    os.dup2(log, 2)
    if log != null:
        os.close(log)
    os.close(null)


class ThreadHost:
    """A director in a thread of this process, without the promises about a killed kernel. For tests."""

    def __init__(self, arguments: Arguments) -> None:
        self._said: dict[str, Any] = {}
        self._error: BaseException | None = None
        self._is_ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(arguments,), name="stepup-director", daemon=True
        )
        self._thread.start()
        self._is_ready.wait()
        if self._error is not None:
            raise self._error

    @property
    def socket(self) -> str:
        """Where it listens."""
        return str(self._said["socket"])

    @property
    def notes(self) -> list[str]:
        """What it said when it started."""
        return list(self._said["notes"])

    def join(self) -> None:
        """Wait for its end, after a ``shutdown``; raise what ended it, if that was a mistake of ours."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self, arguments: Arguments) -> None:
        def say(words: dict[str, Any]) -> None:
            self._said = words
            self._is_ready.set()

        try:
            serve(arguments, say)
        except BaseException as error:
            self._error = error
        finally:
            self._is_ready.set()
