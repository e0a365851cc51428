"""What is measured: each case measures several subjects on the same work, to be compared within one run."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import (
    HELPERS,
    Burner,
    Figures,
    Kernel,
    command,
    in_kernel,
    in_process,
    write,
)
from peers import PEERS, Edge, Graph, Pools, program

Subject = Callable[[], Figures]


@dataclass(frozen=True)
class Case:
    """Subjects that do the same work."""

    title: str
    subjects: dict[str, Subject]
    base: str = "ninja"
    """Whose wall time the others are divided by."""
    few: frozenset[str] = frozenset()
    """Subjects that take so long that one round of them must do."""
    targets: dict[str, str] = field(default_factory=dict)
    """What is to be reached, in words, by figure."""
    sizes: tuple[float, ...] = ()
    """Of a curve: how much each subject is to do; told is with which power of that the figures grow."""


CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    """Register a case by the name of its function."""
    CASES[make.__name__.replace("_", "-")] = make
    return make


@contextmanager
def folder() -> Iterator[str]:
    """Give a fresh folder."""
    path = tempfile.mkdtemp(prefix="stepup-bench-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def fresh(
    name: str, graph: Graph, jobs: int, given: dict[str, str] | None = None, pools: Pools | None = None
) -> Subject:
    """Let a peer do everything for the first time."""

    def run() -> Figures:
        with folder() as place:
            for path, text in (given or {}).items():
                write(place, path, text)
            PEERS[name].prepare(place, graph, pools or {})
            return PEERS[name].run(place, jobs, pools)

    return run


MEASURED = """
session().set_workers({workers})
{pools}
{edges}
processes = whole()
cpu, begin = ticks(*processes), time.perf_counter()
{declare}
declared = time.perf_counter()
check(session().wait())
wall = time.perf_counter() - begin
assert stepup_nb.status()["counts"] == {{"SUCCEEDED": {number}}}
answer(wall=wall, cpu=ticks(*processes) - cpu, declared=declared - begin, rss=resident(processes[1]))
"""


def ours_code(graph: Graph, workers: int, pools: Pools | None = None, loop: str = "") -> str:
    """Return the cell that declares a graph, waits for it, and answers its figures."""
    rows = [(e.command, e.inp, e.out, e.pool) for e in graph]
    return MEASURED.format(
        workers=workers,
        number=len(graph),
        pools="\n".join(f"pool({name!r}, {size})" for name, size in (pools or {}).items()),
        edges="" if loop else f"edges = json.loads({_json(rows)!r})",
        declare=loop
        or "for cmd, inp, out, limit in edges: runsh(cmd, inp=inp, out=out or (), pool=limit or None)",
    )


def _json(rows: list[Any]) -> str:
    import json

    return json.dumps(rows)


def ours(
    graph: Graph,
    workers: int,
    given: dict[str, str] | None = None,
    pools: Pools | None = None,
    *,
    loop: str = "",
    run: Callable[..., dict[str, Any]] = in_kernel,
) -> Subject:
    """Do everything for the first time, in a kernel or by the director alone."""
    code = ours_code(graph, workers, pools, loop)

    def measure() -> Figures:
        with folder() as place:
            for path, text in (given or {}).items():
                write(place, path, text)
            return run(code, place)

    return measure


# --- cold runs ----------------------------------------------------------------------------------

SCRIPT_BG = """
import subprocess
from tornado.ioloop import IOLoop
begin = time.perf_counter()
magic = get_ipython().run_cell_magic
for number in range({number}):
    magic("script", "--bg --proc p{{}} true".format(number), "")
for number in range({number}):
    process = get_ipython().user_ns["p%d" % number]
    while process.returncode is None:
        try:
            os.kill(process.pid, 0)
        except ProcessLookupError:
            break
        if "Z" in open(f"/proc/{{process.pid}}/stat").read().rpartition(")")[2][:3]:
            break
        time.sleep(0.001)
answer(wall=time.perf_counter() - begin, cpu=0.0)
"""

ASYNCIO = """
import asyncio, threading
def in_thread():
    async def one(limit):
        async with limit:
            process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "true")
            await process.wait()
    async def all():
        limit = asyncio.Semaphore(2)
        await asyncio.gather(*(one(limit) for _ in range({number})))
    asyncio.run(all())
thread = threading.Thread(target=in_thread)
cpu, begin = ticks(os.getpid()), time.perf_counter()
thread.start()
thread.join()
answer(wall=time.perf_counter() - begin, cpu=ticks(os.getpid()) - cpu)
"""

DASK = """
import subprocess, time
from distributed import Client, LocalCluster
def true(number):
    subprocess.run(["/bin/sh", "-c", "true"])
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.gather(client.map(true, range({number}), pure=False))
"""


def _dask(number: int) -> Subject:
    def run() -> Figures:
        with folder() as place:
            write(place, "run.py", DASK.format(number=number))
            return command([program("dask", "python"), "run.py"], place)

    return run


@case
def thousand() -> Case:
    """1 and 2: many commands that do nothing."""
    number = 1000
    graph = [Edge("true")] * number
    loop = f"for _ in range({number}): runsh('true')"
    return Case(
        f"{number:,} × `true`, 2 workers, from the first declaration to the end of the wait",
        {
            "ninja": fresh("ninja", graph, 2),
            "stepup_nb": ours(graph, 2, loop=loop),
            "director alone": ours(graph, 2, loop=loop, run=in_process),
            "make": fresh("make", graph, 2),
            "doit": fresh("doit", graph, 2),
            "asyncio in a kernel thread": lambda: in_kernel(ASYNCIO.format(number=number), setup=HELPERS),
            "dask": _dask(number),
            "stepup4": fresh("stepup4", graph, 2),
            "stepup3": fresh("stepup3", graph, 2),
        },
        few=frozenset({"stepup3", "dask"}),
        targets={
            "wall": "stepup_nb ≤ 1.5 × ninja, ≥ 10 × faster than StepUp 4; director alone ≤ 1.3 ×",
            "cpu": "≤ 2.0 × ninja",
        },
    )


@case
def sleeps() -> Case:
    """6: a pool of two."""
    graph = [Edge("sleep 0.02", pool="two")] * 200
    pools = {"two": 2}
    loop = "for _ in range(200): runsh('sleep 0.02', pool='two')"
    return Case(
        "200 × `sleep 0.02` in a pool of 2, 8 workers (ideal 2.000 s)",
        {
            "ninja": fresh("ninja", graph, 8, pools=pools),
            "stepup_nb": ours(graph, 8, pools=pools, loop=loop),
            "stepup4": fresh("stepup4", graph, 8, pools=pools),
            "stepup3": fresh("stepup3", graph, 8, pools=pools),
        },
        few=frozenset({"stepup3"}),
        targets={"wall": "efficiency ≥ 0.93: ≤ 2.150 s"},
    )


def _copies(number: int) -> tuple[Graph, dict[str, str]]:
    graph = [Edge(f"cp in{n} out{n}", (f"in{n}",), f"out{n}") for n in range(number)]
    return graph, {f"in{n}": f"{n}\n" for n in range(number)}


@case
def chain() -> Case:
    """9: one after the other."""
    graph = [Edge(f"cp f{n} f{n + 1}", (f"f{n}",), f"f{n + 1}") for n in range(1000)]
    given = {"f0": "x\n"}
    return Case(
        "a chain of 1,000 × `cp`",
        {
            "ninja": fresh("ninja", graph, 2, given),
            "stepup_nb": ours(graph, 2, given),
            "make": fresh("make", graph, 2, given),
            "doit": fresh("doit", graph, 2, given),
            "stepup4": fresh("stepup4", graph, 2, given),
        },
        few=frozenset({"stepup4"}),
        targets={"wall": "≤ 1.1 × ninja, ≥ 8 × faster than StepUp 4"},
    )


@case
def diamond() -> Case:
    """9: one, then 500, then one of all."""
    middle = [Edge(f"cp top m{n}", ("top",), f"m{n}") for n in range(500)]
    graph = [Edge("cp source top", ("source",), "top"), *middle]
    graph.append(Edge("cat m* > bottom", tuple(f"m{n}" for n in range(500)), "bottom"))
    given = {"source": "x\n"}
    return Case(
        "a diamond: 1, then 500 × `cp`, then 1",
        {
            "ninja": fresh("ninja", graph, 2, given),
            "stepup_nb": ours(graph, 2, given),
            "make": fresh("make", graph, 2, given),
            "stepup4": fresh("stepup4", graph, 2, given),
        },
        few=frozenset({"stepup4"}),
        targets={"wall": "≤ 1.1 × ninja, ≥ 8 × faster than StepUp 4"},
    )


# --- again --------------------------------------------------------------------------------------

AGAIN = """
{edges}
cpu, begin = ticks(os.getpid()), time.perf_counter()
session().set_workers(2)
started, processes = time.perf_counter(), whole()
for command, inp, out, limit in edges: runsh(command, inp=inp, out=out)
declared = time.perf_counter()
check(session().wait())
wall = time.perf_counter() - begin
director = ticks(processes[1])
status = stepup_nb.status()
ran = [row for row in status["steps"] if not row["skipped"]]
assert status["counts"] == {{"SUCCEEDED": {number}}}
answer(
    wall=wall, start=started - begin, declare=(declared - started) / {number} * 1e6, director=director,
    ran=len(ran), rss=resident(processes[1]),
)
"""


class Prepared:
    """A project that was built once, for each subject in a folder of its own."""

    def __init__(self, number: int, jobs: int = 2) -> None:
        self.graph, self.given = _copies(number)
        self.number = number
        self.jobs = jobs
        self._folders: dict[str, str] = {}

    def place(self, name: str) -> str:
        """Return the folder of a subject, built."""
        if name not in self._folders:
            place = tempfile.mkdtemp(prefix="stepup-bench-")
            for path, text in self.given.items():
                write(place, path, text)
            if name == "stepup_nb":
                in_kernel(ours_code(self.graph, self.jobs), place)
            else:
                PEERS[name].prepare(place, self.graph, {})
                PEERS[name].run(place, self.jobs)
            self._folders[name] = place
        return self._folders[name]

    def again(self, name: str, change: int | None = None) -> Subject:
        """Do it again: nothing has changed, or one input has."""
        rounds = iter(range(1_000_000))

        def run() -> Figures:
            place = self.place(name)
            if change is not None:
                write(place, f"in{change}", f"changed {next(rounds)} {os.urandom(4).hex()}\n")
            if name == "stepup_nb":
                rows = [(e.command, e.inp, e.out, e.pool) for e in self.graph]
                code = AGAIN.format(edges=f"edges = json.loads({_json(rows)!r})", number=self.number)
                return in_kernel(code, place)
            return PEERS[name].run(place, self.jobs)

        return run

    def close(self) -> None:
        """Remove all that was built."""
        for place in self._folders.values():
            shutil.rmtree(place, ignore_errors=True)


def _again(
    number: int,
    title: str,
    names: list[str],
    few: set[str],
    targets: dict[str, str],
    change: int | None = None,
) -> Case:
    prepared = Prepared(number)
    return Case(
        title, {name: prepared.again(name, change) for name in names}, few=frozenset(few), targets=targets
    )


@case
def noop() -> Case:
    """7: nothing has changed."""
    return _again(
        10_000,
        "10,000 steps up to date (one input, one output each), a new kernel, until the wait returns",
        ["ninja", "stepup_nb", "make", "doit", "stepup4"],
        {"stepup4", "doit"},
        {
            "wall": "≥ 25 × faster than StepUp 4",
            "director": "≤ 5 × ninja's time",
            "declare": "≤ 100 µs a declaration",
        },
    )


@case
def one_of() -> Case:
    """8: one input has changed."""
    return _again(
        1000,
        "1 of 1,000 inputs changed",
        ["ninja", "stepup_nb", "make", "doit", "stepup4"],
        {"stepup4"},
        {"director": "≤ 5 × ninja's time"},
        change=500,
    )


# --- beside a busy cell -------------------------------------------------------------------------

BUSY = """
import threading
session().set_workers(2)
runsh("true").wait()
def span():
    rows = [row for row in stepup_nb.history() if row["step"] != "runsh true"]
    return max(row["ended"] for row in rows) - min(row["started"] for row in rows)
def load(seconds):
    # What the cell computes, and how much of it in so many seconds.
    done, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        {work}
        done += 1
    return done / seconds
alone = load(1.0)
with stepup_nb.api.hold():
    for number in range({number}): runsh(f"true {{number}}")
cell = load({seconds})
check(session().wait())
answer(wall=span(), cell=cell / alone)
"""

BESIDE = """
session().set_workers(2)
runsh("true").wait()
with stepup_nb.api.hold():
    for number in range({number}): runsh(f"true {{number}}")
check(session().wait())
rows = [row for row in stepup_nb.history() if row["step"] != "runsh true"]
answer(wall=max(row["ended"] for row in rows) - min(row["started"] for row in rows))
"""

PURE = "sum(n * n for n in range(1000))"
HOLDING = "sum(range(4_000_000))"
"""A call in C that holds the GIL for some 60 ms."""


def _beside(number: int) -> Subject:
    def run() -> Figures:
        with Burner(), Kernel() as kernel:
            return kernel.run(BESIDE.format(number=number))

    return run


@case
def busy() -> Case:
    """3 and 4: a cell computes meanwhile."""
    number = 2000
    return Case(
        f"{number:,} × `true` while a cell computes, from the first start to the last end",
        {
            "load in another process": _beside(number),
            "busy cell, pure Python": lambda: in_kernel(BUSY.format(work=PURE, number=number, seconds=3.0)),
            "busy cell, C calls of 60 ms": lambda: in_kernel(
                BUSY.format(work=HOLDING, number=number, seconds=3.0)
            ),
        },
        base="load in another process",
        targets={"wall": "≤ 1.3 ×, C calls ≤ 2 ×", "cell": "≥ 0.90"},
    )


@case
def big_kernel() -> Case:
    """5: a kernel that holds much memory."""
    code = """
held = bytearray({size})
for place in range(0, len(held), 4096): held[place] = 1
""" + BESIDE.format(number=1000)
    return Case(
        "1,000 × `true` beside 2 GiB of touched memory in the kernel",
        {
            "empty kernel": lambda: in_kernel(code.replace("{size}", "1")),
            "2 GiB": lambda: in_kernel(code.replace("{size}", str(2 << 30))),
        },
        base="empty kernel",
        targets={"wall": "≤ 1.10 ×"},
    )


# --- output, hashes, rows -----------------------------------------------------------------------

FLOOD = """
session().set_workers(2)
_, director, _ = whole()
runsh("true").wait()
before = resident(director)
step = runsh({flood!r})
{work}
step.wait()
row, = [row for row in stepup_nb.history() if row["job"] == 2]
wall = row["ended"] - row["started"]
answer(wall=wall, rate=200 / wall, grown=(resident(director) - before) / 1e6)
"""


@case
def output() -> Case:
    """10: 200 MB of output."""
    compute = f"end = time.perf_counter() + 2\nwhile time.perf_counter() < end: {PURE}"
    # Whoever prints shall not be what is measured: it has the lines ready, and does nothing but write.
    lines = "import os; lines = (b'x' * 79 + b'\\n') * 12500; [os.write(1, lines) for _ in range(200)]"
    flood = shlex.join([sys.executable, "-I", "-S", "-c", lines])
    return Case(
        "200 MB of output of one step, in lines (`rate` in MB/s, `grown` in MB)",
        {
            "cat": lambda: _shell(f"{flood} | cat > /dev/null"),
            "idle kernel": lambda: in_kernel(FLOOD.format(work="", flood=flood)),
            "busy cell": lambda: in_kernel(FLOOD.format(work=compute, flood=flood)),
        },
        base="cat",
        targets={"rate": "≥ 500 MB/s in both", "grown": "≤ 50 MB"},
    )


def _shell(line: str) -> Figures:
    with folder() as place:
        return command(["/bin/sh", "-c", line], place)


HASHES = """
import os, sys, time
sys.path.insert(0, {root!r})
from stepup_nb.director.hashing import look
files = [os.path.join({place!r}, name) for name in sorted(os.listdir({place!r})) if name.startswith("f")]
def plain(path):
    fd = os.open(path, os.O_RDONLY)
    buffer = [bytearray(1 << 18)]
    while os.readv(fd, buffer): pass
    os.close(fd)
def timed(call):
    begin = time.perf_counter()
    for path in files: call(path)
    return time.perf_counter() - begin
timed(plain)
print("ANSWER" + __import__("json").dumps(dict(wall=min(timed({call}) for _ in range(3)))))
"""


def _hashing(sizes: list[int], title: str, target: str) -> Case:
    place = tempfile.mkdtemp(prefix="stepup-bench-")
    for number, size in enumerate(sizes):
        with (Path(place) / f"f{number}").open("wb") as file:
            for _ in range(0, size, 1 << 24):
                file.write(os.urandom(min(size, 1 << 24)))
    root = str(Path(__file__).parent.parent)

    def measure(call: str) -> Subject:
        def run() -> Figures:
            return in_process(HASHES.format(root=root, place=place, call=call), place)

        return run

    return Case(
        title,
        {"reading": measure("plain"), "hashing": measure("look")},
        base="reading",
        targets={"wall": target},
    )


@case
def large_file() -> Case:
    """11: one large input."""
    return _hashing([1 << 30], "an input of 1 GiB looked at", "≤ 1.2 × reading it")


@case
def small_files() -> Case:
    """11: many small inputs."""
    return _hashing([4096] * 20_000, "20,000 inputs of 4 KiB looked at", "≤ 2.5 × open, read, close")


BOOKS = """
import os, sys, tempfile, time
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()
from director.helpers_store import finish, no_tails, start, step
from stepup_nb.core.messages import Decision
from stepup_nb.director.store import Store

class Turn:
    # What `start` and `finish` write, to be saved together with other such things.
    def __init__(self):
        self.decision = Decision()
    def save(self, part, tails):
        for name in ("steps", "files", "jobs"):
            getattr(self.decision, name).update(getattr(part, name))

path = os.path.join({place!r}, "x.stepup.db")
store = Store.open(path)
number = {number}
spent, turn, before = 0.0, Turn(), None
for k in range(number):
    now = step(k + 1)
    if before is not None:
        finish(turn, before)
    start(turn, now, k + 1)
    before = now
    if (k + 1) % {together} == 0:
        begin = time.perf_counter()
        store.save(turn.decision, no_tails)
        spent += time.perf_counter() - begin
        turn = Turn()
finish(turn, before)
store.save(turn.decision, no_tails)
store.close()
store = Store.open(path)
store.close()
begin = time.perf_counter()
store = Store.open(path)
store.load()
loaded = time.perf_counter() - begin
store.close()
import json
print("ANSWER" + json.dumps(dict(wall=spent, step_us=spent / number * 1e6, load_10000=loaded / number * 10_000)))
"""


@case
def bookkeeping() -> Case:
    """12: what the database takes."""
    root = str(Path(__file__).parent.parent)

    def measure(together: int) -> Subject:
        def run() -> Figures:
            with folder() as place:
                return in_process(
                    BOOKS.format(root=root, place=place, number=10_000, together=together), place
                )

        return run

    return Case(
        "10,000 steps written down: the result of one and the start of the next together, and more of them",
        {"one by one": measure(1), "ten at a time": measure(10), "a hundred at a time": measure(100)},
        base="",
        targets={"step_us": "≤ 30 µs one by one, ≤ 20 µs grouped", "load_10000": "≤ 0.060 s"},
    )


# --- Python steps, start-up, scale --------------------------------------------------------------


@case
def python_steps() -> Case:
    """13: steps that are Python scripts."""
    graph = [Edge(f"{sys.executable} -c pass")] * 200
    code = """
Path("nothing.py").write_text("#!/usr/bin/env python3\\n")
os.chmod("nothing.py", 0o755)
session().set_workers(2)
begin = time.perf_counter()
for number in range(200): runpy("nothing.py")
check(session().wait())
answer(wall=time.perf_counter() - begin)
"""
    return Case(
        "200 Python steps that do nothing, 2 workers",
        {"ninja, `python -c pass`": fresh("ninja", graph, 2), "stepup_nb, runpy": lambda: in_kernel(code)},
        base="ninja, `python -c pass`",
        targets={"wall": "≥ 4 × faster than ninja"},
    )


@case
def startup() -> Case:
    """14: loading."""
    load = (
        HELPERS
        + """
begin = time.perf_counter()
get_ipython().run_line_magic("load_ext", "stepup_nb")
answer(wall=time.perf_counter() - begin)
"""
    )
    api = "import time; begin = time.perf_counter(); import stepup_nb.api; answer(wall=time.perf_counter() - begin)"
    return Case(
        "loading",
        {
            "%load_ext stepup_nb": lambda: in_kernel(load, setup="pass"),
            "import stepup_nb.api in a step": lambda: _imported(api),
        },
        base="",
        targets={"wall": "≤ 150 ms; ≤ 30 ms"},
    )


def _imported(code: str) -> Figures:
    import json
    import subprocess
    import sys

    root = str(Path(__file__).parent.parent)
    begin = f"import sys; sys.path.insert(0, {root!r})\nimport json\ndef answer(**v): print(json.dumps(v))\n"
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, check=True)
    found: Figures = json.loads(done.stdout)
    return found


OVERLAP = """
session().set_workers(8)
pool("two", 2)
for number in range(20): runsh("sleep 0.2", pool="two")
check(session().wait())
rows = stepup_nb.history()
answer(wall=max(r["ended"] for r in rows) - min(r["started"] for r in rows))
"""

DECLARE = """
def median(count, prefix):
    times = []
    for number in range(count):
        begin = time.perf_counter()
        get_ipython().run_cell_magic("runsh", "", f"true {prefix}{number}")
        times.append(time.perf_counter() - begin)
    return statistics.median(times), max(times)
session().set_workers(60)
quiet = median(100, "a")
check(session().wait())
for number in range(50): runsh(f"sleep 30; true {number}")
busy = median(100, "b")
session().cancel(all=True)
answer(wall=quiet[0], while_50_run=busy[0], worst=max(quiet[1], busy[1]))
"""

RESIZE = """
session().set_workers(8)
pool("test", 1)
for number in range(9): runsh(f"sleep 1; true {number}", pool="test")
time.sleep(0.1)
begin = time.time()
pool("test", 4)
time.sleep(0.4)
started = sorted(r["started"] - begin for r in stepup_nb.history())[1:4]
answer(wall=max(started), started=len(started))
session().cancel(all=True)
"""

SOCKET = """
for number in range(1000): Path(f"{number}.txt").write_text("")
Path("plan.py").write_text('''#!/usr/bin/env python3
import json, time
from stepup.core.api import amend, runsh, static
static(*(f"{number}.txt" for number in range(1000)))
begin = time.perf_counter()
for number in range(1000):
    amend(inp=f"{number}.txt")
amended = time.perf_counter()
for number in range(1000):
    runsh(f"true {number}", inp=f"{number}.txt", block=True)
print(json.dumps([amended - begin, time.perf_counter() - amended]))
''')
Path("plan.py").chmod(0o755)
step = session().boot("plan.py")
step.wait()
amends, declarations = json.loads(step.stdout)
answer(wall=amends + declarations, amends=amends, declarations=declarations)
"""


@case
def notebook() -> Case:
    """What a person feels."""
    return Case(
        "in a notebook",
        {
            "20 × `sleep 0.2`, pool of 2, 8 workers (ideal 2.0)": lambda: in_kernel(OVERLAP),
            "a cell that declares a step (median of 100)": lambda: in_kernel(DECLARE),
            "resize of a pool from 1 to 4: until three more have started": lambda: in_kernel(RESIZE),
            "1,000 amends and 1,000 declarations of a plan": lambda: in_kernel(SOCKET),
        },
        base="",
    )
