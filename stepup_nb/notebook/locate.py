"""Finds out which notebook this kernel belongs to, and so where its database lies.

No front end tells a kernel in one agreed way, so the places where one may find it are asked in turn, the
surest first; the rank that answered is said in `%stepup doctor`. Knows nothing of steps, and of IPython only
what is in the user's namespace.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import queue
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

VARIABLE = "STEPUP_NB_NOTEBOOK"
"""The environment variable by which a user says which notebook it is."""

UNKNOWN = f"not known, so the kernel's folder is used; name it with %stepup notebook PATH or {VARIABLE}"
"""`Location.how` where no rank had an answer."""

_SERVER_TIMEOUT = 0.5
"""Seconds for one request to a Jupyter server."""

_SERVERS_TIMEOUT = 0.7
"""Seconds for all of them: the first cell that needs a session waits for this."""

_ANSWER_LIMIT = 4_000_000
"""Bytes read of a server's answer: some thousand sessions."""

_OTHER_ORIGIN = frozenset(
    {"ipykernel", "ipykernel_launcher", "jupyter-lab", "jupyter-labhub", "jupyter-notebook", "jupyter-server"}
    | {"jupyterhub-singleuser", "jupyter-nbclassic"}
)
"""Programs whose command line, and that of whatever started them, is about another notebook than ours: a
kernel that executes a notebook, and a server, which is told the notebook to open first."""

_TAKES_MANY = frozenset({"jupyter-execute", "jupyter-nbconvert", "execute", "nbconvert", "pytest", "py.test"})
"""Programs that execute every notebook on their command line, each in its own folder, where papermill takes
input and output."""

_NAMES_OUTPUT = frozenset({"-o", "--output"})

_Found = tuple[Path, str]
"""A notebook, and how it was found in a phrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a kernel's notebook is; all paths are absolute, and none need exist."""

    notebook: Path | None
    """The notebook's file; none where nobody says which it is."""

    root: Path
    """The notebook's folder, to which relative paths of steps are relative."""

    how: str
    """How it was found, as a phrase for `%stepup doctor`."""

    @property
    def database(self) -> Path:
        """`analysis.stepup.db` beside `analysis.ipynb`; `notebook.stepup.db` without a notebook."""
        return self.root / f"{self._stem}.stepup.db"

    @property
    def state_dir(self) -> Path:
        """The folder of logs, lock and other droppings: `.stepup/analysis` beside `analysis.ipynb`."""
        return self.root / ".stepup" / self._stem

    @property
    def lock(self) -> Path:
        """The file whose lock says that a director holds this notebook."""
        return self.state_dir / "lock"

    @property
    def _stem(self) -> str:
        return "notebook" if self.notebook is None else self.notebook.stem


def locate(
    user_ns: Mapping[str, object],
    *,
    explicit: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    connection_file: str | os.PathLike[str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Location:
    """Find this kernel's notebook; never raises, and takes less than a second whatever the environment.

    `explicit` is the path given to `%stepup notebook`; like `STEPUP_NB_NOTEBOOK` it is believed even if no
    such file exists (yet), and may be a folder. `connection_file` defaults to that of the kernel in this
    process; where there is no kernel (IPython in a terminal) only what the user says counts. `cwd` is the
    folder the kernel was started in: pass `ip.starting_dir`, since the current directory may have been
    changed since.
    """
    here = _working_directory(environ)
    if cwd is not None:
        here = _absolute(cwd, here)
    connection = Path(connection_file) if connection_file is not None else _own_connection_file()
    ranks: tuple[Callable[[], _Found | None], ...] = (
        lambda: _given(explicit, "given by %stepup notebook", here),
        lambda: _given(environ.get(VARIABLE), f"given by {VARIABLE}", here),
        lambda: _named_in_namespace(user_ns, here),
    )
    if connection is not None:
        ranks += (
            lambda: _named_in_environment(environ, here),
            lambda: _named_by_servers(connection, environ),
            lambda: _named_on_command_line(os.getpid(), here),
        )
    for rank in ranks:
        # What cannot be read (a folder of others, a home of nobody, a number of no process) is no answer.
        with contextlib.suppress(OSError, ValueError, RuntimeError, OverflowError):
            found = rank()
            if found is not None:
                path, how = found
                if path.is_dir():
                    return Location(notebook=None, root=path, how=how)
                return Location(notebook=path, root=path.parent, how=how)
    return Location(notebook=None, root=here, how=UNKNOWN)


def _working_directory(environ: Mapping[str, str]) -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        # Somebody removed the folder under the kernel; writing there will fail, and the session says so then.
        return Path(environ.get("PWD") or os.sep)


def _own_connection_file() -> Path | None:
    """Give the connection file of the kernel in this process, if it is one."""
    kernelapp = sys.modules.get("ipykernel.kernelapp")
    if kernelapp is None or not kernelapp.IPKernelApp.initialized():
        return None
    return Path(kernelapp.IPKernelApp.instance().abs_connection_file)


def _absolute(path: str | os.PathLike[str], folder: Path) -> Path:
    # Not resolved: a notebook reached through a symbolic link has its files where the user sees it.
    return Path(os.path.abspath(folder / Path(path).expanduser()))  # noqa: PTH100


def _existing(path: object, folder: Path) -> Path | None:
    """Give the path if a file is there."""
    if not isinstance(path, str) or not path:
        return None
    candidate = _absolute(path, folder)
    return candidate if candidate.is_file() else None


# What the user or the front end says.


def _given(path: str | os.PathLike[str] | None, how: str, here: Path) -> _Found | None:
    return (_absolute(path, here), how) if path else None


def _named_in_namespace(user_ns: Mapping[str, object], here: Path) -> _Found | None:
    notebook = _existing(user_ns.get("__vsc_ipynb_file__"), here)
    return None if notebook is None else (notebook, "VS Code says so (__vsc_ipynb_file__)")


def _named_in_environment(environ: Mapping[str, str], here: Path) -> _Found | None:
    """Believe JPY_SESSION_NAME, unless it is stale (the notebook was renamed) or another kernel's.

    papermill in a cell or in a step hands that of the outer notebook on to the kernel it starts.
    """
    name = environ.get("JPY_SESSION_NAME")
    notebook = _existing(name, here)
    if notebook is None or _environment_of(_parent(environ)).get("JPY_SESSION_NAME") == name:
        return None
    return notebook, "the Jupyter server says so (JPY_SESSION_NAME)"


def _parent(environ: Mapping[str, str]) -> int | None:
    """Give the process that started this kernel, as jupyter_client tells it."""
    pid = environ.get("JPY_PARENT_PID", "")
    return int(pid) if pid.isdecimal() else None


def _environment_of(pid: int | None) -> dict[str, str]:
    import psutil

    if pid is not None:
        with contextlib.suppress(psutil.Error, OSError):
            return psutil.Process(pid).environ()
    return {}


# What a running Jupyter server says.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """A Jupyter server on this machine, from the file it leaves in its runtime folder."""

    pid: int
    root: Path
    hosts: tuple[str, ...]
    port: int
    socket_path: str
    is_secure: bool
    base_url: str
    token: str

    def connections(self) -> Iterator[http.client.HTTPConnection]:
        if self.socket_path:
            yield _UnixConnection(self.socket_path)
        for host in self.hosts:
            if self.is_secure:
                # Its certificate is made out to the name people use, not to the loopback address; nobody is
                # in between.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                yield http.client.HTTPSConnection(host, self.port, timeout=_SERVER_TIMEOUT, context=context)
            else:
                yield http.client.HTTPConnection(host, self.port, timeout=_SERVER_TIMEOUT)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SERVER_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SERVER_TIMEOUT)
        self.sock.connect(self._path)


def _named_by_servers(connection_file: Path, environ: Mapping[str, str]) -> _Found | None:
    """Ask the Jupyter servers whose kernel this is; they also know after a rename."""
    kernel_id = _kernel_id(connection_file)
    if kernel_id is None:
        return None
    folders = [connection_file.parent]
    if environ.get("JUPYTER_RUNTIME_DIR"):
        folders.append(Path(environ["JUPYTER_RUNTIME_DIR"]))
    servers = _find_servers(folders, _parent(environ), environ.get("JUPYTERHUB_API_TOKEN", ""))
    return _within(_SERVERS_TIMEOUT, lambda: _first(_ask(server, kernel_id) for server in servers))


def _kernel_id(connection_file: Path) -> str | None:
    stem = connection_file.stem
    return stem.removeprefix("kernel-") if stem.startswith("kernel-") else None


def _find_servers(folders: Iterable[Path], parent: int | None, hub_token: str) -> list[_Server]:
    """List the servers that are alive, the one that started this kernel first."""
    import psutil

    files = {file for folder in folders for file in folder.glob("jpserver-*.json")}
    servers = [_read_server(file, parent, hub_token) for file in sorted(files)]
    # A file that a dead server left names a port that may be somebody else's now, who must not get the token.
    alive = [server for server in servers if server is not None and psutil.pid_exists(server.pid)]
    return sorted(alive, key=lambda server: server.pid != parent)


def _read_server(file: Path, parent: int | None, hub_token: str) -> _Server | None:
    try:
        said = json.loads(file.read_bytes())
        pid = int(said["pid"])
        return _Server(
            pid=pid,
            root=Path(said["root_dir"]),
            hosts=_loopback_addresses(said.get("hostname") or ""),
            port=int(said.get("port") or 0),
            socket_path=said.get("sock") or "",
            is_secure=bool(said.get("secure")),
            base_url=said.get("base_url") or "/",
            token=said.get("token") or (hub_token if pid == parent else ""),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _loopback_addresses(hostname: str) -> tuple[str, ...]:
    """Give the addresses on this machine at which such a server listens; no name is ever looked up."""
    if hostname in ("", "*", "localhost", "0.0.0.0", "::"):
        return ("127.0.0.1", "::1")
    try:
        return (hostname,) if ipaddress.ip_address(hostname).is_loopback else ()
    except ValueError:
        return ()


def _ask(server: _Server, kernel_id: str) -> _Found | None:
    headers = {"Accept": "application/json"}
    if server.token:
        headers["Authorization"] = f"token {server.token}"
    for connection in server.connections():
        try:
            connection.request("GET", server.base_url.rstrip("/") + "/api/sessions", headers=headers)
            answer = connection.getresponse()
            if answer.status == http.client.OK:
                path = _path_of_kernel(json.loads(answer.read(_ANSWER_LIMIT)), kernel_id, server.root)
                return None if path is None else (path, f"the Jupyter server with pid {server.pid} says so")
        except (OSError, ValueError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return None


def _path_of_kernel(sessions: object, kernel_id: str, root: Path) -> Path | None:
    """Find the notebook in a server's sessions; a console may be a second session of the same kernel."""
    for session in sessions if isinstance(sessions, list) else ():
        match session:
            case {"type": "notebook", "path": str(path), "kernel": {"id": str(id_)}} if id_ == kernel_id:
                # jupyter-collaboration puts a drive in front: "RTC:sub/analysis.ipynb".
                return _existing(path, root) or _existing(path.partition(":")[2], root)
    return None


def _within(seconds: float, call: Callable[[], _Found | None]) -> _Found | None:
    """Call in a thread and give up after that time: a socket's timeout does not end a trickling answer."""
    results: queue.SimpleQueue[_Found | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(call())
        except Exception:
            results.put(None)

    threading.Thread(target=run, name="stepup-locate", daemon=True).start()
    try:
        return results.get(timeout=seconds)
    except queue.Empty:
        return None


def _first(found: Iterable[_Found | None]) -> _Found | None:
    return next((one for one in found if one is not None), None)


# What the command line says that executes the notebook without a server.


def _named_on_command_line(pid: int, here: Path) -> _Found | None:
    """Look for a notebook among the arguments of the processes that led to this one, the nearest first."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).parents():
            with contextlib.suppress(psutil.Error, OSError):
                argv = process.cmdline()
                if _has_other_origin(argv):
                    return None
                notebook = _notebook_among(argv, Path(process.cwd()), here)
                if notebook is not None:
                    return notebook, f"it is on the command line of process {process.pid}"
    return None


def _has_other_origin(argv: Sequence[str]) -> bool:
    return not _OTHER_ORIGIN.isdisjoint(PurePath(argument).name for argument in argv)


def _notebook_among(argv: Sequence[str], folder: Path, here: Path) -> Path | None:
    """Give the notebook that a command line, started in `folder`, executes by a kernel that starts `here`.

    papermill names input and output, in this order. Where several notebooks are executed, each kernel starts
    in the folder of its own; if that leaves more than one, none is taken: a wrong one would get the steps of
    another.
    """
    before = ("", *argv)
    notebooks = [
        path
        for previous, argument in zip(before, argv, strict=False)
        if argument.endswith(".ipynb") and previous not in _NAMES_OUTPUT
        if (path := _existing(argument, folder)) is not None
    ]
    if len(notebooks) > 1 and not _TAKES_MANY.isdisjoint(PurePath(argument).name for argument in argv):
        notebooks = [path for path in notebooks if path.parent == here]
        return notebooks[0] if len(notebooks) == 1 else None
    return notebooks[0] if notebooks else None
