"""Plans, Python steps, graphs and watching in a notebook, in real kernels of three lines of ipykernel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from notebook.helpers_kernel import LINES, Kernel, python_of

pytestmark = pytest.mark.kernel

PLAN = """#!/usr/bin/env python3
from stepup.core.api import pool, runsh, static
static("data.txt")
pool("two", 2)
for x in "ABC":
    runsh(f"cat data.txt; sleep 0.1; echo {x}", inp="data.txt", pool="two")
"""


@pytest.fixture(params=LINES)
def kernel(request: pytest.FixtureRequest, tmp_path) -> Iterator[Kernel]:
    kernel = Kernel(python_of(request.param), tmp_path / "nb")
    kernel.load()
    yield kernel
    kernel.close()


def write_plan(kernel: Kernel, text: str = PLAN, name: str = "plan.py") -> None:
    path = kernel.folder / name
    path.write_text(text)
    path.chmod(0o755)


def ran(kernel: Kernel) -> list[str]:
    """Return what jobs ran, over all sessions."""
    return [row["step"] for row in kernel.history()]


def test_a_plan_that_is_booted_declares_steps_of_the_notebook(kernel):
    write_plan(kernel)
    (kernel.folder / "data.txt").write_text("1\n")
    booted = kernel.run_ok("%stepup boot -n 4")
    kernel.run_ok("%stepup wait")
    rows = kernel.history()
    plan, *steps = rows
    assert plan["step"] == "runpy ./plan.py"
    assert len(steps) == 3
    third = max(steps, key=lambda row: row["started"])
    # As StepUp's documentation has it: the third only after one of the first two.
    assert third["started"] >= min(row["ended"] for row in steps)
    kernel.until(lambda: booted.record["text/plain"].startswith("4 steps: 4 succeeded"))
    assert all(f"stdout │ {x}" in booted.record["text/plain"] for x in "ABC")

    kernel.restart()
    kernel.load()
    booted = kernel.run_ok("%stepup boot -n 4")
    kernel.run_ok("%stepup wait")
    assert len(kernel.history()) == 4, "an unchanged plan runs nothing"
    # A wait has records drawn within two seconds; on a busy machine they may come later.
    kernel.until(lambda: booted.record["text/plain"].startswith("4 steps: 4 skipped"))

    (kernel.folder / "data.txt").write_text("2\n")
    kernel.run_ok("%stepup run\n%stepup wait")
    assert sorted(ran(kernel)[4:]) == sorted(row["step"] for row in steps)

    write_plan(kernel, PLAN.replace('pool("two", 2)', 'pool("two", 1)'))
    kernel.run_ok("%stepup run\n%stepup wait")
    assert ran(kernel)[7:] == ["runpy ./plan.py"], "a new pool size runs the plan, and nothing else"


def test_what_a_plan_no_longer_declares_leaves_its_record(kernel):
    write_plan(kernel)
    (kernel.folder / "data.txt").write_text("1\n")
    kernel.run_ok("%stepup boot\n%stepup wait")
    write_plan(kernel, PLAN.replace('"ABC"', '"AB"'))
    booted = kernel.run_ok("%stepup boot\n%stepup wait")
    kernel.until(lambda: booted.record["text/plain"].startswith("3 steps: 1 succeeded, 2 skipped"))


def test_a_plan_that_is_not_there_is_an_error_that_says_so(kernel):
    cell = kernel.run("%stepup boot other.py")
    assert "SNB-227" in cell.error
    assert "Traceback" not in cell.error


def test_a_python_cell_runs_by_itself_and_depends_on_the_modules_it_imports(kernel):
    (kernel.folder / "lib.py").write_text("def words():\n    return 'one'\n")
    code = "%%runpy --out a.txt --name make\nfrom lib import words\nopen('a.txt', 'w').write(words())"
    kernel.run_ok("import stepup_nb")
    kernel.run_ok(code)
    kernel.run_ok("%stepup wait")
    assert (kernel.folder / "a.txt").read_text() == "one"
    assert kernel.value("[row['inp'] for row in stepup_nb.status()['steps']]") == [["lib.py"]]
    kernel.run_ok("%stepup run\n%stepup wait")
    assert ran(kernel) == ["make"]
    (kernel.folder / "lib.py").write_text("def words():\n    return 'two'\n")
    kernel.run_ok("%stepup run\n%stepup wait")
    assert ran(kernel) == ["make", "make"]
    assert (kernel.folder / "a.txt").read_text() == "two"


def test_a_python_line_has_its_script_as_an_input(kernel):
    write_plan(kernel, "#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:])\n", "show.py")
    kernel.run_ok("h = %runpy -- ./show.py --size 3 'a b'")
    kernel.run_ok("%stepup wait")
    assert kernel.value("h.stdout") == "['--size', '3', 'a b']\n"
    assert kernel.value("h.inp") == ["show.py"]


def test_a_python_cell_that_raises_shows_its_own_traceback_alone(kernel):
    kernel.run_ok("%%runpy --name bad\ndef f():\n    raise ValueError('no')\nf()")
    cell = kernel.run("%stepup wait")
    assert "ValueError: no" in cell.error
    assert "runner.py" not in cell.error


def test_the_graph_is_a_picture_lines_or_files(kernel):
    kernel.run_ok("%runsh -o a.txt -- echo 1 > a.txt\n%runsh -i a.txt -- cat a.txt")
    kernel.run_ok("%stepup wait")
    (bundle,) = kernel.run_ok("%stepup graph").displays
    assert bundle["text/markdown"].startswith("```mermaid\n")
    assert "cat a.txt" in bundle["text/plain"]
    assert "digraph" in kernel.run_ok("%stepup graph --dot").text
    assert kernel.run_ok("%stepup graph --provenance --text").text.strip().startswith("root")
    kernel.run_ok("%stepup graph g")
    assert {path.name for path in kernel.folder.glob("g*")} == {
        "g.txt",
        "g_provenance.dot",
        "g_dependency.dot",
    }
    assert "state = BUILT" in (kernel.folder / "g.txt").read_text()


def test_while_files_are_watched_what_depends_on_a_change_runs_by_itself(kernel):
    (kernel.folder / "in.txt").write_text("1")
    kernel.run_ok("%runsh -i in.txt -o out.txt -- cp in.txt out.txt")
    kernel.run_ok("%stepup wait\n%stepup watch on")
    (kernel.folder / "in.txt").write_text("2")
    kernel.until(lambda: (kernel.folder / "out.txt").read_text() == "2")
    assert "not watching" in kernel.run_ok("%stepup watch off").text


def test_a_terminal_steers_a_notebook_whose_cell_is_busy(kernel):
    kernel.run_ok("%runsh --name one -- echo 1 > one.txt; until [ -e go ]; do sleep 0.02; done")
    kernel.until_states(one="RUNNING")
    busy = kernel.start("import pathlib, time\nwhile not pathlib.Path('free').exists(): pass")

    def stepup(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "stepup_nb", *words], cwd=kernel.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "RUNNING" in stepup("why", "one")
    stepup("drain")
    stepup("graph", "now")
    assert "step:one" in (kernel.folder / "now.txt").read_text()
    (kernel.folder / "go").touch()
    stepup("wait")
    stepup("run")
    assert "draining" not in stepup("status")
    assert stepup("log", "one") == ""
    stepup("join")
    (kernel.folder / "free").touch()
    kernel.finish(busy)
    assert kernel.run_ok("%stepup status").is_ok
    assert kernel.states() == {"one": "SKIP"}


def test_the_steps_of_a_notebook_become_a_plan_that_boots(kernel):
    kernel.run_ok(
        "%pool two 2\n%runsh -p two -o a.txt --retry 1 -- echo A > a.txt",
    )
    kernel.run_ok("%%runsh -i a.txt -o b.txt\ncat ${inp} > ${out}\necho '$$' >> b.txt")
    kernel.run_ok("%stepup wait")
    cell = kernel.run_ok("%stepup export exported.py")
    assert cell.text == (
        "wrote exported.py\n  note: --retry of 'runsh echo A > a.txt': StepUp 3 has no such option\n"
    )
    assert "SNB-170" in kernel.run("%stepup export exported.py").error
    assert kernel.value("__import__('stepup_nb').export_plan('exported4.py', stepup=4)") != []
    text = (kernel.folder / "exported.py").read_text()
    assert 'pool("two", 2)\n' in text
    assert '\'%pool two 2\'\nrunsh("echo A > a.txt", out=["a.txt"], pool="two")\n' in text
    assert 'resources="two"' in (kernel.folder / "exported4.py").read_text()
    (kernel.folder / "exported.py").rename(kernel.folder / "plan.py")
    kernel.restart()
    (kernel.folder / "nb.stepup.db").unlink()
    (kernel.folder / "b.txt").unlink()
    subprocess.run(
        [sys.executable, "-m", "stepup_nb", "boot"], cwd=kernel.folder, check=True, stdout=subprocess.DEVNULL
    )
    assert (kernel.folder / "b.txt").exists()
