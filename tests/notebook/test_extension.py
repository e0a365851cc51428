"""The extension under everything that executes notebooks, and in IPython on a terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pexpect
import pytest

from notebook.helpers_kernel import LINES, environment, python_of

pytestmark = pytest.mark.kernel

LONG = 100
"""Seconds after which a program counts as never ending."""

CELLS = (
    "%load_ext stepup_nb",
    "%pool test 2",
    "%%runsh --pool test --out a.txt\necho A > a.txt; echo made A",
    "from stepup_nb.api import runsh\nfor x in 'BCD':\n    runsh(f'sleep 0.1; echo {x}', pool='test')",
    "h = %runsh -i a.txt -o b.txt -- cp a.txt b.txt; echo copied",
    "%stepup wait",
    "import json, stepup_nb\nprint(json.dumps(stepup_nb.status()['counts']))",
    "last = %runsh sleep 0.2; echo the end\nlast.wait()",
)


def notebook(folder: Path, *cells: str) -> Path:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "nb.ipynb"
    nbformat.write(nb, path)
    return path


def run(*argv: str | Path, cwd: Path) -> None:
    ended = subprocess.run(
        [os.fspath(word) for word in argv],
        cwd=cwd,
        env=environment(IPYTHONDIR=os.fspath(cwd)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert ended.returncode == 0, ended.stderr


def with_nbclient(python: Path, folder: Path) -> Path:
    code = (
        "import nbformat, nbclient; nb = nbformat.read('nb.ipynb', 4);"
        "nbclient.NotebookClient(nb, resources={'metadata': {'path': '.'}}).execute(); nbformat.write(nb, 'out.ipynb')"
    )
    run(python, "-c", code, cwd=folder)
    return folder / "out.ipynb"


def with_jupyter_execute(python: Path, folder: Path) -> Path:
    run(python.parent / "jupyter-execute", "--inplace", "nb.ipynb", cwd=folder)
    return folder / "nb.ipynb"


def with_papermill(python: Path, folder: Path) -> Path:
    run(python.parent / "papermill", "nb.ipynb", "out.ipynb", "--no-progress-bar", cwd=folder)
    return folder / "out.ipynb"


WAYS = [
    *((line, with_nbclient) for line in LINES),
    ("this", with_jupyter_execute),
    ("this", with_papermill),
    ("ipykernel-6.31", with_papermill),
]


def outputs(path: Path) -> list[list[dict[str, Any]]]:
    """Return the outputs of each cell, as they were saved."""
    cells = json.loads(path.read_text())["cells"]
    # papermill may add a cell of its own.
    return [cell["outputs"] for cell in cells if cell["cell_type"] == "code"][-len(CELLS) :]


def plain(output: dict[str, Any]) -> str:
    return "".join(output["data"]["text/plain"])


@pytest.mark.parametrize(("line", "way"), WAYS, ids=lambda word: getattr(word, "__name__", word))
def test_a_notebook_that_nobody_watches_is_saved_with_all_its_records(
    line: str, way: Callable[[Path, Path], Path], tmp_path: Path
) -> None:
    python = python_of(line)
    notebook(tmp_path, *CELLS)
    first = outputs(way(python, tmp_path))
    assert "SUCCEEDED  runsh echo A > a.txt; echo made A" in plain(first[2][0])
    assert "stdout │ made A" in plain(first[2][0])
    assert plain(first[3][0]).startswith("3 steps: 3 succeeded")
    assert "1 succeeded" in plain(first[4][0]) and "copied" in plain(first[4][0])
    assert plain(first[5][0]).startswith("✓ 5 succeeded; waited")
    assert json.loads("".join(first[6][0]["text"])) == {"SUCCEEDED": 5}
    assert "1 succeeded" in plain(first[7][0]) and "the end" in plain(first[7][0])
    # Whoever waited for all is not warned any more, and every record has its html.
    assert not any("nobody" in plain(cell[0]) or "no front end" in plain(cell[0]) for cell in first[2:6])
    for cell in first[2:6]:
        assert len(cell) == 1 and cell[0]["data"].keys() == {"text/plain", "text/html"}
    # The kernel is gone, and all that it started; the next one runs nothing again.
    assert list(tmp_path.glob("*.db-wal")) == []
    second = outputs(way(python, tmp_path))
    assert plain(second[3][0]).startswith("3 steps: 3 skipped")
    assert "stdout │ made A" in plain(second[2][0])
    assert plain(second[5][0]).startswith("✓ 5 up to date; waited")


def test_a_notebook_that_does_not_wait_is_warned(tmp_path: Path) -> None:
    notebook(tmp_path, "%load_ext stepup_nb", "h = %runsh sleep 30; echo A", "g = %runsh sleep 30; echo B")
    saved = json.loads(with_nbclient(python_of("this"), tmp_path).read_text())["cells"]
    (first,), (second,) = saved[1]["outputs"], saved[2]["outputs"]
    assert "a notebook that does not end in '%stepup wait' loses what still runs" in plain(first)
    assert "loses" not in plain(second)


# --- a terminal -----------------------------------------------------------------------------------

PROMPT = r"In \[\d+\]: "


@pytest.fixture(params=["this", "ipykernel-6.31"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path):
    """IPython on a terminal."""
    child = pexpect.spawn(
        os.fspath(python_of(request.param)),
        ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", "--no-confirm-exit"],
        cwd=os.fspath(tmp_path),
        env=environment(IPYTHONDIR=os.fspath(tmp_path), TERM="xterm", COLUMNS="100"),
        dimensions=(50, 100),
        encoding="utf-8",
        timeout=LONG,
        echo=False,
    )
    child.expect(PROMPT)

    def enter(line: str) -> str:
        child.sendline(line)
        child.expect(PROMPT)
        return str(child.before).replace("\r\n", "\n")

    enter.child = child  # type: ignore[attr-defined]
    yield enter
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()


def test_a_terminal_shows_text_and_no_records(terminal, tmp_path: Path) -> None:
    assert terminal("%load_ext stepup_nb").strip() == ""
    assert "pool test: 0 of 2 slots in use" in terminal("%pool test 2")
    assert "<step 'runsh echo A' " in terminal("%runsh echo A")
    assert terminal("h = %runsh -p test -o a.txt -- sleep 0.3; echo B > a.txt").strip() == ""
    said = terminal("%stepup wait")
    assert "\x1b[2K" in said  # one line, written over
    assert re.search(r"\x1b\[2K✓ 2 succeeded; waited [\d.]+ s\n", said)
    assert "SUCCEEDED  runsh echo A" in terminal("%stepup status")
    assert "SNB-111" in terminal("%pool test x") and "Traceback" not in terminal("%pool test x")
    assert (tmp_path / "notebook.stepup.db").exists()


def test_control_c_on_a_terminal_ends_the_wait_and_no_step(terminal, tmp_path: Path) -> None:
    terminal("%load_ext stepup_nb")
    terminal("h = %runsh until [ -e go ]; do sleep 0.02; done; echo A")
    terminal.child.sendline("%stepup wait")
    terminal.child.expect("1 running")
    terminal.child.sendintr()
    terminal.child.expect(PROMPT)
    assert "KeyboardInterrupt: wait interrupted; steps keep running" in terminal.child.before
    assert "Traceback" not in terminal.child.before
    assert "RUNNING" in terminal("print(h.state)")
    (tmp_path / "go").touch()
    assert "✓ 1 succeeded" in terminal("%stepup wait")
