"""A kernel's hold on its director: started at first use, started anew when it died, ended with the kernel.

Says in Python what the protocol says in JSON. Knows nothing of IPython; which cell is executing is told by
whoever does (`Session.open_scope`).
"""

from __future__ import annotations

import contextlib
import contextvars
import glob
import math
import os
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any, TypeVar

from stepup_nb.client import failures, find
from stepup_nb.client.connection import Connection, DirectorGone, forked
from stepup_nb.client.handles import StepHandle
from stepup_nb.client.launch import Host, Place, ProcessHost
from stepup_nb.client.plans import check_plan
from stepup_nb.client.told import Key, Message, Told
from stepup_nb.core import nglob
from stepup_nb.core.declare import (
    make_spec,
    match_from,
    path_in,
    pattern_in,
    pool_name,
    pool_size,
    seconds,
    whole_number,
)
from stepup_nb.core.environment import name_of
from stepup_nb.core.errors import OwnerError, StepsFailed, UsageError
from stepup_nb.core.messages import spec_to_json
from stepup_nb.core.model import ScopeKind
from stepup_nb.core.nglob import NGlobMulti
from stepup_nb.core.words import counted

__all__ = ["SESSION_SCOPE", "Place", "Session", "check"]

SESSION_SCOPE = "session"
"""The scope of what no cell declared."""

_LOSSES = 3
_WITHIN = 60.0
"""After so many lost directors in so many seconds, the next one comes only with the user's next request."""

_TO_END = 2.0
"""Seconds for a director to end by itself. Jupyter gives a kernel that is to shut down 2.5 before it insists."""

_current_scope: contextvars.ContextVar[str] = contextvars.ContextVar("stepup_scope", default=SESSION_SCOPE)
_current_hold: contextvars.ContextVar[str] = contextvars.ContextVar("stepup_hold", default="")

T = TypeVar("T")


class Session:
    """The director's privileged client. Any thread may call it.

    Parameters
    ----------
    place
        The notebook's folder and files, or what finds them out when they are needed first.
    workers
        Steps running at once, where the database remembers nothing else.
    on_news
        Called with a sentence when something happened that the user must know: the director was lost.
    launch
        Starts a director for a place and a number of workers.
    """

    def __init__(
        self,
        place: Place | Callable[[], Place],
        *,
        workers: int,
        on_news: Callable[[str], None] = lambda words: None,
        launch: Callable[[Place, int], Host] = ProcessHost,
    ) -> None:
        self._place = place
        self.is_outside_allowed = False
        self._workers = workers
        self._on_news = on_news
        self._launch = launch
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._host: Host | None = None
        self._connection: Connection | None = None
        self._loss_words: str | None = None
        """What a lost director said last, as long as nobody was told of the loss."""
        self._losses: deque[float] = deque(maxlen=_LOSSES)
        self._told = Told()
        self._opening: dict[str, Message] = {}
        """How rounds begin that have declared nothing yet, and of which the director need not know."""
        self._holds: set[str] = set()
        self._pauses: set[str | None] = set()
        self._is_watching = False
        self._elsewhere: Message | None = None
        """What asked for a cluster, as long as steps run there."""
        self._is_watching = self._is_narrating = False
        self._environment: dict[str, str] | None = None
        self._environment_kept: dict[Any, Any] = {}
        self._environment_name = ""
        self._sent_environment = ""
        self._is_closed = False
        self.on_declared: Callable[[str, StepHandle], None] | None = None
        """Called in the declaring thread with the scope and the handle of each step."""
        self.on_started: Callable[[Session], None] | None = None
        """Called when a director has been started."""
        self.on_wait: Callable[[], None] = lambda: None
        """Called when a wait begins, in the thread that waits."""
        self.settle: Callable[[], None] = lambda: None
        """Returns when everything that is shown is up to date."""
        self.notes: list[str] = []
        """What the director said when it started."""
        self.began = math.inf
        """When the first director of this session was started, in seconds since the epoch: its jobs are later."""

    @property
    def place(self) -> Place:
        """The notebook's folder and files."""
        if not isinstance(self._place, Place):
            self._place = self._place()
        return self._place

    # --- the director --------------------------------------------------------------------------

    @property
    def is_started(self) -> bool:
        """Whether there is a director."""
        return self._connection is not None

    def connect(self) -> Connection:
        """Return a new connection of its own, for waiting or for events."""
        return self._with_director(lambda owner: self._connection_to(self._host))

    @staticmethod
    def _connection_to(host: Host | None) -> Connection:
        if host is None:
            raise DirectorGone("there is no director")
        return Connection(host.socket, host.token)

    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return self._with_director(lambda owner: owner.request(op, **fields))

    def _with_director(self, use: Callable[[Connection], T]) -> T:
        """Do something with the director; should it be lost, do it again with a new one."""
        owner = self._connected()
        try:
            return use(owner)
        except DirectorGone:
            with self._lock:
                # Unless another thread has done so meanwhile.
                if self._connection is owner:
                    self._connection = None
                    owner.close()
                owner = self._connected()
        try:
            return use(owner)
        except DirectorGone as gone:
            raise self._loss("The director was lost, and the next one at once.") from gone

    def _connected(self) -> Connection:
        self._check_process()
        with self._lock:
            if self._is_closed:
                raise UsageError(
                    "SNB-207", "The session has ended.", "", "load it again with '%load_ext stepup_nb'"
                )
            if self._connection is None:
                self._reconnect()
            if self._connection is None:
                self._start()
            assert self._connection is not None
            return self._connection

    def _check_process(self) -> None:
        # Before any lock: in a forked child it may be held for ever by a thread that is not there.
        if os.getpid() != self._process:
            raise forked()

    def _reconnect(self) -> None:
        """Talk to the director again if it is still there: an interrupt may have broken off a message."""
        host = self._host
        if host is None:
            return
        try:
            connection = self._connection_to(host)
            for hold in self._holds:
                connection.request("Hold", hold=hold)
        except DirectorGone:
            self._host = None
            host.end()
            self._loss_words = self._last_words()
            self._losses.append(time.monotonic())
            if len(self._losses) == _LOSSES and self._losses[-1] - self._losses[0] < _WITHIN:
                self._losses.clear()
                raise self._loss(f"{_LOSSES} directors were lost within a minute.") from None
        else:
            self._sent_environment = ""
            self._connection = connection

    def _last_words(self) -> str:
        try:
            with open(
                os.path.join(self.place.state, "director.log"), encoding="utf-8", errors="replace"
            ) as log:
                return log.read()[-2000:].strip()
        except OSError:
            return ""

    def _loss(self, what: str) -> UsageError:
        return UsageError(
            "SNB-209",
            what,
            self._last_words() or "it said nothing: a step may have killed it, or memory ran out",
            "repair or cancel the step that does it, if it is one; the next use starts a new director",
        )

    def _start(self) -> None:
        self.began = min(self.began, time.time())
        host = self._launch(self.place, self._workers)
        try:
            connection = self._connection_to(host)
            self._sent_environment = ""
            self._tell_again(connection)
        except BaseException as error:
            host.end()
            if isinstance(error, DirectorGone):
                raise self._loss(
                    "The director of this notebook was lost as soon as it had started."
                ) from error
            raise
        self._host, self._connection, self.notes = host, connection, host.notes
        if self.on_started is not None:
            self.on_started(self)
        if self._loss_words is not None:
            said = self._loss_words.rpartition("\n")[2]
            self._loss_words = None
            self._on_news(
                "The director of this notebook was lost, and with it the steps that were running. "
                "A new one has been started and told what was declared; interrupted steps run again."
                + (f" The last words of the lost one, all in 'director.log.1': {said}" if said else "")
            )

    def _tell_again(self, connection: Connection) -> None:
        """Tell a new director what its predecessor knew and the database does not."""
        if self._is_watching:
            connection.request("watch", on=True)
        if self._elsewhere is not None:
            try:
                connection.request(**self._elsewhere)
            except UsageError as error:
                self._elsewhere = None
                self._on_news(f"Steps run on this machine again. {error.what}")
        if self._is_narrating:
            connection.request("narrate", on=True)
        messages = list(self._told.messages())
        if not messages and not self._pauses:
            return
        known = connection.request("status")
        pools = {pool["name"] for pool in known["pools"]}
        cancelled = [row["name"] for row in known["steps"] if row["state"] == "CANCELLED"]
        # Nothing runs before everything is told: a later round may correct what an earlier one declared.
        hold = secrets.token_hex(8)
        for one in (hold, *self._holds):
            connection.request("Hold", hold=one)
        for pool in self._pauses:
            with contextlib.suppress(UsageError):
                connection.request("Pause", pool=pool)
        for key, message in messages:
            if key is not None and key[0] == "pool" and key[1] in pools:
                # The database knows it better: it may have been resized since.
                continue
            if message["op"] == "Declare" and message["hold"] not in self._holds:
                message = {**message, "hold": hold}
            with contextlib.suppress(UsageError):
                self._send(connection, message)
        if cancelled:
            connection.request("Cancel", steps=cancelled)
        connection.request("Release", hold=hold)

    def _send(self, connection: Connection, message: Message) -> dict[str, Any]:
        """Send a declaration, with its environment where that is another one than before."""
        environment = message.get("environment", self._sent_environment)
        if environment == self._sent_environment:
            message = {name: value for name, value in message.items() if name != "variables"}
        answer = connection.request(**message)
        self._sent_environment = environment
        return answer

    def close(self) -> None:
        """End the director and all that it runs. What is done stays done."""
        if os.getpid() != self._process:
            return
        self._is_closed = True
        connection = self._connection
        if connection is not None:
            # Not within the lock: whoever holds it may be waiting for an answer, and gets to know by this.
            with contextlib.suppress(DirectorGone):
                connection.send("shutdown")
            connection.close()
        with self._lock:
            self._connection = None
            host, self._host = self._host, None
            if host is not None:
                host.end(patience=_TO_END)

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
        self._check_process()
        gone = list(deleted)
        message = {"op": "OpenScope", "scope": scope, "kind": str(kind), "title": title, "deleted": gone}
        with self._lock:
            self._opening[scope] = message
            # A cell that never declared anything must not start a director.
            if not self._is_closed and (scope in self._told or (gone and self.is_started)):
                self._with_director(lambda owner: self._open(owner, scope))

    def _open(self, owner: Connection, scope: str) -> None:
        message = self._opening.get(scope)
        if message is not None:
            owner.request(**message)
            self._told.open(message)
            del self._opening[scope]

    def close_scope(self, scope: str, *, is_ok: bool) -> None:
        """End a cell: what it does not declare any more is retired, unless it raised."""
        _current_scope.set(SESSION_SCOPE)
        self._check_process()
        with self._lock:
            if self._opening.pop(scope, None) is None and scope in self._told and not self._is_closed:
                message: Message = {"op": "CloseScope", "scope": scope, "is_ok": is_ok}
                self._with_director(lambda owner: owner.request(**message))
                self._told.close(message)

    @property
    def is_in_cell(self) -> bool:
        """Whether what this context declares is a cell's: of a widget's callback it is not."""
        return _current_scope.get() != SESSION_SCOPE

    # --- declaring -----------------------------------------------------------------------------

    def _declare(self, message: Message, key: Callable[[dict[str, Any]], Key]) -> dict[str, Any]:
        """Declare something for the current scope, and remember it for a new director."""
        self._check_process()
        with self._lock:
            scope = message["scope"] = _current_scope.get()
            hold = message.get("hold", "")
            if message["op"] == "Declare":
                message["variables"] = self._environment_now()
                message["environment"] = self._environment_name

            def send(owner: Connection) -> dict[str, Any]:
                self._open(owner, scope)
                if hold and hold not in self._holds:
                    owner.request("Hold", hold=hold)
                    self._holds.add(hold)
                return self._send(owner, message)

            answer = self._with_director(send)
            self._told.add(key(answer), message)
            return answer

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
        if action in ("runsh", "runpy"):
            options["inp"] = self._expanded(options.get("inp"), options.get("workdir"))
        options["after"] = [
            step.name if isinstance(step, StepHandle) else step for step in _flat(options.get("after"))
        ]
        spec = make_spec(
            action,
            command,
            options,
            root=self.place.root,
            is_outside_allowed=self.is_outside_allowed,
            has_folders=action == "mkdir",
        )
        message = {"op": "Declare", "spec": spec_to_json(spec), "hold": _current_hold.get()}
        answer = self._declare(message, lambda answer: ("step", answer["step"]))
        handle = StepHandle(self, answer["step"], tuple(answer["notes"]))
        if self.on_declared is not None:
            self.on_declared(_current_scope.get(), handle)
        return handle

    def _environment_now(self) -> dict[str, str]:
        # What the mapping keeps, which is private, tells in 1 µs that nothing has changed; to read all of it takes 50.
        kept = getattr(os.environ, "_data", None)
        if kept and kept == self._environment_kept and self._environment is not None:
            return self._environment
        self._environment_kept = dict(kept) if kept else {}
        now = dict(os.environ)
        if now != self._environment:
            # Kept as long as a declaration that has it: what is equal in all of them is kept once.
            self._environment = {sys.intern(name): sys.intern(value) for name, value in now.items()}
            self._environment_name = name_of(now)
        assert self._environment is not None
        return self._environment

    def _expanded(self, paths: Any, workdir: Any) -> list[Any]:
        """Return paths, with patterns replaced by what they match, relative to the working directory."""
        found: list[Any] = []
        base = os.path.join(self.place.root, str(workdir or "."))
        for path in _flat(paths):
            is_pattern = isinstance(path, str) and glob.has_magic(path) and "\0" not in base + path
            if not is_pattern or os.path.lexists(os.path.join(base, path)):
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

    def boot(self, plan: str) -> StepHandle:
        """Declare the step that runs a plan of StepUp's, which declares the others; return its handle.

        Raises
        ------
        UsageError
            SNB-227: there is no such plan, or it is no script.
        """
        path = path_in(self.place.root, ".", plan, option="boot")
        check_plan(self.place.root, path)
        folder, _, name = path.rpartition("/")
        return self.declare("runpy", f"./{name}", inp=[name], workdir=folder or ".")

    def watch(self, is_on: bool | None) -> str:
        """Have files watched, or not any more; return what that is done by, ``events`` or ``scan``.

        Raises
        ------
        UsageError
            SNB-109 for anything but yes or no.
        """
        if is_on is None:
            raise UsageError(
                "SNB-109", "Watch, or not?", "", "write '%stepup watch on' or '%stepup watch off'"
            )
        by = str(self._ask("watch", on=is_on)["by"])
        with self._lock:
            self._is_watching = is_on
        return by

    def narrate(self, is_on: bool) -> None:
        """Have events say why each thing is decided as it is (``said``), or no longer."""
        self._ask("narrate", on=is_on)
        with self._lock:
            self._is_narrating = is_on

    def static(self, *paths: Any) -> list[str]:
        """Declare static files, patterns allowed; return their paths relative to the root."""
        root = self.place.root
        found = []
        for given in self._expanded(paths, None):
            path = path_in(root, ".", given, option="static()")
            full = os.path.join(root, path)
            if os.path.isdir(full):
                continue
            if not os.path.exists(full):
                raise UsageError(
                    "SNB-106",
                    f"'{given}' is not there.",
                    "a static file is one that exists and that no step makes",
                    "make it first, or leave it out: inputs that appear later are waited for",
                )
            found.append(path)
        if found:
            self._declare({"op": "DeclareStatic", "paths": found}, lambda _: ("static", tuple(found)))
        return found

    def glob(
        self, patterns: Iterable[str], subs: Mapping[str, str], *, required: bool = False, defer: bool = False
    ) -> NGlobMulti | None:
        """Search for patterns, relative to the root, and declare what matches static; see `stepup_nb.api.glob`."""
        wanted = list(patterns)
        nglob.check(wanted, subs)
        root = self.place.root
        rooted = [pattern_in(root, ".", pattern) for pattern in wanted]
        glob = [rooted, [list(pair) for pair in sorted(subs.items())], defer]
        answer = self._declare({"op": "DeclareGlob", "glob": glob}, lambda _: ("glob", str(glob)))
        if defer:
            return None
        found = [
            [match_from(root, ".", pattern, path) for path in paths]
            for pattern, paths in zip(wanted, answer["found"], strict=True)
        ]
        result = nglob.consistent(wanted, subs, found)
        if required and not result:
            raise FileNotFoundError(f"nothing matches {' '.join(wanted)}")
        return result

    def nodes(self) -> list[dict[str, Any]]:
        """Return the graph, node by node, for `core.graphs`."""
        return list(self._ask("nodes")["nodes"])

    def links(self) -> list[list[Any]]:
        """Return name, inputs, outputs and the steps it comes after, of each declared step."""
        return list(self._ask("graph")["nodes"])

    def declarations(self) -> list[tuple[Key, Message]]:
        """Return what this session has declared and what of it holds, each with what it is about.

        What a plan declares is not in it, but the plan is.
        """
        with self._lock:
            return list(self._told.declarations())

    def pool(
        self, name: str, size: Any, tokens: Iterable[str] = (), per_machine: bool | None = None
    ) -> dict[str, Any]:
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
        message = {
            "op": "DefinePool",
            "name": pool_name(name),
            "size": slots,
            "tokens": list(words),
            "is_per_machine": None if per_machine is None else bool(per_machine),
        }
        return self._declare(message, lambda _: ("pool", name))

    def drop_pool(self, name: str) -> None:
        """Forget a pool's definition."""
        self._ask("DropPool", name=name)
        with self._lock:
            self._told.drop(("pool", name))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Delay the steps that the block declares until it ends, however it ends."""
        if _current_hold.get():
            # Of two holds, one within the other, the outer one ends last.
            yield
            return
        hold = secrets.token_hex(8)
        token = _current_hold.set(hold)
        try:
            yield
        finally:
            _current_hold.reset(token)
            with self._lock:
                is_known = hold in self._holds
                self._holds.discard(hold)
            if is_known and not self._is_closed:
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
        with self._lock:
            self._pauses.add(pool)

    def resume(self, pool: str | None = None) -> None:
        """End a pause."""
        self._ask("Resume", pool=pool)
        with self._lock:
            self._pauses.discard(pool)

    def set_workers(self, number: int) -> None:
        """Limit the steps running at once over all pools."""
        number = whole_number(number, "workers", least=1)
        self._ask("SetWorkers", number=number)
        self._workers = number

    def executor(
        self, kind: str, address: str | None = None, *, security: Any = None, plain: bool = False
    ) -> dict[str, Any]:
        """Let steps run on a Dask cluster from now on, or on this machine again.

        Parameters
        ----------
        kind
            ``dask`` or ``local``.
        address
            Of the cluster's scheduler; None for a cluster of this machine, made for this session.
        security
            For TLS: ``ca``, ``cert`` and ``key``, each a path or PEM.
        plain
            Whether a line that others can listen to will do.

        Returns
        -------
        dict
            As `where`.
        """
        message: Message = {
            "op": "executor",
            "kind": kind,
            "address": address,
            "security": security,
            "plain": plain,
        }
        answer = self._ask(**message)
        self._elsewhere = message if kind != "local" else None
        return answer

    def where(self) -> dict[str, Any]:
        """Return where steps run: ``kind``, ``address``, ``dashboard``; a cluster's ``threads``, None if it is gone."""
        return self._ask("where")

    def use_warm(self, is_on: bool) -> None:
        """Start Python steps in interpreters that wait for them, or each in a fresh one."""
        self._ask("warm", on=is_on)

    def run(self) -> None:
        """Look at all known files, end a drain, and go on."""
        self._ask("Run")

    def drain(self) -> None:
        """Start nothing new; running steps finish."""
        self._ask("Drain")

    def forget(self, *steps: str) -> list[str]:
        """Drop steps from the graph and the database."""
        forgotten = list(self._ask("Forget", steps=list(steps))["steps"])
        with self._lock:
            for name in forgotten:
                self._told.drop(("step", name))
        return forgotten

    def clean(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Remove outdated outputs; return ``removed`` and ``kept``."""
        return self._ask("Clean", dry_run=dry_run)

    def trust(self) -> list[str]:
        """Believe what a database from elsewhere says; return the names of the steps concerned."""
        return list(self._ask("trust")["steps"])

    # --- asking --------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return ``status`` of SPEC part 8; where another kernel owns the director, that one's."""
        try:
            answer = self._ask("status")
        except OwnerError:
            # To look takes nothing from anybody.
            answer = find.status(self.place.database)
        return {
            key: value
            for key, value in answer.items()
            if key not in ("notes", "draining", "phase", "ending", "watching", "causes")
        }

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

    def workload(self) -> dict[str, Any]:
        """Return steps, durations and limits, for `core.whatif`."""
        return self._ask("workload")

    def log(self, step: str, stream: str = "stdout") -> bytes:
        """Return all that the log kept of a step's last job."""
        pieces = []
        job: int | None = None
        offset: int | None = 0
        while offset is not None:
            # All of it from the same job: the step may run again meanwhile.
            answer = self._ask("log", step=step, stream=stream, offset=offset, job=job)
            pieces.append(answer["bytes"].encode("latin-1"))
            job, offset = answer["job"], answer["next"]
        return b"".join(pieces)

    # --- waiting -------------------------------------------------------------------------------

    def begin_wait(
        self, steps: Iterable[str] | None = None, timeout: float | None = None
    ) -> Future[dict[str, Any]]:
        """Begin a wait, and return the future of its report; cancelling that ends the wait, never a step."""
        done: Future[dict[str, Any]] = Future()
        self._begin_wait(done, steps, timeout)
        return done

    def _begin_wait(
        self, done: Future[dict[str, Any]], steps: Iterable[str] | None, timeout: float | None
    ) -> None:
        fields = {"steps": None if steps is None else list(steps), "scope": _current_scope.get()}
        limit = None if timeout is None else time.monotonic() + seconds(timeout, "timeout", least=0.0)
        self._connected()
        self.on_wait()

        def listen() -> None:
            # Whoever cancelled the future does not want to know.
            with contextlib.suppress(InvalidStateError):
                try:
                    done.set_result(self._wait(done, limit, fields))
                except BaseException as error:
                    done.set_exception(error)

        threading.Thread(target=listen, name="stepup-wait", daemon=True).start()

    def _wait(
        self, done: Future[dict[str, Any]], limit: float | None, fields: dict[str, Any]
    ) -> dict[str, Any]:
        while True:
            connection = self.connect()
            done.add_done_callback(partial(_close, connection))
            left = None if limit is None else max(0.0, limit - time.monotonic())
            try:
                return connection.request("Wait", timeout=left, **fields)
            except DirectorGone:
                # The next connection is to a new director, which has been told what to do.
                if done.cancelled():
                    raise
            finally:
                connection.close()

    def wait(self, steps: Iterable[str] | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Wait in this thread, and return the report; see `check` for raising."""
        done: Future[dict[str, Any]] = Future()
        try:
            # An interrupt may come while the thread that waits is being started.
            self._begin_wait(done, steps, timeout)
            return done.result()
        finally:
            done.cancel()


def _close(connection: Connection, done: Future[dict[str, Any]]) -> None:
    connection.close()


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
        raise failures.timeout(report)
    failed, stuck = report["failed"], report["stuck"]
    if not failed and not stuck:
        return
    said = []
    if failed:
        said.append(f"{counted(len(failed), 'step')} did not succeed")
    if stuck:
        said.append(f"{counted(sum(row['number'] for row in stuck), 'step')} cannot run")
    raise StepsFailed(" and ".join(said) + ".", failures.text(report), report=dict(report))


def _flat(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str | bytes):
        return [value]
    if isinstance(value, os.PathLike):
        return [os.fspath(value)]
    if not isinstance(value, tuple | list | Iterable):
        return [value]
    return [word for one in value for word in _flat(one)]
