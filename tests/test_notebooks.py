"""Every lesson executes, from scratch and on what it left behind, and is stored without outputs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

LESSONS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def execute(notebook: Path) -> Any:
    """Execute a notebook in its folder; the assertions in its cells raise here."""
    lesson = nbformat.read(notebook, as_version=4)
    client = NotebookClient(lesson, timeout=60, resources={"metadata": {"path": str(notebook.parent)}})
    client.execute(env={"STEPUP_NB_NOTEBOOK": str(notebook)})
    return lesson


@pytest.mark.kernel
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_executes_from_scratch_and_again_on_what_it_left(lesson: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    shutil.copytree(lesson.parent, folder, ignore=shutil.ignore_patterns(".*", "*.stepup.db*", "build"))
    execute(folder / lesson.name)
    again = execute(folder / lesson.name)
    records = [
        output["data"]["text/plain"]
        for cell in again.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    assert records, "a lesson shows the records of its steps"


@pytest.mark.kernel
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_executes_where_cells_have_ids(lesson: Path, tmp_path: Path) -> None:
    # As under JupyterLab: what was allowed to cells without ids once was an error there.
    folder = tmp_path / "notebooks"
    shutil.copytree(lesson.parent, folder, ignore=shutil.ignore_patterns(".*", "*.stepup.db*", "build"))
    command = [sys.executable, "-m", "stepup_nb", "execute", lesson.name, "-o", str(tmp_path / "out.ipynb")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_stored_without_outputs(lesson: Path) -> None:
    for cell in nbformat.read(lesson, as_version=4).cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"{lesson.name}: clear its outputs before the commit"
            assert cell.execution_count is None, f"{lesson.name}: clear its outputs before the commit"
