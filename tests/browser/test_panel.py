"""The live panel in JupyterLab and Notebook 7: what it shows is true, what is clicked is done, by role and name."""

from __future__ import annotations

import re
from collections.abc import Iterator

import nbformat
import pytest
from browser.conftest import Open
from browser.helpers_lab import App, Browser, Page, Server
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser

BEGIN = "%load_ext stepup_nb\n%stepup workers 8\nfrom stepup_nb.api import pool, runsh\nimport stepup_nb"
NAP = "until [ -e {0} ]; do sleep 0.02; done; echo {0} is there"
SHOW = "%stepup panel"
IS_BUSY = (
    "return window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.status === 'busy'"
)


def names_wait(*names: str, pool: str = "test") -> str:
    """Return code that declares steps by these names; each runs until there is a file of its name."""
    return "".join(f"runsh({NAP.format(name)!r}, name={name!r}, pool={pool!r})\n" for name in names)


class Panel:
    """The panel of a page, as a person finds her way in it."""

    def __init__(self, page: Page, cell: str) -> None:
        self.page = page
        self.region: Locator = page.cell(cell).get_by_role("region", name="StepUp", exact=True)
        expect(self.region).to_be_visible()

    def meter(self, pool: str) -> Locator:
        return self.region.get_by_role("meter", name=f"pool {pool}", exact=True)

    def size(self, pool: str) -> Locator:
        return self.region.get_by_role("spinbutton", name=f"size of pool {pool}", exact=True)

    def button(self, name: str) -> Locator:
        return self.region.get_by_role("button", name=name, exact=True)

    def go(self, tab: str) -> None:
        self.region.get_by_role("tab", name=tab, exact=True).click()

    def row(self, step: str, *, is_whole: bool = True) -> Locator:
        """Return the row of a step in the table, by its label or a part of it."""
        named = self.page.page.get_by_role("cell", name=step, exact=is_whole)
        return self.region.get_by_role("table", name="steps").get_by_role("row").filter(has=named)

    def says(self, pool: str, words: str) -> None:
        expect(self.meter(pool)).to_have_attribute("aria-valuetext", words)


def history(page: Page, cell: str) -> list[tuple[str, str]]:
    """Run the cell that shows the history; return step and outcome of each job."""
    page.run(cell)
    return re.findall(r"<(\w+) (\w+)>", page.shown(cell))


HISTORY = "for row in stepup_nb.history(): print(f\"<{row['step']} {row['outcome']}>\")"


def release(page: Page, *names: str) -> None:
    """Let steps come to their end."""
    for name in names:
        (page.file.parent / name).touch()


@pytest.fixture
def two_slots(open_cells: Open, app: App) -> Iterator[tuple[Page, Panel]]:
    """A pool of two, with four steps in it, and the panel below."""
    page = open_cells(BEGIN, "pool('test', 2)", names_wait("ada", "ben", "cy", "dee"), SHOW, HISTORY, app=app)
    page.run("c0", "c1", "c2", "c3")
    yield page, Panel(page, "c3")
    release(page, "ada", "ben", "cy", "dee")


def test_a_pool_is_a_lane_with_its_slots_its_queue_and_its_size(two_slots: tuple[Page, Panel]) -> None:
    page, panel = two_slots
    panel.says("test", "2 of 2 slots in use, 2 waiting")
    expect(panel.meter("test")).to_have_attribute("aria-valuenow", "2")
    expect(panel.meter("test")).to_have_attribute("aria-valuemax", "2")
    expect(panel.size("test")).to_have_value("2")
    expect(panel.button("Cancel ada")).to_be_visible()
    expect(panel.button("Cancel cy")).to_be_visible()
    release(page, "ada")
    expect(panel.button("Cancel ada")).to_have_count(0)
    panel.says("test", "2 of 2 slots in use, 1 waiting")
    release(page, "ben", "cy", "dee")
    panel.says("test", "0 of 2 slots in use, 0 waiting")
    assert [outcome for _, outcome in history(page, "c4")] == ["succeeded"] * 4


def test_a_new_size_counts_at_once_by_buttons_and_by_keys(two_slots: tuple[Page, Panel]) -> None:
    page, panel = two_slots
    panel.size("test").fill("3")
    panel.size("test").press("Enter")
    panel.says("test", "3 of 3 slots in use, 1 waiting")
    panel.button("one slot more in pool test").click()
    panel.says("test", "4 of 4 slots in use, 0 waiting")
    panel.size("test").fill("1")
    panel.size("test").press("Enter")
    expect(panel.size("test")).to_have_value("1")
    expect(panel.meter("test")).to_have_attribute("aria-valuenow", "4")
    assert [step for step, _ in history(page, "c4")] == ["ada", "ben", "cy", "dee"]


def test_steps_are_cancelled_and_run_again(two_slots: tuple[Page, Panel]) -> None:
    page, panel = two_slots
    panel.button("Cancel ada").click()
    panel.says("test", "2 of 2 slots in use, 1 waiting")
    panel.go("Steps")
    expect(panel.row("ada")).to_contain_text("CANCELLED")
    release(page, "ben", "cy", "dee")
    expect(panel.row("dee")).to_contain_text("SUCCEEDED")
    panel.row("ben").get_by_role("button", name="Rerun ben").click()
    expect(panel.row("ben")).to_contain_text("SUCCEEDED")
    expect(panel.button("Rerun failed")).to_be_enabled()
    release(page, "ada")
    panel.button("Rerun failed").click()
    expect(panel.row("ada")).to_contain_text("SUCCEEDED")
    expect(panel.button("Rerun failed")).to_be_disabled()
    assert sorted(history(page, "c4")) == [
        ("ada", "cancelled"),
        ("ada", "succeeded"),
        ("ben", "succeeded"),
        ("ben", "succeeded"),
        ("cy", "succeeded"),
        ("dee", "succeeded"),
    ]


def test_a_pause_starts_nothing_new_until_it_is_over(two_slots: tuple[Page, Panel]) -> None:
    page, panel = two_slots
    panel.button("Pause").click()
    expect(panel.button("Resume")).to_be_visible()
    release(page, "ada", "ben")
    panel.says("test", "0 of 2 slots in use, 2 waiting")
    panel.button("Resume").click()
    panel.says("test", "2 of 2 slots in use, 0 waiting")
    expect(panel.button("Pause")).to_be_visible()
    assert len(history(page, "c4")) == 4


def test_cancel_all_asks_first(two_slots: tuple[Page, Panel]) -> None:
    page, panel = two_slots
    panel.button("Cancel all").click()
    assert [outcome for _, outcome in history(page, "c4")] == ["None", "None"]
    panel.button("Yes, cancel").click()
    panel.says("test", "0 of 2 slots in use, 0 waiting")
    panel.go("Steps")
    for name in ("ada", "ben", "cy", "dee"):
        expect(panel.row(name)).to_contain_text("CANCELLED")
    assert [outcome for _, outcome in history(page, "c4")] == ["cancelled", "cancelled"]


def test_the_log_follows_the_selected_step_and_tells_the_streams_apart(open_cells: Open, app: App) -> None:
    code = f"echo one; printf '\\033[31mtwo\\033[0m\\n' >&2; {NAP.format('go')}"
    page = open_cells(BEGIN, f"runsh({code!r}, name='talker')", SHOW, app=app)
    page.run("c0", "c1", "c2")
    panel = Panel(page, "c2")
    panel.go("Steps")
    panel.row("talker").click()
    panel.go("Log")
    log = panel.region.get_by_role("log", name="output of talker")
    expect(log).to_contain_text("one")
    expect(log).to_contain_text("two")
    expect(log).not_to_contain_text("go is there")
    release(page, "go")
    expect(log).to_contain_text("go is there")


def test_timeline_and_graph_show_what_ran_and_what_depends_on_what(open_cells: Open) -> None:
    code = "runsh('echo a > a.txt', out='a.txt', name='make')\nrunsh('cat a.txt', inp='a.txt', name='read')"
    page = open_cells(BEGIN, code, "%stepup wait", SHOW)
    page.run_all()
    panel = Panel(page, "c3")
    panel.go("Timeline")
    expect(panel.region.get_by_role("img", name=re.compile("timeline of 2 jobs"))).to_be_visible()
    panel.go("Graph")
    graph = panel.region.get_by_role("tabpanel", name="Graph")
    for words in ("make", "read", "a.txt"):
        expect(graph.get_by_text(words, exact=False).first).to_be_visible()


@pytest.mark.parametrize("busy", ["import time\ntime.sleep(60)", "while True: sum(range(1000))"])
def test_it_is_true_and_answers_clicks_while_a_cell_computes(open_cells: Open, busy: str) -> None:
    page = open_cells(BEGIN, "pool('test', 1)", names_wait("ada", "ben"), SHOW, busy)
    page.run("c0", "c1", "c2", "c3")
    panel = Panel(page, "c3")
    panel.says("test", "1 of 1 slot in use, 1 waiting")
    page.start("c4")
    page.until(IS_BUSY)
    panel.button("Cancel ada").click()
    expect(panel.button("Cancel ada")).to_have_count(0)
    panel.says("test", "1 of 1 slot in use, 0 waiting")
    release(page, "ben")
    panel.says("test", "0 of 1 slot in use, 0 waiting")
    page.interrupt()
    page.finish()


SLOW_SUBSHELL = """
    const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
    const all = Object.getPrototypeOf(kernel);
    const create = all.requestCreateSubshell;
    const told = new Promise((tell) => { window.tellSubshell = tell; });
    all.requestCreateSubshell = function (content) {
      const { done } = create.call(this, content);
      return { done: told.then(() => done) };
    };
"""
"""JupyterLab does not hear which subshell there is for the panel until it is told to."""


def test_what_is_clicked_before_the_panel_has_its_subshell_does_not_wait_for_the_cell(
    open_cells: Open,
) -> None:
    page = open_cells(BEGIN, "pool('test', 1)", names_wait("ada", "ben"), SHOW, "import time\ntime.sleep(60)")
    page.idle()
    page.ask(SLOW_SUBSHELL)
    page.run("c0", "c1", "c2", "c3")
    panel = Panel(page, "c3")
    panel.says("test", "1 of 1 slot in use, 1 waiting")
    page.start("c4")
    page.until(IS_BUSY)
    panel.button("Cancel ada").click()
    page.ask("window.tellSubshell()")
    expect(panel.button("Cancel ada")).to_have_count(0)
    release(page, "ben")
    panel.says("test", "0 of 1 slot in use, 0 waiting")
    page.interrupt()
    page.finish()


def test_clicks_are_heard_while_a_cell_waits(two_slots: tuple[Page, Panel]) -> None:
    page, panel = two_slots
    page.ask(
        "const it = window.jupyterapp.shell.currentWidget;"
        "it.content.widgets.find((w) => w.model.id === arg).model.sharedModel.setSource('%stepup wait --no-raise')",
        "c4",
    )
    page.start("c4")
    page.until_shown("c4", "of 4 steps done")
    panel.button("Cancel ada").click()
    panel.size("test").fill("3")
    panel.size("test").press("Enter")
    panel.says("test", "3 of 3 slots in use, 0 waiting")
    release(page, "ben", "cy", "dee")
    assert page.finish()


def test_it_is_right_after_the_page_is_loaded_again(two_slots: tuple[Page, Panel]) -> None:
    page, panel = two_slots
    page.save()
    release(page, "ada")
    panel.says("test", "2 of 2 slots in use, 1 waiting")
    page.go()
    panel = Panel(page, "c3")
    panel.says("test", "2 of 2 slots in use, 1 waiting")
    panel.button("Cancel ben").click()
    panel.says("test", "2 of 2 slots in use, 0 waiting")


def test_two_people_see_the_same_and_select_for_themselves(
    two_slots: tuple[Page, Panel], server: Server, browser: Browser
) -> None:
    page, panel = two_slots
    page.save()
    with browser.open(server, page.name, page.app, is_guest=True) as second:
        other = Panel(second, "c3")
        other.says("test", "2 of 2 slots in use, 2 waiting")
        other.button("Cancel ada").click()
        for each in (panel, other):
            each.says("test", "2 of 2 slots in use, 1 waiting")
        for each, name in ((panel, "ben"), (other, "cy")):
            each.go("Steps")
            each.row(name).click()
            each.go("Log")
        release(page, "ben", "cy")
        for each, name in ((panel, "ben"), (other, "cy")):
            expect(each.region.get_by_role("log", name=f"output of {name}")).to_contain_text(
                f"{name} is there"
            )


def test_after_a_restart_it_says_so_and_shows_the_past_when_its_cell_is_run_again(
    open_cells: Open, app: App
) -> None:
    page = open_cells(BEGIN, "runsh('echo hello', name='greeter')", SHOW, "%stepup wait", app=app)
    page.run_all()
    page.restart()
    panel = Panel(page, "c2")
    expect(panel.region).to_contain_text("The kernel was restarted: run this cell again.")
    page.run("c0", "c1", "c2", "c3")
    panel = Panel(page, "c2")
    panel.go("Steps")
    expect(panel.row("greeter")).to_contain_text("up to date")
    panel.row("greeter").click()
    panel.go("Log")
    expect(panel.region.get_by_role("log", name="output of greeter")).to_contain_text("hello")


def test_frozen_it_is_a_picture_that_stays_without_a_kernel(open_cells: Open, app: App) -> None:
    page = open_cells(
        BEGIN,
        "pool('test', 1)\nrunsh('echo', name='ada', pool='test')",
        SHOW,
        "%stepup wait",
        "%stepup freeze",
        app=app,
    )
    page.run_all()
    page.until_shown("c2", "StepUp: 1 succeeded", "pool test: 0 of 1 slot in use")
    page.save()
    (output,) = page.saved_outputs()["c2"]
    assert set(output.data) == {"text/html", "text/plain"}
    assert "<svg" in output.data["text/html"] and "<script" not in output.data["text/html"]
    page.go()
    page.until_shown("c2", "StepUp: 1 succeeded")


def test_a_saved_panel_has_a_picture_for_where_nothing_is_live(open_cells: Open) -> None:
    page = open_cells(BEGIN, "runsh('echo', name='ada')", "%stepup wait", SHOW)
    page.run_all()
    Panel(page, "c3")
    page.save()
    (output,) = page.saved_outputs()["c3"]
    assert "application/vnd.jupyter.widget-view+json" in output.data
    assert "StepUp: 1 succeeded" in output.data["text/plain"] and "<svg" in output.data["text/html"]


def test_in_a_notebook_that_is_not_trusted_the_picture_is_shown(
    open_cells: Open, open_page: Open, app: App
) -> None:
    page = open_cells(BEGIN, "runsh('echo', name='ada')", "%stepup wait", SHOW, app=app)
    page.run_all()
    Panel(page, "c3")
    page.save()
    strange = nbformat.read(page.file, as_version=4)
    # Jupyter trusts what it has signed, and that is every letter of it.
    strange.cells[1].source += "  # from a stranger"
    nbformat.write(strange, page.file.with_name("strange.ipynb"))
    other = open_page(f"{page.file.parent.name}/strange.ipynb", app)
    other.until_shown("c3", "StepUp: 1 succeeded")
    other.until_shown("c1", "1 succeeded")


def test_all_that_was_can_be_browsed_after_a_restart(open_cells: Open) -> None:
    page = open_cells(BEGIN, "once = runsh('echo $RANDOM', name='once', shell='bash')", "%stepup wait", SHOW)
    page.run_all()
    page.restart()
    page.run("c0", "c3")
    panel = Panel(page, "c3")
    panel.go("Timeline")
    expect(panel.region.get_by_role("img", name=re.compile("timeline of 1 job "))).to_be_visible()
    panel.go("Steps")
    # Not declared in this session: behind a chip of the table.
    panel.region.get_by_role("button", name=re.compile("dormant|not declared|earlier")).first.click()
    panel.row("once").click()
    panel.go("Log")
    log = panel.region.get_by_role("log", name="output of once")
    expect(log).to_contain_text(re.compile(r"\d"))
    expect(panel.region.get_by_role("tabpanel", name="Log")).to_contain_text("it had never run before")
    expect(panel.region.get_by_role("tabpanel", name="Log")).to_contain_text("succeeded")


HOSTILE = """<img src="https://example.org/x.png" onerror="window.harmed=true"></script><b>\u202eevil"""


def test_names_and_output_of_strangers_become_no_element_and_no_request(open_cells: Open, app: App) -> None:
    code = (
        f"name = {HOSTILE!r}\n"
        "open('h.txt', 'w').write(name + '\\x1b]8;;https://example.org/\\x1b\\\\link\\x1b]8;;\\x1b\\\\')\n"
        "runsh('cat h.txt; cat h.txt >&2; exit 3', name=name)\n"
        "runsh('true', name='make', out=['<img src=x onerror=window.harmed=true>'])\n"
    )
    page = open_cells(BEGIN, code, "%stepup wait --no-raise", SHOW, app=app)
    page.run("c0", "c1", "c2", "c3")
    panel = Panel(page, "c3")
    for tab in ("Pools", "Timeline", "Graph", "Steps"):
        panel.go(tab)
        expect(panel.region.get_by_text("<img src=").first).to_be_attached()
        assert panel.region.locator("img, script, iframe, a").count() == 0
    panel.row("</script>", is_whole=False).first.click()
    panel.go("Log")
    expect(panel.region.get_by_role("log")).to_contain_text("onerror")
    assert panel.region.locator("img, script, iframe, a").count() == 0
    assert not re.search("[\x1b\x07\u202a-\u202e\u2066-\u2069]", panel.region.inner_text())
    assert not page.ask("return !!window.harmed")


def test_lost_messages_are_noticed_and_made_good(open_cells: Open) -> None:
    lose = (
        "from stepup_nb.notebook.load import loaded\n"
        "widget = loaded()._records._panel.widget\n"
        "send, widget.lost = widget.send, 0\n"
        "def lossy(content, buffers=None):\n"
        "    if widget.lost < 10 and content['kind'] == 'delta':\n"
        "        widget.lost += 1\n"
        "    else:\n"
        "        send(content, buffers)\n"
        "widget.send = lossy"
    )
    talk = "runsh('for i in $(seq 60); do echo $i; sleep 0.05; done', name='talker')"
    page = open_cells(BEGIN, SHOW, lose, talk, "%stepup wait", "print('lost', widget.lost)")
    page.run_all()
    page.until_shown("c5", "lost 10")
    panel = Panel(page, "c1")
    panel.go("Steps")
    expect(panel.row("talker")).to_contain_text("SUCCEEDED")


def test_the_compact_panel_is_one_line(open_cells: Open) -> None:
    page = open_cells(BEGIN, "pool('test', 1)", names_wait("ada", "ben"), "%stepup panel --compact")
    page.run("c0", "c1", "c2", "c3")
    panel = Panel(page, "c3")
    expect(panel.region).to_contain_text("test 1/1")
    box = panel.region.bounding_box()
    assert box is not None and box["height"] < 60
    panel.button("Full").click()
    expect(panel.size("test")).to_be_visible()
    release(page, "ada", "ben")


def test_a_wrong_size_is_refused_in_words_and_changes_nothing(two_slots: tuple[Page, Panel]) -> None:
    _, panel = two_slots
    panel.size("test").fill("-1")
    panel.size("test").press("Enter")
    expect(panel.region).to_contain_text(re.compile("-1|0 or more|whole number"))
    panel.says("test", "2 of 2 slots in use, 2 waiting")
    expect(panel.size("test")).to_have_value("2")
