"""The workflow graph as an output of a cell.

Tried in Chromium, with tests/browser/helpers_lab.py: JupyterLab 4.6 draws both the mime type ``text/vnd.mermaid`` and
a ``mermaid`` block in ``text/markdown``, as an image in the colours of the theme, in a saved notebook that is not
trusted too. Notebook 7.6 draws only the block: of JupyterLab's Mermaid extension it leaves out the mime type. So it is
the block, and nothing beside it, since JupyterLab would show the Markdown first anyway.

Nbconvert makes a page that draws the block as well. Not tried: GitHub and nbviewer are said to show its source
(jupyter/nbviewer issue 1075). Terminals take the outline.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepup_nb.core import graphs

MOST_LINES = 400
"""Lines of the outline: it is saved with the notebook."""


def bundle(nodes: Sequence[graphs.Node], kind: graphs.Kind) -> dict[str, str]:
    """Return the graph by mime type, for ``display(..., raw=True)``."""
    return {
        # No backtick of a label gets into a flowchart, so that none ends the block.
        "text/markdown": f"```mermaid\n{graphs.mermaid(nodes, kind)}```\n",
        "text/plain": graphs.outline(nodes, kind, MOST_LINES),
    }
