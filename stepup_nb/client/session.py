"""A kernel's hold on its director: started at first use, started anew when it died, ended with the kernel.

Says in Python what the protocol says in JSON. Knows nothing of IPython; which cell is executing is told by whoever
does (`Session.scope`).
"""

from __future__ import annotations

import contextlib
import contextvars
import glob
import importlib.util
import json
import os
import secrets
import select
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepup_nb.client import failures
from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.client.handles import StepHandle
from stepup_nb.core.declare import make_spec, path_in, pool_name, pool_size
from stepup_nb.core.environment import name_of
from stepup_nb.core.errors import InternalError, StepsFailed, UsageError, from_json
from stepup_nb.core.messages import spec_to_json
from stepup_nb.core.model import ScopeKind
from stepup_nb.core.words import counted

SESSION_SCOPE = "session"
"""The scope of what no cell declared."""

START_WITHIN = 20.0
"""Seconds that a director may take to start."""

_current_scope: contextvars.ContextVar[str] = contextvars.ContextVar("stepup_scope", default=SESSION_SCOPE)
_current_hold: contextvars.ContextVar[str] = contextvars.ContextVar("stepup_hold", default="")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session works: what `notebook.locate` finds out."""

    root: str
    notebook: str | None
    database: str
    state: str
    """Folder for logs and the lock."""


class Session:
    """The director's privileged client.

    Parameters
    ----------
    place
        The notebook's folder and files.
    workers
        Steps running at once, where the database remembers nothing else.
    on_news
        Called with a sentence when something happened that the user must know: the director was lost.
    """

    def __init__(
        self, place: Place, *, workers: int, on_news: Callable[[str], None] = lambda words: None
    ) -> None:
        self.place = place
        self.is_outside_allowed = False
        self._workers = workers
        self._on_news = on_news
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder = ""
        self._socket = ""
        self._token = ""
        self._sent_environment = ""
        self._environment: dict[str, str] | None = None
        self._environment_name = ""
        self._replay: dict[str, list[dict[str, Any]]] = {}
        """What the current round of each scope sent, for a new director."""
        self._is_closed = False
        self.on_declared: Callable[[str, StepHandle], None] | None = None
        """Called in the declaring thread with the scope and the handle of each step."""
        self.on_started: Callable[[Session], None] | None = None
        """Called when a director has been started."""
        self.settle: Callable[[], None] = lambda: None
        """Returns when everything that is shown is up to date."""
        self.notes: list[str] = []
        """What the director said when it started."""

    # --- the director --------------------------------------------------------------------------

    @property
    def is_started(self) -> bool:
        """Whether there is a director."""
        return self._connection is not None

    def connect(self) -> Connection:
        """Return a new connection of its own, for waiting or for events."""
        self._connected()
        return Connection(self._socket, self._token)

    def _connected(self) -> Connection:
        with self._lock:
            if self._is_closed:
                raise UsageError(
                    "SNB-207", "The session has ended.", "", "load it again with '%load_ext stepup_nb'"
                )
            if self._connection is None:
                self._start()
            assert self._connection is not None
            return self._connection

    def _start(self) -> None:
        self._folder = _runtime_folder()
        self._token = secrets.token_hex(16)
        arguments = {
            "kernel": os.getpid(),
            "root": self.place.root,
            "notebook": self.place.notebook,
            "database": self.place.database,
            "state": self.place.state,
            "folder": self._folder,
            "workers": self._workers,
        }
        given = json.dumps({"path": _search_path(), "arguments": arguments})
        guard = Path(__file__).parent.parent / "director" / "guard.py"
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", os.fspath(guard), str(os.getpid()), given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        assert self._guard.stdin is not None
        # Everybody may read a command line: the token goes through the pipe.
        self._guard.stdin.write(self._token.encode() + b"\n")
        self._guard.stdin.close()
        try:
            ready = _first_line(self._guard)
        except BaseException:
            self._end_guard()
            raise
        if "error" in ready:
            self._end_guard()
            raise from_json(ready["error"])
        self._socket = ready["socket"]
        self.notes = ready["notes"]
        self._connection = Connection(self._socket, self._token, "owner")
        self._sent_environment = ""
        if self.on_started is not None:
            self.on_started(self)

    def _end_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.terminate()
            guard.wait()
            for pipe in (guard.stdout, guard.stderr):
                if pipe is not None:
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        try:
            return self._connected().request(op, **fields)
        except DirectorGone:
            return self._recovered().request(op, **fields)

    def _recovered(self) -> Connection:
        """Start a new director, and tell it what the user has declared."""
        with self._lock:
            self._connection = None
            self._end_guard()
            connection = self._connected()
            self._on_news(
                "The director of this notebook was lost, and with it the steps that were running. "
                "A new one has been started and told what was declared; interrupted steps run again."
            )
            for messages in list(self._replay.values()):
                for message in messages:
                    fields = dict(message)
                    if fields["op"] == "Declare":
                        self._add_environment(fields, fields.pop("variables"))
                    with contextlib.suppress(UsageError):
                        connection.request(**fields)
            return connection

    def close(self) -> None:
        """End the director and all that it runs. What is done stays done."""
        with self._lock:
            self._is_closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(DirectorGone):
                    connection.request("shutdown")
                connection.close()
            if self._guard is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._guard.wait(timeout=5)
                self._end_guard()

    # --- scopes --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def scope(self, scope: str) -> Iterator[None]:
        """Let this context's declarations belong to a scope."""
        token = _current_scope.set(scope)
        try:
            yield
        finally:
            _current_scope.reset(token)

    def open_scope(self, scope: str, kind: ScopeKind, title: str, deleted: Iterable[str] = ()) -> None:
        """Begin a cell: from here on this context declares for it."""
        _current_scope.set(scope)
        self._remember_scope(scope, kind, title, list(deleted))

    def _remember_scope(self, scope: str, kind: ScopeKind, title: str, deleted: list[str]) -> None:
        message = {"op": "OpenScope", "scope": scope, "kind": str(kind), "title": title, "deleted": deleted}
        with self._lock:
            self._pending_scope = message
            # A cell that never declared anything must not start a director.
            if self._connection is not None and (scope in self._replay or deleted):
                self._begin_scope()

    _pending_scope: dict[str, Any] | None = None

    def _begin_scope(self) -> None:
        message, self._pending_scope = self._pending_scope, None
        if message is not None:
            self._ask(**message)
            self._replay[message["scope"]] = [message]

    def close_scope(self, scope: str, *, is_ok: bool) -> None:
        """End a cell: what it does not declare any more is retired, unless it raised."""
        _current_scope.set(SESSION_SCOPE)
        with self._lock:
            if self._pending_scope is not None:
                self._pending_scope = None
                return
            if self._connection is None or scope not in self._replay:
                return
            message = {"op": "CloseScope", "scope": scope, "is_ok": is_ok}
            self._ask(**message)
            self._replay[scope].append(message)

    def _scoped(self, message: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Send a declaration for the current scope, and remember it for a new director."""
        with self._lock:
            scope = _current_scope.get()
            if self._pending_scope is not None and self._pending_scope["scope"] == scope:
                self._begin_scope()
            fields = {**message, "scope": scope}
            answer = self._ask(**fields, **more)
            self._replay.setdefault(scope, []).append(fields)
            return answer

    @property
    def current_scope(self) -> str:
        """The scope that declares in this context."""
        return _current_scope.get()

    # --- declaring -----------------------------------------------------------------------------

    def declare(self, action: str, command: str, **options: Any) -> StepHandle:
        """Declare a step, and return its handle at once.

        Parameters
        ----------
        action, command
            As in `core.declare.make_spec`.
        options
            The options of a step by keyword.

        Raises
        ------
        UsageError
            The declaration is refused, and nothing changed.
        """
        options["inp"] = self._expanded(options.get("inp"), options.get("workdir"))
        spec = make_spec(
            action, command, options, root=self.place.root, is_outside_allowed=self.is_outside_allowed
        )
        message = {"op": "Declare", "spec": spec_to_json(spec), "hold": _current_hold.get()}
        with self._lock:
            variables = self._environment_now()
            message["environment"] = self._environment_name
            connection = self._connected()
            more: dict[str, Any] = {}
            if self._sent_environment != self._environment_name:
                more["variables"] = variables
            answer = self._declare(message, more, variables)
            if self._connection is connection:
                self._sent_environment = self._environment_name
        handle = StepHandle(self, answer["step"], tuple(answer["notes"]))
        if self.on_declared is not None:
            self.on_declared(_current_scope.get(), handle)
        return handle

    def _declare(
        self, message: dict[str, Any], more: dict[str, Any], variables: dict[str, str]
    ) -> dict[str, Any]:
        scope = _current_scope.get()
        if self._pending_scope is not None and self._pending_scope["scope"] == scope:
            self._begin_scope()
        fields = {**message, "scope": scope}
        try:
            answer = self._connected().request(**fields, **more)
        except DirectorGone:
            answer = self._recovered().request(**fields, variables=variables)
        self._replay.setdefault(scope, []).append({**fields, "variables": variables})
        return answer

    def _environment_now(self) -> dict[str, str]:
        now = dict(os.environ)
        if now != self._environment:
            self._environment = now
            self._environment_name = name_of(now)
        assert self._environment is not None
        return self._environment

    def _add_environment(self, fields: dict[str, Any], variables: dict[str, str]) -> None:
        if self._sent_environment != fields["environment"]:
            fields["variables"] = variables
            self._sent_environment = fields["environment"]

    def _expanded(self, paths: Any, workdir: Any) -> list[str]:
        """Return the inputs with patterns replaced by what they match, relative to the working directory."""
        found: list[str] = []
        base = os.path.join(self.place.root, str(workdir or "."))
        for path in _flat(paths):
            if not glob.has_magic(path) or os.path.lexists(os.path.join(base, path)):
                found.append(path)
                continue
            matches = sorted(
                match
                for match in glob.glob(path, root_dir=base, recursive=True)
                if not os.path.isdir(os.path.join(base, match))
            )
            if not matches:
                raise UsageError(
                    "SNB-105",
                    f"The pattern '{path}' matches no file.",
                    f"it was looked for in '{base}'",
                    "name the files that will be there one by one, or declare the step once they are",
                )
            found += matches
        return found

    def static(self, *paths: Any) -> list[str]:
        """Declare static files, patterns allowed; return their paths relative to the root."""
        root = self.place.root
        found = []
        for path in self._expanded(paths, None):
            full = os.path.join(root, path)
            if os.path.isdir(full):
                continue
            if not os.path.exists(full):
                raise UsageError(
                    "SNB-106",
                    f"'{path}' is not there.",
                    "a static file is one that exists and that no step makes",
                    "make it first, or leave it out: inputs that appear later are waited for",
                )
            found.append(path_in(root, ".", path))
        self._scoped({"op": "DeclareStatic", "paths": found})
        return found

    def pool(self, name: str, size: Any, tokens: Iterable[str] = ()) -> dict[str, Any]:
        """Define or resize a pool; return its name and notes."""
        words = tuple(str(token) for token in tokens)
        slots = pool_size(size)
        if words and (slots is None or len(words) < slots):
            raise UsageError(
                "SNB-117",
                f"The pool has {'no limit' if slots is None else f'{slots} slots'}, and {len(words)} tokens.",
                "each slot needs a token of its own",
                "give as many tokens as slots, as in '%pool gpu 2 --tokens 0,1'",
            )
        if any("," in word or not word for word in words):
            raise UsageError(
                "SNB-117", "A token is empty or has a comma in it.", "", "separate tokens by commas"
            )
        message = {"op": "DefinePool", "name": pool_name(name), "size": slots, "tokens": list(words)}
        return self._scoped(message)

    def drop_pool(self, name: str) -> None:
        """Forget a pool's definition."""
        self._ask("DropPool", name=name)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Delay the steps that the block declares until it ends, however it ends."""
        hold = secrets.token_hex(8)
        self._ask("Hold", hold=hold)
        token = _current_hold.set(hold)
        try:
            yield
        finally:
            _current_hold.reset(token)
            self._ask("Release", hold=hold)

    # --- steering ------------------------------------------------------------------------------

    def cancel(self, *steps: str, all: bool = False) -> list[str]:
        """Stop steps, or all that are not finished; return the names of those that were."""
        answer = self._ask("Cancel", steps=None if all else list(steps))
        return list(answer["steps"])

    def rerun(self, *steps: str, failed: bool = False, all: bool = False) -> list[str]:
        """Run steps again, whether or not they are up to date; return their names."""
        return list(self._ask("Rerun", steps=list(steps), failed=failed, all=all)["steps"])

    def pause(self, pool: str | None = None) -> None:
        """Start nothing new, in one pool or at all."""
        self._ask("Pause", pool=pool)

    def resume(self, pool: str | None = None) -> None:
        """End a pause."""
        self._ask("Resume", pool=pool)

    def set_workers(self, number: int) -> None:
        """Limit the steps running at once over all pools."""
        self._workers = number
        self._ask("SetWorkers", number=number)

    def run(self) -> None:
        """Look at all known files, end a drain, and go on."""
        self._ask("Run")

    def drain(self) -> None:
        """Start nothing new; running steps finish."""
        self._ask("Drain")

    def forget(self, *steps: str) -> list[str]:
        """Drop steps from the graph and the database."""
        return list(self._ask("Forget", steps=list(steps))["steps"])

    def clean(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Remove outdated outputs; return ``removed`` and ``kept``."""
        return self._ask("Clean", dry_run=dry_run)

    def trust(self) -> list[str]:
        """Believe what a database from elsewhere says; return the names of the steps concerned."""
        return list(self._ask("trust")["steps"])

    # --- asking --------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return ``status`` of SPEC part 8."""
        answer = self._ask("status")
        return {key: value for key, value in answer.items() if key not in ("notes", "draining")}

    def rows(self, steps: Iterable[str]) -> list[dict[str, Any]]:
        """Return the rows of steps."""
        return list(self._ask("rows", steps=list(steps))["rows"])

    def known_rows(self, steps: Iterable[str]) -> list[dict[str, Any]]:
        """Return the rows of those steps that the director knows."""
        return list(self._ask("rows", steps=list(steps), known=True)["rows"])

    def why(self, step: str) -> dict[str, Any]:
        """Return why a step ran, runs or waits."""
        return self._ask("why", step=step)

    def history(self) -> list[dict[str, Any]]:
        """Return a row per job, over all sessions, newest last."""
        return list(self._ask("history")["rows"])

    def log(self, step: str, stream: str = "stdout") -> bytes:
        """Return all that the log kept of a step's last job."""
        pieces = []
        offset: int | None = 0
        while offset is not None:
            answer = self._ask("log", step=step, stream=stream, offset=offset)
            pieces.append(answer.get("bytes", "").encode("latin-1"))
            offset = answer["next"]
        return b"".join(pieces)

    # --- waiting -------------------------------------------------------------------------------

    def begin_wait(
        self, steps: Iterable[str] | None = None, timeout: float | None = None
    ) -> Future[dict[str, Any]]:
        """Begin a wait, and return the future of its report; cancelling that ends the wait, never a step."""
        done: Future[dict[str, Any]] = Future()
        scope = _current_scope.get()
        names = None if steps is None else list(steps)

        def listen() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(self._wait(names, timeout, scope))
            except BaseException as error:
                done.set_exception(error)

        self._connected()
        threading.Thread(target=listen, name="stepup-wait", daemon=True).start()
        return done

    def _wait(self, steps: list[str] | None, timeout: float | None, scope: str) -> dict[str, Any]:
        fields = {"steps": steps, "timeout": timeout, "scope": scope}
        try:
            connection = self.connect()
            try:
                return connection.request("Wait", **fields)
            finally:
                connection.close()
        except DirectorGone:
            self._ask("rows", steps=[])
            return self._wait(steps, timeout, scope)

    def wait(self, steps: Iterable[str] | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Wait in this thread, and return the report; see `check` for raising."""
        return self.begin_wait(steps, timeout).result()


def check(report: Mapping[str, Any]) -> None:
    """Raise what a wait's report calls for.

    Raises
    ------
    StepsFailed
        SNB-601: some awaited steps did not succeed.
    TimeoutError
        The time was over before they were finished; they go on.
    """
    if report["how"] == "timeout":
        raise TimeoutError("the time is over; the steps go on")
    failed, stuck = report["failed"], report["stuck"]
    if not failed and not stuck:
        return
    said = []
    if failed:
        said.append(f"{counted(len(failed), 'step')} did not succeed")
    if stuck:
        said.append(f"{counted(sum(row['number'] for row in stuck), 'step')} cannot run")
    raise StepsFailed(" and ".join(said) + ".", failures.text(report), report=dict(report))


def _flat(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str | os.PathLike):
        return [os.fspath(value)]
    return [path for one in value for path in _flat(one)]


def _runtime_folder() -> str:
    """Make a folder that only this user can enter, with a path short enough for a socket in it."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        found = os.stat(base) if base else None
        if found is not None and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700:
            folder = tempfile.mkdtemp(prefix="stepup-nb-", dir=base)
            if len(os.fsencode(folder)) < 90:
                return folder
            os.rmdir(folder)
    folder = tempfile.mkdtemp(prefix="stepup-nb-")
    if len(os.fsencode(folder)) < 90:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="stepup-nb-", dir="/tmp")


def _search_path() -> list[str]:
    """Return where an isolated interpreter finds what the director imports."""
    found = []
    for module in ("stepup_nb", "blake3", "psutil"):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            found.append(os.path.dirname(os.path.dirname(os.path.abspath(spec.origin))))
    return list(dict.fromkeys(found))


def _first_line(guard: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return what the director says when it is ready, or why it is not."""
    assert guard.stdout is not None and guard.stderr is not None
    deadline = time.monotonic() + START_WITHIN
    poll = select.poll()
    poll.register(guard.stdout, select.POLLIN)
    said = b""
    while not said.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise InternalError("The director did not start in time.", f"waited {START_WITHIN:g} s")
        if poll.poll(left * 1000):
            piece = os.read(guard.stdout.fileno(), 65536)
            if not piece:
                trouble = guard.stderr.read().decode(errors="replace")
                raise InternalError("The director could not be started.", trouble.strip()[-2000:])
            said += piece
    line: dict[str, Any] = json.loads(said)
    return line
