"""The director's loop: inbox → scheduler → commit → act → tell.

One turn takes all that has arrived, lets the scheduler decide, commits everything that changed in one
transaction, and only then starts, stops, looks and answers. Everything here belongs to one thread.
"""

from __future__ import annotations

import posixpath
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from stepup_nb.core import view
from stepup_nb.core.errors import InternalError, StepUpError, UsageError
from stepup_nb.core.messages import (
    Command,
    Decision,
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
)
from stepup_nb.core.model import Step
from stepup_nb.core.moving import WATCH
from stepup_nb.core.scheduler import Scheduler
from stepup_nb.director import faults, starting
from stepup_nb.director.commands import Commands, Later
from stepup_nb.director.environments import Environments
from stepup_nb.director.executor import CannotStart
from stepup_nb.director.executors import Executors
from stepup_nb.director.news import News
from stepup_nb.director.queries import Queries, Query, whole
from stepup_nb.director.reactor import Reactor, Timer
from stepup_nb.director.server import Client, Request, Server
from stepup_nb.director.starting import Door, Place
from stepup_nb.director.store import Store, StoreFull
from stepup_nb.director.watching import Watching

CARE_EVERY = 0.5
"""Seconds between two looks after the database, as long as anything happens."""
MANY_JOBS = 5000
"""Jobs since the last pruning after which the history is pruned although there is work."""
RETRY_STORE = 1.0
"""Seconds between two tries to write where there is no space."""
_FILES_CLOCK = 5 if sys.platform == "linux" else time.CLOCK_REALTIME
"""By which files are stamped: CLOCK_REALTIME_COARSE. By a finer one, what a job writes at once is older than it."""


class Looker(Protocol):
    """Whoever finds out what files are, and reports it later."""

    def look(self, instruction: LookAt) -> None:
        """Look at files; the report comes through the loop."""

    def remove(self, instruction: RemoveFiles) -> None:
        """Remove files; the report comes through the loop."""


OF_JOBS = frozenset({"Declare", "DeclareStatic", "DeclareGlob", "DefinePool", "Amend", "Hold", "Release"})
"""What a running step may ask for: it declares for itself, and amends itself."""


class _Arrived(NamedTuple):
    """What a client wants."""

    client: Client
    request: Request


@dataclass(slots=True)
class _Asked:
    """Somebody waits for an answer that comes later."""

    client: Client
    request: Request
    steps: list[Step] | None = None
    scope: str = ""


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
        self._clock = clock
        self._executor: Executors
        self._looker: Looker
        self._server: Server
        self._queries: Queries
        self._news: News
        self._by_name: dict[str, Query]
        self._inbox: list[_Arrived | Report | Command] = []
        self._environments = Environments()
        self._commands = Commands(
            scheduler,
            self._environments,
            hash_env,
            clock,
            in_use=lambda: [client.environment for client in self._server.clients],
        )
        scheduler.use_env(self._commands.env_hash)
        self._asked: dict[int, _Asked] = {}
        self._resting: list[tuple[Client, Request]] = []
        """Who waits until a plan's session has nothing to do."""
        self._tick_timer: Timer | None = None
        self._tick_at: float | None = None
        self._care_timer: Timer | None = None
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
        self._own_queries: dict[str, Query] = {
            "info": self._info,
            "lines": lambda client, request: self._news.lines_since(whole(request, "since")),
            "tell": self._tell_all,
            "shutdown": self._shutdown,
            "trust": self._trust,
            "where": lambda client, request: self._executor.where(),
            "warm": self._warm,
            "watch": self._watch,
            "narrate": self._narrate,
        }

    def connect(self, executor: Executors, looker: Looker, server: Server) -> None:
        """Take over those who report to this director; they were made after it, because they call it."""
        self._executor, self._looker, self._server = executor, looker, server
        self._queries = Queries(
            self.place,
            self.scheduler,
            self._store,
            executor,
            self._clock,
            notes=self._all_notes,
            is_watching=lambda: self._watching.is_on,
            unwritten=lambda: () if self._unsaved is None else self._unsaved[0].steps,
        )
        self._by_name = self._queries.by_name | self._own_queries
        self._news = News(
            self._reactor, self.scheduler, server, self._clock, self._queries.row, self._all_notes
        )

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
            self._inbox.append(_Arrived(client, request))

    def on_gone(self, client: Client) -> None:
        """A client is gone: end its holds and forget its waits."""
        self._inbox += [Release(hold) for hold in client.holds]
        self._resting = [(other, request) for other, request in self._resting if other is not client]
        for token in client.waits:
            if self._asked.pop(token, None) is not None:
                self._inbox.append(StopWaiting(token))

    def on_behind(self) -> None:
        """A subscriber has missed events, and shall see that from the number of the next one."""
        self._news.stir()

    def on_output(self, job: int) -> None:
        """A job wrote something: its step's row has news."""
        self._news.wrote(job)

    def note(self, words: str) -> None:
        """Tell the user something that concerns the session."""
        self._notes[words] = None
        self._warn([words])

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
        self.scheduler.use_wall(time.clock_gettime_ns(_FILES_CLOCK))
        for item in inbox:
            if isinstance(item, _Arrived):
                self._take_request(item.client, item.request, now, decision, answers)
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
        faults.reach("decided")
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
        faults.reach("committed")
        self._act(decision)
        # To start a process takes longer than all the rest: whoever waits for an answer goes on meanwhile.
        answers.give()
        self._start_jobs(decision)
        faults.reach("acted")
        self._tell(decision)
        self._heed_store()
        if self._care_timer is None:
            self._care_timer = self._reactor.call_after(CARE_EVERY, self._care)

    def _save_again(self) -> None:
        if self._unsaved is not None:
            (decision, answers), self._unsaved = self._unsaved, None
            self._finish(decision, answers)

    def _set_trouble(self, words: str) -> None:
        if words != self._trouble:
            self._trouble = words
            self._warn([words] if words else [])

    def _heed_store(self) -> None:
        """Tell what the database had to do to go on."""
        notes = [note for note in self._store.notes if note not in self._notes]
        if notes:
            self._notes.update(dict.fromkeys(notes))
            self._warn(notes)

    def _warn(self, notes: Iterable[str]) -> None:
        """Have it told that the notes have changed; who reads lines gets these."""
        self._news.take(Decision(lines=[LogLine("WARNING", note) for note in notes], settings=True))

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

    def _care(self) -> None:
        """Look after the database: now and then while there is work, and to the end once there is none."""
        self._care_timer = None
        is_idle = self.scheduler.is_idle() and not self._inbox
        pause = CARE_EVERY
        # Also while steps run: what only the log of a lost file holds would be lost with us.
        self._store.rescue()
        self._heed_store()
        is_done = is_idle and not self._store.is_homeless
        try:
            if is_idle or self._store.unpruned >= MANY_JOBS:
                if dropped := self._store.prune():
                    self._executor.forget(dropped)
                    pause = 0.0
                elif is_idle:
                    self._store.checkpoint()
                    if is_done:
                        return
        except StoreFull:
            # Nothing is lost by that, and the next time something is written it is tried again.
            if is_done:
                return
        self._care_timer = self._reactor.call_after(pause, self._care)

    # --- requests ------------------------------------------------------------------------------

    def _query(self, request: Request) -> Query | None:
        op = request.get("op")
        return self._by_name.get(op) if isinstance(op, str) else None

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
        if request.get("op") == "executor":
            answers.add(lambda: self._turn_to(client, request))
            return
        if request.get("op") == "rest":
            self._resting.append((client, request))
            return
        query = self._query(request)
        if query is not None:
            answers.add(lambda: self._answer_query(query, client, request), is_query=True)
            return
        try:
            command = self._commands.of(client, request)
        except (StepUpError, ValueError, KeyError) as error:
            refusal = _not_understood(error)
            answers.add(lambda: client.refuse(request, refusal))
            return
        is_later = isinstance(command, Later)
        try:
            if isinstance(command, Later):
                self._ask_later(client, request, command)
            self.scheduler.handle(command, now, decision)
        except Exception as error:
            if isinstance(command, Later):
                self._asked.pop(command.token, None)
                client.waits.discard(command.token)
            unwanted = error if isinstance(error, StepUpError) else _internal(error)
            answers.add(lambda: client.refuse(request, unwanted))
            return
        if not is_later:
            reply = decision.reply
            answers.add(lambda: client.answer(request, reply))

    def _turn_to(self, client: Client, request: Request) -> None:
        """Let jobs run elsewhere from now on; answered when they do."""

        def done(answer: dict[str, Any] | StepUpError) -> None:
            if isinstance(answer, StepUpError):
                client.refuse(request, answer)
            else:
                client.answer(request, answer)
                self._news.stir()

        self._executor.turn_to(request, done)

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

    def _ask_later(self, client: Client, request: Request, command: Later) -> None:
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

    # --- questions that touch the loop itself ---------------------------------------------------

    def _all_notes(self) -> list[str]:
        return [*self._notes, *([self._trouble] if self._trouble else [])]

    def _tails_to_keep(self, job: int) -> tuple[bytes, bytes]:
        tail = self._executor.tail(job)
        return tail.stdout.encode(errors="replace"), tail.stderr.encode(errors="replace")

    def _tell_all(self, client: Client, request: Request) -> dict[str, Any]:
        """Tell subscribers now what they were to be told soon: it is on its way before the answer to this."""
        self._news.tell_all()
        return {}

    def _shutdown(self, client: Client, request: Request) -> dict[str, Any]:
        self.end()
        return {}

    def _warm(self, client: Client, request: Request) -> dict[str, Any]:
        """Start Python steps in interpreters that wait for them from now on, or no longer."""
        self._executor.use_warm(request.get("on") is True)
        return {}

    def _watch(self, client: Client, request: Request) -> dict[str, Any]:
        """Watch for changes of files from now on, or no longer; in a plan's session, while it has nothing to do."""
        return {"by": self._watching.turn(request.get("on") is True)}

    def _narrate(self, client: Client, request: Request) -> dict[str, Any]:
        """Tell subscribers from now on why each thing is decided as it is, or no longer."""
        self.scheduler.narrate(request.get("on") is True)
        return {}

    def _look_for_changes(self) -> int:
        token = self._commands.token()
        self._inbox.append(LookAgain(token, is_watching=True))
        return token

    def _info(self, client: Client, request: Request) -> dict[str, Any]:
        """Return what was declared of the step whose job asks."""
        step = self._commands.step_of_job(-1 if client.job is None else client.job)
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
                continue
            if isinstance(instruction, LookAt):
                self._looker.look(instruction)
            elif isinstance(instruction, StopJob):
                self._executor.stop(instruction.job)
            else:
                self._looker.remove(instruction)

    def _start_jobs(self, decision: Decision) -> None:
        for instruction in decision.instructions:
            if isinstance(instruction, StartJob):
                self._start(instruction)

    def _start(self, start: StartJob) -> None:
        spec, root, job = start.spec, self.place.root, start.job.id
        step = self.scheduler.graph.steps.get(start.job.step)
        try:
            is_strict = step is not None and step.is_strict
            words = starting.prepare(spec, root, self._door.python, is_strict=is_strict)
            environment = self._environments.for_step(start.environment, spec.env)
            environment.update(start.variables)
            environment |= starting.variables(spec, root, self._door, job, environment.get("PYTHONPATH"))
            folder = posixpath.join(root, spec.workdir)
            self._executor.start(job, words, folder, environment, start.job.place)
        except CannotStart as cannot:
            self.report(JobNotStarted(job, cannot.words, cannot.is_transient, cannot.is_full))

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
        self._news.take(decision)

    def _wait_report(self, asked: _Asked, how: str) -> dict[str, Any]:
        report = view.wait_report(self.scheduler, asked.steps, asked.scope, how)
        for row in report["failed"]:
            self._queries.complete(row)
        return report


def _not_understood(error: Exception) -> StepUpError:
    if isinstance(error, StepUpError):
        return error
    words = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    return UsageError(
        "SNB-204", f"The request is not understood: {words}", "", "use a client of the director's own release"
    )


def _internal(error: Exception) -> InternalError:
    return InternalError(repr(error), "".join(traceback.format_exception(error)))
