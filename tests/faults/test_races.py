"""Inputs that change while a step reads them: the result is not recorded, also if they are changed back."""

from __future__ import annotations

import mmap
import os
import select
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from director.helpers_world import Notebook, with_processes
from faults.helpers_rounds import rounds

from stepup_nb.client.session import Session, check
from stepup_nb.director.store import Store

LANES = 10
"""Steps that run at once."""
HALF = 64
"""Bytes that a step reads at a time; an input has two of them."""
PLACES = 4
"""Where a step stops for the test: before it reads, half-way, when it has read, when it has written."""

COMMAND = """
    stop() {{ echo {lane} > ready; read x < go{lane}; }}
    stop; head -c {half} {path} > part{lane}
    stop; tail -c +{next} {path} >> part{lane}
    stop; mv part{lane} out{lane}
    stop
"""

AMENDING = f"{sys.executable} -c 'from stepup_nb.api import amend; amend(inp=\"{{path}}\")'" + COMMAND


# --- what somebody does to an input, and how it is undone -------------------------------------------

Undo = Callable[[], object]


def text(random: Random, size: int = 2 * HALF) -> bytes:
    return random.randbytes(size // 2).hex().encode()


def written(path: Path, random: Random) -> Undo:
    before = path.read_bytes()

    def write(words: bytes) -> None:
        with path.open("r+b") as file:
            file.write(words)

    write(text(random))
    return lambda: write(before)


def mapped(path: Path, random: Random) -> Undo:
    before = path.read_bytes()

    def write(words: bytes) -> None:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), len(words)) as area:
            area[:] = words

    write(text(random, len(before)))
    return lambda: write(before)


def cut(path: Path, random: Random) -> Undo:
    before = path.read_bytes()
    path.write_bytes(text(random, HALF))
    return lambda: path.write_bytes(before)


def grown(path: Path, random: Random) -> Undo:
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(text(random))
    return lambda: os.truncate(path, size)


def replaced(path: Path, random: Random) -> Undo:
    """As editors do; what was there comes back as the very same file."""
    kept, new = path.with_suffix(".kept"), path.with_suffix(".new")
    kept.unlink(missing_ok=True)
    os.link(path, kept)
    new.write_bytes(text(random))
    new.replace(path)
    return lambda: kept.replace(path)


def moved(path: Path, random: Random) -> Undo:
    kept, new = path.with_suffix(".kept"), path.with_suffix(".new")
    new.write_bytes(text(random))
    path.rename(kept)
    new.rename(path)
    return lambda: kept.replace(path)


def rewritten(path: Path, random: Random) -> Undo:
    before = path.read_bytes()

    def put(words: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(words)
        new.replace(path)

    put(text(random))
    return lambda: put(before)


def led_elsewhere(path: Path, random: Random) -> Undo:
    """A link on the way leads elsewhere for a while; no file is touched."""
    link = path if path.is_symlink() else path.parent
    before = link.readlink()
    other = link.with_suffix(".other")
    if link is path:
        other.write_bytes(text(random))
    else:
        other.mkdir(exist_ok=True)
        (other / path.name).write_bytes(text(random))

    def lead(target: Path | str) -> None:
        new = link.with_suffix(".new")
        new.symlink_to(target)
        new.replace(link)

    lead(other.name)
    return lambda: lead(before)


DEEDS = (written, mapped, cut, grown, replaced, moved, rewritten)


# --- lanes ------------------------------------------------------------------------------------------


@dataclass
class Lane:
    """A step that stops where the test may do something, and what is done to it in this round."""

    number: int
    path: Path
    out: Path
    attempt: int = 0
    place: int = 0
    plan: dict[tuple[int, int], list[Callable[[], object]]] = field(default_factory=dict)
    """What to do at a place of an attempt."""
    disturbed: int = 0
    """Attempts whose input does not stay as it is."""

    def stopped(self) -> None:
        for deed in self.plan.get((self.attempt, self.place), ()):
            deed()
        self.place += 1
        if self.place == PLACES:
            self.attempt, self.place = self.attempt + 1, 0

    def begin(self, words: bytes, disturbed: int) -> None:
        self.path.write_bytes(words)
        self.attempt = self.place = 0
        self.plan, self.disturbed = {}, disturbed

    def plan_deed(self, attempt: int, deed: Callable[[], Undo], first: int, last: int | None) -> None:
        """Do something at one place; undo it at another one, and let the file look as old as it was."""

        def do() -> None:
            before = self.path.lstat()
            undo = deed()

            def back() -> None:
                undo()
                times = (before.st_atime_ns, before.st_mtime_ns)
                os.utime(self.path, ns=times, follow_symlinks=False)

            if last is not None:
                self.plan.setdefault((attempt, last), []).append(back)

        self.plan.setdefault((attempt, first), []).append(do)


class Lanes:
    """Steps that run at once, each of which stops where the test may do something."""

    def __init__(self, notebook: Notebook, session: Session, lanes: int = LANES) -> None:
        self.folder = folder = notebook.folder
        (folder / "in").mkdir()
        self.session = session
        self._ready = self._pipe(folder / "ready")
        self._go = [self._pipe(folder / f"go{lane}") for lane in range(lanes)]
        self.lanes = [Lane(lane, folder / f"in/{lane}", folder / f"out{lane}") for lane in range(lanes)]
        session.set_workers(lanes)

    @staticmethod
    def _pipe(path: Path) -> int:
        os.mkfifo(path)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def declare(self, command: str = COMMAND, *, is_amending: bool = False) -> None:
        for lane in self.lanes:
            path = lane.path.relative_to(self.folder).as_posix()
            words = command.format(lane=lane.number, path=path, half=HALF, next=HALF + 1)
            inp = () if is_amending else path
            self.session.declare("runsh", words, inp=inp, out=lane.out.name, name=f"{lane.number}")

    def play(self) -> None:
        """Let all steps run until a wait for them ends."""
        waiting = self.session.begin_wait()
        poll = select.poll()
        poll.register(self._ready, select.POLLIN)
        said = b""
        while not waiting.done():
            if poll.poll(20):
                said += os.read(self._ready, 4096)
                *numbers, said = said.split(b"\n")
                for number in map(int, numbers):
                    self.lanes[number].stopped()
                    os.write(self._go[number], b"go\n")
        check(waiting.result())

    def last_job(self) -> int:
        """Return the number of the last job; the history drops old ones."""
        return max((int(row["job"]) for row in self.session.history()), default=0)

    def outcomes(self, since: int) -> list[list[str]]:
        """Return how the jobs of each lane ended, of those after that number."""
        found: list[list[str]] = [[] for _ in self.lanes]
        for row in self.session.history():
            if row["job"] > since:
                found[int(row["step"])].append(row["outcome"])
        return found

    def close(self) -> None:
        for fd in (self._ready, *self._go):
            os.close(fd)


@pytest.fixture
def lanes(notebook):
    found = Lanes(notebook, notebook.begin())
    yield found
    found.close()


def play(
    lanes: Lanes, random: Random, deeds: Sequence[Callable[[Path, Random], Undo]], number: int, **how: Any
) -> None:
    """Play rounds, in each of which an input changes during one or two jobs of its step."""
    played = 0
    while played < number:
        for lane in lanes.lanes:
            lane.begin(text(random), disturbed=random.choice((1, 1, 2)))
            for attempt in range(lane.disturbed):
                first = random.randrange(PLACES)
                # In half of the rounds all of it is undone, before the step ends.
                last = random.randrange(first, PLACES) if (played + lane.number) % 2 else None
                deed = random.choice(deeds)
                lane.plan_deed(attempt, lambda path=lane.path, deed=deed: deed(path, random), first, last)  # type: ignore[misc]
        before = lanes.last_job()
        lanes.declare(**how)
        lanes.play()
        outcomes = lanes.outcomes(before)
        for lane in lanes.lanes:
            # What a step has made of two inputs, or of one that is none any more, is nobody's result.
            assert lane.out.read_bytes() == lane.path.read_bytes()
            assert outcomes[lane.number] == ["cancelled"] * lane.disturbed + ["succeeded"]
        played += len(lanes.lanes)


@with_processes
def test_no_result_is_recorded_of_an_input_that_changed_while_it_was_read(lanes):
    play(lanes, Random(17), DEEDS, rounds(60, 400))


@with_processes
def test_no_result_is_recorded_of_a_link_that_led_elsewhere_while_it_was_read(lanes):
    # A data set called "current" was switched to another one and back: no file had changed.
    for lane in lanes.lanes:
        if lane.number % 2:
            lane.path.symlink_to(f"{lane.number}.first")
        else:
            (lanes.folder / f"in/{lane.number}.first").mkdir()
            lane.path.symlink_to(f"{lane.number}.first")
            lane.path = lane.path / "x"
    play(lanes, Random(18), (led_elsewhere,), rounds(20, 100))


@with_processes
def test_no_result_is_recorded_of_an_amended_input_that_changed_while_it_was_read(lanes):
    lanes.lanes = lanes.lanes[:4]
    play(lanes, Random(19), DEEDS, rounds(8, 100), command=AMENDING, is_amending=True)


@with_processes
def test_whatever_is_written_at_any_moment_what_is_recorded_was_made_of_what_is_recorded(notebook):
    """Nobody waits for anybody here: the copy of an input must be of the input that its record names."""
    random = Random(20)
    inputs = [notebook.write(f"in{number}", "0") for number in range(4)]
    session = notebook.begin(workers=4)
    for number in range(rounds(60, 600)):
        session.declare(
            "runsh", f"cat in{number % 4} > out{number}", inp=f"in{number % 4}", out=f"out{number}"
        )
    waiting = session.begin_wait()
    while not waiting.done():
        path = random.choice(inputs)
        deed = random.choice(DEEDS)(path, random)
        select.poll().poll(random.choice((0, 0, 1, 5)))
        if random.random() < 0.5:
            deed()
    report = session.wait()
    assert not report["stuck"]
    session.close()
    steps = Store.open(notebook.place.database, read_only=True).load().restored.steps
    records = [step.record for step in steps if step.record is not None]
    assert records
    for record in records:
        ((_, inp),) = record.manifest.inputs
        ((_, out),) = record.outputs
        assert inp[0] == out[0]


@with_processes
def test_whoever_only_looks_at_the_inputs_raises_no_alarm(lanes):
    random = Random(19)

    def harmless(path: Path) -> None:
        """What backups, editors and listings do all the time."""
        path.read_bytes()
        path.open("r+b").close()
        os.access(path, os.W_OK)
        list(path.parent.iterdir())
        beside = path.with_suffix(".beside")
        beside.write_bytes(text(random))
        beside.chmod(0o600)
        beside.unlink()

    played = 0
    while played < rounds(30, 200):
        for lane in lanes.lanes:
            lane.begin(text(random), disturbed=0)
            for place in range(PLACES):
                lane.plan[0, place] = [lambda path=lane.path: harmless(path)]  # type: ignore[misc]
        before = lanes.last_job()
        lanes.declare()
        lanes.play()
        assert lanes.outcomes(before) == [["succeeded"]] * len(lanes.lanes)
        assert all(lane.out.read_bytes() == lane.path.read_bytes() for lane in lanes.lanes)
        played += len(lanes.lanes)
