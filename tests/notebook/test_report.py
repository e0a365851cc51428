"""Pictures and pages that are kept: they say what was, load nothing, and no name or output becomes a part of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.core.errors import UsageError
from stepup_nb.notebook import dag, report, timeline, written
from stepup_nb.notebook.panel import static
from stepup_nb.notebook.report import About

NOW = 1_790_000_000.0
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></title></style></text></svg>",
    "]]>-->{mark}{body}",
    "a\x00\x1b[31m\u202eb\ud800",
    "javascript:alert(1)",
)


def step(name: str, **more: Any) -> dict[str, Any]:
    row = {
        "name": name, "label": name, "state": "SUCCEEDED", "reason": "never ran", "pool": {}, "inp": [], "out": [],
        "vol": [], "env": [], "cell": "", "dormant": False, "skipped": False, "returncode": 0, "duration": 1.0,
        "stdout_tail": "", "stderr_tail": "",
    }  # fmt: skip
    return {**row, **more}


def job(step: str, started: float, ended: float | None, **more: Any) -> dict[str, Any]:
    row = {
        "job": 1, "step": step, "outcome": "succeeded" if ended is not None else None, "returncode": 0,
        "queued": NOW + started, "started": NOW + started, "ended": None if ended is None else NOW + ended,
        "pool": {}, "slots": {}, "worker": 0, "peak_rss": 5_000_000, "cpu": 0.5,
    }  # fmt: skip
    return {**row, **more}


def status(steps: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"steps": steps, "pools": [], "workers": 2, "counts": {}, "paused": False, **more}


def page(steps: list[dict[str, Any]], jobs: list[dict[str, Any]], **more: Any) -> str:
    about = About("nb.ipynb", {"stepup_nb": "0.1.0", "Python": "3.11"}, NOW + 10, more.pop("after", {}))
    return report.render(status(steps, **more), jobs, about)


class Elements(HTMLParser):
    """Which elements a page has, and with which attributes; and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(text: str) -> str:
    return "".join(char if char.isalnum() else "x" for char in text)


def world(words: list[str]) -> str:
    """Return a page in which strangers say these words wherever they may."""
    a, b, c, d, e, f, g, h = words
    steps = [
        step(a, label=a, out=[b], cell=c, pool={d: 1}),
        step(
            e, label=e, inp=[b], state="FAILED", reason=f, returncode=3, stderr_tail=g, stdout_tail=h, cell=a
        ),
        step(c, label=c, state="PENDING", reason=h, duration=None),
    ]
    jobs = [
        job(a, 0, 1, pool={d: 1}, slots={d: [0]}),
        job(e, 1, 3, outcome="failed"),
        job(f, 2, None, slots={g: [0, 1]}, pool={g: 2}),
    ]
    pools = [{"name": d, "size": 2, "used": 1, "waiting": 0, "tokens": [h, a], "reserved": b}]
    about = About(b, {"stepup_nb": "0.1.0", c: d}, NOW + 10, {c: [e]})
    return report.render(status(steps, pools=pools), jobs, about)


@pytest.mark.parametrize("turn", range(len(HOSTILE)))
def test_no_element_and_no_attribute_of_a_report_comes_from_a_stranger(turn):
    words = [*HOSTILE[turn:], *HOSTILE[:turn]]
    hostile, calm = Elements(world(words)), Elements(world([harmless(word) for word in words]))
    assert [
        tag for tag, _ in hostile.found if tag in ("script", "img", "iframe", "object", "a", "link")
    ] == []
    # What words are long enough to be drawn differs, and nothing else.
    assert set(hostile.found) == set(calm.found)
    assert not any(name.startswith("on") for _, names in hostile.found for name in names)
    assert "\x1b" not in hostile.text and "\u202e" not in hostile.text


@given(st.lists(st.text(max_size=30), min_size=8, max_size=8, unique=True))
def test_whatever_strangers_say_a_report_has_the_elements_that_we_wrote(words):
    ours = {tag for tag, _ in Elements(world([f"name{i}" for i in range(8)])).found}
    assert {tag for tag, _ in Elements(world(words)).found} <= ours | {"ul", "li", "ol", "p"}
    world(words).encode()


def test_a_report_loads_nothing_and_runs_nothing():
    text = page([step("a")], [job("a", 0, 1)])
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|src=|href=|url\(|@import", text)
    assert text.startswith("<!DOCTYPE html>") and report.MARK in text[: written._BEGINNING]


def test_a_report_tells_what_failed_and_the_end_of_what_it_printed():
    tail = "\n".join(f"line {i}" for i in range(100)) + "\n\x1b[31mno such file\x1b[0m\n"
    failed = step(
        "draw", state="FAILED", reason="exit code 3", returncode=3, stderr_tail=tail, cell="[4] %%runsh"
    )
    said = Elements(page([failed, step("other")], [job("draw", 0, 1, outcome="failed")])).text
    assert "exit code 3" in said and "declared in [4] %%runsh" in said
    assert "… 61 earlier lines" in said and "no such file" in said and "line 60\n" not in said


def test_a_report_has_the_critical_path_and_the_slowest_steps():
    steps = [step("a", out=["x"]), step("b", inp=["x"], out=["y"]), step("c", inp=["y"]), step("alone")]
    jobs = [job("a", 0, 1), job("b", 1, 3), job("c", 3, 4), job("alone", 0, 3.5)]
    said = Elements(page(steps, jobs)).text
    assert "the whole takes 4.0 s at least: these wait for each other." in said
    assert said.index("Slowest steps") < said.index("alone", said.index("Slowest steps"))
    assert "4 jobs in 4.0 s: 7.5 s of work, 1.9 at a time on average" in said


def test_a_report_of_what_is_only_remembered_says_so():
    said = Elements(page([step("a", dormant=True)], [job("a", 0, 1)], workers=None)).text
    assert "Nothing is declared in this session" in said
    assert "1 succeeded" in said


def test_a_report_of_nothing_is_a_page_all_the_same():
    said = Elements(page([], [])).text
    assert "no steps" in said and "Timeline" not in said


def test_a_graph_that_is_too_large_to_draw_is_a_list():
    steps = [step("first", out=["x"]), *(step(f"s{i}", inp=["x"]) for i in range(dag.MOST))]
    found = Elements(page(steps, []))
    assert "s7 needs first" in found.text
    assert "svg" not in {tag for tag, _ in found.found}


# --- timelines ----------------------------------------------------------------------------------------


def test_a_saved_timeline_is_an_image_of_its_own_with_a_title_for_each_bar():
    jobs = [
        job("a", 0, 1, slots={"test": [0]}, queued=NOW - 0.5),
        job("b", 0.5, None, slots={"test": [1]}),
        job("<c>", 1, 1.5, outcome="failed"),
    ]
    text = timeline.draw(jobs, {"a": "cut & paste"}, NOW + 2, file=True)
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    titles = [found.text for found in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        "timeline of 3 jobs in 2.0 s",
        "cut & paste: succeeded, 1.0 s, waited 0.50 s before",
        "b: running, 1.5 s",
        "<c>: failed, 0.50 s",
    ]
    assert timeline.MARK in text[: written._BEGINNING]
    assert "prefers-color-scheme:dark" in text and "<script" not in text and "href" not in text


def test_a_timeline_says_the_same_in_lines_of_text():
    jobs = [
        job("a", 0, 1, slots={"test": [0]}),
        job("b", 0.5, 2, worker=1),
        job("c", 1, 2, slots={"test": [0]}),
    ]
    assert timeline.text(jobs, {}, NOW + 9).splitlines() == [
        "3 jobs in 2.0 s",
        "test, slot 0: a 0.00–1.00 s; c 1.00–2.00 s",
        "worker 1: b 0.50–2.00 s",
    ]


def test_the_jobs_of_several_machines_stand_under_the_names_of_these():
    near, far = "tls://10.0.0.3:1", "tls://10.0.0.4:1"
    jobs = [job("a", 0, 1, machine=near), job("b", 0, 1, machine=far), job("c", 0, 2)]
    assert timeline.text(jobs, {}, NOW + 9).splitlines() == [
        "3 jobs in 2.0 s",
        "on this machine",
        "worker 0: c 0.00–2.00 s",
        "on 10.0.0.3",
        "worker 0: a 0.00–1.00 s",
        "on 10.0.0.4",
        "worker 0: b 0.00–1.00 s",
    ]
    drawn = timeline.draw(jobs, {}, NOW + 9)
    assert "<title>a: succeeded, 1.0 s, on 10.0.0.3</title>" in drawn and ">10.0.0.4</text>" in drawn
    # A name is not drawn without any of its lines.
    few = timeline.draw(jobs, {}, NOW + 9, most=3)
    assert "10.0.0.3</text>" not in few and "and 2 more slots" in few
    assert "machine" not in timeline.text([job("a", 0, 1, machine=near)], {}, NOW + 9)


def test_a_picture_of_the_panel_has_the_places_of_each_machine():
    running = {
        "state": "RUNNING",
        "outcome": None,
        "job": 1,
        "started": NOW,
        "slots": {"mem": [0]},
        "pool": {"mem": 1},
    }
    steps = [step("a", place="10.0.0.3", **running), step("b", place="10.0.0.4", **running)]
    mem = {"name": "mem", "size": 2, "used": 2, "waiting": 0, "per_machine": True}
    machines = [["10.0.0.3", 1], ["10.0.0.4", 1], ["<b>", 0]]
    picture = static.render(status(steps, pools=[{**mem, "machines": machines}]), [], NOW + 1)
    assert picture["text/plain"].splitlines()[1:] == [
        "pool mem: 2 of 6 slots in use on 3 machines, 0 waiting",
        "  slot 0, 10.0.0.3: a",
        "  slot 0, 10.0.0.4: b",
    ]
    assert picture["text/html"].count(">slot 1</text>") == 3 and "on &lt;b&gt;" in picture["text/html"]
    alone = static.render(
        status(steps[:1], pools=[{**mem, "used": 1, "machines": machines[:1]}]), [], NOW + 1
    )
    assert alone["text/plain"].splitlines()[1:] == [
        "pool mem: 1 of 2 slots on each machine in use, 0 waiting",
        "  slot 0: a",
    ]


def test_what_was_long_before_is_not_drawn():
    old, new = job("old", -5000, -4000), job("new", 0, 1)
    assert timeline.recent([old, new]) == [new]
    assert timeline.recent([job("long", -5000, None), old, new])[-1] == new


moments = st.floats(0, 1e5)


@given(
    st.lists(
        st.builds(
            lambda name, at, took, slot: job(
                name, at, None if took is None else at + took, slots={"p": [slot]}
            ),
            st.text(max_size=20),
            moments,
            st.one_of(st.none(), moments),
            st.integers(0, 300),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_timeline_is_well_formed_and_stays_on_its_page(jobs):
    text = timeline.draw(jobs, {}, NOW + 10, file=True)
    root = ET.fromstring(text.encode())
    for bar in root.iter("{http://www.w3.org/2000/svg}rect"):
        if "x" in bar.attrib and "fill" in bar.attrib:
            assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= 965
    assert len(list(root.iter("{http://www.w3.org/2000/svg}text"))) < 1500


# --- the graph ----------------------------------------------------------------------------------------


def test_who_needs_whom_comes_from_files_and_from_after():
    rows = [step("a", out=["x"]), step("b", inp=["x", "in"]), step("c"), step("self", inp=["z"], out=["z"])]
    assert dag.needs_of(rows, {"c": ["b", "gone"]}) == {"a": [], "b": ["a"], "c": ["b"], "self": []}


graphs = st.dictionaries(st.integers(0, 9).map(str), st.lists(st.integers(0, 9).map(str), max_size=4)).map(
    lambda needs: {
        name: [one for one in dict.fromkeys(some) if one in needs and one != name]
        for name, some in needs.items()
    }
)


@given(graphs, st.dictionaries(st.integers(0, 9).map(str), st.floats(0, 100)))
def test_the_longest_way_is_a_way_and_none_is_longer(needs, seconds):
    order = dag.in_order(needs)
    assert sorted(order) == sorted(needs)
    chain = dag.longest_way(needs, seconds)
    assert all(one in needs[name] for one, name in pairwise(chain))
    place = {name: number for number, name in enumerate(order)}
    longest: dict[str, float] = {}
    for name in order:
        longest[name] = seconds.get(name, 0.0) + max(
            (longest[one] for one in needs[name] if place[one] < place[name]), default=0.0
        )
    assert sum(seconds.get(name, 0.0) for name in chain) == pytest.approx(max(longest.values(), default=0.0))


@given(graphs)
def test_every_step_is_drawn_once_and_no_two_in_one_place(needs):
    drawing = dag.draw([step(name) for name in needs], needs)
    places = re.findall(r'<rect x="(\d+)" y="(\d+)" [^>]*style', drawing)
    assert len(places) == len(set(places)) == len(needs)


# --- files --------------------------------------------------------------------------------------------


def test_only_what_is_ours_is_replaced(tmp_path: Path):
    path = tmp_path / "new" / "r.html"
    written.write(path, f"{report.MARK} 1", report.MARK)
    written.write(path, f"{report.MARK} 2", report.MARK)
    assert path.read_text() == f"{report.MARK} 2"
    path.write_text("my thesis")
    with pytest.raises(UsageError, match="SNB-146"):
        written.write(path, "x", report.MARK)
    assert path.read_text() == "my thesis"
    written.write(path, f"{report.MARK} 3", report.MARK, force=True)
    assert path.read_text() == f"{report.MARK} 3"
    assert [found.name for found in path.parent.iterdir()] == ["r.html"], "nothing is left behind"


def test_a_link_is_never_written_through(tmp_path: Path):
    target, link = tmp_path / "ours.html", tmp_path / "r.html"
    target.write_text(report.MARK)
    link.symlink_to(target)
    with pytest.raises(UsageError, match="SNB-146"):
        written.write(link, "x", report.MARK)
    written.write(link, "x", report.MARK, force=True)
    assert target.read_text() == report.MARK and not link.is_symlink()


def test_what_cannot_be_written_is_told_without_a_traceback(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="SNB-147"):
        written.write(tmp_path / "file" / "r.html", "x", report.MARK)
    with pytest.raises(UsageError, match="SNB-147"):
        written.write(tmp_path, "x", report.MARK, force=True)
    with pytest.raises(UsageError, match=r"name it 't\.svg'"):
        written.named(tmp_path, "t.png", (".svg",))
