"""Which notebook is this kernel's: real files, a real server on the loopback address, real command lines."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stepup_nb.notebook import locate as locate_module
from stepup_nb.notebook.locate import UNKNOWN, Location, locate

REPOSITORY = Path(locate_module.__file__).parents[2]
KERNEL_ID = "0b3c7c5e-1111-2222-3333-444455556666"

Serve = Callable[..., "SessionsServer"]
Ask = Callable[..., Location]
Run = Callable[..., Location]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a notebook, in which the kernel runs."""
    touch(tmp_path / "project" / "analysis.ipynb")
    return tmp_path / "project"


@pytest.fixture
def connection_file(tmp_path: Path) -> Path:
    """The file by which a front end talks to the kernel; its folder is the runtime folder."""
    return touch(tmp_path / "runtime" / f"kernel-{KERNEL_ID}.json")


# What lies where.


def test_the_database_lies_beside_the_notebook(project: Path) -> None:
    location = locate({}, explicit="analysis.ipynb", environ={}, cwd=project)
    assert location.notebook == project / "analysis.ipynb"
    assert location.root == project
    assert location.database == project / "analysis.stepup.db"
    assert location.state_dir == project / ".stepup" / "analysis"
    assert location.lock == project / ".stepup" / "analysis" / "lock"


def test_only_the_last_ending_of_a_name_is_replaced(project: Path) -> None:
    location = locate({}, explicit="v1.2 final.ipynb", environ={}, cwd=project)
    assert location.database == project / "v1.2 final.stepup.db"


def test_without_a_notebook_the_folder_and_a_fixed_name_are_used_and_it_says_so(project: Path) -> None:
    location = locate({}, environ={}, cwd=project)
    assert location == Location(notebook=None, root=project, how=UNKNOWN)
    assert location.database == project / "notebook.stepup.db"
    assert location.state_dir == project / ".stepup" / "notebook"
    assert "%stepup notebook PATH" in location.how


def test_a_notebook_behind_a_symbolic_link_stays_where_the_user_sees_it(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.ipynb").symlink_to(project / "analysis.ipynb")
    location = locate({}, explicit=tmp_path / "link.ipynb", environ={}, cwd=project)
    assert location.database == tmp_path / "link.stepup.db"


def test_a_removed_working_directory_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert locate({}, environ={"PWD": str(gone)}).root == gone


# What the user says.


def test_the_magic_wins_over_everything(project: Path, connection_file: Path) -> None:
    touch(project / "other.ipynb")
    environ = {"STEPUP_NB_NOTEBOOK": "other.ipynb", "JPY_SESSION_NAME": "other.ipynb"}
    names = {"__vsc_ipynb_file__": str(project / "other.ipynb")}
    location = locate(
        names, explicit="analysis.ipynb", environ=environ, connection_file=connection_file, cwd=project
    )
    assert location.notebook == project / "analysis.ipynb"
    assert location.how == "given by %stepup notebook"


def test_the_variable_wins_over_every_front_end(project: Path, connection_file: Path) -> None:
    touch(project / "other.ipynb")
    environ = {"STEPUP_NB_NOTEBOOK": "analysis.ipynb", "JPY_SESSION_NAME": str(project / "other.ipynb")}
    location = locate(
        {"__vsc_ipynb_file__": str(project / "other.ipynb")},
        environ=environ,
        connection_file=connection_file,
        cwd=project,
    )
    assert (location.notebook, location.how) == (
        project / "analysis.ipynb",
        "given by STEPUP_NB_NOTEBOOK",
    )


def test_a_notebook_that_is_not_saved_yet_is_believed(project: Path) -> None:
    location = locate({}, explicit="new.ipynb", environ={}, cwd=project)
    assert location.database == project / "new.stepup.db"


def test_a_folder_will_do(project: Path, tmp_path: Path) -> None:
    location = locate({}, explicit=project, environ={}, cwd=tmp_path)
    assert (location.notebook, location.database) == (None, project / "notebook.stepup.db")


def test_a_home_directory_is_expanded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    assert locate({}, explicit="~/analysis.ipynb", environ={}).root == project


def test_an_empty_variable_says_nothing(project: Path) -> None:
    assert locate({}, environ={"STEPUP_NB_NOTEBOOK": ""}, cwd=project).how == UNKNOWN


# What the front end says.


def test_vs_code_is_believed_before_the_server(project: Path, connection_file: Path) -> None:
    touch(project / "other.ipynb")
    location = locate(
        {"__vsc_ipynb_file__": str(project / "analysis.ipynb")},
        environ={"JPY_SESSION_NAME": str(project / "other.ipynb")},
        connection_file=connection_file,
        cwd=project,
    )
    assert location.notebook == project / "analysis.ipynb"
    assert "VS Code" in location.how


@pytest.mark.parametrize("odd", ["/no/such/Untitled-1.ipynb", "", 42, None, "a\0b", "x" * 5000])
def test_an_odd_name_in_the_namespace_is_no_answer(odd: object, project: Path) -> None:
    assert locate({"__vsc_ipynb_file__": odd}, environ={}, cwd=project).how == UNKNOWN


def test_the_session_name_is_believed(project: Path, connection_file: Path) -> None:
    location = locate(
        {},
        environ={"JPY_SESSION_NAME": str(project / "analysis.ipynb")},
        connection_file=connection_file,
        cwd=project,
    )
    assert location.notebook == project / "analysis.ipynb"
    assert "JPY_SESSION_NAME" in location.how


def test_the_session_name_of_a_renamed_notebook_is_not(project: Path, connection_file: Path) -> None:
    environ = {"JPY_SESSION_NAME": str(project / "old name.ipynb")}
    assert locate({}, environ=environ, connection_file=connection_file, cwd=project).how == UNKNOWN


def test_a_session_name_inherited_from_another_kernel_is_not(project: Path, connection_file: Path) -> None:
    """papermill in a cell: its kernel took itself for the outer notebook, which is in use."""
    outer = str(project / "analysis.ipynb")
    papermill = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "JPY_SESSION_NAME": outer},
    )
    with papermill:
        environ = {"JPY_SESSION_NAME": outer, "JPY_PARENT_PID": str(papermill.pid)}
        location = locate({}, environ=environ, connection_file=connection_file, cwd=project)
        papermill.kill()
    assert location.how == UNKNOWN


def test_in_a_terminal_only_the_user_counts(project: Path) -> None:
    """`!ipython` in a cell, or ipython on a command line that names a notebook."""
    environ = {"JPY_SESSION_NAME": str(project / "analysis.ipynb"), "JPY_PARENT_PID": str(os.getppid())}
    assert locate({}, environ=environ, cwd=project).how == UNKNOWN


@pytest.mark.parametrize("pid", ["0", "1", "-3", "", "many", "9" * 40])
def test_an_odd_parent_is_no_error(pid: str, project: Path, connection_file: Path) -> None:
    environ = {"JPY_SESSION_NAME": str(project / "analysis.ipynb"), "JPY_PARENT_PID": pid}
    locate({}, environ=environ, connection_file=connection_file, cwd=project)


class SessionsServer:
    """As much of a Jupyter server as answers one question, and remembers how it was asked."""

    def __init__(
        self, runtime: Path, root: Path, *, unix: Path | None = None, **file_entries: object
    ) -> None:
        self.sessions: object = []
        self.asked: list[tuple[str, str | None]] = []
        self.answer: Callable[[http.server.BaseHTTPRequestHandler], None] = self.answer_sessions
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def address_string(self) -> str:
                return "somebody"

            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["Authorization"]))
                with contextlib.suppress(OSError):
                    outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        if unix is None:
            self._server: socketserver.TCPServer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        else:
            self._server = socketserver.ThreadingUnixStreamServer(str(unix), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        entries: dict[str, object] = {
            "base_url": "/",
            "hostname": "127.0.0.1",
            "password": False,
            "pid": os.getpid(),
            "port": 0 if unix else self._server.socket.getsockname()[1],
            "root_dir": str(root),
            "secure": False,
            "sock": str(unix or ""),
            "token": "s3cret",
            "url": "http://elsewhere.example:8888/",
            "version": "2.21.1",
        } | file_entries
        (runtime / f"jpserver-{entries['pid']}.json").write_text(json.dumps(entries))

    def answer_sessions(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = json.dumps(self.sessions).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def session(path: str, *, kernel: str = KERNEL_ID, kind: str = "notebook") -> dict[str, Any]:
    return {"id": "s", "path": path, "name": path, "type": kind, "kernel": {"id": kernel, "name": "python3"}}


@pytest.fixture
def serve(project: Path, connection_file: Path) -> Iterator[Callable[..., SessionsServer]]:
    """Start servers that leave their file where the kernel's connection file lies."""
    servers: list[SessionsServer] = []

    def start(**entries: Any) -> SessionsServer:
        servers.append(SessionsServer(connection_file.parent, project.parent, **entries))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


# What the server says.


@pytest.fixture
def ask(project: Path, connection_file: Path) -> Callable[..., Location]:
    def ask(environ: Mapping[str, str] | None = None) -> Location:
        return locate({}, environ=environ or {}, connection_file=connection_file, cwd=project)

    return ask


def test_it_knows_the_notebook_after_a_rename(serve: Serve, ask: Ask, project: Path) -> None:
    server = serve()
    server.sessions = [session("x.ipynb", kernel="another"), session("project/analysis.ipynb")]
    location = ask({"JPY_SESSION_NAME": str(project / "old name.ipynb")})
    assert location.notebook == project / "analysis.ipynb"
    assert "server" in location.how
    assert server.asked == [("/api/sessions", "token s3cret")]


def test_its_base_url_is_kept(serve: Serve, ask: Ask) -> None:
    server = serve(base_url="/user/ada/")
    ask()
    assert server.asked == [("/user/ada/api/sessions", "token s3cret")]


def test_it_may_listen_on_a_unix_socket(
    serve: Serve,
    ask: Ask,
    project: Path,
    tmp_path: Path,
) -> None:
    server = serve(unix=tmp_path / "s", hostname="localhost")
    server.sessions = [session("project/analysis.ipynb")]
    assert ask().notebook == project / "analysis.ipynb"


@pytest.mark.parametrize("hostname", ["localhost", "0.0.0.0", "", "::", "*"])
def test_a_server_for_everybody_is_asked_on_this_machine(
    serve: Serve,
    ask: Ask,
    project: Path,
    hostname: str,
) -> None:
    serve(hostname=hostname).sessions = [session("project/analysis.ipynb")]
    assert ask().notebook == project / "analysis.ipynb"


@pytest.mark.parametrize("hostname", ["elsewhere.example", "10.255.255.1", "127.0.0.1.example", "ff02::1"])
def test_another_host_is_never_asked(
    serve: Serve,
    ask: Ask,
    hostname: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(hostname=hostname)
    reached: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda address, *_, **__: reached.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: reached.append(host))
    assert ask().how == UNKNOWN
    assert reached == []


def test_a_redirect_to_another_host_is_not_followed(serve: Serve, ask: Ask) -> None:
    def redirect(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "http://elsewhere.example/api/sessions")
        request.end_headers()

    server = serve()
    server.answer = redirect
    assert ask().how == UNKNOWN
    assert len(server.asked) == 1


def test_a_dead_server_s_port_gets_no_token(serve: Serve, ask: Ask) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    server = serve(pid=ended.pid)
    ask()
    assert server.asked == []


def test_our_own_server_is_asked_first_and_then_no_other(serve: Serve, ask: Ask, project: Path) -> None:
    other = serve(pid=1)
    own = serve(pid=os.getpid())
    own.sessions = other.sessions = [session("project/analysis.ipynb")]
    assert ask({"JPY_PARENT_PID": str(os.getpid())}).notebook == project / "analysis.ipynb"
    assert (len(own.asked), len(other.asked)) == (1, 0)


def test_the_hub_s_token_is_for_our_own_server_only(serve: Serve, ask: Ask) -> None:
    other = serve(pid=1, token="")
    own = serve(pid=os.getpid(), token="")
    ask({"JPY_PARENT_PID": str(os.getpid()), "JUPYTERHUB_API_TOKEN": "hub"})
    assert (own.asked, other.asked) == ([("/api/sessions", "token hub")], [("/api/sessions", None)])


def test_a_console_is_no_notebook(serve: Serve, ask: Ask, project: Path) -> None:
    touch(project / "console-1")
    server = serve()
    server.sessions = [session("project/console-1", kind="console"), session("project/analysis.ipynb")]
    assert ask().notebook == project / "analysis.ipynb"


def test_the_drive_of_a_shared_notebook_is_left_off(serve: Serve, ask: Ask, project: Path) -> None:
    serve().sessions = [session("RTC:project/analysis.ipynb")]
    assert ask().notebook == project / "analysis.ipynb"


@pytest.mark.parametrize("odd", [None, {}, {"message": "Forbidden"}, [None, 3, {}, {"kernel": None}]])
def test_an_odd_answer_is_none(serve: Serve, ask: Ask, odd: object) -> None:
    serve().sessions = odd
    assert ask().how == UNKNOWN


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": "x"}', '{"pid": 1, "root_dir": null}'])
def test_an_odd_server_file_is_passed_over(
    serve: Serve,
    ask: Ask,
    project: Path,
    connection_file: Path,
    text: str,
) -> None:
    (connection_file.parent / "jpserver-0.json").write_text(text)
    serve().sessions = [session("project/analysis.ipynb")]
    assert ask().notebook == project / "analysis.ipynb"


def test_a_kernel_without_an_id_asks_nobody(serve: Serve, project: Path, connection_file: Path) -> None:
    server = serve()
    locate({}, environ={}, connection_file=connection_file.parent / "tmp1234.json", cwd=project)
    assert server.asked == []


@pytest.mark.parametrize("is_trickling", [False, True])
def test_servers_that_hang_or_trickle_cost_less_than_a_second(
    serve: Serve, ask: Ask, monkeypatch: pytest.MonkeyPatch, is_trickling: bool
) -> None:
    # So long that only the time for all of them ends the wait: nobody has answered when it is over.
    monkeypatch.setattr(locate_module, "_SERVER_TIMEOUT", 600.0)
    done = threading.Event()

    def hang(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not done.wait(0.05):
            if is_trickling:
                request.wfile.write(b" ")

    for pid in (1, os.getpid(), os.getppid()):
        serve(pid=pid).answer = hang
    assert ask().how == UNKNOWN
    assert locate_module._SERVERS_TIMEOUT < 1
    (asking,) = [thread for thread in threading.enumerate() if thread.name == "stepup-locate"]
    done.set()
    asking.join()


# What the command line says.


@pytest.fixture
def run(project: Path, connection_file: Path, tmp_path: Path) -> Callable[..., Location]:
    """Run a program of that name, in a folder, that starts a "kernel", and give what the kernel finds."""
    kernel = touch(tmp_path / "kernel.py")
    kernel.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from stepup_nb.notebook.locate import locate\n"
        f"found = locate({{}}, environ={{}}, connection_file={str(connection_file)!r})\n"
        "print(repr(str(found.notebook or '')), found.how, sep='\\n')\n"
    )

    def run(*argv: str, here: Path = project, folder: Path = project) -> Location:
        program = touch(tmp_path / "bin" / argv[0])
        program.write_text(
            "import subprocess, sys\n"
            f"subprocess.run([sys.executable, {str(kernel)!r}], cwd={str(here)!r}, check=True)\n"
        )
        command = [sys.executable, str(program), *argv[1:]]
        output = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
        notebook, how = output.splitlines()
        path = Path(eval(notebook)) if eval(notebook) else None
        return Location(notebook=path, root=path.parent if path else here, how=how)

    return run


def test_papermill_s_first_notebook_is_the_input(run: Run, project: Path) -> None:
    touch(project / "out.ipynb")
    found = run("papermill", "-p", "n", "3", "analysis.ipynb", "out.ipynb")
    assert found.notebook == project / "analysis.ipynb"
    assert "command line of process" in found.how


def test_a_path_is_relative_to_the_folder_of_that_program(run: Run, project: Path, tmp_path: Path) -> None:
    found = run("jupyter-execute", "project/analysis.ipynb", folder=tmp_path, here=project)
    assert found.notebook == project / "analysis.ipynb"


def test_a_name_of_no_file_is_passed_over(run: Run, project: Path) -> None:
    found = run("papermill", "s3://bucket/in.ipynb", "--log=x.ipynb", "analysis.ipynb")
    assert found.notebook == project / "analysis.ipynb"


def test_of_several_executed_notebooks_the_one_in_the_kernel_s_folder_is_it(
    run: Run, project: Path, tmp_path: Path
) -> None:
    touch(tmp_path / "a" / "first.ipynb")
    found = run("jupyter-nbconvert", "--execute", "../a/first.ipynb", "analysis.ipynb")
    assert found.notebook == project / "analysis.ipynb"


def test_of_several_executed_in_one_folder_none_is_taken(run: Run, project: Path) -> None:
    """`jupyter execute *.ipynb`: the second notebook's steps went into the first one's database."""
    touch(project / "second.ipynb")
    assert run("jupyter-execute", "analysis.ipynb", "second.ipynb").how == UNKNOWN


def test_a_named_output_is_not_what_is_executed(run: Run, project: Path) -> None:
    touch(project / "done.ipynb")
    found = run("jupyter-nbconvert", "--execute", "--output", "done.ipynb", "analysis.ipynb")
    assert found.notebook == project / "analysis.ipynb"


@pytest.mark.parametrize("program", ["jupyter-lab", "ipykernel_launcher"])
def test_what_a_server_or_an_outer_kernel_was_started_with_is_another_matter(run: Run, program: str) -> None:
    assert run(program, "analysis.ipynb").how == UNKNOWN
