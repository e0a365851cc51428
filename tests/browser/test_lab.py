"""What a user sees in JupyterLab and in Notebook 7, in a real browser.

A step that must not end yet waits for a file, so that no test depends on how fast anything is.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from browser.conftest import Open
from browser.helpers_lab import App, Server, copy

pytestmark = pytest.mark.browser

LESSON = Path(__file__).parents[2] / "notebooks" / "01_pools.ipynb"


def until(name: str) -> str:
    """Return a command that ends when a file is there."""
    return f"until [ -e {name} ]; do sleep 0.02; done"


def test_the_lesson_runs_from_top_to_bottom(app: App, open_page: Open, server: Server) -> None:
    page = open_page(copy(server, LESSON), app)
    page.run_all(patience=90.0)
    page.until_shown("steps", "3 steps: 3 succeeded", "test, slot 0")
    page.until_shown("closed", "the fourth", "SUCCEEDED")
    # A cell further down reran the one that merges, and that is told wherever the step is declared.
    for cell in ("declare", "again"):
        page.until_shown(cell, "7 steps: 1 succeeded, 6 skipped", "because you asked for it")
    page.save()
    outputs = page.saved_outputs()
    assert set(outputs) == {c.id for c in nbformat.read(LESSON, as_version=4).cells if c.cell_type == "code"}


def test_a_record_changes_while_another_cell_waits(app: App, open_cells: Open) -> None:
    page = open_cells(
        "%load_ext stepup_nb\n%pool one 1",
        f"%runsh --pool one -- echo begun; {until('first')}\n%runsh --pool one -- echo second",
        "%stepup wait",
        app=app,
    )
    page.run("c0", "c1")
    page.start("c2")
    page.until_shown("c1", "1 running, 1 queued", "begun")
    page.until_shown("c2", "0 of 2 steps done")
    (page.file.parent / "first").touch()
    assert page.finish()
    page.until_shown("c1", "2 steps: 2 succeeded", "second")
    page.until_shown("c2", "✓ 2 succeeded")


def test_after_a_restart_what_is_up_to_date_is_skipped_and_nothing_runs(open_cells: Open) -> None:
    page = open_cells(
        "%load_ext stepup_nb",
        "%runsh --out a.txt -- echo A > a.txt\n%runsh --inp a.txt --out b.txt -- cat a.txt > b.txt",
        "%stepup wait",
        "import stepup_nb\nlen(stepup_nb.history())",
    )
    page.run_all()
    page.until_shown("c1", "2 steps: 2 succeeded")
    assert page.shown("c3").endswith("2")
    page.restart()
    page.run_all()
    page.until_shown("c1", "2 steps: 2 skipped", "SKIP", "up to date since")
    assert page.shown("c3").endswith("2")


def test_the_interrupt_button_ends_the_wait_and_the_steps_go_on(app: App, open_cells: Open) -> None:
    page = open_cells(
        "%load_ext stepup_nb",
        f"%runsh -- echo begun; {until('go')}; echo went on",
        "%stepup wait",
        app=app,
    )
    page.run("c0", "c1")
    page.start("c2")
    page.until_shown("c1", "begun")
    page.until_shown("c2", "0 of 1 step done")
    page.interrupt()
    assert not page.finish()
    page.until_shown("c2", "stopped waiting after")
    page.until_shown("c1", "1 running")
    (page.file.parent / "go").touch()
    page.until_shown("c1", "1 succeeded", "went on")
    page.run("c2")


def test_records_are_still_there_after_saving_and_loading_the_page_again(app: App, open_cells: Open) -> None:
    page = open_cells("%load_ext stepup_nb", "%runsh -- echo hello", "%stepup wait", app=app)
    page.run_all()
    page.until_shown("c1", "1 succeeded", "hello")
    # What "as of" says may have a new minute by then, no more.
    before = page.shown("c1")
    page.save()
    page.go()
    page.until_shown("c1", "1 succeeded", "hello")
    page.until_shown("c2", "✓ 1 succeeded")
    assert re.sub(r"\d\d:\d\d", "", page.shown("c1")) == re.sub(r"\d\d:\d\d", "", before)


def test_a_record_stands_in_line_with_what_is_printed_and_a_long_label_takes_one_line(
    open_cells: Open,
) -> None:
    command = "echo " + " ".join(["word"] * 20)
    page = open_cells("%load_ext stepup_nb\nprint('printed')", f"%runsh -o a -- {command} >a", width=1600)
    page.run_all()
    page.until_shown("c1", "1 succeeded")
    # A step that is up to date says most at the right of its label.
    page.restart()
    page.run_all()
    page.until_shown("c1", "1 skipped", "up to date since")
    printed = page.cell("c0").locator(".jp-OutputArea-output pre")
    record = page.cell("c1").locator(".jp-OutputArea-output")
    assert abs(page.left_of(printed) - page.left_of(record)) <= 1
    label = record.locator("code").first.bounding_box()
    assert label is not None and label["height"] < 30


HOSTILE = r"""<img src="https://example.org/x.png" onerror="window.harmed = true"> $\href{https://example.org/}{b}$
<script>window.harmed = true</script></pre></div></script><iframe srcdoc="z"></iframe>
<style>body { background: url(https://example.org/y) }</style> <a href="javascript:window.harmed=true">a</a>
&lt;img src=x onerror=window.harmed=true&gt;
"""
ESCAPES = "\x1b]8;;https://example.org/\x1b\\link\x1b]8;;\x1b\\ \x1b]0;title\x07 \u202eevil\u2066 https://example.org/c\n"


def test_what_a_step_prints_becomes_no_element_and_no_request(app: App, open_cells: Open) -> None:
    page = open_cells(
        "%load_ext stepup_nb\nfrom stepup_nb.api import runsh",
        f"text = {HOSTILE + ESCAPES!r}\n_ = open('hostile.txt', 'w').write(text)",
        # On both streams, in the name and in the command of steps.
        "runsh('cat hostile.txt')\n"
        "runsh('cat hostile.txt >&2; exit 3', name='hostile ' + text.splitlines()[0])\n"
        "runsh(': <img src=x onerror=window.harmed=true>; exit 4')",
        "%stepup wait --no-raise",
        "%stepup wait",
        app=app,
    )
    page.run("c0", "c1", "c2", "c3")
    page.start("c4")
    page.finish()
    page.until_shown("c2", "2 failed, 1 succeeded", "<img src=", "</script>", "evil")
    for cell in ("c2", "c3", "c4"):
        output = page.cell(cell).locator(".jp-Cell-outputArea")
        strange = output.locator("img, script, style, iframe, mjx-container")
        assert strange.count() == 0, strange.first.evaluate("(element) => element.outerHTML")
        # JupyterLab itself makes links of addresses in printed text, which must lead where they say, and in
        # errors of what looks like a path, which lead to files of the server.
        for link in output.locator("a").all():
            address = link.get_attribute("href") or ""
            assert ":" not in address or address == link.text_content()
        assert not re.search("[\x1b\x07\u202a-\u202e\u2066-\u2069]", page.shown(cell))
    assert not page.ask("return !!window.harmed")
    page.assert_alone()
