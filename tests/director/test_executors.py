"""What holds for every executor: on this machine, and on a cluster. Real processes, a real Dask cluster."""

import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest
from director.helpers_processes import ClusterWorld, World, alive, python

from stepup_nb.director import local, processes
from stepup_nb.director.reactor import Reactor


@pytest.fixture(params=["local", "dask"])
def kind(request):
    return request.param


@pytest.fixture
def grace():
    return 5.0


@pytest.fixture
def world(request, tmp_path, kind, grace):
    cluster = request.getfixturevalue("cluster") if kind == "dask" else None
    if cluster is None:
        world = World(tmp_path, grace=grace)
    else:
        world = ClusterWorld(tmp_path, cluster.address, cluster.security, grace)
    yield world
    world.close()


with_little_grace = pytest.mark.parametrize("grace", [0.3])


DAEMON = python(
    """
    import os, sys
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", sys.argv[1]])
        os._exit(0)
    os.wait()
    print("done", flush=True)
    """
)


def test_a_job_ends_with_the_status_of_its_command(world):
    assert world.run("exit 3").returncode == 3


def test_a_job_that_a_signal_ended_has_its_negative_number(world):
    assert world.run("kill -SEGV $$").returncode == -signal.SIGSEGV


def test_a_job_ended_when_its_command_did(world):
    before = time.time()
    ended = world.run("true").ended
    assert before <= ended <= time.time()


def test_each_job_is_reported_once_and_never_from_within_start(world):
    jobs = [world.start("true") for _ in range(20)]
    assert not world.ended
    world.wait(*jobs)
    assert sorted(world.ended) == jobs


def test_a_job_runs_where_it_was_told_and_the_director_stays_where_it_was(world):
    (world.folder / "there").mkdir()
    before = Path.cwd()
    job = world.run("pwd", cwd=str(world.folder / "there")).job
    assert world.out(job) == f"{world.folder}/there\n".encode()
    assert Path.cwd() == before


def test_a_job_gets_its_environment_and_the_markers_and_nothing_else(world):
    job = world.run("/usr/bin/env", env={"A": "1 ä"}).job
    lines = world.out(job).decode().splitlines()
    assert sorted(line.partition("=")[0] for line in lines) == ["A", "STEPUP_NB_JOB", "STEPUP_NB_RUN"]
    assert "A=1 ä" in lines
    assert f"STEPUP_NB_JOB={job}" in lines


def test_a_command_without_a_slash_is_looked_for_in_the_path_of_the_job(world):
    tool = world.folder / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    job = world.run("tool", "now", env={"PATH": f"/nowhere:{tool.parent}"}).job
    assert world.out(job) == b"found\n"


def test_a_job_reads_end_of_file_and_has_no_terminal(world):
    job = world.run("read line; echo $?; (: < /dev/tty) 2> /dev/null; echo $?").job
    first, second = world.out(job).split()
    assert first == b"1"
    assert second != b"0"


def test_a_job_inherits_three_descriptors_and_no_more(world):
    busy = world.start("echo keeps a log open; exec sleep 600")
    world.until(lambda: world.outputs)
    job = world.run(*python("import os; print(sorted(os.listdir('/proc/self/fd')))")).job
    # The fourth is that of the listing itself.
    assert world.out(job) == b"['0', '1', '2', '3']\n"
    world.executor.stop(busy)


def test_a_job_starts_with_default_signals_whatever_the_director_ignores(world):
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        job = world.run("exec cat /proc/self/status").job
    finally:
        signal.signal(signal.SIGHUP, old)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    status = dict(line.split(":\t", 1) for line in world.out(job).decode().splitlines())
    # Two signals are the C library's own, and it lets nobody change them.
    others = ~(1 << 31 | 1 << 32)
    assert [int(status[name], 16) & others for name in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


def test_a_job_has_a_session_of_its_own(world):
    job = world.run("exec cat /proc/self/stat").job
    pid, _, _, _, group, session = world.out(job).split()[:6]
    assert pid == group == session


def test_a_job_that_closes_its_output_goes_on(world, gate):
    job = world.start("exec > /dev/null 2>&1; read x < gate; exit 7")
    for _ in range(3):
        world.turn()
    assert not world.ended
    gate.open()
    assert world.wait(job).returncode == 7


def test_processor_time_of_the_whole_tree_is_counted(world):
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    ended = world.run(f"{sys.executable} -c '{burn}' & {sys.executable} -c '{burn}' & wait")
    assert ended.cpu is not None
    assert 0.6 <= ended.cpu < 3


def test_the_peak_of_memory_is_the_sum_over_the_tree(world, kind):
    code = """
        import os, time
        x = bytearray(80_000_000)
        print("holds", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
    """
    (world.folder / "hold.py").write_text(textwrap.dedent(code))
    job = world.start(f"{sys.executable} hold.py & {sys.executable} hold.py & wait")
    world.until(lambda: world.out(job).count(b"holds") == 2)
    # What lives on a cluster nobody here sees: when a sample of it is taken is not known.
    least = 160e6 if kind == "local" else 0
    world.until(lambda: world.executor.memory() > least or kind == "dask")
    (world.folder / "go").touch()
    ended = world.wait(job)
    assert ended.peak_rss is not None
    assert least < ended.peak_rss < 260e6


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/no/such/tool"], "there is no command '/no/such/tool'; check its spelling and the PATH"),
        (["no-such-tool"], "there is no command 'no-such-tool'; check its spelling and the PATH"),
        (["./plain"], "'./plain' may not be executed: permission denied; try chmod +x"),
        (["./orphaned"], "the interpreter that './orphaned' names is not there"),
        (["./headless"], "'./headless' is neither a program nor a script with a first line like #!/bin/sh"),
        (["./plain/tool"], "there is no command './plain/tool': a part of its path is not a directory"),
        (["/bin/echo", "x" * 3_000_000], "its command line or its environment is too long; pass long lists"),
        (["/bin/echo", "a\0b"], "'/bin/echo' cannot be started: embedded null byte"),
    ],
)
def test_a_command_that_cannot_be_started_is_refused_in_words(world, argv, words):
    (world.folder / "plain").write_text("no program")
    for name, text in [("orphaned", "#!/no/such/interpreter\n"), ("headless", "echo hi\n")]:
        (world.folder / name).write_text(text)
        (world.folder / name).chmod(0o755)
    refusal = world.refuse(*argv)
    assert refusal.words.startswith(words)
    assert not refusal.is_transient


@pytest.mark.parametrize(
    ("cwd", "words"),
    [
        ("gone", "its directory '{}' is not there; create it, or give another --workdir"),
        ("file", "'{}' is not a directory; give another --workdir"),
    ],
)
def test_a_directory_that_cannot_be_entered_is_named(world, cwd, words):
    (world.folder / "file").write_text("")
    path = str(world.folder / cwd)
    assert world.refuse("true", cwd=path).words == words.format(path)


def test_a_program_that_is_being_written_is_worth_another_try(world):
    tool = world.folder / "tool"
    tool.write_bytes(Path("/bin/true").read_bytes())
    tool.chmod(0o755)
    with tool.open("ab"):
        assert world.refuse("./tool").is_transient
    assert world.run("./tool").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        "sleep {nap} & echo done",
        "setsid sleep {nap} & echo done",
        "env -i setsid sleep {nap} & echo done",
        "env -i setsid setsid sleep {nap} & echo done",
        "(trap '' TERM HUP; exec sleep {nap}) & echo done",
        "nohup sleep {nap} 2> /dev/null & echo done",
    ],
)
def test_what_a_command_leaves_behind_is_killed_and_named(world, nap, command):
    ended = world.run(command.format(nap=nap))
    assert ended.leftovers == ("sleep",)
    assert ended.returncode == 0
    assert alive(nap) == []
    assert world.out(ended.job) == b"done\n"


def test_a_daemon_that_holds_the_pipe_does_not_hold_the_job(world, nap):
    # Its end is reported while the nap, and with it the pipe, has ten minutes to go.
    ended = world.run(*DAEMON, nap)
    assert ended.leftovers == ("sleep",)
    assert alive(nap) == []
    assert world.out(ended.job) == b"done\n"


def test_leftovers_that_have_children_are_killed_with_them(world, nap, gate):
    job = world.start(f"setsid sh -c 'setsid sleep {nap} & sleep {nap}; echo no' & read x < gate")
    world.until(lambda: [processes.look(pid).name for pid in alive(nap)] == ["sleep", "sleep"])
    gate.open()
    ended = world.wait(job)
    assert sorted(ended.leftovers) == ["sh", "sleep", "sleep"]
    assert alive(nap) == []


def test_a_stopped_leftover_is_killed_too(world, nap):
    ended = world.run(f"setsid sleep {nap} & until grep -q sleep /proc/$!/comm; do :; done; kill -STOP $!")
    assert ended.leftovers == ("sleep",)
    assert alive(nap) == []


def test_what_ends_by_itself_right_after_the_command_is_no_leftover(world, kind, monkeypatch):
    # What users saw elsewhere: `cmd > >(tee log)` loses its last lines.
    monkeypatch.setattr(local, "_LINGER", 5.0)
    # On a cluster it has the moment that everybody has, which may pass while it sleeps: there it is at work.
    pause = "sleep 0.05" if kind == "local" else "for i in {1..20000}; do :; done"
    ended = world.run("/bin/bash", "-c", f"echo hi > >({pause}; cat; echo end)")
    assert ended.leftovers == ()
    assert world.out(ended.job) == b"hi\nend\n"


@pytest.mark.parametrize(
    "command",
    [
        "sleep {nap}",
        "sleep {nap} & sleep {nap}",
        "setsid sleep {nap} & exec setsid -w sleep {nap}",
        "env -i setsid setsid sleep {nap} & sleep {nap}",
        "setsid sh -c 'setsid sleep {nap}' & sleep {nap}",
    ],
)
def test_stop_ends_the_whole_tree(world, nap, command):
    job = world.start(command.format(nap=nap))
    wanted = command.count("{nap}")
    world.until(lambda: len(alive(nap)) >= wanted)
    world.executor.stop(job)
    ended = world.wait(job)
    assert alive(nap) == []
    assert ended.returncode != 0
    assert ended.notes == ended.leftovers == ()


def test_stop_signals_each_process_once(world):
    # A second SIGTERM means "at once, without clearing up" to many programs.
    code = """
        import os, signal, time
        count = 0
        def take(*_):
            global count
            count += 1
        signal.signal(signal.SIGTERM, take)
        print("ready", flush=True)
        while not count:
            time.sleep(0.01)
        time.sleep(0.1)
        print(count, flush=True)
    """
    (world.folder / "polite.py").write_text(textwrap.dedent(code))
    job = world.start(
        f"trap : TERM; {sys.executable} polite.py & setsid {sys.executable} polite.py & wait; wait"
    )
    world.until(lambda: world.out(job).count(b"ready") == 2)
    world.executor.stop(job)
    world.wait(job)
    assert sorted(world.out(job).split()) == [b"1", b"1", b"ready", b"ready"]


@with_little_grace
def test_what_ignores_sigterm_is_killed_after_the_grace_and_named(world, nap, kind, monkeypatch):
    job = world.start(f"trap '' TERM; setsid sleep {nap} & sleep {nap}; echo never")
    world.until(lambda: len(alive(nap)) == 2)
    pauses = []
    call_after = Reactor.call_after

    def note(reactor, seconds, call):
        pauses.append(seconds)
        return call_after(reactor, seconds, call)

    stopped = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(Reactor, "call_after", note)
        world.executor.stop(job)
        world.executor.stop(job)
    # On a cluster it is the worker's timer, which nobody here sees.
    assert pauses == ([0.3] if kind == "local" else [])
    ended = world.wait(job)
    assert world.reported_at[job] - stopped >= 0.3
    assert alive(nap) == []
    assert ended.returncode == -signal.SIGKILL
    assert ended.notes == ("killed, because it did not end on SIGTERM: sh, sleep, sleep",)


@with_little_grace
def test_what_is_below_a_leader_that_ends_politely_gets_the_whole_grace(world, nap):
    job = world.start(f"(trap '' TERM; exec setsid sleep {nap}) & sleep {nap}")
    world.until(lambda: len(alive(nap)) == 2)
    stopped = time.monotonic()
    world.executor.stop(job)
    ended = world.wait(job)
    assert world.reported_at[job] - stopped >= 0.3
    assert ended.returncode == -signal.SIGTERM
    assert ended.notes == ("killed, because it did not end on SIGTERM: sleep",)
    assert alive(nap) == []


@with_little_grace
def test_stop_ends_what_starts_processes_without_end(world, nap):
    job = world.start(f"trap '' TERM; while :; do setsid sleep {nap} & sleep 0.01; done")
    world.until(lambda: len(alive(nap)) > 10)
    world.executor.stop(job)
    assert world.wait(job).returncode == -signal.SIGKILL
    assert alive(nap) == []


def test_stop_of_a_job_that_is_not_there_is_ignored(world):
    world.executor.stop(77)
    job = world.run("true").job
    world.executor.stop(job)
    world.turn()
    assert len(world.ended) == 1
