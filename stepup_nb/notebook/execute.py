"""Executes a notebook in a kernel of its own as a front end would: cell by cell, to the end of its steps.

The kernel does what it does under JupyterLab. Here are only the front end's part (cells and their ids,
outputs, saving), the log lines, and an orderly end when a signal comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from stepup_nb.client.connection import DirectorGone
from stepup_nb.client.lines import Follower, Page
from stepup_nb.client.replacing import replace_file
from stepup_nb.core.errors import StepsFailed, StepUpError, UsageError
from stepup_nb.core.words import counted, did_you_mean, ending
from stepup_nb.notebook import ansi
from stepup_nb.notebook.locate import VARIABLE, Location
from stepup_nb.terminal import Terminal

try:
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from nbformat import NotebookNode
except ImportError as missing:
    raise UsageError(
        "SNB-235",
        f"'{missing.name}' is not installed.",
        "executing a notebook without a browser takes nbclient and nbformat",
        "pip install 'stepup_nb[lab]'",
    ) from missing

DONE, OTHER, FAILED, PENDING = 0, 1, 2, 3
"""Exit codes: StepUp 3.0's."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE = 7.0
"""Seconds that the first signal waits for steps to end; whatever does not is killed after 5 s."""

_RESPONSE = 2.0
"""Seconds after that in which an interrupted cell has to come to its end."""

_SILENCE = 30
"""Seconds to wait for the last outputs of a cell that has ended."""

_LOOK = 30.0
"""Seconds that the director may take to look at all files again, once the steps are done."""

_NOTHING: dict[str, Any] = {"failed": [], "stuck": []}
"""The report of a wait where there were no steps."""

_SAID = 8192
"""Bytes of the end of what a kernel wrote outside its cells that are shown when it died."""

_FINISH = "(lambda ours: ours and ours._finish())(__import__('sys').modules.get('stepup_nb'))"
"""Waits in the kernel for all steps and brings the records up to date, if the notebook has loaded us."""

_CLOSE = "%unload_ext stepup_nb"
"""Ends the session in order, so that the database is closed; says only so where there is none."""


def execute(
    notebook: Path, terminal: Terminal, *, out: Path | None = None, workers: str | None = None
) -> int:
    """Execute a notebook, wait for its steps, save it, and return the exit code.

    It is also saved where a cell raised: then the cells after that have no outputs. Where a signal ended it,
    it is saved to `out`, but not in place, so that nothing is lost.

    Parameters
    ----------
    notebook
        Its file. The database lies beside it, wherever the output goes.
    terminal
        Where the log lines go.
    out
        Where to save it; None means in place.
    workers
        Steps running at once: a count, or with a decimal point a multiple of the cores.

    Raises
    ------
    UsageError
        SNB-236 for the notebook, SNB-222 for `out`, SNB-223 for the kernel.
    """
    # What Jupyter logs as an error it also raises, and it is said here in a line.
    jupyter = logging.getLogger("traitlets")
    jupyter.addFilter(_is_no_error)
    try:
        return asyncio.run(_Execution(notebook, terminal, out, workers).run())
    finally:
        jupyter.removeFilter(_is_no_error)


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


class _Client(NotebookClient):
    """Tells the kernel which cell it is that is executed, as JupyterLab does."""

    async def async_execute_cell(
        self,
        cell: NotebookNode,
        cell_index: int,
        execution_count: int | None = None,
        store_history: bool = True,
    ) -> NotebookNode:
        assert self.kc is not None
        # The session's metadata goes with every message, and is read with those that execute a cell.
        self.kc.session.metadata = {"cellId": cell["id"]} if store_history and "id" in cell else {}
        return await super().async_execute_cell(cell, cell_index, execution_count, store_history)


class _KernelLost(Exception):
    """The kernel did not start, or died; its text is for people."""


class _Execution:
    """One notebook on its way through one kernel."""

    def __init__(self, notebook: Path, terminal: Terminal, out: Path | None, workers: str | None) -> None:
        # Not resolved: a notebook reached through a symbolic link has its files where the user sees it.
        self._path = Path(os.path.abspath(notebook))  # noqa: PTH100
        self._out = out if out is not None else notebook
        self._is_in_place = out is None
        self._terminal = terminal
        self._workers = workers
        self._nb = _read(notebook)
        _check_place(self._out)
        self._manager = _kernel_of(self._nb)
        # Streams are not coalesced: that moves outputs whose places nbclient keeps for later updates.
        self._client = _Client(self._nb, km=self._manager, iopub_timeout=_SILENCE, record_timing=False)
        place = Location(notebook=self._path, root=self._path.parent, how="")
        self._database = os.fspath(place.database)
        self._follower: Follower | None = None
        self._work: asyncio.Task[CellExecutionError | None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._signal: int | None = None
        self._is_broken = False

    async def run(self) -> int:
        """Execute, and come to an end whatever signals arrive meanwhile."""
        self._terminal.line("DIRECTOR", f"Executing {self._path.name}")
        error, report = None, _NOTHING
        with self._signals(), tempfile.TemporaryFile() as said:
            self._work = asyncio.ensure_future(self._execute(said))
            try:
                try:
                    error = await self._work
                except asyncio.CancelledError:
                    pass
                except _KernelLost as trouble:
                    self._complain(str(trouble), _tail(said))
                if self._stopping is not None:
                    await asyncio.wait([self._stopping])
                report = await asyncio.to_thread(self._completion)
                self._save()
            finally:
                await self._end_kernel()
        if self._signal is not None:
            return 128 + self._signal
        return OTHER if self._is_broken else _exit_code(error, report)

    def _complain(self, words: str, pages: Sequence[Page] = ()) -> None:
        """Tell of what is no step's failure, and no consequence of a signal."""
        self._is_broken = True
        if self._signal is None:
            self._terminal.line("ERROR", words, pages)

    # --- signals -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._signal is None:
            self._signal = number
            self._terminal.line("KEYBOARD", f"{name}: stopping all steps; once more stops at once")
            self._stopping = asyncio.ensure_future(self._stop())
        else:
            self._terminal.line("KEYBOARD", f"{name}: stopping at once")
            if self._stopping is not None:
                self._stopping.cancel()
            self._stopping = asyncio.ensure_future(self._kill())

    async def _stop(self) -> None:
        """Interrupt the cell, cancel all steps, and when they have ended leave the work where it is."""
        with contextlib.suppress(RuntimeError, OSError):
            if self._manager.has_kernel:
                await self._manager.interrupt_kernel()
        await asyncio.to_thread(self._cancel_steps)
        if self._work is not None:
            await asyncio.wait([self._work], timeout=_RESPONSE)
            self._work.cancel()

    def _cancel_steps(self) -> None:
        connection = self._follower.connect(2 * GRACE) if self._follower is not None else None
        if connection is not None:
            with contextlib.suppress(DirectorGone, StepUpError), contextlib.closing(connection):
                connection.request("Cancel", steps=None)
                connection.request("Wait", steps=None, timeout=GRACE)

    async def _kill(self) -> None:
        """End the kernel at once; its guard, which sees that, kills the director and all steps."""
        if self._work is not None:
            self._work.cancel()
        with contextlib.suppress(RuntimeError, OSError):
            if self._manager.has_kernel:
                await self._manager.signal_kernel(signal.SIGKILL)

    # --- the work ------------------------------------------------------------------------------

    async def _execute(self, said: IO[bytes]) -> CellExecutionError | None:
        """Execute all cells and wait for all steps; return the error of the cell that raised."""
        started = time.time()
        await self._start_kernel(said)
        self._follower = Follower(self._database, started, self._terminal.show)
        try:
            error = await self._execute_cells()
            if not await self._ask_kernel(_FINISH) and self._signal is not None:
                # It was that which the signal interrupted; once the steps are cancelled, it takes no time.
                await self._ask_kernel(_FINISH)
        except DeadKernelError:
            raise _KernelLost(f"The kernel died: {await self._how_it_ended()}.") from None
        self._client.set_widgets_metadata()
        return error

    async def _start_kernel(self, said: IO[bytes]) -> None:
        environment = {**os.environ, VARIABLE: os.fspath(self._path)}
        # The kernel is none of the session that this process may have been started in.
        environment.pop("JPY_SESSION_NAME", None)
        if self._workers is not None:
            environment["STEPUP_NB_WORKERS"] = self._workers
        try:
            await self._client.async_start_new_kernel(
                env=environment, cwd=os.fspath(self._path.parent), stdout=said, stderr=said
            )
            kernel = await self._client.async_start_new_kernel_client()
        except (OSError, RuntimeError) as error:
            raise _KernelLost(f"The kernel did not start: {error}") from None
        answer = await self._client.async_wait_for_reply(kernel.kernel_info())
        if answer is not None and "language_info" in answer["content"]:
            self._nb.metadata["language_info"] = answer["content"]["language_info"]

    async def _execute_cells(self) -> CellExecutionError | None:
        """Execute the cells in order, up to the first that raises; return its error."""
        for index, cell in enumerate(self._nb.cells):
            if self._signal is not None:
                break
            try:
                await self._client.async_execute_cell(cell, index)
            except CellExecutionError as error:
                if self._signal is None:
                    self._terminal.line("ERROR", _words_of(cell, error), _traceback(cell, error))
                return error
        return None

    async def _ask_kernel(self, code: str) -> bool:
        """Have the kernel do something that is no cell of the notebook; return whether it did.

        It is executed all the same: updates of other cells' outputs are only heard while something executes.
        """
        if self._nb.metadata.get("language_info", {}).get("name") != "python":
            return True
        extra = nbformat.v4.new_code_cell(code, metadata={"tags": ["raises-exception"]})
        self._nb.cells.append(extra)
        try:
            await self._client.async_execute_cell(extra, len(self._nb.cells) - 1, store_history=False)
        finally:
            self._nb.cells.pop()
        errors = [output for output in extra.outputs if output.output_type == "error"]
        for error in errors:
            self._complain(f"{error.ename}: {error.evalue}")
        return not errors

    async def _how_it_ended(self) -> str:
        provisioner = self._manager.provisioner
        code = await provisioner.poll() if provisioner is not None else None
        return ending(code) if code is not None else "it does not answer"

    async def _end_kernel(self) -> None:
        if await self._manager.is_alive():
            if self._work is not None and not self._work.cancelled() and self._work.exception() is None:
                with contextlib.suppress(DeadKernelError):
                    await self._ask_kernel(_CLOSE)
            await self._manager.shutdown_kernel(now=False)
        await self._manager.cleanup_resources()
        if self._client.kc is not None:
            self._client.kc.stop_channels()

    # --- the end -------------------------------------------------------------------------------

    def _completion(self) -> dict[str, Any]:
        """Show the last lines, and what did not succeed by root cause; return the report of a wait."""
        report = _NOTHING
        if self._follower is None:
            return report
        connection = self._follower.connect(2 * _LOOK)
        if connection is not None and self._signal is None:
            with contextlib.suppress(DirectorGone, StepUpError), contextlib.closing(connection):
                report = connection.request("Wait", steps=None, timeout=_LOOK)
        self._follower.finish()
        if report["failed"]:
            self._terminal.line("WARNING", f"{len(report['failed'])} step(s) failed.")
        if report["stuck"]:
            number = sum(row["number"] for row in report["stuck"])
            words = f"{number} step(s) remained pending due to incomplete requirements"
            self._terminal.line("WARNING", words, [Page("Root causes", _causes(report["stuck"]))])
        return report

    def _save(self) -> None:
        if self._follower is None or (self._signal is not None and self._is_in_place):
            self._terminal.line("WARNING", f"Not saved: {self._out} is as it was before")
            return
        for cell in self._nb.cells:
            if cell.cell_type == "code":
                cell.outputs = _merged(cell.outputs)
        try:
            replace_file(self._out.resolve(), nbformat.writes(self._nb) + "\n")
        except OSError as error:
            raise _unsaved(self._out, (error.strerror or str(error)).lower()) from error
        self._terminal.line("DIRECTOR", f"Saved {self._out}")


def _exit_code(error: CellExecutionError | None, report: dict[str, Any]) -> int:
    if error is not None and error.ename != StepsFailed.__name__:
        return OTHER
    if report["failed"]:
        return FAILED
    if report["stuck"]:
        return PENDING
    return DONE if error is None else FAILED


# --- what is said -------------------------------------------------------------------------------------


def _words_of(cell: NotebookNode, error: CellExecutionError) -> str:
    first = error.evalue.strip().partition("\n")[0]
    return f"Cell [{cell.execution_count}] raised {error.ename}{': ' if first else ''}{first}"


def _traceback(cell: NotebookNode, error: CellExecutionError) -> list[Page]:
    """Return the traceback that the cell shows; what a failed wait has to say is in its steps' lines."""
    shown = [output.traceback for output in cell.outputs if output.output_type == "error"]
    if error.ename == StepsFailed.__name__ or not shown:
        return []
    return [Page("Traceback", "\n".join(shown[-1]))]


def _tail(said: IO[bytes]) -> list[Page]:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _SAID))
    text = said.read().decode(errors="replace").strip()
    return [Page("Output of the kernel", text)] if text else []


def _causes(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        lines.append(f"{counted(row['number'], 'step'):>10}  {ansi.one_line(row['cause'], 200)}")
        lines += [f"{'':>10}  - {ansi.one_line(label, 80)}" for label in row["steps"]]
        if row["number"] > len(row["steps"]):
            lines.append(f"{'':>10}  - …")
    return "\n".join(lines)


# --- files --------------------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    """Return the notebook, without what an earlier execution left in it."""
    try:
        nb = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        cells = list(nb.cells)
    except OSError as error:
        raise UsageError(
            "SNB-236", f"'{path}' cannot be read ({(error.strerror or str(error)).lower()})."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise UsageError(
            "SNB-236",
            f"'{path}' is no notebook.",
            str(error).strip().partition("\n")[0][:200],
            "open and save it in JupyterLab, or repair its JSON",
        ) from None
    nb.metadata.pop("widgets", None)
    for cell in cells:
        if cell.cell_type == "code" and _Client.skip_cells_with_tag.default_value not in cell.metadata.get(
            "tags", []
        ):
            cell.outputs, cell.execution_count = [], None
    return nb


def _check_place(out: Path) -> None:
    """Refuse before the work what could not be saved after it."""
    folder = out.parent
    if out.is_dir():
        why = "it is a folder"
    elif not folder.is_dir():
        why = f"there is no folder '{folder}'"
    elif not os.access(folder, os.W_OK):
        why = f"the folder '{folder}' cannot be written"
    else:
        return
    raise _unsaved(out, why)


def _unsaved(out: Path, why: str) -> UsageError:
    return UsageError("SNB-222", f"The notebook cannot be saved to '{out}'.", why, "say where with '-o OUT'")


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what was printed in several pieces: how many depends on the moment."""
    merged: list[NotebookNode] = []
    for output in outputs:
        before = merged[-1] if merged else None
        if output.output_type == "stream" and before is not None and before.get("name") == output.name:
            before["text"] += output.text
        else:
            merged.append(output)
    return merged


def _kernel_of(nb: NotebookNode) -> AsyncKernelManager:
    """Return a manager for the notebook's kernel; where it names none, for this very Python's."""
    name = nb.metadata.get("kernelspec", {}).get("name")
    if name is None:
        return AsyncKernelManager(
            kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
        )
    manager = AsyncKernelManager(kernel_name=name)
    try:
        assert manager.kernel_spec is not None
    except NoSuchKernel:
        known = sorted(KernelSpecManager().find_kernel_specs())
        raise UsageError(
            "SNB-223",
            f"There is no kernel '{name}' here{did_you_mean(name, known)}",
            f"the notebook asks for it; there are: {', '.join(known) or 'none'}",
            "install it, or choose another kernel in the notebook",
        ) from None
    return manager
