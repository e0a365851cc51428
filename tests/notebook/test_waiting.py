"""How a cell waits: in this process where that will do, in real kernels where the kernel is the matter.

The kernels are that of this interpreter and those of `make kernels`; `STEPUP_NB_VENVS` names another folder
of environments.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepup_nb.notebook import waiting
from stepup_nb.notebook.waiting import rewrite, wait_async, wait_blocking

REPOSITORY = Path(waiting.__file__).parents[2]
ENVIRONMENTS = Path(os.environ.get("STEPUP_NB_VENVS", REPOSITORY / ".venvs"))

LONG = 60.0
"""Seconds no test waits for: who needs a heartbeat to get on would fail by the timeout."""

Future = concurrent.futures.Future


# In this process.


def test_an_await_gives_the_result_at_once_and_not_at_the_next_heartbeat() -> None:
    done: Future[int] = Future()

    async def wait() -> int:
        threading.Thread(target=done.set_result, args=(42,)).start()
        return await wait_async(done, heartbeat=LONG)

    began = time.monotonic()
    assert asyncio.run(wait()) == 42
    assert time.monotonic() - began < 1


def test_an_await_ticks_until_the_end() -> None:
    done: Future[str] = Future()
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(len(ticks))
        if len(ticks) == 3:
            done.set_result("ended")

    assert asyncio.run(wait_async(done, heartbeat=0.001, tick=tick)) == "ended"
    assert ticks == [0, 1, 2]


def test_what_has_ended_is_not_waited_for() -> None:
    done: Future[int] = Future()
    done.set_result(1)
    assert asyncio.run(wait_async(done, heartbeat=LONG)) == wait_blocking(done, heartbeat=LONG) == 1


@pytest.mark.parametrize("error", [TimeoutError("steps go on"), ValueError("failed")])
def test_an_error_of_what_is_awaited_is_raised(error: Exception) -> None:
    done: Future[int] = Future()
    done.set_exception(error)
    with pytest.raises(type(error)) as caught:
        asyncio.run(wait_async(done))
    assert caught.value is error
    with pytest.raises(type(error)) as caught:
        wait_blocking(done)
    assert caught.value is error


def test_a_timeout_around_an_await_is_a_timeout_and_leaves_the_work_alone() -> None:
    """`asyncio.wait_for(wait(), 5)` would end the kernel if a cancelled task raised KeyboardInterrupt."""
    done: Future[int] = Future()

    async def wait() -> None:
        async with asyncio.timeout(0.01):
            await wait_async(done, heartbeat=LONG)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())
    assert not done.cancelled()
    done.set_result(1)  # after the loop is closed


def test_a_blocking_wait_gives_the_result_at_once() -> None:
    done: Future[int] = Future()
    threading.Thread(target=done.set_result, args=(42,)).start()
    began = time.monotonic()
    assert wait_blocking(done, heartbeat=LONG) == 42
    assert time.monotonic() - began < 1


def test_an_interrupt_ends_a_blocking_wait_and_not_the_work() -> None:
    done: Future[int] = Future()
    with pytest.raises(KeyboardInterrupt, match="wait interrupted; steps keep running"):
        wait_blocking(done, heartbeat=0.001, tick=lambda: signal.raise_signal(signal.SIGINT))
    assert not done.done()


def test_without_a_kernel_the_wait_is_plain() -> None:
    assert waiting.choose(object()) == "plain"


# Which lines become an await.


def rewritten(cell: str) -> str:
    return "".join(rewrite(cell.splitlines(keepends=True)))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%stepup wait\n", "await get_ipython()._stepup_wait('')\n"),
        ("%stepup wait", "await get_ipython()._stepup_wait('')\n"),
        (
            "%stepup  wait a 'b c' --timeout 3 \n",
            "await get_ipython()._stepup_wait(\"a 'b c' --timeout 3\")\n",
        ),
        ("r = %stepup wait;\n", "r = await get_ipython()._stepup_wait(';')\n"),
        ("größe=%stepup wait\n", "größe=await get_ipython()._stepup_wait('')\n"),
    ],
)
def test_a_line_becomes_an_await(line: str, expected: str) -> None:
    assert rewritten(line) == expected


@pytest.mark.parametrize(
    "before",
    [
        "import os\n",
        "%runsh sleep 5s\n",
        '%runsh echo don\'t """ (\n',
        "!echo '''\n",
        "files = !ls (\n",
        "# don't\n",
        "def f():\n    return 1\n",
        'x = """\n%stepup status\n"""\n',
        "if True:\n    %stepup wait\n",
        "\n\n",
    ],
)
def test_what_stands_before_it_in_the_cell_does_not_matter(before: str) -> None:
    assert rewritten(f"{before}%stepup wait\n") == f"{before}await get_ipython()._stepup_wait('')\n"


@pytest.mark.parametrize(
    "cell",
    [
        "    %stepup wait\n",
        "for x in y:\n    %stepup wait\n",
        "%%time\n%stepup wait\n",
        "\n  %%time\n%stepup wait\n",
        "%%runsh\n%stepup wait\n",
        'x = """\n%stepup wait\n"""\n',
        "x = '''%stepup x\n%stepup wait\n'''\n",
        "x = 3 \\\n%stepup wait\n",
        "%stepup wait a \\\n  b\n",
        "%stepup waiting\n",
        "%stepup status wait\n",
        "x % stepup\n",
        "# %stepup wait\n",
        "%%stepup wait\n",
    ],
)
def test_other_text_stays_as_it_is(cell: str) -> None:
    assert rewritten(cell) == cell


# In real kernels.

SETUP = """
import asyncio, concurrent.futures, os, threading, time
from stepup_nb.notebook import waiting

ip = get_ipython()
done = concurrent.futures.Future()
log = []
ticks = []

def listen():
    with os.fdopen(0) as lines:
        for line in lines:
            done.set_result(line.strip())

threading.Thread(target=listen, daemon=True).start()

def tick():
    ticks.append(time.monotonic())
    print("tick", flush=True)
    ip.display_pub.publish({"text/plain": "progress"})

async def wait(arguments):
    log.append("await " + arguments)
    return await waiting.wait_async(done, tick=tick)

def stepup(line):
    log.append("magic " + line)
    if waiting.choose(ip) == "nested":
        return waiting.wait_nested(done, ip.kernel, tick=tick)
    return waiting.wait_blocking(done, tick=tick)

def on_click(message):
    name = message["content"]["data"]
    log.append("click")
    comm.send({"heard": name})
    while name == "for ever":
        pass

def on_open(opened, message):
    global comm
    comm = opened
    comm.on_msg(on_click)

ip.kernel.comm_manager.register_target("button", on_open)
ip.register_magic_function(stepup)
waiting.install(ip, wait=wait, audit=wait)
"""


class Kernel:
    """A real kernel with a button, that waits until it reads a line from its standard input."""

    def __init__(self, python: Path, folder: Path) -> None:
        from jupyter_client.blocking.client import BlockingKernelClient
        from jupyter_client.connect import write_connection_file

        connection_file = str(folder / "kernel-under-test.json")
        # No ports, which another program may take before the kernel does.
        write_connection_file(connection_file, transport="ipc", ip=str(folder / "socket"))
        self.process = subprocess.Popen(
            [str(python), "-m", "ipykernel_launcher", "-f", connection_file],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "stderr").open("wb"),
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "IPYTHONDIR": str(folder)},
            start_new_session=True,
        )
        self.client: Any = BlockingKernelClient()
        self.client.load_connection_file(connection_file)
        # Without the heartbeat, which takes a kernel that is slow to start for a dead one.
        self.client.start_channels(hb=False)
        self.messages: list[dict[str, Any]] = []

    def set_up(self) -> None:
        self.client.wait_for_ready(timeout=LONG)
        assert self.run(SETUP)["status"] == "ok"
        self._send("comm_open", {"comm_id": "b", "target_name": "button", "data": {}})
        self.version = tuple(self.value("list(__import__('ipykernel').version_info[:2])"))
        self.way = self.value("waiting.choose(ip)")

    def close(self) -> None:
        self.client.stop_channels()
        self.process.kill()
        self.process.communicate()

    def start(self, code: str, *, stop_on_error: bool = False) -> str:
        """Ask for a cell; its id is returned at once."""
        return str(self.client.execute(code, stop_on_error=stop_on_error))

    def reply(self, cell: str) -> dict[str, Any]:
        """Wait until the cell has ended."""
        while True:
            message = self.client.get_shell_msg(timeout=LONG)
            if message["parent_header"].get("msg_id") == cell:
                return dict(message["content"])

    def run(self, code: str) -> dict[str, Any]:
        return self.reply(self.start(code))

    def value(self, expression: str) -> Any:
        cell = self.start(f"print(__import__('json').dumps({expression}))")
        text = self.until(lambda message: self._text(message, cell) is not None)
        assert self.reply(cell)["status"] == "ok"
        return json.loads(self._text(text, cell) or "")

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a message that the kernel publishes."""
        while True:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=LONG)
            self.messages.append(message)
            if is_it(message):
                return message

    def until_ticks(self, cell: str) -> None:
        self.until(lambda message: "tick" in (self._text(message, cell) or ""))

    @staticmethod
    def _text(message: dict[str, Any], cell: str) -> str | None:
        if message["msg_type"] == "stream" and message["parent_header"].get("msg_id") == cell:
            return str(message["content"]["text"])
        return None

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        self.client.shell_channel.send(self.client.session.msg(kind, content))

    def click(self, name: str) -> None:
        self._send("comm_msg", {"comm_id": "b", "data": name})

    def until_heard(self, name: str) -> None:
        self.until(lambda message: message["content"].get("data") == {"heard": name})

    def has_replied(self) -> bool:
        return bool(self.client.shell_channel.msg_ready())

    def end_wait(self, result: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(result.encode() + b"\n")
        self.process.stdin.flush()

    def interrupt(self) -> float:
        """Press the button; the time at which it was pressed is returned, in seconds."""
        os.killpg(self.process.pid, signal.SIGINT)
        return time.monotonic()


@pytest.fixture(params=["this", "ipykernel-7.3", "ipykernel-6.31"])
def kernel_python(request: pytest.FixtureRequest) -> Path:
    """An interpreter that has ipykernel."""
    environment = str(request.param)
    if environment == "this":
        pytest.importorskip("ipykernel")
        return Path(sys.executable)
    python = ENVIRONMENTS / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there: `make kernels` sets it up")
    return python


@pytest.fixture
def kernel(kernel_python: Path, tmp_path: Path) -> Iterator[Kernel]:
    pytest.importorskip("jupyter_client")
    kernel = Kernel(kernel_python, tmp_path)
    try:
        kernel.set_up()
        yield kernel
    finally:
        kernel.close()


@pytest.fixture
def awaiting_kernel(kernel: Kernel) -> Kernel:
    if kernel.way != "await":
        pytest.skip(f"in ipykernel {kernel.version} `%stepup wait` is no await")
    return kernel


@pytest.fixture
def clickable_kernel(kernel: Kernel) -> Kernel:
    if (7, 0) <= kernel.version < (7, 4):
        pytest.skip(f"ipykernel {kernel.version} answers clicks during a wait in subshells only")
    return kernel


@pytest.mark.kernel
def test_the_way_to_wait_is_that_of_the_kernel(kernel: Kernel) -> None:
    assert kernel.way == ("nested" if kernel.version[0] == 6 else "await")


@pytest.mark.kernel
def test_a_wait_gives_its_result_and_shows_progress_in_its_cell(kernel: Kernel) -> None:
    cell = kernel.start("result = %stepup wait a --timeout 3")
    kernel.until_ticks(cell)
    kernel.end_wait("42")
    assert kernel.reply(cell)["status"] == "ok"
    way = "await a" if kernel.way == "await" else "magic wait a"
    assert kernel.value("[result, log]") == ["42", [f"{way} --timeout 3"]]


@pytest.mark.kernel
@pytest.mark.parametrize("code", ["%stepup wait", "for _ in 'a':\n    %stepup wait"])
def test_an_interrupt_ends_the_wait_in_a_moment_and_nothing_else(kernel: Kernel, code: str) -> None:
    cell = kernel.start(code)
    kernel.until_ticks(cell)
    pressed = kernel.interrupt()
    reply = kernel.reply(cell)
    # The clock is the same for all processes. A heartbeat may be under way, but none follows.
    assert kernel.value(f"sum(tick > {pressed} for tick in ticks)") <= 1
    assert reply["ename"] == "KeyboardInterrupt"
    assert reply["evalue"] == "wait interrupted; steps keep running"
    assert kernel.value("[done.cancelled(), done.done()]") == [False, False]


@pytest.mark.kernel
@pytest.mark.parametrize("code", ["%%time\n%stepup wait", "ip.run_cell('%stepup wait')"])
def test_a_text_that_a_cell_runs_waits_the_plain_way(kernel: Kernel, code: str) -> None:
    cell = kernel.start(code)
    kernel.until_ticks(cell)
    kernel.end_wait("x")
    assert kernel.reply(cell)["status"] == "ok"
    assert kernel.value("[log, done.result()]") == [["magic wait"], "x"]


@pytest.mark.kernel
def test_a_click_is_handled_during_the_wait_and_the_next_cell_afterwards(
    clickable_kernel: Kernel,
) -> None:
    kernel = clickable_kernel
    cell = kernel.start("%stepup wait")
    kernel.until_ticks(cell)
    following = kernel.start("log.append('next')")
    kernel.click("once")
    kernel.until_heard("once")
    kernel.click("twice")
    kernel.until_heard("twice")
    assert not kernel.has_replied()
    # Progress goes on, in the cell that waits.
    kernel.until_ticks(cell)
    progress = kernel.until(lambda message: message["msg_type"] == "display_data")
    assert progress["parent_header"]["msg_id"] == cell
    last = kernel.start("log.append('last')")
    kernel.end_wait("x")
    for each in (cell, following, last):
        assert kernel.reply(each)["status"] == "ok"
    assert kernel.value("log")[1:] == ["click", "click", "next", "last"]


@pytest.mark.kernel
def test_cells_behind_an_interrupted_wait_do_not_run(clickable_kernel: Kernel) -> None:
    kernel = clickable_kernel
    cell = kernel.start("%stepup wait", stop_on_error=True)
    kernel.until_ticks(cell)
    following = kernel.start("log.append('next')")
    kernel.click("once")
    kernel.until_heard("once")
    kernel.interrupt()
    assert kernel.reply(cell)["ename"] == "KeyboardInterrupt"
    assert kernel.reply(following)["status"] == "aborted"


@pytest.mark.kernel
def test_an_idle_kernel_survives_an_interrupt_after_a_wait_with_clicks(kernel: Kernel) -> None:
    cell = kernel.start("%stepup wait")
    kernel.until_ticks(cell)
    kernel.click("once")
    kernel.end_wait("x")
    kernel.until_heard("once")
    kernel.reply(cell)
    assert kernel.value("1") == 1
    kernel.interrupt()
    assert kernel.value("2") == 2


@pytest.mark.kernel
def test_an_interrupt_ends_a_click_that_takes_for_ever_and_the_wait(kernel: Kernel) -> None:
    """On ipykernel 6 the first interrupt ended the click only, and the wait went on."""
    if kernel.way != "nested":
        pytest.skip(f"in ipykernel {kernel.version} clicks are the kernel's own matter")
    cell = kernel.start("%stepup wait")
    kernel.until_ticks(cell)
    kernel.click("for ever")
    kernel.until_heard("for ever")
    kernel.interrupt()
    reply = kernel.reply(cell)
    assert (reply["ename"], reply["evalue"]) == ("KeyboardInterrupt", "wait interrupted; steps keep running")


@pytest.mark.kernel
def test_an_interrupt_after_a_click_ends_the_wait(clickable_kernel: Kernel) -> None:
    kernel = clickable_kernel
    cell = kernel.start("%stepup wait")
    kernel.until_ticks(cell)
    kernel.click("once")
    kernel.until_heard("once")
    kernel.interrupt()
    assert kernel.reply(cell)["ename"] == "KeyboardInterrupt"
    kernel.click("twice")
    kernel.until_heard("twice")


@pytest.mark.kernel
def test_plain_code_before_the_wait_can_be_interrupted(kernel: Kernel) -> None:
    """ipykernel 7 only cancels a cell that awaits: the button did nothing in a long calculation."""
    cell = kernel.start("print('tick', flush=True)\nwhile True: pass\n%stepup wait")
    kernel.until_ticks(cell)
    kernel.interrupt()
    assert kernel.reply(cell)["ename"] == "KeyboardInterrupt"
    assert kernel.value("log") == []


@pytest.mark.kernel
def test_an_interrupt_between_two_statements_is_not_lost(kernel: Kernel) -> None:
    """It had no effect before the next await; raised in IPython's coroutine, it could end the kernel."""
    kernel.run(
        "import signal\n"
        "compile_statement, presses = type(ip.compile).__call__, []\n"
        "def press_and_compile(*arguments):\n"
        "    if presses:\n"
        "        presses.pop()\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    return compile_statement(*arguments)\n"
        "type(ip.compile).__call__ = press_and_compile\n"
    )
    assert kernel.run("presses.append(1)\nwhile True: pass\n%stepup wait")["ename"] == "KeyboardInterrupt"
    assert kernel.value("log") == []


@pytest.mark.kernel
def test_other_awaits_in_the_cell_can_be_interrupted(awaiting_kernel: Kernel) -> None:
    kernel = awaiting_kernel
    cell = kernel.start("print('tick', flush=True)\nawait asyncio.sleep(60)\n%stepup wait")
    kernel.until_ticks(cell)
    kernel.interrupt()
    assert kernel.reply(cell)["ename"] in (
        "CancelledError",
        "KeyboardInterrupt",
    )  # before the await, the latter
    assert kernel.value("1") == 1


@pytest.mark.kernel
def test_a_cancelled_task_that_waits_leaves_the_kernel_alive(kernel: Kernel) -> None:
    wait = "await asyncio.wait_for(waiting.wait_async(done), 0.01)"
    cell = kernel.start(f"try:\n    {wait}\nexcept TimeoutError:\n    print('tick')")
    kernel.until_ticks(cell)
    assert kernel.reply(cell)["status"] == "ok"


@pytest.mark.kernel
def test_a_plain_await_of_a_wait_is_interrupted_alike(kernel: Kernel) -> None:
    cell = kernel.start("await waiting.wait_async(done, tick=tick)")
    kernel.until_ticks(cell)
    kernel.interrupt()
    assert kernel.reply(cell)["ename"] == "KeyboardInterrupt"


@pytest.mark.kernel
def test_a_cell_that_catches_the_interrupt_goes_on(kernel: Kernel) -> None:
    wait, after = (
        "await waiting.wait_async(done, tick=tick)",
        "assert not asyncio.current_task().cancelling()",
    )
    cell = kernel.start(f"try:\n    {wait}\nexcept KeyboardInterrupt:\n    {after}")
    kernel.until_ticks(cell)
    kernel.interrupt()
    assert kernel.reply(cell)["status"] == "ok"


@pytest.mark.kernel
def test_an_interrupted_cell_whose_task_waits_leaves_the_kernel_alive(kernel: Kernel) -> None:
    cell = kernel.start("await asyncio.gather(waiting.wait_async(done, tick=tick))")
    kernel.until_ticks(cell)
    kernel.interrupt()
    assert kernel.reply(cell)["ename"] == "CancelledError"
    assert kernel.value("done.cancelled()") is False


@pytest.mark.kernel
def test_after_uninstalling_the_line_is_a_magic(kernel: Kernel) -> None:
    kernel.run("waiting.uninstall(ip); waiting.uninstall(ip)")
    cell = kernel.start("%stepup wait")
    kernel.until_ticks(cell)
    kernel.end_wait("x")
    kernel.reply(cell)
    assert kernel.value("[log, hasattr(ip, '_stepup_wait')]") == [["magic wait"], False]
