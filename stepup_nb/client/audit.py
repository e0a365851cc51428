"""A race audit: the same steps from scratch, with different sizes of a pool, and what came out of it.

`core.races` decides what belongs to it and what differs; this runs it, in a thread of its own, beside the session
that it asks and leaves alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import stat
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepup_nb.client import scratch
from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.core import races
from stepup_nb.core.declare import whole_number
from stepup_nb.core.environment import name_of
from stepup_nb.core.errors import UsageError
from stepup_nb.core.races import Content, Findings, Made, Run, Sizes
from stepup_nb.core.words import counted, one_line

if TYPE_CHECKING:
    from stepup_nb.client.session import Session

MOST_MEGABYTES = 1000
"""A project that is larger is copied only if the user says so."""

_SCOPE = "audit"
_TEXT = 1 << 14
"""Bytes of a file that is compared line by line, at most: all of these are kept."""
_SCRIPT = 1 << 20
"""Bytes of a script that is searched for absolute paths, at most."""
_LOOK = 0.2
"""Seconds between two looks at how far a run is, or whether it is to stop."""
_UNFINISHED = ("PENDING", "CHECKING", "QUEUED", "RUNNING")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be audited, and how."""

    pools: Mapping[str, Iterable[object]]
    """Sizes to try, by pool."""
    steps: tuple[str, ...] | None = None
    """Names of steps, or unique parts of them; None means all."""
    repeat: int = 1
    """Runs with each size."""
    workers: int | None = None
    """Steps running at once; None: the session's number, or the largest size of a pool."""
    keep: bool = False
    """Leave the copies where they are."""
    most: int = MOST_MEGABYTES
    """Megabytes of a project that are copied, at most."""
    allow_absolute: bool = False
    """Also run steps that name the project's own folder."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit did and found."""

    findings: Findings
    runs: tuple[Run, ...]
    steps: int
    workers: int
    seconds: float
    notes: tuple[str, ...]
    folders: tuple[str, ...]
    """The project's copy of each run, if they were to be kept; else none."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How far an audit is."""

    words: str
    done: int = 0
    total: int = 0
    """Steps of this run; 0: not known yet."""


class Audit:
    """An audit, to be started. Whoever starts it calls `stop`, however it ended.

    Parameters
    ----------
    session
        Whose steps are audited.
    asked
        What is to be done.

    Raises
    ------
    UsageError
        SNB-160: nothing could be compared; SNB-161: a step would reach the project's own files; SNB-162: the
        project is too large.
    """

    def __init__(self, session: Session, asked: Asked) -> None:
        whole_number(asked.repeat, "number of runs", least=1, most=1000)
        self._sizes = races.runs_of(asked.pools)
        self._asked = asked
        self._session = session
        self._prepare()
        # What the session runs changes files while they are copied, and may yet say what else it reads.
        self._session_done = session.begin_wait() if self._is_busy else None
        self.stage = Stage("waiting for the steps of the session" if self._is_busy else "copying the project")
        self.done: Future[Report] = Future()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stepup-audit", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and return when nothing of it runs or lies around any more."""
        self._is_stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    # --- before anything is copied -------------------------------------------------------------

    def _prepare(self) -> None:
        """Find out what is to be run and copied, and refuse what cannot be audited."""
        session, asked = self._session, self._asked
        status = session.status()
        links = session.links()
        names = None if asked.steps is None else [row["name"] for row in session.rows(asked.steps)]
        self._rows = races.involved(status["steps"], links, names)
        if not self._rows:
            raise UsageError(
                "SNB-160",
                "There is no step to audit.",
                "only what is declared in this session is run",
                "run the cells that declare the steps first",
            )
        races.check(self._rows, status["pools"], self._sizes)
        self._workers = (
            races.workers_for(self._sizes, status["workers"])
            if asked.workers is None
            else whole_number(asked.workers, "number of workers", least=1)
        )
        self._is_busy = any(status["counts"].get(state) for state in _UNFINISHED)
        self._pools = [row for row in status["pools"] if row["name"] not in self._sizes[0]]
        self._tokens = {row["name"]: row["tokens"] for row in status["pools"]}
        declared = session.declarations()
        self._declarations = {name: message for (kind, name), message in declared if kind == "step"}
        self._statics = [message for (kind, _), message in declared if kind in ("static", "glob")]
        self._after = {name: after for name, _, _, after in links}
        self._root = os.path.realpath(session.place.root)
        self._made = {path for row in self._rows for path in (*row["out"], *row["vol"])}
        self._creators = {row["name"]: row["creator"] for row in self._rows}
        self._check_paths()
        self._project = self._survey()

    def _check_paths(self) -> None:
        scratch.check_outputs(self._root, sorted(self._made))
        if self._asked.allow_absolute:
            return
        home = os.path.expanduser("~")
        names = races.spellings(self._root, home)
        if (given := self._session.place.root) != self._root:
            names += races.spellings(given, home)
        scripts: dict[str, str] = {}
        for row in self._rows:
            out = races.way_out(row, self._texts(row, scripts), self._environment(row), names)
            if out is not None:
                raise UsageError(
                    "SNB-161",
                    f"'{one_line(row['label'])}' would reach the project's own files.",
                    f"{out}, and an audit runs steps in a copy of it",
                    "use relative paths; or give '--allow-absolute' if the step only reads there",
                )

    def _environment(self, row: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the environment that a step was declared with, or the plan that declares it."""
        name = row["name"]
        while name is not None and name not in self._declarations:
            name = self._creators.get(name)
        return self._declarations[name]["variables"] if name is not None else {}

    def _texts(self, row: Mapping[str, Any], scripts: dict[str, str]) -> dict[str, str]:
        """Return the command of a step, and the files of the project that it names; `scripts` keeps what was read."""
        try:
            words = shlex.split(row["command"])
        except ValueError:
            words = row["command"].split()
        texts = {"its command": str(row["command"])}
        for word in words:
            path = os.path.normpath(os.path.join(row["workdir"], word))
            if path not in self._made:
                if path not in scripts:
                    scripts[path] = _read(os.path.join(self._root, path))
                texts[f"'{word}'"] = scripts[path]
        return texts

    def _survey(self) -> scratch.Project:
        outside = {path for row in self._rows for path in row["inp"] if os.path.isabs(path)}
        project = scratch.survey(self._root, self._made, sorted(outside))
        if project.size > self._asked.most * 1_000_000:
            raise UsageError(
                "SNB-162",
                f"The project is too large: {project.size / 1e6:.0f} MB in "
                f"{counted(len(project.files), 'file')} below '{self._root}'.",
                f"each run of an audit takes a copy of it, and more than {self._asked.most} MB are copied only "
                "if you say so",
                f"move what the steps do not need elsewhere, or give '--most {project.size // 1_000_000 + 1}'",
            )
        return project

    # --- in the thread -------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self.done.set_result(self._all_runs())
        except DirectorGone:
            self.done.set_exception(
                UsageError(
                    "SNB-209",
                    "The director of the audit was lost.",
                    "a step may have killed it, or memory ran out",
                    "try again, with fewer slots or fewer workers",
                )
            )
        except BaseException as error:
            self.done.set_exception(error)

    def _all_runs(self) -> Report:
        if self._session_done is not None:
            self._wait_for_session(self._session_done)
            self._prepare()
        began = time.monotonic()
        copies = scratch.Scratch(self._project, self._is_stopping.is_set)
        is_kept = False
        try:
            order = [sizes for sizes in self._sizes for _ in range(self._asked.repeat)]
            runs: list[Run] = []
            for sizes in order:
                runs.append(self._run(copies, len(runs), sizes, len(order)))
            findings = races.compare(runs)
            if findings.differing and self._asked.repeat == 1:
                # What says the time of day differs each time, and is no race.
                runs.append(self._run(copies, len(runs), self._sizes[0], len(order) + 1))
                findings = races.compare(runs)
            is_kept = self._asked.keep
            return Report(
                findings,
                tuple(runs),
                len({name for run in runs for name in run.steps}),
                self._workers,
                time.monotonic() - began,
                tuple(self._notes()),
                copies.keep(len(runs)) if is_kept else (),
            )
        finally:
            if not is_kept:
                copies.end()

    def _wait_for_session(self, done: Future[dict[str, Any]]) -> None:
        try:
            while True:
                self._check()
                with contextlib.suppress(TimeoutError):
                    done.result(_LOOK)
                    return
        finally:
            done.cancel()

    def _notes(self) -> Iterable[str]:
        if self._project.unread:
            some = ", ".join(self._project.unread[:5])
            yield f"not copied, since they may not be read: {some}"

    def _run(self, copies: scratch.Scratch, number: int, sizes: Sizes, total: int) -> Run:
        which = f"run {number + 1} of {total}, {races.words_of(sizes)}"
        self.stage = Stage(f"{which}: copying the project")
        began = time.monotonic()
        root = copies.copy(number)
        self._check()
        with scratch.director(copies.run_folder(number), root, self._workers) as connect:
            asking, waiting = connect(), connect()
            self._declare(asking, root, sizes)
            wait = waiting.send("Wait", steps=None, scope=_SCOPE)
            while waiting.result(wait, _LOOK) is None:
                counts = asking.request("status", brief=True)["counts"]
                left = sum(counts.get(state, 0) for state in _UNFINISHED)
                self.stage = Stage(which, sum(counts.values()) - left, sum(counts.values()))
                self._check()
            status = asking.request("status")
        self._check_sizes(status, sizes)
        steps = {
            row["name"]: _made(row, root)
            for row in status["steps"]
            if not row["dormant"] and not (row["optional"] and row["state"] == "PENDING")
        }
        if not self._asked.keep:
            copies.remove(number)
        return Run(dict(sizes), steps, time.monotonic() - began)

    def _check(self) -> None:
        if self._is_stopping.is_set():
            raise scratch.Stopped

    def _declare(self, connection: Connection, root: str, sizes: Sizes) -> None:
        """Declare all that is audited; nothing starts before everything is declared."""
        connection.request("SetWorkers", number=self._workers)
        connection.request("OpenScope", scope=_SCOPE, kind="cell", title="the audit", deleted=[])
        connection.request("Hold", hold=_SCOPE)
        for row in self._pools:
            connection.request(
                "DefinePool", name=row["name"], size=row["size"], tokens=list(row["tokens"]), scope=_SCOPE
            )
        for name, size in sizes.items():
            tokens = [] if size is None else list(self._tokens[name])[:size]
            connection.request("DefinePool", name=name, size=size, tokens=tokens, scope=_SCOPE)
        for message in self._statics:
            with contextlib.suppress(UsageError):
                connection.request(**{**message, "scope": _SCOPE})
        keys: dict[str, str] = {}
        sent = ""
        for row in self._rows:
            told = self._declarations.get(row["name"])
            if told is None:
                # A plan declares it.
                continue
            variables = races.environment_in(root, self._root, told["variables"])
            spec = told["spec"]
            after = self._after[row["name"]]
            if len(after) == len(spec.get("after", ())):
                # By their whole names, which mean the same wherever they are.
                spec = {**spec, "after": [keys.get(name, name) for name in after]}
            message = {**told, "scope": _SCOPE, "hold": _SCOPE, "spec": spec}
            message |= {"variables": variables, "environment": name_of(variables)}
            if message["environment"] == sent:
                del message["variables"]
            keys[row["name"]] = connection.request(**message)["step"]
            sent = message["environment"]
        connection.request("CloseScope", scope=_SCOPE, is_ok=True)
        connection.request("Release", hold=_SCOPE)

    def _check_sizes(self, status: Mapping[str, Any], sizes: Sizes) -> None:
        found = {row["name"]: row["size"] for row in status["pools"]}
        for name, size in sizes.items():
            if found.get(name) != size:
                raise UsageError(
                    "SNB-160",
                    f"The size of pool '{name}' cannot be varied.",
                    "a step of the audit, a plan perhaps, gives it a size itself",
                    "audit steps that do not, or leave the pool's size to the notebook",
                )


def _read(path: str) -> str:
    """Return the text of a file, nothing where there is none, or a large one."""
    try:
        if os.path.isfile(path) and os.path.getsize(path) <= _SCRIPT:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
    except (OSError, ValueError):
        pass
    return ""


def _made(row: Mapping[str, Any], root: str) -> Made:
    """Return what a run made of a step."""
    is_done = row["state"] == "SUCCEEDED"
    said: str = row["stderr_tail"]
    return Made(
        label=row["label"],
        state=row["state"],
        reason="" if is_done else row["reason"],
        returncode=row["returncode"],
        said=said.rstrip().rpartition("\n")[2],
        inp=tuple(row["inp"]),
        out={
            path: _content(os.path.join(root, path)) if is_done else None
            for path in row["out"]
            if not path.endswith("/")
        },
    )


def _content(path: str) -> Content | None:
    """Return what is at a path, None where there is no file."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return None
            start = file.read(_TEXT + 1)
            digest = hashlib.blake2b(start)
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError:
        return None
    text = None
    if len(start) <= _TEXT and b"\0" not in start:
        with contextlib.suppress(UnicodeDecodeError):
            text = start.decode()
    return Content(digest.hexdigest(), found.st_size, found.st_mode, text)
