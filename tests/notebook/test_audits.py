"""A race audit in real kernels of three lines of ipykernel: progress, result, interrupt, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from client.helpers_audit import CONVERTER, CURED

from notebook.helpers_kernel import LINES, Kernel, python_of

pytestmark = pytest.mark.kernel

DECLARE = """
from stepup_nb.api import pool, runsh
pool("test", 1)
for i in range(4):
    runsh(f"./convert.sh page{i}.txt page{i}.out", inp=["convert.sh", f"page{i}.txt"], out=f"page{i}.out", pool="test")
"""


@pytest.fixture(params=LINES)
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kernel]:
    (tmp_path / "tmp").mkdir()
    kernel = Kernel(python_of(request.param), tmp_path / "nb", TMPDIR=str(tmp_path / "tmp"))
    kernel.load()
    yield kernel
    kernel.close()


def write_pages(kernel: Kernel, converter: str = CONVERTER) -> None:
    script = kernel.folder / "convert.sh"
    script.write_text(converter)
    script.chmod(0o755)
    for i in range(4):
        (kernel.folder / f"page{i}.txt").write_text(f"page <b>{i}</b>\n")


def copies(kernel: Kernel) -> list[Path]:
    return list((kernel.folder.parent / "tmp").glob("stepup-nb-audit-*"))


def test_an_audit_shows_how_far_it_is_and_then_what_differs_in_the_same_output(kernel):
    write_pages(kernel)
    kernel.run_ok(DECLARE)
    cell = kernel.start("%stepup audit --pool test=1,4")
    kernel.until(lambda: bool(cell.displays) and "run 1 of 2, test=1: " in cell.displays[0]["text/plain"])
    kernel.finish(cell)
    assert cell.is_ok, cell.error
    (shown,) = cell.displays
    assert shown["text/plain"].startswith("✗ audited 4 steps with test=1 and test=4: ")
    assert "'PAGE <B>" in shown["text/plain"]
    assert "PAGE &lt;B&gt;" in shown["text/html"]
    assert cell.results == []
    assert copies(kernel) == []


def test_in_code_it_returns_what_differs_and_tells_in_one_line_that_it_ran(kernel):
    write_pages(kernel, CURED)
    kernel.run_ok(DECLARE)
    cell = kernel.run_ok("import stepup_nb, json\nfound = stepup_nb.audit({'test': [1, 4]}, repeat=2)\nfound")
    (line,) = (data["text/plain"] for data in cell.displays)
    assert line.startswith("✓ audited 4 steps with test=1 and test=4: nothing depends on the size; 4 runs, ")
    assert [data["text/plain"] for data in cell.results] == [line]
    assert "<table" not in cell.results[0]["text/html"]
    assert json.loads(kernel.run_ok("print(json.dumps([found.differing, found.runs[0]['pools']]))").text) == [
        [],
        {"test": 1},
    ]


def test_an_audit_that_is_interrupted_leaves_nothing_and_says_so(kernel):
    kernel.run_ok(
        "%pool test 1\n%runsh -p test --name long -- case $PWD in */run0/*) touch up; sleep 600;; esac"
    )
    kernel.run_ok("%stepup wait")
    cell = kernel.start("%stepup audit --pool test=1,2")
    kernel.until(lambda: any(list(folder.rglob("up")) for folder in copies(kernel)))
    kernel.interrupt()
    kernel.finish(cell)
    assert not cell.is_ok
    assert "KeyboardInterrupt: audit interrupted; nothing of it is left" in cell.error
    assert "audits.py" not in cell.error
    (shown,) = cell.displays
    assert shown["text/plain"].startswith("■ audit stopped after ")
    assert copies(kernel) == []
    assert kernel.states() == {"long": "SUCCEEDED"}


def test_what_cannot_be_audited_is_refused_in_a_short_block(kernel):
    kernel.run_ok("%pool test 1\n%runsh -p test -o a.txt -- echo > a.txt")
    cell = kernel.run("%stepup audit")
    assert "An audit needs a pool. (SNB-160)" in cell.error
    assert "Traceback" not in cell.error
    assert "SNB-107" in kernel.run("%stepup audit --pol test=1,2").error
    assert "'x' is no size for a pool" in kernel.run("%stepup audit --pool test=1,x").error
    assert "There is no step 'nope'" in kernel.run("%stepup audit --pool test=1,2 nope").error
