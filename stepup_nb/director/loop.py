"""The director's loop: inbox → scheduler → commit → act → tell.

One turn takes all that has arrived, lets the scheduler decide, commits everything that changed in one
transaction, and only then starts, stops, looks and answers. Everything here belongs to one thread.
"""

from __future__ import annotations

import os
import posixpath
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from stepup_nb.core import view
from stepup_nb.core.amending import over
from stepup_nb.core.errors import InternalError, StepUpError, UsageError
from stepup_nb.core.messages import (
    Amend,
    Clean,
    Command,
    Decision,
    Declare,
    DeclareGlob,
    Hold,
    JobNotStarted,
    LogLine,
    LookAgain,
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
from stepup_nb.core.model import CANCELLED, FAILED, SUCCEEDED, Job, Step
from stepup_nb.core.moving import WATCH
from stepup_nb.core.scheduler import Scheduler
from stepup_nb.director import starting
from stepup_nb.director.environments import Environments
from stepup_nb.director.executor import CannotStart, Executor, Stream
from stepup_nb.director.output import decode
from stepup_nb.director.reactor import Reactor, Timer
from stepup_nb.director.server import Client, Request, Server
from stepup_nb.director.starting import Door
from stepup_nb.director.store import Store, StoreFull
from stepup_nb.director.watching import Watching

TELL_EVERY = 0.05
"""Seconds between two events to a subscriber."""
TELL_ROWS = 250
"""Rows of steps in one event."""
TELL_BYTES = 1 << 20
"""Characters of commands and outputs in one event, beyond which the other rows wait for the next one."""
QUEUE = 50
"""Waiting steps of one pool that are named."""
OUTPUT = 1 << 19
"""Bytes of output in one answer."""
LINES_KEPT = 5000
"""Log lines that are kept for clients that come late or cannot keep up."""
LINES = 200
"""Log lines in one answer or event."""
LINE_WORDS = 2000
"""Characters of a command or a reason in a log line."""
IDLE_AFTER = 0.5
"""Seconds without work after which the database is put in order."""
RETRY_STORE = 1.0
"""Seconds between two tries to write where there is no space."""
_LARGEST = 2**62


class Looker(Protocol):
    """Whoever finds out what files are, and reports it later."""

    def look(self, instruction: LookAt) -> None:
        """Look at files; the report comes through the loop."""

    def remove(self, instruction: RemoveFiles) -> None:
        """Remove files; the report comes through the loop."""


OF_JOBS = frozenset({"Declare", "DeclareStatic", "DeclareGlob", "DefinePool", "Amend", "Hold", "Release"})
"""What a running step may ask for: it declares for itself, and amends itself."""

LATER = (Wait, Clean, Amend, DeclareGlob, LookAgain)
"""What is answered when something has come to its end."""


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
    jobs: dict[int, Job] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    has_settings: bool = False

    def __bool__(self) -> bool:
        return bool(self.steps or self.gone or self.pools or self.jobs or self.lines or self.has_settings)


class _Answers:
    """What a turn has to answer, in the order of the requests."""

    def __init__(self) -> None:
        self._answers: list[tuple[Callable[[], None], bool]] = []

    def add(self, answer: Callable[[], None], *, is_query: bool = False) -> None:
        """Have something answered after the commit; a question also if that fails."""
        self._answers.append((answer, is_query))

    def ask(self) -> None:
        """Answer the questions, and keep the other answers."""
        for answer, is_query in self._answers:
            if is_query:
                answer()
        self._answers = [(answer, is_query) for answer, is_query in self._answers if not is_query]

    def give(self) -> None:
        """Give all answers."""
        for answer, _ in self._answers:
            answer()


Query = Callable[[Client, Request], dict[str, Any]]


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
        notes: Iterable[str] = (),
        door: Door | None = None,
    ) -> None:
        self.place = place
        self._door = door or Door()
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
        self._environments = Environments()
        self._asked: dict[int, _Asked] = {}
        self._resting: list[tuple[Client, Request]] = []
        """Who waits until a plan's session has nothing to do."""
        self._tokens = 0
        self._news = _News()
        self._lines: deque[dict[str, Any]] = deque(maxlen=LINES_KEPT)
        self._last_line = 0
        self._tell_timer: Timer | None = None
        self._tick_timer: Timer | None = None
        self._tick_at: float | None = None
        self._idle_timer: Timer | None = None
        self._watching = Watching(
            reactor,
            place.root,
            scheduler.graph,
            self._look_for_changes,
            lambda: scheduler.phase in ("", WATCH),
        )
        self._unsaved: tuple[Decision, _Answers] | None = None
        self._notes = dict.fromkeys(notes)
        self._trouble = ""
        """Why nothing can be written down now."""
        self._queries: dict[str, Query] = {
            "status": self._status,
            "rows": self._rows,
            "why": lambda client, request: view.why(self.scheduler, self._step(request)),
            "history": self._history,
            "now": self._now,
            "graph": lambda client, request: view.links(self.scheduler),
            "jobs": lambda client, request: self._jobs(self._step(request)),
            "output": self._output,
            "log": self._log,
            "lines": self._lines_since,
            "subscribe": self._subscribe,
            "info": self._info,
            "nodes": lambda client, request: {"nodes": view.nodes(self.scheduler)},
            "tell": self._tell_all,
            "shutdown": self._shutdown,
            "trust": self._trust,
            "watch": self._watch,
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
        query = self._query(request)
        if self._unsaved is not None and query is not None and client.job is None:
            # Whoever wants to know why nothing goes on, or to end it, must not wait for that to pass.
            self._answer_query(query, client, request)
        else:
            self._inbox.append((client, request))

    def on_gone(self, client: Client) -> None:
        """A client is gone: end its holds and forget its waits."""
        self._inbox += [Release(hold) for hold in client.holds]
        self._resting = [(other, request) for other, request in self._resting if other is not client]
        for token in client.waits:
            if self._asked.pop(token, None) is not None:
                self._inbox.append(StopWaiting(token))

    def on_behind(self) -> None:
        """A subscriber has missed events, and shall see that from the number of the next one."""
        self._news.has_settings = True
        self._tell_soon()

    def on_output(self, job: int) -> None:
        """A job wrote something: its step's row has news."""
        live = self.scheduler.jobs.get(job)
        if live is not None and self._server.has_subscribers():
            self._news.steps[live.step] = None
            self._tell_soon()

    def end(self) -> None:
        """Make the current turn the last one."""
        self._watching.turn(False)
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
        answers = _Answers()
        now = self._clock()
        for item in inbox:
            if isinstance(item, tuple):
                self._take_request(*item, now, decision, answers)
            else:
                try:
                    self.scheduler.handle(item, now, decision)
                except UsageError as error:
                    self._notes[str(error)] = None
        self._finish(decision, answers)

    def _finish(self, decision: Decision, answers: _Answers) -> None:
        settings = {"workers": self.scheduler.pools.workers} if decision.settings else None
        # What was forgotten may have been declared anew in the same turn.
        gone = {k: step for k, step in decision.forgotten.items() if k not in self.scheduler.graph.steps}
        decision.steps.update(gone)
        try:
            self._store.save(decision, self._tails_to_keep, forgotten=gone, settings=settings)
        except StoreFull as full:
            # Nothing may happen that is not written down: keep all of it, and try again.
            self._unsaved = (decision, answers)
            self._reactor.call_after(RETRY_STORE, self._save_again)
            self._set_trouble(str(full))
            answers.ask()
            return
        self._set_trouble("")
        self._act(decision)
        answers.give()
        self._tell(decision)
        if self._idle_timer is None:
            self._idle_timer = self._reactor.call_after(IDLE_AFTER, self._when_idle)

    def _save_again(self) -> None:
        if self._unsaved is not None:
            (decision, answers), self._unsaved = self._unsaved, None
            self._finish(decision, answers)

    def _set_trouble(self, words: str) -> None:
        if words != self._trouble:
            self._trouble = words
            self._news.has_settings = True
            self._tell_soon()

    def _schedule_tick(self) -> None:
        # While nothing can be written down nothing is decided, and what is due stays due.
        due = self.scheduler.next_time() if self._unsaved is None else None
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
            if self._store.moved():
                self._rescue()
            if dropped := self._store.prune():
                self._executor.forget(dropped)
                self._idle_timer = self._reactor.call_after(0.0, self._when_idle)
            else:
                self._store.checkpoint()
        except StoreFull:
            # Nothing is lost by that, and the next time something is written it is tried again.
            pass

    def _rescue(self) -> None:
        try:
            self._store.rescue()
        except UsageError as error:
            # Something odd stands in its place: the session goes on, and what it does is not remembered.
            self._notes[str(error)] = None
        self._notes.update(dict.fromkeys(self._store.notes))

    # --- requests ------------------------------------------------------------------------------

    def _query(self, request: Request) -> Query | None:
        op = request.get("op")
        return self._queries.get(op) if isinstance(op, str) else None

    def _take_request(
        self, client: Client, request: Request, now: float, decision: Decision, answers: _Answers
    ) -> None:
        if client.job is not None and request.get("op") not in (*OF_JOBS, "info", "nodes"):
            refusal: StepUpError = UsageError(
                "SNB-212",
                "A step may not ask for that.",
                "it declares steps of its own and amends itself; it steers nothing else",
                "do it in the notebook, or with stepup-nb in a terminal",
            )
            answers.add(lambda: client.refuse(request, refusal))
            return
        if request.get("op") == "rest":
            self._resting.append((client, request))
            return
        query = self._query(request)
        if query is not None:
            answers.add(lambda: self._answer_query(query, client, request), is_query=True)
            return
        try:
            command = self._command(client, request)
        except (StepUpError, ValueError, KeyError) as error:
            refusal = _not_understood(error)
            answers.add(lambda: client.refuse(request, refusal))
            return
        is_later = isinstance(command, LATER)
        try:
            if isinstance(command, LATER):
                self._ask_later(client, request, command)
            self.scheduler.handle(command, now, decision)
        except Exception as error:
            if isinstance(command, LATER):
                self._asked.pop(command.token, None)
                client.waits.discard(command.token)
            unwanted = error if isinstance(error, StepUpError) else _internal(error)
            answers.add(lambda: client.refuse(request, unwanted))
            return
        if not is_later:
            reply = decision.reply
            answers.add(lambda: client.answer(request, reply))

    def _answer_query(self, query: Query, client: Client, request: Request) -> None:
        try:
            result = query(client, request)
        except (StepUpError, ValueError, KeyError) as error:
            client.refuse(request, _not_understood(error))
        except StoreFull as full:
            client.refuse(
                request,
                UsageError(
                    "SNB-320", "The state file cannot be written.", str(full), "make room, and try again"
                ),
            )
        except Exception as error:
            client.refuse(request, _internal(error))
        else:
            client.answer(request, result)

    def _command(self, client: Client, request: Request) -> Command:
        form = dict(request)
        form.pop("id", None)
        variables, timeout = form.pop("variables", None), form.pop("timeout", None)
        if "token" in form or "deadline" in form:
            raise ValueError("'token' and 'deadline' are given by the director")
        op = form.get("op")
        if client.job is not None:
            self._take_for_job(client, client.job, form)
        if isinstance(op, str) and op in _LATER_NAMES:
            self._tokens += 1
            form["token"] = self._tokens
            if op == "Wait":
                form["deadline"] = self._deadline(timeout)
        command = command_from_json(form)
        if isinstance(command, Declare) and client.job is not None:
            return self._hashed(command)
        if isinstance(command, Declare):
            return self._with_environment(client, command, variables)
        if isinstance(command, Amend):
            step = self._step_of_job(command.job)
            return replace(command, env_hashes=self._hashes(command.env, step.environment))
        if isinstance(command, Hold):
            client.holds.add(command.hold)
        elif isinstance(command, Release):
            client.holds.discard(command.hold)
        return command

    def _take_for_job(self, client: Client, job: int, form: dict[str, Any]) -> None:
        """Fill in what a job does not choose: for whom it declares, and in which environment."""
        step = self._step_of_job(job)
        if form.get("op") == "Amend":
            form["job"] = job
            return
        if form.get("op") not in ("Hold", "Release"):
            form["scope"] = self.scheduler.scope_of_job(job)
        if form.get("op") == "Declare":
            # As in StepUp: what a plan changes in its own environment is no matter of its steps.
            form["environment"] = step.environment

    def _step_of_job(self, number: int) -> Step:
        job = self.scheduler.jobs.get(number)
        step = None if job is None else self.scheduler.graph.steps.get(job.step)
        if step is None:
            raise over()
        return step

    def _deadline(self, timeout: object) -> float | None:
        if timeout is None:
            return None
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise ValueError(f"'timeout': a number of seconds is expected, not {timeout!r:.40}")
        return self._clock() + timeout

    def _with_environment(self, client: Client, command: Declare, variables: object) -> Declare:
        name, known = command.environment, self._environments
        if variables is not None:
            known.take(name, variables)
        if name not in known:
            raise ValueError("'environment': one that was not sent")
        client.environment = name
        if known.is_crowded():
            known.keep(
                [other.environment for other in self._server.clients]
                + [step.environment for step in self.scheduler.graph.steps.values()]
            )
        return self._hashed(command)

    def _hashed(self, command: Declare) -> Declare:
        if not command.spec.env:
            return command
        return replace(command, env_hashes=self._hashes(command.spec.env, command.environment))

    def _hashes(self, variables: Iterable[str], environment: str) -> tuple[tuple[str, str | None], ...]:
        return tuple((variable, self.env_hash(environment, variable)) for variable in variables)

    def env_hash(self, environment: str, variable: str) -> str | None:
        """Return the keyed hash of a variable's value in an environment; None where it is not set."""
        value = self._environments.value(environment, variable)
        return None if value is None else self._hash_env(variable, value)

    def _ask_later(
        self, client: Client, request: Request, command: Wait | Clean | Amend | DeclareGlob | LookAgain
    ) -> None:
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
            "watching": self._watching.is_on,
            "notes": self._all_notes(),
            **found,
        }

    def _status(self, client: Client, request: Request) -> dict[str, Any]:
        if request.get("brief"):
            return self._brief()
        found = self.status()
        if request.get("causes"):
            found["causes"] = view.root_causes(self.scheduler)
        return found

    def _brief(self) -> dict[str, Any]:
        """Return of ``status`` what takes no look at every step."""
        scheduler = self.scheduler
        return {
            "database": self.place.database,
            "director_pid": os.getpid(),
            "watching": self._watching.is_on,
            "counts": view.counts(scheduler),
            "known": len(scheduler.graph.steps),
            "draining": scheduler.pools.is_draining,
            "phase": scheduler.phase,
        }

    def _all_notes(self) -> list[str]:
        return [*self._notes, *([self._trouble] if self._trouble else [])]

    def _row(self, step: Step) -> dict[str, Any]:
        return self._complete(view.step_row(self.scheduler, step))

    def _complete(self, row: dict[str, Any]) -> dict[str, Any]:
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
        if self._unsaved is not None and row["name"] in self._unsaved[0].steps:
            row["notes"] = [*row["notes"], "not written down yet"]
        return row

    def _tails_to_keep(self, job: int) -> tuple[bytes, bytes]:
        tail = self._executor.tail(job)
        return tail.stdout.encode(errors="replace"), tail.stderr.encode(errors="replace")

    def _step(self, request: Request) -> Step:
        return self.scheduler.graph.find(str(request["step"]))

    def _rows(self, client: Client, request: Request) -> dict[str, Any]:
        graph = self.scheduler.graph
        names = request["steps"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("'steps': a list of names is expected")
        if request.get("known"):
            steps = [step for name in names if (step := graph.steps.get(name)) is not None]
        else:
            steps = [graph.find(name) for name in names]
        if request.get("family"):
            steps = [one for step in steps for one in self.scheduler.family(step)]
        return {"rows": [self._row(step) for step in dict.fromkeys(steps)]}

    def _now(self, client: Client, request: Request) -> dict[str, Any]:
        """Return what changes all the time: who is first in each line, memory in use, and the time."""
        return {
            "queues": view.queues(self.scheduler, QUEUE),
            "memory": self._executor.memory(),
            "at": self._clock(),
        }

    def _history(self, client: Client, request: Request) -> dict[str, Any]:
        return {"rows": self._store.history(_whole(request, "most") if "most" in request else -1)}

    def _jobs(self, step: Step) -> dict[str, Any]:
        """Return the jobs of one step that the history keeps, newest last."""
        return {"rows": [view.job_row(job) for job in self._store.jobs_of(step.key)]}

    def _output(self, client: Client, request: Request) -> dict[str, Any]:
        """Return what a job wrote after a place, both streams in their order of arrival.

        The place is a number of bytes of each stream; with ``last``, it is set so that no more than so many
        bytes follow. ``lines`` is the number of lines up to the place reached, None where nobody counted.
        """
        job, most = _whole(request, "job"), min(_whole(request, "most"), OUTPUT)
        out, err = _whole(request, "out"), _whole(request, "err")
        found = self._executor.output(job, (out, err), most, is_last=request.get("last") is True)
        return {
            "pieces": [[number, piece.decode("latin-1")] for number, piece in found.pieces],
            "out": found.place[0],
            "err": found.place[1],
            "lines": found.lines,
            "more": found.is_more,
            "final": job not in self.scheduler.jobs,
            "path": self._executor.log_path(job, "stdout"),
        }

    def _log(self, client: Client, request: Request) -> dict[str, Any]:
        """Return a piece of the log of one job: of that number, else the last one of a step."""
        if request.get("job") is not None:
            number = _whole(request, "job")
        else:
            step = self._step(request)
            job = step.job or step.last
            if job is None:
                return {"job": None, "bytes": "", "next": None, "path": None}
            number = job.id
        stream: Stream = "stderr" if request.get("stream") == "stderr" else "stdout"
        offset = _whole(request, "offset")
        piece = self._executor.read_log(number, stream, offset, 1 << 19)
        # Latin-1 carries any bytes through JSON; the client decodes the whole, so that no character is cut.
        return {
            "job": number,
            "bytes": piece.decode("latin-1"),
            "next": offset + len(piece) if piece and offset >= 0 else None,
            "path": self._executor.log_path(number, stream),
        }

    def _lines_since(self, client: Client, request: Request) -> dict[str, Any]:
        """Return the oldest log lines after a number, from those that are kept."""
        since = _whole(request, "since")
        missed = max(0, self._lines[0]["number"] - since - 1) if self._lines else 0
        start = max(0, since + 1 - self._lines[0]["number"]) if self._lines else 0
        return {
            "lines": list(islice(self._lines, start, start + LINES)),
            "missed": missed,
            "phase": self.scheduler.phase,
            "ending": self.scheduler.ending,
        }

    def _subscribe(self, client: Client, request: Request) -> dict[str, Any]:
        client.is_subscribed = True
        return self.status() if request.get("snapshot", True) else {}

    def _tell_all(self, client: Client, request: Request) -> dict[str, Any]:
        """Tell subscribers now what they were to be told soon: it is on its way before the answer to this."""
        while self._news:
            self._tell_now()
        return {}

    def _shutdown(self, client: Client, request: Request) -> dict[str, Any]:
        self.end()
        return {}

    def _watch(self, client: Client, request: Request) -> dict[str, Any]:
        """Watch for changes of files from now on, or no longer; in a plan's session, while it has nothing to do."""
        return {"by": self._watching.turn(request.get("on") is True)}

    def _look_for_changes(self) -> int:
        self._tokens += 1
        self._inbox.append(LookAgain(self._tokens, is_watching=True))
        return self._tokens

    def _info(self, client: Client, request: Request) -> dict[str, Any]:
        """Return what was declared of the step whose job asks."""
        step = self._step_of_job(-1 if client.job is None else client.job)
        spec = step.declared
        return {
            "key": step.key,
            "action": f"{spec.action} {spec.command}",
            "workdir": spec.workdir,
            "inp": spec.inp,
            "out": spec.out,
            "vol": spec.vol,
            "env": spec.env,
        }

    def _trust(self, client: Client, request: Request) -> dict[str, Any]:
        believed = self._store.trust()
        for key, kept in believed.items():
            step = self.scheduler.graph.steps.get(key)
            if step is not None and step.record is None:
                kept.give(step)
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
        spec, root, job = start.spec, self.place.root, start.job.id
        step = self.scheduler.graph.steps.get(start.job.step)
        try:
            is_strict = step is not None and step.is_strict
            words = starting.prepare(spec, root, self._door.python, is_strict=is_strict)
            environment = self._environments.for_step(start.environment, spec.env)
            environment.update(start.variables)
            environment |= starting.variables(spec, root, self._door, job, environment.get("PYTHONPATH"))
            self._executor.start(job, words, posixpath.join(root, spec.workdir), environment)
        except CannotStart as cannot:
            self.report(JobNotStarted(job, cannot.words, cannot.is_transient))

    # --- telling -------------------------------------------------------------------------------

    def _tell(self, decision: Decision) -> None:
        for ended in decision.ended:
            self._answer_asked(
                ended.token,
                lambda asked, how=ended.how: self._wait_report(asked, how),  # type: ignore[misc]
            )
        for amended in decision.amended:
            self._answer_asked(amended.token, lambda asked, it=amended: {"missing": list(it.missing)})  # type: ignore[misc]
        for globbed in decision.globbed:
            self._answer_asked(
                globbed.token,
                lambda asked, it=globbed: {"found": [list(paths) for paths in it.found]},  # type: ignore[misc]
            )
        for looked in decision.looked:
            self._answer_asked(looked.token, lambda asked: {})
            self._watching.looked(looked.token)
        if decision.steps or decision.forgotten or decision.settings:
            self._watching.follow_soon()
        if self._resting and self.scheduler.phase == WATCH:
            resting, self._resting = self._resting, []
            for client, request in resting:
                client.answer(request, {})
        for removed in decision.removed:
            self._answer_asked(removed.token, lambda asked, report=removed: view.removed_row(report))  # type: ignore[misc]
        idle = self.scheduler.number_of_idle_options() if decision.lines else 0
        lines = [self._line(line, decision.jobs.get(line.job or 0), idle) for line in decision.lines]
        self._lines += lines
        if not self._server.has_subscribers():
            self._news = _News()
            return
        news = self._news
        news.steps.update(dict.fromkeys(decision.steps))
        news.gone.update(dict.fromkeys(decision.forgotten))
        news.pools.update(dict.fromkeys(decision.pools))
        news.jobs.update(decision.jobs)
        for dropped in decision.dropped_jobs:
            news.jobs.pop(dropped, None)
        news.lines += lines
        news.has_settings = news.has_settings or decision.settings
        self._tell_soon()

    def _wait_report(self, asked: _Asked, how: str) -> dict[str, Any]:
        report = view.wait_report(self.scheduler, asked.steps, asked.scope, how)
        for row in report["failed"]:
            self._complete(row)
        return report

    def _line(self, line: LogLine, job: Job | None, idle: int) -> dict[str, Any]:
        """Write a line down as things are now: when somebody reads it, its step may have moved on."""
        step = self.scheduler.graph.steps.get(line.step)
        counts = self.scheduler.counts
        self._last_line += 1
        written = {
            "number": self._last_line,
            "tag": line.tag,
            "step": line.step,
            "label": (step.label if step is not None else line.step)[:LINE_WORDS],
            "key": line.step[:LINE_WORDS],
            "job": line.job,
            "at": self._clock(),
            "done": counts[SUCCEEDED],
            "total": sum(number for state, number in counts.items() if state not in (FAILED, CANCELLED))
            - idle,
        }
        if line.pages:
            written["pages"] = [(title, text[: 10 * LINE_WORDS]) for title, text in line.pages]
        if line.tag in ("FAIL", "RESCHEDULE") and step is not None:
            written["command"] = step.spec.command[:LINE_WORDS]
            written["workdir"] = step.spec.workdir
            written["reason"] = step.reason[:LINE_WORDS]
        if job is not None:
            written["returncode"] = job.returncode
            written["notes"] = view.notes(job)
        return written

    def _tell_soon(self) -> None:
        if self._news and self._tell_timer is None:
            self._tell_timer = self._reactor.call_after(TELL_EVERY, self._tell_now)

    def _tell_now(self) -> None:
        if self._tell_timer is not None:
            self._tell_timer.cancel()
            self._tell_timer = None
        news = self._news
        rows: list[dict[str, Any]] = []
        size = 0
        for key in list(news.steps):
            if len(rows) >= TELL_ROWS or size > TELL_BYTES:
                break
            del news.steps[key]
            step = self.scheduler.graph.steps.get(key)
            if step is not None:
                row = self._row(step)
                size += 3 * len(row["command"]) + len(row["stdout_tail"]) + len(row["stderr_tail"])
                rows.append(row)
        self._server.tell(
            {
                "event": "changes",
                "at": self._clock(),
                "steps": rows,
                "gone": [key for key in news.gone if key not in self.scheduler.graph.steps],
                "pools": [view.pool_row(self.scheduler, pool) for pool in self.scheduler.pools.defined()],
                "counts": view.counts(self.scheduler),
                "workers": self.scheduler.pools.workers,
                "paused": self.scheduler.pools.is_paused,
                "draining": self.scheduler.pools.is_draining,
                "phase": self.scheduler.phase,
                "ending": self.scheduler.ending,
                "notes": self._all_notes(),
                "jobs": [view.job_row(job) for job in islice(news.jobs.values(), TELL_ROWS)],
                "lines": news.lines[:LINES],
            }
        )
        jobs = dict(islice(news.jobs.items(), TELL_ROWS, None))
        self._news = _News(steps=news.steps, jobs=jobs, lines=news.lines[LINES:])
        self._tell_soon()


_LATER_NAMES = frozenset(kind.__name__ for kind in LATER)


def _not_understood(error: Exception) -> StepUpError:
    if isinstance(error, StepUpError):
        return error
    words = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    return UsageError(
        "SNB-204", f"The request is not understood: {words}", "", "use a client of the director's own release"
    )


def _internal(error: Exception) -> InternalError:
    return InternalError(repr(error), "".join(traceback.format_exception(error)))


def _whole(request: Request, name: str) -> int:
    value = request.get(name, 0)
    if type(value) is not int or abs(value) > _LARGEST:
        raise ValueError(f"'{name}': a whole number is expected, not {value!r:.40}")
    return value
