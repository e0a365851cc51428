"""The threat model, from the outside: what strangers put into files, names and servers has no say here.

What steps print (T1) is with promise 25, other users (T4) with 27, steps against the socket (T6) are in
`director/test_jobs.py`, what is imported (T7) in `test_environment.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from director.helpers_world import Notebook, cell, ran, until
from faults.helpers_witness import holding
from notebook.helpers_kernel import LONG, Kernel, environment

from stepup_nb.client.launch import ProcessHost
from stepup_nb.client.session import check


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Iterator[Notebook]:
    """A folder whose sessions have directors in processes of their own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "project"
    folder.mkdir()
    found = Notebook(folder, ProcessHost)
    yield found
    found.close()


# --- a repository of somebody else (T2) ---------------------------------------------------------------


def cloned(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a state file in which `a` is up to date and `b` outdated, and return the session of another user of it."""
    session = notebook.begin()
    with cell(session, "c"):
        session.declare("runsh", "echo a > a", name="make a", out="a")
        session.declare("runsh", "echo b > b", name="make b", out="b")
        check(session.wait())
    with cell(session, "c"):
        session.declare("runsh", "echo a > a", name="make a", out="a")
    session.close()
    monkeypatch.setenv("XDG_DATA_HOME", str(notebook.folder.parent / "another's data"))
    return notebook.begin()


def test_a_state_file_from_elsewhere_authorises_no_skip_and_no_deletion_until_it_is_trusted(
    notebook, monkeypatch
):
    session = cloned(notebook, monkeypatch)
    assert session.clean()["removed"] == []
    assert any("recorded elsewhere" in note and "%stepup trust" in note for note in session.notes)
    session.close()
    # From a terminal, too, where nobody is told by a note.
    terminal = environment(XDG_DATA_HOME=os.environ["XDG_DATA_HOME"])
    for verb in ("clean", "status"):
        done = subprocess.run(
            [sys.executable, "-m", "stepup_nb", verb],
            cwd=notebook.folder,
            env=terminal,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("recorded elsewhere: not believed before 'stepup-nb trust'") == 2
    assert notebook.read("b") == "b\n"
    session = notebook.begin()
    session.declare("runsh", "echo a > a", name="make a", out="a").wait()
    assert ran(session) == ["make a", "make b", "make a"]
    assert session.trust() == ["make b"]
    assert session.clean()["removed"] == ["b"]
    session = notebook.again(session)
    session.declare("runsh", "echo a > a", name="make a", out="a").wait()
    assert len(session.history()) == 3


def test_once_trusted_what_was_recorded_elsewhere_is_skipped(notebook, monkeypatch):
    session = cloned(notebook, monkeypatch)
    assert sorted(session.trust()) == ["make a", "make b"]
    session.declare("runsh", "echo a > a", name="make a", out="a").wait()
    assert len(session.history()) == 2


@pytest.mark.parametrize(
    "path", ["../victim", "{root}/../victim", "link/victim", "./../project/../victim", "sub/../../victim"]
)
def test_also_a_state_file_that_is_trusted_leads_to_no_deletion_outside(notebook, monkeypatch, path):
    session = cloned(notebook, monkeypatch)
    session.close()
    path = path.format(root=notebook.folder)
    victim = notebook.folder.parent / "victim"
    victim.write_text("b\n")
    victim.chmod((notebook.folder / "b").stat().st_mode)
    (notebook.folder / "link").symlink_to(notebook.folder.parent)
    with contextlib.closing(sqlite3.connect(notebook.place.database)) as db, db:
        for table, column in (("result", "record"), ("step", "spec")):
            db.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", ('"b"', json.dumps(path)))
    session = notebook.begin()
    assert "make b" in session.trust()
    done = session.clean()
    assert done["removed"] == []
    assert [(row["path"], bool(row["why"])) for row in done["kept"]] == [(path, True)]
    assert victim.read_text() == "b\n"


def test_a_stranger_who_edits_what_was_recorded_here_is_found_out(notebook):
    session = notebook.begin()
    session.declare("runsh", "echo a > a", name="make a", out="a").wait()
    session.close()
    # Forged: that the step with this command made a file of another content, which is there.
    notebook.write("a", "evil")
    with contextlib.closing(sqlite3.connect(notebook.place.database)) as db, db:
        (words,) = db.execute("SELECT record FROM result").fetchone()
        digest = re.search(r"blake3:\w+|[0-9a-f]{64}", words)
        assert digest is not None, words
        db.execute("UPDATE result SET record = replace(record, ?, ?)", (digest[0], digest[0][::-1]))
    session = notebook.begin()
    session.declare("runsh", "echo a > a", name="make a", out="a").wait()
    assert (len(session.history()), notebook.read("a")) == (2, "a\n")


# --- names (T5) ----------------------------------------------------------------------------------------

NAMES = sorted(
    {"-rf", "$(touch pwned)", "`touch pwned`", "a;touch pwned", "two\nlines", "'q\"", "~x", "*", "?", " x "}
    | {"\u202egpj.exe", "\udcff", "<img src=x>", "x" * 255}
)
OUT = "o u;t$(touch pwned)"


def test_no_file_name_is_an_option_a_command_or_a_pattern_of_the_shell(notebook):
    session = notebook.begin()
    for name in NAMES:
        notebook.write(name, f"<{len(name)}>")
    command = 'for f in ${inp}; do cat ./"$f"; done > ${out}'
    session.declare("runsh", command, inp=NAMES, out=OUT).wait()
    assert notebook.read(OUT) == "".join(f"<{len(name)}>" for name in NAMES)
    ours = {"a.stepup.db", "a.stepup.db-wal", ".stepup"}
    assert set(os.listdir(notebook.folder)) - ours == {*NAMES, OUT}
    # They come back as they are, and no line of a table is two.
    session = notebook.again(session)
    session.pool("p", 1)
    assert session.status()["steps"][0]["inp"] == NAMES
    session.close()
    shown = subprocess.run(
        [sys.executable, "-m", "stepup_nb", "status"],
        cwd=notebook.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert sum("runsh for f in" in line for line in shown.stdout.splitlines()) == 1
    assert "\u202e" not in shown.stdout


# --- servers and their tokens (T3, T8) -----------------------------------------------------------------

TOKEN = "t0ken-" + os.urandom(8).hex()
GIVEN = {
    "JUPYTER_TOKEN": TOKEN,
    "JUPYTERHUB_API_TOKEN": TOKEN,
    "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{TOKEN}",
    "JUPYTERHUB_OAUTH_SCOPES": f'["{TOKEN}"]',
    "JUPYTERHUB_ACTIVITY_URL": f"http://hub/{TOKEN}",
    "JPY_API_TOKEN": TOKEN,
    "CONFIGPROXY_AUTH_TOKEN": TOKEN,
    "JUPYTER_GATEWAY_AUTH_TOKEN": TOKEN,
    "JUPYTER_GATEWAY_HTTP_PWD": TOKEN,
    "KG_AUTH_TOKEN": TOKEN,
    "BINDER_API_TOKEN": TOKEN,
}
"""What hubs, proxies, gateways and servers put into the environment of a server, and so of its kernels."""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class Served(Kernel):
    """A kernel that a Jupyter server has started, for a notebook that has been renamed since."""

    def start_kernel(self) -> None:
        aside = self.folder.parent
        self.log = aside / "log"
        self._path = str(aside / "s")
        (self.folder / "renamed.ipynb").write_text("{}")
        folders = {f"JUPYTER_{name}_DIR": str(aside / name.lower()) for name in ("RUNTIME", "CONFIG", "DATA")}
        variables = {name: value for name, value in self._variables.items() if name != "STEPUP_NB_NOTEBOOK"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
                    *("--log-level=DEBUG", f"--sock={self._path}", f"--ServerApp.root_dir={self.folder}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment(IPYTHONDIR=str(aside / "ipython"), **folders, **variables), **GIVEN},
                start_new_session=True,
            )
        try:
            self._begin(aside)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _begin(self, aside: Path) -> None:
        """Have the server start a kernel, and rename its notebook."""
        from jupyter_client.blocking.client import BlockingKernelClient

        # Its file is there before it listens.
        until(lambda: list((aside / "runtime").glob("jpserver-*.json")) and self._listens())
        wanted = {"path": "old.ipynb", "type": "notebook", "name": "", "kernel": {"name": "python3"}}
        begun = self.ask("POST", "/api/sessions", wanted)
        self.ask("PATCH", f"/api/sessions/{begun['id']}", {"path": "renamed.ipynb"})
        file = aside / "runtime" / f"kernel-{begun['kernel']['id']}.json"
        self.client: Any = BlockingKernelClient()
        self.client.load_connection_file(str(file))
        self.client.start_channels(hb=False)
        self.client.wait_for_ready(timeout=LONG)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self._path)
            return True
        return False

    def ask(self, method: str, path: str, fields: Any = None) -> Any:
        """Ask the server, and return its answer."""
        with contextlib.closing(_Unix(self._path)) as connection:
            headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(fields), headers)
            answer = connection.getresponse()
            words = answer.read()
            assert answer.status < 300, words
            return json.loads(words)

    def questions(self) -> int:
        """Return how often the server has been asked which notebooks there are."""
        self.ask("GET", "/api/status")
        return len(re.findall(r"GET /api/sessions", self.log.read_text()))


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    """A kernel of a server."""
    pytest.importorskip("jupyter_server")
    folder = tmp_path_factory.mktemp("served")
    kernel = Served(Path(sys.executable), folder / "nb", XDG_DATA_HOME=str(folder / "data"))
    processes = psutil.Process(kernel.process.pid).children(recursive=True)
    yield kernel
    kernel.client.stop_channels()
    kernel.process.terminate()
    kernel.process.wait(LONG)
    psutil.wait_procs(processes, LONG)


@pytest.mark.kernel
def test_loading_asks_no_server_which_notebook_this_is_and_the_first_step_does(served):
    # It asked as soon as it was loaded: a cloned notebook reached a server before anybody had run a step of it.
    before = served.questions()
    served.load()
    served.run_ok("1 + 1", cell="a")
    assert served.questions() == before
    served.run_ok("%pool test 2")
    assert served.questions() == before + 1
    assert "renamed.ipynb" in served.run_ok("%stepup notebook").text
    assert (served.folder / "renamed.stepup.db").exists()


@pytest.mark.kernel
def test_of_a_servers_tokens_a_step_gets_none_and_nothing_keeps_them(served):
    known = served.value("{n: v for n, v in __import__('os').environ.items()}")
    assert {name: known.get(name) for name in GIVEN} == GIVEN, "the kernel itself has them"
    assert {"JPY_SESSION_NAME", "JPY_PARENT_PID"} <= known.keys()
    served.run("%load_ext stepup_nb")
    cell = served.run_ok("%%runsh --name all\nenv | sort; tr '\\0' '\\n' < /proc/$$/environ")
    served.run_ok("%%runpy --name python\nimport os\nprint(*os.environ.items(), sep='\\n')")
    served.run_ok("%stepup wait all python")
    said = served.run_ok("%stepup log all\n%stepup log python\n%stepup status --json").text
    assert "XDG_DATA_HOME" in said
    assert TOKEN not in said and TOKEN not in cell.record["text/html"]
    for name in (*GIVEN, "JPY_SESSION_NAME", "JPY_PARENT_PID"):
        assert not re.search(rf"\b{name}\b", said), name
    state = (served.folder, served.folder.parent / "data")
    assert holding(b"python", *state)
    assert holding(TOKEN.encode(), *state) == []
    # Who asks for one by name gets it: it is the user's own.
    served.run_ok('%%runsh --name asks --env JUPYTER_TOKEN\ntest -n "$JUPYTER_TOKEN" && echo got it')
    served.run_ok("%stepup wait asks")
    assert "got it" in served.run_ok("%stepup log asks").text
    assert holding(TOKEN.encode(), *state) == []
