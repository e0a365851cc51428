"""The extension of one shell: its session, its hooks, its records. What `%load_ext stepup_nb` makes.

Loading starts nothing (P24): session and director come to be at the first use.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from traitlets import Bool, Integer, Unicode
from traitlets.config import SingletonConfigurable

from stepup_nb.client import current
from stepup_nb.client.handles import StepHandle
from stepup_nb.client.machine import usable_cores, workers_from
from stepup_nb.client.session import Place, Session
from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import ScopeKind
from stepup_nb.notebook import record, show, waiting
from stepup_nb.notebook.locate import Location, locate
from stepup_nb.notebook.publisher import Bundle, Live, Publisher


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
    notebook = Unicode("", help="Path of the notebook, where it cannot be found out.").tag(config=True)


class CellRecord(Live):
    """The record under a cell that declared steps."""

    def __init__(self, display_id: str) -> None:
        super().__init__(display_id, self._draw)
        self.notes: list[str] = []

    def _draw(self, rows: list[dict[str, Any]], event: dict[str, Any]) -> Bundle:
        return record.render(rows, now=time.time(), notes=self.notes)  # type: ignore[arg-type,return-value]


class Extension:
    """What stepup_nb is in one shell."""

    def __init__(self, ip: Any) -> None:
        self.ip = ip
        self.config = StepUp.instance(parent=ip)
        self.session: Session | None = None
        self.location: Location | None = None
        self._publisher: Publisher | None = None
        self._explicit: str | None = None
        self._record: CellRecord | None = None
        self._records: dict[str, CellRecord] = {}
        self._scope = ""
        self._failed = False
        self._is_quiet = False
        self._told_headless = False
        self.config.observe(self._on_workers, "workers")
        self.config.observe(self._on_outside, "outside")

    @property
    def has_front_end(self) -> bool:
        """Whether outputs can be displayed and updated: there is a kernel, and not a terminal."""
        return getattr(self.ip, "kernel", None) is not None

    # --- the session ---------------------------------------------------------------------------

    def place(self) -> Location:
        """Find out which notebook this is."""
        if self.location is None:
            explicit = self._explicit or self.config.notebook or None
            self.location = locate(self.ip.user_ns, explicit=explicit)
        return self.location

    def use_notebook(self, path: str) -> Location:
        """Take the user's word for which notebook this is; before the first use only."""
        if self.session is not None and self.session.is_started:
            raise UsageError(
                "SNB-208",
                "The session has begun with another place.",
                f"its database is '{self.place().database}'",
                "restart the kernel, and say it before the first step",
            )
        self._explicit = path
        self.location = None
        self.session = None
        self.begin_session()
        return self.place()

    def begin_session(self) -> Session:
        """Return the session; made if need be, without starting a director."""
        if self.session is None:
            found = self.place()
            place = Place(
                root=os.fspath(found.root),
                notebook=os.fspath(found.notebook) if found.notebook is not None else None,
                database=os.fspath(found.database),
                state=os.fspath(found.state_dir),
            )
            self.session = Session(place, workers=self._workers(), on_news=self.say)
            self.session.is_outside_allowed = self.config.outside
            self.session.on_declared = self._on_declared
            self.session.on_started = self._on_started
            self.session.settle = self._settle
            current.set_session(self.session)
        return self.session

    def _workers(self) -> int:
        cores = usable_cores()
        asked = workers_from(os.environ.get("STEPUP_NB_WORKERS", ""), cores)
        return self.config.workers or asked or cores

    def _on_started(self, session: Session) -> None:
        asked = self.config.workers or workers_from(os.environ.get("STEPUP_NB_WORKERS", ""), usable_cores())
        if asked is not None:
            session.set_workers(asked)
        for note in session.notes:
            self.say(note)

    def _settle(self) -> None:
        if self._publisher is not None:
            self._publisher.flush()

    def _on_workers(self, change: Any) -> None:
        if change["new"] is not None and self.session is not None and self.session.is_started:
            self.session.set_workers(change["new"])

    def _on_outside(self, change: Any) -> None:
        if self.session is not None:
            self.session.is_outside_allowed = change["new"]

    def say(self, words: str) -> None:
        """Tell the user something in the executing cell."""
        print(f"stepup_nb: {words}")

    @property
    def publisher(self) -> Publisher:
        """The thread that updates outputs; started at first use."""
        if self._publisher is None:
            self._publisher = Publisher(self.begin_session(), self._update)
        return self._publisher

    # --- hooks ---------------------------------------------------------------------------------

    def install(self) -> None:
        """Hook into the shell."""
        self.ip.events.register("pre_run_cell", self._before_cell)
        self.ip.events.register("post_run_cell", self._after_cell)
        waiting.install(self.ip, self.wait_line)
        self.begin_session()

    def uninstall(self) -> None:
        """Unhook from the shell, and end the session."""
        for name, hook in (("pre_run_cell", self._before_cell), ("post_run_cell", self._after_cell)):
            with contextlib.suppress(ValueError):
                self.ip.events.unregister(name, hook)
        waiting.uninstall(self.ip)
        if self._publisher is not None:
            self._publisher.flush()
            self._publisher.close()
        if self.session is not None:
            self.session.close()
        current.set_session(None)
        StepUp.clear_instance()

    def _before_cell(self, info: Any) -> None:
        if info.silent:
            return
        cell_id = getattr(info, "cell_id", None)
        count = self.ip.execution_count
        first = next((line for line in info.raw_cell.splitlines() if line.strip()), "")
        title = f"cell [{count}] '{first.strip()[:60]}'"
        if cell_id:
            self._scope, kind = f"cell:{cell_id}", ScopeKind.CELL
        else:
            self._scope, kind = f"run:{secrets.token_hex(6)}", ScopeKind.RUN
        self._record = None
        self._is_quiet = False
        self.begin_session().open_scope(self._scope, kind, title, self._deleted())

    def _deleted(self) -> list[str]:
        parent = getattr(self.ip, "parent_header", None) or {}
        found = parent.get("metadata", {}).get("deletedCells", ()) if isinstance(parent, dict) else ()
        return [f"cell:{cell}" for cell in found if isinstance(cell, str)]

    def _after_cell(self, result: Any) -> None:
        if not self._scope or self.session is None:
            return
        scope, self._scope = self._scope, ""
        self.session.close_scope(scope, is_ok=result.success)
        if self._record is not None:
            self.publisher.flush()
            self._record = None

    # --- records -------------------------------------------------------------------------------

    def quiet(self) -> None:
        """Show no record under the executing cell."""
        self._is_quiet = True

    def _on_declared(self, scope: str, handle: StepHandle) -> None:
        if not self.has_front_end or self._is_quiet or not self.config.records:
            return
        if scope == self._scope and threading.current_thread() is threading.main_thread():
            if self._record is None:
                self._begin_record(scope, handle)
                return
        live = self._records.get(scope)
        if live is not None:
            live.notes += [note for note in handle.notes if note not in live.notes]
            self.publisher.add_steps(live, [{"name": handle.name}])

    def _begin_record(self, scope: str, handle: StepHandle) -> None:
        live = CellRecord(f"stepup-{secrets.token_hex(8)}")
        live.notes += handle.notes
        if not self._is_live_front_end() and not self._told_headless:
            self._told_headless = True
            live.notes.append(
                "no front end is watching: a notebook that does not end in '%stepup wait' loses what still runs"
            )
        rows = self.begin_session().known_rows([handle.name])
        for row in rows:
            live.steps[row["name"]] = row
        live.last_bundle = live.draw(rows, {})
        from IPython.display import publish_display_data

        publish_display_data(live.last_bundle, transient={"display_id": live.display_id})
        old = self._records.get(scope)
        if old is not None:
            self.publisher.drop(old)
        self._record = self._records[scope] = live
        self.publisher.follow(live)

    def _is_live_front_end(self) -> bool:
        return self._scope.startswith("cell:") or "JPY_SESSION_NAME" in os.environ

    def _update(self, display_id: str, bundle: Bundle) -> None:
        from IPython.display import publish_display_data

        publish_display_data(bundle, transient={"display_id": display_id}, update=True)

    # --- waiting -------------------------------------------------------------------------------

    async def wait_line(self, line: str) -> None:
        """Do ``%stepup wait`` as an await: the kernel answers the front end meanwhile."""
        from stepup_nb.notebook.magics import WaitLine

        asked = WaitLine.parse(line, self)
        progress = self._show_progress()
        try:
            report = await waiting.wait_async(self.begin_session().begin_wait(asked.steps, asked.timeout))
        finally:
            self._end_progress(progress)
        asked.finish(report)

    def wait(self, steps: list[str] | None, timeout: float | None) -> dict[str, Any]:
        """Wait in whatever way this kernel allows from where this is called; return the report."""
        done = self.begin_session().begin_wait(steps, timeout)
        progress = self._show_progress()
        try:
            if waiting.choose(self.ip) == "nested":
                return waiting.wait_nested(done, self.ip.kernel)
            return waiting.wait_blocking(done)
        finally:
            self._end_progress(progress)

    def _show_progress(self) -> Live | None:
        if not self.has_front_end or not self._scope:
            return None
        live = Live(f"stepup-{secrets.token_hex(8)}", _draw_progress)
        live.follows_all = True
        live.last_bundle = {"text/plain": "waiting …"}
        from IPython.display import publish_display_data

        publish_display_data(live.last_bundle, transient={"display_id": live.display_id})
        self.publisher.follow(live)
        return live

    def _end_progress(self, live: Live | None) -> None:
        if self._publisher is not None:
            if live is not None:
                status = self.begin_session().status()
                live.draw = lambda rows, event: _draw_progress(rows, status)
                live.is_dirty = True
            self._publisher.flush()
            if live is not None:
                self._publisher.drop(live)

    # --- for `%stepup doctor` ------------------------------------------------------------------

    def doctor(self) -> list[tuple[str, str]]:
        """Return what is known about this machine, kernel and session, in words."""
        import platform

        import IPython

        found = self.place()
        facts = [
            ("notebook", f"{found.notebook or 'not found'} ({found.how})"),
            ("root", os.fspath(found.root)),
            ("database", f"{found.database}{'' if Path(found.database).exists() else ' (not there yet)'}"),
            ("python", f"{platform.python_version()} on {platform.system()}"),
            ("ipython", IPython.__version__),
        ]
        with contextlib.suppress(ImportError):
            import ipykernel

            facts.append(("ipykernel", ipykernel.__version__))
        facts.append(("waiting", {"await": "as an await, buttons work meanwhile", "nested": "nested in the cell",
                                  "plain": "blocking"}[waiting.choose(self.ip)]))  # fmt: skip
        facts.append(("cores", f"{usable_cores()} usable of {os.cpu_count()}"))
        if self.session is not None and self.session.is_started:
            status = self.session.status()
            facts.append(("director", f"process {status['director_pid']}, {show.counts(status['counts'])}"))
            facts += [("note", note) for note in self.session.notes]
        else:
            facts.append(("director", "none: it starts at the first step or pool"))
        return facts


def _draw_progress(rows: list[dict[str, Any]], event: dict[str, Any]) -> Bundle:
    words = show.counts(event.get("counts", {})) if event else "waiting …"
    pools = [show.pool_words(pool) for pool in event.get("pools", ()) if pool["used"] or pool["waiting"]]
    return {"text/plain": "; ".join([words, *pools])}
