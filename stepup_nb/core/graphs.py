"""The workflow graph on paper: StepUp's three files, a Mermaid flowchart, an outline for terminals.

Everything is a pure function of a list of nodes in order of creation, plain dictionaries with these keys:

- ``key``: ``root:``, ``file:PATH``, ``step:KEY`` or ``dg:PATTERN`` (a deferred glob);
- ``label``: one line for people: a step's label, a file's path;
- ``orphan``: whether nobody declares it;
- ``state``: a word of StepUp such as ``BUILT``, or "";
- ``properties``: pairs of name and text, in the order in which they are told;
- ``creator``: the key of the node that declared it, or None;
- ``creates``, ``consumes``, ``supplies``: keys of other nodes.

Labels are strangers: none of them can be more than text in what is returned here.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from stepup_nb.core.words import counted

Node = Mapping[str, Any]

Kind = Literal["dependency", "provenance"]
"""What flows from where to where, or who declared what."""

MOST = 150
"""Nodes that a flowchart shows unless told otherwise: more are no picture any more."""

MOST_EDGES = 500
"""Arrows of a flowchart. Laying out more takes a browser seconds, in which the page stands still."""

LONGEST = 90_000
"""Characters of a flowchart: JupyterLab refuses to draw one of more than 100 000."""

GLYPHS = {
    "SUCCEEDED": "✓",
    "BUILT": "✓",
    "FAILED": "✗",
    "MISSING": "✗",
    "CANCELLED": "⊘",
    "RUNNING": "●",
    "QUEUED": "◔",
    "CHECKING": "◎",
    "PENDING": "○",
    "AWAITED": "○",
    "OUTDATED": "○",
    "STATIC": "·",
    "VOLATILE": "~",
}
"""By state; those of steps are the record's."""


# --- StepUp's files -----------------------------------------------------------------------------------


def text(nodes: Sequence[Node]) -> str:
    """Return what StepUp 3.0 writes to ``PREFIX.txt``: a paragraph per node, with all that is known of it.

    Keys stand there as they are, line feeds included.
    """
    shown = {node["key"]: _key(node) for node in nodes}
    return "".join(f"{paragraph}\n\n" for paragraph in _paragraphs(nodes, shown))


def _paragraphs(nodes: Sequence[Node], shown: Mapping[str, str]) -> Iterator[str]:
    for node in nodes:
        lines = [shown[node["key"]]]
        lines += [f"{name:>20} = {line}" for name, line in _properties(node)]
        relations = (
            ("created by", [node["creator"]] if node["creator"] is not None else []),
            ("consumes", node["consumes"]),
            ("creates", node["creates"]),
            ("supplies", node["supplies"]),
        )
        for name, keys in relations:
            lines += [f"{name:>20}   {other}" for other in sorted(shown.get(key, key) for key in keys)]
        yield "\n".join(lines)


def _properties(node: Node) -> Iterator[tuple[str, str]]:
    """Yield name and line; the name is empty where a line goes on with what was said before."""
    state = [("state", node["state"])] if node["state"] else []
    before = ""
    for name, value in [*state, *node["properties"]]:
        is_more = name == before == "env_var"
        for line in _grouped(value) if name.endswith("digest") else value.split("\n"):
            yield "" if is_more else name, line
            is_more = True
        before = name


def _grouped(digest: str) -> list[str]:
    if not re.fullmatch("[0-9a-f]{9,}", digest):
        return [digest]
    return textwrap.wrap(" ".join(textwrap.wrap(digest, 8)), 8 * 9 - 1)


def _key(node: Node) -> str:
    return f"({node['key']})" if node["orphan"] else str(node["key"])


def provenance_dot(nodes: Sequence[Node]) -> str:
    """Return for Graphviz who declared what. The numbers of nodes are their places in the order of creation.

    StepUp 3.0 also draws an arrow from root to itself, and one from a node "None" to each orphan; they are no
    part of the graph.
    """
    return _dot(nodes, "provenance", range(len(nodes)), "empty")


def dependency_dot(nodes: Sequence[Node]) -> str:
    """Return for Graphviz what flows from where to where: steps, files, deferred globs, but no directories."""
    drawn = [i for i, node in enumerate(nodes) if node["key"] != "root:" and not _is_directory(node)]
    return _dot(nodes, "dependency", drawn, "normal")


_DOT_LOOKS = {
    "dg": " shape=octagon fillcolor=7",
    "file": " shape=rect fillcolor=9",
    "root": " shape=hexagon fillcolor=6",
}


def _dot(nodes: Sequence[Node], kind: Kind, drawn: Iterable[int], arrow: str) -> str:
    chosen = sorted(drawn, key=lambda i: (_kind(nodes[i]), nodes[i]["label"], i))
    lines = [
        "strict digraph {",
        "  graph [rankdir=BT bgcolor=transparent]",
        "  node [penwidth=0 colorscheme=set39 style=filled fillcolor=5]",
        f"  edge [color=dimgray arrowhead={arrow}]",
    ]
    for i in chosen:
        label = textwrap.wrap(_name(nodes[i]), 20)
        lines.append(
            f'  {i + 1} [label="{_NEWLINE.join(map(_quoted, label))}"{_DOT_LOOKS.get(_kind(nodes[i]), "")}]'
        )
    arrows = sorted(_edges(nodes, kind, frozenset(chosen)))
    if kind == "dependency":
        arrows.sort(key=lambda arrow: (arrow[1], nodes[arrow[0]]["label"]))
    lines += [f"  {start + 1} -> {end + 1}" for start, end in arrows]
    return "\n".join([*lines, "}", ""])


_NEWLINE = r"\n"


def _quoted(line: str) -> str:
    # Graphviz expands entities in labels, and escapes after that.
    return line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


# --- the flowchart ------------------------------------------------------------------------------------


def mermaid(nodes: Sequence[Node], kind: Kind, most: int = MOST) -> str:
    """Return a Mermaid flowchart of the first `most` nodes, and one that says how many more there are.

    Fewer are shown where the whole would be more than a browser can draw while one waits. Its nodes have names
    of our own; of a label what could mean something stands by its number.
    """
    drawn = list(range(len(nodes))) if kind == "provenance" else _flow(nodes)
    shown = max(0, most)
    while True:
        chart, arrows = _flowchart(nodes, kind, drawn, shown)
        if arrows <= MOST_EDGES and len(chart) <= LONGEST:
            return chart
        shown = min(shown, len(drawn)) // 2


def _flowchart(nodes: Sequence[Node], kind: Kind, drawn: Sequence[int], shown: int) -> tuple[str, int]:
    chosen = drawn[:shown]
    arrows = sorted(_edges(nodes, kind, frozenset(chosen)))
    number = counted(len(drawn), "node")
    if len(chosen) < len(drawn):
        number = f"{len(chosen)} of {number}"
    lines = [
        _OWN_BREAKS,
        f"flowchart {_direction(chosen, arrows)}",
        f"accTitle: {kind.capitalize()} graph",
        f"accDescr: {number}, {counted(len(arrows), 'arrow')}",
    ]
    for i in chosen:
        start, end = _FRAMES.get(_kind(nodes[i]), ("[", "]"))
        look = _CLASS_OF_STATE.get(nodes[i]["state"], "plain")
        lines.append(f'n{i + 1}{start}"{_inside(nodes[i])}"{end}:::{look}')
    if len(drawn) > len(chosen):
        lines.append(f'more["… and {len(drawn) - len(chosen)} more"]:::absent')
    elif not drawn:
        lines.append('more["nothing declared"]:::absent')
    lines += [f"n{start + 1} --> n{end + 1}" for start, end in arrows]
    if kind == "provenance":
        lines += _held(nodes, chosen, {end for _, end in arrows})
    lines += [f"class n{i + 1} absent" for i in chosen if nodes[i]["orphan"]]
    lines += [f"classDef {name} {style}" for name, style in _CLASSES.items()]
    return "\n".join([*lines, ""]), len(arrows)


def _held(nodes: Sequence[Node], chosen: Sequence[int], owned: Set[int]) -> list[str]:
    # An unseen line to root keeps what nobody declared where no arrow passes beneath it.
    roots = [i for i in chosen if nodes[i]["key"] == "root:"]
    return [f"n{i + 1} ~~~ n{root + 1}" for root in roots for i in chosen if i != root and i not in owned]


# Lines end where we end them: Mermaid breaks at 200 pixels otherwise, and never within a word.
_OWN_BREAKS = '%%{init: {"flowchart": {"wrappingWidth": 800}}}%%'

_FRAMES = {"step": ("(", ")"), "root": ("{{", "}}"), "dg": ("[[", "]]")}


# Lines only, never fills: the theme's own colours for paper and ink go together in light and dark.
_CLASSES = {
    "plain": "stroke-width:1px",
    "good": "stroke:forestgreen,stroke-width:2px",
    "bad": "stroke:orangered,stroke-width:4px",
    "busy": "stroke:dodgerblue,stroke-width:4px",
    "waiting": "stroke:darkgoldenrod,stroke-width:2px,stroke-dasharray:6 3",
    "absent": "stroke-width:2px,stroke-dasharray:2 3",
}
_CLASS_OF_STATE = {
    "SUCCEEDED": "good",
    "BUILT": "good",
    "FAILED": "bad",
    "MISSING": "bad",
    "CANCELLED": "bad",
    "RUNNING": "busy",
    "QUEUED": "busy",
    "CHECKING": "busy",
    "PENDING": "waiting",
    "AWAITED": "waiting",
    "OUTDATED": "waiting",
    "VOLATILE": "absent",
}


def _inside(node: Node) -> str:
    lines = [_inert(line) for line in textwrap.wrap(_short(node), 28)] or [""]
    if node["state"]:
        lines.append(_state(node))
    return "<br/>".join(lines)


def _inert(line: str) -> str:
    """Return the line for a place between quotes.

    Mermaid takes a label for Markdown: a full stop after a number, two blanks, "www." mean something there. What
    stands between two letters or digits of a path means nothing, and who sees the source can read it so.
    """
    return _ACTIVE.sub(lambda match: f"#{ord(match[0])};{_PARTED.get(match[0], '')}", line)


_ACTIVE = re.compile(
    "(?i:(?<=www)[.])|(?:(?<![a-zA-Z0-9])|(?=.(?![a-zA-Z0-9])))[./_-]|(?:^|(?<= )) |[^a-zA-Z0-9 ./_-]",
    re.DOTALL,
)

# Some things Mermaid looks for when the numbers are characters again: formulas between "$$", icons such as
# "fa:fa-car", and the pairs "ﬂ°" and "¶ß", which stand for "&" and ";" on its way. A joiner of no width parts them.
_PARTED = dict.fromkeys("$:ﬂ¶", "#8204;")


def _direction(drawn: Iterable[int], arrows: Iterable[tuple[int, int]]) -> str:
    """Return that in which it needs less of the width, since a browser shrinks what is wider than the page."""
    suppliers: dict[int, list[int]] = {i: [] for i in drawn}
    for start, end in arrows:
        suppliers[end].append(start)
    rank: dict[int, int] = {}
    try:
        for i in TopologicalSorter(suppliers).static_order():
            rank[i] = max((rank[start] + 1 for start in suppliers[i]), default=0)
    except CycleError:
        return "LR"
    levels = Counter(rank.values())
    return "TB" if len(levels) > max([6, *levels.values()]) else "LR"


# --- the outline --------------------------------------------------------------------------------------


def outline(nodes: Sequence[Node], kind: Kind, most: int | None = None) -> str:
    """Return the graph as indented lines: each step with what it needs and makes, or who declared what.

    Nothing in it commands a terminal. Of more than `most` lines the rest is only counted.
    """
    lines = list(_declared(nodes) if kind == "provenance" else _needed_and_made(nodes))
    if most is not None and len(lines) > most:
        lines[most:] = [f"… and {counted(len(lines) - most, 'line')} more"]
    return "\n".join(lines or ["nothing declared"]) + "\n"


def _needed_and_made(nodes: Sequence[Node]) -> Iterator[str]:
    drawn = frozenset(_flow(nodes))
    needs: dict[int, list[int]] = {}
    makes: dict[int, list[int]] = {}
    for start, end in sorted(_edges(nodes, "dependency", drawn)):
        needs.setdefault(end, []).append(start)
        makes.setdefault(start, []).append(end)
    told: set[int] = set()
    for i in sorted(drawn):
        if _kind(nodes[i]) == "step":
            yield _line(nodes[i])
            yield from (f"    needs {_line(nodes[j])}" for j in needs.get(i, []))
            yield from (f"    makes {_line(nodes[j])}" for j in makes.get(i, []))
            told.update([i], needs.get(i, []), makes.get(i, []))
    if rest := sorted(drawn - told):
        yield "needed and made by no step"
        yield from (f"    {_line(nodes[i])}" for i in rest)


def _declared(nodes: Sequence[Node]) -> Iterator[str]:
    products: dict[int, list[int]] = {}
    owned = set()
    for start, end in sorted(_edges(nodes, "provenance", frozenset(range(len(nodes))))):
        products.setdefault(start, []).append(end)
        owned.add(end)
    told: set[int] = set()
    # The second round finds nothing, unless somebody says that two nodes declared each other.
    for first in [*(i for i in range(len(nodes)) if i not in owned), *range(len(nodes))]:
        ahead = [(first, 0)]
        while ahead:
            i, depth = ahead.pop()
            if i not in told:
                told.add(i)
                yield "    " * depth + _line(nodes[i])
                ahead += [(product, depth + 1) for product in reversed(products.get(i, []))]


def _line(node: Node) -> str:
    name = f"({_name(node)}), declared by nobody" if node["orphan"] else _name(node)
    glyph, _, state = _state(node).partition(" ")
    return f"{glyph} {name}  {state}" if state else f"  {name}"


# --- what they share ----------------------------------------------------------------------------------


def _edges(nodes: Sequence[Node], kind: Kind, drawn: frozenset[int]) -> set[tuple[int, int]]:
    """Return the arrows between these nodes, by their places; either end may have told of it."""
    place = {node["key"]: i for i, node in enumerate(nodes)}
    told: list[tuple[Any, Any]] = []
    for node in nodes:
        key = node["key"]
        if kind == "provenance":
            told += [(node["creator"], key), *((key, other) for other in node["creates"])]
        else:
            told += [
                *((other, key) for other in node["consumes"]),
                *((key, other) for other in node["supplies"]),
            ]
    found = ((place.get(start, -1), place.get(end, -1)) for start, end in told)
    edges = {edge for edge in found if edge[0] in drawn and edge[1] in drawn and edge[0] != edge[1]}
    if kind == "dependency":
        # What lies in a folder comes after it, but nothing flows.
        edges = {
            edge for edge in edges if not _is_directory(nodes[edge[0]]) or _kind(nodes[edge[1]]) == "step"
        }
    return edges


def _flow(nodes: Sequence[Node]) -> list[int]:
    """Return the places of what a dependency graph for people has: of directories those that a step makes."""
    edges = _edges(nodes, "dependency", frozenset(range(len(nodes))))
    made = {end for start, end in edges if _kind(nodes[start]) == "step"}
    return [
        i for i, node in enumerate(nodes) if node["key"] != "root:" and (i in made or not _is_directory(node))
    ]


def _is_directory(node: Node) -> bool:
    return bool(_kind(node) == "file" and node["key"].endswith("/"))


def _kind(node: Node) -> str:
    return str(node["key"]).partition(":")[0]


def _name(node: Node) -> str:
    r"""Return the label in one line; what hides, reorders or commands is shown by its code, such as ``\x1b``.

    The two joiners stay: they are part of scripts and of emoji.
    """
    name = "root" if node["key"] == "root:" else str(node["label"]).replace("\n", " ⏎ ").replace("\t", " ")
    if name.isprintable():
        return name
    return "".join(
        char if char.isprintable() or char in "\u200c\u200d" else _code(ord(char)) for char in name
    )


def _code(point: int) -> str:
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def _short(node: Node) -> str:
    """Return at most 80 characters of its name, with parentheses around it if nobody declares it."""
    name = _name(node)
    if len(name) > 80:
        # The end of a path says more than its beginning.
        name = f"…{name[-79:]}" if _kind(node) == "file" else f"{name[:79]}…"
    return f"({name})" if node["orphan"] else name


def _state(node: Node) -> str:
    return f"{GLYPHS.get(node['state'], '?')} {node['state'].lower()}" if node["state"] else ""
