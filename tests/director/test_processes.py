"""Real processes: started clean, watched to their end, killed with all they started."""

import ctypes
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from director.helpers_processes import World, alive, python, until

from stepup_nb.director import local, processes
from stepup_nb.director.executor import CannotStart
from stepup_nb.director.local import LocalExecutor
from stepup_nb.director.output import LogFolder
from stepup_nb.director.reactor import Reactor


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# --- a job and its end ---------------------------------------------------------------------------


# --- what it used --------------------------------------------------------------------------------


def test_the_peak_of_a_process_that_is_larger_than_us_is_seen_however_short_it_lives(world):
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 200_000_000
    ended = world.run(*python(f"import os; x = b'x' * {size}; os._exit(0)"))
    assert ended.peak_rss is not None
    assert size < ended.peak_rss < 1.3 * size


def test_a_short_job_has_an_upper_bound_for_its_memory(world):
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ended = world.run("true")
    assert ended.peak_rss is not None
    assert 0 < ended.peak_rss <= 1.1 * ours


def test_a_job_killed_while_memory_ran_out_says_so(world, tmp_path, monkeypatch):
    counter = tmp_path / "memory.events"
    counter.write_text("oom 0\noom_kill 0\n")
    monkeypatch.setattr(processes, "_OOM_COUNTERS", (str(counter),))
    world.executor._ooms = processes.oom_kills()
    assert world.run("kill -9 $$").notes == ()
    counter.write_text("oom 1\noom_kill 1\n")
    assert world.run("kill -9 $$").notes == ("killed by signal 9, probably because memory ran out",)
    assert world.run("kill -9 $$").notes == ()


# --- what cannot be started ----------------------------------------------------------------------


def test_a_refusal_leaves_no_descriptor_and_no_process(world):
    world.run("true")
    before = descriptors()
    for command in ("/no/such/tool", "no-such-tool", "./headless", "a\0b"):
        (world.folder / "headless").write_text("echo hi\n")
        (world.folder / "headless").chmod(0o755)
        world.refuse(command)
    assert descriptors() == before
    assert world.children() == {}


def test_with_any_number_of_descriptors_left_a_job_runs_or_is_refused_for_now(world):
    world.run("true")
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    refusals = []
    free = [number for number in range(1024) if str(number) not in before]
    # A limit is on the numbers: so many of those below are free.
    for room in free[:10]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
        try:
            assert world.run("echo x >&2").returncode == 0
        except CannotStart as refusal:
            refusals.append(refusal)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert descriptors() == before | ({str(world.logs._fd)} & descriptors())
    assert 0 < len(refusals) < 9
    assert all(refusal.is_transient for refusal in refusals)
    assert {refusal.words for refusal in refusals} == {"SNB-510 too many files are open"}


def test_with_no_room_for_a_process_a_job_is_refused_for_now(world):
    world.run("true")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                # Nothing limits root.
                os.setresuid(65534, 65534, 65534)
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            world.executor.start(99, ["/bin/true"], "/", {})
        except CannotStart as refusal:
            if refusal.is_transient and "the system refused a new process" in refusal.words:
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- what a job leaves behind --------------------------------------------------------------------


def test_what_is_left_behind_at_work_may_finish_it(world, monkeypatch):
    # Long enough that a machine on which much else is at work gives it some processor time meanwhile.
    monkeypatch.setattr(local, "_LINGER", 0.5)
    monkeypatch.setattr(local, "_BUSY", 600.0)
    looks = []
    linger = LocalExecutor._linger

    def look(*args):
        looks.append(args)
        linger(*args)

    monkeypatch.setattr(LocalExecutor, "_linger", look)
    # As a compressor does that a script feeds: `make > >(pigz > log.gz)`. Its first thread only waits.
    code = """
        import os, threading
        def work():
            while not os.path.exists("go"):
                pass
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print("complete")
    """
    (world.folder / "work.py").write_text(textwrap.dedent(code))
    job = world.start(f"{sys.executable} work.py & echo")
    world.until(lambda: len(looks) == 2)
    (world.folder / "go").touch()
    ended = world.wait(job)
    assert ended.leftovers == ()
    assert world.out(ended.job) == b"\ncomplete\n"


def test_what_is_left_behind_at_work_without_end_is_killed_after_all(world, monkeypatch):
    monkeypatch.setattr(local, "_BUSY", 0.4)
    assert world.run("while :; do :; done & echo").leftovers == ("sh",)


def test_the_leftovers_of_one_job_are_not_taken_for_those_of_another(world, gate, nap):
    other = world.start(f"setsid sleep {nap} & read x < gate")
    world.until(lambda: alive(nap))
    assert world.run("setsid sleep 600.5 & true").leftovers == ("sleep",)
    assert len(alive(nap)) == 1
    gate.open()
    assert world.wait(other).leftovers == ("sleep",)
    assert alive(nap) == []


UNMARKED = python(
    """
    import os, resource, sys
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        resource.setrlimit(10, (5, -1))
        os.execve("/bin/sleep", ["sleep", sys.argv[1]], {})
    os.close(w)
    os.read(r, 1)
    """
)
"""Leaves a process that nothing tells from a stranger's."""


def test_what_cannot_be_attributed_dies_with_the_last_job_it_may_belong_to(world, gate, nap):
    longer = world.start("read x < gate")
    assert world.run(*UNMARKED, nap).leftovers == ()
    world.until(lambda: len(alive(nap)) == 1)
    later = world.start("sleep 600")
    gate.open()
    assert world.wait(longer).leftovers == ("sleep",)
    assert alive(nap) == []
    world.executor.stop(later)
    world.wait(later)


def test_what_a_process_leaves_that_ends_while_our_children_are_counted_is_found(
    world, gate, nap, monkeypatch
):
    # The list had the parent and not yet its child; the parent was reaped, and nothing looked again.
    listed = world.executor._nursery.pids

    def pids():
        found = listed()
        for pid in found - world.executor._pids:
            gate.open()
            until(lambda pid=pid: processes.look(pid).state == "Z" or processes.look(pid).name == "sleep")
        return found

    monkeypatch.setattr(world.executor._nursery, "pids", pids)
    assert world.run(f"(read x < gate; sleep {nap} & exit) & true").leftovers == ("sleep",)
    assert alive(nap) == []


def test_where_the_mark_cannot_be_set_the_environment_tells_jobs_apart(world, gate, nap, monkeypatch):
    monkeypatch.setattr(world.executor._spawner, "_mark", lambda soft: None)
    longer = world.start("read x < gate")
    assert world.run(f"setsid setsid sleep {nap} & true").leftovers == ("sleep",)
    gate.open()
    assert world.wait(longer).leftovers == ()


def test_orphans_that_end_by_themselves_do_not_stay_as_zombies(world, gate):
    job = world.start("i=0; while [ $i -lt 20 ]; do (true &); i=$((i+1)); done; echo; read x < gate")
    world.until(lambda: world.outputs and len(world.children()) == 1)
    gate.open()
    assert world.wait(job).leftovers == ()


def test_in_a_thread_of_another_program_its_own_children_are_left_alone(tmp_path, nap):
    stranger = subprocess.Popen(["/bin/sleep", nap])
    ended = []

    def host():
        reactor = Reactor()
        executor = LocalExecutor(
            reactor, ended.append, logs=LogFolder(str(tmp_path / "l")), marker="t.1-1", owns_process=False
        )
        executor.start(1, ["/bin/sh", "-c", "pwd; env -i setsid setsid sleep 600.5 &"], str(tmp_path), {})
        until(lambda: ended, lambda: reactor.turn(0.01))
        executor.start(2, ["/bin/sh", "-c", "sleep 600"], "/", {})
        executor.close()
        reactor.close()

    cwd = Path.cwd()
    thread = threading.Thread(target=host)
    thread.start()
    while thread.is_alive():
        assert Path.cwd() == cwd
    was_alive = stranger.poll() is None
    stranger.kill()
    stranger.wait()
    assert was_alive
    assert ended[0].leftovers == ("sleep",)


# --- stopping ------------------------------------------------------------------------------------


def test_stop_continues_a_stopped_job(world, nap):
    job = world.start(f"trap 'echo bye; exit 5' TERM; sleep {nap} & kill -STOP $$; wait")
    world.until(lambda: alive(nap) and state_of_leader(world, job) == "T")
    world.executor.stop(job)
    assert world.wait(job).returncode == 5
    assert world.out(job) == b"bye\n"


def state_of_leader(world, job):
    found = processes.look(world.executor._jobs[job].pid)
    return found.state if found else ""


def test_a_stop_while_leftovers_are_waited_for_ends_them(world, nap):
    job = world.start(f"setsid sleep {nap} & echo")
    world.until(lambda: world.outputs and state_of_leader(world, job) == "Z")
    world.turn()
    world.executor.stop(job)
    world.wait(job)
    assert alive(nap) == []


def test_a_job_that_cannot_be_killed_is_reported_and_does_not_keep_us_busy(world, nap, monkeypatch):
    job = world.start(f"setsid sleep {nap} & exec sleep {nap}")
    world.until(lambda: len(alive(nap)) == 2)
    leader = world.executor._jobs[job].pid
    monkeypatch.setattr(local, "_PATIENCE", 0.3)
    world.executor.grace = 0.0
    turns = 0

    def turn():
        nonlocal turns
        turns += 1
        world.turn()

    with monkeypatch.context() as patch:
        # As of a process in the hands of a hung disk.
        for name in ("send", "send_child", "send_group"):
            patch.setattr(processes, name, lambda *_, **__: None)
        world.executor.stop(job)
        until(lambda: job in world.ended, turn)
    note = world.ended[job].notes[-1]
    assert note.startswith("still there, because the system does not let it be killed: sleep (pid ")
    assert f"sleep (pid {leader})" in note
    assert turns < 100
    # It ends one day after all.
    for pid in alive(nap):
        os.kill(pid, signal.SIGKILL)
    world.until(lambda: not world.children())
    assert len(world.ended) == 1


def test_a_traced_job_is_reported_with_its_own_end(world, gate, nap):
    # As under `strace -p`: its end is the tracer's to see first.
    job = world.start("read x < gate; exit 9")
    pid = world.executor._jobs[job].pid
    trace = python(
        """
        import ctypes, os, sys
        ptrace = ctypes.CDLL(None).ptrace
        pid = int(sys.argv[1])
        if ptrace(0x4206, pid, 0, 0) != 0:  # PTRACE_SEIZE
            print("refused", flush=True)
            sys.exit()
        print("seized", flush=True)
        sys.stdin.read()
        os.waitpid(pid, 0)
        """
    )
    tracer = subprocess.Popen([*trace, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert tracer.stdout is not None
    said = tracer.stdout.readline()
    gate.open()
    if said == b"seized\n":
        world.until(lambda: state_of_leader(world, job) == "Z")
        for _ in range(5):
            world.turn()
        assert not world.ended
    tracer.communicate()
    assert world.wait(job).returncode == 9


def plant(random, depth, nap):
    """Return a shell command that starts a tree of processes of any shape."""
    kinds = ["nap", "nap", "quick", "noisy", "group", "session", "naked", "daemon", "deaf", "stopped"]
    kind = random.choice(kinds if depth else kinds[:4])
    if kind == "nap":
        return f"sleep {nap}"
    if kind == "quick":
        return f"sleep 0.0{random.randrange(9)}"
    if kind == "noisy":
        return "head -c 30000 /dev/zero"
    branches = [
        plant(random, depth - 1, nap) + random.choice([" &", " ;", " & "])
        for _ in range(random.randrange(1, 4))
    ]
    inner = " ".join(branches)
    script = shlex.quote(f"{inner} :")
    return {
        "group": f"({inner} :)",
        "session": f"setsid sh -c {script}",
        "naked": f"env -i setsid setsid sh -c {script}",
        "daemon": f"(setsid sh -c {script} &)",
        "deaf": f"(trap '' TERM HUP; {inner} :)",
        "stopped": f"({inner} kill -STOP $$)",
    }[kind]


@pytest.mark.parametrize("seed", range(3))
def test_trees_of_any_shape_end_once_and_leave_nothing(world, nap, seed):
    world.executor.grace = 0.1
    chance = random.Random(seed)
    world.run("echo")
    before = descriptors()
    live: set[int] = set()
    for _ in range(60):
        live.add(world.start(plant(chance, 3, nap)))
        while len(live) > 5:
            if chance.random() < 0.3:
                world.executor.stop(chance.choice(sorted(live)))
            world.turn()
            live -= world.ended.keys()
    for job in live:
        world.executor.stop(job)
    world.wait(*live, 61)
    assert alive(nap) == []
    assert world.children() == {}
    assert descriptors() == before
    assert not world.executor._strays
    assert not world.executor._pids


def test_a_child_that_is_no_job_is_left_alone(world, nap):
    # As a cluster's worker that a library starts in this process.
    worker = subprocess.Popen(["/bin/sleep", nap])
    world.run("setsid sleep 600.5 & true")
    world.executor.kill_all()
    was_alive = worker.poll() is None
    worker.kill()
    worker.wait()
    assert was_alive


# --- the end of everything -----------------------------------------------------------------------


def test_kill_all_leaves_nothing(world, nap, monkeypatch):
    for command in (
        f"trap '' TERM; sleep {nap} & sleep {nap}",
        f"env -i setsid setsid sleep {nap} & kill -STOP $$",
        f"setsid sh -c 'trap \"\" TERM HUP; setsid sleep {nap}; :' & sleep {nap}",
    ):
        world.start(command)
    world.until(lambda: len(alive(nap)) == 5)
    # It ends because everybody is dead, not because its time is over.
    monkeypatch.setattr(local, "_KILL_ALL", 600.0)
    world.executor.kill_all()
    assert alive(nap) == []
    world.turn()
    assert not world.ended


def test_thousands_of_jobs_leave_no_descriptor_and_no_zombie(world):
    world.run("echo")
    before = descriptors()
    for _ in range(20):
        world.wait(*[world.start("echo; echo >&2") for _ in range(25)])
    assert descriptors() == before
    assert world.children() == {}
    assert not world.executor._jobs
    assert not world.executor._strays
    assert not world.executor._pids
    assert not world.executor._watched


def test_a_flood_does_not_starve_the_others(world):
    floods = [world.start("exec cat /dev/zero") for _ in range(2)]
    for _ in range(10):
        world.run("echo")
    assert not any(job in world.ended for job in floods)
    for job in floods:
        world.executor.stop(job)
    world.wait(*floods)


# --- earlier runs --------------------------------------------------------------------------------


def run_of_a_dead_director(database):
    """Return the marker of a run whose director has ended."""
    child = subprocess.Popen(["/bin/true"])
    found = processes.look(child.pid)
    child.wait()
    return f"{database}.{child.pid}-{found.born if found else 0}"


def test_the_sweep_kills_what_dead_runs_of_this_database_left_and_nothing_else(nap):
    database = f"db.{os.urandom(4).hex()}"
    ours = processes.run_marker(database)
    dead = run_of_a_dead_director(database)
    markers = {
        "left": dead,
        "of another database": dead.replace("db.", "db2."),
        "of a copy whose director lives": f"{database}.{ours.rpartition('.')[2]}",
        "without": "",
    }
    found = {
        name: subprocess.Popen(["/bin/sleep", nap], env={"STEPUP_NB_RUN": marker} if marker else {})
        for name, marker in markers.items()
    }
    try:
        until(lambda: len(alive(nap)) == 4)
        assert processes.sweep(ours) == ("sleep",)
        assert found["left"].wait(5) == -signal.SIGKILL
        assert [name for name, process in found.items() if process.poll() is None] == list(markers)[1:]
    finally:
        for process in found.values():
            process.kill()
            process.wait()


def test_the_sweep_spares_the_kernel_that_a_left_step_started_us_from(nap):
    database = f"db.{os.urandom(4).hex()}"
    code = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from stepup_nb.director import processes
        print(processes.sweep(processes.run_marker({database!r})))
    """
    done = subprocess.run(
        python(code), env={"STEPUP_NB_RUN": run_of_a_dead_director(database)}, stdout=subprocess.PIPE
    )
    assert done.stdout == b"()\n"


def test_the_end_of_the_parent_is_heard_of():
    reactor = Reactor()
    calls = []
    processes.watch_parent(reactor, lambda: calls.append("now"), os.getppid())
    reactor.turn(0)
    assert calls == []
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    processes.watch_parent(reactor, lambda: calls.append("gone"), gone.pid)
    processes.watch_parent(reactor, lambda: calls.append("not ours"), 1)
    until(lambda: calls == ["gone", "not ours"])
    reactor.close()


def test_nothing_of_us_is_inheritable(world):
    world.start("echo; exec sleep 600")
    world.until(lambda: world.outputs)
    opened = {fd for fd in descriptors() if int(fd) > 2 and Path(f"/proc/self/fd/{fd}").exists()}
    assert [fd for fd in opened if os.get_inheritable(int(fd))] == []


def test_the_name_of_a_process_may_hold_anything(world):
    libc = ctypes.CDLL(None)
    old = ctypes.create_string_buffer(16)
    libc.prctl(16, old, 0, 0, 0)
    libc.prctl(15, b"a) Z 1 (b", 0, 0, 0)
    try:
        found = processes.look(os.getpid())
    finally:
        libc.prctl(15, old.value, 0, 0, 0)
    assert found is not None
    assert (found.name, found.parent) == ("a) Z 1 (b", os.getppid())
