"""What a user sees in a notebook, in real kernels of three lines of ipykernel.

A step that must not end yet waits for a file (`until`), so that no test depends on how fast anything is. Most
tests share one kernel a line; it is tidied up between them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from notebook.helpers_kernel import LINES, Cell, Kernel, all_dead, python_of

pytestmark = pytest.mark.kernel

TIDY = """
def tidy():
    from stepup_nb.client import current
    session = current.session()
    if not session.is_started:
        return
    session.run()
    session.resume()
    session.cancel(all=True)
    session.wait()
    while any(row["state"] == "RUNNING" for row in session.status()["steps"]):
        pass
    names = [row["name"] for row in session.status()["steps"]]
    if names:
        session.forget(*names)
    for pool in session.status()["pools"]:
        session.drop_pool(pool["name"])
    session.set_workers(4)
tidy()
"""


def until(name: str) -> str:
    """Return a command that ends when a file is there."""
    return f"until [ -e {name} ]; do sleep 0.02; done"


@pytest.fixture(scope="module", params=LINES)
def line(request: pytest.FixtureRequest) -> str:
    python_of(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def shared(line: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(python_of(line), tmp_path_factory.mktemp(line) / "nb")
    kernel.load()
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    """A kernel with the extension, no step and no pool, in an empty folder."""
    yield shared
    assert shared.is_alive, shared.log.read_text()
    for cell in shared.cells.values():
        if cell.reply is None:
            # A test has failed while it waited.
            shared.interrupt()
            shared.finish(cell)
    assert shared.run(TIDY, silent=True).is_ok
    for path in shared.folder.iterdir():
        if path.is_file() and ".stepup." not in path.name:
            path.unlink()


@pytest.fixture
def new_kernel(line: str, tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Starts kernels, by default in one folder."""
    kernels: list[Kernel] = []

    def start(name: str = "nb", **variables: str) -> Kernel:
        kernels.append(Kernel(python_of(line), tmp_path / name, **variables))
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.close()


def assert_worded(cell: Cell, code: str) -> str:
    """Check that a cell ended with a short block that has a code, and nothing of our insides; return it."""
    assert not cell.is_ok
    assert f"({code})" in cell.error
    for ours in ("Traceback", "stepup_nb/", "site-packages", "\x1b"):
        assert ours not in cell.error
    return cell.error


def rows(kernel: Kernel) -> dict[str, dict[str, Any]]:
    """Return the declared steps by the last word of their labels."""
    return {row["label"].split()[-1]: row for row in kernel.status()["steps"] if not row["dormant"]}


# --- loading --------------------------------------------------------------------------------------


def test_loading_starts_nothing(new_kernel):
    kernel = new_kernel()
    threads = kernel.value("[t.name for t in __import__('threading').enumerate()]")
    kernel.load()
    assert kernel.run_ok("1 + 1", cell="a").results == [{"text/plain": "2"}]
    assert kernel.descendants() == []
    assert kernel.value("[t.name for t in __import__('threading').enumerate()]") == threads
    assert os.listdir(kernel.folder) == []


def test_a_cell_that_loads_the_extension_may_go_on_and_declare(new_kernel):
    kernel = new_kernel()
    cell = kernel.run_ok("%load_ext stepup_nb\n%runsh echo A\n%stepup wait", cell="a")
    kernel.until(lambda: "SUCCEEDED  runsh echo A" in cell.record["text/plain"])
    assert rows(kernel)["A"]["cell"] == "cell [1] '%load_ext stepup_nb'"
    kernel.run_ok("1", cell="a")
    assert rows(kernel) == {}


def test_unloading_ends_the_director_and_loading_begins_anew(new_kernel):
    kernel = new_kernel()
    kernel.load()
    kernel.run_ok(f"%runsh -o a.txt -- echo A > a.txt\n%runsh {until('never')}")
    kernel.until_states(**{"a.txt": "SUCCEEDED", "done": "RUNNING"})
    processes = kernel.descendants()
    assert kernel.run_ok("%unload_ext stepup_nb").text == ""
    kernel.until(lambda: all_dead(processes))
    assert not kernel.run("%pool").is_ok
    assert kernel.run("import stepup_nb; stepup_nb.status()").error.count("SNB-201") == 1
    kernel.load()
    cell = kernel.run_ok("%runsh -o a.txt -- echo A > a.txt\n%stepup wait")
    assert "SKIP" in cell.record["text/plain"]


def test_reloading_keeps_the_session(new_kernel):
    kernel = new_kernel()
    kernel.load()
    cell = kernel.run_ok(f"h = %runsh {until('go')}; echo A", cell="a")
    kernel.until_states(A="RUNNING")
    director = kernel.status()["director_pid"]
    kernel.run_ok("%reload_ext stepup_nb")
    assert kernel.status()["director_pid"] == director
    (kernel.folder / "go").touch()
    kernel.run_ok("h.wait()")
    kernel.until(lambda: "SUCCEEDED" in cell.record["text/plain"])
    hooks = "len([f for f in get_ipython().events.callbacks['pre_run_cell'] if 'stepup' in f.__module__])"
    assert kernel.value(hooks) == 2  # that of the cells, and that of the wait


# --- steps in the background, records -------------------------------------------------------------


PATIENT = "from stepup_nb.notebook.publisher import Publisher; Publisher.flush.__defaults__ = (None, 100.0)"
"""Has whoever waits wait for what is shown as long as it takes, as long as a busy machine may need for it."""


def test_cells_return_while_their_steps_run(kernel):
    kernel.run_ok(PATIENT)
    kernel.run_ok("%pool test 2")
    first = kernel.run_ok(
        f"%%runsh --pool test --out a.txt\n{until('go')}\necho A > a.txt; echo made A", cell="a"
    )
    second = kernel.run_ok(
        f"from stepup_nb.api import runsh\nfor x in 'BCD':\n    runsh('{until('go')}; echo ' + x, pool='test')",
        cell="b",
    )
    kernel.until_states(A="RUNNING", B="RUNNING", C="QUEUED", D="QUEUED")
    kernel.until(lambda: "2 queued" in second.record["text/plain"])
    assert "waits for a slot in pool 'test'" in second.record["text/plain"]
    assert "● RUNNING" in first.record["text/plain"]
    (kernel.folder / "go").touch()
    kernel.run_ok("%stepup wait", cell="c")
    # The last update is out when the wait returns.
    assert first.record["text/plain"].startswith("1 step: 1 succeeded")
    assert "made A" in first.record["text/plain"]
    assert second.record["text/plain"].startswith("3 steps: 3 succeeded")


def test_a_record_is_html_and_text_and_what_steps_print_is_never_markup(kernel):
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    cell = kernel.run_ok(
        f"%%runsh --name '<b>bold</b>'\nprintf '%s\\n' '{hostile}'\nprintf '\\033]0;title\\007\\033[31mred\\033[0m\\n'"
    )
    kernel.run_ok("%stepup wait")
    assert set(cell.record) == {"text/html", "text/plain"}
    html = cell.record["text/html"]
    assert "&lt;script&gt;alert(2)" in html and "&lt;b&gt;bold&lt;/b&gt;" in html
    assert not re.search(r"<(img|script|b>bold)|onerror=alert\(1\)>", html)
    assert "\x1b" not in html and "\x1b" not in cell.record["text/plain"]
    assert "red" in html


def test_a_record_says_why_a_step_waits_before_it_can_run(kernel):
    kernel.run_ok("%pool test 1")
    cell = kernel.run_ok("%runsh --pool tset echo A")
    assert "pool 'tset' is not defined; did you mean 'test'?" in cell.record["text/plain"]
    kernel.run_ok("%pool tset 1\n%stepup wait")
    assert "SUCCEEDED" in cell.record["text/plain"] and "not defined" not in cell.record["text/plain"]


def test_updates_keep_within_their_budget(kernel):
    """JupyterLab drops messages above a rate, and a burst of them freezes the page."""
    kernel.run_ok("%pool test 4")
    kernel.run_ok("from stepup_nb.api import runsh")
    before = len(kernel.updates)
    cells = [
        kernel.run_ok(f"for i in range(10): runsh(f'sleep 0.1; echo {n} {{i}}', pool='test')", cell=f"c{n}")
        for n in range(8)
    ]
    kernel.until(
        lambda: sum(kernel.status()["counts"].values()) == kernel.status()["counts"].get("SUCCEEDED")
    )
    burst = kernel.updates[before:]
    assert burst
    for moment, _ in burst:
        second = [id for when, id in burst if moment <= when < moment + 0.99]
        assert len(second) <= 10
        assert max(second.count(id) for id in second) <= 2
    kernel.run_ok("%stepup wait")
    assert all("10 succeeded" in cell.record["text/plain"] for cell in cells)


def test_what_a_later_cell_shows_is_its_own(kernel):
    kernel.run_ok(
        f"%runsh {until('go')}; for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done; echo A", cell="a"
    )
    later = kernel.start(
        "import pathlib, time\npathlib.Path('go').touch()\n"
        "while __import__('stepup_nb').status()['counts'].get('SUCCEEDED') != 1: time.sleep(0.02)",
        cell="b",
    )
    kernel.finish(later)
    assert later.is_ok and later.outputs == []


def test_threads_of_a_cell_show_nothing_in_another(kernel):
    kernel.run_ok(
        "import threading\nfrom stepup_nb.api import runsh\ngo = threading.Event()\n"
        "thread = threading.Thread(target=lambda: (go.wait(), runsh('echo A')))\nthread.start()",
        cell="a",
    )
    later = kernel.run_ok("go.set(); thread.join()", cell="b")
    assert later.outputs == []
    kernel.until_states(A="SUCCEEDED")
    kernel.run_ok("1", cell="b")
    # The session's own scope retires nothing.
    assert list(rows(kernel)) == ["A"]


def test_steps_that_a_cells_thread_declares_in_its_context_are_in_its_record(kernel):
    cell = kernel.run_ok(
        "import asyncio\nfrom stepup_nb.api import runsh\nawait asyncio.to_thread(runsh, 'echo A')\n%stepup wait",
        cell="a",
    )
    assert "SUCCEEDED  runsh echo A" in cell.record["text/plain"]


def test_capture_hides_a_record_and_disturbs_no_other(kernel):
    cell = kernel.run_ok(f"%runsh {until('go')}; echo A", cell="a")
    captured = kernel.start(
        "%%capture out\n%runsh echo B\nimport pathlib, time\npathlib.Path('go').touch()\n"
        "while __import__('stepup_nb').status()['counts'].get('SUCCEEDED') != 2: time.sleep(0.02)\n%stepup wait",
        cell="b",
    )
    kernel.finish(captured)
    assert captured.is_ok and captured.displays == []
    assert "1 succeeded" in cell.record["text/plain"]


def test_a_pool_of_two_runs_two_at_a_time_and_another_size_runs_nothing_again(kernel):
    jobs = len(kernel.history())
    kernel.run_ok("%pool test 2\n%stepup workers 8", cell="p")
    code = "for i in range(10):\n    %runsh -p test -o {i}.txt -- sleep 0.05; echo {i} > {i}.txt"
    kernel.run_ok(code, cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    ran = kernel.history()[jobs:]
    moments = [row["started"] for row in ran]
    assert max(sum(row["started"] <= moment < row["ended"] for row in ran) for moment in moments) == 2
    assert {tuple(row["slots"]["test"]) for row in ran} == {(0,), (1,)}
    kernel.run_ok("%pool test 5", cell="p")
    again = kernel.run_ok(code, cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    assert len(kernel.history()) == jobs + len(ran) == jobs + 10
    kernel.until(lambda: "10 skipped" in again.record["text/plain"])


def test_an_edited_input_runs_its_dependents_and_no_others(kernel):
    (kernel.folder / "in.txt").write_text("b\na\n")
    code = (
        "h = %runsh -i in.txt -o sorted.txt -- sort in.txt > sorted.txt\n"
        "h = %runsh -i sorted.txt -o first.txt -- head -1 sorted.txt > first.txt\n"
        "h = %runsh -o other.txt -- echo > other.txt\n%stepup wait"
    )
    kernel.run_ok(code, cell="a")
    jobs = len(kernel.history())
    (kernel.folder / "in.txt").write_text("a\nb\n")
    kernel.run_ok("%stepup wait", cell="w")
    # What it makes is the same again, so that its consumer has nothing to do.
    (row,) = kernel.history()[jobs:]
    assert "sort in.txt" in row["step"]
    assert "SKIP" in kernel.states()["runsh head -1 sorted.txt > first.txt"]


def test_a_handle_is_shown_once(kernel):
    declaring = kernel.run_ok("%runsh echo A", cell="a")
    assert declaring.results == [] and len(declaring.displays) == 1
    assert kernel.run_ok("%runsh echo A2;", cell="a2").results == []
    kernel.run_ok("%stepup wait", cell="b")
    later = kernel.run_ok("_1 if False else Out and list(Out.values())[-1]", cell="c")
    assert "SUCCEEDED  runsh echo A" in later.displays[0]["text/plain"]


def test_braces_and_quotes_of_the_shell_that_are_no_python_do_not_fail_a_cell(kernel):
    # The step was declared, and then the cell ended with a TokenError of IPython's.
    for command, said in (("echo ${#A}", "0"), ("echo }", "}"), (r"echo it\'s (", ""), ("echo [;", "[")):
        cell = kernel.run_ok(f"h = %runsh --name x -- {command}\n%stepup wait --no-raise", cell="a")
        assert said in cell.record["text/plain"]
    assert kernel.run_ok("%runsh echo (;", cell="a").results == []


def test_records_can_be_switched_off(kernel):
    kernel.run_ok("%config StepUp.records = False")
    assert kernel.run_ok("h = %runsh echo A", cell="a").displays == []
    kernel.run_ok("%config StepUp.records = True")
    assert len(kernel.run_ok("h = %runsh echo A", cell="a").displays) == 1


def test_a_step_that_is_forgotten_is_shown_as_such(kernel):
    cell = kernel.run_ok("%runsh echo A", cell="a")
    kernel.run_ok("%stepup wait", cell="b")
    kernel.run_ok("%stepup forget A", cell="b")
    kernel.until(lambda: "DELETED" in cell.record["text/plain"])


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["%stepup wait", "for _ in 'a':\n    %stepup wait", "%%time\n%stepup wait"])
def test_an_interrupt_ends_the_wait_and_no_step(kernel, code):
    declared = kernel.run_ok(f"%runsh {until('go')}; echo A", cell="a")
    kernel.until_states(A="RUNNING")
    waiting = kernel.start(code, cell="b")
    kernel.until(lambda: any("1 running" in shown["text/plain"] for shown in waiting.displays))
    kernel.interrupt()
    kernel.finish(waiting)
    # The %%time of IPython 8 shows what its body raised, and ends well all the same.
    assert waiting.reply.get("ename", "KeyboardInterrupt") == "KeyboardInterrupt"
    assert waiting.error == "KeyboardInterrupt: wait interrupted; steps keep running"
    assert "■ stopped waiting" in waiting.displays[0]["text/plain"]
    assert kernel.states() == {f"runsh {until('go')}; echo A": "RUNNING"}
    again = kernel.start(code, cell="b")
    (kernel.folder / "go").touch()
    assert kernel.finish(again).is_ok
    kernel.until(lambda: "1 succeeded" in declared.record["text/plain"])


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    %stepup wait\nf()",
        "for _ in range(2):\n    %stepup wait",
        "if True:\n    %stepup wait",
        "%%time\n%stepup wait",
        "r = %stepup wait\nassert r is None",
        "%stepup wait echo --timeout 60",
        "import stepup_nb\nawait stepup_nb.wait()",
        "await h",
        "h.wait()",
        "get_ipython().run_cell('%stepup wait')",
    ],
)
def test_a_wait_can_stand_anywhere(kernel, code):
    kernel.run_ok(PATIENT)
    declared = kernel.run_ok("h = %runsh echo A", cell="a")
    assert kernel.run_ok(code, cell="b").is_ok
    assert kernel.value("h.state") == "SUCCEEDED"
    if "await h" not in code and "h.wait" not in code:
        assert "1 succeeded" in declared.record["text/plain"]
    kernel.until(lambda: "1 succeeded" in declared.record["text/plain"])


def test_a_wait_shows_how_far_it_is_and_in_the_end_one_calm_line(kernel):
    kernel.run_ok("%pool test 1")
    kernel.run_ok(f"for x in 'ABC':\n    %runsh -p test {until('go')}; echo {{x}}", cell="a")
    waiting = kernel.start("%stepup wait", cell="b")
    kernel.until(lambda: bool(waiting.displays))
    kernel.until(lambda: "test 1/1" in waiting.displays[0]["text/plain"])
    assert re.match(
        r"… 0 of 3 steps done · 1 running, 2 queued · test 1/1 · \d", waiting.displays[0]["text/plain"]
    )
    (kernel.folder / "go").touch()
    kernel.finish(waiting)
    assert re.fullmatch(r"✓ 3 succeeded; waited [\d.]+ s", waiting.displays[0]["text/plain"])
    again = kernel.run_ok("for x in 'ABC':\n    %runsh -o {x} -- echo > {x}\n%stepup wait", cell="c")
    again = kernel.run_ok("for x in 'ABC':\n    %runsh -o {x} -- echo > {x}\n%stepup wait", cell="c")
    assert again.displays[-1]["text/plain"].startswith("✓ 3 succeeded, 3 up to date; waited")


def test_a_failed_wait_is_a_short_block(kernel):
    kernel.run_ok(
        "%runsh --name bad -- echo oops >&2; printf '\\033[31mred\\033[0m\\r' >&2; exit 3", cell="a"
    )
    kernel.run_ok("%runsh -i b.txt -- cat b.txt", cell="b")
    words = assert_worded(kernel.run("%stepup wait", cell="c"), "SNB-601")
    lines = words.splitlines()
    assert re.fullmatch(r"    declared in cell \[\d+\] '%runsh --name bad -- echo oops.*'", lines.pop(2))
    assert lines == [
        "StepsFailed: 1 step did not succeed and 1 step cannot run. (SNB-601)",
        "bad: failed, exit code 3",
        "    | oops",
        "    | red",
        f"    log: {kernel.folder}/.stepup/nb/logs/{kernel.history()[-1]['job']}.err",
        "1 step cannot run: input 'b.txt' is missing, and no step builds it",
        "    runsh cat b.txt",
    ]
    assert Path(words.split("log: ")[1].splitlines()[0]).read_text().startswith("oops\n")
    quiet = kernel.run_ok("%stepup wait --no-raise", cell="c")
    assert "bad: failed, exit code 3" in quiet.text


def test_a_wait_for_one_step_does_not_mind_the_others(kernel):
    kernel.run_ok(f"%runsh {until('never')}; echo A\n%runsh exit 1\ngood = %runsh echo B", cell="a")
    kernel.run_ok("%stepup wait 'echo B'", cell="b")
    kernel.run_ok("good.wait()", cell="b")


def test_the_end_of_a_waits_time_is_no_end_of_the_steps(kernel):
    kernel.run_ok(f"%runsh {until('go')}; echo A", cell="a")
    words = assert_worded(kernel.run("%stepup wait --timeout 0.1", cell="b"), "SNB-602")
    assert words == "TimeoutError: the time is over, the steps go on: 1 running (SNB-602)"
    assert kernel.run(
        "h = 1\ntry:\n    %stepup wait --timeout 0.1\nexcept TimeoutError:\n    h = 2", cell="b"
    ).is_ok
    assert kernel.value("h") == 2
    assert list(kernel.states().values()) == ["RUNNING"]


# --- the notebook is the plan ---------------------------------------------------------------------


def test_after_a_restart_run_all_runs_nothing_and_shows_what_was_recorded(new_kernel):
    kernel = new_kernel()
    cells = [
        ("l", "%load_ext stepup_nb"),
        ("p", "%pool test 2"),
        ("a", "%%runsh --pool test --out a.txt\necho A > a.txt; echo made A"),
        (
            "b",
            "from stepup_nb.api import runsh\nfor i in range(20):\n"
            "    runsh(f'echo {i} | tee {i}.out', out=f'{i}.out', pool='test')",
        ),
        ("c", "h = %runsh -i a.txt -o c.txt -- cp a.txt c.txt; echo copied"),
        ("n", "%runsh echo nothing declared"),
        ("w", "%stepup wait"),
    ]  # fmt: skip
    for id, code in cells:
        kernel.run_ok(code, cell=id)
    jobs = len(kernel.history())
    assert jobs == 23
    kernel.restart()
    again = {id: kernel.run_ok(code, cell=id) for id, code in cells}
    assert len(kernel.history()) == jobs
    assert set(kernel.states().values()) == {"SKIP"}
    shown = {
        "a": "made A",
        "b": "20 skipped",
        "c": "copied",
        "n": "nothing declared to compare; --force runs it again",
    }
    kernel.until(lambda: all(words in again[id].record["text/plain"] for id, words in shown.items()))
    assert "✓ 23 up to date" in again["w"].displays[0]["text/plain"]
    # Removing the database forgets everything, and loses no output.
    kernel.shut_down()
    for path in kernel.folder.glob("nb.stepup.db*"):
        path.unlink()
    kernel.start_kernel()
    for id, code in cells:
        kernel.run_ok(code, cell=id)
    assert set(kernel.states().values()) == {"SUCCEEDED"}


def test_an_edited_cell_replaces_its_running_step(kernel):
    kernel.run_ok(f"%%runsh --out a.txt\n{until('never')}; echo 1", cell="a")
    kernel.until_states(**{"1": "RUNNING"})
    before = len(kernel.history())
    kernel.run_ok("%%runsh --out a.txt\necho 2 > a.txt; echo new", cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    old, new = kernel.history()[before - 1 :]
    assert (old["outcome"], new["outcome"]) == ("cancelled", "succeeded")
    assert old["ended"] <= new["started"]
    assert list(rows(kernel)) == ["new"]
    assert (kernel.folder / "a.txt").read_text() == "2\n"


def test_a_cell_that_is_run_again_unchanged_attaches_to_its_running_step(kernel):
    code = f"%runsh {until('go')}; echo A"
    kernel.run_ok(code, cell="a")
    kernel.until_states(A="RUNNING")
    jobs = len(kernel.history())
    again = kernel.run_ok(code, cell="a")
    (kernel.folder / "go").touch()
    kernel.run_ok("%stepup wait", cell="w")
    assert len(kernel.history()) == jobs
    assert "1 succeeded" in again.record["text/plain"]


def test_a_loop_runs_as_often_as_it_says_and_a_shorter_one_retires_the_tail(kernel):
    jobs = len(kernel.history())
    kernel.run_ok("for _ in range(5):\n    %runsh echo A", cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    assert len(kernel.history()) == jobs + 5
    kernel.run_ok("for _ in range(3):\n    %runsh echo A", cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    assert len(kernel.history()) == jobs + 5
    assert list(kernel.states()) == ["runsh echo A", "runsh echo A (2)", "runsh echo A (3)"]


def test_an_equal_cell_elsewhere_adopts_with_outputs_and_is_a_twin_without(kernel):
    for id in "ab":
        kernel.run_ok("%runsh -o a.txt -- echo A > a.txt", cell=f"{id}1")
        kernel.run_ok("%runsh echo B", cell=f"{id}2")
    kernel.run_ok("%stepup wait", cell="w")
    assert sorted(kernel.states()) == ["runsh echo A > a.txt", "runsh echo B", "runsh echo B (2)"]


def test_a_deleted_cell_retires_its_steps(kernel):
    kernel.run_ok(f"%runsh -o a.txt -- {until('never')}", cell="a")
    kernel.run_ok("%runsh echo B", cell="b")
    kernel.run_ok("1 + 1", cell="c", deleted=["a"])
    kernel.until(lambda: kernel.states() == {"runsh echo B": "SUCCEEDED"})
    kernel.run_ok("%runsh -o a.txt -- echo other > a.txt", cell="d")
    kernel.run_ok("%stepup wait", cell="w")


def test_a_cell_that_raises_retires_nothing_more(kernel):
    kernel.run_ok("%runsh echo A\n%runsh echo B", cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    assert not kernel.run("%runsh echo A\n1 / 0\n%runsh echo B", cell="a").is_ok
    assert sorted(rows(kernel)) == ["A", "B"]
    assert not kernel.run("def f(:\n  pass", cell="a").is_ok
    assert sorted(rows(kernel)) == ["A", "B"]
    kernel.run_ok("%runsh echo A", cell="a")
    assert sorted(rows(kernel)) == ["A"]


def test_a_task_declares_for_the_cell_that_started_it(kernel):
    kernel.run_ok(
        "import asyncio\nfrom stepup_nb.api import runsh\ngo = asyncio.Event()\n"
        "async def later():\n    await go.wait()\n    runsh('echo A')\ntask = asyncio.create_task(later())",
        cell="a",
    )
    kernel.run_ok("go.set()\nawait task\nrunsh('echo B')", cell="b")
    kernel.run_ok("%stepup wait", cell="w")
    found = rows(kernel)
    assert "'import asyncio'" in found["A"]["cell"] and "'go.set()'" in found["B"]["cell"]
    kernel.run_ok("1", cell="a")
    assert list(rows(kernel)) == ["B"]


def test_an_async_cell_declares_for_itself(kernel):
    kernel.run_ok(
        "import asyncio\nfrom stepup_nb.api import runsh\nrunsh('echo A')\nawait asyncio.sleep(0)\nrunsh('echo B')",
        cell="a",
    )
    kernel.run_ok("%runsh echo C", cell="b")
    assert [row["cell"].partition(" ")[2].partition(" ")[2] for row in rows(kernel).values()] == [
        "'import asyncio'", "'import asyncio'", "'%runsh echo C'",
    ]  # fmt: skip


def test_text_that_a_cell_runs_is_a_part_of_the_cell(kernel):
    code = "get_ipython().run_cell('%runsh echo A')\nget_ipython().run_cell('')\n%runsh echo B"
    cell = kernel.run_ok(code, cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    assert {row["cell"] for row in rows(kernel).values()} == {rows(kernel)["A"]["cell"]}
    kernel.until(lambda: "2 succeeded" in cell.record["text/plain"])
    kernel.run_ok("%runsh echo B", cell="a")
    assert list(rows(kernel)) == ["B"]


def test_the_title_of_a_cell_has_the_number_that_the_user_sees(kernel):
    cell = kernel.run_ok("\n  %runsh echo A", cell="a")
    assert rows(kernel)["A"]["cell"] == f"cell [{cell.reply['execution_count']}] '%runsh echo A'"


def test_a_silent_request_declares_for_the_session(kernel):
    cell = kernel.run("get_ipython().run_line_magic('runsh', 'echo A')", silent=True)
    assert cell.outputs == []
    kernel.until_states(A="SUCCEEDED")
    assert rows(kernel)["A"]["cell"] == ""


# --- options --------------------------------------------------------------------------------------


def test_var_binds_the_handle(kernel):
    kernel.run_ok("%%runsh --var made --wait\necho A")
    assert kernel.value("[made.state, made.stdout, made.returncode]") == ["SUCCEEDED", "A\n", 0]
    kernel.run_ok("h = %runsh --wait echo B")
    assert kernel.value("h.stdout") == "B\n"


def test_quiet_shows_no_record_of_that_step(kernel):
    assert kernel.run_ok("h = %runsh --quiet echo A", cell="a").displays == []
    both = kernel.run_ok("h = %runsh --quiet echo A\ng = %runsh echo B", cell="a")
    assert "1 step:" in both.record["text/plain"]


def test_a_failing_step_that_is_waited_for_is_told_in_its_cell(kernel):
    assert "exit code 5" in assert_worded(kernel.run("%%runsh --wait\nexit 5"), "SNB-601")


def test_expressions_are_expanded_on_the_line_and_in_the_body_only_when_asked(kernel):
    kernel.run_ok("word, number = 'hello', 3")
    cell = kernel.run_ok(
        "%%runsh --out {word}.txt --expand --wait\necho {word} {number + 1} ${HOME:+home} > ${out}"
    )
    assert (kernel.folder / "hello.txt").read_text() == "hello 4 home\n", cell.record["text/plain"]
    kernel.run_ok("%%runsh --out b.txt --wait\necho {word} > b.txt")
    assert (kernel.folder / "b.txt").read_text() == "{word}\n"
    kernel.run_ok(
        "def f(inner):\n    return get_ipython().run_line_magic('runsh', '--wait echo {inner}')\n", cell="f"
    )
    kernel.run_ok(
        "def g(inner):\n    h = %runsh --wait echo {inner} {word}\n    return h\ng('local').stdout", cell="g"
    )
    assert kernel.value("g('local').stdout") == "local hello\n"


def test_a_script_fails_at_its_first_failing_line(kernel):
    assert not kernel.run("%%runsh --wait\nfalse | true\necho A > a.txt").is_ok
    assert not (kernel.folder / "a.txt").exists()


def test_the_environment_is_that_of_the_declaration(kernel):
    kernel.run_ok(
        "%env MODE=fast\nh = %runsh --env MODE -o a.txt -- echo $MODE > a.txt\n%stepup wait", cell="a"
    )
    kernel.run_ok(
        "%env MODE=slow\nh = %runsh --env MODE -o a.txt -- echo $MODE > a.txt\n%stepup wait", cell="a"
    )
    assert (kernel.folder / "a.txt").read_text() == "slow\n"
    assert kernel.value("h.why()") == ["environment variable MODE changed"]


def test_settings_count_at_once(kernel):
    kernel.run_ok("%pool test 9")
    kernel.run_ok("%config StepUp.workers = 3")
    assert kernel.status()["workers"] == 3
    outside = kernel.folder.parent / "outside.txt"
    code = f"h = %runsh --wait -o {outside} -- echo A > {outside}"
    assert_worded(kernel.run(code), "SNB-103")
    kernel.run_ok("%config StepUp.outside = True")
    kernel.run_ok(code)
    assert outside.read_text() == "A\n"
    kernel.run_ok("%config StepUp.outside = False")
    assert "should not be less than 1" in kernel.run("%config StepUp.workers = 0").text
    assert kernel.status()["workers"] == 3
    kernel.run_ok("%config StepUp.workers = None")


def test_python_steps_are_started_afresh_or_not_as_the_settings_say(kernel):
    def those_that_wait():
        director = psutil.Process(kernel.status()["director_pid"])
        names = (Path(f"/proc/{child.pid}/comm") for child in director.children())
        return [name for name in names if name.exists() and name.read_text() == "stepup-warm\n"]

    code = "from stepup_nb.api import runpy\nfor n in range(5): runpy(f'./s.py {n}', name=f'%s{n}')\n%%stepup wait"
    (kernel.folder / "s.py").write_text("#!/usr/bin/env python3\n")
    (kernel.folder / "s.py").chmod(0o755)
    kernel.run_ok("%config StepUp.warm = False")
    kernel.run_ok(code % "a")
    assert those_that_wait() == []
    kernel.run_ok("%config StepUp.warm = True")
    kernel.run_ok(code % "b")
    kernel.until(lambda: bool(those_that_wait()))
    kernel.run_ok("%config StepUp.warm = False")
    kernel.until(lambda: not those_that_wait())
    kernel.run_ok("%config StepUp.warm = True")


# --- what is asked --------------------------------------------------------------------------------


def test_pool_defines_resizes_and_lists(kernel):
    assert "No pools." in kernel.run_ok("%pool").displays[0]["text/plain"]
    shown = {"2": "0 of 2 slots in use", "none": "0 slots in use, no limit", "0": "closed"}
    for size, words in shown.items():
        line = kernel.run_ok(f"%pool test {size}").displays[0]
        assert line["text/plain"] == f"pool test: {words}, 0 waiting"
        assert f">pool test: {words}, 0 waiting</div>" in line["text/html"]
    assert kernel.run_ok("%pool test").text == "pool test: closed, 0 waiting\n"
    kernel.run_ok("%pool gpu 2 --tokens a,b")
    table = kernel.run_ok("%pool").displays[0]
    assert table["text/plain"].splitlines() == [
        "pool  slots   in use  waiting  remarks",
        "test  closed  0       0",
        "gpu   2       0       0        tokens a, b",
    ]
    assert "<table" in table["text/html"]
    assert kernel.run_ok("%pool test --drop").text == "pool test: dropped\n"
    assert [pool["name"] for pool in kernel.status()["pools"]] == ["gpu"]


def test_another_size_in_another_cell_is_remarked(kernel):
    earlier = kernel.run_ok("%pool test 2", cell="a")
    later = kernel.run_ok("%pool test 3", cell="b").text
    assert "had 2 slots by cell [" in later and "the one executed last counts: 3 slots" in later
    kernel.until(lambda: "3 slots now, by cell [" in earlier.displays[0]["text/plain"])
    said = kernel.run_ok("from stepup_nb.api import pool\npool('test', 4)", cell="c").text
    assert "had 3 slots by cell [" in said


def panel_of(kernel):
    """Return the id by which the panel that was opened last is spoken to."""
    opened = [
        each for each in kernel.comms if each["data"].get("state", {}).get("_model_module") == "anywidget"
    ]
    return opened[-1]["comm_id"]


def test_the_panel_tells_what_is_and_hears_clicks_while_a_cell_waits(kernel):
    kernel_version = kernel.value("__import__('ipykernel').version_info[:2]")
    kernel.run_ok("%runsh --name nap -- sleep 1000", cell="a")
    shown = kernel.run_ok("%stepup panel", cell="p")
    panel = panel_of(kernel)
    assert shown.displays[0]["application/vnd.jupyter.widget-view+json"]["model_id"] == panel
    kernel.say(panel, {"kind": "hello"})
    kernel.until(lambda: any(each["kind"] == "snapshot" for each in kernel.said(panel)))
    waiting = kernel.start("%stepup wait --no-raise", cell="w")
    kernel.until(lambda: waiting.displays != [])
    if kernel_version == [7, 3]:
        # It hears clicks during a wait in subshells only, which a browser has and this client has not.
        kernel.interrupt()
        kernel.finish(waiting)
    kernel.say(panel, {"kind": "act", "id": 1, "verb": "cancel", "step": "nap"})
    kernel.until(lambda: any(each.get("answers") for each in kernel.said(panel)))
    answers = [answer for each in kernel.said(panel) for answer in each.get("answers", ())]
    assert answers == [{"id": 1, "words": ""}]
    kernel.finish(waiting)
    kernel.until_states(nap="CANCELLED")
    told = [each["seq"] for each in kernel.said(panel) if "seq" in each]
    assert told == list(range(1, len(told) + 1))


def test_the_panel_has_a_picture_and_freezes_into_it(kernel):
    kernel.run_ok("%pool test 1\n%runsh --pool test -- echo hello\n%stepup freeze", cell="a")
    shown = kernel.run_ok("%stepup panel", cell="p")
    assert set(shown.displays[0]) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    kernel.run_ok("%stepup wait", cell="w")
    assert kernel.run_ok("%stepup freeze", cell="f").text == "turned 1 panel into pictures\n"
    picture = shown.displays[0]
    assert set(picture) == {"text/html", "text/plain"}
    _, pool, timeline = picture["text/plain"].splitlines()
    assert pool == "pool test: 0 of 1 slot in use, 0 waiting" and re.fullmatch(r"\d+ jobs? in .*", timeline)
    assert "<svg" in picture["text/html"] and "<title>runsh echo hello: succeeded" in picture["text/html"]
    assert kernel.run_ok("%stepup freeze", cell="f").text == "no panel is shown\n"
    kernel.run_ok("%stepup panel", cell="p")


def test_where_nobody_watches_the_panel_is_a_picture_that_each_wait_brings_up_to_date(kernel):
    shown = kernel.run_ok("%stepup panel")
    assert set(shown.displays[0]) == {"text/html", "text/plain"}
    kernel.run_ok("%pool watched 3\n%runsh --pool watched -- echo hello")
    kernel.run_ok("%stepup wait")
    assert "pool watched: 0 of 3 slots in use" in shown.displays[0]["text/plain"]


def test_status_why_log_and_history_say_what_was(kernel):
    (kernel.folder / "in.txt").write_text("1")
    code = "%runsh --name cut -i in.txt -o out.txt -- cp in.txt out.txt; echo done; echo hm >&2"
    kernel.run_ok(code, cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    table = kernel.run_ok("%stepup status").displays[0]["text/plain"]
    assert re.search(r"^SUCCEEDED +cut +[\d.]+ s$", table, re.MULTILINE)
    assert kernel.run_ok("%stepup why cut").text == "cut: SUCCEEDED\n  ran because it never ran before\n"
    (kernel.folder / "in.txt").write_text("2")
    kernel.run_ok("%stepup wait", cell="w")
    assert "ran because input 'in.txt' changed" in kernel.run_ok("%stepup status").displays[0]["text/plain"]
    kernel.run_ok(code, cell="a")
    kernel.run_ok("%stepup wait", cell="w")
    assert "SKIP" in kernel.run_ok("%stepup status").displays[0]["text/plain"]
    assert kernel.run_ok("%stepup why cut").text.splitlines() == [
        "cut: SUCCEEDED",
        "  ran because input 'in.txt' changed",
    ]
    assert kernel.run_ok("%stepup log cut").text == "── stdout of cut\ndone\n── stderr of cut\nhm\n"
    shown = kernel.run_ok("%stepup history").displays[0]["text/plain"].splitlines()
    assert shown[0].split()[:3] == ["job", "outcome", "start"]
    assert any(line.endswith("cut") for line in shown)
    assert set(json.loads(kernel.run_ok("%stepup status --json").text)) == set(kernel.status())


def test_the_verbs_do_what_they_say(kernel):
    kernel.run_ok(f"%runsh {until('go')}; echo A\n%runsh --block echo B\n%runsh exit 1", cell="a")
    kernel.until_states(A="RUNNING", B="PENDING", **{"1": "FAILED"})
    assert kernel.run_ok("%stepup workers 2").text == "2 workers\n"
    assert kernel.run_ok("%stepup workers").text == "2 workers\n"
    assert "nothing new starts" in kernel.run_ok("%stepup pause").text
    assert kernel.run_ok("%stepup rerun --failed").text == "1 step to run again\n"
    kernel.until_states(**{"1": "QUEUED"})
    kernel.run_ok("%stepup resume")
    kernel.until_states(**{"1": "FAILED"})
    assert kernel.run_ok("%stepup cancel A").text == "cancelled 1 step\n"
    kernel.until_states(A="CANCELLED")
    assert kernel.run_ok("%stepup forget B").text == "forgot 1 step\n"
    assert "draining" in kernel.run_ok("%stepup drain").text
    kernel.run_ok("%runsh echo C", cell="c")
    kernel.until_states(C="QUEUED")
    kernel.run_ok("%stepup run")
    kernel.until_states(C="SUCCEEDED")
    kernel.run_ok("%runsh -o d.txt -- echo D > d.txt\n%stepup wait d.txt", cell="d")
    kernel.run_ok("1", cell="d")
    assert kernel.run_ok("%stepup clean --dry-run").text == "would remove d.txt\n"
    assert kernel.run_ok("%stepup clean").text == "removed d.txt\n"
    assert kernel.run_ok("%stepup clean").text == "no outdated outputs\n"
    assert "given by STEPUP_NB_NOTEBOOK" in kernel.run_ok("%stepup notebook").text
    assert_worded(kernel.run("%stepup notebook other.ipynb"), "SNB-208")
    assert "ipykernel" in kernel.run_ok("%stepup doctor").displays[0]["text/plain"]
    assert "trouble" not in kernel.run_ok("%stepup doctor").displays[0]["text/plain"]
    assert "%stepup rerun STEP" in kernel.run_ok("%stepup").displays[0]["text/plain"]
    assert kernel.run_ok("%stepup cancel --all").text == "cancelled 0 steps\n"


@pytest.mark.parametrize("magic", ["%runsh", "%%runsh"])
def test_help_shows_every_option_and_an_example(kernel, magic):
    words = kernel.help(magic)
    for flag in kernel.value(
        "[f for o in __import__('stepup_nb.notebook.magics', fromlist=['x']).CELL_OPTIONS for f in o.flags]"
    ):
        assert flag in words
    assert "%runsh -p test -i a.txt -o b.txt -- sort a.txt > b.txt" in words
    assert "{expr}" in words and "${inp}" in words


def test_help_of_stepup_and_pool_has_examples(kernel):
    assert "%stepup rerun cut" in kernel.help("%stepup") and "%stepup clean [--dry-run]" in kernel.help(
        "%stepup"
    )
    assert "%pool gpu 2 --tokens 0,1" in kernel.help("%pool")


def test_tab_offers_what_may_stand_there_and_nothing_else(kernel):
    kernel.run_ok("%pool test 2\n%pool team 1")
    kernel.run_ok("%runsh --name cut echo A\n%runsh --name 'two words' echo B", cell="a")
    (kernel.folder / "data.csv").touch()
    (kernel.folder / "sub").mkdir(exist_ok=True)
    (kernel.folder / "sub" / "deep.txt").touch()
    flags = kernel.complete("%runsh --")
    assert "--pool" in flags and "--expand" not in flags and "--help" not in flags
    assert "--expand" in kernel.complete("%%runsh --\necho", len("%%runsh --"))
    assert kernel.complete("%runsh --po") == ["--pool"]
    assert kernel.complete("h = %runsh --po") == ["--pool"]
    assert kernel.complete("%runsh --pool te") == ["test", "team"]
    assert kernel.complete("%runsh --pool test --inp da") == ["data.csv"]
    assert kernel.complete("%runsh --inp sub/") == ["sub/deep.txt"]
    assert kernel.complete("%runsh --after cu") == ["cut"]
    assert kernel.complete("%pool te") == ["test", "team"]
    assert kernel.complete("%pool test --dr") == ["--drop"]
    assert kernel.complete("%static da") == ["data.csv"]
    assert set(kernel.complete("%stepup wh")) == {"whatif", "why"}
    assert kernel.complete("%stepup why cu") == ["cut"]
    assert kernel.complete("%stepup why ") == ["cut", "'two words'"]
    assert kernel.complete("%stepup cancel --") == ["--all"]
    assert kernel.complete("%stepup pause te") == ["test", "team"]
    assert kernel.complete("x = 1\n%stepup wai") == ["wait"]
    # Elsewhere the completion is IPython's.
    assert "echo" not in kernel.complete("%%runsh\nec")
    assert "print" in "".join(kernel.complete("pri"))


# --- bad input ------------------------------------------------------------------------------------

BAD = {
    "unknown option": ("%runsh --poll x echo A", "SNB-107", "did you mean '--pool'?"),
    "unknown option of a verb": ("%stepup wait --tiemout 3", "SNB-107", "did you mean '--timeout'?"),
    "unclosed quote": ("%runsh --name 'a echo A", "SNB-107", "not closed"),
    "unknown verb": ("%stepup wiat", "SNB-109", "did you mean 'wait'?"),
    "size -1": ("%pool test -1", "SNB-111", "'-1' is no size for a pool"),
    "size 1.5": ("%pool test 1.5", "SNB-111", "'1.5' is no size"),
    "size x": ("%pool test x", "SNB-111", "'x' is no size"),
    "size from Python": ("from stepup_nb.api import pool\npool('test', 1.5)", "SNB-111", "'1.5' is no size"),
    "name of a pool": ("%pool a/b 1", "SNB-110", "'a/b' is no name"),
    "more slots than there are": ("%runsh --pool mem:8 echo A", "SNB-501", "%pool mem 8"),
    "output declared twice": ("%runsh -o kept.txt -- echo B > kept.txt", "SNB-401", "kept.txt"),
    "output that is an input": ("%runsh -i x.txt -o x.txt -- sort x.txt", "SNB-404", "'x.txt'"),
    "a cycle": ("%runsh --name back -i z.txt -o y.txt -- cp z.txt y.txt", "SNB-406", "→"),
    "an empty command": ("%runsh   ", "SNB-101", "There is no command"),
    "an empty cell": ("%%runsh\n  \n", "SNB-101", "There is no command"),
    "an output outside": ("%runsh -o ../x.txt -- true", "SNB-103", "%config StepUp.outside = True"),
    "an undefined name": ("%runsh echo {nothing_there}", "SNB-108", "'nothing_there'"),
    "braces of awk": ("%runsh awk '{print $1}' kept.txt", "SNB-108", "'{{' and '}}'"),
    "a pattern without a match": ("%runsh -i *.nowhere -- true", "SNB-105", "*.nowhere"),
    "a priority in words": ("%runsh --priority high echo A", "SNB-112", "'high'"),
    "a time in words": ("%runsh --timeout long echo A", "SNB-113", "'long'"),
    "a step that is not there": ("%stepup why kepd", "SNB-120", "'kepd'"),
    "a static file that is not there": ("%static nowhere.txt", "SNB-106", "'nowhere.txt'"),
    "a keyword that is none": ("from stepup_nb.api import runsh\nrunsh('true', poll='x')", "SNB-119", "'poll='"),
    "a word too many": ("%stepup doctor now", "SNB-109", "'now'"),
}  # fmt: skip


@pytest.fixture
def furnished(kernel: Kernel) -> Kernel:
    """A kernel with a little graph: a pool, and steps that made kept.txt, and z.txt from y.txt."""
    kernel.run_ok(
        "%pool mem 4\n%runsh --name keeper -o kept.txt -- echo A > kept.txt\n"
        "%runsh --name there -i y.txt -o z.txt -- cp y.txt z.txt\n%stepup wait keeper",
        cell="furniture",
    )
    return kernel


def test_bad_input_is_answered_in_words_and_changes_nothing(furnished):
    kernel = furnished
    before = kernel.status()
    for what, (code, number, words) in BAD.items():
        cell = kernel.run(code, cell=f"bad {what}")
        assert words in assert_worded(cell, number), what
        assert cell.displays == [], what
        assert kernel.status() == before, what


def test_two_cells_that_write_one_file_are_both_named(furnished):
    words = assert_worded(furnished.run("%runsh -o kept.txt -- echo B > kept.txt", cell="other"), "SNB-401")
    assert words.count("cell [") == 2 and "'%pool mem 4'" in words and "'%runsh -o kept.txt" in words


def test_a_refused_declaration_leaves_the_others_of_its_cell_alone(furnished):
    cell = furnished.run("%runsh echo B\n%runsh --pool mem:8 echo C", cell="a")
    assert_worded(cell, "SNB-501")
    assert "runsh echo B" in cell.record["text/plain"] and "C" not in rows(furnished)


# --- sessions, databases, ends --------------------------------------------------------------------


def test_a_second_kernel_is_told_who_has_the_notebook(new_kernel):
    first, second = new_kernel(), new_kernel()
    first.load()
    first.run_ok("%pool test 2")
    second.load()
    cell = second.run("%pool test 3")
    words = assert_worded(cell, "SNB-210")
    assert f"pid {first.process.pid}" in words
    assert [pool["size"] for pool in first.status()["pools"]] == [2]
    first.kill()
    assert second.run_ok("%pool test 3").is_ok


def test_a_broken_database_is_moved_aside_and_a_newer_one_is_refused(new_kernel):
    kernel = new_kernel()
    database = kernel.folder / "nb.stepup.db"
    database.write_bytes(b"this is no database" * 100)
    kernel.load()
    assert "Moved to 'nb.stepup.db.bad" in kernel.run_ok("%pool test 2").text
    assert any(
        path.read_bytes().startswith(b"this is no database") for path in kernel.folder.glob("nb.stepup.db*")
    )
    kernel.shut_down()
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA user_version = 9999")
    db.close()
    content = database.read_bytes()
    kernel.start_kernel()
    kernel.load()
    assert "newer release" in assert_worded(kernel.run("%pool test 2"), "SNB-312")
    assert database.read_bytes() == content


@pytest.mark.parametrize("end", ["shut_down", "kill"])
def test_nothing_outlives_the_kernel(new_kernel, end):
    kernel = new_kernel()
    kernel.load()
    kernel.run_ok("for i in range(4):\n    %runsh sh -c 'sleep 600 & sleep 600'; echo {i}")
    kernel.until(lambda: len([p for p in kernel.descendants() if p.name() == "sleep"]) >= 4)
    processes = kernel.descendants()
    getattr(kernel, end)()
    kernel.until(lambda: all_dead(processes), timeout=2.0)


def test_a_lost_director_is_told_and_replaced(new_kernel):
    kernel = new_kernel()
    kernel.load()
    done = kernel.run_ok("%runsh -o a.txt -- echo A > a.txt\n%stepup wait", cell="a")
    running = kernel.run_ok(f"%runsh {until('go')}; echo B", cell="b")
    kernel.until_states(B="RUNNING")
    os.kill(kernel.status()["director_pid"], signal.SIGKILL)
    kernel.until(lambda: "the director of this notebook is gone" in running.record["text/plain"])
    assert "gone" not in done.record["text/plain"]
    cell = kernel.run_ok("%runsh echo C", cell="c")
    assert "The director of this notebook was lost" in cell.text
    kernel.until_states(B="RUNNING", C="SUCCEEDED")
    kernel.until(lambda: "gone" not in running.record["text/plain"])
    (kernel.folder / "go").touch()
    kernel.run_ok("%stepup wait", cell="w")
    assert "1 succeeded" in running.record["text/plain"]
    assert kernel.run_ok("%stepup history").displays[0]["text/plain"].count("interrupted") == 1


def test_a_director_that_is_lost_during_a_wait_does_not_end_the_wait(new_kernel):
    kernel = new_kernel()
    kernel.load()
    kernel.run_ok(f"%runsh {until('go')}; echo A", cell="a")
    kernel.until_states(A="RUNNING")
    director = kernel.status()["director_pid"]
    waiting = kernel.start("%stepup wait", cell="w")
    kernel.until(lambda: bool(waiting.displays))
    os.kill(director, signal.SIGKILL)
    (kernel.folder / "go").touch()
    kernel.finish(waiting)
    assert waiting.is_ok, waiting.error
    assert "The director of this notebook was lost" in waiting.text


def test_workers_come_from_the_environment(new_kernel):
    kernel = new_kernel(STEPUP_NB_WORKERS="7")
    kernel.load()
    kernel.run_ok("%pool test 2")
    assert kernel.status()["workers"] == 7


def test_finish_waits_shows_everything_and_counts(new_kernel):
    kernel = new_kernel()
    kernel.load()
    assert kernel.run_ok("__import__('stepup_nb')._finish()").results == [
        {"text/plain": "{'failed': 0, 'pending': 0}"}
    ]
    assert kernel.descendants() == []
    cell = kernel.run_ok(
        "%runsh sleep 0.2; exit 1\n%runsh -i no.txt -- true\n%runsh --optional -o o.txt -- true"
    )
    assert "no front end is watching" in cell.record["text/plain"]
    finished = kernel.run_ok("__import__('stepup_nb')._finish()")
    assert finished.results == [{"text/plain": "{'failed': 1, 'pending': 1}"}]
    assert "3 steps: 1 failed, 2 pending" in cell.record["text/plain"]
    assert "no front end is watching" not in cell.record["text/plain"]


# --- what if --------------------------------------------------------------------------------------


def test_whatif_shows_a_table_a_plot_and_two_timelines(kernel):
    kernel.run_ok("%pool fit 1")
    kernel.run_ok("from stepup_nb.api import runsh\nfor k in range(4): runsh('true', pool='fit')", cell="a")
    kernel.run_ok("%stepup wait")
    (shown,) = kernel.run_ok("%stepup whatif --pool fit=1..4").displays
    assert "speed-up" in shown["text/plain"]
    assert shown["text/html"].count("<svg") >= 2
    assert "guessed" not in shown["text/plain"]


def test_a_prediction_is_an_object_that_shows_itself(kernel):
    kernel.run_ok("%pool fit 1")
    kernel.run_ok("from stepup_nb.api import runsh\nfor k in range(4): runsh('true', pool='fit')", cell="a")
    kernel.run_ok("%stepup wait")
    (shown,) = kernel.run_ok("import stepup_nb; forecast = stepup_nb.simulate({'fit': 2}); forecast").results
    assert shown["text/plain"].startswith("<Forecast: 4 steps in ")
    assert "<svg" in shown["text/html"]
    assert kernel.value("[forecast.makespan > 0, len(forecast.timeline), len(stepup_nb.history())]")[:2] == [
        True,
        4,
    ]
    assert "SNB-502" in kernel.run("stepup_nb.simulate({'fti': 2})").error
