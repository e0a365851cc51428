"""Runs a plan from a terminal, as ``stepup boot`` does: phases, log lines, log files, exit codes.

The director does the work. This is the client that started it and outlives no run: it declares the plan, shows
what happens, says when a phase ends, and goes when it is asked to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepup_nb import __version__
from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.client.keys import Keys
from stepup_nb.client.launch import Place, ProcessHost
from stepup_nb.client.lines import Line, LineReader, Page
from stepup_nb.client.pending import pending_pages
from stepup_nb.client.pictures import write
from stepup_nb.client.plans import check_plan
from stepup_nb.core.declare import make_spec
from stepup_nb.core.environment import name_of
from stepup_nb.core.errors import StepUpError
from stepup_nb.core.messages import spec_to_json
from stepup_nb.core.words import counted
from stepup_nb.terminal import LogFiles, Terminal

DONE, INTERNAL, FAILED, PENDING = 0, 1, 2, 3
"""Exit codes: StepUp 3.0's."""

LISTEN = 0.05
"""Seconds to listen for news before it is asked whether a phase has ended."""

SETTLE = 0.5
"""Seconds between the first change and a run by itself (``-W``)."""

ROOT = "root"
"""The scope of the plan."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE = 7.0
"""Seconds that the first signal waits for steps to end."""

KEYS = """\
   r = run         leave the watch phase, and run what is outdated
   q = shutdown    let running steps end, and leave; again: stop them
   d = drain       start nothing more
   j = join        leave when everything is done
   g = graph       write the graph to graph.txt"""


@dataclass(frozen=True, slots=True)
class Options:
    """What ``boot`` was asked for."""

    root: Path
    plan: str = "plan.py"
    workers: int = 1
    is_watching: bool = False
    is_eager: bool = False
    """Watch, and run by itself when something changes."""
    is_explaining: bool = False
    is_cleaning: bool = True


class _Ended(Exception):
    """A signal ended it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def boot(options: Options, terminal: Terminal) -> int:
    """Run a plan to its end, or until it is asked to end; return the exit code.

    Raises
    ------
    UsageError
        SNB-227: there is no such plan, or it is no script.
    """
    root = options.root.absolute()
    check_plan(os.fspath(root), options.plan)
    state = root / ".stepup"
    logs = LogFiles(state)
    host = ProcessHost(
        Place(os.fspath(root), None, os.fspath(state / "graph.db"), os.fspath(state / "graph")),
        options.workers,
    )
    try:
        with contextlib.closing(Connection(host.socket, host.token)) as owner:
            return _Boot(options, root, host, owner, terminal, logs).run()
    finally:
        host.end(patience=2.0)


class _Boot:
    def __init__(
        self,
        options: Options,
        root: Path,
        host: ProcessHost,
        owner: Connection,
        terminal: Terminal,
        logs: LogFiles,
    ) -> None:
        self._options = options
        self._root = root
        self._host = host
        self._owner = owner
        self._terminal = terminal
        self._logs = logs
        self._reader = LineReader(Connection(host.socket, host.token), has_keys=True)
        self._waiting = Connection(host.socket, host.token)
        self._changed: float | None = None
        """When the first change was seen in this watch phase."""
        self._has_rested = self._is_to_run = False
        """Whether the watch phase has begun, and whether it has ended: by the lines, which tell of a short one, too."""

    # --- what is said --------------------------------------------------------------------------

    def _say(self, tag: str, text: str, *pages: Page, in_log: Iterable[Page] = ()) -> None:
        """Say it on the terminal and in the log, which takes more pages."""
        self._terminal.line(tag, text, pages)
        self._logs.line(tag, text, [*pages, *in_log], *self._terminal.progress)

    def _show(self, line: Line) -> None:
        if line.tag in ("NOSKIP", "DROPAMEND") and not self._options.is_explaining:
            return
        if line.tag == "PHASE" and line.text == "run":
            self._logs.clear()
            self._is_to_run = self._has_rested
        elif line.tag == "PHASE" and line.text == "watch":
            self._has_rested = True
        if line.tag in ("UPDATED", "DELETED") and self._changed is None:
            self._changed = time.monotonic()
        self._terminal.show(line)
        self._logs.line(line.tag, line.text, line.pages, line.done, line.total)

    def _listen(self, wait: float = LISTEN) -> None:
        lines = self._reader.read(wait)
        for line in lines:
            self._show(line)
        if not lines:
            # Should the lines that said so have come too fast.
            self._has_rested = self._has_rested or self._reader.phase == "watch"
            self._is_to_run = self._is_to_run or (self._has_rested and self._reader.phase == "run")

    def _catch_up(self) -> None:
        while lines := self._reader.read():
            for line in lines:
                self._show(line)

    # --- the session ---------------------------------------------------------------------------

    def run(self) -> int:
        """Start, run, watch as often as that is wanted, and say good-bye."""
        status = self._owner.request("status", brief=True)
        self._logs.begin(self._host.socket, status["director_pid"])
        self._say("DIRECTOR", f"Listening on {self._host.socket} (stepup_nb {__version__})")
        for note in self._host.notes:
            self._say("STARTUP", note)
        code = DONE
        try:
            with self._catching_signals(), Keys(self._on_key) as self._keys:
                try:
                    self._start(is_first=not status["known"])
                    code = self._phases()
                except _Ended as ended:
                    self._stop_all(ended.number)
                    raise
        except _Ended as ended:
            code = 128 + ended.number
        except DirectorGone:
            self._say("ERROR", "The director raised an exception.", *self._last_words())
            return INTERNAL
        self._say("DIRECTOR", "Stopping workers")
        self._say("DIRECTOR", "See you!")
        with contextlib.suppress(DirectorGone):
            self._owner.send("shutdown")
        return code

    def _last_words(self) -> list[Page]:
        with contextlib.suppress(OSError):
            path = self._root / ".stepup" / "graph" / "director.log"
            return [Page("Traceback", path.read_text(errors="replace")[-4000:].strip() or "it said nothing")]
        return []

    def _start(self, *, is_first: bool) -> None:
        """Declare the plan; what is known of it is looked at before anything starts."""
        ask, plan = self._owner.request, self._options.plan
        if is_first:
            self._say("STARTUP", "(Re)initialized boot script")
        else:
            self._say("STARTUP", "Scanning initial database for changed files")
        ask("SetPhase", phase="startup")
        ask("SetWorkers", number=self._options.workers)
        if self._options.is_watching:
            ask("watch", on=True)
        variables = dict(os.environ)
        folder, _, name = plan.rpartition("/")
        spec = make_spec(
            "runpy", f"./{name}", {"inp": [name], "workdir": folder or "."}, root=os.fspath(self._root)
        )
        ask("OpenScope", scope=ROOT, kind="step", title="boot")
        ask("DeclareStatic", paths=[os.path.normpath(plan)], scope=ROOT)
        ask(
            "Declare",
            spec=spec_to_json(spec),
            scope=ROOT,
            environment=name_of(variables),
            variables=variables,
        )
        ask("CloseScope", scope=ROOT)
        ask("SetPhase", phase="run")

    def _phases(self) -> int:
        while True:
            code = self._run_phase()
            if not self._options.is_watching or self._reader.ending:
                return code
            self._changed = None
            self._has_rested = self._is_to_run = False
            self._owner.request("SetPhase", phase="watch")
            if not self._watch_phase():
                return code

    def _run_phase(self) -> int:
        number = self._waiting.send("Wait", steps=None)
        while (report := self._waiting.result(number, 0.0)) is None:
            self._listen()
            self._keys.look()
        self._catch_up()
        return self._finish(report)

    def _watch_phase(self) -> bool:
        """Wait until something is to be done; tell whether that is another run."""
        while True:
            self._listen()
            if self._is_to_run:
                return True
            if not self._has_rested:
                continue
            self._keys.look()
            if self._reader.ending:
                return False
            if self._options.is_eager and self._changed is not None:
                if time.monotonic() - self._changed >= SETTLE:
                    self._changed = None
                    self._owner.request("Run")

    # --- the end of a run ----------------------------------------------------------------------

    def _finish(self, report: Mapping[str, Any]) -> int:
        failed, stuck = len(report["failed"]), report["stuck"]
        status = self._owner.request("status", brief=True)
        number = sum(row["number"] for row in stuck)
        if failed:
            self._say("WARNING", f"{failed} step(s) failed.")
        if status["draining"]:
            self._say("WARNING", "Scheduler is put on hold. Not reporting pending steps.")
        elif stuck:
            pages = self._pending_pages()
            is_blocked = any(page.title == "Blocked steps" for page in pages)
            why = "blocked steps" if is_blocked else "incomplete requirements"
            self._say(
                "WARNING",
                f"{number} step(s) remained pending due to {why}",
                Page("Root causes", causes(stuck)),
                in_log=pages,
            )
        code = FAILED if failed else PENDING if stuck or status["draining"] else DONE
        self._clean(code)
        logs = [name for name in ("fail", "warning") if self._logs.has(name)]
        if logs:
            self._say("WARNING", f"Check logs: {' '.join(f'.stepup/{name}.log' for name in logs)}")
        return code

    def _pending_pages(self) -> list[Page]:
        return pending_pages(self._owner.request("nodes")["nodes"])

    def _clean(self, code: int) -> None:
        if code != DONE:
            self._say("WARNING", "Skipping file cleanup due to incomplete build")
            return
        if not self._options.is_cleaning:
            self._say("WARNING", "Skipping file cleanup at user's request (--no-clean)")
            return
        found = self._owner.request("Clean", dry_run=True, options=True)
        self._say("DIRECTOR", f"Trying to delete {len(found['removed'])} outdated output(s)")
        self._owner.request("Clean", options=True)
        self._catch_up()

    # --- signals and keys ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _catching_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @staticmethod
    def _on_signal(number: int, frame: object) -> None:
        # Nothing but that: what it interrupts may hold the terminal's lock. The second time, host and guard kill
        # everything that is left.
        raise _Ended(number)

    def _stop_all(self, number: int) -> None:
        self._terminal.line(
            "KEYBOARD", f"{signal.Signals(number).name}: stopping all steps; once more stops at once"
        )
        with contextlib.suppress(DirectorGone, StepUpError):
            connection = Connection(self._host.socket, self._host.token, timeout=GRACE)
            with contextlib.closing(connection):
                connection.request("Drain")
                connection.request("Cancel", steps=None)
                connection.request("Wait", steps=None, timeout=GRACE - 1)

    def _on_key(self, key: str) -> None:
        ask = self._owner.request
        if key == "r":
            ask("Run")
        elif key == "q":
            times = ask("Ending", how="shutdown")["times"]
            if times == 1:
                self._say("KEYBOARD", "Waiting for steps to complete before shutdown.")
            else:
                self._say("KEYBOARD", "Stopping running steps.")
                ask("Cancel", steps=None)
        elif key == "d":
            self._say("KEYBOARD", "Draining the scheduler.")
            ask("Drain")
        elif key == "j":
            self._say("KEYBOARD", "Joining: leaving when everything is done.")
            ask("Ending", how="join")
        elif key == "g":
            try:
                write(ask("nodes")["nodes"], os.fspath(self._root / "graph"))
                self._say("KEYBOARD", "Wrote graph.txt")
            except OSError as error:
                self._say("WARNING", f"graph.txt cannot be written: {error.strerror or error}")
        else:
            self._terminal.line("KEYBOARD", "Keys", [Page("Keys", KEYS)])


def causes(stuck: list[dict[str, Any]]) -> str:
    """Say what keeps steps from running: one line a cause, with how many wait and the first few."""
    lines = []
    for row in stuck[:20]:
        lines.append(f"{counted(row['number'], 'step')}: {row['cause']}")
        lines += [f"    {label}" for label in row["steps"][:3]]
        if row["number"] > 3:
            lines.append(f"    … and {row['number'] - 3} more")
    if len(stuck) > 20:
        lines.append(f"… and {counted(len(stuck) - 20, 'more cause')}")
    return "\n".join(lines)
