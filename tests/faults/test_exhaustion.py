"""What the machine refuses is said, costs no slot, and is tried again: processes, descriptors, memory, disk."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from director.helpers_processes import alive
from director.helpers_world import Notebook, director_of, ran, state_of, until, with_processes
from sim import Script, Sim

from stepup_nb.core.messages import JobNotStarted, LookAt
from stepup_nb.core.model import FileHash, Glob
from stepup_nb.core.moving import LONGEST_REST
from stepup_nb.director import spawn
from stepup_nb.director.hashing import Hasher
from stepup_nb.director.reactor import Reactor

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="not run: needs root")

# --- what is decided -----------------------------------------------------------------------------------


def refuse(sim: Sim) -> None:
    """Let the machine be full for the start that is under way."""
    start = next(iter(sim.running.values()))
    del sim.running[start.job.id]
    sim.do(JobNotStarted(start.job.id, "SNB-510 no room", is_transient=True, is_full=True))  # type: ignore[arg-type]


def test_where_the_machine_is_full_nothing_else_is_tried_for_a_while_and_each_step_says_why() -> None:
    sim = Sim(workers=1)
    for name in "abc":
        sim.step(name, takes=5)
    refuse(sim)
    assert sim.running == {}
    assert {sim.reason(name) for name in "abc"} == {"SNB-510 no room; tries again in 1 s"}
    assert sim.scheduler.pools.busy == {} and not sim.scheduler.is_idle()
    sim.run(until=0.9)
    assert sim.running == {}
    sim.run(until=1.1)
    assert sim.started[-1:] == ["a"]
    assert sim.wait() == "done"


def test_the_longer_the_machine_is_full_the_less_often_it_is_asked() -> None:
    sim = Sim(workers=1)
    sim.step("a", takes=5)
    begin, rests = sim.now, []
    for _ in range(6):
        refuse(sim)
        sim.run(until=sim.scheduler.next_time())
        rests.append(round(sim.now - begin))
        begin = sim.now
    assert rests == [1, 2, 4, 8, 8, 8] and rests[-1] == LONGEST_REST
    assert sim.wait() == "done"
    # Something has ended meanwhile: there may be room again at once.
    sim.step("b", takes=5)
    refuse(sim)
    assert sim.reason("b").endswith("tries again in 1 s")


def test_a_full_machine_does_not_look_stuck_to_whoever_waits() -> None:
    sim = Sim(workers=1)
    sim.step("a", cannot_start=7)
    sim.step("b", cannot_start=4)
    assert sim.wait() == "done"
    assert sim.states() == {"a": "SUCCEEDED", "b": "SUCCEEDED"}


def test_what_a_plan_no_longer_declares_goes_also_when_its_start_was_refused_before() -> None:
    # Its children belonged to nobody then, and stayed for ever.
    def long(script: Script) -> None:
        script.step("a", out="x")
        script.step("b", out="y")

    def short(script: Script) -> None:
        script.step("a", out="x")

    sim = Sim()
    sim.boot(long).wait()
    sim.edit("plan", short, cannot_start=3)
    sim = sim.restart()
    sim.boot().wait()
    assert sim.states() == {"plan": "SUCCEEDED", "a": "SUCCEEDED"}
    assert sim.clean(options=True) == ["y"]


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_what_concerns_the_whole_machine_is_told_from_what_concerns_a_step(number) -> None:
    refusal = spawn.cannot_start(OSError(number, "x"), "/bin/tool")
    assert (refusal.is_transient, refusal.is_full) == (True, True)
    assert refusal.words.startswith("SNB-510 ")
    of_step = spawn.cannot_start(OSError(errno.ETXTBSY, "x"), "/bin/tool")
    assert (of_step.is_transient, of_step.is_full) == (True, False)
    assert not spawn.cannot_start(OSError(errno.EACCES, "x"), "/bin/tool").is_transient


# --- no descriptors (row 65) --------------------------------------------------------------------------


@contextmanager
def no_descriptors(process: int):
    """Let a process open nothing more."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, (soft, hard))


def held(session) -> dict[str, int]:
    return {pool["name"]: pool["used"] for pool in session.status()["pools"]}


@with_processes
def test_without_descriptors_steps_wait_with_a_reason_and_hold_no_slot_and_then_run(notebook: Notebook):
    session = notebook.begin()
    session.pool("p", 2)
    session.declare("runsh", "true", name="first").wait()
    with no_descriptors(director_of(session)):
        for name in "abc":
            session.declare("runsh", f"echo {name}", name=name, pool="p")
        until(
            lambda: session.rows(["a"])[0]["reason"].startswith(
                "SNB-510 too many files are open; tries again"
            )
        )
        until(lambda: {row["state"] for row in session.rows(["a", "b", "c"])} == {"QUEUED"})
        assert held(session) == {"p": 0}
        assert len(session.history()) == 1
        # It is asked again and again, and each time nothing is kept of it.
        until(lambda: "tries again in 2 s" in session.rows(["a"])[0]["reason"])
    session.wait()
    assert {state_of(session, name) for name in "abc"} == {"SUCCEEDED"}
    assert held(session) == {"p": 0}
    assert sorted(ran(session)) == ["a", "b", "c", "first"]
    lines = session.connect().request("lines", since=0)["lines"]
    assert ["SNB-510" in page[1] for line in lines if line["tag"] == "RESCHEDULE" for page in line["pages"]]


@with_processes
def test_without_descriptors_no_file_is_judged_and_no_result_is_lost(notebook: Notebook):
    # What a step had made counted as unreadable then, and the step had failed.
    session = notebook.begin()
    notebook.write("a.txt", "A")
    running = session.declare(
        "runsh",
        "touch runs; until [ -e go ]; do sleep 0.01; done; cat a.txt > b.txt",
        inp="a.txt",
        out="b.txt",
    )
    done = session.declare("runsh", "cat a.txt > c.txt", inp="a.txt", out="c.txt", name="done")
    session.wait(["done"])
    until(lambda: (notebook.folder / "runs").exists())
    with no_descriptors(director_of(session)):
        # Only its marks are others: to see that it is the same it has to be read.
        os.utime(notebook.folder / "c.txt", ns=(1, 1))
        again = session.declare("runsh", "cat a.txt > c.txt", inp="a.txt", out="c.txt", name="done")
        waiting = session.declare("runsh", "cat a.txt > d.txt", inp="a.txt", out="d.txt", name="waiting")
        (notebook.folder / "go").touch()
        until(lambda: (notebook.folder / "b.txt").exists())
        until(lambda: alive("go") == [] and state_of(session, "waiting") in ("CHECKING", "QUEUED"))
        assert (again.state, running.state) == ("SUCCEEDED", "RUNNING")
    session.wait()
    assert {state_of(session, step.name) for step in (running, done, waiting)} == {"SUCCEEDED"}
    assert ran(session).count("done") == 1
    assert notebook.read("b.txt") == notebook.read("d.txt") == "A"


class Looking:
    """A hasher and its reports; what it does is counted, so that a test can wait for a try."""

    def __init__(self, root: Path) -> None:
        self.reactor = Reactor()
        self.reports = []
        self.tries = 0
        self.hasher = Hasher(self.reactor, self.reports.append, str(root))

    def look_at(self, order: LookAt) -> None:
        def work():
            self.tries += 1
            return self.hasher._look_at(order)

        self.hasher.run(work)

    def until(self, condition) -> None:
        until(lambda: (self.reactor.turn(0.005), condition())[1])

    def close(self) -> None:
        self.hasher.close()
        self.reactor.close()


@pytest.fixture
def looking(tmp_path):
    looking = Looking(tmp_path)
    yield looking
    looking.close()


def test_a_folder_that_cannot_be_listed_for_want_of_descriptors_is_not_empty(looking, tmp_path):
    # A pattern seemed to match nothing any more, and its plan ran again, or did not see its files.
    (tmp_path / "in").mkdir()
    for name in ("in/a.txt", "in/b.txt"):
        (tmp_path / name).write_text(name)
    glob = Glob(("in/*.txt",))
    order = LookAt(7, (("in/a.txt", None), ("gone", None)), (glob,))
    with no_descriptors(os.getpid()):
        looking.look_at(order)
        looking.until(lambda: looking.tries > 1)
        assert looking.reports == []
    looking.until(lambda: looking.reports)
    (report,) = looking.reports
    assert isinstance(report.looks["in/a.txt"], FileHash)
    assert report.looks["gone"] is None
    assert report.found == {glob: (("in/a.txt", "in/b.txt"),)}


def test_a_look_that_waits_for_descriptors_ends_with_the_director(tmp_path):
    others = set(threading.enumerate())
    looking = Looking(tmp_path)
    (tmp_path / "a").write_text("a")
    with no_descriptors(os.getpid()):
        looking.look_at(LookAt(1, (("a", None),)))
        looking.until(lambda: looking.tries > 1)
        (thread,) = [
            one for one in threading.enumerate() if one.name == "stepup-hash-1" and one not in others
        ]
        looking.hasher.close()
        until(lambda: not thread.is_alive())
    looking.reactor.close()


# --- no processes (row 64) ----------------------------------------------------------------------------

STRANGER = 54321
"""A user of whom no process is expected here; nothing limits root."""

WITHOUT_ROOM = """
import os, resource, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from director.helpers_world import LAUNCHES, Notebook, ran, until

def begin(name):
    folder = Path({folder!r}) / name
    folder.mkdir()
    (folder / "a.txt").write_text("A")
    os.environ["XDG_DATA_HOME"] = str(folder / "data")
    notebook = Notebook(folder, LAUNCHES["thread"])
    return notebook, notebook.begin()

# Whatever is imported on the way: later it may lie where only root may read.
notebook, session = begin("warm")
session._ask("watch", on=True)
session.declare("runsh", "cat a.txt > b.txt", inp="a.txt", out="b.txt").wait()
notebook.close()
if os.geteuid() == 0:
    os.chmod({folder!r}, 0o777)
    os.setresuid({stranger}, {stranger}, {stranger})

notebook, session = begin("cold")
session.pool("p", 1)
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
session._ask("watch", on=True)
step = session.declare("runsh", "cat a.txt > b.txt", inp="a.txt", out="b.txt", name="s", pool="p")
plain = session.declare("runsh", "true", name="plain", pool="p")
until(lambda: plain.reason.startswith("SNB-510 the system refused a new process"))
# Not even to look at its input there is a thread.
assert step.state == "CHECKING", step
assert session.status()["pools"][0]["used"] == 0 and session.history() == []
resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
session.wait()
assert step.state == plain.state == "SUCCEEDED", (step, plain)
assert sorted(ran(session)) == ["plain", "s"]
assert notebook.read("b.txt") == "A"
notebook.close()
"""


def test_without_room_for_a_process_or_a_thread_steps_wait_and_then_run():
    # The first thread that was refused ended the director.
    paths = [str(Path(__file__).parents[1]), *sys.path]
    with tempfile.TemporaryDirectory() as folder:
        code = WITHOUT_ROOM.format(paths=paths, folder=folder, stranger=STRANGER)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


# --- no memory (row 66) -------------------------------------------------------------------------------


def test_a_step_that_gets_no_memory_fails_once_with_what_it_said(session):
    hungry = 'ulimit -v 200000; python3 -c "bytearray(10**9)"'
    step = session.declare("runsh", hungry, name="hungry")
    until(lambda: step.state == "FAILED")
    assert step.returncode == 1
    assert "MemoryError" in step.stderr
    assert len(session.history()) == 1


@pytest.fixture
def small_memory():
    """A control group of the kernel with little memory; its path."""
    for folder in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        group = Path(folder) / f"stepup-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name in ("memory.limit_in_bytes", "memory.max"):
                if (group / name).exists():
                    (group / name).write_text(str(24 << 20))
                    yield group
                    return
        finally:
            until(lambda group=group: not (group / "cgroup.procs").read_text())
            group.rmdir()
    pytest.skip("not run: needs root and a control group for memory")


def test_a_step_that_the_system_kills_for_want_of_memory_says_so(session, small_memory):
    command = f'echo $$ > {small_memory}/cgroup.procs; exec python3 -c "bytearray(10**8)"'
    step = session.declare("runsh", command, name="hungry", retry=0)
    until(lambda: step.state == "FAILED")
    assert step.returncode == -signal.SIGKILL
    assert session.rows(["hungry"])[0]["notes"] == ["killed by signal 9, probably because memory ran out"]
    assert len(session.history()) == 1


# --- no room for logs (row 76) ------------------------------------------------------------------------


def finished(session, step):
    until(lambda: step.state == "SUCCEEDED")
    return session.rows([step.name])[0]


def test_a_folder_of_logs_that_goes_or_never_was_fails_no_step(notebook: Notebook, session):
    logs = Path(notebook.place.state) / "logs"
    first = session.declare(
        "runsh", "echo one; touch runs; until [ -e go ]; do sleep 0.01; done; echo two", name="first"
    )
    until(lambda: (notebook.folder / "runs").exists() and logs.exists())
    shutil.rmtree(logs)
    (notebook.folder / "go").touch()
    row = finished(session, first)
    assert row["notes"] == ["output not stored: its log was deleted"]
    assert row["stdout_tail"] == "one\ntwo\n"
    shutil.rmtree(logs, ignore_errors=True)
    logs.write_text("a file is in its place")
    row = finished(session, session.declare("runsh", "echo three", name="second"))
    assert row["notes"] == [f"output not stored: {os.strerror(errno.ENOTDIR)}"]
    assert row["stdout_tail"] == "three\n"
    session = notebook.again(session)
    assert session.declare("runsh", "echo three", name="second").wait().state == "SUCCEEDED"
    assert len(session.history()) == 2


@NEEDS_ROOT
def test_logs_that_find_no_room_fail_no_step_and_the_end_is_shown(notebook: Notebook, session):
    logs = Path(notebook.place.state) / "logs"
    logs.mkdir(mode=0o700, parents=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", logs])
    try:
        row = finished(
            session, session.declare("runsh", "yes 0123456789 | head -c 1000000; echo end", name="much")
        )
        assert row["notes"] == [f"output not stored: {os.strerror(errno.ENOSPC)}"]
        assert row["stdout_tail"].endswith("end\n")
        assert session.log("much").startswith(b"0123456789\n")
        session.close()
    finally:
        subprocess.check_call(["umount", "-l", logs])
