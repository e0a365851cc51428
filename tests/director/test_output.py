"""What jobs write: kept byte for byte, bounded, in order, and never in the way."""

import errno
import os
import stat
import sys
from functools import partial

import pytest
from director.helpers_output import Writer
from director.helpers_processes import Gate, World
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.director import output
from stepup_nb.director.output import END, PIECES, TAIL, LogFolder, decode, stored


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def memory(key: str) -> int:
    """Return a figure of this process's memory in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    raise AssertionError(key)


# --- through real pipes of real jobs -------------------------------------------------------------


def test_megabytes_on_both_streams_arrive_byte_for_byte(world):
    code = """
import os, sys
def feed(fd, step):
    for number in range(0, 3_000_000, 6):
        os.write(fd, b"%06x" % (number * step % 0xFFFFFF))
if os.fork():
    feed(1, 1)
    os.wait()
else:
    feed(2, 7)
    os._exit(0)
"""
    job = world.run(sys.executable, "-c", code).job
    assert world.out(job) == b"".join(b"%06x" % (number % 0xFFFFFF) for number in range(0, 3_000_000, 6))
    assert world.err(job) == b"".join(b"%06x" % (number * 7 % 0xFFFFFF) for number in range(0, 3_000_000, 6))


def test_three_hundred_megabytes_without_a_line_end_cost_no_memory(world):
    world.run("echo warm")
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")
    before = memory("VmHWM")
    ended = world.run("head -c 300000000 /dev/zero | tr '\\0' x; echo end")
    assert ended.returncode == 0
    assert memory("VmHWM") - before < 16 * 1024 * 1024
    log = world.folder / "logs" / f"{ended.job}.out"
    assert log.stat().st_size < 68 * 1024 * 1024
    assert world.executor.tail(ended.job).stdout == "x" * (TAIL - 4) + "end\n"
    assert "[… 233 MB left out …]".encode() in world.out(ended.job)


def written(executor, job):
    return executor.output(job, (0, 0), 1 << 20, is_last=False).pieces


def test_a_silent_job_makes_no_file_and_no_folder(world):
    job = world.run("true").job
    assert not (world.folder / "logs").exists()
    assert world.executor.tail(job) == ("", "")
    assert world.out(job) == b""
    assert world.executor.output(job, (0, 0), 99, is_last=False) == ([], (0, 0), 0, False)


def test_output_is_told_of_while_the_job_runs(world, gate):
    job = world.start("echo one; read x < gate; echo two >&2")
    world.until(lambda: world.outputs)
    assert world.executor.tail(job) == ("one\n", "")
    assert world.out(job) == b"one\n"
    assert not world.ended
    gate.open()
    world.wait(job)
    assert world.executor.tail(job) == ("one\n", "two\n")
    assert set(world.outputs) == {job}


def test_the_streams_order_is_kept_also_when_the_job_has_ended(world, gate):
    job = world.start("echo 1; read x < gate; echo 22 >&2; read x < gate; echo 333; echo 4444")
    for pieces in (1, 2):
        world.until(lambda pieces=pieces: len(written(world.executor, job)) == pieces)
        gate.open()
    world.wait(job)
    assert written(world.executor, job) == [(0, b"1\n"), (1, b"22\n"), (0, b"333\n4444\n")]


def test_tails_are_there_for_jobs_that_ended_long_ago(world):
    first = world.run("echo out; echo err >&2").job
    world.executor._tails.clear()
    assert world.executor.tail(first) == ("out\n", "err\n")


def test_a_log_is_where_it_is_said_to_be(world):
    job = world.run("echo hi").job
    with open(world.executor.log_path(job, "stdout")) as log:
        assert log.read() == "hi\n"


def test_logs_are_for_our_eyes_only(world):
    old = os.umask(0)
    try:
        job = world.run("echo hi; echo ho >&2").job
    finally:
        os.umask(old)
    folder = world.folder / "logs"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert len(list(folder.glob(f"{job}.*"))) == 3


def test_a_log_that_somebody_made_a_link_is_not_followed(world):
    (world.folder / "logs").mkdir(mode=0o700)
    (world.folder / "precious").write_text("precious")
    (world.folder / "logs" / "1.out").symlink_to(world.folder / "precious")
    ended = world.run("echo hi")
    assert ended.returncode == 0
    assert ended.notes == (f"output not stored: {os.strerror(errno.ELOOP)}",)
    assert (world.folder / "precious").read_text() == "precious"
    assert world.executor.tail(ended.job).stdout == "hi\n"
    assert world.out(ended.job) == b""


def test_a_folder_that_cannot_be_made_does_not_fail_the_job(world):
    (world.folder / "logs").write_text("a file is in its place")
    ended = world.run("echo hi; echo ho >&2")
    assert ended.returncode == 0
    assert ended.notes == (f"output not stored: {os.strerror(errno.ENOTDIR)}",)
    assert world.executor.tail(ended.job) == ("hi\n", "ho\n")


def test_a_folder_that_was_removed_is_made_again_for_the_next_job(world, gate):
    job = world.start("echo one; read x < gate; echo two")
    world.until(lambda: world.outputs)
    for path in (world.folder / "logs").iterdir():
        path.unlink()
    (world.folder / "logs").rmdir()
    gate.open()
    assert world.wait(job).notes == ("output not stored: its log was deleted",)
    later = world.run("echo later")
    assert later.notes == ()
    assert world.out(later.job) == b"later\n"


# --- the parts -----------------------------------------------------------------------------------


def test_the_folder_of_a_project_that_moved_is_not_made_again(tmp_path):
    folder = LogFolder(str(tmp_path / "project" / ".stepup" / "nb"))
    with pytest.raises(FileNotFoundError):
        folder.create("1.out")
    assert not (tmp_path / "project").exists()
    (tmp_path / "project").mkdir()
    os.close(folder.create("1.out"))
    assert stat.S_IMODE((tmp_path / "project" / ".stepup").stat().st_mode) == 0o700
    folder.close()


def test_a_full_disk_is_noted_and_the_rest_of_the_output_flows(tmp_path):
    class Full(LogFolder):
        def create(self, name):
            return os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)

    writer = Writer(Full(str(tmp_path)))
    writer.write(0, b"a" * 100_000)
    writer.write(1, b"b")
    writer.end()
    assert writer.output.notes == (f"output not stored: {os.strerror(errno.ENOSPC)}",)
    assert writer.output.tails == (b"a" * TAIL, b"b")


@given(
    cap=st.integers(0, 40),
    pieces=st.lists(st.binary(min_size=1, max_size=30), max_size=12),
    tail=st.integers(1, 8),
    end=st.integers(8, 20),
)
def test_a_log_is_exact_up_to_its_cap_and_ends_with_the_end(tmp_path_factory, cap, pieces, tail, end):
    folder = LogFolder(str(tmp_path_factory.mktemp("logs")), cap)
    written = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "TAIL", tail)
        patch.setattr(output, "END", end)
        writer = Writer(folder)
        for piece in pieces:
            writer.write(0, piece)
        assert writer.output.tails[0] == written[-tail:]
        writer.end()
    log = folder.read("1.out", 0, 1 << 20)
    folder.close()
    if len(written) <= cap + end:
        assert log == written
    else:
        left_out = len(written) - cap - end
        assert log == written[:cap] + f"\n[… {left_out} bytes left out …]\n".encode() + written[-end:]


PIECES_OF_BOTH = st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=9)), max_size=20)


@given(PIECES_OF_BOTH, st.integers(1, 12))
def test_what_was_written_is_had_piece_by_piece_in_the_order_of_its_arrival(tmp_path_factory, pieces, most):
    folder = LogFolder(str(tmp_path_factory.mktemp("logs")))
    writer = Writer(folder)

    def follow(after, place):
        seen, is_more = [], True
        while is_more:
            found = after(place, most, is_last=False)
            assert sum(len(piece) for _, piece in found.pieces) <= most
            seen += [(which, byte) for which, piece in found.pieces for byte in piece]
            place, is_more = found.place, found.is_more
        return seen, place

    arrived, seen, place = [], [], (0, 0)
    for is_error, piece in pieces:
        writer.write(is_error, piece)
        arrived += [(int(is_error), byte) for byte in piece]
        new, place = follow(writer.output.after, place)
        seen += new
    assert seen == arrived
    writer.end()
    assert follow(partial(stored, folder, 1), (0, 0)) == (arrived, place)
    folder.close()


@given(PIECES_OF_BOTH, st.integers(0, 99))
def test_of_much_output_the_last_bytes_can_be_had_at_once(tmp_path_factory, pieces, most):
    folder = LogFolder(str(tmp_path_factory.mktemp("logs")))
    writer = Writer(folder)
    for is_error, piece in pieces:
        writer.write(is_error, piece)
    live = writer.output.after((0, 0), most, is_last=True)
    writer.end()
    assert stored(folder, 1, (0, 0), most, is_last=True) == live
    whole = b"".join(piece for _, piece in pieces)
    assert b"".join(piece for _, piece in live.pieces) == whole[max(0, len(whole) - most) :]
    assert (live.lines, live.is_more) == (whole.count(b"\n"), False)
    folder.close()


def test_the_order_is_bounded_and_what_is_beyond_comes_stream_by_stream(tmp_path):
    folder = LogFolder(str(tmp_path))
    writer = Writer(folder)
    for number in range(PIECES + 100):
        writer.write(number % 2, b"x")
    live = writer.output.after((0, 0), 1 << 20, is_last=False)
    writer.end()
    assert [len(piece) for _, piece in live.pieces] == [1] * PIECES + [50, 50]
    assert stored(folder, 1, (0, 0), 1 << 20, is_last=False) == live
    folder.close()


def test_a_log_is_read_in_pieces_from_anywhere(tmp_path):
    folder = LogFolder(str(tmp_path))
    writer = Writer(folder)
    writer.write(0, b"0123456789")
    assert folder.read("1.out", 3, 4) == b"3456"
    assert folder.read("1.out", 8, 4) == b"89"
    assert folder.read("1.out", 99, 4) == b""
    assert folder.read("1.out", -4, 99) == b"6789"
    assert folder.read("1.err", 0, 4) == b""
    writer.end()
    os.mkfifo(tmp_path / "2.out")
    assert folder.read("2.out", 0, 4) == b""
    folder.remove([1, 2, 3])
    assert list(tmp_path.iterdir()) == []
    folder.close()


def test_logs_from_a_number_on_are_removed_and_nothing_else(tmp_path):
    folder = LogFolder(str(tmp_path))
    folder.remove_from(1)
    for name in ("9.out", "10.out", "10.err", "11.idx", "notes.txt", "x1.out"):
        (tmp_path / name).write_bytes(b"kept")
    folder.remove_from(10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["9.out", "notes.txt", "x1.out"]
    folder.close()


@given(st.text(max_size=12), st.integers(0, 30), st.integers(0, 30))
def test_no_cut_through_a_character_shows(text, before, after):
    raw = text.encode()
    cut = raw[before : len(raw) - after]
    assert "�" not in decode(cut, False).replace("�" if "�" in text else "", "")
    assert decode(cut, False) in text


def test_what_is_not_text_is_replaced():
    assert decode(b"a\xff\xfeb\0", True) == "a��b\0"
    assert decode(b"ab\xe2\x82", True) == "ab�"


def test_the_end_of_a_flood_is_the_last_of_it(tmp_path):
    folder = LogFolder(str(tmp_path), cap=1000)
    writer = Writer(folder)
    for number in range(100):
        writer.write(0, b"%09d\n" % number * 1000)
    writer.end()
    log = folder.read("1.out", 0, 1 << 20)
    head, marker, end = log[:1000], log[1000:-END], log[-END:]
    assert head == b"000000000\n" * 100
    assert marker == "\n[… 737 kB left out …]\n".encode()
    assert end.endswith(b"000000099\n" * 1000)


def test_sizes_are_told_in_few_digits():
    told = [output._amount(size) for size in (0, 9_999, 10_000, 233_000_000, 12_345_678_900)]
    assert told == ["0 bytes", "9999 bytes", "10 kB", "233 MB", "12 GB"]
