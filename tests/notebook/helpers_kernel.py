"""A real kernel, and as much of a front end as its messages need to be understood.

`Kernel.run` executes a cell and returns it with its outputs, to which later updates go as they do in JupyterLab:
by display id. Nothing here waits for a time; `Kernel.until` waits for a condition.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

import stepup_nb

REPOSITORY = Path(stepup_nb.__file__).parents[1]
ENVIRONMENTS = Path(os.environ.get("STEPUP_NB_VENVS", REPOSITORY / ".venvs"))
LINES = ("this", "ipykernel-7.3", "ipykernel-6.31")
"""The kernels that are tested: the one of this interpreter, and those of `make kernels`."""

LONG = 60.0
"""Seconds after which a condition counts as never coming true."""

EVERYTHING_OURS = ("JPY_", "STEPUP_", "JUPYTER_", "CPU_LIMIT")
"""Variables that would tell the kernel of another notebook or machine than that of the test."""


def python_of(line: str) -> Path:
    """Return the interpreter that has this line of ipykernel, or skip the test."""
    if line == "this":
        pytest.importorskip("ipykernel")
        return Path(sys.executable)
    python = ENVIRONMENTS / line / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there: `make kernels` sets it up")
    return python


def environment(**more: str) -> dict[str, str]:
    """Return this process' environment without what would tell of another notebook."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(EVERYTHING_OURS)}
    return {**kept, "PYTHONPATH": os.fspath(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", **more}


class Cell:
    """A cell as its front end has it."""

    def __init__(self, id: str, code: str) -> None:
        self.id = id
        self.code = code
        self.outputs: list[dict[str, Any]] = []
        self.reply: dict[str, Any] | None = None
        self.is_idle = False

    @property
    def is_ok(self) -> bool:
        return self.reply is not None and self.reply["status"] == "ok"

    @property
    def text(self) -> str:
        """All it printed."""
        return "".join(o["text"] for o in self.outputs if o["kind"] == "stream")

    @property
    def displays(self) -> list[dict[str, str]]:
        """The bundles that were displayed, with their updates."""
        return [o["data"] for o in self.outputs if o["kind"] == "display_data"]

    @property
    def results(self) -> list[dict[str, str]]:
        """What stands behind ``Out[..]``."""
        return [o["data"] for o in self.outputs if o["kind"] == "execute_result"]

    @property
    def record(self) -> dict[str, str]:
        """The record of the steps that it declared."""
        (found,) = [data for data in self.displays if "; as of " in data["text/plain"]]
        return found

    @property
    def error(self) -> str:
        """What stands under it because it raised; "" if it did not."""
        return "\n".join("\n".join(o["traceback"]) for o in self.outputs if o["kind"] == "error")


class Kernel:
    """A kernel in a folder of its own, whose notebook is ``nb.ipynb`` there.

    Parameters
    ----------
    python
        The interpreter that it runs in.
    folder
        Where it works; its sockets and its log are in a sibling.
    """

    def __init__(self, python: Path, folder: Path, **variables: str) -> None:
        self.python = python
        self.folder = folder
        self.cells: dict[str, Cell] = {}
        self.updates: list[tuple[float, str]] = []
        """When the kernel updated an output, in seconds, and which."""
        self.comms: list[dict[str, Any]] = []
        """What widgets said, oldest first."""
        self._variables = {"STEPUP_NB_NOTEBOOK": os.fspath(folder / "nb.ipynb"), **variables}
        folder.mkdir(exist_ok=True)
        self.start_kernel()

    # --- its process ---------------------------------------------------------------------------

    def start_kernel(self) -> None:
        from jupyter_client.blocking.client import BlockingKernelClient
        from jupyter_client.connect import write_connection_file

        aside = Path(tempfile.mkdtemp(prefix="kernel-", dir=self.folder.parent))
        file = os.fspath(aside / "kernel.json")
        # No ports, which another program may take before the kernel does.
        write_connection_file(file, transport="ipc", ip=os.fspath(aside / "s"))
        self.log = aside / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [os.fspath(self.python), "-m", "ipykernel_launcher", "-f", file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment(IPYTHONDIR=os.fspath(aside), **self._variables),
                start_new_session=True,
            )
        self.client: Any = BlockingKernelClient()
        self.client.load_connection_file(file)
        # Without the heartbeat: on a busy machine it takes a kernel that starts for a dead one.
        self.client.start_channels(hb=False)
        self.client.wait_for_ready(timeout=LONG)
        self.director: psutil.Process | None = None

    def load(self) -> None:
        """Load the extension."""
        assert self.run("%load_ext stepup_nb").is_ok

    def shut_down(self) -> None:
        """End the kernel as "Shut Down" does: it may say goodbye."""
        self.client.shutdown()
        self.process.wait(LONG)
        self.client.stop_channels()

    def kill(self) -> None:
        """End the kernel without warning."""
        self.process.kill()
        self.process.wait(LONG)
        self.client.stop_channels()

    def restart(self) -> None:
        """Press "Restart"; the extension is not loaded then."""
        self.shut_down()
        self.start_kernel()

    def close(self) -> None:
        """End whatever is left."""
        self.client.stop_channels()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LONG)

    def interrupt(self) -> None:
        """Press the button."""
        os.killpg(self.process.pid, signal.SIGINT)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    # --- cells ---------------------------------------------------------------------------------

    def start(
        self,
        code: str,
        *,
        cell: str | None = None,
        deleted: Iterable[str] = (),
        silent: bool = False,
        **content: Any,
    ) -> Cell:
        """Ask for a cell; ``cell`` is the id by which a front end like JupyterLab identifies it."""
        metadata: dict[str, Any] = {} if cell is None else {"cellId": cell, "deletedCells": list(deleted)}
        fields = {
            "code": code,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
            **content,
        }
        message = self.client.session.msg("execute_request", fields, metadata=metadata)
        self.client.shell_channel.send(message)
        id = str(message["header"]["msg_id"])
        self.cells[id] = Cell(id, code)
        return self.cells[id]

    def finish(self, cell: Cell) -> Cell:
        """Wait until the cell has ended and all that it published by then has arrived."""
        self.until(lambda: cell.reply is not None and cell.is_idle)
        return cell

    def run(self, code: str, **more: Any) -> Cell:
        return self.finish(self.start(code, **more))

    def run_ok(self, code: str, **more: Any) -> Cell:
        """Run a cell that must not raise."""
        cell = self.run(code, **more)
        assert cell.is_ok, cell.error
        return cell

    def until(self, is_it: Callable[[], bool], timeout: float = LONG) -> None:
        """Take messages until a condition holds."""
        deadline = time.monotonic() + timeout
        while not is_it():
            assert time.monotonic() < deadline, (
                f"it did not come true in {timeout:g} s\n{self.log.read_text()}"
            )
            self._take(0.05)

    def say(self, comm: str, content: dict[str, Any]) -> None:
        """Let a widget in the browser say something to its kernel."""
        fields = {"comm_id": comm, "data": {"method": "custom", "content": content}}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", fields))

    def said(self, comm: str) -> list[dict[str, Any]]:
        """Return what the kernel said to a widget in the browser."""
        return [
            each["data"]["content"]
            for each in self.comms
            if each["comm_id"] == comm and each["data"].get("method") == "custom"
        ]

    def _take(self, timeout: float) -> None:
        """Take all messages that are there, or the first that comes in time."""
        if not self.is_alive:
            time.sleep(0.01)
            return
        channels = (self.client.shell_channel, self.client.iopub_channel)
        import zmq

        poller = zmq.Poller()
        for channel in channels:
            poller.register(channel.socket, zmq.POLLIN)
        poller.poll(timeout * 1000)
        for channel in channels:
            while channel.msg_ready():
                self._understand(channel.get_msg(timeout=LONG))

    def _understand(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind in ("comm_open", "comm_msg"):
            self.comms.append(content)
        cell = self.cells.get(message["parent_header"].get("msg_id", ""))
        if kind == "update_display_data":
            id = content["transient"]["display_id"]
            self.updates.append((message["header"]["date"].timestamp(), id))
            for each in self.cells.values():
                for output in each.outputs:
                    if output.get("id") == id:
                        output["data"] = content["data"]
        elif cell is None:
            return
        elif kind == "execute_reply":
            cell.reply = content
        elif kind == "status":
            cell.is_idle = content["execution_state"] == "idle"
        elif kind == "stream":
            cell.outputs.append({"kind": kind, "text": content["text"], "name": content["name"]})
        elif kind in ("display_data", "execute_result"):
            id = (content.get("transient") or {}).get("display_id")
            cell.outputs.append({"kind": kind, "data": content["data"], "id": id})
        elif kind == "error":
            cell.outputs.append({"kind": kind, **content})

    # --- asking without a trace ----------------------------------------------------------------

    def value(self, expression: str) -> Any:
        """Return a value of the kernel that JSON can carry; no hook of the shell notices."""
        asked = {"it": f"__import__('json').dumps({expression})"}
        cell = self.run("", silent=True, user_expressions=asked)
        assert cell.reply is not None
        answer = cell.reply["user_expressions"]["it"]
        assert answer["status"] == "ok", answer
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def status(self) -> dict[str, Any]:
        return dict(self.value("__import__('stepup_nb').status()"))

    def history(self) -> list[dict[str, Any]]:
        return list(self.value("__import__('stepup_nb').history()"))

    def states(self) -> dict[str, str]:
        """Return the states of the declared steps by label; "SKIP" for those that were up to date."""
        return {
            row["label"]: "SKIP" if row["skipped"] and row["state"] == "SUCCEEDED" else row["state"]
            for row in self.status()["steps"]
            if not row["dormant"]
        }

    def until_states(self, **states: str) -> None:
        """Wait until steps, named by the last word of their labels, are in these states."""
        wanted = set(states.items())
        self.until(lambda: wanted <= {(label.split()[-1], state) for label, state in self.states().items()})

    def complete(self, code: str, at: int | None = None) -> list[str]:
        """Press Tab; return what would stand there with each of the candidates, from where they begin."""
        id = self.client.complete(code, len(code) if at is None else at)
        while True:
            message = self.client.get_shell_msg(timeout=LONG)
            if message["parent_header"].get("msg_id") == id:
                return list(message["content"]["matches"])

    def help(self, magic: str) -> str:
        """Ask for help on a magic; return the text that is shown."""
        cell = self.run_ok(f"{magic}?")
        assert cell.reply is not None
        (page,) = cell.reply["payload"]
        return str(page["data"]["text/plain"])

    # --- processes -----------------------------------------------------------------------------

    def descendants(self) -> list[psutil.Process]:
        """Return guard, director, and the processes of the steps."""
        return psutil.Process(self.process.pid).children(recursive=True)


def all_dead(processes: Iterable[psutil.Process]) -> bool:
    return not any(map(_is_alive, processes))


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        # Between the two questions.
        return False
