"""Which cell executes: its scope, its title, where it begins and where it ends.

Knows the events of IPython's shell and what a front end says of a cell; nothing of steps and sessions.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepup_nb.client.handles import StepHandle
from stepup_nb.core.model import ScopeKind
from stepup_nb.notebook.outputs import CellRecord

TITLE = 60
"""Characters of a cell's first line in its title."""


@dataclass(slots=True)
class Cell:
    """A cell that executes."""

    scope: str
    kind: ScopeKind
    title: str
    deleted: list[str]
    """Scopes of cells that the front end says are gone."""
    text: str
    request: str | None
    """The front end's request for it; None in a terminal."""
    inner: list[str] = field(default_factory=list)
    """Texts that it is just running through ``run_cell``: they are a part of it."""
    thread: int = field(default_factory=threading.get_ident)
    """The one that executes it: of a subshell's cell it is not the main one."""
    record: CellRecord | None = None
    postponed: list[StepHandle] = field(default_factory=list)
    """Declared by its threads, which cannot show anything themselves."""
    has_waited: bool = False


class Cells:
    """Follows the cells of one shell.

    Parameters
    ----------
    ip
        The shell.
    on_begin, on_end
        Called with a cell, in its context; at its end also with whether it raised nothing.
    """

    def __init__(
        self, ip: Any, on_begin: Callable[[Cell], None], on_end: Callable[[Cell, bool], None]
    ) -> None:
        self._executing: list[Cell] = []
        self._ip = ip
        self._on_begin = on_begin
        self._on_end = on_end

    @property
    def current(self) -> Cell | None:
        """The cell that executes in this thread, or, for a thread that executes none, in the main one."""
        main = threading.main_thread().ident
        return self._executed_by(threading.get_ident()) or (self._executed_by(main) if main else None)

    def _executed_by(self, thread: int) -> Cell | None:
        return next((cell for cell in tuple(self._executing) if cell.thread == thread), None)

    def _asked_for_by(self, request: str | None) -> Cell | None:
        return next((cell for cell in tuple(self._executing) if cell.request == request), None)

    def install(self) -> None:
        """Hook into the shell; the cell that does it may go on, and counts from here."""
        self._ip.events.register("pre_run_cell", self._before)
        self._ip.events.register("post_run_cell", self._after)
        executing = getattr(self._ip.displayhook, "exec_result", None)
        if executing is not None and executing.info is not None:
            self._before(executing.info)

    def uninstall(self) -> None:
        """Unhook from the shell."""
        for name, hook in (("pre_run_cell", self._before), ("post_run_cell", self._after)):
            with contextlib.suppress(ValueError):
                self._ip.events.unregister(name, hook)

    def _before(self, info: Any) -> None:
        if info.silent:
            return
        request = self._request()
        outer = self._asked_for_by(request)
        if outer is not None:
            outer.inner.append(info.raw_cell)
            return
        lost = self._executed_by(threading.get_ident())
        if lost is not None:
            # Nobody told us of its end.
            self._end(lost, is_ok=False)
        cell_id = getattr(info, "cell_id", None)
        first = next((line.strip() for line in info.raw_cell.splitlines() if line.strip()), "")
        cell = Cell(
            scope=f"cell:{cell_id}" if cell_id else f"run:{secrets.token_hex(6)}",
            kind=ScopeKind.CELL if cell_id else ScopeKind.RUN,
            # The prompt's own count: when the shell's is raised depends on the version of IPython.
            title=f"cell [{self._ip.displayhook.prompt_count}] '{first[:TITLE]}'",
            deleted=self._deleted(),
            text=info.raw_cell,
            request=request,
        )
        self._executing.append(cell)
        self._on_begin(cell)

    def _after(self, result: Any) -> None:
        """Take note that a text has been run; None stands for one that was cancelled."""
        cell = self._executed_by(threading.get_ident()) or self._asked_for_by(self._request())
        if cell is None:
            return
        text = result.info.raw_cell if result is not None and result.info is not None else None
        if cell.inner and text in (None, cell.inner[-1]):
            cell.inner.pop()
        elif text in (None, cell.text):
            # An empty text that a cell runs ends without having begun: it is neither of the two.
            self._end(cell, is_ok=result is not None and result.success)

    def _end(self, cell: Cell, *, is_ok: bool) -> None:
        self._executing.remove(cell)
        self._on_end(cell, is_ok)

    # --- what the front end says ---------------------------------------------------------------

    def _parent(self) -> dict[str, Any]:
        kernel = getattr(self._ip, "kernel", None)
        found = kernel.get_parent() if kernel is not None else None
        return found if isinstance(found, dict) else {}

    def _request(self) -> str | None:
        found = self._parent().get("header", {}).get("msg_id")
        return found if isinstance(found, str) else None

    def _deleted(self) -> list[str]:
        found = self._parent().get("metadata", {}).get("deletedCells", ())
        return [f"cell:{cell}" for cell in found if isinstance(cell, str)] if isinstance(found, list) else []
