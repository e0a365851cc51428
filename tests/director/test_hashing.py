"""A file is read when its marks prove nothing, and never waited for in the loop."""

import os
import socket
import subprocess
import threading
import time

import pytest
from blake3 import blake3

from stepup_nb.core.messages import FilesLooked, LookAt, RemoveFiles
from stepup_nb.core.model import FileHash, FileProblem
from stepup_nb.director import hashing
from stepup_nb.director.hashing import TICK_NS, Hasher, hash_env, look
from stepup_nb.director.reactor import Reactor
from stepup_nb.director.remove import remove_files


def settled(path):
    """Return the look at a file whose marks can be believed at once."""
    found = look(str(path))
    return found._replace(looked_ns=max(found.mtime_ns, found.ctime_ns) + TICK_NS + 1)


@pytest.fixture
def reads(monkeypatch):
    """List the files whose content is read."""
    found = []
    real = hashing.digest_of

    def digest_of(fd, size):
        found.append(os.readlink(f"/proc/self/fd/{fd}"))
        return real(fd, size)

    monkeypatch.setattr(hashing, "digest_of", digest_of)
    return found


# --- what a file is --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5, 2**18 - 1, 2**18, 2**18 + 1, 3 * 2**20 + 7])
def test_the_digest_is_that_of_the_whole_content(tmp_path, size):
    content = os.urandom(size)
    path = tmp_path / "a"
    path.write_bytes(content)
    path.chmod(0o640)
    before = time.time_ns()
    found = look(str(path))
    assert found.digest == "blake3:" + blake3(content).hexdigest()
    assert (found.size, found.mode) == (size, 0o100640)
    assert found.mark == (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    assert before <= found.looked_ns <= time.time_ns()


def test_a_file_that_says_it_is_empty_and_is_not_is_read_to_its_end():
    assert look("/proc/self/environ").digest != "blake3:" + blake3(b"").hexdigest()


def test_where_nothing_is_nothing_is_found(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("missing", "no/folder/here", "file/below", "dangling"):
        assert look(str(tmp_path / name)) is None


def test_a_symbolic_link_is_the_file_it_leads_to(tmp_path):
    (tmp_path / "a").write_text("content")
    (tmp_path / "link").symlink_to("a")
    # All but the time of its last change: the link was made after the file.
    assert look(str(tmp_path / "link"))[:5] == look(str(tmp_path / "a"))[:5]


def test_what_is_no_file_is_a_problem_in_words_and_is_not_opened(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.getcwd()
        os.chdir(tmp_path)
        listener.bind("socket")
        os.chdir(folder)
    words = {
        "folder": "is a directory",
        "pipe": "is a named pipe",
        "socket": "is a socket",
        "loop": "cannot be read (too many levels of symbolic links)",
        "x" * 300: "cannot be read (file name too long)",
        "nul\0": "is no possible file name",
        "lone \ud800": "is no possible file name",
    }
    for name, problem in words.items():
        assert look(f"{tmp_path}/{name}") == FileProblem(problem)
    assert look("/dev/null") == FileProblem("is a device")


def test_a_file_that_becomes_a_pipe_before_it_is_opened_is_not_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("content")
    real = os.open

    def late(name, flags, *more):
        path.unlink()
        os.mkfifo(path)
        return real(name, flags, *more)

    monkeypatch.setattr(os, "open", late)
    assert look(str(path)) == FileProblem("is a named pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="not run: root may read everything")
def test_a_file_that_may_not_be_read_is_a_problem_in_words(tmp_path):
    (tmp_path / "a").write_text("content")
    (tmp_path / "a").chmod(0)
    assert look(str(tmp_path / "a")) == FileProblem("cannot be read (permission denied)")


def test_a_name_that_is_no_text_is_found(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    with open(name, "w") as file:
        file.write("content")
    assert look(name).size == 7


# --- when it is read -------------------------------------------------------------------------------


def test_a_file_with_the_marks_it_had_is_not_read_again(tmp_path, reads):
    path = tmp_path / "a"
    path.write_text("content")
    known = settled(path)
    reads.clear()
    assert look(str(path), known) is known
    assert reads == []


def test_marks_that_are_younger_than_the_reading_by_less_than_a_tick_prove_nothing(tmp_path, reads):
    path = tmp_path / "a"
    path.write_text("content")
    known = settled(path)
    reads.clear()
    for early in (1, TICK_NS, 10**18):
        assert look(str(path), known._replace(looked_ns=known.looked_ns - early)) is not known
    assert len(reads) == 3


def test_a_file_rewritten_within_one_tick_is_noticed(tmp_path):
    # What a kernel with a coarse clock shows: other content, same marks.
    path = tmp_path / "a"
    path.write_text("old")
    known = look(str(path))
    path.write_text("new")
    marks = os.stat(path)
    known = known._replace(
        mtime_ns=marks.st_mtime_ns, ctime_ns=marks.st_ctime_ns, looked_ns=marks.st_mtime_ns
    )
    assert look(str(path), known).digest != known.digest


def test_a_rewrite_of_the_same_size_is_noticed(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    known = settled(path)
    path.write_text("new")
    assert look(str(path), known).content != known.content


def test_content_changed_and_changed_back_shows_in_the_marks_even_with_the_time_restored(tmp_path):
    path = tmp_path / "a"
    path.write_text("content")
    known = settled(path)
    path.write_text("other")
    path.write_text("content")
    os.utime(path, ns=(known.mtime_ns, known.mtime_ns))
    found = look(str(path), known)
    assert found.content == known.content
    assert found.mtime_ns == known.mtime_ns
    assert found.mark != known.mark


@pytest.mark.parametrize("link", ["x", "current", "newest"])
def test_a_link_that_led_elsewhere_and_back_shows_in_the_marks_of_what_it_leads_to(tmp_path, link, reads):
    # No file was touched, and what was read in the meantime was recorded as made from the old data.
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text(folder)
    (tmp_path / "first" / "x").symlink_to("a")
    (tmp_path / "current").symlink_to("newest/")
    (tmp_path / "newest").symlink_to(tmp_path / "first")
    path = tmp_path / "current" / "x"
    known = settled(path)
    assert look(str(path), known) == known
    assert len(reads) == 1
    where = {"x": tmp_path / "first" / "x"}.get(link, tmp_path / link)
    target = where.readlink()
    for other in ("second/a", target):
        (tmp_path / "new").symlink_to(other)
        (tmp_path / "new").replace(where)
    found = look(str(path), known)
    assert found.content == known.content
    assert (found.inode, found.mtime_ns) == (known.inode, known.mtime_ns)
    assert found.mark != known.mark


def test_links_in_a_circle_and_paths_of_any_depth_harm_nobody(tmp_path):
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "there").symlink_to("back/a")
    (tmp_path / "back").symlink_to("there/b")
    for name in ("round", "round/a", "there", "back/x"):
        assert isinstance(look(str(tmp_path / name)), FileProblem)
    (tmp_path / "deep").symlink_to("deep/../" * 100 + "a")
    for path in ("a/" * 1900 + "b", "./" * 1900 + "b", "deep/" * 700 + "a"):
        assert not isinstance(look(f"{tmp_path}/{path}"), FileHash)


def test_a_file_replaced_by_its_copy_is_read(tmp_path, reads):
    path = tmp_path / "a"
    path.write_text("content")
    known = settled(path)
    (tmp_path / "b").write_text("content")
    os.utime(tmp_path / "b", ns=(known.mtime_ns, known.mtime_ns))
    (tmp_path / "b").rename(path)
    found = look(str(path), known)
    assert found.content == known.content
    assert found.inode != known.inode


def test_other_permissions_are_another_content(tmp_path):
    path = tmp_path / "a"
    path.write_text("content")
    known = settled(path)
    path.chmod(0o755)
    found = look(str(path), known)
    assert found.digest == known.digest
    assert found.content != known.content


def test_a_time_in_the_future_or_long_past_only_costs_a_reading(tmp_path, reads):
    path = tmp_path / "a"
    path.write_text("content")
    for time_ns in (0, -(10**18), time.time_ns() + 10**18):
        os.utime(path, ns=(time_ns, time_ns))
        known = look(str(path))
        assert look(str(path), known).content == known.content


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    real = hashing.digest_of
    changes = ["new"]

    def slow(fd, size):
        digest = real(fd, size)
        if changes:
            path.write_text(changes.pop())
        return digest

    monkeypatch.setattr(hashing, "digest_of", slow)
    assert look(str(path)).digest == "blake3:" + blake3(b"new").hexdigest()


def test_a_file_that_keeps_changing_is_a_problem(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("content")
    real = hashing.digest_of

    def slow(fd, size):
        digest = real(fd, size)
        with path.open("a") as file:
            file.write("more")
        return digest

    monkeypatch.setattr(hashing, "digest_of", slow)
    assert look(str(path)) == FileProblem("keeps changing while it is read")


def test_a_large_file_that_is_cut_while_it_is_read_harms_nobody(tmp_path, monkeypatch):
    # Mapped into memory instead of read, this ended the process with SIGBUS.
    path = tmp_path / "a"
    path.write_bytes(bytes(8 * 2**20))
    real = os.readv
    cuts = [1000]

    def readv(fd, buffers):
        if cuts:
            os.truncate(path, cuts.pop())
        return real(fd, buffers)

    monkeypatch.setattr(os, "readv", readv)
    assert look(str(path)).digest == "blake3:" + blake3(bytes(1000)).hexdigest()


# --- the threads -----------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path):
    """A reactor, a hasher of the folder, and what it reported."""

    class World:
        def __init__(self):
            self.reports = []
            self.reactor = Reactor()
            self.hasher = Hasher(self.reactor, self.reports.append, str(tmp_path))

        def until(self, number):
            deadline = time.monotonic() + 30
            while len(self.reports) < number:
                assert time.monotonic() < deadline
                self.reactor.turn(0.1)

    made = World()
    yield made
    made.hasher.close()
    made.reactor.close()


def test_an_order_is_answered_by_a_report_with_its_token(world, tmp_path):
    (tmp_path / "a").write_text("content")
    known = settled(tmp_path / "a")
    world.hasher.look_at(LookAt(7, (("a", known), ("missing", None), (str(tmp_path / "a"), None))))
    world.until(1)
    (report,) = world.reports
    assert isinstance(report, FilesLooked)
    assert report.token == 7
    assert report.looks["a"] == known
    assert report.looks["missing"] is None
    assert report.looks[str(tmp_path / "a")].content == known.content


def test_reports_are_made_by_the_thread_that_turns_the_reactor(world):
    made_by = []
    world.hasher._report = lambda report: (
        made_by.append(threading.current_thread()),
        world.reports.append(report),
    )
    world.hasher.look_at(LookAt(1, (("a", None),)))
    world.until(1)
    assert made_by == [threading.current_thread()]


def test_many_orders_are_all_answered_by_few_threads(world, tmp_path):
    for number in range(200):
        (tmp_path / f"a{number}").write_text(str(number))
        world.hasher.look_at(LookAt(number, ((f"a{number}", None),)))
    world.until(200)
    assert {report.token for report in world.reports} == set(range(200))
    assert all(isinstance(look, FileHash) for report in world.reports for look in report.looks.values())
    assert len(world.hasher._threads) == 2


def test_files_that_hang_hold_up_nobody_else(world, tmp_path, monkeypatch):
    # A network file system that hangs: whoever asks for these files waits.
    monkeypatch.setattr(hashing, "_PATIENCE", 0.01)
    hangs = threading.Event()
    real = os.lstat

    def lstat(path, **options):
        if "hung" in str(path):
            hangs.wait(60)
        return real(path, **options)

    monkeypatch.setattr(os, "lstat", lstat)
    (tmp_path / "a").write_text("content")
    for number in range(5):
        world.hasher.look_at(LookAt(number, (("hung", None),)))
    world.hasher.look_at(LookAt(9, (("a", None),)))
    world.until(1)
    assert [report.token for report in world.reports] == [9]
    hangs.set()
    world.until(6)


def test_files_are_removed_by_a_thread_too(world, tmp_path):
    (tmp_path / "a").write_text("content")
    order = RemoveFiles(3, (("a", look(str(tmp_path / "a")).content),), dry_run=False)
    world.hasher.run(lambda: remove_files(order, str(tmp_path)))
    world.until(1)
    assert world.reports[0].removed == ("a",)


def test_a_mistake_of_ours_reaches_the_loop(world):
    world.hasher.run(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.until(1)


def test_after_its_end_nothing_is_reported(world, tmp_path):
    world.hasher.look_at(LookAt(1, (("a", None),)))
    world.hasher.close()
    for thread in world.hasher._threads:
        thread.join()
    world.reactor.turn(0)
    assert world.reports == []


# --- environment values ----------------------------------------------------------------------------


def test_a_value_is_told_by_its_hash_and_only_with_the_key():
    key = b"k" * 32
    assert hash_env(key, "MODE", "fast") == hash_env(key, "MODE", "fast")
    others = {
        hash_env(key, "MODE", "slow"),
        hash_env(key, "MODE2", "fast"),
        hash_env(b"x" * 32, "MODE", "fast"),
        hash_env(key, "MODE", "\udcff"),
    }
    assert len(others | {hash_env(key, "MODE", "fast")}) == 5
    assert "fast" not in hash_env(key, "MODE", "fast")


def test_the_user_has_one_key_that_only_the_user_can_read(tmp_path, monkeypatch):
    from stepup_nb.director.secret import key

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    before = os.umask(0)
    try:
        made = key()
    finally:
        os.umask(before)
    file = tmp_path / "home" / "stepup_nb" / "key"
    assert len(made) == 32
    assert key() == made
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [other.name for other in file.parent.iterdir()] == ["key"]
    # Once others could read it, it is no secret any more; nor is half a key one.
    file.chmod(0o644)
    second = key()
    assert second != made
    file.write_bytes(second[:10])
    assert key() not in (made, second)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert key() == key()


def test_where_no_key_can_be_kept_one_lasts_as_long_as_the_process(tmp_path, monkeypatch):
    from stepup_nb.director.secret import key

    (tmp_path / "home").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    assert key() == key()
    assert len(key()) == 32


def test_processes_that_start_at_once_agree_on_the_key(tmp_path):
    import sys

    code = "from stepup_nb.director.secret import key; print(key().hex())"
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{code}"
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    assert len({process.communicate()[0] for process in started}) == 1
