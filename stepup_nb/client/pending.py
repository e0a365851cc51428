"""The pages of StepUp's about steps that could not run: each step with all its files and their states.

On a terminal the root causes say more in less; these go to ``warning.log``, where StepUp's users look for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stepup_nb.client.lines import Page

_Node = Mapping[str, Any]

WAITING = ("PENDING", "QUEUED", "CHECKING")


def pending_pages(nodes: Sequence[_Node]) -> list[Page]:
    """Return the pages of StepUp 3.0: the blocked steps if there are any, else files that lack and every pending step.

    Parameters
    ----------
    nodes
        Rows of `core.view.nodes`.
    """
    known = {node["key"]: node for node in nodes}
    steps = [node for node in nodes if node["key"].startswith("step:") and _is_pending(node)]
    blocked = [node["key"] for node in steps if ["block", "True"] in node["properties"]]
    if blocked:
        return [Page("Blocked steps", "\n".join(sorted(blocked)))]
    inputs = {key: known[key] for node in steps for key in node["consumes"] if key.startswith("file:")}
    missing = [node for node in inputs.values() if node["state"] == "MISSING"]
    orphans = [node for node in inputs.values() if node["orphan"]]
    return [
        *_list("Missing inputs", missing),
        *_list("Orphaned inputs", orphans),
        *(_page(node, known) for node in steps),
    ]


def _is_pending(node: _Node) -> bool:
    return node["state"] in WAITING and ["mandatory", "NO"] not in node["properties"]


def _list(title: str, files: Iterable[_Node]) -> list[Page]:
    lines = [
        f"{node['state']:>20}  {node['label']}" for node in sorted(files, key=lambda node: node["label"])
    ]
    return [Page(title, "\n".join(lines))] if lines else []


def _page(step: _Node, known: Mapping[str, _Node]) -> Page:
    action, _, workdir = step["key"].removeprefix("step:").partition("  # wd=")
    lines = [f"{'Action':<20}  {action}", f"{'Working directory':<20}  {workdir or './'}"]
    amended = {f"file:{path}" for path in step["amended"]}
    for title, keys in (
        ("Declares", [key for key in step["creates"] if known[key]["state"] in ("STATIC", "MISSING")]),
        ("Inputs", [key for key in step["consumes"] if key.startswith("file:")]),
        ("Outputs", [key for key in step["supplies"] if key.startswith("file:")]),
    ):
        for key in sorted(keys):
            node = known[key]
            label = f"({node['label']})" if node["orphan"] else node["label"]
            mark = " [amended]" if key in amended else ""
            lines.append(f"{title:<10}{node['state']:>10}  {label}{mark}")
            title = ""
    return Page("PENDING Step", "\n".join(lines))
