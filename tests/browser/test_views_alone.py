"""Steps, timeline, graph and log in real Chromium, with a simulated kernel behind them."""

import json
import re

import pytest
from browser import look
from browser.look import tell
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser


def heard(page: Page, kind: str) -> list[dict[str, object]]:
    tell(page)
    text = page.evaluate(
        "kind => JSON.stringify(harness.world.heard.filter((each) => each.kind === kind))", kind
    )
    return json.loads(text)


def go_to(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    tell(page)


def row(page: Page, label: str) -> Locator:
    return (
        page.get_by_role("table", name="steps")
        .get_by_role("row")
        .filter(has=page.get_by_role("cell", name=label, exact=True))
    )


def test_a_row_says_label_state_pool_and_time(page: Page) -> None:
    go_to(page, "Steps")
    cells = row(page, "sleep_A").get_by_role("cell")
    expect(cells.nth(0)).to_contain_text("RUNNING")
    expect(cells.nth(2)).to_contain_text("test · slot 0")
    expect(cells.nth(3)).to_contain_text(" s of about ")


def test_words_and_chips_filter_and_say_how_many_are_left(page: Page) -> None:
    go_to(page, "Steps")
    page.keyboard.press("/")
    page.keyboard.type("sleep_")
    expect(row(page, "plot")).to_have_count(0)
    expect(row(page, "sleep_C")).to_have_count(1)
    page.get_by_role("button", name="queued:").click()
    expect(row(page, "sleep_A")).to_have_count(0)
    expect(page.get_by_role("button", name="queued:")).to_have_attribute("aria-pressed", "true")


def test_a_header_sorts_and_says_so(page: Page) -> None:
    go_to(page, "Steps")
    header = page.get_by_role("columnheader", name="Step", exact=True)
    expect(header).to_have_attribute("aria-sort", "none")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")


def test_the_selection_and_the_focus_survive_a_sort(page: Page) -> None:
    go_to(page, "Steps")
    row(page, "sleep_B").click()
    row(page, "sleep_B").focus()
    page.evaluate("document.querySelector('.snb-steps-sort').click()")
    tell(page)
    expect(row(page, "sleep_B")).to_be_focused()
    expect(row(page, "sleep_B")).to_have_attribute("aria-current", "true")


def test_x_asks_and_esc_takes_it_back(page: Page) -> None:
    go_to(page, "Steps")
    row(page, "sleep_A").click()
    row(page, "sleep_A").focus()
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="Yes, cancel sleep_A")).to_be_focused()
    page.keyboard.press("Escape")
    expect(row(page, "sleep_A")).to_be_focused()
    assert heard(page, "act") == []
    page.keyboard.press("x")
    page.keyboard.press("Enter")
    assert [act["verb"] for act in heard(page, "act")] == ["cancel"]


def test_enter_opens_the_log_of_the_row(page: Page) -> None:
    go_to(page, "Steps")
    row(page, "sleep_A").click()
    row(page, "sleep_A").focus()
    page.keyboard.press("Enter")
    tell(page)
    expect(page.get_by_role("log", name="output of sleep_A")).to_be_visible()
    tell(page)
    expect(page.get_by_role("log")).to_contain_text("row ")
    assert [each["job"] for each in heard(page, "follow")] == [None]


def test_of_thousands_of_rows_a_screenful_is_drawn(opened: look.Open) -> None:
    page = opened("thousands")
    go_to(page, "Steps")
    table = page.get_by_role("table", name="steps")
    assert int(table.get_attribute("aria-rowcount") or 0) > 4000
    assert table.get_by_role("row").count() < 40
    table.get_by_role("row").nth(1).focus()
    page.keyboard.press("End")
    tell(page)
    expect(table.locator("[aria-current]")).to_have_attribute(
        "aria-rowindex", table.get_attribute("aria-rowcount") or ""
    )
    page.close()


def test_the_timeline_has_words_and_each_bar_a_name(page: Page) -> None:
    go_to(page, "Timeline")
    expect(page.get_by_role("img", name="timeline of")).to_have_accessible_name(
        re.compile("at most 2 at a time in pool test")
    )
    bar = page.get_by_role("button", name="sleep_A, RUNNING").first
    bar.click()
    expect(bar).to_have_attribute("aria-current", "true")
    page.keyboard.press("+")
    expect(bar).to_be_focused()


def test_the_graph_is_asked_for_when_it_is_shown(page: Page) -> None:
    assert heard(page, "graph") == []
    go_to(page, "Graph")
    assert [each["open"] for each in heard(page, "graph")] == [True]
    page.get_by_role("button", name="step sleep_A, RUNNING").click()
    page.keyboard.press("ArrowRight")
    tell(page)
    expect(page.locator(".snb-graph-box:focus")).to_have_count(1)


def test_strangers_stay_text_in_all_views(opened: look.Open) -> None:
    page = opened("hostile")
    for tab in ("Steps", "Timeline", "Graph", "Log"):
        go_to(page, tab)
        assert (
            page.evaluate("document.querySelectorAll('.snb-panel :is(img, script, a, iframe, style)').length")
            == 0
        )
    page.close()
