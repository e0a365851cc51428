"""Tells the loop that something changed somewhere, so that it takes a look.

Knows nothing of steps or files: a call is a hint, and whoever is called finds out by looking what is so.
What no event tells, because it was lost or because there are none, is made good by a call to look at all.
"""

from __future__ import annotations

import os
import posixpath
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from stepup_nb.director.reactor import Reactor, Timer

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

EVERYTHING: frozenset[str] = frozenset()
"""What is told instead of paths when any of them may have changed."""

RARELY = 30
"""Ticks between two calls to look at everything although events come.

The system drops events when its queue is full, and watchfiles does not say so; a network file system tells
only what this machine did to it.
"""

_MANY = 1000
"""Paths in one call beyond which it says everything: to look is cheaper, and events may have been lost."""

_STEP = 0.05
"""Seconds at most between two looks of the thread whether it is to stop."""

_ATTEMPTS = 5
"""Tries to watch folders that come and go meanwhile."""

_MODIFIED = 2
"""The kind of change of watchfiles that leaves folders where they are (``Change.modified``)."""

_HIDDEN = frozenset({".stepup", ".git", "__pycache__", ".ipynb_checkpoints"})
"""Folders that are written to by tools, ours first of all, and never by a user."""

_Mark = tuple[int, int]
"""What a folder is, by whatever name: its device and inode."""


class Watcher:
    """Calls a function whenever something may have changed in some folders, and not too often.

    Parameters
    ----------
    reactor
        Its turning thread makes all calls, and is the only one that may call this object.
    on_change
        Takes the absolute paths, of files or folders, that changed. None at all means any of them may have.
    root
        The folder of the project: its folders are followed also when one above them is moved away, and
        what lies above it may have any name.
    debounce
        Seconds between two calls at least.
    poll_every
        Seconds between two calls to look at everything where there are no events. Where there are, it takes
        `RARELY` times as long.
    use
        "events" needs the package watchfiles (extra ``watch``), and raises in the turning thread what "auto"
        copes with; "scan" does without.
    """

    kind: Literal["events", "scan"]
    """What it works by now. With "auto" it is "scan" until events are known to come, when they end, and while
    a folder's disk does not answer."""

    why: str
    """Why it is "scan", in the words of the system; empty if nothing went wrong."""

    def __init__(
        self,
        reactor: Reactor,
        on_change: Callable[[frozenset[str]], None],
        root: str,
        *,
        debounce: float = 0.05,
        poll_every: float = 1.0,
        use: Literal["auto", "events", "scan"] = "auto",
    ) -> None:
        self.kind = "scan"
        self.why = ""
        self._reactor = reactor
        self._on_change = on_change
        self._root = os.path.abspath(root)
        self._debounce = debounce
        self._poll_every = poll_every
        self._use = use
        self._folders: frozenset[str] = frozenset()
        self._is_closed = False
        self._paths: set[str] = set()
        self._is_everything = False
        self._told = float("-inf")
        self._tell_timer: Timer | None = None
        self._tick_timer: Timer | None = None
        self._ticks = 0
        self._events: _Events | None = None
        self._asked = 0
        self._answered = 0
        self._is_late = False

    def follow(self, folders: Iterable[str]) -> None:
        """Watch these folders, given as absolute normal paths, and no others; not what is in their folders.

        For one that does not exist the nearest one above it is watched. Unless they are the same as before,
        a call to look at everything comes as soon as nothing in them can be missed any more.
        """
        wanted = frozenset(folder for folder in folders if not _is_hidden(folder, self._root))
        if wanted == self._folders or self._is_closed:
            return
        self._folders = wanted
        if not wanted:
            self._rest()
            return
        if self._tick_timer is None:
            self._tick_timer = self._reactor.call_after(self._poll_every, self._tick)
        if self._use == "scan":
            self._tell(EVERYTHING)
        else:
            self._ask()

    def close(self) -> None:
        """Call nobody any more. The thread ends soon, and nobody waits for it."""
        self._is_closed = True
        self._folders = frozenset()
        self._rest()

    def _rest(self) -> None:
        for timer in (self._tell_timer, self._tick_timer):
            if timer is not None:
                timer.cancel()
        self._tell_timer = self._tick_timer = None
        self._paths.clear()
        self._is_everything = False
        self._end_events()

    def _end_events(self) -> None:
        if self._events is not None:
            self._events.close()
        self._events = None
        self._is_late = False
        self.kind = "scan"

    # --- calls -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._tick_timer = self._reactor.call_after(self._poll_every, self._tick)
        self._ticks += 1
        is_waiting = self._events is not None and self._asked != self._answered
        if is_waiting and self._is_late:
            self.kind, self.why = "scan", "a folder does not answer"
        self._is_late = is_waiting
        if self.kind == "scan":
            self._tell(EVERYTHING)
        if self._use != "scan" and self._ticks % RARELY == 0:
            self._ask()

    def _tell(self, paths: frozenset[str]) -> None:
        self._paths |= paths
        if not paths or len(self._paths) > _MANY:
            self._is_everything = True
            self._paths.clear()
        if self._tell_timer is None:
            wait = self._told + self._debounce - time.monotonic()
            self._tell_timer = self._reactor.call_after(max(0.0, wait), self._tell_now)

    def _tell_now(self) -> None:
        self._told = time.monotonic()
        self._tell_timer = None
        paths = EVERYTHING if self._is_everything else frozenset(self._paths)
        self._is_everything = False
        self._paths.clear()
        self._on_change(paths)

    # --- the thread, seen from the loop ------------------------------------------------------------

    def _ask(self) -> None:
        if self._events is None:
            self._events = _Events(self._root, self._debounce, self._report, self._fail)
        self._asked += 1
        self._events.follow(self._asked, self._folders)

    def _report(self, events: _Events, number: int, paths: frozenset[str]) -> None:
        self._reactor.post(partial(self._on_report, events, number, paths))

    def _fail(self, events: _Events, error: BaseException) -> None:
        self._reactor.post(partial(self._on_failure, events, error))

    def _on_report(self, events: _Events, number: int, paths: frozenset[str]) -> None:
        # Of folders that were followed before: those followed now are told once they are watched.
        if events is not self._events or number != self._asked:
            return
        self._answered = number
        self.kind, self.why = "events", ""
        self._tell(paths)

    def _on_failure(self, events: _Events, error: BaseException) -> None:
        if events is not self._events:
            return
        self._end_events()
        self.why = str(error) or type(error).__name__
        if self._use == "events":
            raise error
        if isinstance(error, ImportError):
            self._use = "scan"
        self._tell(EVERYTHING)


class _Events:
    """A thread that watches folders, always those it was told last, until it is closed or fails."""

    def __init__(
        self,
        root: str,
        debounce: float,
        report: Callable[[_Events, int, frozenset[str]], None],
        fail: Callable[[_Events, BaseException], None],
    ) -> None:
        self._root = root
        self._debounce_ms = max(1, round(debounce * 1000))
        self._step_ms = max(1, round(min(debounce / 2, _STEP) * 1000))
        self._report = report
        self._fail = fail
        self._news = threading.Event()
        self._order: tuple[int, frozenset[str]] | None = None
        # From here on, what only the thread may touch.
        self._notify: RustNotify | None = None
        self._watched: dict[str, _Mark] = {}
        self._folders: frozenset[str] = frozenset()
        self._ways: frozenset[str] = frozenset()
        self._thread: threading.Thread | None = None

    def follow(self, number: int, folders: frozenset[str]) -> None:
        """Watch these folders from now on, and make all reports of them with this number."""
        self._order = (number, folders)
        self._news.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="stepup-watch", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                # The system has no room for it now.
                self._fail(self, error)

    def close(self) -> None:
        """End the thread soon."""
        self._order = None
        self._news.set()

    def _work(self) -> None:
        try:
            while (order := self._next_order()) is not None:
                self._obey(*order)
        except BaseException as error:
            self._fail(self, error)
        finally:
            self._stop_watching()

    def _next_order(self) -> tuple[int, frozenset[str]] | None:
        self._news.wait()
        self._news.clear()
        return self._order

    def _obey(self, number: int, folders: frozenset[str]) -> None:
        must_open = folders != self._folders
        if must_open:
            self._folders = folders
            self._ways = frozenset(step for folder in folders for step in _way_up(folder))
        while not self._news.is_set():
            if must_open or self._watched != self._find():
                self._open()
            # What happened before the folders were watched; and what was dropped when an order came.
            self._report(self, number, EVERYTHING)
            must_open = self._listen(number)

    def _open(self) -> None:
        # Here and in this thread: what it brings along takes 50 ms to import.
        from watchfiles._rust_notify import RustNotify

        self._stop_watching()
        for _ in range(_ATTEMPTS):
            self._watched = self._find()
            # One name for each folder: the system would report what happens there under the last one only.
            names = list({mark: name for name, mark in self._watched.items()}.values())
            try:
                self._notify = RustNotify(names, False, False, 300, False, False)
            except FileNotFoundError:
                continue
            if self._find() == self._watched:
                return
            self._stop_watching()
        raise OSError("folders come and go too fast to be watched")

    def _stop_watching(self) -> None:
        if self._notify is not None:
            self._notify.close()
        self._notify = None

    def _find(self) -> dict[str, _Mark]:
        """Find out which folders to watch: all that exist, or what is nearest above them.

        A disk that does not answer holds up this thread here. It must not do so in `RustNotify`, which holds
        the interpreter meanwhile.
        """
        found: dict[str, _Mark] = {}
        for folder in self._folders:
            is_found = False
            for step in _way_up(folder):
                if is_found and not _is_in(step, self._root):
                    break
                if step not in found:
                    mark = _mark_of(step)
                    # To watch a folder takes the right to read it: one above will do, if it is not asked for.
                    if mark is None or (step != folder and not os.access(step, os.R_OK)):
                        continue
                    found[step] = mark
                is_found = True
        return found

    def _listen(self, number: int) -> bool:
        """Report until there is news; return true before that when the folders to watch may be others now."""
        assert self._notify is not None
        names: dict[_Mark, list[str]] = {}
        for name, mark in self._watched.items():
            names.setdefault(mark, []).append(name)
        while True:
            # No timeout: when it ends, watchfiles drops what has just arrived.
            found = self._notify.watch(self._debounce_ms, self._step_ms, 0, self._news)
            if isinstance(found, str):
                return False
            paths = set()
            for change, path in found:
                folder, name = posixpath.split(path)
                if folder in self._watched:
                    same = [posixpath.join(other, name) for other in names[self._watched[folder]]]
                else:
                    same = [path]
                if change != _MODIFIED and not self._ways.isdisjoint(same):
                    return True
                for path in same:
                    if posixpath.dirname(path) in self._folders and not _is_hidden(path, self._root):
                        paths.add(path)
            if paths:
                self._report(self, number, frozenset(paths))


def _way_up(folder: str) -> Iterator[str]:
    """Name a folder and all those above it."""
    yield folder
    while (above := posixpath.dirname(folder)) != folder:
        yield above
        folder = above


def _is_in(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _is_hidden(path: str, root: str) -> bool:
    """Whether only tools write there: a director that is called about its own writing never comes to rest."""
    words = (path[len(root) :] if _is_in(path, root) else path).split("/")
    return not _HIDDEN.isdisjoint(words) or any(".stepup.db" in word for word in words)


def _mark_of(folder: str) -> _Mark | None:
    """Return which folder is there, if any."""
    try:
        found = os.stat(posixpath.join(folder, "."))
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
