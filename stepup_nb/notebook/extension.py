"""The extension of one shell: its session, its settings, its waits. What `%load_ext stepup_nb` makes.

Loading starts nothing and asks nobody: the director comes with the first step or pool, and which notebook this
is, which its server may have to be asked, is found out then.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from traitlets import Bool, Integer, Unicode
from traitlets.config import SingletonConfigurable

from stepup_nb.client import current, failures
from stepup_nb.client.audit import Asked, Audit, Report
from stepup_nb.client.handles import StepHandle
from stepup_nb.client.machine import usable_cores, workers_from
from stepup_nb.client.session import Place, Session
from stepup_nb.core.errors import UsageError
from stepup_nb.notebook import ansi, show, waiting
from stepup_nb.notebook.audits import Audited, AuditLine
from stepup_nb.notebook.cells import Cell, Cells
from stepup_nb.notebook.locate import Location, locate
from stepup_nb.notebook.outputs import Progress, TerminalLine
from stepup_nb.notebook.records import Records

T = TypeVar("T")


class StepUp(SingletonConfigurable):
    """Settings of stepup_nb, for ``%config StepUp``."""

    workers = Integer(
        None,
        allow_none=True,
        min=1,
        help="Steps running at once. None: what the database remembers, else the cores.",
    ).tag(config=True)
    outside = Bool(False, help="Whether outputs may lie outside the notebook's folder.").tag(config=True)
    records = Bool(True, help="Whether a cell shows the record of the steps that it declares.").tag(
        config=True
    )
    keep_alive = Bool(
        True, help="Whether hubs are told, twice a minute, that the kernel is at work while steps run."
    ).tag(config=True)
    warm = Bool(
        True,
        help="Whether Python steps start in interpreters that wait for them, instead of a fresh one each.",
    ).tag(config=True)
    notebook = Unicode("", help="Path of the notebook, where it cannot be found out.").tag(config=True)


@dataclass(slots=True)
class _Wait:
    """A wait under way."""

    steps: list[str] | None
    """Those that are named; None means all."""
    done: Future[dict[str, Any]] = field(default_factory=Future)
    live: Progress | None = None
    on_screen: TerminalLine | None = None

    @property
    def report(self) -> dict[str, Any]:
        """Empty until it has ended by itself."""
        return _result(self.done) or {}


@dataclass(slots=True)
class _Auditing:
    """An audit under way."""

    audit: Audit | None = None
    """None until it has begun."""
    line: AuditLine | None = None
    on_screen: TerminalLine | None = None

    @property
    def result(self) -> Audited | None:
        """None until it has ended by itself."""
        report = None if self.audit is None else _result(self.audit.done)
        return None if report is None else Audited(report)


def _result(done: Future[T]) -> T | None:
    """Return the result if there is one."""
    if not done.done() or done.cancelled() or done.exception() is not None:
        return None
    return done.result()


_AUDIT_INTERRUPTED = "audit interrupted; nothing of it is left, and the session's steps keep running"


def _broken_off(words: str = "") -> BaseException:
    """Return what a wait raises that was interrupted."""
    return failures.without_traceback(KeyboardInterrupt(words or "wait interrupted; steps keep running"))


class Extension:
    """What stepup_nb is in one shell."""

    def __init__(self, ip: Any) -> None:
        self.ip = ip
        self.config = StepUp.instance(parent=ip)
        self.session: Session | None = None
        self._location: Location | None = None
        self._explicit = ""
        self._cells = Cells(ip, self._open, self._close)
        self._records = Records(ip, self.begin_session, self.say)
        self._is_quiet = False
        self._news: list[str] = []

    @property
    def has_front_end(self) -> bool:
        """Whether outputs can be displayed and updated: there is a kernel, and not a terminal."""
        return getattr(self.ip, "kernel", None) is not None

    # --- loading -------------------------------------------------------------------------------

    def install(self) -> None:
        """Hook into the shell."""
        waiting.install(self.ip, wait=self.wait_line, audit=self.audit_line)
        for name, call in self._observers().items():
            self.config.observe(call, name)
        if self.has_front_end:
            self.ip.display_formatter.ipython_display_formatter.for_type(StepHandle, self._show_handle)
        current.set_remark(self.say)
        self.begin_session()
        self._cells.install()
        # Where a kernel ends in order, the director does, too; where it does not, the guard sees to it.
        atexit.register(self._end_session)

    def uninstall(self) -> None:
        """Unhook from the shell, and end the session."""
        self._cells.uninstall()
        waiting.uninstall(self.ip)
        for name, call in self._observers().items():
            self.config.unobserve(call, name)
        if self.has_front_end:
            with contextlib.suppress(KeyError):
                self.ip.display_formatter.ipython_display_formatter.pop(StepHandle)
        self._records.close()
        self._end_session()
        atexit.unregister(self._end_session)
        current.set_session(None)
        current.set_remark(None)
        StepUp.clear_instance()

    def _end_session(self) -> None:
        if self.session is not None:
            self.session.close()

    def _observers(self) -> dict[str, Callable[[Any], None]]:
        return {
            "workers": self._on_workers,
            "outside": self._on_outside,
            "warm": self._on_warm,
            "notebook": self._on_notebook,
        }

    def _on_workers(self, change: Any) -> None:
        if change["new"] is not None and self.session is not None and self.session.is_started:
            self.session.set_workers(change["new"])

    def _on_outside(self, change: Any) -> None:
        if self.session is not None:
            self.session.is_outside_allowed = change["new"]

    def _on_warm(self, change: Any) -> None:
        if self.session is not None and self.session.is_started:
            self.session.use_warm(change["new"])

    def _on_notebook(self, change: Any) -> None:
        self.use_notebook(change["new"])

    # --- the session ---------------------------------------------------------------------------

    def place(self) -> Location:
        """Find out which notebook this is."""
        if self._location is None:
            explicit = self._explicit or self.config.notebook or None
            # Somebody may have changed the current folder since the kernel was started.
            start = getattr(self.ip, "starting_dir", None)
            self._location = locate(self.ip.user_ns, explicit=explicit, cwd=start)
        return self._location

    def use_notebook(self, path: str) -> Location:
        """Take the user's word for which notebook this is; before the first use only.

        Raises
        ------
        UsageError
            SNB-208: the session has begun.
        """
        if self.session is not None and self.session.is_started:
            raise UsageError(
                "SNB-208",
                "The session has begun with another place.",
                f"its database is '{self.place().database}'",
                "restart the kernel, and say it before the first step",
            )
        self._explicit = path
        self._location = self.session = None
        self.begin_session()
        return self.place()

    def begin_session(self) -> Session:
        """Return the session; made if need be, without starting a director."""
        if self.session is None:
            # Which notebook this is may take asking its server, and loading asks nobody.
            session = Session(self._place, workers=self._asked_workers() or usable_cores(), on_news=self.say)
            session.is_outside_allowed = self.config.outside
            session.on_declared = self._on_declared
            session.on_started = self._on_started
            session.on_wait = self._on_wait
            session.settle = self._records.flush
            self.session = session
            current.set_session(session)
            if self._cells.current is not None:
                self._open(self._cells.current)
        return self.session

    def _place(self) -> Place:
        found = self.place()
        return Place(
            root=os.fspath(found.root),
            notebook=os.fspath(found.notebook) if found.notebook is not None else None,
            database=os.fspath(found.database),
            state=os.fspath(found.state_dir),
        )

    def _asked_workers(self) -> int | None:
        asked: int | None = self.config.workers
        return asked or workers_from(os.environ.get("STEPUP_NB_WORKERS", ""), usable_cores())

    def _on_started(self, session: Session) -> None:
        asked = self._asked_workers()
        if asked is not None:
            session.set_workers(asked)
        if not self.config.warm:
            session.use_warm(False)
        for note in session.notes:
            self.say(note)
        if self._records.publisher is not None:
            self._records.publisher.reconnect()
        if self.has_front_end:
            self._records.keep_alive(lambda: bool(self.config.keep_alive))

    def _on_wait(self) -> None:
        if self._cells.current is not None:
            self._cells.current.has_waited = True

    # --- cells ---------------------------------------------------------------------------------

    def _open(self, cell: Cell) -> None:
        self.begin_session().open_scope(cell.scope, cell.kind, cell.title, cell.deleted)

    def _close(self, cell: Cell, is_ok: bool) -> None:
        try:
            self.begin_session().close_scope(cell.scope, is_ok=is_ok)
        except UsageError as error:
            self.say(str(error))
        self._records.end_cell(cell)
        self._tell_news()

    def say(self, words: str) -> None:
        """Tell the user something in the executing cell; a thread's news waits for the next occasion."""
        self._news.append(words)
        if threading.current_thread() is threading.main_thread():
            self._tell_news()

    def _tell_news(self) -> None:
        while self._news:
            print(ansi.visible(f"stepup_nb: {self._news.pop(0)}"))

    @contextlib.contextmanager
    def quietly(self, is_quiet: bool = True) -> Iterator[None]:
        """Show no record of the steps that are declared meanwhile."""
        self._is_quiet = is_quiet
        try:
            yield
        finally:
            self._is_quiet = False

    def _on_declared(self, scope: str, handle: StepHandle) -> None:
        if self.has_front_end and self.config.records and not self._is_quiet:
            self._records.add(self._cells.current, scope, handle)

    def _show_handle(self, handle: StepHandle) -> None:
        self._records.show_handle(self._cells.current, handle)

    def show_pool(self, row: dict[str, Any]) -> None:
        """Show the size that a pool has been given."""
        cell = self._cells.current
        if self.has_front_end and self.config.records and cell is not None:
            self._records.show_pool(cell, row)
        else:
            print(show.pool_words(row))

    def show_panel(self, mode: str) -> None:
        """Show the live panel in the executing cell; `mode` is how it begins, ``full`` or ``compact``."""
        self._records.show_panel(self._cells.current, mode)

    def narrate(self, is_on: bool) -> bool:
        """Show in the executing cell why the scheduler decides as it does, or no longer; return whether it did."""
        return self._records.narrate(is_on)

    def freeze(self) -> int:
        """Turn all panels into pictures; return how many."""
        return self._records.freeze()

    # --- waiting -------------------------------------------------------------------------------

    async def wait_line(self, line: str) -> None:
        """Do ``%stepup wait`` as an await: the kernel answers the front end meanwhile."""
        from stepup_nb.notebook.asked import WaitLine

        asked = WaitLine.parse(line, self.ip.user_ns)
        wait = _Wait(asked.steps)
        report = await self._awaited(
            lambda: self._begin_wait(wait, asked.timeout), lambda: self._end_wait(wait)
        )
        asked.finish(report)

    async def audit_line(self, line: str) -> None:
        """Do ``%stepup audit`` as an await, likewise."""
        from stepup_nb.notebook.asked import audit_asked

        asked, under_way = audit_asked(line, self.ip.user_ns), _Auditing()
        await self._awaited(
            lambda: self._begin_audit(under_way, asked, False),
            lambda: self._end_audit(under_way),
            _AUDIT_INTERRUPTED,
        )

    async def _awaited(self, begin: Callable[[], Future[T]], end: Callable[[], None], words: str = "") -> T:
        """Begin something that takes long, await its end, and end it in any case.

        `words` are what an interrupt says, if not that steps keep running.
        """
        try:
            return await waiting.wait_async(begin())
        except asyncio.CancelledError:
            # This is a line of a cell, which only an interrupt cancels: one that came before the wait began.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            raise _broken_off(words) from None
        except KeyboardInterrupt as interrupt:
            raise _broken_off(words or str(interrupt)) from None
        finally:
            end()

    def wait(self, steps: list[str] | None, timeout: float | None) -> dict[str, Any]:
        """Wait in whatever way this kernel allows from where this is called; return the report."""
        wait = _Wait(steps)
        return self._waited(
            lambda: self._begin_wait(wait, timeout),
            lambda: self._end_wait(wait),
            lambda: wait.on_screen,
        )

    def audit(self, asked: Asked, *, is_brief: bool = False) -> Audited:
        """Audit steps, likewise; return what was found.

        Parameters
        ----------
        asked
            What is audited.
        is_brief
            Show one line in the end, since the caller has the result.
        """
        under_way = _Auditing()
        report = self._waited(
            lambda: self._begin_audit(under_way, asked, is_brief),
            lambda: self._end_audit(under_way),
            lambda: under_way.on_screen,
            _AUDIT_INTERRUPTED,
        )
        return Audited(report)

    def _waited(
        self,
        begin: Callable[[], Future[T]],
        end: Callable[[], None],
        on_screen: Callable[[], TerminalLine | None],
        words: str = "",
    ) -> T:
        """Begin something that takes long, wait for its end, and end it in any case; `words` as in `_awaited`."""
        # Not as a context manager: an interrupt between its entry and the block would end nothing in order.
        try:
            done = begin()
            if waiting.choose(self.ip) == "nested":
                return waiting.wait_nested(done, self.ip.kernel)
            line = on_screen()
            return waiting.wait_blocking(done, tick=line.tick if line is not None else None)
        except KeyboardInterrupt as interrupt:
            raise _broken_off(words or str(interrupt)) from None
        finally:
            end()

    def finish(self) -> dict[str, int]:
        """Wait for all steps, show everything as it is then, and count what did not succeed.

        Returns
        -------
        dict
            ``failed`` (or cancelled) and ``pending`` (what cannot run): numbers of steps.
        """
        if self.session is None or not self.session.is_started:
            return {"failed": 0, "pending": 0}
        report = self.wait(None, None)
        # Whoever opens the notebook later has another kernel, and no use for a panel of this one.
        self._records.freeze()
        return {"failed": len(report["failed"]), "pending": sum(row["number"] for row in report["stuck"])}

    def _begin_wait(self, wait: _Wait, timeout: float | None) -> Future[dict[str, Any]]:
        """Begin a wait, and show how far it is."""
        session = self.begin_session()
        names = None if wait.steps is None else [row["name"] for row in session.rows(wait.steps)]
        wait.done = session.begin_wait(wait.steps, timeout)
        if not self.has_front_end:
            wait.on_screen = TerminalLine(session.status, Progress(names, {}))
        elif self._cells.current is not None:
            status = session.status()
            wait.live = Progress(names, status["counts"])
            self._records.show(wait.live, status)
        return wait.done

    def _end_wait(self, wait: _Wait) -> None:
        """Bring everything that is shown up to date."""
        if wait.on_screen is not None:
            wait.on_screen.end(wait.report or None)
        publisher, live = self._records.publisher, wait.live
        if live is not None and publisher is not None:
            live.end(wait.report or None)
            publisher.touch(live)
        self._records.end_wait(is_all=wait.steps is None and bool(wait.report))
        if live is not None and publisher is not None:
            publisher.drop(live)
        self._tell_news()

    def _begin_audit(self, under_way: _Auditing, asked: Asked, is_brief: bool) -> Future[Report]:
        """Begin an audit, and show how far it is."""
        audit = under_way.audit = Audit(self.begin_session(), asked)
        line = AuditLine(audit, is_brief=is_brief)
        if not self.has_front_end:
            under_way.on_screen = TerminalLine(lambda: {"steps": []}, line)
        elif self._cells.current is not None:
            under_way.line = line
            self._records.show(line, {})
        # Whoever interrupts from here on has something to stop.
        audit.start()
        return audit.done

    def _end_audit(self, under_way: _Auditing) -> None:
        """End an audit that was broken off, and show what it found."""
        if under_way.audit is None:
            return
        # It has copies of the project, and processes.
        under_way.audit.stop()
        publisher, line = self._records.publisher, under_way.line
        if under_way.on_screen is not None:
            under_way.on_screen.end(under_way.result)
        elif line is not None and publisher is not None:
            line.end(under_way.result)
            publisher.touch(line)
            self._records.flush()
            publisher.drop(line)

    # --- for `%stepup doctor` ------------------------------------------------------------------

    def doctor(self) -> list[tuple[str, str]]:
        """Return what is known about this machine, kernel and session, in words."""
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found = self.place()
        ways = {
            "await": "as an await, buttons work meanwhile",
            "nested": "nested in the cell, buttons work meanwhile",
            "plain": "blocking",
        }
        facts = [
            ("notebook", f"{found.notebook or 'not found'} ({found.how})"),
            ("root", os.fspath(found.root)),
            ("database", f"{found.database}{'' if Path(found.database).exists() else ' (not there yet)'}"),
            ("python", f"{platform.python_version()} on {platform.system()}"),
        ]
        for name in ("stepup_nb", "ipython", "ipykernel"):
            with contextlib.suppress(PackageNotFoundError):
                facts.append((name, version(name)))
        facts.append(("waiting", ways[waiting.choose(self.ip)]))
        facts.append(("cores", f"{usable_cores()} usable of {os.cpu_count()}"))
        if self.session is not None and self.session.is_started:
            status = self.session.status()
            facts.append(("director", f"process {status['director_pid']}, {show.counts(status['counts'])}"))
            facts += [("note", note) for note in self.session.notes]
        else:
            facts.append(("director", "none: it starts at the first step or pool"))
        if self._records.publisher is not None:
            facts += [("trouble", trouble) for trouble in self._records.publisher.troubles[-3:]]
        return facts
