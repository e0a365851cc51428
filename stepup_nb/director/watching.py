"""Has files watched for a director: where, and when a hint leads to a look.

A hint says no more than that something may have changed; a look tells what. There is one look at a time, whatever
goes on in those folders.
"""

from __future__ import annotations

from collections.abc import Callable

from stepup_nb.core.graph import Graph
from stepup_nb.director.folders import Folders
from stepup_nb.director.reactor import Reactor, Timer
from stepup_nb.director.watch import Watcher

_SOON = 0.05
"""Seconds until the folders of what was declared just now are watched, too."""


class Watching:
    """What is watched, while anything is.

    Parameters
    ----------
    reactor
        The loop, whose thread every call belongs to.
    root
        Absolute folder that paths are relative to.
    graph
        The files and patterns that matter.
    look
        Begins a look at all of them, and returns its token.
    is_of_use
        Tells whether anybody wants to know now.
    """

    def __init__(
        self,
        reactor: Reactor,
        root: str,
        graph: Graph,
        look: Callable[[], int],
        is_of_use: Callable[[], bool],
    ) -> None:
        self._reactor = reactor
        self._root = root
        self._graph = graph
        self._look = look
        self._is_of_use = is_of_use
        self._watcher: Watcher | None = None
        self._folders = Folders(root)
        self._timer: Timer | None = None
        self._token = 0
        """The look that is under way."""
        self._is_changed_again = False

    @property
    def is_on(self) -> bool:
        """Whether files are watched."""
        return self._watcher is not None

    def turn(self, is_on: bool) -> str:
        """Watch from now on, or no longer; return by what, ``events`` or ``scan``, or an empty text."""
        if is_on and self._watcher is None:
            self._watcher = Watcher(self._reactor, lambda paths: self._on_change(), self._root)
            self._follow()
        elif not is_on and self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        return "" if self._watcher is None else self._watcher.kind

    def follow_soon(self) -> None:
        """Something was declared, or another phase began: watch what matters then."""
        if self._watcher is not None and self._timer is None:
            self._timer = self._reactor.call_after(_SOON, self._follow)

    def _follow(self) -> None:
        self._timer = None
        if self._watcher is not None:
            globs = [glob for scope in self._graph.scopes.values() for glob in scope.globs]
            folders = self._folders.of(self._graph.files, globs) if self._is_of_use() else set()
            self._watcher.follow(folders)

    def _on_change(self) -> None:
        if not self._is_of_use():
            return
        if self._token:
            self._is_changed_again = True
            return
        self._folders.forget()
        self._token = self._look()
        self.follow_soon()

    def looked(self, token: int) -> None:
        """A look has ended: if it was ours, and something changed meanwhile, look again."""
        if token == self._token:
            self._token = 0
            if self._is_changed_again:
                self._is_changed_again = False
                self._on_change()
