"""Every lesson executes, from scratch and on what it left behind, and is stored without outputs.

How long each takes, and whether it holds twenty times, says `make lessons ARGS="-n 20"`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from notebook.helpers_kernel import Kernel, python_of

LESSONS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
ON_A_CLUSTER = "07_outgrow"
TO_EXECUTE = [
    pytest.param(
        lesson,
        id=lesson.stem,
        marks=pytest.mark.skipif(
            lesson.stem == ON_A_CLUSTER and find_spec("distributed") is None, reason="Dask is not installed"
        ),
    )
    for lesson in LESSONS
]

SERVER = {"CPU_LIMIT": "1", "MEM_LIMIT": str(1 << 30)}
"""What a hub tells a small server: no lesson may need more."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The lessons, none of which has run yet."""
    copied = tmp_path / "notebooks"
    shutil.copytree(
        LESSONS[0].parent, copied, ignore=shutil.ignore_patterns(".*", "*.stepup.db*", "build", "plan.py")
    )
    return copied


def execute(notebook: Path) -> Any:
    """Execute a notebook in its folder as clients without cell ids do; the assertions in its cells raise here."""
    lesson = nbformat.read(notebook, as_version=4)
    client = NotebookClient(lesson, timeout=60, resources={"metadata": {"path": str(notebook.parent)}})
    client.execute(env={**os.environ, **SERVER, "STEPUP_NB_NOTEBOOK": str(notebook)})
    return lesson


@pytest.mark.kernel
@pytest.mark.timeout(300)
@pytest.mark.parametrize("lesson", TO_EXECUTE)
def test_a_lesson_executes_without_cell_ids_and_again_with_them(
    lesson: Path, folder: Path, tmp_path: Path
) -> None:
    executed = execute(folder / lesson.name)
    records = [
        output["data"]["text/plain"]
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    assert records, "a lesson shows the records of its steps"
    # With ids, as under JupyterLab, two cells that declare the same are an error.
    command = [sys.executable, "-m", "stepup_nb", "execute", lesson.name, "-o", str(tmp_path / "out.ipynb")]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **SERVER}
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.parametrize("lesson", TO_EXECUTE)
def test_all_cells_of_a_lesson_run_again_in_the_same_kernel(lesson: Path, folder: Path) -> None:
    kernel = Kernel(python_of("this"), folder, STEPUP_NB_NOTEBOOK=str(folder / lesson.name), **SERVER)
    try:
        for _ in range(2):
            for cell in nbformat.read(lesson, as_version=4).cells:
                if cell.cell_type == "code":
                    kernel.run_ok(cell.source, cell=cell.id)
    finally:
        kernel.close()


@pytest.mark.kernel
def test_without_dask_the_lesson_on_clusters_says_what_to_install(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dask.py").write_text("raise ModuleNotFoundError(\"No module named 'dask'\")\n")
    command = [sys.executable, "-m", "stepup_nb", "execute", f"{ON_A_CLUSTER}.ipynb", "-o", os.devnull]
    environment = {**os.environ, "PYTHONPATH": os.fspath(tmp_path)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert "this lesson needs Dask: run %pip install 'stepup_nb[dask]'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_stored_without_outputs(lesson: Path) -> None:
    for cell in nbformat.read(lesson, as_version=4).cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"{lesson.name}: clear its outputs before the commit"
            assert cell.execution_count is None, f"{lesson.name}: clear its outputs before the commit"
