"""What the browser is told of a session: a snapshot at first, then numbered deltas.

Pure: rows and events of the director in, messages out (their shapes are in ``js/types.js``). Texts are made
safe to show here: one line each, bounded, with nothing in them that hides, reorders or commands. A step goes by
its key, or, where that is long or odd, by a digest of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import islice
from typing import Any

from stepup_nb.core.model import FINISHED
from stepup_nb.notebook import ansi, show

Row = dict[str, Any]
Message = dict[str, Any]

ROWS = 250
"""Steps, and jobs, in one delta."""
JOBS = 2000
"""Jobs that a snapshot has."""
_PULSE = 1.0
"""Seconds after which memory and remaining time are told again while something runs."""
_ESTIMATE_EVERY = 1.0
"""Seconds between two estimates of the remaining time."""
_NO_NEWS = ("never ran", "up to date")
"""Reasons that go without saying, of steps that run or have run."""
_SENTENCE = 240
_PATHS = 100
_COMMAND = 20_000
_MACHINE = 200


class Feed:
    """The state of a session as the browser is to see it, and what of that it has not been told.

    Parameters
    ----------
    notebook
        Name of the file.
    limit
        Bytes of memory that this session may use, if that is known.
    hub
        See `show.dashboard`.
    """

    def __init__(self, notebook: str = "", limit: int | None = None, hub: str = "") -> None:
        self.is_known = False
        """The session's state has been taken in."""
        self.steps: dict[str, Row] = {}
        """By what the browser calls them."""
        self._notebook = notebook
        self._limit = limit
        self._hub = hub
        self._keys: dict[str, str] = {}
        self._jobs: dict[int, Row] = {}
        self._session: Row = {}
        self._cluster: Row | None = None
        """Where steps run, if that is not this machine."""
        self._queues: dict[str, list[str]] = {}
        self._seq = 0
        self._is_whole = True
        """The next message is a snapshot."""
        self._steps_told: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        self._jobs_told: dict[int, None] = {}
        self._has_session = False
        self._answers: list[Row] = []
        self._estimated = 0.0
        self._told_at = 0.0
        self._remaining: float | None = None

    # --- what comes from the director ----------------------------------------------------------

    def take_all(self, status: Row, jobs: Iterable[Row]) -> None:
        """Take in the whole state: an answer to ``status``, and rows of ``history``."""
        self.is_known = True
        self.steps = {}
        self._keys = {}
        for row in status["steps"]:
            self._keep(row)
        self._jobs = {row["job"]: self._job(row) for row in jobs}
        self._take_session(status)
        self._is_whole = True

    def take(self, event: Row) -> None:
        """Take in an event ``changes``."""
        for key in event["gone"]:
            name = name_of(key)
            if self.steps.pop(name, None) is not None:
                self._gone[name] = None
                self._steps_told.pop(name, None)
                self._keys.pop(name, None)
        for row in event["steps"]:
            name = self._keep(row)
            self._steps_told[name] = None
            self._gone.pop(name, None)
        for row in event["jobs"]:
            self._jobs[row["job"]] = self._job(row)
            self._jobs_told[row["job"]] = None
        while len(self._jobs) > JOBS:
            del self._jobs[next(iter(self._jobs))]
        self._take_session(event)

    def take_now(self, now: Row) -> None:
        """Take in an answer to ``now``: lines, memory, time."""
        self._queues = {pool: [name_of(key) for key in keys] for pool, keys in now["queues"].items()}
        self._session["memory"] = {"used": now["memory"], "limit": self._limit}
        if self.is_busy and now["at"] >= self._told_at + _PULSE:
            self._has_session = True

    def take_where(self, where: Row) -> None:
        """Take in an answer to ``where``."""
        cluster = None
        if where["kind"] != "local":
            cluster = {
                "kind": ansi.one_line(where["kind"], 40),
                "address": ansi.one_line(where["address"], _MACHINE),
                "dashboard": show.dashboard(where, self._hub),
                "threads": where.get("threads", 0),
            }
        if cluster != self._cluster:
            self._cluster, self._has_session = cluster, True

    @property
    def is_busy(self) -> bool:
        """Whether any step runs."""
        return bool(self._session.get("counts", {}).get("RUNNING"))

    def lose(self) -> None:
        """Take note that the director is gone."""
        self._session, self._cluster = {**self._session, "lost": True}, None
        self._has_session = True

    def _keep(self, row: Row) -> str:
        name = name_of(row["name"])
        self._keys[name] = row["name"]
        self.steps[name] = _slim(name, row)
        return name

    def _job(self, row: Row) -> Row:
        kept = (
            "job",
            "outcome",
            "returncode",
            "queued",
            "started",
            "ended",
            "slots",
            "worker",
            "peak_rss",
            "cpu",
        )
        return {
            **{key: row[key] for key in kept},
            "machine": _machine(row),
            "step": name_of(row["step"]),
            "why": ansi.one_line(row.get("why") or "", _SENTENCE),
        }

    def _take_session(self, told: Row) -> None:
        self._session = {
            "notebook": self._notebook,
            "workers": told["workers"],
            "paused": told["paused"],
            "draining": told["draining"],
            "pools": told["pools"],
            "counts": told["counts"],
            "notes": [ansi.one_line(note, _SENTENCE) for note in told["notes"][:10]],
            "memory": self._session.get("memory"),
            "lost": False,
        }
        self._has_session = True

    # --- what comes from the browser -----------------------------------------------------------

    def hello(self) -> None:
        """Let the next message be a snapshot."""
        self._is_whole = True

    def answer(self, number: int, words: str) -> None:
        """Tell what became of an action."""
        self._answers.append({"id": number, "words": ansi.one_line(words, 2 * _SENTENCE)})

    def key_of(self, name: str) -> str | None:
        """Return the key of what the browser calls a step by that name."""
        return self._keys.get(name)

    # --- what goes to the browser --------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(
            self._is_whole
            or self._steps_told
            or self._gone
            or self._jobs_told
            or self._has_session
            or self._answers
        )

    def message(self, now: float, logs: list[Message], details: list[Message]) -> Message:
        """Return the next message, and count what is in it as told.

        Parameters
        ----------
        now
            The kernel's clock, seconds since the epoch.
        logs, details
            Of followed steps.
        """
        self._seq += 1
        answers, self._answers = self._answers, []
        message: Message = {"seq": self._seq, "at": now, "logs": logs, "details": details, "answers": answers}
        if self._is_whole:
            self._forget_news()
            return {
                **message,
                "kind": "snapshot",
                "session": self.session(now),
                "steps": list(self.steps.values()),
                "jobs": list(self._jobs.values()),
            }
        steps = list(islice(self._steps_told, ROWS))
        jobs = list(islice(self._jobs_told, ROWS))
        message |= {
            "kind": "delta",
            "steps": [self.steps[name] for name in steps],
            "gone": list(self._gone),
            "jobs": [self._jobs[number] for number in jobs if number in self._jobs],
        }
        if self._has_session or steps or jobs:
            message["session"] = self.session(now)
            self._told_at = now
        for name in steps:
            del self._steps_told[name]
        for number in jobs:
            del self._jobs_told[number]
        self._gone, self._has_session = {}, False
        return message

    def _forget_news(self) -> None:
        self._is_whole = self._has_session = False
        self._steps_told, self._gone, self._jobs_told = {}, {}, {}

    def session(self, now: float) -> Row:
        """Return what is not about one step."""
        session = self._session
        if not self._estimated <= now < self._estimated + _ESTIMATE_EVERY:
            # It looks at every step.
            self._estimated = now
            self._remaining = remaining(self.steps.values(), session["workers"], session["pools"], now)
        return {
            **session,
            "busy": sum(job["outcome"] is None for job in self._jobs.values()),
            "queue": self._queues.get("", []),
            "pools": [self._pool(pool) for pool in session["pools"]],
            "cluster": self._cluster,
            "remaining": self._remaining,
        }

    def _pool(self, row: Row) -> Row:
        reserved = row["reserved"]
        return {
            "name": row["name"],
            "size": row["size"],
            "used": row["used"],
            "waiting": row["waiting"],
            "tokens": [ansi.one_line(token, 40) for token in row["tokens"]],
            "paused": row["paused"],
            "reserved": None if reserved is None else ansi.one_line(reserved, 80),
            "queue": self._queues.get(row["name"], []),
            "per_machine": row.get("per_machine", False),
            "machines": [[ansi.one_line(name, _MACHINE), used] for name, used in row.get("machines", ())],
        }


def name_of(key: str) -> str:
    """Return what the browser calls the step with this key: whatever text would come through unchanged."""
    if len(key) <= 200 and key.isprintable():
        return key
    return "…" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _machine(row: Row) -> str:
    return ansi.one_line(row.get("machine") or "", _MACHINE)


def _slim(name: str, row: Row) -> Row:
    kept = (
        *("state", "pool", "slots", "worker", "seq", "job", "outcome", "returncode", "queued", "started"),
        *("ended", "duration", "expected", "dormant", "skipped", "optional"),
    )
    return {
        **{key: row[key] for key in kept},
        "name": name,
        "label": ansi.one_line(row["label"], 80),
        "reason": "" if row["reason"] in _NO_NEWS else ansi.one_line(row["reason"], _SENTENCE),
        "peak": row["peak_rss"],
        "cell": ansi.one_line(row["cell"] or "", 80),
        "last": _last_line(row["stdout_tail"]) or _last_line(row["stderr_tail"]),
        "machine": _machine(row),
        "place": None if row.get("place") is None else ansi.one_line(row["place"], _MACHINE),
    }


def _last_line(tail: str) -> str:
    """Return the last line that shows something."""
    line = tail[-2000:].rstrip().rpartition("\n")[2]
    return ansi.one_line(ansi.to_text(line).strip(), 160)


def details(row: Row, why: Row, jobs: Iterable[Row]) -> Message:
    """Return all about one step: from its row, an answer to ``why``, and the rows of its jobs."""
    said = [why["reason"], *why["outdated"], why["root"], why["last"]]
    told = ("it had never run before" if words == "never ran" else words for words in said if words)
    sentences = dict.fromkeys(ansi.one_line(words, 2 * _SENTENCE) for words in told)
    return {
        "step": name_of(row["name"]),
        "command": ansi.to_text(row["command"][:_COMMAND]),
        "workdir": ansi.one_line(row["workdir"], _SENTENCE),
        **{key: _paths(row[key]) for key in ("inp", "out", "vol", "env")},
        "cell": ansi.one_line(row["cell"] or "", _SENTENCE),
        "why": list(sentences),
        "notes": [ansi.one_line(note, _SENTENCE) for note in row["notes"][:20]],
        "jobs": [
            {
                **job,
                "step": name_of(job["step"]),
                "why": ansi.one_line(job["why"], _SENTENCE),
                "machine": _machine(job),
            }
            for job in list(jobs)[:-21:-1]
        ],
    }


def _paths(paths: list[str]) -> list[str]:
    shown = [ansi.one_line(path, _SENTENCE) for path in paths[:_PATHS]]
    more = len(paths) - len(shown)
    return [*shown, f"… {more} more"] if more else shown


def graph(nodes: Iterable[tuple[str, list[str], list[str], list[str]]]) -> Message:
    """Return who reads and makes what, from an answer to ``graph``: each path goes by a name of its own."""
    return {"kind": "graph", "nodes": [[name_of(node[0]), *map(_names, node[1:])] for node in nodes]}


def _names(keys: Iterable[str]) -> list[str]:
    return [name_of(key) for key in keys]


def remaining(steps: Iterable[Row], workers: int, pools: Iterable[Row], now: float) -> float | None:
    """Return the seconds until all is done, as far as durations tell: a bound by work over workers and slots.

    A step of unknown duration counts as the mean of the known ones; None where none is
    known, or nothing runs or waits for a slot.
    """
    left: list[tuple[Row, float]] = []
    known: list[float] = []
    unknown: list[Row] = []
    for step in steps:
        expected = step["expected"]
        if expected is not None and not step["dormant"]:
            known.append(expected)
        if step["dormant"] or step["state"] in FINISHED or (step["optional"] and step["state"] == "PENDING"):
            continue
        if expected is None:
            unknown.append(step)
        else:
            left.append((step, expected))
    waiting = [*(step for step, _ in left), *unknown]
    # Of what cannot start nobody knows when it will be done.
    if not known or not any(step["state"] in ("RUNNING", "QUEUED", "CHECKING") for step in waiting):
        return None
    mean = sum(known) / len(known)
    sizes = {
        pool["name"]: pool["size"] and pool["size"] * max(1, len(pool.get("machines", ()))) for pool in pools
    }
    work = longest = 0.0
    by_pool: dict[str, float] = dict.fromkeys(sizes, 0.0)
    for step, expected in [*left, *((step, mean) for step in unknown)]:
        is_running = step["state"] == "RUNNING" and step["started"] is not None
        seconds = max(0.0, expected - (now - step["started"])) if is_running else expected
        work += seconds
        longest = max(longest, seconds)
        for pool, slots in step["pool"].items():
            if pool in by_pool:
                by_pool[pool] += seconds * slots
    bounds: list[float] = [by_pool[name] / size for name, size in sizes.items() if size]
    return max(longest, work / max(1, workers), *bounds)
