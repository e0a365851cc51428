"""The workflow graph on paper, and labels that would like to be more than text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepup_nb.core import graphs
from stepup_nb.core.model import FileState, StepState
from stepup_nb.notebook.graph_view import bundle

PLAN = "step:runpy ./plan.py"
COPY = "step:runsh cp a.txt b.txt"
DIGEST = "0123456789abcdef" * 8


def node(key: str, state: str = "", **more: Any) -> dict[str, Any]:
    plain = {
        "key": key,
        "label": key.partition(":")[2],
        "orphan": False,
        "state": state,
        "properties": [],
        "creator": "root:",
        "creates": [],
        "consumes": [],
        "supplies": [],
    }
    return {**plain, **more}


def small() -> list[dict[str, Any]]:
    """A plan that copies a file, and a step that waits for one that nobody declares."""
    lines = [["pool", "p"], ["env_var", "BAR"], ["env_var", "FOO"], ["inp_digest", DIGEST]]
    return [
        node("root:", creator=None, creates=[PLAN, "file:./"]),
        node("file:./", "STATIC", supplies=["file:b.txt", COPY, "file:x.txt"]),
        node(PLAN, "SUCCEEDED", creates=[COPY, "dg:data/*.csv"], consumes=["file:./"]),
        node(
            COPY, "PENDING", properties=lines, creator=PLAN, consumes=["file:x.txt"], supplies=["file:b.txt"]
        ),
        node("file:b.txt", "AWAITED", creator=COPY, consumes=[COPY]),
        node("file:x.txt", "AWAITED", orphan=True, creator=None, supplies=[COPY]),
        node("dg:data/*.csv", creator=PLAN),
    ]


def lonely(label: str, kind: str = "step") -> list[dict[str, Any]]:
    return [node(f"{kind}:", "FAILED", label=label, creator=None)]


def named(label: str) -> str:
    """Return the label as people see it, with the codes of what cannot be seen."""
    return graphs.outline(lonely(label), "dependency").removeprefix("✗ ").removesuffix("  failed\n")


# --- PREFIX.txt ---------------------------------------------------------------------------------------


def test_the_text_is_laid_out_as_stepup_does_it():
    assert graphs.text(small()) == (
        """\
root:
             creates   file:./
             creates   step:runpy ./plan.py

file:./
               state = STATIC
          created by   root:
            supplies   (file:x.txt)
            supplies   file:b.txt
            supplies   step:runsh cp a.txt b.txt

step:runpy ./plan.py
               state = SUCCEEDED
          created by   root:
            consumes   file:./
             creates   dg:data/*.csv
             creates   step:runsh cp a.txt b.txt

step:runsh cp a.txt b.txt
               state = PENDING
                pool = p
             env_var = BAR
                     = FOO
          inp_digest = 01234567 89abcdef 01234567 89abcdef 01234567 89abcdef 01234567 89abcdef
                     = 01234567 89abcdef 01234567 89abcdef 01234567 89abcdef 01234567 89abcdef
          created by   step:runpy ./plan.py
            consumes   (file:x.txt)
            supplies   file:b.txt

file:b.txt
               state = AWAITED
          created by   step:runsh cp a.txt b.txt
            consumes   step:runsh cp a.txt b.txt

(file:x.txt)
               state = AWAITED
            supplies   step:runsh cp a.txt b.txt

dg:data/*.csv
          created by   step:runpy ./plan.py

"""
    )


@pytest.mark.parametrize("digest", ["", "unknown", "blake3:0123456789abcdef", "0123"])
def test_a_digest_that_is_no_long_number_stands_as_it_is(digest):
    assert f"digest = {digest}\n" in graphs.text([node("file:a", properties=[["digest", digest]])])


# --- Graphviz -----------------------------------------------------------------------------------------


def test_the_provenance_for_graphviz_has_every_node_and_an_arrow_from_who_declared_it():
    nodes, arrows = parsed(graphs.provenance_dot(small()))
    assert list(nodes) == [7, 2, 5, 6, 1, 3, 4]
    assert [nodes[1], nodes[2], nodes[4]] == ["root", "./", "runsh cp a.txt b.txt"]
    assert arrows == [(1, 2), (1, 3), (3, 4), (3, 7), (4, 5)]


def test_the_dependencies_for_graphviz_leave_out_root_and_directories():
    nodes, arrows = parsed(graphs.dependency_dot(small()))
    assert list(nodes) == [7, 5, 6, 3, 4]
    assert arrows == [(6, 4), (4, 5)]


def test_long_labels_are_broken_for_graphviz_where_stepup_breaks_them():
    dot = graphs.dependency_dot(lonely("runsh echo hi > ../s.txt  # wd=sub/"))
    assert r'"runsh echo hi >\n../s.txt  # wd=sub/"' in dot


@given(st.text())
@example('a"]; 1 -> 2 [label="')
@example("\\")
@example('\\"')
@example("\\N \\G &amp; <b>\n\x00\ud800")
def test_no_label_gets_out_of_its_quotes_for_graphviz(label):
    nodes, arrows = parsed(graphs.dependency_dot([*lonely(label), *lonely(label, "file")]))
    assert set(nodes) <= {1, 2} and not arrows
    assert "".join(nodes[1].split()) == "".join(named(label).split())


TOKEN = re.compile(r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<word>\w+)|(?P<sign>->|[\[\]{}=]))', re.DOTALL)


def parsed(dot: str) -> tuple[dict[int, str], list[tuple[int, int]]]:
    """Read the little that is used of Graphviz' language: labels by number of node, and arrows."""
    tokens, at = [], 0
    while dot[at:].strip():
        match = TOKEN.match(dot, at)
        assert match, dot[at:]
        tokens.append(match[match.lastgroup])
        at = match.end()
    assert tokens[:3] == ["strict", "digraph", "{"] and tokens.pop() == "}"
    labels: dict[int, str] = {}
    arrows = []
    rest = tokens[3:]
    while rest:
        head = rest.pop(0)
        if rest[0] == "->":
            arrows.append((int(head), int(rest[1])))
            del rest[:2]
            continue
        assert rest.pop(0) == "["
        while (name := rest.pop(0)) != "]":
            assert rest.pop(0) == "="
            value = rest.pop(0)
            if name == "label":
                labels[int(head)] = re.sub(
                    r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), value[1:-1]
                )
                labels[int(head)] = labels[int(head)].replace("&amp;", "&")
    return labels, arrows


# --- Mermaid ------------------------------------------------------------------------------------------

NODE = re.compile(
    r'(?P<id>n\d+|more)(?:\("(?P<a>.*)"\)|\["(?P<b>.*)"\]|\{\{"(?P<c>.*)"\}\}|\[\["(?P<d>.*)"\]\])(?::::\w+)'
)
OWN = re.compile(
    r"%%\{init: [^%]*\}%%|flowchart (?:LR|TB)|accTitle: \w+ graph|accDescr: [\w ,]+|n\d+ (?:-->|~~~) n\d+"
    r"|class n\d+ absent|classDef \w+ [\w:, -]+"
)


def inside(chart: str) -> dict[str, str]:
    """Return the labels by node; everything else in the chart must be of our own making."""
    found = {}
    for line in chart.splitlines():
        if match := NODE.fullmatch(line):
            found[match["id"]] = next(filter(None, match.group("a", "b", "c", "d")), "")
        else:
            assert OWN.fullmatch(line), line
    return found


def read(label: str) -> str:
    """Return what a person reads in a node: numbers are characters again, the joiners take no room."""
    lines = label.split("<br/>")
    return " ".join(re.sub(r"#(\d+);", lambda found: chr(int(found[1])), line) for line in lines).replace(
        "\u200c", ""
    )


def test_the_flowchart_of_dependencies_tells_states_in_words_and_has_no_root():
    chart = graphs.mermaid(small(), "dependency")
    assert {key: read(label) for key, label in inside(chart).items()} == {
        "n3": "runpy ./plan.py ✓ succeeded",
        "n4": "runsh cp a.txt b.txt ○ pending",
        "n5": "b.txt ○ awaited",
        "n6": "(x.txt) ○ awaited",
        "n7": "data/*.csv",
    }
    assert re.findall("n.* --> n.*", chart) == ["n4 --> n5", "n6 --> n4"]
    assert "class n6 absent" in chart


def test_the_flowchart_of_provenance_begins_at_root():
    chart = graphs.mermaid(small(), "provenance")
    assert re.findall("n.* --> n.*", chart)[:2] == ["n1 --> n2", "n1 --> n3"]
    assert read(inside(chart)["n1"]) == "root"


def test_a_directory_is_drawn_if_a_step_makes_it():
    nodes = [
        node("file:in/", "STATIC", supplies=["file:in/a"]),
        node("file:in/a", "STATIC"),
        node("step:mkdir out/", "SUCCEEDED", supplies=["file:out/"]),
        node("file:out/", "BUILT", supplies=["file:out/b", "step:touch out/b"]),
        node("step:touch out/b", "SUCCEEDED", supplies=["file:out/b"]),
        node("file:out/b", "BUILT"),
    ]
    chart = graphs.mermaid(nodes, "dependency")
    assert list(inside(chart)) == ["n2", "n3", "n4", "n5", "n6"]
    assert re.findall("n.* --> n.*", chart) == ["n3 --> n4", "n4 --> n5", "n5 --> n6"]


SAFE = re.compile(r"(?:[A-Za-z0-9 ]|#\d+;|<br/>|(?<=[A-Za-z0-9])[./_-](?=[A-Za-z0-9]))*")


@pytest.mark.parametrize("kind", ["step", "file"])
@given(label=st.text())
@example(label='"]:::bad --> n1')
@example(label="1. <script>alert(1)</script> %% end")
@example(label='`**bold**`\nclick n1 "javascript:x"')
@example(label="www.example.com https://example.com a@b.cc")
def test_no_label_gets_out_of_its_node(kind, label):
    found = inside(graphs.mermaid(lonely(label, kind), "dependency"))
    assert list(found) == ["n1"]
    label_only = found["n1"].removesuffix("<br/>✗ failed")
    assert label_only != found["n1"] and SAFE.fullmatch(label_only)
    assert "www." not in label_only.lower() and "  " not in label_only
    shown = named(label).replace("\u200c", "")
    assert len(shown) > 80 or "".join(read(label_only).split()) == "".join(shown.split())


@pytest.mark.parametrize("mark", ["$$", "fa:fa-car", "ﬂ°", "ﬂ°°60¶ß", "¶ß"])
def test_what_mermaid_looks_for_after_the_numbers_is_parted_by_a_joiner(mark):
    # What a person saw: a formula, an icon, another letter, or a torn picture in place of the name.
    label = re.sub(
        r"#(\d+);", lambda found: chr(int(found[1])), inside(graphs.mermaid(lonely(mark), "dependency"))["n1"]
    )
    assert mark not in label and mark in label.replace("\u200c", "")


def test_a_long_path_keeps_its_end_and_a_long_command_its_beginning():
    long = "a" * 100 + "b"
    found = inside(graphs.mermaid([*lonely(long, "file"), *lonely(long)], "dependency"))
    path, command = ("".join(read(label).split()) for label in found.values())
    assert path.startswith("…a") and path.endswith("ab✗failed")
    assert command.startswith("aa") and command.endswith("a…✗failed")


def test_of_many_nodes_the_first_are_drawn_and_the_rest_is_counted():
    nodes = [node(f"step:{i}", "QUEUED") for i in range(187)]
    found = inside(graphs.mermaid(nodes, "dependency"))
    assert len(found) == 151
    assert found["more"] == "… and 37 more"
    assert list(inside(graphs.mermaid(nodes, "dependency", most=1))) == ["n1", "more"]
    assert list(inside(graphs.mermaid(nodes, "dependency", most=187)))[-1] == "n187"
    assert inside(graphs.mermaid([], "dependency")) == {"more": "nothing declared"}


def test_fewer_nodes_are_drawn_where_their_arrows_or_names_would_be_too_many():
    tangle = [node(f"step:{i}", consumes=[f"step:{j}" for j in range(i)]) for i in range(100)]
    chart = graphs.mermaid(tangle, "dependency")
    assert chart.count("-->") <= graphs.MOST_EDGES and inside(chart)["more"] == "… and 75 more"
    endless = [node(f"file:{i}", label="日" * 80) for i in range(1000)]
    assert 50_000 < len(graphs.mermaid(endless, "dependency", most=1000)) <= graphs.LONGEST


def test_a_long_chain_runs_down_and_all_else_to_the_right():
    chain = [node(f"step:{i}", supplies=[f"step:{i + 1}"]) for i in range(12)]
    assert "flowchart TB" in graphs.mermaid(chain, "dependency")
    assert "flowchart LR" in graphs.mermaid(small(), "dependency")
    ring = [*chain, node("step:12", supplies=["step:0"])]
    assert "flowchart LR" in graphs.mermaid(ring, "dependency")


def test_no_backtick_of_a_label_ends_the_block_of_an_output():
    shown = bundle(lonely("```\n<img src=x>\n```"), "dependency")
    assert shown["text/markdown"].startswith("```mermaid\n") and shown["text/markdown"].endswith("\n```\n")
    assert shown["text/markdown"].count("`") == 6
    assert "<img" not in shown["text/markdown"]
    assert shown["text/plain"] == "✗ ``` ⏎ <img src=x> ⏎ ```  failed\n"


# --- outlines -----------------------------------------------------------------------------------------


def test_the_outline_of_dependencies_says_what_each_step_needs_and_makes():
    assert graphs.outline(small(), "dependency") == (
        """\
✓ runpy ./plan.py  succeeded
○ runsh cp a.txt b.txt  pending
    needs ○ (x.txt), declared by nobody  awaited
    makes ○ b.txt  awaited
needed and made by no step
      data/*.csv
"""
    )


def test_the_outline_of_provenance_is_the_tree_of_who_declared_what():
    assert graphs.outline(small(), "provenance") == (
        """\
  root
    · ./  static
    ✓ runpy ./plan.py  succeeded
        ○ runsh cp a.txt b.txt  pending
            ○ b.txt  awaited
          data/*.csv
○ (x.txt), declared by nobody  awaited
"""
    )


def test_of_a_long_outline_the_rest_is_counted():
    assert graphs.outline(small(), "dependency", most=2).splitlines()[2:] == ["… and 4 lines more"]
    assert graphs.outline([], "provenance") == "nothing declared\n"


@given(st.text())
@example("\x1b[2J\r\x9b\u202e\ud800\u2028")
def test_no_label_commands_a_terminal(label):
    for kind in ("dependency", "provenance"):
        shown = graphs.outline(lonely(label), kind)
        assert shown.count("\n") == len(shown.splitlines()) == 1
        assert shown[:-1].replace("\u200c", "").replace("\u200d", "").isprintable()


# --- all of them --------------------------------------------------------------------------------------

KEYS = ["root:", "file:./", "file:d/", "file:a", "step:a", "step:b", "dg:*"]


@given(st.data())
def test_every_node_has_its_place_in_every_picture_whatever_is_said_of_it(data):
    keys = data.draw(st.lists(st.sampled_from(KEYS), unique=True))
    some = st.lists(st.sampled_from([*KEYS, "file:unknown"]))
    nodes = [
        node(
            key,
            data.draw(st.sampled_from(["", "BUILT", "ODD"])),
            orphan=data.draw(st.booleans()),
            creator=data.draw(st.sampled_from([None, *KEYS])),
            **{relation: data.draw(some) for relation in ("creates", "consumes", "supplies")},
        )
        for key in keys
    ]
    assert graphs.text(nodes).count("\n\n") == len(keys)
    assert len(parsed(graphs.provenance_dot(nodes))[0]) == len(keys)
    assert len(set(inside(graphs.mermaid(nodes, "provenance"))) - {"more"}) == len(keys)
    assert graphs.outline(nodes, "provenance").count("\n") == max(1, len(keys))
    drawn = set(parsed(graphs.dependency_dot(nodes))[0])
    assert {f"n{number}" for number in drawn} <= set(inside(graphs.mermaid(nodes, "dependency")))
    assert graphs.outline(nodes, "dependency").endswith("\n")


def test_every_state_has_a_glyph_and_a_line():
    states = {str(state) for state in (*StepState, *FileState)}
    assert states == set(graphs.GLYPHS)
    chart = graphs.mermaid([node(f"step:{state}", state) for state in states], "dependency")
    assert re.findall(r"(\w+)\"\):::plain", chart) == ["static"]
