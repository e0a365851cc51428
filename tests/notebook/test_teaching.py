"""What teachers use, in real kernels of three lines of ipykernel: assertions, narration, hints, reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from notebook.helpers_kernel import LINES, Cell, Kernel, python_of

pytestmark = pytest.mark.kernel


FORGET_ALL = """
def forget_all():
    from stepup_nb.client import current
    session = current.session()
    names = [row["name"] for row in session.status()["steps"]]
    if names:
        session.forget(*names)
forget_all()
"""


@pytest.fixture(scope="module", params=LINES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(python_of(request.param), tmp_path_factory.mktemp(request.param) / "nb")
    kernel.load()
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    """A kernel without steps."""
    yield shared
    assert shared.run(FORGET_ALL, silent=True).is_ok


def narration(cell: Cell) -> list[str]:
    """The sentences under a cell, without their times and the action of each step."""
    (found,) = [data for data in cell.displays if "narrat" in data["text/plain"]]
    head, *lines = found["text/plain"].splitlines()
    return [head, *(line.split(" s  ", 1)[1].replace("runsh ", "") for line in lines)]


def test_a_failed_assertion_is_a_sentence_and_no_traceback(kernel):
    kernel.run_ok("import stepup_nb\n%pool calm 2")
    cell = kernel.run("stepup_nb.assert_peak('calm', 2)")
    assert not cell.is_ok
    assert cell.error.startswith("AssertionError: 2 slots of 'calm' were to be held at one moment.")
    assert "but: no step of 'calm' ran in this session" in cell.error
    assert "Traceback" not in cell.error
    assert kernel.run_ok("stepup_nb.assert_peak('calm', 0)").results[0]["text/plain"] == "0"


def test_decisions_are_told_in_sentences_under_the_cell_that_asked(kernel):
    kernel.run_ok("%pool test 1")
    cell = kernel.run_ok(
        "%stepup narrate on\n%runsh --force -p test -- until [ -e go ]; do sleep 0.01; done # A"
    )
    later = kernel.run_ok("%runsh --force -p test true # B\n!touch go\n%stepup wait")
    a = "until [ -e go ]; do sleep 0.01; done # A"
    kernel.until(lambda: any(words.endswith("goes to true # B.") for words in narration(cell)))
    said = narration(cell)
    assert said[0] == "narrating; '%stepup narrate off' ends it"
    assert f"{a} starts in slot 0 of 'test'." in said
    assert f"true # B waits: pool 'test' is full ({a})." in said
    assert any(
        words.startswith(f"{a} ended after ") and words.endswith("goes to true # B.") for words in said
    )
    assert not [data for data in later.displays if "narrat" in data["text/plain"]]
    kernel.run_ok("%stepup narrate off")
    kernel.until(lambda: narration(cell)[0] == "narration ended")
    before = narration(cell)
    kernel.run_ok("%runsh --force true # C\n%stepup wait")
    assert narration(cell) == before


def test_who_narrates_anew_begins_anew_and_only_the_newest_sentences_are_kept(kernel):
    first = kernel.run_ok("%stepup narrate on")
    second = kernel.run_ok("import stepup_nb\nstepup_nb.narrate()")
    kernel.until(lambda: narration(first) == ["narration ended"])
    kernel.run_ok("from stepup_nb.api import runsh\nfor i in range(30): runsh(f'true {i}')\n%stepup wait")
    kernel.until(lambda: "earlier sentences not shown" in narration(second)[0])
    _, *said = narration(second)
    assert len(said) == 20
    kernel.run_ok("stepup_nb.narrate(False)")


def test_a_steps_name_is_no_markup_in_a_sentence(kernel):
    cell = kernel.run_ok("%stepup narrate on\n%runsh --force --name '<img src=x>&' true\n%stepup wait")
    kernel.until(lambda: any("<img src=x>& starts" in data["text/plain"] for data in cell.displays))
    (found,) = [data for data in cell.displays if "narrat" in data["text/plain"]]
    assert "&lt;img src=x&gt;&amp; starts" in found["text/html"] and "<img" not in found["text/html"]
    kernel.run_ok("%stepup narrate off")


def test_a_new_director_narrates_too(kernel):
    cell = kernel.run_ok("%stepup narrate on\n%runsh --force true # before\n%stepup wait")
    kernel.until(lambda: "true # before starts." in narration(cell))
    pid = kernel.status()["director_pid"]
    kernel.run_ok(f"import os\nos.kill({pid}, 9)")
    kernel.run_ok("%runsh --force true # after\n%stepup wait")
    kernel.run_ok("%stepup narrate off")
    kernel.until(lambda: "true # after starts." in narration(cell))
    assert kernel.run_ok("%stepup narrate off").text == "nothing is narrated\n"


def test_neither_on_nor_off_is_refused(kernel):
    cell = kernel.run("%stepup narrate loud")
    assert not cell.is_ok and "write '%stepup narrate on' or '%stepup narrate off'" in cell.error


def test_hints_compare_pools_with_what_their_steps_took(kernel):
    kernel.run_ok("%pool test 2\n%runsh --force -p test true\n%stepup wait")
    (shown,) = kernel.run_ok("%stepup hints test").displays
    lines = shown["text/plain"].splitlines()
    assert lines[1].startswith("test")
    assert "memory is no reason to limit it" in lines[1] or "no memory was measured" in lines[1]
    assert "need some of that memory" in lines[-1]
    assert kernel.value("list(__import__('stepup_nb').hints('test'))") == ["test"]
    cell = kernel.run("%stepup hints tset")
    assert not cell.is_ok and "There is no pool 'tset'; did you mean 'test'?" in cell.error


def test_a_timeline_is_shown_and_saved(kernel):
    kernel.run_ok("%pool test 2\n%runsh --force --name '<b>' -p test true\n%stepup wait")
    (shown,) = kernel.run_ok("%stepup timeline").displays
    assert "test, slot 0: " in shown["text/plain"] and " <b> " in shown["text/plain"]
    assert "<svg" in shown["text/html"] and "<b>" not in shown["text/html"]
    assert kernel.run_ok("%stepup timeline --save t.svg").text == "wrote t.svg\n"
    assert kernel.run_ok("%stepup timeline --save t.svg").text == "wrote t.svg\n"
    (kernel.folder / "t.svg").write_text("mine")
    cell = kernel.run("%stepup timeline --save t.svg")
    assert not cell.is_ok and "say --force" in cell.error
    assert (kernel.folder / "t.svg").read_text() == "mine"
    kernel.run_ok("%stepup timeline --save t.svg --force")
    assert (kernel.folder / "t.svg").read_text().startswith("<svg")


def test_a_report_is_written_while_steps_run_and_from_what_is_remembered(kernel):
    kernel.run_ok("%runsh --name first --out a.txt -- echo > a.txt\n%stepup wait")
    kernel.run_ok("%runsh --force --after first -- until [ -e end ]; do sleep 0.01; done")
    assert kernel.run_ok("%stepup report build/r.html").text == "wrote build/r.html\n"
    text = (kernel.folder / "build" / "r.html").read_text()
    assert "Report of nb.ipynb" in text and "first" in text and "1 running" in text
    (kernel.folder / "end").touch()
    kernel.run_ok("%stepup wait")
    cell = kernel.run("%stepup report notes.txt")
    assert not cell.is_ok and "name it 'notes.html'" in cell.error
    cell = kernel.run("%stepup report")
    assert not cell.is_ok and "write '%stepup report out.html'" in cell.error


def test_after_a_restart_a_report_tells_what_the_database_remembers(kernel):
    kernel.run_ok("%runsh --name remembered true\n%stepup wait")
    kernel.restart()
    kernel.load()
    path = kernel.value("__import__('stepup_nb').report('again.html')")
    assert "remembered" in (kernel.folder / "again.html").read_text() and path.endswith("again.html")


def test_a_size_given_by_a_widgets_callback_is_told_by_no_cell_that_knows_nothing_of_it(kernel):
    first = kernel.run_ok("from stepup_nb.api import pool\n%pool moved 2")
    outside = "import contextvars, threading\nmove = lambda: contextvars.Context().run(pool, 'moved', 3)\n"
    cell = kernel.run_ok(f"{outside}thread = threading.Thread(target=move)\nthread.start()\nthread.join()")
    later = kernel.run_ok("1")
    assert cell.text + later.text == ""
    kernel.until(lambda: "3 slots now, by code outside all cells" in first.displays[0]["text/plain"])
