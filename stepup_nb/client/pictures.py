"""Writes the graph into files, as StepUp does: text, and two pictures for Graphviz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepup_nb.core import graphs


def write(nodes: Sequence[Mapping[str, Any]], prefix: str) -> list[str]:
    """Write ``PREFIX.txt``, ``PREFIX_provenance.dot`` and ``PREFIX_dependency.dot``; return their names."""
    names = []
    for end, render in (
        (".txt", graphs.text),
        ("_provenance.dot", graphs.provenance_dot),
        ("_dependency.dot", graphs.dependency_dot),
    ):
        names.append(prefix + end)
        with open(names[-1], "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(render(nodes))
    return names
