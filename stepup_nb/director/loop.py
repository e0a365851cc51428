"""The director's loop: inbox → scheduler → commit → act → tell.

One turn takes all that has arrived, lets the scheduler decide, commits everything that changed in one transaction,
and only then starts, stops, looks and answers. Everything here belongs to one thread.
"""

from __future__ import annotations

import os
import posixpath
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from stepup_nb.core import view
from stepup_nb.core.declare import argv
from stepup_nb.core.environment import is_denied
from stepup_nb.core.errors import InternalError, StepUpError, UsageError
from stepup_nb.core.messages import (
    Clean,
    Command,
    Decision,
    Declare,
    FilesRemoved,
    Hold,
    JobNotStarted,
    LogLine,
    LookAt,
    Release,
    RemoveFiles,
    Report,
    StartJob,
    StopJob,
    StopWaiting,
    Tick,
    Wait,
    command_from_json,
)
from stepup_nb.core.model import Step
from stepup_nb.core.scheduler import Scheduler
from stepup_nb.director.executor import CannotStart, Executor
from stepup_nb.director.reactor import Reactor, Timer
from stepup_nb.director.server import Client, Request, Server
from stepup_nb.director.store import Store, StoreFull

TELL_EVERY = 0.05
"""Seconds between two events to a subscriber."""
TELL_ROWS = 250
"""Rows of steps in one event."""
IDLE_AFTER = 0.5
"""Seconds without work after which the database is put in order."""
RETRY_STORE = 1.0
"""Seconds between two tries to write where there is no space."""


class Looker(Protocol):
    """Whoever finds out what files are, and reports it later."""

    def look(self, instruction: LookAt) -> None:
        """Look at files; the report comes through the loop."""

    def remove(self, instruction: RemoveFiles) -> None:
        """Remove files; the report comes through the loop."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this director works."""

    root: str
    """Absolute folder that relative paths start from."""
    notebook: str | None
    database: str
    state: str
    """Folder of logs and lock."""


@dataclass(slots=True)
class _Asked:
    """Somebody waits for an answer that comes later."""

    client: Client
    request: Request
    steps: list[Step] | None = None
    scope: str = ""


@dataclass(slots=True)
class _News:
    """What subscribers have not been told yet."""

    steps: dict[str, None] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    pools: dict[str, None] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    has_settings: bool = False

    def __bool__(self) -> bool:
        return bool(self.steps or self.gone or self.pools or self.lines or self.has_settings)


Answer = Callable[[], None]


class Director:
    """Owns the scheduler, the database, the processes, and the clients."""

    def __init__(
        self,
        place: Place,
        *,
        reactor: Reactor,
        scheduler: Scheduler,
        store: Store,
        hash_env: Callable[[str, str], str],
        clock: Callable[[], float],
    ) -> None:
        self.place = place
        self.scheduler = scheduler
        self.is_ending = False
        self._reactor = reactor
        self._store = store
        self._hash_env = hash_env
        self._clock = clock
        self._executor: Executor
        self._looker: Looker
        self._server: Server
        self._inbox: list[tuple[Client, Request] | Report | Command] = []
        self._environments: dict[str, dict[str, str]] = {"": {}}
        self._asked: dict[int, _Asked] = {}
        self._tokens = 0
        self._news = _News()
        self._tell_timer: Timer | None = None
        self._tick_timer: Timer | None = None
        self._tick_at: float | None = None
        self._idle_timer: Timer | None = None
        self._unsaved: tuple[Decision, list[Answer]] | None = None
        self._notes: list[str] = list(store.notes)
        self._queries: dict[str, Callable[[Client, Request], dict[str, Any]]] = {
            "status": lambda client, request: self.status(),
            "rows": self._rows,
            "why": lambda client, request: view.why(self.scheduler, self._step(request)),
            "history": lambda client, request: {"rows": self._store.history()},
            "log": self._log,
            "subscribe": self._subscribe,
            "shutdown": self._shutdown,
            "trust": self._trust,
        }

    def connect(self, executor: Executor, looker: Looker, server: Server) -> None:
        """Take over those who report to this director; they were made after it, because they call it."""
        self._executor, self._looker, self._server = executor, looker, server

    # --- what others call ----------------------------------------------------------------------

    def report(self, report: Report) -> None:
        """Take a report; it is handled in this turn of the loop."""
        self._inbox.append(report)

    def on_request(self, client: Client, request: Request) -> None:
        """Take a client's request; it is answered after the commit of this turn."""
        self._inbox.append((client, request))

    def on_gone(self, client: Client) -> None:
        """A client is gone: end its holds and forget its waits."""
        self._inbox += [Release(hold) for hold in client.holds]
        for token in client.waits:
            if self._asked.pop(token, None) is not None:
                self._inbox.append(StopWaiting(token))

    def on_output(self, job: int) -> None:
        """A job wrote something: its step's row has news."""
        live = self.scheduler.jobs.get(job)
        if live is not None and self._server.has_subscribers():
            self._news.steps[live.step] = None
            self._tell_soon()

    def end(self) -> None:
        """Make the current turn the last one."""
        self.is_ending = True

    def run(self) -> None:
        """Turn until somebody ends it."""
        while not self.is_ending:
            self.turn()

    # --- one turn ------------------------------------------------------------------------------

    def turn(self, timeout: float | None = None) -> None:
        """Wait for something to happen, and deal with all of it."""
        self._reactor.turn(timeout)
        # Carrying out may report at once (a command that cannot be started): then there is one more round.
        while self._inbox and self._unsaved is None:
            self._round()
        self._schedule_tick()

    def _round(self) -> None:
        inbox, self._inbox = self._inbox, []
        decision = Decision()
        answers: list[Answer] = []
        now = self._clock()
        for item in inbox:
            if isinstance(item, tuple):
                self._take_request(*item, now, decision, answers)
            else:
                try:
                    self.scheduler.handle(item, now, decision)
                except UsageError as error:
                    self._notes.append(str(error))
        self._finish(decision, answers)

    def _finish(self, decision: Decision, answers: list[Answer]) -> None:
        settings = {"workers": self.scheduler.pools.workers} if decision.settings else None
        try:
            self._store.save(decision, self._tails_to_keep, forgotten=decision.forgotten, settings=settings)
        except StoreFull as full:
            # Nothing may happen that is not written down: keep all of it, and try again.
            self._unsaved = (decision, answers)
            if str(full) not in self._notes:
                self._notes.append(str(full))
            self._reactor.call_after(RETRY_STORE, self._save_again)
            return
        self._act(decision)
        for answer in answers:
            answer()
        self._tell(decision)
        if self._idle_timer is None:
            self._idle_timer = self._reactor.call_after(IDLE_AFTER, self._when_idle)

    def _save_again(self) -> None:
        if self._unsaved is not None:
            (decision, answers), self._unsaved = self._unsaved, None
            self._finish(decision, answers)

    def _schedule_tick(self) -> None:
        due = self.scheduler.next_time()
        if due == self._tick_at:
            return
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._tick_at = due
        self._tick_timer = None
        if due is not None:
            self._tick_timer = self._reactor.call_after(max(0.0, due - self._clock()), self._on_tick)

    def _on_tick(self) -> None:
        self._tick_at = self._tick_timer = None
        self._inbox.append(Tick())

    def _when_idle(self) -> None:
        self._idle_timer = None
        if not self.scheduler.is_idle() or self._inbox:
            self._idle_timer = self._reactor.call_after(IDLE_AFTER, self._when_idle)
            return
        try:
            if self._store.prune():
                self._idle_timer = self._reactor.call_after(0.0, self._when_idle)
            else:
                self._store.checkpoint()
        except StoreFull as full:
            self._notes.append(str(full))

    # --- requests ------------------------------------------------------------------------------

    def _take_request(
        self, client: Client, request: Request, now: float, decision: Decision, answers: list[Answer]
    ) -> None:
        try:
            query = self._queries.get(str(request.get("op")))
            if query is not None:
                answers.append(lambda: self._answer_query(query, client, request))
                return
            command = self._command(client, request)
            if isinstance(command, Wait | Clean):
                self._ask_later(client, request, command)
            try:
                self.scheduler.handle(command, now, decision)
            except UsageError:
                if isinstance(command, Wait | Clean):
                    self._asked.pop(command.token, None)
                raise
            if not isinstance(command, Wait | Clean):
                reply = decision.reply
                answers.append(lambda: client.answer(request, reply))
        except StepUpError as error:
            refusal = error
            answers.append(lambda: client.refuse(request, refusal))
        except Exception as error:
            answers.append(self._refusal(client, request, error))

    def _answer_query(
        self, query: Callable[[Client, Request], dict[str, Any]], client: Client, request: Request
    ) -> None:
        try:
            result = query(client, request)
        except StepUpError as error:
            client.refuse(request, error)
        except Exception as error:
            self._refusal(client, request, error)()
        else:
            client.answer(request, result)

    @staticmethod
    def _refusal(client: Client, request: Request, error: Exception) -> Answer:
        if isinstance(error, ValueError | KeyError | TypeError):
            refusal: StepUpError = UsageError("SNB-204", f"The request is not understood: {error}")
        else:
            refusal = InternalError(repr(error), traceback.format_exc())
        return lambda: client.refuse(request, refusal)

    def _command(self, client: Client, request: Request) -> Command:
        form = {name: value for name, value in request.items() if name not in ("id", "variables")}
        variables = request.get("variables")
        if variables is not None:
            self._intern(form["environment"], variables)
        if form.get("op") in ("Wait", "Clean"):
            self._tokens += 1
            form["token"] = self._tokens
            if form.get("timeout") is not None:
                form["deadline"] = self._clock() + float(form["timeout"])
            form.pop("timeout", None)
        command = command_from_json(form)
        if isinstance(command, Declare):
            return self._with_environment(command)
        if isinstance(command, Hold):
            client.holds.add(command.hold)
        return command

    def _intern(self, name: str, variables: dict[str, str]) -> None:
        if name not in self._environments:
            self._environments[name] = {str(key): str(value) for key, value in variables.items()}

    def _with_environment(self, command: Declare) -> Declare:
        variables = self._environments.get(command.environment)
        if variables is None:
            raise ValueError("an environment that was not sent")
        if not command.spec.env:
            return command
        hashes = tuple(
            (name, self._hash_env(name, variables[name]) if name in variables else None)
            for name in command.spec.env
        )
        return replace(command, env_hashes=hashes)

    def _ask_later(self, client: Client, request: Request, command: Wait | Clean) -> None:
        asked = _Asked(client, request)
        if isinstance(command, Wait):
            asked.scope = command.scope
            if command.steps is not None:
                asked.steps = [self.scheduler.graph.find(name) for name in command.steps]
        self._asked[command.token] = asked
        client.waits.add(command.token)

    def _answer_asked(self, token: int, result: Callable[[_Asked], dict[str, Any]]) -> None:
        asked = self._asked.pop(token, None)
        if asked is not None:
            asked.client.waits.discard(token)
            asked.client.answer(asked.request, result(asked))

    # --- queries -------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return ``status`` of SPEC part 8."""
        found = view.status(self.scheduler)
        for row in found["steps"]:
            self._complete(row)
        return {
            "notebook": self.place.notebook,
            "database": self.place.database,
            "director_pid": os.getpid(),
            "notes": self._notes,
            **found,
        }

    def _complete(self, row: dict[str, Any]) -> dict[str, Any]:
        """Add what only the director knows of a step: the end of its outputs, and where all of it is."""
        row["stdout_tail"], row["stderr_tail"] = self._tail(row["job"])
        row["log"] = self._executor.log_path(row["job"], "stdout") if row["job"] is not None else None
        return row

    def _tail(self, job: int | None) -> tuple[str, str]:
        if job is None:
            return "", ""
        tail = self._executor.tail(job)
        if tail.stdout or tail.stderr or job in self.scheduler.jobs:
            return tail.stdout, tail.stderr
        stdout, stderr = self._store.tails([job]).get(job, (b"", b""))
        return stdout.decode(errors="replace"), stderr.decode(errors="replace")

    def _tails_to_keep(self, job: int) -> tuple[bytes, bytes]:
        tail = self._executor.tail(job)
        return tail.stdout.encode(errors="replace"), tail.stderr.encode(errors="replace")

    def _step(self, request: Request) -> Step:
        return self.scheduler.graph.find(str(request["step"]))

    def _rows(self, client: Client, request: Request) -> dict[str, Any]:
        graph = self.scheduler.graph
        if request.get("known"):
            steps = [step for key in request["steps"] if (step := graph.steps.get(str(key))) is not None]
        else:
            steps = [graph.find(str(key)) for key in request["steps"]]
        return {"rows": [self._complete(view.step_row(self.scheduler, step)) for step in steps]}

    def _log(self, client: Client, request: Request) -> dict[str, Any]:
        step = self._step(request)
        job = step.job or step.last
        if job is None:
            return {"job": None, "text": "", "next": None, "path": None}
        stream = "stderr" if request.get("stream") == "stderr" else "stdout"
        offset = int(request.get("offset", 0))
        piece = self._executor.read_log(job.id, stream, offset, 1 << 19)
        # Latin-1 carries any bytes through JSON; the client decodes the whole, so that no character is cut.
        return {
            "job": job.id,
            "bytes": piece.decode("latin-1"),
            "next": offset + len(piece) if piece else None,
            "path": self._executor.log_path(job.id, stream),
        }

    def _subscribe(self, client: Client, request: Request) -> dict[str, Any]:
        client.is_subscribed = True
        return self.status() if request.get("snapshot", True) else {}

    def _shutdown(self, client: Client, request: Request) -> dict[str, Any]:
        self.end()
        return {}

    def _trust(self, client: Client, request: Request) -> dict[str, Any]:
        believed = self._store.trust()
        for key, record in believed.items():
            step = self.scheduler.graph.steps.get(key)
            if step is not None and step.record is None:
                step.record = record
        return {"steps": list(believed)}

    # --- acting --------------------------------------------------------------------------------

    def _act(self, decision: Decision) -> None:
        for instruction in decision.instructions:
            if isinstance(instruction, StartJob):
                self._start(instruction)
            elif isinstance(instruction, LookAt):
                self._looker.look(instruction)
            elif isinstance(instruction, StopJob):
                self._executor.stop(instruction.job)
            else:
                self._looker.remove(instruction)

    def _start(self, start: StartJob) -> None:
        spec, root = start.spec, self.place.root
        workdir = posixpath.join(root, spec.workdir)
        try:
            for path in (*spec.out, *spec.vol):
                folder = posixpath.dirname(path)
                if folder:
                    os.makedirs(posixpath.join(root, folder), exist_ok=True)
            self._executor.start(start.job.id, argv(spec), workdir, self._environment(start))
        except CannotStart as trouble:
            self.report(JobNotStarted(start.job.id, trouble.words, trouble.is_transient))
        except OSError as error:
            words = f"cannot make the folder of an output: {error.strerror} ('{error.filename}')"
            self.report(JobNotStarted(start.job.id, words, is_transient=False))

    def _environment(self, start: StartJob) -> dict[str, str]:
        spec = start.spec
        given = self._environments.get(start.environment, {})
        # A denied variable passes only where the step asks for it by name.
        environment = {k: v for k, v in given.items() if not is_denied(k) or k in spec.env}
        environment.update(start.variables)
        environment["PYTHONUNBUFFERED"] = "1"
        environment["STEPUP_ROOT"] = self.place.root
        environment["HERE"] = spec.workdir
        environment["ROOT"] = posixpath.relpath(self.place.root, posixpath.join(self.place.root, spec.workdir))
        return environment

    # --- telling -------------------------------------------------------------------------------

    def _tell(self, decision: Decision) -> None:
        for ended in decision.ended:
            self._answer_asked(
                ended.token,
                lambda asked, how=ended.how: self._wait_report(asked, how),  # type: ignore[misc]
            )
        for removed in decision.removed:
            self._answer_asked(removed.token, lambda asked, report=removed: _removed_row(report))  # type: ignore[misc]
        if not self._server.has_subscribers():
            self._news = _News()
            return
        news = self._news
        news.steps.update(dict.fromkeys(decision.steps))
        news.gone.update(dict.fromkeys(decision.forgotten))
        news.pools.update(dict.fromkeys(decision.pools))
        news.lines += [self._line(line) for line in decision.lines]
        news.has_settings = news.has_settings or decision.settings
        self._tell_soon()

    def _wait_report(self, asked: _Asked, how: str) -> dict[str, Any]:
        report = view.wait_report(self.scheduler, asked.steps, asked.scope, how)
        for row in report["failed"]:
            self._complete(row)
        return report

    def _line(self, line: LogLine) -> dict[str, Any]:
        step = self.scheduler.graph.steps.get(line.step)
        counts = self.scheduler.counts
        done = sum(number for state, number in counts.items() if state == "SUCCEEDED")
        return {
            "tag": line.tag,
            "step": line.step,
            "label": step.label if step is not None else line.step,
            "job": line.job,
            "at": self._clock(),
            "done": done,
            "total": sum(number for state, number in counts.items() if state not in ("FAILED", "CANCELLED")),
        }

    def _tell_soon(self) -> None:
        if self._news and self._tell_timer is None:
            self._tell_timer = self._reactor.call_after(TELL_EVERY, self._tell_now)

    def _tell_now(self) -> None:
        self._tell_timer = None
        news = self._news
        keys = list(news.steps)[:TELL_ROWS]
        for key in keys:
            del news.steps[key]
        steps = self.scheduler.graph.steps
        rows = [self._complete(view.step_row(self.scheduler, steps[key])) for key in keys if key in steps]
        self._server.tell(
            {
                "event": "changes",
                "at": self._clock(),
                "steps": rows,
                "gone": list(news.gone),
                "pools": [view.pool_row(self.scheduler, pool) for pool in self.scheduler.pools.defined()],
                "counts": view.counts(self.scheduler),
                "workers": self.scheduler.pools.workers,
                "paused": self.scheduler.pools.is_paused,
                "lines": news.lines,
            }
        )
        self._news = _News(steps=news.steps)
        self._tell_soon()


def _removed_row(report: FilesRemoved) -> dict[str, Any]:
    return {
        "removed": list(report.removed),
        "kept": [{"path": path, "why": words} for path, words in report.kept],
    }


def steady_clock() -> Callable[[], float]:
    """Return a clock that tells seconds since the epoch and never jumps or goes backwards."""
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()
