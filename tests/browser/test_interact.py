"""Pools that are moved by widgets of the user's own: callbacks of ipywidgets, in JupyterLab and Notebook 7."""

from __future__ import annotations

import pytest
from browser.conftest import Open
from browser.helpers_lab import App, Page
from browser.test_panel import SHOW, Panel, names_wait
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser

BEGIN = "%load_ext stepup_nb\n%stepup workers 8\nfrom ipywidgets import interact\nfrom stepup_nb.api import pool, runsh"
LEAST, MOST = 1, 5
SLIDER = f"interact(lambda size: pool('test', size), size=({LEAST}, {MOST}));"


def slider(page: Page, cell: str) -> Locator:
    """Return the handle of the slider under a cell."""
    found: Locator = page.cell(cell).get_by_role("slider")
    expect(found).to_be_visible()
    return found


def drag(page: Page, handle: Locator, value: int) -> None:
    """Drag a slider to a value, and let it go."""
    mouse = page.page.mouse
    handle.hover()
    mouse.down()
    # The page moves when a cell begins to wait, perhaps in this very moment: as a hand would, follow it.
    while "noUi-active" not in (handle.get_attribute("class") or ""):
        mouse.up()
        handle.hover()
        mouse.down()
    track = handle.locator("xpath=ancestor::*[3]").bounding_box()
    assert track is not None
    x = track["x"] + track["width"] * (value - LEAST) / (MOST - LEAST)
    mouse.move(x, track["y"] + track["height"] / 2, steps=8)
    mouse.up()
    expect(handle).to_have_attribute("aria-valuenow", f"{value}.0")


def release(page: Page, *names: str) -> None:
    for name in names:
        (page.file.parent / name).touch()


def test_a_slider_moves_a_pool_also_while_a_cell_waits(app: App, open_cells: Open) -> None:
    page = open_cells(BEGIN, SLIDER, names_wait(*"abcde"), SHOW, "%stepup wait", app=app)
    page.run("c0", "c1", "c2", "c3")
    panel, handle = Panel(page, "c3"), slider(page, "c1")
    panel.says("test", "3 of 3 slots in use, 2 waiting")
    drag(page, handle, 4)
    panel.says("test", "4 of 4 slots in use, 1 waiting")
    page.start("c4")
    page.until_shown("c4", "0 of 5 steps done")
    drag(page, handle, 5)
    panel.says("test", "5 of 5 slots in use, 0 waiting")
    drag(page, handle, 2)
    panel.says("test", "5 of 2 slots in use, 0 waiting")
    release(page, *"abcde")
    assert page.finish()
    # Nothing stands there but what the widget itself shows.
    assert page.shown("c1").strip() == "size2"


def test_a_slider_is_moved_by_its_keys_and_its_word_counts_beside_a_cells(open_cells: Open) -> None:
    page = open_cells(BEGIN, SLIDER, "%pool test 2", SHOW)
    page.run_all()
    panel, handle = Panel(page, "c3"), slider(page, "c1")
    expect(panel.size("test")).to_have_value("2")
    for key in ["ArrowLeft"] * 2 + ["ArrowRight"] * 4 + ["ArrowLeft"]:
        handle.press(key)
    expect(handle).to_have_attribute("aria-valuenow", "4.0")
    expect(panel.size("test")).to_have_value("4")
    page.until_shown("c2", "4 slots now, by code outside all cells")
    assert page.shown("c1").strip() == "size4"
