"""The model of the panel that ipywidgets knows. Imported on use: ipywidgets takes a while to import."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from stepup_nb.notebook.panel import source

Bundle = dict[str, str]


class Panel(anywidget.AnyWidget):
    """The live panel of a notebook's session; shown like any value, as often as one likes.

    One for each kernel: all its views, in whatever tab or browser, show the same. Made by `Records.panel`.
    """

    _esm = ""
    _css = ""

    mode = traitlets.Enum(("full", "compact"), "full", help="How a new view begins.").tag(sync=True)

    def __init__(self, draw: Callable[[], Bundle], **traits: Any) -> None:
        # The class attributes are read when an instance is made; the files, only now that somebody needs them.
        super().__init__(_esm=source.script(), _css=source.style(), **traits)
        self._draw = draw
        # Private, and only in ipykernel 7.4 and later: clicks are heard in the subshell that JupyterLab sends
        # them through, also while the main thread is in a cell.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda data, default: default

    def listen(self, take: Callable[[Any], None]) -> None:
        """Hand on the browser's messages."""
        self.on_msg(lambda _, content, buffers: take(content))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to all views; nobody is there any more once the panel was closed."""
        if self.comm is not None:
            with contextlib.suppress(RuntimeError):
                self.send(message)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        found = super()._repr_mimebundle_(**options)
        data, metadata = found if isinstance(found, tuple) else (found, {})
        # For where no widget can be shown: GitHub, nbconvert, a notebook that is not trusted.
        return {**(data or {}), **self._draw()}, metadata
