"""Pieces of drawings, which take the colour of the page around them and shrink with it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from stepup_nb.notebook import ansi

FONT = "system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif"
"""Of what is drawn and written outside of JupyterLab."""


def text(
    x: float, y: float, words: str, *, anchor: str = "start", faint: bool = False, bold: bool = False
) -> str:
    """Return a text of a drawing."""
    look = f' fill-opacity="{ansi.FADED}"' if faint else ""
    look += ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor"{look}>{escape(words)}</text>'


def drawing(width: int, height: int, parts: Iterable[str], words: str) -> str:
    """Return a drawing of so many pixels; the words say what it shows."""
    return (
        f'<svg role="img" aria-label="{escape(words)}" viewBox="0 0 {width} {height}" width="{width}"'
        f' style="max-width:100%;height:auto" font-size="12" font-family="{FONT}">{"".join(parts)}</svg>'
    )


def file(width: int, height: int, parts: Iterable[str], words: str, mark: str) -> str:
    """Return a drawing as the text of a file: with a page behind it, light or dark as the reader's system is.

    Parameters
    ----------
    width, height
        Of the drawing, in pixels.
    parts
        What is drawn.
    words
        What it shows.
    mark
        A comment by which the file is known as one of ours.
    """
    edge = 16
    full, high = width + 2 * edge, height + 2 * edge
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="{-edge} {-edge} {full} {high}" width="{full}"'
        f' height="{high}" font-size="12" font-family="{FONT}">\n{mark}\n<title>{escape(words)}</title>\n'
        "<style>svg{color:#1f2328;--page:#fff}"
        "@media(prefers-color-scheme:dark){svg{color:#e6edf3;--page:#0d1117}}</style>\n"
        f'<rect x="{-edge}" y="{-edge}" width="{full}" height="{high}" style="fill:var(--page)"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
