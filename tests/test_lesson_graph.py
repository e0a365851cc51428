"""The fifth lesson, done by hand: what its reader does to cells and files runs what the lesson says, and no more.

A real kernel is told of cells by their ids, as JupyterLab does. That the lesson executes without them is in
`test_notebooks`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from notebook.helpers_kernel import Cell, Kernel, python_of

pytestmark = pytest.mark.kernel

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
STEPS = ["clean", "harbour", "meadow", "plot", "report", "summit"]
SUMMARIES = ["harbour", "meadow", "summit"]
TRIES = {
    "comment-do": SUMMARIES,
    "comment-undo": SUMMARIES,
    "number-do": ["clean", "harbour", "plot", "report"],
    "number-undo": ["clean", "harbour", "plot", "report"],
    "delete-do": ["clean"],
}
"""What the lesson's own cells make run, sorted; nothing else in it does once it has been run."""


class Lesson(Kernel):
    """The lesson in a folder of its own, and its reader."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns(".*", "*.stepup.db*", "build"))
        notebook = folder / "05_graph.ipynb"
        cells = nbformat.read(notebook, as_version=4).cells
        self.sources = {cell.id: cell.source for cell in cells if cell.cell_type == "code"}
        self.files = folder / "build" / "05"
        super().__init__(python_of("this"), folder, STEPUP_NB_NOTEBOOK=os.fspath(notebook))

    def do(self, cell: str, *edit: str) -> Cell:
        """Run a cell, with one word of it replaced by another if these are given."""
        source = self.sources[cell]
        if edit:
            assert source.count(edit[0]) == 1, f"'{edit[0]}' is not what the reader finds in cell '{cell}'"
            source = source.replace(*edit)
        return self.run_ok(source, cell=cell)

    def do_until(self, last: str) -> None:
        """Run the cells up to this one."""
        for cell in self.sources:
            self.do(cell)
            if cell == last:
                return

    def ran(self, *cells: str) -> list[str]:
        """Run cells; return the steps that ran meanwhile, sorted."""
        before = len(self.history())
        for cell in cells:
            self.do(cell)
        return sorted(row["step"] for row in self.history()[before:])

    def ran_edited(self, old: str, new: str) -> list[str]:
        """Edit the cell that declares the steps, run it, wait; return the steps that ran, sorted."""
        before = len(self.history())
        self.do("plan", old, new)
        self.do("end")
        return sorted(row["step"] for row in self.history()[before:])

    def tries(self) -> dict[str, list[str]]:
        """Run all cells; return the steps that ran in each that made some run."""
        self.do("load")
        found = {cell: self.ran(cell) for cell in self.sources}
        return {cell: steps for cell, steps in found.items() if steps}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Lesson]:
    """The lesson, of which no cell has been run."""
    lesson = Lesson(tmp_path / "notebooks")
    yield lesson
    lesson.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lesson]:
    lesson = Lesson(tmp_path_factory.mktemp("graph") / "notebooks")
    lesson.do_until("wait")
    yield lesson
    lesson.close()


@pytest.fixture
def lesson(shared: Lesson) -> Lesson:
    """The lesson at the place where the reader begins to try; its first cells put back what was tried before."""
    shared.do_until("helper")
    shared.do("clean-up")
    assert shared.ran("end") == []
    return shared


# --- all cells ------------------------------------------------------------------------------------


def test_run_again_the_lesson_runs_what_it_tries_and_nothing_else(fresh: Lesson) -> None:
    first = fresh.tries()
    assert {cell: steps for cell, steps in first.items() if cell in TRIES} == TRIES
    assert sorted(step for cell, steps in first.items() if cell not in TRIES for step in steps) == STEPS
    report = (fresh.files / "report.html").read_text()
    assert fresh.tries() == TRIES
    fresh.restart()
    assert fresh.tries() == TRIES
    assert (fresh.files / "report.html").read_text() == report
    assert set(fresh.states().values()) <= {"SUCCEEDED", "SKIP"}


def test_two_summaries_run_at_a_time(fresh: Lesson) -> None:
    fresh.do_until("wait")
    rows = sorted(
        (row for row in fresh.history() if row["step"] in SUMMARIES), key=lambda row: row["started"]
    )
    assert rows[1]["started"] < rows[0]["ended"]
    assert rows[2]["started"] >= min(row["ended"] for row in rows[:2])


@pytest.mark.parametrize("last", ["plan", "number-do"])
def test_the_lesson_recovers_from_a_run_that_was_broken_off(fresh: Lesson, last: str) -> None:
    fresh.do_until(last)
    fresh.kill()
    fresh.start_kernel()
    again = fresh.tries()
    assert {cell: steps for cell, steps in again.items() if cell in TRIES} == TRIES


# --- by hand --------------------------------------------------------------------------------------


def test_touching_the_data_runs_nothing(lesson: Lesson) -> None:
    (lesson.files / "raw.csv").touch()
    assert lesson.ran("end") == []


def test_writing_the_same_data_again_runs_nothing(lesson: Lesson) -> None:
    raw = lesson.files / "raw.csv"
    text = raw.read_bytes()
    raw.unlink()
    raw.write_bytes(text)
    assert lesson.ran("end") == []


def test_a_comment_in_a_script_goes_no_further_than_its_steps(lesson: Lesson) -> None:
    with (lesson.files / "summary.py").open("a") as script:
        script.write("# a comment\n")
    assert lesson.ran("end") == SUMMARIES


def test_other_nonsense_in_a_broken_line_is_cleaned_away(lesson: Lesson) -> None:
    raw = lesson.files / "raw.csv"
    raw.write_text(raw.read_text().replace("meadow,n/a", "meadow,-"))
    assert lesson.ran("end") == ["clean"]


def test_another_number_runs_what_is_made_from_it(lesson: Lesson) -> None:
    raw = lesson.files / "raw.csv"
    assert "2026-03-05 08:00,summit,-2.8\n" in raw.read_text()
    raw.write_text(raw.read_text().replace("2026-03-05 08:00,summit,-2.8", "2026-03-05 08:00,summit,12.8"))
    assert lesson.ran("end") == ["clean", "plot", "report", "summit"]
    assert "to 12.8 °C" in (lesson.files / "report.html").read_text()


@pytest.mark.parametrize(
    ("output", "maker"),
    [("meadow.csv", "clean"), ("summit.html", "summit"), ("plot.svg", "plot"), ("report.html", "report")],
)
def test_a_deleted_output_is_made_again_by_its_step_alone(lesson: Lesson, output: str, maker: str) -> None:
    text = (lesson.files / output).read_text()
    (lesson.files / output).unlink()
    assert lesson.ran("end") == [maker]
    assert (lesson.files / output).read_text() == text


def test_what_is_written_into_the_report_by_hand_is_lost(lesson: Lesson) -> None:
    text = (lesson.files / "report.html").read_text()
    (lesson.files / "report.html").write_text(f"mine {text}")
    assert lesson.ran("end") == ["report"]
    assert (lesson.files / "report.html").read_text() == text


def test_a_script_that_is_not_declared_changes_unnoticed(lesson: Lesson) -> None:
    edit = ('inp=["summary.py", f"{station}.csv"]', 'inp=f"{station}.csv"')
    source = lesson.sources["plan"].replace(*edit).replace("python3", "python3 summary.py", 1)
    lesson.run_ok(source, cell="plan")
    assert lesson.ran("end") != []
    with (lesson.files / "summary.py").open("a") as script:
        script.write("# a comment\n")
    assert lesson.ran("end") == []


def test_a_renamed_output_runs_its_step_and_leaves_the_old_file_to_clean(lesson: Lesson) -> None:
    old, new = lesson.files / "report.html", lesson.files / "weather.html"
    assert lesson.ran_edited("report.html", "weather.html") == ["report"]
    lesson.do("rename-check")
    assert old.exists() and old.read_text() == new.read_text()
    assert lesson.do("dry").text == "would remove build/05/report.html\n"
    assert old.exists()
    assert lesson.do("clean-up").text == "removed build/05/report.html\n"
    assert not old.exists() and new.exists()
    # And back: in the lesson together with the next one.
    assert lesson.ran_edited('"summit"]', "]") == ["plot", "report"]
    assert lesson.do("clean-up").text.splitlines() == [
        "removed build/05/summit.html",
        "removed build/05/weather.html",
    ]


def test_a_removed_step_runs_what_read_its_output_and_comes_back(lesson: Lesson) -> None:
    report = (lesson.files / "report.html").read_text()
    assert lesson.ran_edited('"harbour", "meadow", "summit"', '"harbour", "meadow"') == ["plot", "report"]
    lesson.do("remove-check")
    assert "summit" not in lesson.states()
    assert "summit" not in (lesson.files / "report.html").read_text()
    assert lesson.do("dry").text == "would remove build/05/summit.html\n"
    assert lesson.do("clean-up").text == "removed build/05/summit.html\n"
    assert (lesson.files / "summit.csv").exists()
    assert lesson.ran("plan", "remove-check") == ["plot", "report", "summit"]
    assert (lesson.files / "report.html").read_text() == report


def test_all_cells_can_be_run_while_the_list_is_edited(lesson: Lesson) -> None:
    # Their assertions are about what the reader changed last, and none may fail for what was left as it is.
    edited = lesson.sources["plan"].replace("report.html", "weather.html").replace(', "summit"]', "]")
    for cell in lesson.sources:
        lesson.run_ok(edited, cell=cell) if cell == "plan" else lesson.do(cell)
    assert lesson.ran("end") == []
