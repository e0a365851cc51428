"""Python steps from interpreters that wait for them: the same as from fresh ones, started once or not at all."""

import os
import re
import resource
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest
from director.helpers_processes import World, alive, until
from director.helpers_world import KernelProcess, director_of, parent_of, with_processes

from stepup_nb.director import faults, processes
from stepup_nb.director.executor import CannotStart
from stepup_nb.director.starting import RUNNER

PYTHON = (sys.executable, RUNNER)


class WarmWorld(World):
    """An executor that knows how Python steps begin."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, python=PYTHON)
        self.env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONUNBUFFERED": "1", "HERE": "."}
        self.warm = self.executor.warm

    def write(self, text: str, name: str = "step.py") -> str:
        path = self.folder / name
        path.write_text("#!/usr/bin/env python3\n" + textwrap.dedent(text))
        path.chmod(0o755)
        return f"./{name}"

    def python(self, *words: str, **more: str) -> int:
        """Start a Python step; return its number."""
        return self.start(*PYTHON, *words, env={**self.env, **more})

    def heat(self, **more: str) -> int:
        """Run Python steps until there are processes that wait for more; return the number of their server."""
        before = set(self.warm.pids)
        for _ in range(2):
            self.wait(self.python("-c", "pass", **more))
        self.until(lambda: any(self.warm.pids[server] for server in set(self.warm.pids) - before))
        return (set(self.warm.pids) - before).pop()

    def left(self) -> dict[int, str]:
        # Of those that were just forked nobody has heard yet: they end by themselves, and somebody has to reap them.
        for pid in self.children():
            os.waitpid(pid, 0)
        return {}

    def spares(self) -> list[int]:
        return [pid for spares in self.warm.pids.values() for pid in spares]


@pytest.fixture
def world(tmp_path):
    world = WarmWorld(tmp_path)
    yield world
    world.close()


@pytest.fixture(scope="module")
def hot(tmp_path_factory):
    """A world in which there are processes that wait."""
    world = WarmWorld(tmp_path_factory.mktemp("hot"))
    world.heat()
    yield world
    world.close()


# --- the same as afresh ---------------------------------------------------------------------------

SCRIPTS = {
    "says nothing": "",
    "words and names": """
        import os, sys
        print(sys.argv, sys.orig_argv, __name__, __file__, sys.executable, sys.flags, sys.warnoptions, sys._xoptions)
        print(sorted(sys.modules), list(sys.modules) == sorted(sys.modules))
        print(sys.path, list(sys.path_importer_cache), sys.meta_path, sys.path_hooks)
        print(os.getcwd(), list(os.environ.items()), os.getpgrp() == os.getpid() == os.getsid(0))
        print(globals().keys(), sys.modules["__main__"].__dict__ is globals())
    """,
    "what the system shows": """
        import os
        for name in ("cmdline", "environ", "comm", "limits", "cgroup", "oom_score_adj"):
            text = open(f"/proc/self/{name}", errors="replace").read()
            print([line for line in text.split("\\n") if "file locks" not in line])
        print(sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
        for fd in (0, 1, 2):
            print(os.get_inheritable(fd), os.get_blocking(fd), os.isatty(fd), os.fstat(fd).st_mode)
        print(os.umask(0), os.getppid(), os.times().children_user, os.sched_getaffinity(0))
        # Less SigQ: it counts what is pending for all processes of this user.
        shown = ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
        print([line for line in open("/proc/self/status") if line.startswith(shown)])
    """,
    "streams": """
        import sys
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            print(stream, stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.newlines)
            print(stream.buffer, stream.seekable(), stream.isatty(), stream.fileno(), stream.closefd if 0 else "")
        print(repr(sys.stdin.read()))
        sys.stdout.write("no line end")
        sys.stdout.buffer.write(b"\\xff\\n")
        print("\\u20ac", file=sys.stderr)
    """,
    "unflushed": "import sys, os; out = os.fdopen(os.dup(1), 'w'); out.write('late'); print('early')",
    "a traceback": "def f():\n    return 1 / 0\n\nf()",
    "a syntax error": "print('a')\nif",
    "the stack": "import traceback, sys; traceback.print_stack(); print(sys._getframe(1).f_code.co_name)",
    "exit 3": "import sys; sys.exit(3)",
    "exit text": "import sys; sys.exit('that was it')",
    "exit None": "import sys; print('x'); sys.exit()",
    "exit 300": "raise SystemExit(300)",
    "_exit": "import os; print('a', end=''); os._exit(7)",
    "abort": "import os; os.abort()",
    "raise": "import signal; signal.raise_signal(signal.SIGTERM)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "interrupted": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "interrupt in a handler": """
        import os, signal
        signal.signal(signal.SIGINT, lambda *a: print("caught"))
        os.kill(os.getpid(), signal.SIGINT)
        print([str(signal.getsignal(s)) for s in sorted(signal.valid_signals())][1:], signal.pthread_sigmask(0, []))
    """,
    "the end": """
        import atexit, sys, weakref
        class A:
            def __init__(self, name): self.name = name
            def __del__(self): print("del", self.name, flush=True)
        a, keep = A("a"), [A("b")]
        keep.append(keep)
        sys.kept = A("on sys")
        import builtins
        builtins.kept = A("on builtins")
        weakref.finalize(a, print, "finalised")
        atexit.register(print, "exit 1")
        atexit.register(lambda: 1 / 0)
        atexit.register(print, "exit 2")
    """,
    "open to the end": """
        import gzip, io, sqlite3, sys, contextlib
        class Out(io.RawIOBase):
            def writable(self): return True
            def write(self, data): print("written", bytes(data), flush=True); return len(data)
        out = io.TextIOWrapper(io.BufferedWriter(Out())); out.write("late")
        zipped = gzip.GzipFile("zipped.gz", "w", mtime=0); zipped.write(b"x")
        def still():
            try: yield
            finally: print("still", flush=True)
        running = still(); next(running)
        @contextlib.contextmanager
        def entered():
            try: yield
            finally: print("left", flush=True)
        context = entered(); context.__enter__()
        async def never(): pass
        awaited = never()
        base = sqlite3.connect(":memory:", isolation_level=None)
    """,
    "what the collector does not know": """
        class Unseen:
            __slots__ = ()
            def __del__(self): print("unseen", flush=True)
        unseen = Unseen()
    """,
    "exit in the middle": """
        import sys
        def f():
            out = open("/proc/self/fd/1", "w"); out.write("late\\n")
            sys.exit(4)
        f()
    """,
    "exit True": "import sys; sys.exit(True)",
    "exit -1": "import sys; sys.exit(-1)",
    "a full disk": "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('x')",
    "a stream that was replaced": """
        import sys
        class Out:
            def write(self, text): return sys.__stdout__.write(text.upper())
            def flush(self): sys.__stdout__.write("flushed"); sys.__stdout__.flush()
        sys.stdout = Out(); print("x")
    """,
    "all that is frozen": """
        import gc, sys
        out = open("out.txt", "w"); out.write("data")
        sys.path_importer_cache.clear()
        gc.freeze()
    """,
    "a proxy": """
        import weakref
        class A: pass
        def gone(proxy):
            with open("gone.txt", "w") as out: out.write("gone")
        a = A(); seen = [weakref.proxy(a, gone)]
    """,
    "a listener": """
        import weakref
        class Model:
            def update(self): pass
        model = Model(); method = weakref.WeakMethod(model.update, lambda ref: print("lost", flush=True))
    """,
    "a lazy module": """
        import importlib.util, sys
        with open("lazy.py", "w") as out: out.write("import sys; sys.exit(9)")
        sys.path.insert(0, ".")
        spec = importlib.util.find_spec("lazy")
        loader = spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec); loader.exec_module(module)
    """,
    "everything patched": """
        import builtins, gc, os
        builtin = [(builtins, "issubclass"), (builtins, "id")]
        for place, name in ((os, "_exit"), (os, "stat"), (gc, "get_objects"), *builtin):
            real = getattr(place, name)
            def patched(*words, name=name, real=real):
                os.write(1, name.encode()); return real(*words)
            setattr(place, name, patched)
        del place, name, real
    """,
    "attributes that say something": """
        class Meta(type):
            def __getattribute__(cls, name): print("asked of a class", name); return super().__getattribute__(name)
            def __hash__(cls): print("hashed"); return 1
        class A(metaclass=Meta):
            def __getattribute__(self, name): print("asked of an object", name); return super().__getattribute__(name)
        import weakref
        class Ref(weakref.ref):
            def __getattribute__(self, name): print("asked of a reference", name); return None
        a = A(); r = Ref(a)
    """,
    "a hook that refuses": """
        import sys
        def hook(name, words):
            if name.startswith("gc."): sys.exit(7)
        sys.addaudithook(hook)
    """,
    "traced": "import sys; sys.settrace(lambda frame, event, arg: print(frame.f_code.co_name, event, flush=True))",
    "profiled": "import sys; sys.setprofile(lambda frame, event, arg: print(frame.f_code.co_name, event, flush=True))",
    "a thread that is just ending": """
        import contextvars, threading, time, weakref
        class Connection: pass
        def closed(ref):
            time.sleep(0.2)
            with open("closed.txt", "w") as out: out.write("closed")
        variable, refs = contextvars.ContextVar("connection"), []
        def work():
            connection = Connection(); refs.append(weakref.ref(connection, closed)); variable.set(connection)
        threading.Thread(target=work).start()
        time.sleep(0.05)
    """,
    "weak references": """
        import weakref
        class A: pass
        a = A(); r = weakref.ref(a, lambda r: print("gone", flush=True)); q = weakref.ref(a, print)
    """,
    "the collector": "import gc; gc.callbacks.append(lambda when, what: print(when, flush=True)); gc.disable()",
    "threads": """
        import threading, time
        said = threading.Event()
        def work(n):
            if n == "last": said.wait()
            print("thread", n, threading.current_thread().name)
        for n in range(3):
            t = threading.Thread(target=work, args=(n,)); t.start(); t.join()
        threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
        threading.Thread(target=work, args=("last",)).start()
        print(threading.main_thread() is threading.current_thread(), threading.active_count())
        print(threading.get_native_id() == __import__("os").getpid())
        said.set()
    """,
    "an error in a thread": "import threading; threading.Thread(target=lambda: 1 / 0, name='t').start()",
    "subprocess": """
        import subprocess, sys, os
        print(subprocess.run(["env"], capture_output=True, text=True).stdout)
        print(subprocess.run([sys.executable, "-c", "import sys; print(sys.argv, sys.flags)"], capture_output=True))
        print(subprocess.run("exit 3", shell=True).returncode, subprocess.getoutput("ulimit -a"))
        print(os.system("exit 2"))
        try: os.waitpid(-1, 0)
        except ChildProcessError as error: print(error)
    """,
    "multiprocessing": """
        import multiprocessing as mp, os, sys
        class Thing:
            def __init__(self, n): self.n = n
        def double(thing):
            return Thing(2 * thing.n)
        if __name__ == "__main__":
            for how in ("fork", "spawn", "forkserver"):
                with mp.get_context(how).Pool(2) as pool:
                    print(how, [thing.n for thing in pool.map(double, [Thing(1), Thing(2)])])
            print(mp.current_process().name, mp.parent_process())
    """,
    "pickles": """
        import pickle, copy, dataclasses, sys
        @dataclasses.dataclass
        class P: x: int
        print(pickle.loads(pickle.dumps(P(1))), P.__module__, pickle.dumps(P(1)))
        import __main__; print(__main__.P is P, __main__.__spec__, sys.modules[P.__module__] is __main__)
    """,
    "imports": """
        import beside, json, ctypes, socket, gc, resource, _socket, _ctypes
        print(beside.WORD, ctypes.CDLL(None).getpid() == __import__("os").getpid(), gc.isenabled(), gc.get_threshold())
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda n: n + 1)
        print(call(2), ctypes.string_at(ctypes.create_string_buffer(b"abc")), socket.socketpair()[0].family)
        import nothing_of_that_name
    """,
    "randomness": "import random, tempfile, uuid, secrets; random.seed(1); print(random.random())",
    "warnings": "import warnings; warnings.warn('w'); warnings.warn('d', DeprecationWarning); b'' == ''; print('\\d')",
    "encodings": "import sys, locale; print(sys.getfilesystemencoding(), locale.getlocale(), sys.getdefaultencoding())",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0.01); print('x')\nasyncio.run(f())",
    "logging": "import logging; logging.basicConfig(level=0); logging.info('%s', 'i'); logging.getLogger().error('e')",
    "runpy": "import runpy; print(runpy.run_path('beside.py')['WORD'])",
    "faulthandler": "import faulthandler, os, signal; faulthandler.enable(); os.kill(os.getpid(), signal.SIGSEGV)",
    "the time zone": "import time; print(time.tzname, time.localtime(0))",
    "clocks": "import time, os; print(time.process_time() < 5, time.thread_time() < 5, os.getloadavg()[0] >= 0)",
    "recursion": "def f(): f()\ntry: f()\nexcept RecursionError as e: print(e, __import__('sys').getrecursionlimit())",
    "a closed output": "import os; os.close(1); print('nobody reads that')",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_and_does_the_same_as_in_a_fresh_interpreter(hot, name):
    hot.write(SCRIPTS[name])
    (hot.folder / "beside.py").write_text("WORD = 'beside'\n")
    same_both_ways(hot, "./step.py", "two words", "", "ä\udcff")


def test_a_script_that_leaves_nothing_open_stops_at_once(hot):
    # The one thing that nobody can see then, so that it tells which end it was.
    hot.write("import os, warnings; warnings.simplefilter('always'); unclosed = os.scandir('.')")
    hot.until(hot.spares)
    ended = [
        hot.wait(start(hot, "./step.py", env=hot.env))
        for start in (lambda w, *a, env: w.start(*PYTHON, *a, env=env), afresh)
    ]
    assert [b"ResourceWarning" in hot.err(end.job) for end in ended] == [False, True]
    assert [end.returncode for end in ended] == [0, 0]


@pytest.mark.parametrize(
    "words",
    [
        (
            "-c",
            "import sys, os; print(sys.argv, sys.path, __name__, os.environ['STEPUP_NB_JOB'].isdigit())",
            "x",
        ),
        ("-c", "def f(): 1 / 0\nf()"),
        ("./nothing.py",),
        ("./plain.txt",),
        ("sub/inner.py", "a"),
        ("",),
        (),
        ("--wait-for-steps", "0"),
        ("--wait-for-steps", "x"),
    ],
    ids=repr,
)
def test_every_command_line_of_the_runner_means_the_same(hot, words):
    (hot.folder / "plain.txt").write_text("no script\n")
    (hot.folder / "sub").mkdir(exist_ok=True)
    hot.write("import sys; print(sys.path[:3], sys.argv, __file__)", "sub/inner.py")
    same_both_ways(hot, *words)


def test_variables_that_only_some_steps_have_stand_where_they_stand_in_a_fresh_interpreter(hot):
    servers = list(hot.warm.pids)
    code = "import os; print(list(os.environ.items()), open('/proc/self/environ').read()); os.system('env')"
    for env in (
        {"STEPUP_POOL_A": "0", **hot.env, "STEPUP_POOL_B": "1,2", "ROOT": "", "STEPUP_STEP_I": "=1="},
        {name: value for name, value in hot.env.items() if name != "HERE"},
        {"HERE": "x", **hot.env},
    ):
        same_both_ways(hot, "-c", code, env=env)
    assert list(hot.warm.pids) == servers


@pytest.mark.parametrize(
    "more", [{"LC_CTYPE": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"PYTHONUTF8": "0"}], ids=str
)
def test_what_python_sets_itself_at_its_start_is_set(world, more):
    world.heat(**more)
    code = "import os, sys; print(list(os.environ.items()), sys.stdout.encoding, sys.argv); os.system('env')"
    same_both_ways(world, "-c", code, "\u20ac", env={**world.env, **more})


def same_both_ways(world: WarmWorld, *words: str, env: dict[str, str] | None = None) -> None:
    env = env or world.env
    found = []
    before = set(world.folder.iterdir())
    for is_warm in (True, False):
        if is_warm:
            world.until(world.spares)
        count = world.warm.count
        job = world.start(*PYTHON, *words, env=env) if is_warm else afresh(world, *words, env=env)
        ended = world.wait(job)
        assert world.warm.count - count == is_warm
        written = {
            path: path.read_bytes()
            for path in world.folder.iterdir()
            if path not in before and path.is_file()
        }
        for path in written:
            path.unlink()
        found.append(
            (
                ended.returncode,
                plain(world.out(job)),
                plain(world.err(job)),
                ended.notes,
                ended.leftovers,
                written,
            )
        )
    assert found[0] == found[1]


def afresh(world: WarmWorld, *words: str, env: dict[str, str]) -> int:
    """Start a step whose interpreter has a name that nobody waits under; it is the same one."""
    command, world.warm._command = world.warm._command, ()
    try:
        return world.start(*PYTHON, *words, env=env)
    finally:
        world.warm._command = command


_DIFFERENT = re.compile(
    rb"0x[0-9a-f]+|(?<=Thread-)\d+|(?<=Current thread )\w+|(?<=STEPUP_NB_JOB=)\d+|(?<=STEPUP_NB_JOB', ')\d+"
    rb"|(?<=SigQ:\t)\d+|locks +\d+"
)


def plain(text: bytes) -> bytes:
    """Leave out addresses, numbers of processes and jobs, and the mark of a job: what no two starts have in common."""
    return _DIFFERENT.sub(b"N", text)


# --- started once, or not at all ------------------------------------------------------------------


def test_the_first_two_python_steps_are_started_afresh_and_others_in_processes_that_wait(world):
    for _ in range(2):
        assert world.warm.pids == {}
        world.wait(world.python("-c", "pass"))
    world.until(world.spares)
    assert world.warm.count == 0
    job = world.python("-c", "print('x')")
    assert world.warm.count == 1
    assert world.wait(job).returncode == 0
    assert world.out(job) == b"x\n"


def test_what_is_no_python_step_is_started_as_ever(world):
    world.heat()
    for words in (
        ("/bin/true",),
        (sys.executable, "-c", "pass"),
        (sys.executable, RUNNER.replace("runner", "call")),
    ):
        world.start(*words, env=world.env)
    assert world.warm.count == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_whatever_becomes_of_the_server_each_step_runs_once(world, number):
    server = world.heat()
    os.kill(server, number)
    count_runs(world, 20)
    assert world.warm.count >= 1


def test_when_all_that_wait_have_died_each_step_runs_once(world):
    world.heat()
    spares = world.spares()
    for pid in spares:
        os.kill(pid, signal.SIGKILL)
    # Nobody has told the executor: their ends come with the next turn.
    until(lambda: all(processes.look(pid).state == "Z" for pid in spares))
    count_runs(world, 20)


@pytest.mark.parametrize("victim", ["spares", "servers"])
def test_when_those_that_wait_are_killed_all_the_time_each_step_runs_once_or_is_said_to_be_killed(
    world, victim
):
    world.heat()
    jobs = []
    for number in range(40):
        for pid in world.spares()[:2] if victim == "spares" else world.warm.pids:
            os.kill(pid, signal.SIGKILL)
        jobs.append(world.python("-c", f"open('ran', 'a').write('{number}\\n')"))
        world.turn()
    world.wait(*jobs)
    ran = list(map(int, (world.folder / "ran").read_text().split()))
    assert len(ran) == len(set(ran))
    for number, job in enumerate(jobs):
        code = world.ended[job].returncode
        # Who was killed in the moment in which it got its step has done nothing, or some of it.
        assert (code == 0 and number in ran) or (code == -signal.SIGKILL and victim == "spares")


def count_runs(world: WarmWorld, number: int) -> None:
    jobs = [world.python("-c", f"open('ran', 'a').write('{n}\\n')") for n in range(number)]
    world.wait(*jobs)
    assert {world.ended[job].returncode for job in jobs} == {0}
    assert sorted(map(int, (world.folder / "ran").read_text().split())) == list(range(number))


def test_a_server_that_died_is_replaced_until_three_have(world):
    for _ in range(3):
        os.kill(world.heat(), signal.SIGKILL)
        world.until(lambda: not world.warm.pids)
    assert world.warm.reasons == ["those that wait for steps end by themselves"]
    count_runs(world, 5)
    assert world.warm.pids == {}


def test_a_server_that_is_stopped_holds_up_nobody_and_is_killed_in_the_end(world):
    server = world.heat()
    os.kill(server, signal.SIGSTOP)
    began = time.monotonic()
    jobs = [world.python("-c", "pass") for _ in range(12)]
    # Nobody waited for it: to start some by hand takes less than a patient person notices.
    assert time.monotonic() - began < 5
    world.wait(*jobs)
    world.executor.use_warm(False)
    until(lambda: processes.look(server) is None, world.turn)


def test_a_step_whose_folder_is_gone_is_refused_in_words(world):
    world.heat()
    with pytest.raises(CannotStart, match="its directory"):
        world.start(*PYTHON, "-c", "pass", cwd=str(world.folder / "nowhere"), env=world.env)


def test_a_long_program_is_started_all_the_same(world):
    world.heat()
    job = world.python("-c", "pass" + " " * 120_000)
    assert world.warm.count == 0
    assert world.wait(job).returncode == 0


# --- whose it is, and its end ---------------------------------------------------------------------


def test_what_a_warm_step_leaves_behind_is_killed_and_named(world):
    world.heat()
    job = world.python("-c", "import os; os.system('setsid env -i sleep 1234.5 >/dev/null 2>&1 &')")
    ended = world.wait(job)
    assert world.warm.count == 1
    assert ended.leftovers == ("sleep",)
    assert alive("1234.5") == []


def test_a_warm_step_that_ignores_sigterm_is_killed_after_the_grace(world):
    world.heat()
    world.executor.grace = 0.2
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('on'); signal.pause()"
    job = world.python("-c", code)
    world.until(lambda: world.out(job))
    world.executor.stop(job)
    assert world.wait(job).returncode == -signal.SIGKILL
    assert world.warm.count == 1


def test_a_step_that_is_stopped_before_it_began_ends_as_any_other(world):
    world.heat()
    pid = world.spares()[0]
    os.kill(pid, signal.SIGSTOP)
    job = world.python("-c", "import time; time.sleep(99)")
    world.executor.stop(job)
    assert world.wait(job).returncode == -signal.SIGTERM


def test_those_that_wait_carry_the_marks_of_the_run_and_of_no_job(world):
    server = world.heat()
    for pid in (server, *world.spares()):
        assert processes.environment(pid)[processes.RUN_VARIABLE].startswith("test-")
        assert processes.look(pid).name == "stepup-warm"
        assert processes.look(pid).parent == os.getpid()
        assert os.getsid(pid) == pid
    job = world.python("-c", "import time; print('on'); time.sleep(99)")
    world.until(lambda: world.out(job))
    pid = world.executor._jobs[job].pid
    assert processes.environment(pid)[processes.JOB_VARIABLE] == str(job)
    assert world.executor._spawner.job_of(pid) == job


def test_they_are_no_leftovers_while_other_jobs_come_and_go(world):
    server = world.heat()
    there = world.spares()
    for _ in range(5):
        assert world.run("sleep 0 & exec true").leftovers == ()
    assert list(world.warm.pids) == [server]
    assert set(there) <= set(world.spares())


def test_many_steps_leave_no_descriptor_and_no_process(world):
    def descriptors() -> int:
        """How many there are, besides a socket and a pidfd of each that waits, when no more are to come."""
        world.until(lambda: not any(server.is_asked for server in world.warm._servers.values()))
        return len(os.listdir("/proc/self/fd")) - 2 * len(world.spares())

    world.heat()
    before = descriptors()
    for _ in range(100):
        world.wait(world.python("-c", "pass"))
    assert descriptors() == before
    assert world.warm.count > 50
    assert sorted(world.children()) == sorted([*world.warm.pids, *world.spares()])


def test_in_the_end_nothing_is_left(world):
    before = len(os.listdir("/proc/self/fd"))
    server = world.heat()
    pids = [server, *world.spares()]
    world.executor.use_warm(False)
    world.until(lambda: not any(map(processes.look, pids)))
    assert len(os.listdir("/proc/self/fd")) == before
    count_runs(world, 3)
    assert world.warm.pids == {}


def test_those_that_nobody_needed_for_a_while_are_sent_home(world, monkeypatch):
    pids = [world.heat(), *world.spares()]
    monkeypatch.setattr("stepup_nb.director.warm._IDLE", 0.05)
    world.warm._tidy()
    world.until(lambda: not any(map(processes.look, pids)))
    assert world.warm.pids == {}


@pytest.mark.parametrize("left", range(12))
def test_with_any_number_of_descriptors_left_a_step_runs_or_is_refused_for_now_and_then_there_is_room(
    world, left
):
    world.heat()
    highest = max(map(int, os.listdir("/proc/self/fd")))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + left, before[1]))
    refusals = []
    try:
        job = world.python("-c", "pass")
    except CannotStart as refusal:
        refusals.append(refusal)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    if refusals:
        assert refusals[0].is_full
        assert world.warm.pids == {}
    else:
        assert world.wait(job).returncode == 0
    count_runs(world, 3)


# --- where the result would not be the same -------------------------------------------------------


def test_each_set_of_variables_has_interpreters_of_its_own_and_three_sets_at_most(world):
    servers = [world.heat(WORD=word) for word in "abcd"]
    assert list(world.warm.pids) == servers[1:]
    job = world.python("-c", "import os; print(os.environ['WORD'])", WORD="d")
    world.wait(job)
    assert world.out(job) == b"d\n"
    assert world.warm.count == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("PYTHONFAULTHANDLER", "1"), ("PYTHONPATH", "lib"), ("PYTHONDEVMODE", "1"), ("LD_PRELOAD", "")],
)
def test_where_a_variable_changes_how_python_starts_it_does_start(world, name, value):
    for _ in range(4):
        world.wait(world.python("-c", "pass", **{name: value}))
    world.until(lambda: world.warm.reasons)
    assert name in world.warm.reasons[0]
    assert world.warm.count == 0


@pytest.mark.parametrize(
    "text", ["import random", "import threading", "import logging", "import tempfile", "pass"]
)
def test_what_a_sitecustomize_does_at_each_start_is_done_at_each_start(world, text):
    (world.folder / "sitecustomize.py").write_text(text)
    for _ in range(4):
        world.wait(world.python("-c", "pass", PYTHONPATH=str(world.folder)))
    world.until(lambda: world.warm.reasons)
    assert "sitecustomize" in world.warm.reasons[0]


def test_what_is_installed_meanwhile_counts_from_the_next_step_on(world):
    library = world.folder / "library"
    library.mkdir()
    world.heat(PYTHONPATH=str(library))
    (library / "sitecustomize.py").write_text("print('new')")
    job = world.python("-c", "pass", PYTHONPATH=str(library))
    world.wait(job)
    assert world.out(job) == b"new\n"
    assert world.warm.count == 0


def test_in_a_folder_of_the_path_files_may_come_and_go_and_are_found(world):
    library = world.folder / "library"
    library.mkdir()
    world.heat(PYTHONPATH=str(library))
    for number in range(5):
        world.until(world.spares)
        (library / f"m{number}.py").write_text(f"print({number})")
        job = world.python("-c", f"import m{number}", PYTHONPATH=str(library))
        world.wait(job)
        assert world.out(job) == b"%d\n" % number
    assert world.warm.count == 5


# --- in a director --------------------------------------------------------------------------------


def declare_many(session, number=12):
    """Declare Python steps, each of which writes its number."""
    for n in range(number):
        session.declare("runpy", f"./step.py {n}", name=f"s{n}", inp=["step.py"], out=[f"out{n}"])


def project(notebook):
    path = notebook.write(
        "step.py",
        "#!/usr/bin/env python3\nimport sys, word\nopen('out' + sys.argv[1], 'w').write(word.WORD)\n",
    )
    path.chmod(0o755)
    notebook.write("word.py", "WORD = 'a'\n")
    return notebook.begin()


def warm_of(director: int) -> list[int]:
    """Return the processes of a director that wait, or make others that do."""
    looks = [(pid, processes.look(pid)) for pid, _ in processes.descendants(director)]
    return [pid for pid, look in looks if look is not None and look.name == "stepup-warm"]


def test_a_module_that_a_warm_step_has_read_is_its_input(notebook):
    session = project(notebook)
    session.static("word.py")
    declare_many(session, 2)
    warm = session._host.director._executor._local.warm
    until(lambda: any(warm.pids.values()))
    declare_many(session)
    session.wait()
    assert warm.count > 0
    assert {notebook.read(f"out{n}") for n in range(12)} == {"a"}
    notebook.write("word.py", "WORD = 'other'\n")
    session.run()
    session.wait()
    assert {notebook.read(f"out{n}") for n in range(12)} == {"other"}


@pytest.mark.parametrize("name", ["word", "wörd"])
def test_what_a_step_has_read_is_told_and_its_own_interpreter_loads_nothing_for_that(notebook, name):
    text = (
        "import atexit, sys; atexit.register(lambda: open('told', 'a').write(f\"{'json' in sys.modules} \"))"
    )
    step = notebook.write("s.py", f"#!/usr/bin/env python3\n{text}\nimport {name}\n")
    step.chmod(0o755)
    session = notebook.begin()
    notebook.write(f"{name}.py", "")
    session.static("s.py", f"{name}.py")
    for number in range(6):
        session.declare("runpy", f"./s.py {number}", name=f"s{number}")
    session.wait()
    # Names that have to be escaped are left to the client, which has to be imported first.
    assert set(notebook.read("told").split()) == {str(not name.isascii())}
    rows = session.rows([f"s{number}" for number in range(6)])
    assert all(f"{name}.py" in row["inp"] for row in rows)


def test_whoever_wants_none_has_none_also_in_the_middle_of_it(notebook):
    session = project(notebook)
    declare_many(session)
    session.wait()
    warm = session._host.director._executor._local.warm
    until(lambda: warm.pids)
    session.use_warm(False)
    assert warm.pids == {}
    count = warm.count
    declare_many(session, 20)
    session.wait()
    assert (warm.count, warm.pids) == (count, {})


@with_processes
def test_the_environment_of_the_kernel_says_that_there_are_none(notebook, monkeypatch):
    monkeypatch.setenv("STEPUP_NB_WARM", "0")
    session = project(notebook)
    declare_many(session)
    session.wait()
    assert warm_of(director_of(session)) == []


@with_processes
@pytest.mark.parametrize(
    "victims", [("kernel",), ("director",), ("guard",), ("director", "guard"), ("guard", "director")]
)
def test_whoever_is_killed_those_that_wait_are_gone_in_two_seconds(notebook, victims):
    project(notebook)
    kernel = KernelProcess(
        notebook,
        """
        for n in range(6):
            session.declare("runpy", f"./step.py {n}", name=f"s{n}")
        session.wait()
        print(session.status()["director_pid"], flush=True)
        sys.stdin.readline()
        """,
    )
    director = int(kernel.says())
    until(lambda: len(warm_of(director)) > 3)
    pids = {"kernel": kernel.pid, "director": director, "guard": parent_of(director)}
    waiting = {pid: processes.look(pid).born for pid in warm_of(director)}
    for victim in victims:
        os.kill(pids[victim], signal.SIGSTOP)
    for victim in victims:
        os.kill(pids[victim], signal.SIGKILL)
    began = time.monotonic()

    def are_gone() -> bool:
        looks = [(processes.look(pid), born) for pid, born in waiting.items()]
        return not any(
            look is not None and look.born == born and look.state not in "ZX" for look, born in looks
        )

    until(are_gone)
    assert time.monotonic() - began < 2
    kernel.close()


@with_processes
@pytest.mark.parametrize("number", [2, 5, 8, 11])
def test_a_director_that_dies_when_it_has_just_started_a_warm_step_loses_and_doubles_nothing(
    notebook, number, monkeypatch
):
    session = project(notebook)
    launch = session._launch

    def doomed(place, workers):
        session._launch = launch
        with monkeypatch.context() as patch:
            patch.setenv(faults.VARIABLE, f"started:{number}")
            return launch(place, workers)

    session._launch = doomed
    declare_many(session)
    session.wait()
    assert session.status()["counts"] == {"SUCCEEDED": 12}
    assert [notebook.read(f"out{n}") for n in range(12)] == ["a"] * 12
    assert [row["outcome"] for row in session.history()].count("succeeded") == 12
