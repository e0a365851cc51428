"""What is shown of a simulation: the same as text and as html, in which names are text and nothing else."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

import stepup_nb
from stepup_nb.core import workload
from stepup_nb.core.errors import UsageError
from stepup_nb.core.whatif import Known, Sweep, sweep
from stepup_nb.notebook.whatif import BARS, MARK, bundle, plot

HOSTILE = "<script>alert(1)</script>&\"'\x1b[31m\u202e"


def steps(number: int = 6, **more: Any) -> list[dict[str, Any]]:
    return [{"name": f"fit {k}", "duration": 1 + k % 2, "pool": "fit", **more} for k in range(number)]


def found(*axes: Any, rows: list[dict[str, Any]] | None = None) -> Sweep:
    known = Known(workload.read(steps() if rows is None else rows), {"fit": 2}, 4)
    pools = {"fit": axes[0]} if axes else {}
    return sweep(known, pools, axes[1] if len(axes) > 1 else ())


def test_text_and_html_say_the_same_numbers() -> None:
    shown = bundle(found((1, 2, 4)))
    for words in ("9.0 s", "5.0 s", "1.80 ×", "≥ pool fit ÷ size", "now", "sets the time"):
        assert words in shown["text/plain"]
        assert words in shown["text/html"]
    assert "speed-up against slots of fit" in shown["text/html"]
    assert shown["text/html"].count("<svg") == 3


def test_a_grid_has_a_line_for_each_size_of_the_first_range() -> None:
    shown = bundle(found((1, 2), (1, 2, 4)))
    table = shown["text/plain"].split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in table] == ["fit", "1", "2"]
    assert len(re.findall('stroke-width="2"/>', shown["text/html"])) == 2


def test_a_saved_plot_is_an_image_of_its_own() -> None:
    text = plot(found((1, 2, 4)), file=True)
    image = ElementTree.fromstring(text)
    assert image.tag == "{http://www.w3.org/2000/svg}svg"
    assert MARK in text
    titles = [element.text for element in image.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "speed-up against slots of fit"
    assert len(titles) == 4


def test_one_run_is_shown_without_a_plot() -> None:
    shown = bundle(found())
    assert "speed-up" not in shown["text/plain"]
    assert shown["text/html"].count("<svg") == 1


def test_a_range_with_no_limit_in_it_is_drawn_too() -> None:
    shown = bundle(found((1, 2, None)))
    assert "no limit" in shown["text/plain"]
    assert ">∞</text>" in shown["text/html"]


def test_names_are_text_wherever_they_are_shown() -> None:
    rows = [*steps(), {"name": HOSTILE, "duration": 9, "after": "fit 0", "pool": "nowhere"}]
    rows.append({"name": f"{HOSTILE}2", "duration": 9})
    for shown in (bundle(found((1, 2), rows=rows)), bundle(found(rows=rows))):
        html, text = shown["text/html"], shown["text/plain"]
        assert "<script" not in html
        assert "\x1b" not in html + text
        assert "\u202e" not in html + text
        assert "&lt;script&gt;" in html


def test_html_has_no_style_sheet_no_class_and_no_script() -> None:
    html = bundle(found((1, 2), (1, 2)))["text/html"]
    assert not re.search(r"<style|<script|class=|onclick|href=", html)


def test_of_many_steps_the_longest_are_drawn_and_that_is_said() -> None:
    html = bundle(found(rows=steps(BARS + 50)))["text/html"]
    assert html.count("<g><title>") == BARS
    assert f"the {BARS} longest of {BARS + 50} steps are drawn" in html


def test_what_runs_nothing_is_shown_without_drawings() -> None:
    shown = bundle(found(rows=[{"name": "a", "block": True}]))
    assert "Not run: 1 step ('a'): blocked (--block)." in shown["text/plain"]
    assert "<svg" not in shown["text/html"]


# --- stepup_nb.simulate -----------------------------------------------------------------------------


def test_a_teacher_may_play_without_running_anything() -> None:
    forecast = stepup_nb.simulate({"fit": 2}, steps=steps())
    assert forecast.makespan == 5.0
    assert forecast.bounds == {"critical path": 2.0, "pool fit": 4.5}
    assert forecast.timeline[0] == {
        "job": 1,
        "step": "fit 1",
        "outcome": "succeeded",
        "returncode": 0,
        "queued": 0.0,
        "started": 0.0,
        "ended": 2.0,
        "pool": {"fit": 1},
        "slots": {"fit": [0]},
        "worker": 0,
        "peak_rss": None,
        "cpu": None,
        "machine": "",
    }
    assert (forecast.path, forecast.guessed, forecast.stuck) == (["fit 1"], 0, [])
    assert repr(forecast) == (
        "<Forecast: 6 steps in 5.0 s, pool fit 2, no limit of workers; pool 'fit' sets the time>"
    )
    assert "<svg" in forecast._repr_mimebundle_()["text/html"]


def test_workers_limit_played_steps_when_they_are_given() -> None:
    assert stepup_nb.simulate({"fit": None}, workers=1, steps=steps()).makespan == 9.0
    assert stepup_nb.simulate({"fit": None}, steps=steps()).makespan == 2.0


@pytest.mark.parametrize(
    ("pools", "workers", "code"),
    [
        ({"fti": 2}, None, "SNB-502"),
        ({}, None, "SNB-502"),
        ({"fit": -1}, None, "SNB-111"),
        ({"fit": 0}, None, "SNB-153"),
        ({"f t": 1}, None, "SNB-110"),
        ({"fit": 2}, 0, "SNB-112"),
        ({"fit": 2}, "x", "SNB-112"),
    ],
)
def test_what_makes_no_sense_is_refused(pools: Any, workers: Any, code: str) -> None:
    with pytest.raises(UsageError, match=code):
        stepup_nb.simulate(pools, workers, steps=steps())


def test_without_a_session_there_is_nothing_to_ask() -> None:
    with pytest.raises(UsageError, match="SNB-201"):
        stepup_nb.simulate({"fit": 2})
