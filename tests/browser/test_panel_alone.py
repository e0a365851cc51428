"""The panel in real Chromium, with a simulated kernel behind it: no server, no JupyterLab, no waiting for a time.

What it says and does by role and name, as assistive tools and people have it (SPEC part 7).
"""

import json

import pytest
from browser import look
from browser.look import tell
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser


def acts(page: Page) -> list[dict[str, object]]:
    """Return what the kernel was asked to do, without the numbers of the questions."""
    tell(page)
    heard = page.evaluate("JSON.stringify(harness.world.heard.filter(({kind}) => kind === 'act'))")
    return [{key: each[key] for key in each if key not in ("kind", "id")} for each in json.loads(heard)]


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def size_of(page: Page, pool: str) -> Locator:
    return page.get_by_role("spinbutton", name=f"size of pool {pool}", exact=True)


def test_a_pool_is_a_meter(page: Page) -> None:
    meter = page.get_by_role("meter", name="pool test", exact=True)
    assert [meter.get_attribute(f"aria-value{each}") for each in ("now", "max", "text")] == [
        "2",
        "2",
        "2 of 2 slots in use, 15 waiting",
    ]
    unlimited = page.get_by_role("meter", name="pool net")
    assert unlimited.get_attribute("aria-valuemax") is None
    assert unlimited.get_attribute("aria-valuetext") == "1 slot in use, no limit, 0 waiting"


def test_there_are_five_views_and_one_is_shown(page: Page) -> None:
    expect(page.get_by_role("region", name="StepUp")).to_have_count(1)
    expect(page.get_by_role("tab")).to_have_text(["Pools", "Steps", "Timeline", "Graph", "Log"])
    expect(page.get_by_role("tabpanel")).to_have_count(1)


def test_a_size_is_set_by_enter_arrows_buttons_and_leaving(page: Page) -> None:
    field = size_of(page, "test")
    field.fill("4")
    field.press("Enter")
    field.press("ArrowUp")
    button(page, "one slot fewer in pool test").click(click_count=2)
    field.fill("none")
    field.blur()
    field.fill("0")
    field.press("Enter")
    assert acts(page) == [{"verb": "resize", "pool": "test", "size": size} for size in (4, 5, 4, 3, None, 0)]
    assert field.input_value() == "0"


def test_a_wrong_size_is_refused_in_words_and_put_back(page: Page) -> None:
    field = size_of(page, "test")
    field.fill("two")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text(
        "“two” cannot be taken. Enter a whole number, 0 to close the pool, or none for no limit."
    )
    assert field.input_value() == "2"
    assert acts(page) == []


def test_a_size_that_the_kernel_refuses_is_put_back(page: Page) -> None:
    field = size_of(page, "test")
    field.fill("99999")
    field.press("Enter")
    tell(page)
    expect(page.get_by_role("alert")).to_contain_text("A pool cannot have more than 9999 slots.")
    field.blur()
    expect(field).to_have_value("2")


def test_what_someone_types_is_not_overwritten(page: Page) -> None:
    size_of(page, "test").fill("7")
    tell(page, 1)
    assert size_of(page, "test").input_value() == "7"


def test_each_step_can_be_cancelled_and_a_failed_one_rerun(page: Page) -> None:
    button(page, "Cancel train").click()
    button(page, "Rerun plot").click()
    button(page, "Rerun failed").click()
    assert acts(page) == [
        {"verb": "cancel", "step": "train"},
        {"verb": "rerun", "step": "plot"},
        {"verb": "rerun failed"},
    ]
    expect(button(page, "Rerun failed")).to_be_disabled()


def test_pause_becomes_resume(page: Page) -> None:
    button(page, "Pause").click()
    tell(page)
    button(page, "Resume").click()
    button(page, "Pause pool lic").click()
    tell(page)
    button(page, "Resume pool lic").click()
    assert acts(page) == [
        {"verb": "pause"},
        {"verb": "resume"},
        {"verb": "pause", "pool": "lic"},
        {"verb": "resume", "pool": "lic"},
    ]


def test_only_cancel_all_asks(page: Page) -> None:
    button(page, "Cancel all").click()
    expect(button(page, "No")).to_be_focused()
    page.keyboard.press("Escape")
    expect(button(page, "Cancel all")).to_be_focused()
    assert acts(page) == []
    button(page, "Cancel all").click()
    button(page, "Yes, cancel").click()
    assert acts(page) == [{"verb": "cancel all"}]
    expect(button(page, "Cancel all")).to_be_disabled()
    assert page.evaluate("document.activeElement.closest('.snb-panel') !== null"), "the focus left the panel"


def test_the_keyboard_goes_through_the_steps(page: Page) -> None:
    page.get_by_role("button", name="sleep_A, running").click()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="sleep_B, running")).to_be_focused()
    page.keyboard.press("x")
    expect(button(page, "Cancel sleep_B")).to_be_focused()
    page.keyboard.press("+")
    page.keyboard.press("p")
    assert acts(page) == [{"verb": "resize", "pool": "test", "size": 3}, {"verb": "pause", "pool": "test"}]
    page.keyboard.press("3")
    expect(page.get_by_role("tab", name="Timeline")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.get_by_role("tab", name="Pools")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("?")
    expect(page.get_by_text("go back to the notebook")).to_be_visible()


def test_a_typed_letter_is_no_command_in_a_field(page: Page) -> None:
    size_of(page, "test").fill("")
    size_of(page, "test").press_sequentially("1p")
    assert acts(page) == []


def test_places_keep_their_height_when_steps_come_and_go(page: Page) -> None:
    heights = "() => [...document.querySelectorAll('.snb-lane')].map((lane) => lane.offsetHeight)"
    before = page.evaluate(heights)
    for _ in range(12):
        tell(page, 1)
        assert page.evaluate(heights) == before


def test_the_compact_line_and_back(page: Page) -> None:
    button(page, "Compact").click()
    expect(page.get_by_role("tab")).to_have_count(0)
    expect(page.get_by_role("region", name="StepUp")).to_contain_text("test 2/2 (+15)")
    expect(button(page, "Full")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab")).to_have_count(5)


def test_a_restarted_kernel_is_said_and_asked_nothing(page: Page) -> None:
    page.evaluate("harness.restart()")
    expect(page.get_by_role("alert")).to_contain_text("The kernel was restarted: run this cell again.")
    expect(button(page, "Pause")).to_be_disabled()
    expect(button(page, "Cancel sleep_A")).to_have_count(0)
    expect(size_of(page, "test")).to_be_disabled()


def test_a_connection_that_comes_back_needs_no_reload(page: Page) -> None:
    page.evaluate("harness.restart()")
    page.evaluate("harness.model.isCut = false; harness.model.trigger('comm_live_update')")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(button(page, "Pause")).to_be_enabled()


def test_a_busy_kernel_is_said(page: Page) -> None:
    page.evaluate("harness.world.isBusy = true")
    button(page, "Pause").click()
    expect(page.get_by_role("alert")).to_contain_text(
        "The kernel is busy: press Interrupt, or use `stepup-nb cancel` in a terminal."
    )


def test_lost_messages_are_made_up_for(page: Page) -> None:
    page.evaluate("harness.isLossy = true")
    for _ in range(10):
        tell(page)
    page.evaluate("harness.isLossy = false")
    tell(page, 3)
    tell(page)
    counts = page.evaluate("harness.world.session().counts")
    expect(page.get_by_role("list", name="steps by state")).to_contain_text(
        f"{counts['SUCCEEDED']} succeeded"
    )


def test_hostile_names_are_text_and_nothing_else(opened: look.Open) -> None:
    page = opened("hostile")
    tell(page, 1)
    assert page.evaluate("window.hurt") is None
    assert page.locator(".snb-panel").locator("img, script, a, iframe").count() == 0
    expect(
        page.get_by_role("meter", name="pool <img src=x onerror=window.hurt=1>", exact=True)
    ).to_have_count(1)
    page.close()


WIDER = """[document.documentElement, ...document.querySelectorAll('.snb-lanes, .snb-head')]
    .filter((el) => el.scrollWidth > el.clientWidth).map((el) => el.className)"""


@pytest.mark.parametrize("scene", ["five", "corners", "twenty", "cluster", "farm", "hostile", "stranger"])
def test_nothing_is_wider_than_the_panel(opened: look.Open, scene: str) -> None:
    page = opened(scene)
    for width in (1600, 900, 640, 480, 320):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(look.TWO_FRAMES)
        assert page.evaluate(WIDER) == [], f"at {width} pixels"
    page.close()


def test_a_cluster_shows_where_steps_run_and_a_way_to_its_dashboard(opened: look.Open) -> None:
    page = opened("cluster")
    link = page.get_by_role("link", name="dask · 16 threads")
    expect(link).to_have_attribute("href", "http://10.0.0.1:8787/status")
    assert [link.get_attribute(name) for name in ("target", "rel")] == ["_blank", "noopener noreferrer"]
    meter = page.get_by_role("meter", name="pool mem", exact=True)
    expect(meter).to_have_attribute("aria-valuetext", "12 of 12 slots in use on 3 machines, 6 waiting")
    assert meter.get_attribute("aria-valuemax") == "12"
    for host in ("10.0.0.3", "10.0.0.4", "node17.physics.example.org"):
        expect(page.get_by_role("list", name=f"slots on {host}").get_by_role("listitem")).to_have_count(4)
    seat = page.get_by_role("list", name="slots on 10.0.0.4").get_by_role("button", name="solve_1, running")
    expect(seat).to_have_attribute("title", "solve_1\nslot 0\non 10.0.0.4:38201")
    seat.click()
    page.get_by_role("tab", name="Timeline").click()
    names = page.locator(".snb-timeline-label[data-head]")
    expect(names).to_have_text(["10.0.0.3", "10.0.0.4", "node17.physics.example.org"])
    bar = page.get_by_role("button", name="worker 1, on 10.0.0.4:38201").first
    expect(bar).to_be_visible()
    page.get_by_role("tab", name="Steps").click()
    table = page.get_by_role("table", name="steps")
    expect(table.get_by_role("cell", name="10.0.0.4:38201", exact=True).first).to_be_visible()
    page.evaluate("harness.world.cluster.threads = null; harness.pass(0.1)")
    expect(link).to_have_count(0)
    chip = page.locator(".snb-cluster")
    expect(chip).to_have_text("dask · gone")
    expect(chip).to_have_attribute(
        "title", "the cluster at tls://10.0.0.1:8786 is gone: '%stepup executor local' goes on here"
    )
    page.close()


def test_the_name_of_a_machine_stays_above_its_rows(opened: look.Open) -> None:
    page = opened("cluster")
    page.get_by_role("tab", name="Timeline").click()
    body = page.locator(".snb-timeline-body")
    name = page.locator(".snb-timeline-label[data-head]").get_by_text("10.0.0.3")
    for scrolled in (0, 30, 70):
        body.evaluate("(el, top) => { el.scrollTop = top; }", scrolled)
        page.evaluate(look.TWO_FRAMES)
        tops = [each.bounding_box() for each in (name, body)]
        assert tops[0] and tops[1] and abs(tops[0]["y"] - tops[1]["y"]) < 2, f"scrolled by {scrolled} pixels"
    page.close()


def test_without_a_cluster_no_machine_is_named(page: Page) -> None:
    expect(page.get_by_role("link")).to_have_count(0)
    page.get_by_role("tab", name="Steps").click()
    expect(page.get_by_role("columnheader", name="Machine")).to_have_count(0)
    page.get_by_role("tab", name="Timeline").click()
    expect(page.locator(".snb-timeline-label[data-head]")).to_have_count(0)


def test_what_a_cluster_says_of_itself_is_text_and_leads_nowhere(opened: look.Open) -> None:
    page = opened("stranger")
    for tab in ("Pools", "Steps", "Timeline", "Log"):
        page.get_by_role("tab", name=tab).click()
        tell(page)
    assert page.locator(".snb-panel").locator("a, b b, i i, u, script").count() == 0
    assert page.evaluate("window.hurt") is None
    expect(page.get_by_text("<i>dask</i> · 3 threads")).to_be_visible()
    page.close()


def test_a_view_leaves_nothing_behind(page: Page) -> None:
    page.evaluate("harness.undo.forEach((undo) => undo())")
    assert page.evaluate("document.getElementById('host').childNodes.length") == 0
