"""How a cell waits while its kernel lives: buttons work, progress is shown, and it can be interrupted.

Three ways, since kernels differ (`choose`). ipykernel 7 answers the front end while a cell awaits, so there
`%stepup wait`, and `audit`, become an `await`; ipykernel 6 is served from within the waiting cell; elsewhere the wait
blocks. Knows nothing of steps: what is waited for is a `concurrent.futures.Future` that another thread
completes. It is only watched and never cancelled, so an interrupt ends the wait and nothing else.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import re
import signal
import sys
import threading
import time
import tokenize
from collections.abc import Awaitable, Callable, Iterator
from types import CodeType, FrameType
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Way = Literal["await", "nested", "plain"]
"""How a wait is done in a shell: `wait_async`, `wait_nested` or `wait_blocking`."""

Hook = Callable[[str], Awaitable[object]]
"""What a rewritten `%stepup wait` or `audit` awaits; its argument is what stands after the verb."""

HEARTBEAT = 0.1
"""Seconds between two ticks; also the longest time an interrupt may go unnoticed."""

_INTERRUPTED = "wait interrupted; steps keep running"

_SERVICE_INTERVAL = 0.02
"""Seconds between two looks at what the front end sent, in a nested wait."""

_AGAIN = 0.005
"""Seconds after which an interrupt is tried again that came between two statements of a cell."""

_VERBS = ("wait", "audit")
"""The verbs of `%stepup` that take long, and become an await."""
_HOOK = "_stepup_{}"
"""The attribute of the shell that holds the hook of a verb."""


def choose(ip: Any) -> Way:
    """Say how a wait is done in this shell and thread.

    "await" is for a line that can become an await; in a function or a loop the same shell waits the plain
    way.
    """
    kernelbase = sys.modules.get("ipykernel.kernelbase")
    kernel = getattr(ip, "kernel", None)
    if kernelbase is None or not isinstance(kernel, kernelbase.Kernel):
        return "plain"
    major = sys.modules["ipykernel"].version_info[0]
    if major == 6:
        # Python 3.14 keeps the current task where nest_asyncio, which is no longer developed, does not look.
        can_nest = threading.current_thread() is threading.main_thread() and sys.version_info < (3, 14)
        return "nested" if can_nest else "plain"
    if major >= 7 and ip.autoawait and ip.loop_runner is ip.loop_runner_map["asyncio"][0]:
        return "await"
    return "plain"


async def wait_async(
    done: concurrent.futures.Future[T],
    *,
    heartbeat: float = HEARTBEAT,
    tick: Callable[[], None] | None = None,
) -> T:
    """Await the end and give the result; `tick` is called every `heartbeat` seconds, to show progress.

    In a cell the interrupt button raises `KeyboardInterrupt`. A task that is cancelled, by `asyncio.timeout`
    for example, gets `CancelledError` as from any await.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    done.add_done_callback(lambda _: _complete(ended, loop))
    with _noting_interrupts(loop) as is_interrupted:
        try:
            while not done.done():
                # Looked at again every heartbeat: ipykernel cancels a cell without waking the loop.
                await asyncio.wait({ended}, timeout=heartbeat)
                if tick is not None and not done.done():
                    tick()
        except asyncio.CancelledError:
            if not is_interrupted():
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            raise KeyboardInterrupt(_INTERRUPTED) from None
    return done.result()


def wait_blocking(
    done: concurrent.futures.Future[T],
    *,
    heartbeat: float = HEARTBEAT,
    tick: Callable[[], None] | None = None,
) -> T:
    """Block until the end and give the result: for functions, loops, `%%time` and the terminal."""
    ended = threading.Event()
    done.add_done_callback(lambda _: ended.set())
    try:
        while not ended.wait(heartbeat):
            if tick is not None:
                tick()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_INTERRUPTED) from None
    return done.result()


def wait_nested(
    done: concurrent.futures.Future[T],
    kernel: Any,
    *,
    heartbeat: float = HEARTBEAT,
    tick: Callable[[], None] | None = None,
) -> T:
    """Block until the end and give the result, while this ipykernel 6 answers all but the next cells.

    Only for its main thread, in a cell.
    """
    import nest_asyncio

    loop = asyncio.get_running_loop()
    nest_asyncio.apply(loop)
    woken = loop.create_future()
    done.add_done_callback(lambda _: _complete(woken, loop))
    serving = kernel.dispatch_shell.__func__.__code__
    is_interrupted = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        # A callback of the user is broken off, but not whatever task of the loop happens to run.
        if _is_within(frame, serving):
            raise KeyboardInterrupt
        _complete(woken, loop)

    held: list[_Queued] = []
    previous = signal.signal(signal.SIGINT, interrupt)
    # The kernel has a handler of its own while it serves, by which the interrupt would end the callback only.
    kernel.pre_handler_hook = kernel.post_handler_hook = lambda: None
    try:
        next_tick = time.monotonic() + heartbeat
        while not done.done():
            if is_interrupted:
                raise KeyboardInterrupt
            _serve(kernel, loop, held)
            loop.run_until_complete(asyncio.wait({woken}, timeout=_SERVICE_INTERVAL))
            if tick is not None and time.monotonic() >= next_tick and not done.done():
                tick()
                next_tick = time.monotonic() + heartbeat
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGINT, previous)
        del kernel.pre_handler_hook, kernel.post_handler_hook
        # What came last goes behind what was held back.
        held += [kernel.msg_queue.get_nowait() for _ in range(kernel.msg_queue.qsize())]
        for queued in held:
            kernel.msg_queue.put_nowait(queued)
    return done.result()


def _complete(future: asyncio.Future[None], loop: asyncio.AbstractEventLoop) -> None:
    """Complete a future of the loop, from any thread or from a signal handler."""

    def complete() -> None:
        if not future.done():
            future.set_result(None)

    # The wait may long be over, and the loop closed.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(complete)


# ipykernel 6: the kernel is served from within the cell.

_Queued = tuple[int, Callable[..., Awaitable[None]], tuple[Any, ...]]
"""An entry of the kernel's queue: number, what handles it, and its arguments."""


def _serve(kernel: Any, loop: asyncio.AbstractEventLoop, held: list[_Queued]) -> None:
    """Handle what the front end sent, but hold back the cells that are to run after this one."""
    kernel.shell_stream.flush()
    for _ in range(kernel.msg_queue.qsize()):
        queued = kernel.msg_queue.get_nowait()
        _, dispatch, arguments = queued
        if dispatch != kernel.dispatch_shell or _message_type(kernel, arguments) in (None, "execute_request"):
            held.append(queued)
            continue
        identity, parent = kernel._parent_ident["shell"], kernel.get_parent("shell")
        try:
            loop.run_until_complete(dispatch(*arguments))
        finally:
            # What the cell displays would go to the sender of that message otherwise.
            kernel.set_parent(identity, parent, channel="shell")


def _message_type(kernel: Any, arguments: tuple[Any, ...]) -> str | None:
    """Read the type only: `deserialize` would take the message for a replay when it is dispatched."""
    try:
        _, frames = kernel.session.feed_identities(arguments[0], copy=False)
        return str(kernel.session.unpack(frames[1].bytes)["msg_type"])
    except (ValueError, LookupError):
        return None


# Interrupts while a cell awaits.


def _is_within(frame: FrameType | None, code: CodeType) -> bool:
    """Say whether this frame is one of that code, or was called from there."""
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


def _place(frame: FrameType | None) -> Literal["plain code", "between statements", "elsewhere"]:
    """Say what of a cell is interrupted.

    Only in plain code may a signal handler raise: what is raised in a coroutine as it starts or goes on can
    miss its `except` (seen in Python 3.13), and a `KeyboardInterrupt` that no cell shows ends the kernel.
    """
    shell = sys.modules["IPython.core.interactiveshell"].InteractiveShell
    called = None
    while frame is not None and not frame.f_code.co_flags & inspect.CO_COROUTINE:
        called, frame = frame, frame.f_back
    code = None if frame is None else frame.f_code
    if code is shell.run_code.__code__ and called is not None:
        return "plain code"
    if code in (shell.run_code.__code__, shell.run_ast_nodes.__code__):
        return "between statements"
    return "elsewhere"


def _is_in_cell() -> bool:
    """Say whether the caller was called by a cell itself, and not by a task or a callback."""
    interactiveshell = sys.modules.get("IPython.core.interactiveshell")
    if interactiveshell is None:
        return False
    return _is_within(sys._getframe(), interactiveshell.InteractiveShell.run_ast_nodes.__code__)


@contextlib.contextmanager
def _noting_interrupts(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[], bool]]:
    """Tell an interrupted cell from a cancelled task: the kernel cancels in both cases.

    Elsewhere than in a cell it notes none, for a `KeyboardInterrupt` raised in a task ends the whole kernel.
    """
    is_interrupted = False
    previous = signal.getsignal(signal.SIGINT)
    if (
        not callable(previous)
        or threading.current_thread() is not threading.main_thread()
        or not _is_in_cell()
    ):
        yield lambda: False
        return

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        previous(signum, frame)
        loop.call_soon_threadsafe(lambda: None)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: is_interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


# ipykernel 7: the line becomes an await.

_WAIT = re.compile(
    rf"(?P<target>[^\W\d]\w*\s*=\s*)?%stepup\s+(?P<verb>{'|'.join(_VERBS)})(?P<arguments>(?:[\s;][^\n]*)?)\n?"
)
_OTHER_MAGIC = re.compile(r"\A(\s*)([^\W\d]\w*\s*=\s*)?[%!]")
_MARK = "_stepup_wait_is_here_"


def rewrite(lines: list[str]) -> list[str]:
    """Make an await of each `%stepup wait` or `audit` that is a statement of the cell itself; of no other text.

    What is indented, in a string or continued on the next line stays a magic, which waits the plain way.
    """
    waits = {number: match for number, line in enumerate(lines, 1) if (match := _WAIT.fullmatch(line))}
    if not waits or _text(lines).lstrip().startswith("%%"):
        return lines
    # Shell commands and options are no Python ("5s" is no number, "don't" no string): they are left out
    # before Python's tokenizer is asked what is in a string.
    plain = [
        f"{_MARK}\n" if number in waits else _OTHER_MAGIC.sub(r"\1pass #", line)
        for number, line in enumerate(lines, 1)
    ]
    rewritten = list(lines)
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        is_new_statement = True
        for token in tokenize.generate_tokens(iter(plain).__next__):
            number = token.start[0]
            if token.string == _MARK and is_new_statement and number in waits:
                match = waits[number]
                if not match["arguments"].endswith("\\"):
                    hook = _HOOK.format(match["verb"])
                    call = f"await get_ipython().{hook}({match['arguments'].strip()!r})"
                    rewritten[number - 1] = f"{match['target'] or ''}{call}\n"
            is_new_statement = token.type in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
    return rewritten


class WaitTransformer:
    """Rewrites the cells of one shell, and keeps them interruptible."""

    def __init__(self, ip: Any) -> None:
        self._ip = ip
        self._rewritten: str | None = None

    def __call__(self, lines: list[str]) -> list[str]:
        """Rewrite the lines if they are the cell that the front end asked for.

        A text that a cell runs (the body of `%%time`, `%run`, `run_cell`) passes here too and cannot await.
        """
        rewritten = lines
        if choose(self._ip) == "await" and _text(lines) == self._requested():
            rewritten = rewrite(lines)
        if rewritten != lines:
            self._rewritten = _text(lines)
        return rewritten

    def _requested(self) -> str | None:
        request = self._ip.kernel.get_parent() or {}
        if request.get("header", {}).get("msg_type") != "execute_request":
            return None
        return _text([request["content"]["code"]])

    def before_cell(self, info: Any) -> None:
        """Let an interrupt stop plain code of a cell that also awaits.

        ipykernel only cancels such a cell, which stops it at its next await: never in a long calculation. Its
        handler comes back by itself when the cell ends.
        """
        rewritten, self._rewritten = self._rewritten, None
        previous = signal.getsignal(signal.SIGINT)
        if (
            _text([info.raw_cell]) != rewritten
            or threading.current_thread() is not threading.main_thread()
            or not callable(previous)
        ):
            return
        loop = asyncio.get_running_loop()
        main_thread = threading.get_ident()

        def interrupt(signum: int, frame: FrameType | None) -> None:
            place = _place(frame)
            if place == "plain code":
                raise KeyboardInterrupt
            previous(signum, frame)
            loop.call_soon_threadsafe(lambda: None)
            if place == "between statements":
                threading.Timer(_AGAIN, again).start()

        def again() -> None:
            if signal.getsignal(signal.SIGINT) is interrupt:
                signal.pthread_kill(main_thread, signal.SIGINT)

        signal.signal(signal.SIGINT, interrupt)


def _text(lines: list[str]) -> str:
    return "".join(lines).rstrip("\n")


def install(ip: Any, *, wait: Hook, audit: Hook) -> None:
    """Have `%stepup wait` and `audit` in cells of this shell await these, where the kernel is of that kind."""
    uninstall(ip)
    transformer = WaitTransformer(ip)
    setattr(ip, _HOOK.format("wait"), wait)
    setattr(ip, _HOOK.format("audit"), audit)
    # The first, so that it sees the cell as it was sent.
    ip.input_transformers_cleanup.insert(0, transformer)
    ip.events.register("pre_run_cell", transformer.before_cell)


def uninstall(ip: Any) -> None:
    """Undo `install`; nothing happens where it was not called."""
    for transformer in [each for each in ip.input_transformers_cleanup if isinstance(each, WaitTransformer)]:
        ip.input_transformers_cleanup.remove(transformer)
        ip.events.unregister("pre_run_cell", transformer.before_cell)
        for verb in _VERBS:
            delattr(ip, _HOOK.format(verb))
