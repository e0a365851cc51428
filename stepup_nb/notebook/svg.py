"""Pieces of drawings, which take the colour of the page around them and shrink with it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from stepup_nb.notebook import ansi

FONT = "system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif"
"""Of what is drawn and written outside of JupyterLab."""


def text(x: float, y: float, words: str, *, anchor: str = "start", faint: bool = False) -> str:
    """Return a text of a drawing."""
    opacity = f' fill-opacity="{ansi.FADED}"' if faint else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor"{opacity}>{escape(words)}</text>'


def drawing(width: int, height: int, parts: Iterable[str], words: str) -> str:
    """Return a drawing of so many pixels; the words say what it shows."""
    return (
        f'<svg role="img" aria-label="{escape(words)}" viewBox="0 0 {width} {height}" width="{width}"'
        f' style="max-width:100%;height:auto" font-size="12" font-family="{FONT}">{"".join(parts)}</svg>'
    )
