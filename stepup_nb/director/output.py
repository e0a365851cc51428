"""Takes in what jobs write: drains their pipes, bounds it, keeps it.

Knows nothing of processes. What arrives is bytes, and stays so in the logs: making text of it that is safe
to show is for whoever shows it.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import os
import stat
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from stepup_nb.director.executor import Found, Stream

STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
_SUFFIX = {"stdout": ".out", "stderr": ".err"}

TAIL = 8 * 1024
"""Bytes of each stream that are kept in memory."""
END = 256 * 1024
"""Bytes of the end of a stream that are kept when it is longer than the cap."""
CAP = 64 * 1024 * 1024
"""Bytes of each stream that are stored exactly as written."""
PIECES = 4096
"""Pieces of the two streams whose order of arrival is kept."""

CHUNK = 256 * 1024
"""Bytes that one read takes at most."""

_MUCH = 1024 * 1024
_COUNTED = 8 * 1024 * 1024
_WIDE_PIPE = 256 * 1024


def decode(tail: bytes, is_final: bool) -> str:
    """Return the text of the end of a stream, without a character that is not all there.

    Parameters
    ----------
    tail
        Its last bytes.
    is_final
        False while the rest of a character that they end in can still come.
    """
    if not tail:
        return ""
    start = 0
    while start < min(3, len(tail)) and tail[start] & 0xC0 == 0x80:
        start += 1
    return codecs.getincrementaldecoder("utf-8")("replace").decode(tail[start:], is_final)


class LogFolder:
    """The folder of the logs: ``<job>.out`` and ``<job>.err`` as written, ``<job>.idx`` for their order.

    It is made at the first byte that a job writes, 0700, and its files 0600. Links are not followed.
    """

    def __init__(self, path: str, cap: int = CAP) -> None:
        self.path = path
        self.cap = cap
        self._fd = -1

    def create(self, name: str) -> int:
        """Open a new file for writing; raise OSError where that cannot be."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        if self._fd >= 0:
            try:
                return os.open(name, flags, 0o600, dir_fd=self._fd)
            except FileNotFoundError:
                # Somebody removed the folder while we had it open.
                self.close()
        self._make()
        return os.open(name, flags, 0o600, dir_fd=self._open())

    def read(self, name: str, offset: int, limit: int) -> bytes:
        """Return a piece of a file, empty where there is none; from its end when the offset is negative."""
        try:
            fd = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._open()
            )
        except OSError:
            return b""
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return b""
            if offset < 0:
                offset = max(0, found.st_size + offset)
            return os.pread(fd, limit, offset)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; 0 where there is none."""
        try:
            return os.stat(name, dir_fd=self._open(), follow_symlinks=False).st_size
        except OSError:
            return 0

    def remove(self, jobs: Iterable[int]) -> None:
        """Delete the logs of these jobs, as far as there are any."""
        try:
            folder = self._open()
        except OSError:
            return
        for job in jobs:
            for suffix in (".out", ".err", ".idx"):
                try:
                    os.unlink(f"{job}{suffix}", dir_fd=folder)
                except OSError:
                    pass

    def remove_from(self, job: int) -> None:
        """Delete the logs of this job and all later ones: a forgotten database left them.

        A job of that number that writes nothing must not find what another one wrote.
        """
        try:
            names = os.listdir(self._open())
        except OSError:
            return
        numbers = {name.partition(".")[0] for name in names}
        self.remove(number for word in numbers if word.isdigit() and (number := int(word)) >= job)

    def close(self) -> None:
        """Give back the descriptor; the folder may be used again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _make(self) -> None:
        # The folder around ours is made as well (all of `.stepup` may have been swept away), but never the
        # project's: where that has moved, an empty one must not appear in its old place.
        for path in (os.path.dirname(self.path), self.path):
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass

    def _open(self) -> int:
        if self._fd < 0:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if os.fstat(fd).st_uid != os.geteuid():
                os.close(fd)
                raise PermissionError(errno.EPERM, "the folder belongs to another user", self.path)
            self._fd = fd
        return self._fd


class Pipe:
    """One stream of one job: what it wrote so far, and where that is kept."""

    __slots__ = ("_folder", "_log", "_name", "_tail", "fd", "lines", "problem", "total")

    def __init__(self, fd: int, folder: LogFolder, name: str) -> None:
        self.fd = fd
        """The reading end, non-blocking; -1 once it was closed."""
        self.total = 0
        """Bytes that arrived."""
        self.problem = ""
        """Why some of it is not in the log."""
        self.lines = 0
        """Lines that have ended."""
        self._folder = folder
        self._name = name
        self._log = -1
        self._tail = bytearray()

    @property
    def tail(self) -> bytes:
        """The last bytes that arrived, at most `TAIL`."""
        return bytes(self._tail[-TAIL:])

    def since(self, seen: int, most: int) -> bytes:
        """Return the last bytes of those that came after so many, as far as they are in memory."""
        fresh = min(self.total - seen, most)
        return bytes(self._tail[-fresh:]) if fresh > 0 else b""

    def read(self, buffer: bytearray) -> int | None:
        """Take in one bufferful. Return its size, 0 when all writers are gone, None when there is nothing."""
        try:
            size = os.readv(self.fd, [buffer])
        except BlockingIOError:
            return None
        if size:
            if self.total <= _MUCH < self.total + size:
                self._widen()
            self.lines += buffer.count(b"\n", 0, size)
            self._take(memoryview(buffer)[:size])
        return size

    def close(self) -> None:
        """Close the pipe; complete the log and close it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.total > self._folder.cap and not self.problem:
            self._store_end()
        if self._log >= 0:
            try:
                is_gone = os.fstat(self._log).st_nlink == 0
                os.close(self._log)
            except OSError as error:
                # Some file systems say only here that there was no room.
                self._fail(error)
            else:
                if is_gone:
                    self.problem = self.problem or "its log was deleted"
            self._log = -1

    def _take(self, piece: memoryview) -> None:
        room = self._folder.cap - self.total
        self.total += len(piece)
        if room > 0 and not self.problem:
            self._store(piece[:room])
        keep = TAIL if room >= len(piece) else END
        if len(piece) >= keep:
            self._tail[:] = piece[-keep:]
        else:
            self._tail += piece
            # Cutting off only what is past twice the length makes its cost per byte a constant.
            if len(self._tail) > 2 * keep:
                del self._tail[:-keep]

    def _store(self, piece: memoryview) -> None:
        try:
            if self._log < 0:
                self._log = self._folder.create(self._name)
            while piece:
                piece = piece[os.write(self._log, piece) :]
        except OSError as error:
            self._fail(error)

    def _store_end(self) -> None:
        beyond = self.total - self._folder.cap
        kept = bytes(self._tail[-min(beyond, END) :])
        left_out = beyond - len(kept)
        marker = f"\n[… {_amount(left_out)} left out …]\n".encode() if left_out else b""
        self._store(memoryview(marker + kept))

    def _fail(self, error: OSError) -> None:
        if not self.problem:
            self.problem = error.strerror or str(error)

    def _widen(self) -> None:
        # Who writes much is worth fewer, larger turns. Not everybody is: what one user may have in pipes is
        # limited, and beyond that each new pipe gets a page or two.
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, _WIDE_PIPE)
        except OSError:
            pass


class Output:
    """Both streams of one job, and the order in which their pieces arrived."""

    __slots__ = ("_folder", "_job", "_order", "pipes")

    def __init__(self, job: int, folder: LogFolder, stdout: int, stderr: int) -> None:
        self._job = job
        self._folder = folder
        self._order = array("q")
        self.pipes = (Pipe(stdout, folder, f"{job}.out"), Pipe(stderr, folder, f"{job}.err"))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user is to know about the logs."""
        problems = {pipe.problem: None for pipe in self.pipes if pipe.problem}
        return tuple(f"output not stored: {problem}" for problem in problems)

    @property
    def total(self) -> int:
        """Bytes that arrived."""
        return self.pipes[0].total + self.pipes[1].total

    @property
    def sums(self) -> Sums:
        """How much was written."""
        return Sums((self.pipes[0].total, self.pipes[1].total), sum(pipe.lines for pipe in self.pipes))

    @property
    def tails(self) -> tuple[bytes, bytes]:
        """The last bytes of stdout and of stderr."""
        return self.pipes[0].tail, self.pipes[1].tail

    def after(self, place: tuple[int, int], most: int, *, is_last: bool) -> Found:
        """Return what was written after a place; see `Executor.output`."""
        lines = sum(pipe.lines for pipe in self.pipes)
        if any(pipe.total > self._folder.cap for pipe in self.pipes):
            # What is beyond the cap is in no file yet: the last of it, stream by stream.
            fresh = [(which, pipe.since(place[which], most // 2)) for which, pipe in enumerate(self.pipes)]
            pieces = [(which, piece) for which, piece in fresh if piece]
            return Found(pieces, (self.pipes[0].total, self.pipes[1].total), lines, False)
        sizes = [pipe.total for pipe in self.pipes]
        return _found(self._folder, self._job, self._order, sizes, place, most, is_last, lambda: lines)

    def read(self, which: int, buffer: bytearray) -> int | None:
        """Take in one bufferful of stdout (0) or stderr (1); see `Pipe.read`."""
        size = self.pipes[which].read(buffer)
        if size and len(self._order) < PIECES:
            piece = -size if which else size
            if self._order and (self._order[-1] < 0) == (piece < 0):
                self._order[-1] += piece
            else:
                self._order.append(piece)
        return size

    def drain(self, buffer: bytearray) -> bool:
        """Take in all that is in the pipes now. Return whether there was anything.

        Only for a job of which no process is left: a live one could keep us here.
        """
        found = False
        for which, pipe in enumerate(self.pipes):
            while pipe.fd >= 0 and self.read(which, buffer):
                found = True
        return found

    def close(self) -> None:
        """Close pipes and logs."""
        for pipe in self.pipes:
            pipe.close()
        if len(self._order) > 1:
            try:
                fd = self._folder.create(f"{self._job}.idx")
                try:
                    os.write(fd, self._order.tobytes())
                finally:
                    os.close(fd)
            except OSError:
                # Without it the streams are shown one after the other.
                pass


class Sums(NamedTuple):
    """What is remembered of an ended job's output for a while."""

    totals: tuple[int, int]
    """Bytes that were written to stdout and stderr: a log has less of a stream that is longer than the cap."""
    lines: int


def stored(
    folder: LogFolder,
    job: int,
    place: tuple[int, int],
    most: int,
    *,
    is_last: bool,
    sums: Sums | None = None,
) -> Found:
    """Return what an ended job wrote after a place; see `Executor.output`.

    Where its sums are known, a place counts what was written, as it did while the job ran.
    """
    order = array("q")
    kept = folder.read(f"{job}.idx", 0, PIECES * order.itemsize)
    order.frombytes(kept[: len(kept) // order.itemsize * order.itemsize])
    names = [log_name(job, stream) for stream in STREAMS]
    sizes = [folder.size(name) for name in names]

    def lines() -> int | None:
        if sums is not None:
            return sums.lines
        # To count for longer would keep the director from its work.
        if sum(sizes) > _COUNTED:
            return None
        return sum(folder.read(name, 0, _COUNTED).count(b"\n") for name in names)

    totals = sizes if sums is None else sums.totals
    cuts = [_Cut(size, total, folder.cap) for size, total in zip(sizes, totals, strict=True)]
    out, err = (cut.in_log(seen) for cut, seen in zip(cuts, place, strict=True))
    found = _found(folder, job, order, sizes, (out, err), most, is_last, lines)
    out, err = (cut.in_stream(at) for cut, at in zip(cuts, found.place, strict=True))
    return found._replace(place=(out, err))


class _Cut:
    """Where the bytes of a stream are in its log, which leaves out the middle of a long one."""

    def __init__(self, size: int, total: int, cap: int) -> None:
        self._size = size
        self._total = total
        self._end = size - min(END, max(0, total - cap)) if total != size else 0
        """Where in the log its end begins, of which every byte is there."""

    def in_log(self, seen: int) -> int:
        behind = self._size - (self._total - seen)
        return behind if behind >= self._end else min(seen, self._end)

    def in_stream(self, at: int) -> int:
        return self._total - (self._size - at) if at >= self._end else at


def _found(
    folder: LogFolder,
    job: int,
    order: Sequence[int],
    sizes: Sequence[int],
    place: tuple[int, int],
    most: int,
    is_last: bool,
    count: Callable[[], int | None],
) -> Found:
    missing = sum(max(0, size - seen) for size, seen in zip(sizes, place, strict=True))
    if is_last and missing > most:
        place = _advance(order, sizes, place, missing - most)[1]
    parts, after = _advance(order, sizes, place, most)
    pieces = [
        (which, folder.read(log_name(job, STREAMS[which]), start, size)) for which, start, size in parts
    ]
    is_more = any(size > seen for size, seen in zip(sizes, after, strict=True))
    return Found(pieces, after, None if is_more else count(), is_more)


def _advance(
    order: Sequence[int], sizes: Sequence[int], place: tuple[int, int], most: int
) -> tuple[list[tuple[int, int, int]], tuple[int, int]]:
    """Return the next so many bytes after a place as parts (stream, start, size), and the place after them."""
    seen = list(place)
    ends = [0, 0]
    parts = []
    # What came after the last piece whose order was kept comes stream by stream.
    for piece in (*order, sizes[0], -sizes[1]):
        which = piece < 0
        ends[which] = min(ends[which] + abs(piece), sizes[which])
        size = min(ends[which] - seen[which], most)
        if size > 0:
            parts.append((int(which), seen[which], size))
            seen[which] += size
            most -= size
            if not most:
                break
    return parts, (seen[0], seen[1])


def log_name(job: int, stream: Stream) -> str:
    """Return the name of a log in its folder."""
    return f"{job}{_SUFFIX[stream]}"


def _amount(size: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 10_000:
            return f"{size} {unit}"
        size = round(size / 1000)
    return f"{size} GB"
