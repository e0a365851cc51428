"""Tables under cells, as a browser lays them out in a narrow page."""

import pytest

from stepup_nb.notebook import show

pytestmark = pytest.mark.browser

STEPS = show.Table(
    ("step", "state", "remarks"),
    [
        ("simulate_all", "RUNNING", "waits for the pool 'test', which has 2 of 2 slots in use"),
        ("extraordinarily_long_name_of_a_step_with_no_blank_in_it", "SUCCEEDED", ""),
    ],
)


def test_in_a_narrow_page_the_name_of_a_step_stays_whole_and_a_long_one_takes_a_few_lines(browser):
    page = browser.chromium.new_page()
    page.set_content(f'<div style="width: 300px">{show.html([STEPS])}</div>')
    heights = [element.bounding_box()["height"] for element in page.locator("td code").all()]
    page.close()
    assert heights[1] <= 4 * heights[0]
    assert heights[0] < 20
