"""`stepup-nb` from a terminal: what it says, what it saves, how it ends. Each test runs the program."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap

import nbformat
import psutil
import pytest
from client.helpers_session import session_in, until
from notebook.helpers_kernel import environment

from stepup_nb import __version__
from stepup_nb.cli import VERBS
from stepup_nb.client import find
from stepup_nb.core import public
from stepup_nb.core.errors import UsageError

LONG = 100.0
"""Seconds after which a program counts as never ending."""

LOAD = "%load_ext stepup_nb"


def start(*arguments, cwd, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "stepup_nb", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=environment(**options.pop("env", {})),
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


class Ended:
    """What a program said, and how it ended."""

    def __init__(self, process):
        self.out, self.err = process.communicate(timeout=LONG)
        self.code = process.returncode
        assert "Traceback (most recent call last)" not in self.err

    @property
    def lines(self):
        """The log lines without their pages and numbers."""
        return [line.partition("|")[2].strip() for line in self.out.splitlines() if "│" in line]


def run(*arguments, cwd, **options):
    return Ended(start(*arguments, cwd=cwd, **options))


def notebook(path, *sources, tags=(), **metadata):
    """Write a notebook of these cells, whose ids are c1, c2 ...; the tags are for the last one."""
    cells = [
        nbformat.v4.new_code_cell(textwrap.dedent(source).strip(), id=f"c{number}")
        for number, source in enumerate(sources, 1)
    ]
    cells[-1].metadata["tags"] = list(tags)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def saved(path):
    return nbformat.read(path, as_version=4)


def text_of(cell):
    """All that stands under a cell, as plain text."""
    return "".join(
        output.get("text") or output.get("data", {}).get("text/plain") or output.get("evalue", "")
        for output in cell.outputs
    )


def status_of(folder, *more):
    return json.loads(run("status", "--json", *more, cwd=folder).out)


# --- the command line -----------------------------------------------------------------------------------


def test_without_arguments_it_prints_its_help(tmp_path):
    ended = run(cwd=tmp_path)
    assert ended.code == 0
    assert all(verb in ended.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_explains_itself(verb, tmp_path):
    ended = run(verb, "--help", cwd=tmp_path)
    assert ended.code == 0
    assert ended.out.startswith(f"usage: stepup-nb {verb}")
    assert max(map(len, ended.out.splitlines())) <= 90


def test_it_says_its_version(tmp_path):
    assert run("-V", cwd=tmp_path).out == f"stepup-nb {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["execut"], "'execut'"),
        (["execute"], "NOTEBOOK"),
        (["execute", "a.ipynb", "-n", "0"], "'0' is less than one worker"),
        (["execute", "a.ipynb", "-n", "many"], "'many'"),
        (["execute", "a.ipynb", "--out", "b.ipynb"], "--out"),
        (["-l", "LOUD", "status"], "'LOUD' is no log level"),
        (["status", "more"], "more"),
    ],
)
def test_wrong_usage_ends_with_64_and_one_sentence(arguments, words, tmp_path):
    ended = run(*arguments, cwd=tmp_path)
    assert ended.code == 64
    assert ended.out == ""
    assert words in ended.err
    assert len(ended.err.splitlines()) == 2


def test_the_command_line_is_light():
    """Shell scripts ask for the status in a loop."""
    code = "import sys, stepup_nb.cli; print({'IPython', 'zmq', 'nbclient', 'ipywidgets'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], env=environment(), text=True) == "set()\n"


# --- what cannot be executed ----------------------------------------------------------------------------


def refused(ended):
    assert ended.code == 1
    assert ended.out == ""
    return ended.err


def test_a_notebook_that_is_not_there(tmp_path):
    assert "'a.ipynb' cannot be read" in refused(run("execute", "a.ipynb", cwd=tmp_path))


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"cells": 3}', '{"nbformat": 4}'])
def test_a_file_that_is_no_notebook(text, tmp_path):
    (tmp_path / "a.ipynb").write_text(text)
    assert "'a.ipynb' is no notebook" in refused(run("execute", "a.ipynb", cwd=tmp_path))


def test_a_place_where_nothing_can_be_saved_is_found_out_before_the_work(tmp_path):
    notebook(tmp_path / "a.ipynb", "1")
    assert "there is no folder 'gone'" in refused(
        run("execute", "a.ipynb", "-o", "gone/b.ipynb", cwd=tmp_path)
    )
    assert "it is a folder" in refused(run("execute", "a.ipynb", "-o", ".", cwd=tmp_path))


def test_a_kernel_that_is_not_installed(tmp_path):
    notebook(tmp_path / "a.ipynb", "1", kernelspec={"name": "pyhton3", "display_name": "?"})
    assert "no kernel 'pyhton3' here; did you mean 'python3'?" in refused(
        run("execute", "a.ipynb", cwd=tmp_path)
    )


def test_a_name_in_an_error_cannot_control_the_terminal(tmp_path):
    err = refused(run("execute", "a\x1b[2J\x07.ipynb", cwd=tmp_path))
    assert "\x1b" not in err
    assert "\x07" not in err


# --- status ---------------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path):
    found = session_in(tmp_path)
    yield found
    found.close()


def test_a_live_session_is_steered_from_a_terminal(session, tmp_path):
    session.pool("test", 1)
    nap = "until [ -e go ]; do sleep 0.01; done"
    for name in ("ada", "ben"):
        session.declare("runsh", f"{nap}; echo {name}", name=name, pool="test")
    assert run("pause", "test", cwd=tmp_path).code == 0
    assert session.status()["pools"][0]["paused"]
    done = run("cancel", "ada", cwd=tmp_path)
    assert (done.code, done.out) == (0, "cancelled 1 step\n")
    assert run("resume", "test", cwd=tmp_path).code == 0
    until(lambda: session.status()["counts"] == {"CANCELLED": 1, "RUNNING": 1})
    (tmp_path / "go").touch()
    assert run("rerun", "--failed", cwd=tmp_path).out == "running 1 step again\n"
    session.wait()
    assert session.status()["counts"] == {"SUCCEEDED": 2}
    assert run("cancel", "--all", cwd=tmp_path).out == "cancelled 0 steps\n"
    assert [row["outcome"] for row in session.history()] == ["cancelled", "succeeded", "succeeded"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cancel"], "name them, or write '--all'"),
        (["cancel", "ada", "--all"], "Which steps?"),
        (["rerun"], "'--failed' or '--all'"),
        (["cancel", "adda"], "did you mean 'ada'"),
        (["pause", "tset"], "did you mean 'test'"),
    ],
)
def test_what_cannot_be_steered_is_said(session, tmp_path, arguments, words):
    session.pool("test", 1)
    session.declare("runsh", "true", name="ada").wait()
    done = run(*arguments, cwd=tmp_path)
    assert done.code == 1 and words in done.err and done.out == ""


def test_a_session_that_is_just_starting_is_waited_for(tmp_path):
    process = start("pause", cwd=tmp_path)
    found = session_in(tmp_path)
    try:
        found.pool("test", 1)
        assert Ended(process).code == 0
        assert found.status()["paused"]
    finally:
        found.close()


def test_without_a_session_there_is_nothing_to_steer(tmp_path):
    found = session_in(tmp_path)
    found.declare("runsh", "true").wait()
    found.close()
    with pytest.raises(UsageError, match=r"No session of 'a\.stepup\.db' is live"):
        find.await_director(lambda: str(tmp_path / "a.stepup.db"), 0.2)


def test_the_status_of_a_live_session_has_exactly_the_public_keys(session, tmp_path):
    session.pool("test", 2)
    session.declare("runsh", "echo hello", pool="test").wait()
    found = status_of(tmp_path)
    assert tuple(found) == public.STATUS
    assert tuple(found["pools"][0]) == public.POOL
    assert tuple(found["steps"][0]) == public.STEP
    assert found["director_pid"] > 0
    assert found["counts"] == {"SUCCEEDED": 1}


def test_the_status_without_a_session_has_the_same_keys(session, tmp_path):
    session.declare("runsh", "echo hello").wait()
    session.close()
    found = status_of(tmp_path)
    assert tuple(found) == public.STATUS
    assert tuple(found["steps"][0]) == public.STEP
    assert found["director_pid"] is None
    assert found["steps"][0]["stdout_tail"] == "hello\n"


def test_the_status_in_words(session, tmp_path):
    session.pool("test", 2)
    session.declare("runsh", "true", pool="test").wait()
    session.declare("runsh", "exit 3", name="broken")
    session.declare("runsh", "cat a.txt", after=["broken"])
    session.declare("runsh", "echo", pool="tset")
    session.wait()
    ended = run("status", cwd=tmp_path)
    assert ended.code == 0
    head, pools, steps, causes = ended.out.rstrip().split("\n\n")
    assert re.fullmatch(
        r"a\.ipynb, in use \(director \d+\); 2 pending, 1 succeeded, 1 failed; 2 workers", head
    )
    assert pools.splitlines()[1].split() == ["test", "2", "0", "0"]
    assert [
        line.split()[0] for line in steps.splitlines()
    ] == "state SUCCEEDED FAILED PENDING PENDING".split()
    assert "exit code 3" in steps
    assert "broken" in causes
    assert "'tset'" in causes


def test_the_status_in_words_without_a_session(session, tmp_path):
    session.declare("runsh", "exit 3")
    session.wait()
    session.close()
    out = run("status", cwd=tmp_path).out
    assert out.startswith("a.ipynb, not in use: what its database remembers; 1 failed\n") or out.startswith(
        "a.stepup.db, not in use: what its database remembers; 1 failed\n"
    )
    assert "FAILED  runsh exit 3" in out


def test_the_status_where_nothing_is_known(tmp_path):
    assert "No steps are known" in refused(run("status", cwd=tmp_path))


def test_of_several_notebooks_the_one_in_use_is_meant(session, tmp_path):
    other = session_in(tmp_path, "b")
    other.declare("runsh", "true").wait()
    other.close()
    session.declare("runsh", "true").wait()
    assert status_of(tmp_path)["notebook"].endswith("a.ipynb")
    session.close()
    err = refused(run("status", cwd=tmp_path))
    assert "a.stepup.db, b.stepup.db" in err
    for place in ("b.ipynb", "b.stepup.db", tmp_path / "b.ipynb"):
        assert status_of(tmp_path, "--at", place)["database"] == str(tmp_path / "b.stepup.db")


def test_the_folder_can_be_named(session, tmp_path):
    session.declare("runsh", "true").wait()
    here = tmp_path / "elsewhere"
    here.mkdir()
    assert run("--root", tmp_path, "status", cwd=here).code == 0
    assert run("status", cwd=here, env={"STEPUP_ROOT": str(tmp_path)}).code == 0
    assert run("status", "--at", tmp_path, cwd=here).code == 0
    assert run("status", cwd=here).code == 1


def test_nobody_is_told_off_when_nobody_reads(session, tmp_path):
    session.declare("runsh", "true").wait()
    reading, writing = os.pipe()
    os.close(reading)
    process = start("status", "--json", cwd=tmp_path, stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=LONG) == (None, "")


# --- executing: log lines -------------------------------------------------------------------------------


@pytest.mark.kernel
def test_every_step_has_its_lines_with_what_it_printed(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh echo A; echo oops >&2")
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 0
    assert ended.err == ""
    assert ended.out.splitlines() == [
        "        0/0 |   DIRECTOR │ Executing a.ipynb",
        "        0/1 |      START │ runsh echo A; echo oops >&2",
        "        1/1 |    SUCCESS │ runsh echo A; echo oops >&2",
        "─────────────────────────────── Standard output ────────────────────────────────",
        "A",
        "──────────────────────────────── Standard error ────────────────────────────────",
        "oops",
        "────────────────────────────────────────────────────────────────────────────────",
        "        1/1 |   DIRECTOR │ Saved a.ipynb",
    ]


@pytest.mark.kernel
def test_the_second_time_nothing_runs(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh -o a.txt -- echo A > a.txt", "%runsh -i a.txt -- cat a.txt")
    assert [line.split()[0] for line in run("execute", "a.ipynb", cwd=tmp_path).lines] == (
        "DIRECTOR START SUCCESS START SUCCESS DIRECTOR".split()
    )
    second = run("execute", "a.ipynb", "--no-progress", cwd=tmp_path)
    assert second.code == 0
    assert second.out.splitlines() == [
        "  DIRECTOR │ Executing a.ipynb",
        "      SKIP │ runsh echo A > a.txt",
        "      SKIP │ runsh cat a.txt",
        "  DIRECTOR │ Saved a.ipynb",
    ]


@pytest.mark.kernel
def test_a_notebook_without_steps_has_no_lines_but_ours(tmp_path):
    notebook(tmp_path / "a.ipynb", "print(1)", "# nothing")
    assert run("execute", "a.ipynb", cwd=tmp_path).lines == [
        "DIRECTOR │ Executing a.ipynb",
        "DIRECTOR │ Saved a.ipynb",
    ]
    assert text_of(saved(tmp_path / "a.ipynb").cells[0]) == "1\n"
    assert not (tmp_path / ".stepup").exists()


@pytest.mark.kernel
def test_on_a_terminal_there_are_colours(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh true")
    ours, theirs = pty.openpty()
    process = start("execute", "a.ipynb", cwd=tmp_path, stdout=theirs, env={"TERM": "xterm", "COLUMNS": "80"})
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    process.communicate(timeout=LONG)
    assert process.returncode == 0
    assert "\x1b[34m     START\x1b[0m │ runsh true\r\n".encode() in said
    assert "\x1b[32m   SUCCESS\x1b[0m │ ".encode() in said


@pytest.mark.kernel
def test_the_work_goes_on_when_nobody_reads_the_lines(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh echo A > a.txt")
    reading, writing = os.pipe()
    os.close(reading)
    process = start("execute", "a.ipynb", cwd=tmp_path, stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=LONG)
    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "a.txt").read_text() == "A\n"


# --- executing: what is saved -----------------------------------------------------------------------------


@pytest.mark.kernel
def test_the_records_are_saved_as_the_steps_ended_also_without_a_wait(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh sleep 1; echo done")
    assert run("execute", "a.ipynb", cwd=tmp_path).code == 0
    text = text_of(saved(tmp_path / "a.ipynb").cells[1])
    assert "SUCCEEDED" in text
    assert "done" in text
    assert "no front end" not in text


@pytest.mark.kernel
def test_with_an_output_the_input_stays_as_it_is_and_keeps_the_database(tmp_path):
    path = notebook(tmp_path / "a.ipynb", LOAD, "%runsh true")
    before = path.read_bytes()
    (tmp_path / "build").mkdir()
    ended = run("execute", "a.ipynb", "-o", "build/b.ipynb", cwd=tmp_path)
    assert ended.lines[-1] == "DIRECTOR │ Saved build/b.ipynb"
    assert path.read_bytes() == before
    assert len(saved(tmp_path / "build" / "b.ipynb").cells) == 2
    assert (tmp_path / "a.stepup.db").exists()
    assert [found.name for found in (tmp_path / "build").iterdir()] == ["b.ipynb"]


@pytest.mark.kernel
def test_the_cells_have_what_a_front_end_would_give_them(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        "import time\nfor n in range(3):\n    print(n, flush=True)\n    time.sleep(0.3)",
        "get_ipython().parent_header['metadata'].get('cellId')",
        "1 / 0",
        "2 + 2",
        tags=["skip-execution"],
    )
    nb = saved(tmp_path / "a.ipynb")
    nb.cells[2].metadata["tags"] = ["raises-exception"]
    nb.cells[3].outputs = [nbformat.v4.new_output("stream", text="kept")]
    nbformat.write(nb, tmp_path / "a.ipynb")
    assert run("execute", "a.ipynb", cwd=tmp_path).code == 0
    first, second, third, fourth = saved(tmp_path / "a.ipynb").cells
    assert [output.text for output in first.outputs] == ["0\n1\n2\n"]
    assert text_of(second) == "'c2'"
    assert third.outputs[0].ename == "ZeroDivisionError"
    assert [cell.execution_count for cell in (first, second, third, fourth)] == [1, 2, 3, None]
    assert text_of(fourth) == "kept"


@pytest.mark.kernel
def test_a_cell_that_was_edited_replaces_what_it_declared(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh echo old")
    run("execute", "a.ipynb", cwd=tmp_path)
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh echo new")
    run("execute", "a.ipynb", cwd=tmp_path)
    assert status_of(tmp_path)["counts"] == {"SUCCEEDED": 1}


@pytest.mark.kernel
def test_the_kernel_is_this_pythons_and_works_in_the_notebooks_folder(tmp_path):
    folder = tmp_path / "sub"
    folder.mkdir()
    notebook(folder / "a.ipynb", "import os, sys; print(sys.executable, os.getcwd())")
    assert run("execute", "sub/a.ipynb", cwd=tmp_path).code == 0
    assert text_of(saved(folder / "a.ipynb").cells[0]).split() == [sys.executable, str(folder)]


@pytest.mark.kernel
def test_a_link_stays_a_link_and_permissions_stay(tmp_path):
    real = notebook(tmp_path / "real.ipynb", "1")
    real.chmod(0o640)
    (tmp_path / "a.ipynb").symlink_to("real.ipynb")
    assert run("execute", "a.ipynb", cwd=tmp_path).code == 0
    assert (tmp_path / "a.ipynb").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert saved(real).cells[0].execution_count == 1


@pytest.mark.kernel
def test_workers_limit_the_steps_running_at_once(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        LOAD,
        "import stepup_nb\nfrom stepup_nb.api import runsh\nh = runsh('true')\nstepup_nb.status()['workers']",
    )
    for given, cores in (("3", None), ("1.0", len(os.sched_getaffinity(0)))):
        run("execute", "-n", given, "a.ipynb", cwd=tmp_path)
        workers = int(saved(tmp_path / "a.ipynb").cells[1].outputs[-1].data["text/plain"])
        assert workers == 3 if cores is None else 1 <= workers <= cores


# --- executing: how it ends -------------------------------------------------------------------------------


@pytest.mark.kernel
def test_a_failed_step_ends_it_with_2_and_the_others_are_done(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh exit 3", "%runsh sleep 0.5; echo fine > fine.txt")
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 2
    assert "Return code           3" in ended.out.splitlines()
    assert ended.lines[-2:] == ["WARNING │ 1 step(s) failed.", "DIRECTOR │ Saved a.ipynb"]
    assert (tmp_path / "fine.txt").exists()


@pytest.mark.kernel
def test_a_wait_that_fails_ends_it_with_2_and_without_a_traceback(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh exit 3", "%stepup wait", "print('never')")
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 2
    assert "Traceback" not in ended.out
    (error,) = [line for line in ended.lines if line.startswith("ERROR")]
    assert "raised StepsFailed" in error
    last = saved(tmp_path / "a.ipynb").cells[-1]
    assert (last.execution_count, last.outputs) == (None, [])


@pytest.mark.kernel
def test_steps_that_cannot_run_end_it_with_3_and_their_root_cause(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        LOAD,
        "%pool test 1",
        "%runsh -p tset -o a.txt -- touch a.txt",
        "%runsh -i a.txt -- cat a.txt",
    )
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 3
    assert "WARNING │ 2 step(s) remained pending due to incomplete requirements" in ended.lines
    page = ended.out.partition(" Root causes ")[2]
    assert "   2 steps  pool 'tset' is not defined" in page
    assert "- runsh touch a.txt" in page


@pytest.mark.kernel
def test_what_waits_for_a_failed_step_does_not_hide_the_failure(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh -o a.txt -- false", "%runsh -i a.txt -- cat a.txt")
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 2
    assert [line for line in ended.lines if line.startswith("WARNING")] == [
        "WARNING │ 1 step(s) failed.",
        "WARNING │ 1 step(s) remained pending due to incomplete requirements",
    ]


@pytest.mark.kernel
def test_a_cell_that_raises_ends_it_with_1_and_steps_still_finish(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        LOAD,
        "%runsh sleep 1; echo A > a.txt",
        "raise ValueError('no \\x1b[2J good')",
        "print('never')",
    )
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 1
    assert "ERROR │ Cell [3] raised ValueError: no \\x1b[2J good" in ended.lines
    assert " Traceback " in ended.out
    assert "\x1b" not in ended.out
    assert ended.lines[-2:] == ["SUCCESS │ runsh sleep 1; echo A > a.txt", "DIRECTOR │ Saved a.ipynb"]
    assert (tmp_path / "a.txt").exists()
    cells = saved(tmp_path / "a.ipynb").cells
    assert cells[2].outputs[0].ename == "ValueError"
    assert cells[3].outputs == []


@pytest.mark.kernel
def test_a_mistake_in_a_magic_ends_it_with_1(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%pool test -1")
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 1
    assert any("ERROR │ Cell [2] raised UsageError" in line for line in ended.lines)


@pytest.mark.kernel
def test_a_kernel_that_dies_ends_it_with_1_and_says_how(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        LOAD,
        "%runsh sleep 60",
        "import os; os.write(2, b'last words'); os.kill(os.getpid(), 9)",
    )
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 1
    assert "ERROR │ The kernel died: killed by signal 9 (SIGKILL)." in ended.lines


@pytest.mark.kernel
def test_a_kernel_that_does_not_start_changes_nothing(tmp_path):
    spec = tmp_path / "jupyter" / "kernels" / "broken"
    spec.mkdir(parents=True)
    argv = ["/bin/sh", "-c", "echo I cannot >&2; exit 5", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "?", "language": "python"}))
    path = notebook(tmp_path / "a.ipynb", "1", kernelspec={"name": "broken", "display_name": "?"})
    before = path.read_bytes()
    ended = run("execute", "a.ipynb", cwd=tmp_path, env={"JUPYTER_PATH": str(tmp_path / "jupyter")})
    assert (ended.code, ended.err) == (1, "")
    assert ended.lines[1].startswith("ERROR │ The kernel did not start: ")
    assert "\nI cannot\n" in ended.out
    assert ended.lines[-1].startswith("WARNING │ Not saved")
    assert path.read_bytes() == before


# --- executing: signals ---------------------------------------------------------------------------------


@pytest.mark.kernel
def test_a_panel_is_saved_with_a_picture_of_the_end_which_html_shows(tmp_path):
    notebook(tmp_path / "a.ipynb", LOAD, "%stepup panel", "%pool test 1\n%runsh --pool test -- echo hello")
    assert run("execute", "a.ipynb", cwd=tmp_path).code == 0
    (panel,) = saved(tmp_path / "a.ipynb").cells[1].outputs
    assert "StepUp: 1 succeeded" in panel.data["text/plain"]
    exporter = pytest.importorskip("nbconvert").HTMLExporter(template_name="classic")
    html, _ = exporter.from_filename(str(tmp_path / "a.ipynb"))
    assert "StepUp: 1 succeeded" in html and "<title>runsh echo hello: succeeded" in html


def running(tmp_path, *cells, out=None):
    """Start an execution, and return it when its first step runs, with the step's process."""
    notebook(tmp_path / "a.ipynb", LOAD, *cells)
    process = start("execute", "a.ipynb", *(["-o", out] if out else []), cwd=tmp_path)
    begun = []
    while not begun or " START │ " not in begun[-1]:
        begun.append(process.stdout.readline())
        assert begun[-1], process.stderr.read()
    pid = until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    return process, psutil.Process(int(pid))


STEP = "%runsh echo $$ > new; mv new pid; exec sleep 1000"
STUBBORN = "%runsh trap '' TERM; echo $$ > new; mv new pid; while :; do sleep 1000; done"


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_in_order(number, code, tmp_path):
    process, step = running(tmp_path, STEP, "%stepup wait", "print('never')")
    before = (tmp_path / "a.ipynb").read_bytes()
    process.send_signal(number)
    ended = Ended(process)
    assert ended.code == code
    assert not step.is_running()
    assert [line.split()[0] for line in ended.lines] == ["KEYBOARD", "FAIL", "WARNING"]
    assert "Return code           -15" in ended.out
    assert (tmp_path / "a.ipynb").read_bytes() == before, (
        "in place, half a notebook would replace a whole one"
    )
    assert status_of(tmp_path)["counts"] == {"CANCELLED": 1}


@pytest.mark.kernel
def test_what_a_signal_ended_is_saved_where_that_replaces_nothing(tmp_path):
    cell = "print('A'); open('printed', 'w').close(); import time; time.sleep(1000)"
    process, _ = running(tmp_path, STEP, cell, out="b.ipynb")
    until((tmp_path / "printed").exists)
    process.send_signal(signal.SIGINT)
    ended = Ended(process)
    assert ended.code == 130
    assert ended.lines[-1] == "DIRECTOR │ Saved b.ipynb"
    cells = saved(tmp_path / "b.ipynb").cells
    assert "CANCELLED" in text_of(cells[1])
    assert cells[2].outputs[0].text == "A\n"


@pytest.mark.kernel
def test_a_cell_that_does_not_listen_does_not_keep_it(tmp_path):
    cell = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(1000)"
    process, step = running(tmp_path, STEP, cell)
    process.send_signal(signal.SIGINT)
    assert Ended(process).code == 130
    assert not step.is_running()


@pytest.mark.kernel
def test_the_second_signal_ends_it_at_once(tmp_path):
    process, step = running(tmp_path, STUBBORN)
    kernel = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    until(lambda: " KEYBOARD │ " in process.stdout.readline())
    process.send_signal(signal.SIGINT)
    ended = Ended(process)
    assert ended.code == 130
    assert ended.lines[0] == "KEYBOARD │ SIGINT: stopping at once"
    assert "FAIL" not in ended.out, "nobody waited for the step"
    until(lambda: not step.is_running())
    assert not any(found.is_running() for found in kernel)
    assert status_of(tmp_path)["counts"] == {"PENDING": 1}


@pytest.mark.kernel
def test_no_process_is_left_when_it_is_done(tmp_path):
    notebook(
        tmp_path / "a.ipynb", LOAD, "%runsh true", "import os; open('kernel', 'w').write(str(os.getpid()))"
    )
    run("execute", "a.ipynb", cwd=tmp_path)
    assert not psutil.pid_exists(int((tmp_path / "kernel").read_text()))
    lock = json.loads((tmp_path / ".stepup" / "a" / "lock").read_text())
    until(lambda: not psutil.pid_exists(lock["director_pid"]))
    assert not list(tmp_path.glob("*-wal")), "the database was closed in order"


@pytest.mark.kernel
def test_a_notebook_that_is_open_elsewhere_is_refused(session, tmp_path):
    session.declare("runsh", "true").wait()
    notebook(tmp_path / "a.ipynb", LOAD, "%runsh true")
    ended = run("execute", "a.ipynb", cwd=tmp_path)
    assert ended.code == 1
    assert any("raised OwnerError" in line for line in ended.lines)
    assert not [line for line in ended.lines if "START" in line], "the other one's lines are not ours"
