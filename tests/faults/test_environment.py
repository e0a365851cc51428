"""Odd surroundings: a machine, a shell or a kernel that is not set up as ours are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from director.helpers_world import KernelProcess, Notebook, cell, director_of, parent_of, state_of, until
from faults.helpers_witness import Disk, as_other_user, names_in, needs_root, open_to_others
from notebook.helpers_kernel import LONG, Kernel, environment

from stepup_nb.client import find, launch
from stepup_nb.client.launch import ProcessHost
from stepup_nb.client.session import Session
from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import ScopeKind
from stepup_nb.director import secret


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Iterator[Notebook]:
    """A folder whose sessions have directors in processes of their own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "project"
    folder.mkdir()
    found = Notebook(folder, ProcessHost)
    yield found
    found.close()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory) -> Iterator[Kernel]:
    """A kernel with the extension, in plain C: no language, no encoding."""
    folder = tmp_path_factory.mktemp("kernel")
    kernel = Kernel(
        Path(sys.executable),
        folder / "nb",
        XDG_DATA_HOME=str(folder / "data"),
        LC_ALL="C",
        LANG="",
        LANGUAGE="",
    )
    kernel.load()
    yield kernel
    kernel.close()


def boot(folder: Path, *, code: int = 0, umask: int = -1, **variables: str) -> str:
    """Run a plan, and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "stepup_nb", "boot", "-n", "2"],
        cwd=folder,
        env=environment(XDG_DATA_HOME=str(folder.parent / "data"), **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        umask=umask,
        timeout=LONG,
    )
    words = done.stdout.decode()
    assert done.returncode == code, words
    return words


def write_plan(folder: Path, text: str) -> None:
    """Write a plan that can be run."""
    (folder / "plan.py").write_text(
        f"#!/usr/bin/env python3\nfrom stepup.core.api import *\n{text}", encoding="utf-8"
    )
    (folder / "plan.py").chmod(0o755)


# --- releases that differ ---------------------------------------------------------------------------


def test_a_request_that_only_another_release_knows_is_refused_in_words_and_the_session_goes_on(notebook):
    session = notebook.begin()
    session.pool("p", 1)
    with contextlib.closing(session.connect()) as connection:
        for op, fields in (("Telepathy", {}), ("Pause", {"pool": "p", "until": "noon"}), ("rows", {})):
            with pytest.raises(UsageError, match="SNB-204") as caught:
                connection.request(op, **fields)
            assert "release" in caught.value.fix
        assert connection.request("status")["pools"]
    assert session.declare("runsh", "echo A").wait().stdout == "A\n"


def test_a_terminal_of_an_older_release_is_told_and_changes_nothing_of_a_newer_state_file(notebook):
    session = notebook.begin()
    session.declare("runsh", "echo A").wait()
    session.close()
    path = Path(notebook.place.database)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")
    before = path.read_bytes()
    for verb in ("status", "clean", "trust"):
        done = subprocess.run(
            [sys.executable, "-m", "stepup_nb", verb],
            cwd=notebook.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=LONG,
        )
        assert done.returncode == 1
        assert "SNB-312" in done.stderr and "Traceback" not in done.stderr
    assert path.read_bytes() == before


def test_what_a_newer_director_says_besides_in_its_lock_and_its_answers_confuses_nobody(notebook):
    session = notebook.begin()
    session.pool("p", 1)
    lock = Path(notebook.place.state, "lock")
    told = json.loads(lock.read_text())
    lock.write_text(json.dumps({**told, "protocol": 7, "cluster": {"x": [1]}}))
    assert find.status(notebook.place.database)["director_pid"] == told["director_pid"]


# --- language ---------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_in_a_locale_without_letters_names_and_output_are_what_they_are(kernel):
    (kernel.folder / "grüße.txt").write_text("☃\n", encoding="utf-8")
    cell = kernel.run_ok(
        "%%runsh --name 'süß' -i grüße.txt -o 'ö/größe.txt'\n"
        "cat grüße.txt; wc -c < grüße.txt > ö/größe.txt; printf '\\377\\n'"
    )
    kernel.run_ok("%stepup wait 'süß'")
    assert (kernel.folder / "ö" / "größe.txt").read_text() == "4\n"
    kernel.until(lambda: re.search(r"SUCCEEDED  süß\b", cell.record["text/plain"]) is not None)
    assert "☃" in cell.record["text/plain"] and "�" in cell.record["text/html"]
    assert "grüße.txt" in kernel.run_ok("%stepup status --json").text.encode().decode("unicode_escape")
    bad = kernel.run("%runsh -o größe.txt -i größe.txt -- true")
    assert "'größe.txt'" in bad.error and "Traceback" not in bad.error


def test_a_plan_in_a_locale_without_letters_runs_and_is_shown_as_it_is(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    write_plan(project, "runsh('echo \\xfc\\u2603; echo > \\xf6.txt', out='\\xf6.txt')\n")
    words = boot(project, LC_ALL="C", LANG="")
    assert "SUCCESS │ runsh echo ü☃; echo > ö.txt\n" in words and "\nü☃\n" in words
    assert (project / "ö.txt").exists()
    assert "START │" not in boot(project, LC_ALL="C", LANG="")


def test_where_python_itself_is_told_to_know_no_letters_they_are_written_as_escapes(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    write_plan(project, 'runsh(r"""printf \'\\303\\274\\n\'""", name=\'umlaut\')\n')
    ascii = {"LC_ALL": "C", "LANG": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = boot(project, **ascii)
    assert "SUCCESS \\u2502 umlaut\n" in words and "\n\\xfc\n" in words
    # The logs have an encoding of their own.
    assert "SUCCESS │ umlaut\n" in (project / ".stepup" / "success.log").read_text(encoding="utf-8")
    assert "START" not in boot(project, **ascii).replace("STARTUP", "")


# --- a notebook that changes under its kernel --------------------------------------------------------


@pytest.mark.kernel
def test_a_notebook_that_is_renamed_while_a_step_runs_goes_on_where_it_was_and_says_so(kernel):
    (kernel.folder / "nb.ipynb").write_text("{}")
    kernel.run_ok(
        "%runsh --name going -o made.txt -- until [ -e go ]; do sleep 0.02; done; echo > made.txt", cell="g"
    )
    kernel.until_states(going="RUNNING")
    (kernel.folder / "nb.ipynb").rename(kernel.folder / "other.ipynb")
    refused = kernel.run("%stepup notebook other.ipynb")
    assert "SNB-208" in refused.error and "Traceback" not in refused.error
    assert "its database is" in refused.error and "nb.stepup.db" in refused.error
    assert "restart the kernel" in refused.error
    (kernel.folder / "go").touch()
    kernel.run_ok("%stepup wait going", cell="w")
    assert kernel.status()["database"].endswith("/nb.stepup.db")
    assert not list(kernel.folder.glob("other.stepup.db*"))


def test_a_state_file_that_is_renamed_with_its_notebook_knows_all_it_knew(notebook):
    session = notebook.begin()
    session.declare("runsh", "echo > a; echo said", out="a").wait()
    session.close()
    place = notebook.place
    os.rename(place.database, notebook.folder / "b.stepup.db")
    os.rename(place.state, notebook.folder / ".stepup" / "b")
    renamed = launch.Place(
        root=place.root,
        notebook=str(notebook.folder / "b.ipynb"),
        database=str(notebook.folder / "b.stepup.db"),
        state=str(notebook.folder / ".stepup" / "b"),
    )
    with contextlib.closing(Session(renamed, workers=2)) as session:
        handle = session.declare("runsh", "echo > a; echo said", out="a")
        assert session.wait()["skipped"] == 1
        assert (handle.stdout, session.notes) == ("said\n", [])
        assert len(session.history()) == 1


def test_of_a_cell_that_was_deleted_the_steps_retire_and_the_outputs_stay(notebook):
    session = notebook.begin()
    with cell(session, "gone"):
        session.declare("runsh", "echo made > a", name="done", out="a")
        session.declare("runsh", "echo half > b; sleep 600", name="running", out="b")
        until(lambda: (state_of(session, "done"), notebook.read("b")) == ("SUCCEEDED", "half\n"))
    session.open_scope("cell:next", ScopeKind.CELL, "next", deleted=["cell:gone"])
    session.close_scope("cell:next", is_ok=True)
    until(lambda: session.history()[-1]["outcome"] == "cancelled")
    assert all(row["dormant"] for row in session.status()["steps"])
    assert (notebook.read("a"), notebook.read("b")) == ("made\n", "half\n")
    # What a stopped job left is looked at once it is gone.
    until(lambda: sorted(session.clean(dry_run=True)["removed"]) == ["a", "b"])
    assert sorted(session.clean()["removed"]) == ["a", "b"]


# --- folders that are not there ---------------------------------------------------------------------


def test_a_temporary_folder_that_was_swept_away_is_replaced(notebook, monkeypatch, tmp_path):
    # mkdtemp raised FileNotFoundError in the user's cell.
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.setenv("TMPDIR", str(gone))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "never there"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() == str(gone)
    gone.rmdir()
    session = notebook.begin()
    assert session.declare("runsh", "echo $TMPDIR").wait().stdout == f"{gone}\n"
    assert session._host.socket.startswith("/tmp/")


@needs_root
@pytest.mark.parametrize("options", ["size=64k", "size=64k,nr_inodes=2"])
def test_a_full_temporary_folder_keeps_no_director_from_starting_also_after_a_crash(
    notebook, monkeypatch, tmp_path, options
):
    disk = Disk(tmp_path / "tmp", options)
    try:
        monkeypatch.setenv("TMPDIR", str(disk.folder))
        monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
        disk.fill()
        session = notebook.begin()
        session.declare("runsh", "echo > a", out="a").wait()
        # What a killed director leaves is read from a copy.
        os.kill(director_of(session), 9)
        session.declare("runsh", "echo > b", out="b").wait()
        session.close()
        session = notebook.begin()
        session.declare("runsh", "echo > a", out="a").wait()
        assert len(session.history()) == 2
    finally:
        notebook.close()
        disk.close()


def test_where_no_folder_at_all_can_be_had_the_cell_says_so_in_words(notebook, monkeypatch):
    def full(**_: Any) -> str:
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr(launch.tempfile, "mkdtemp", full)
    session = notebook.begin()
    with pytest.raises(UsageError, match="SNB-213") as caught:
        session.pool("p", 1)
    assert "no space left on device ('/tmp/x')" in caught.value.why
    monkeypatch.undo()
    session.pool("p", 1)


def test_without_descriptors_the_cell_says_so_in_words_and_the_next_one_works(notebook):
    session = notebook.begin()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    fill = []
    try:
        with contextlib.suppress(OSError):
            while True:
                fill.append(os.dup(0))
        with pytest.raises(UsageError, match="SNB-213") as caught:
            session.pool("p", 1)
        assert "too many open files" in caught.value.why
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fill:
            os.close(fd)
    session.pool("p", 1)


def test_without_a_home_everything_works_where_the_data_is_said_to_be(notebook, monkeypatch):
    monkeypatch.delenv("HOME")
    for _ in range(2):
        session = notebook.begin()
        handle = session.declare("runsh", "echo ${HOME-none} | tee a", out="a")
        assert handle.wait().stdout == "none\n"
        session.close()
    session = notebook.begin()
    session.pool("p", 1)
    assert len(session.history()) == 1


@pytest.mark.parametrize("home", ["", "relative", "~"])
def test_a_home_that_is_none_gets_no_folder_in_the_current_one(monkeypatch, tmp_path, home):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", home or str(tmp_path / "file"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert len(secret.key()) == 32
    assert secret.key() == secret.key()
    assert os.listdir(tmp_path) == ["file"]


@needs_root
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_user_without_home_and_without_entry_gets_no_folder_in_the_current_one(monkeypatch, tmp_path):
    # In a container with a number for a user, a folder called '~' appeared beside the notebook.
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o055)
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o777)

    def have_key() -> None:
        os.environ.pop("HOME", None)
        os.environ.pop("XDG_DATA_HOME", None)
        os.chdir(place)
        secret.key()

    assert as_other_user(have_key, user=54321) == ""
    assert os.listdir(place) == []


# --- permissions ------------------------------------------------------------------------------------


def test_without_a_umask_a_session_gives_nothing_of_its_own_to_others(notebook, monkeypatch, tmp_path):
    before = os.umask(0)
    try:
        (tmp_path / "run").mkdir(mode=0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home" / ".local" / "share"))
        session = notebook.begin()
        session.declare("runsh", "umask > sub/mask; echo out; echo err >&2", out="sub/mask").wait()
        ours = [tmp_path / "run", tmp_path / "home", notebook.folder / ".stepup"]
        found = [open_to_others(folder) for folder in ours]
        files = [path.name for path in notebook.folder.glob("a.stepup.db*")]
        assert sorted(files) == ["a.stepup.db", "a.stepup.db-wal"]
        open_files = [oct(os.stat(notebook.folder / name).st_mode & 0o777) for name in files]
        assert {"lock", "logs", "director.log", ".gitignore"} <= names_in(notebook.folder / ".stepup")
        # Those around the key, too: a stranger could put a folder of his own in the place of one that he may write.
        assert [*found, open_files] == [[], [], [], ["0o600", "0o600"]]
        # What steps make is the user's, and as the user would have made it.
        assert notebook.read("sub/mask") == "0000\n"
        os.kill(director_of(session), 9)
        session.declare("runsh", "echo again").wait()
        session.close()
        assert [open_to_others(folder) for folder in ours] == [[], [], []]
        assert os.stat(notebook.place.database).st_mode & 0o077 == 0
    finally:
        os.umask(before)


def test_without_a_umask_a_plan_gives_nothing_of_ours_to_others(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    write_plan(
        project,
        "runsh('echo out; exit 1')\nrunsh('echo > a', out='a')\nrunsh('cat nowhere', inp='nowhere')\n",
    )
    boot(project, code=2, umask=0)
    assert {"graph.db", "director.log", "success.log", "fail.log", "warning.log", "lock", "logs"} <= names_in(
        project / ".stepup"
    )
    assert open_to_others(project / ".stepup") == []
    assert open_to_others(tmp_path / "data") == []


# --- what is imported -------------------------------------------------------------------------------

POISON = """
open({marker!r}, "a").write(__name__ + "\\n")
raise ImportError(__name__)
"""

POISONED = """
    import os
    sys.path[:0] = ["", "{path}"]
    os.environ.update(PYTHONPATH="{path}:.", PYTHONSTARTUP="{path}/json.py", PYTHONHOME="{path}")
    os.chdir(place.root)
    handle = session.declare("runsh", "cat in > out", inp="in", out="out")
    handle.wait()
    print(session.status()["director_pid"], flush=True)
    sys.stdin.readline()
"""


def test_guard_and_director_import_nothing_from_the_notebooks_folder_or_the_pythonpath(notebook, tmp_path):
    # The kernel has both on its path, and what it has not imported yet was looked for there.
    marker, path = tmp_path / "imported", tmp_path / "path"
    for folder in (notebook.folder, path):
        folder.mkdir(exist_ok=True)
        for name in (
            "json",
            "ctypes",
            "sqlite3",
            "select",
            "socket",
            "hashlib",
            "sitecustomize",
            "usercustomize",
        ):
            (folder / f"{name}.py").write_text(POISON.format(marker=str(marker)))
        for name in ("blake3", "psutil", "stepup_nb"):
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(POISON.format(marker=str(marker)))
    notebook.write("in", "A")
    with contextlib.closing(KernelProcess(notebook, POISONED.format(path=path))) as kernel:
        director = int(kernel.says())
        for pid in (director, parent_of(director)):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            assert words[1:3] == [b"-I", b"-S"]
            assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert notebook.read("out") == "A"
        assert not marker.exists(), marker.read_text()


def test_who_looks_into_a_database_imports_nothing_from_there_either(notebook, monkeypatch, tmp_path):
    session = notebook.begin()
    session.declare("runsh", "echo > out", out="out").wait()
    session.close()
    marker = tmp_path / "imported"
    for name in ("json", "sqlite3", "blake3", "psutil", "stepup_nb"):
        (notebook.folder / f"{name}.py").write_text(POISON.format(marker=str(marker)))
    monkeypatch.chdir(notebook.folder)
    monkeypatch.setenv("PYTHONPATH", ".")
    assert find.offline(notebook.place.database)["counts"] == {"SUCCEEDED": 1}
    assert find.offline(notebook.place.database, "clean", paths=["out"], dry_run=True)["removed"] == ["out"]
    assert find.offline(notebook.place.database, "trust") == {"steps": []}
    assert not marker.exists(), marker.read_text()


# --- a kernel that is full or busy ------------------------------------------------------------------

FULL = """
    import json, os, resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = 1 << 16
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number + 100, max(hard, number + 100)))
    except (OSError, ValueError):
        number = hard - 100
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    taken = [os.dup(0) for _ in range(number)]
    handle = session.declare("runsh", "ls /proc/self/fd | wc -l")
    handle.wait()
    session.status()
    print(json.dumps([number, handle.stdout, session.status()["director_pid"]]), flush=True)
    sys.stdin.readline()
"""


def test_a_kernel_with_tens_of_thousands_of_descriptors_hands_none_of_them_on(notebook):
    with contextlib.closing(KernelProcess(notebook, FULL)) as kernel:
        number, counted, director = kernel.tells()
        assert number > 1024
        # Its three and the one by which it looks.
        assert counted == "4\n"
        for pid in (director, parent_of(director)):
            assert len(os.listdir(f"/proc/{pid}/fd")) < 40
        print(f"with {number} descriptors open")


STREAMS = {
    "replaced": "io.StringIO()",
    "closed": "open(os.devnull, 'w').close() or closed",
    "of another kind": "type('Sink', (), {'write': lambda self, text: len(text), 'flush': lambda self: None})()",
}


@pytest.mark.kernel
@pytest.mark.parametrize("how", STREAMS)
def test_a_standard_output_that_was_replaced_changes_no_record_and_loses_no_step(kernel, how):
    lines = [
        f"import io, os, sys\nkept, closed = (sys.stdout, sys.stderr), io.StringIO()\nclosed.close()\n"
        f"sys.stdout = sys.stderr = {STREAMS[how]}",
        "try:",
        *(
            f"    get_ipython().run_line_magic({magic!r}, {line!r})"
            for magic, line in (
                ("pool", f"p{len(how)} 2"),
                ("runsh", f"--name '{how}' echo A {how}"),
                ("stepup", f"wait '{how}'"),
                ("stepup", "status"),
            )
        ),
        "finally:",
        "    sys.stdout, sys.stderr = kept",
    ]
    cell = kernel.run("\n".join(lines))
    assert cell.is_ok, cell.error
    kernel.until(lambda: "1 succeeded" in cell.record["text/plain"])
    assert f"A {how}" in cell.record["text/plain"]
    assert cell.displays[0]["text/plain"].startswith(f"pool p{len(how)}: 0 of 2 slots in use")
    assert how in cell.displays[-1]["text/plain"]
    assert kernel.run_ok("%stepup workers 3").text == "3 workers\n"


class Subshell:
    """A second line into a kernel, as JupyterLab opens one for its widgets."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        client = kernel.client
        message = client.session.msg("create_subshell_request", {})
        client.control_channel.send(message)
        self.id = client.control_channel.get_msg(timeout=LONG)["content"]["subshell_id"]

    def run(self, code: str, cell: str) -> Any:
        """Run a cell in it, and return the cell."""
        send = self.kernel.client.shell_channel.send

        def sent(message: dict[str, Any]) -> None:
            message["header"]["subshell_id"] = self.id
            send(message)

        self.kernel.client.shell_channel.send = sent
        try:
            begun = self.kernel.start(code, cell=cell)
        finally:
            del self.kernel.client.shell_channel.send
        return self.kernel.finish(begun)


@pytest.mark.kernel
def test_a_cell_in_a_subshell_declares_steps_while_the_main_one_computes(kernel):
    subshell = Subshell(kernel)
    kernel.run_ok("import threading\ngo = threading.Event()")
    busy = kernel.start("%runsh --name main -- echo main\ngo.wait()", cell="busy")
    kernel.until(lambda: bool(busy.displays))
    cell = subshell.run("h = %runsh --name side -- echo side\nh.wait()", "side")
    assert cell.is_ok, cell.error
    assert busy.reply is None
    kernel.until(lambda: "SUCCEEDED  side" in cell.record["text/plain"])
    assert subshell.run("go.set()", "free").is_ok
    kernel.finish(busy)
    kernel.run_ok("%stepup wait main side")
    rows = {row["name"]: row for row in kernel.status()["steps"]}
    assert {rows[name]["state"] for name in ("main", "side")} == {"SUCCEEDED"}
    assert "%runsh --name main" in rows["main"]["cell"]
    assert "SUCCEEDED  main" in busy.record["text/plain"]
