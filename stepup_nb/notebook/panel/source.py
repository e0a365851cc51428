"""The panel's code for the browser, joined from its modules: anywidget loads one module and one style sheet.

The modules in ``js/`` are plain ES modules that import only one another and share one set of top-level names
(a test says so), so that leaving out their imports and exports joins them. No tool is needed to build anything.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([a-z]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function|class|const|let)", re.MULTILINE)
_ENTRY = "panel"


def _folder(name: str) -> Traversable:
    return files(__package__).joinpath(name)


def _module(name: str) -> str:
    return _folder("js").joinpath(f"{name}.js").read_text(encoding="utf-8")


def _order(name: str, found: dict[str, str]) -> None:
    """Put a module behind all that it imports."""
    if name in found:
        return
    text = found[name] = _module(name)
    for _, other in _IMPORT.findall(text):
        _order(other, found)
    # Again, since what it imports was put behind it.
    found[name] = found.pop(name)


@cache
def script() -> str:
    """Return the panel as one ES module."""
    found: dict[str, str] = {}
    _order(_ENTRY, found)
    parts = [_EXPORT.sub("", _IMPORT.sub("", text)) for text in found.values()]
    return "\n".join([*parts, "export default createPanel;\n"])


@cache
def style() -> str:
    """Return the panel's style sheet; ``base.css`` comes first, since the others build on it."""
    sheets = {sheet.name: sheet.read_text(encoding="utf-8") for sheet in _folder("css").iterdir()}
    return "\n".join(sheets[name] for name in sorted(sheets, key=lambda name: (name != "base.css", name)))
