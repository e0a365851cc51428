"""The records of a shell's cells: when one begins, what it is about, and how it and its updates are sent.

What a record says is `outputs`, when it is updated is `publisher`. Knows of a cell what `cells` says, and of
the session only the handles and rows of steps.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepup_nb.client.handles import StepHandle
from stepup_nb.client.machine import usable_memory
from stepup_nb.client.session import Session
from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import ScopeKind
from stepup_nb.notebook import ansi
from stepup_nb.notebook.cells import Cell
from stepup_nb.notebook.keep_alive import KeepAlive
from stepup_nb.notebook.outputs import CellRecord, Narration, PoolLine, new_id
from stepup_nb.notebook.publisher import Bundle, Live, Publisher, Row

if TYPE_CHECKING:
    from stepup_nb.notebook.panel.controls import Controls
    from stepup_nb.notebook.panel.live import PanelLive
    from stepup_nb.notebook.panel.widget import Panel

_NOBODY = "stepup_nb.keep_alive"
"""No comm has this id."""

_UNWATCHED = "no front end is watching: a notebook that does not end in '%stepup wait' loses what still runs"


@dataclass(frozen=True, slots=True)
class _ShownPanel:
    """The panel of this kernel, whether or not anybody looks."""

    widget: Panel
    live: PanelLive
    controls: Controls


class Records:
    """What stands under the cells of one shell that is a kernel's.

    Parameters
    ----------
    ip
        The shell.
    begin_session
        Returns the session.
    say
        Tells the user something at the next occasion.
    """

    def __init__(self, ip: Any, begin_session: Callable[[], Session], say: Callable[[str], None]) -> None:
        self.publisher: Publisher | None = None
        self._say = say
        self._ip = ip
        self._begin_session = begin_session
        self._display_pub: Any = None
        self._by_scope: dict[str, CellRecord] = {}
        """The record of the last round of each cell."""
        self._pool_lines: dict[tuple[str, str], PoolLine] = {}
        """By scope and name of the pool."""
        self._narration: Narration | None = None
        self._keeper: KeepAlive | None = None
        self._panel: _ShownPanel | None = None
        self._panel_ids: list[str] = []
        self._pictures: list[str] = []
        """Panels where nobody watches."""
        self._warned: CellRecord | None = None
        """The one with the warning that nobody watches, until somebody waits."""

    def show(self, live: Live, event: Row | None = None) -> None:
        """Display an output in the executing cell, and keep it up to date; `event` is what is known by now."""
        publisher = self._begun_publisher()
        # First followed: an interrupt in between must not leave an output that nobody completes.
        publisher.follow(live)
        self._display(live, event)

    def _begun_publisher(self) -> Publisher:
        if self.publisher is None:
            session = self._begin_session()

            def tell(note: str) -> None:
                # What the director said when it started was told then.
                if note not in session.notes:
                    self._say(note)

            self.publisher = Publisher(session, self._update, tell)
        return self.publisher

    def keep_alive(self, is_wanted: Callable[[], bool]) -> None:
        """Let the kernel give a sign of life now and then while steps run."""
        if self._keeper is None:
            self._keeper = KeepAlive(self._beat, is_wanted)
            self._begun_publisher().follow(self._keeper)

    def add(self, cell: Cell | None, scope: str, handle: StepHandle) -> None:
        """Show a step that has been declared just now, in the record of the cell that declared it."""
        if cell is None or cell.scope != scope:
            # A task of a cell that has ended.
            live = self._by_scope.get(scope)
        elif cell.record is not None:
            live = cell.record
        elif cell.thread == threading.get_ident():
            self._begin(cell, [*cell.postponed, handle])
            return
        else:
            cell.postponed.append(handle)
            return
        if live is not None and self.publisher is not None:
            self.publisher.add_steps(live, [handle.name])

    def _begin(self, cell: Cell, handles: list[StepHandle]) -> None:
        live = CellRecord()
        for handle in handles:
            live.steps[handle.name] = {"name": handle.name}
        if not _is_watched(cell) and self._warned is None:
            live.notes.append(_UNWATCHED)
            self._warned = live
        for row in self._begin_session().known_rows(list(live.steps)):
            live.steps[row["name"]] = row
        old = self._by_scope.get(cell.scope)
        if old is not None and self.publisher is not None:
            self.publisher.drop(old)
        cell.record = self._by_scope[cell.scope] = live
        cell.postponed = []
        self.show(live)

    def end_cell(self, cell: Cell) -> None:
        """Complete what the cell shows, now that it has ended."""
        if cell.postponed and cell.record is None:
            self._begin(cell, cell.postponed)
        if self.publisher is None or _is_watched(cell):
            return
        # Clients without a browser may take no update once the last cell has ended.
        if cell.has_waited:
            self.publisher.flush()
            self._draw_pictures()
        elif cell.record is not None:
            self.publisher.flush([cell.record])

    def end_wait(self, *, is_all: bool) -> None:
        """Bring everything that is shown up to date; whoever waited for all has heeded the warning."""
        if self._warned is not None and is_all:
            self._warned.notes.remove(_UNWATCHED)
            if self.publisher is not None:
                self.publisher.touch(self._warned)
            self._warned = None
        self.flush()

    def flush(self) -> None:
        """Bring everything that is shown up to date."""
        if self.publisher is not None:
            self.publisher.flush()

    def show_handle(self, cell: Cell | None, handle: StepHandle) -> None:
        """Show a step as a cell's value, unless the record under the cell shows it already."""
        if cell is not None and cell.record is not None and handle.name in cell.record.steps:
            return
        once = CellRecord()
        once.steps = {row["name"]: row for row in self._begin_session().known_rows([handle.name])}
        if once.steps:
            self._display(once)
        else:
            print(f"step '{ansi.one_line(handle.name, 200)}' is not known any more")

    def show_pool(self, cell: Cell, row: Row) -> None:
        """Show the size that a cell has given to a pool, and later what other cells make of it."""
        old = self._pool_lines.pop((cell.scope, row["name"]), None)
        if old is not None and self.publisher is not None:
            self.publisher.drop(old)
        live = self._pool_lines[cell.scope, row["name"]] = PoolLine(row)
        self.show(live, {})

    def narrate(self, is_on: bool) -> bool:
        """Show in the executing cell why the scheduler decides as it does, or no longer; return whether it did.

        The cell that showed it before keeps what was said by then.
        """
        old, self._narration = self._narration, None
        session = self._begin_session()
        if old is not None and self.publisher is not None:
            self.publisher.flush([old])
            old.end()
            self.publisher.touch(old)
            self.publisher.flush([old])
            self.publisher.drop(old)
        if is_on:
            live = self._narration = Narration()
            self.show(live, {})
            session.narrate(True)
            # What the same cell declares next is to be heard of, too.
            self._begun_publisher().flush([live])
        elif old is not None:
            session.narrate(False)
        return old is not None

    # --- the panel -----------------------------------------------------------------------------

    def show_panel(self, cell: Cell | None, mode: str) -> None:
        """Show the panel in the executing cell; all that are shown are views of the same one.

        Where nobody watches it is a picture, which is drawn anew at the end of each wait.
        """
        from IPython.display import publish_display_data

        display_id = new_id()
        if cell is not None and not _is_watched(cell):
            self._pictures.append(display_id)
            data, metadata = self._still_panel(), None
        else:
            shown = self._begin_panel(mode)
            self._panel_ids.append(display_id)
            data, metadata = shown.widget._repr_mimebundle_()
        publish_display_data(data, metadata, transient={"display_id": display_id})

    def _draw_pictures(self) -> None:
        if self._pictures:
            bundle = self._still_panel()
            for display_id in self._pictures:
                self._update(display_id, bundle)

    def _begin_panel(self, mode: str) -> _ShownPanel:
        if self._panel is None:
            # Together they import half of ipywidgets.
            from stepup_nb.notebook.panel.controls import Controls
            from stepup_nb.notebook.panel.feed import Feed
            from stepup_nb.notebook.panel.live import PanelLive
            from stepup_nb.notebook.panel.widget import Panel

            session, publisher = self._begin_session(), self._begun_publisher()
            widget = Panel(self._still_panel, mode=mode)
            hub = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "")
            state = Feed(Path(session.place.notebook or "").name, usable_memory(), hub)
            live = PanelLive(widget.tell, state)
            controls = Controls(live, self._begin_session, lambda: publisher.touch(live))
            widget.listen(controls.take)
            publisher.follow(live)
            publisher.touch(live)
            self._panel = _ShownPanel(widget, live, controls)
        else:
            self._panel.widget.mode = mode
        return self._panel

    def _still_panel(self) -> Bundle:
        """Return the panel as it is now, for where nothing is live."""
        from stepup_nb.notebook.panel import static

        session = self._begin_session()
        return static.render(session.status(), session.history(), time.time())

    def freeze(self) -> int:
        """Turn all panels that were shown into pictures; return how many."""
        ids, self._panel_ids = self._panel_ids, []
        shown, self._panel = self._panel, None
        if shown is not None and self.publisher is not None:
            self.publisher.drop(shown.live)
            shown.controls.close()
            # A picture is no reason to start another director, nor what is missing one to fail.
            if "lost" not in self.publisher.last_event:
                with contextlib.suppress(UsageError):
                    bundle = self._still_panel()
                    for display_id in ids:
                        self._update(display_id, bundle)
            shown.widget.close()
        return len(ids)

    def close(self) -> None:
        """Leave everything as it is from now on."""
        if self.publisher is not None:
            self.freeze()
            # A kernel that ends is not given more.
            self.publisher.flush(timeout=1.0)
            self.publisher.close()

    # --- displays ------------------------------------------------------------------------------

    def _display(self, live: Live, event: Row | None = None) -> None:
        from IPython.display import publish_display_data

        if event is None:
            event = self.publisher.last_event if self.publisher is not None else {}
        live.last_bundle = live.draw([row for row in live.steps.values() if "state" in row], event)
        publish_display_data(live.last_bundle, transient={"display_id": live.display_id})

    def _update(self, display_id: str, bundle: Bundle) -> None:
        """Replace an output; called in the publisher's thread."""
        from IPython.core.displaypub import CapturingDisplayPublisher

        # '%%capture' puts another one in the place of the kernel's: not meant for what other cells show.
        if not isinstance(self._ip.display_pub, CapturingDisplayPublisher):
            self._display_pub = self._ip.display_pub
        if self._display_pub is not None:
            self._display_pub.publish(bundle, transient={"display_id": display_id}, update=True)

    def _beat(self) -> None:
        """Send a message that says nothing; called in the publisher's thread.

        A server takes for activity what belongs to no request, and updates of outputs only as long as the last
        request was no mere question. Front ends ignore what is said to a comm that they do not know.
        """
        kernel = self._ip.kernel
        kernel.session.send(kernel.iopub_socket, "comm_msg", {"comm_id": _NOBODY, "data": {}}, parent={})


def _is_watched(cell: Cell) -> bool:
    """Tell whether a person's front end is there, which takes updates after the last cell, too."""
    return cell.kind is ScopeKind.CELL or "JPY_SESSION_NAME" in os.environ
