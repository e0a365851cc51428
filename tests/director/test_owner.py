"""A database has one director at a time, and whoever is refused learns whose it is."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from stepup_nb.core.errors import OwnerError, UsageError
from stepup_nb.director.owner import acquire, is_held, lock_path, read_holder


@pytest.fixture
def path(tmp_path):
    return lock_path(tmp_path / "analysis.stepup.db")


def take(path, kernel=None, **options):
    return acquire(path, notebook="analysis.ipynb", kernel_pid=kernel or os.getpid(), **options)


def refusal(path, **options):
    begin = time.monotonic()
    with pytest.raises(OwnerError) as caught:
        take(path, **options)
    return caught.value, time.monotonic() - begin


HOLDER = """
import os, sys
sys.path[:0] = {paths!r}
from stepup_nb.director.owner import acquire
lock = acquire({path!r}, notebook="analysis.ipynb", kernel_pid={kernel})
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(path):
    """Start directors that hold the lock for a kernel, and end them."""
    started = []

    def hold(kernel):
        code = HOLDER.format(paths=sys.path, path=path, kernel=kernel)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def kernel():
    """A process that stands for a kernel."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_the_lock_is_beside_the_logs_of_its_notebook():
    assert lock_path("/p/analysis.stepup.db") == "/p/.stepup/analysis/lock"
    assert lock_path("/p/.stepup/graph.db") == "/p/.stepup/graph/lock"


def test_who_holds_it_can_be_read(path, tmp_path):
    lock = take(path, socket="/run/s")
    holder = read_holder(path)
    assert holder["host"] == socket.gethostname()
    assert holder["director_pid"] == holder["kernel_pid"] == os.getpid()
    assert holder["notebook"] == "analysis.ipynb"
    assert holder["socket"] == "/run/s"
    assert abs(holder["started"] - time.time()) < 60
    assert lock.note == ""
    lock.tell(socket="/run/other")
    assert read_holder(path)["socket"] == "/run/other"
    assert is_held(path)
    lock.release()
    assert not is_held(path)


def test_its_files_are_this_users_alone_whatever_the_umask_is(path, tmp_path):
    before = os.umask(0)
    try:
        lock = take(path)
    finally:
        os.umask(before)
    modes = {str(found.relative_to(tmp_path)): found.stat().st_mode & 0o777 for found in tmp_path.rglob("*")}
    assert modes == {
        ".stepup": 0o700,
        ".stepup/.gitignore": 0o600,
        ".stepup/analysis": 0o700,
        ".stepup/analysis/lock": 0o600,
    }
    assert (tmp_path / ".stepup/.gitignore").read_text().splitlines()[-1] == "*"
    lock.release()


def test_a_gitignore_that_is_there_is_left_alone(path, tmp_path):
    (tmp_path / ".stepup").mkdir()
    (tmp_path / ".stepup/.gitignore").write_text("mine")
    take(path).release()
    assert (tmp_path / ".stepup/.gitignore").read_text() == "mine"


def test_a_second_kernel_is_refused_at_once_and_learns_who_holds_it(path, hold, kernel):
    process = hold(kernel.pid)
    error, took = refusal(path)
    assert took < 1.0
    assert error.code == "SNB-210"
    assert "'analysis.ipynb'" in error.what
    assert f"kernel pid {kernel.pid} on {socket.gethostname()} has held it since 20" in error.why
    assert "shut that kernel down" in error.fix
    assert process.poll() is None


def test_when_the_director_is_killed_the_lock_is_free(path, hold, kernel):
    process = hold(kernel.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not is_held(path)
    assert read_holder(path)["kernel_pid"] == kernel.pid
    lock = take(path)
    assert read_holder(path)["kernel_pid"] == os.getpid()
    lock.release()


def test_the_director_of_a_dead_kernel_is_waited_for(path, hold, kernel):
    process = hold(kernel.pid)
    kernel.kill()
    kernel.wait()
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(take(path, wait=30.0)))
    waiting.start()
    process.stdin.close()
    process.wait()
    waiting.join()
    assert is_held(path)
    taken[0].release()


def test_the_director_of_a_dead_kernel_that_does_not_end_is_named(path, hold, kernel):
    process = hold(kernel.pid)
    kernel.kill()
    kernel.wait()
    error, took = refusal(path, wait=0.5)
    assert 0.5 <= took < 3.0
    assert f"its director (pid {process.pid}) has not ended yet" in error.why
    assert f"end process {process.pid}" in error.fix


def test_a_kernel_that_is_dead_but_not_buried_counts_as_dead(path, hold, kernel):
    hold(kernel.pid)
    kernel.kill()
    os.waitid(os.P_PID, kernel.pid, os.WEXITED | os.WNOWAIT)
    assert "that kernel is gone" in refusal(path, wait=0.4)[0].why


def test_another_process_with_the_number_of_a_dead_kernel_is_not_taken_for_it(path, hold, kernel):
    hold(kernel.pid)
    holder = read_holder(path)
    with open(path, "r+") as file:
        words = json.dumps(holder | {"kernel_start": "another boot 1"})
        file.write(words)
        file.truncate()
    assert "that kernel is gone" in refusal(path, wait=0.4)[0].why


def test_a_kernel_waits_for_its_own_last_director(path, hold):
    process = hold(os.getpid())
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(take(path, wait=30.0)))
    waiting.start()
    process.stdin.close()
    process.wait()
    waiting.join()
    taken[0].release()


def test_a_holder_on_another_machine_is_named_with_it(path, hold, kernel):
    hold(kernel.pid)
    holder = read_holder(path)
    with open(path, "r+") as file:
        file.write(json.dumps(holder | {"host": "elsewhere"}))
        file.truncate()
    error, took = refusal(path)
    assert "on elsewhere" in error.why
    assert took < 1.0


@pytest.mark.parametrize("words", [b"", b"{", b"[]", b'{"host": 1}', b"\xff" * 5000, b"[" * 10_000])
def test_what_an_old_holder_wrote_is_harmless(path, words):
    take(path).release()
    with open(path, "wb") as file:
        file.write(words)
    assert read_holder(path) is None
    lock = take(path)
    assert read_holder(path)["kernel_pid"] == os.getpid()
    lock.release()


def test_a_holder_that_says_nothing_is_refused_in_words(path):
    take(path).release()
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        error, took = refusal(path)
    assert took < 1.0
    assert "does not say who it is" in error.why


def test_of_many_directors_that_start_at_once_one_holds_the_lock(path):
    locks, errors = [], []
    gate = threading.Barrier(8)

    def start(number):
        gate.wait()
        try:
            # Each for another living kernel: nobody waits for anybody.
            locks.append(take(path, kernel=os.getppid() if number % 2 else os.getpid(), wait=0.3))
        except OwnerError as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(locks), len(errors)) == (1, 7)
    assert is_held(path)
    locks[0].release()


def test_a_look_whether_it_is_held_takes_it_from_nobody(path):
    ended = threading.Event()

    def ask():
        while not ended.is_set():
            is_held(path)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(200):
            take(path).release()
    finally:
        ended.set()
        asking.join()


def test_a_child_does_not_inherit_the_lock(path):
    lock = take(path)
    child = subprocess.Popen(["sleep", "600"], close_fds=False)
    lock.release()
    assert not is_held(path)
    child.kill()
    child.wait()


def test_opening_and_closing_the_file_does_not_lose_the_lock(path):
    lock = take(path)
    with open(path):
        pass
    assert is_held(path)
    lock.release()


@pytest.mark.parametrize("name", [".stepup", ".stepup/analysis"])
def test_nothing_is_written_through_a_symbolic_link(path, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(elsewhere)
    with pytest.raises(UsageError) as caught:
        take(path)
    assert caught.value.code == "SNB-211"
    assert list(elsewhere.iterdir()) == []


def test_a_lock_that_is_no_file_is_not_waited_for(path, tmp_path):
    take(path).release()
    os.unlink(path)
    os.mkfifo(path)
    assert "no lock can be made here" in take(path).note
    assert read_holder(path) is None
    assert not is_held(path)


def test_where_nothing_can_be_written_there_is_no_lock_and_a_note(tmp_path):
    (tmp_path / "file").write_text("")
    lock = take(tmp_path / "file" / ".stepup" / "analysis" / "lock")
    assert lock.note == "no lock can be made here (not a directory)"
    lock.tell(socket="s")
    lock.release()
