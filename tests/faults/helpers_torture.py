"""A project that is easy to spoil, and a kernel on it that is killed at random with all that it runs."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

from director.helpers_processes import until
from director.helpers_world import LAUNCHES, KernelProcess, Notebook, parent_of

from stepup_nb.core.model import SUCCEEDED
from stepup_nb.director import hashing, owner
from stepup_nb.director.store import Store

LAYERS = 4
WIDTH = 6
LINES = 12

# Opens its output anew for every line: whoever outlives his director spoils what the next one makes. The lock is
# held by everything that the step starts, and released by the last of it.
STEP = r"""#!/bin/bash
out=$1; shift
exec 9> "$out.lock"
flock -n 9 || echo "two trees of $out" >> violations
word=$$.$RANDOM$RANDOM
: > "$out"
case $out in
  *0) setsid bash -c "for i in 1 2 3 4 5 6 7 8 9; do echo $word late >> $out; sleep 0.02; done; sleep 9" & ;;
  *1) (trap '' TERM; sleep 9) & ;;
esac
for i in {1..12}; do echo "$word $i" >> "$out"; sleep 0.00$((RANDOM % 10)); done
for file in "$@"; do echo "$word read $file $(md5sum < "$file")" >> "$out"; done
echo "$word end" >> "$out"
"""

KERNEL = f"""
    import time
    session.pool("p", 4)
    for layer in range({LAYERS}):
        for number in range({WIDTH}):
            inp = [f"l{{layer - 1}}n{{(number + k) % {WIDTH}}}" for k in range(2)] if layer else ["source"]
            out = f"l{{layer}}n{{number}}"
            session.declare(
                "runsh", f"bash step.sh {{out}} {{' '.join(inp)}}", name=out, inp=inp, out=out, pool="p"
            )
    print("declared", flush=True)
    told = set()
    while True:
        for row in session.history():
            if row["outcome"] == "succeeded" and row["job"] not in told:
                told.add(row["job"])
                print("told", row["job"], row["step"], flush=True)
        if session.status()["counts"] == {{"SUCCEEDED": {LAYERS * WIDTH}}}:
            print("done", flush=True)
            sys.stdin.readline()
            session.close()
            break
        time.sleep(0.005)
"""


class Victim:
    """A kernel with its director and guard, and what it said."""

    def __init__(self, notebook: Notebook) -> None:
        self._lock = owner.lock_path(notebook.place.database)
        self.process = KernelProcess(notebook, KERNEL)
        self.told: list[tuple[int, str]] = []
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while line := self.process.says():
            if line.startswith("told "):
                _, job, step = line.split(" ", 2)
                self.told.append((int(job), step))
            self.said.append(line)

    def has_said(self, word: str) -> bool:
        return word in self.said or self.process.process.poll() is not None

    def pids(self) -> dict[str, int]:
        """Return the numbers of those that live, by name."""
        found = {"kernel": self.process.pid}
        holder = owner.read_holder(self._lock)
        if holder is not None and owner.is_held(self._lock):
            try:
                found |= {"director": holder["director_pid"], "guard": parent_of(holder["director_pid"])}
            except OSError:
                pass
        return found

    def until_done(self) -> None:
        """Wait until everything has succeeded."""
        # All twenty-four steps, on a machine that may have much else to do.
        until(lambda: self.has_said("done"), patience=100.0)
        assert "done" in self.said, self.said

    def finish(self) -> None:
        """End the kernel in order."""
        self.process.go_on()
        assert self.process.process.wait() == 0
        self._reader.join()
        self.process.close()

    def end(self) -> None:
        """Kill the kernel, if it lives, and hear all that it had said."""
        self.process.kill()
        self._reader.join()
        self.process.close()


class Project:
    """Four layers of six steps, and the judgement on what they left."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.notebook = Notebook(folder, LAUNCHES["process"])
        (folder / "step.sh").write_text(STEP)
        (folder / "source").write_text("source\n")
        self.told: set[tuple[int, str]] = set()
        self.victim: Victim | None = None
        self.killed_at = 0.0
        self.has_guard = True
        """False from the moment that director and guard are killed together to the next start that is ready."""

    def start(self) -> Victim:
        self.victim = Victim(self.notebook)
        return self.victim

    def kill(self, random: Random) -> tuple[str, ...]:
        """Kill some of them at a random moment, and the kernel at last; return whom, in that order."""
        victim = self.victim
        assert victim is not None
        if random.random() < 0.9:
            until(lambda: victim.has_said("declared"))
        # The moment is what is tried here.
        time.sleep(random.uniform(0.0, 0.6))
        pids = victim.pids()
        self.has_guard = self.has_guard or "declared" in victim.said
        names = random.sample(sorted(pids), random.randint(1, len(pids)))
        for name in names:
            try:
                os.kill(pids[name], signal.SIGKILL)
            except ProcessLookupError:
                # One of the others ended it first.
                pass
        if {"director", "guard"} <= set(names):
            self.has_guard = False
        if "kernel" not in names:
            time.sleep(random.uniform(0.0, 0.3))
        self.killed_at = time.monotonic()
        victim.end()
        self.told.update(victim.told)
        lock = owner.lock_path(self.notebook.place.database)
        until(lambda: not owner.is_held(lock))
        return tuple(names)

    def orphans(self) -> list[int]:
        """Return the live processes that work in the project's folder, as only steps do."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/cwd") == str(self.folder):
                    words = Path(f"/proc/{entry}/stat").read_bytes()
                    is_alive = words.rpartition(b") ")[2][:1] not in (b"Z", b"X")
                    if is_alive and b"(stepup-" not in words:
                        found.append(int(entry))
            except OSError:
                pass
        return found

    def until_no_orphans(self) -> float:
        """Wait until no process of a step is alive; return the seconds since the last kill."""
        until(lambda: not self.orphans())
        return time.monotonic() - self.killed_at

    # --- judging --------------------------------------------------------------------------------

    def check_records(self) -> int:
        """Fail where the database calls a step done whose output is not what was recorded, or not whole."""
        if not os.path.exists(self.notebook.place.database):
            return 0
        store = Store.open(self.notebook.place.database, read_only=True)
        steps = store.load().restored.steps
        store.close()
        done = [step for step in steps if step.state is SUCCEEDED]
        for step in done:
            assert step.record is not None
            for path, content in step.record.outputs:
                look = hashing.look(str(self.folder / path))
                assert look is not None and look.content == content, f"{path} is not what was recorded"
                self._check_whole(path)
        return len(done)

    def _check_whole(self, path: str) -> None:
        lines = (self.folder / path).read_text().splitlines()
        words = {line.split()[0] for line in lines}
        assert len(words) == 1, f"{path} is mixed of {words}"
        told = [line.split(" ", 1)[1] for line in lines]
        assert "end" in told, f"{path} is a part"
        assert [word for word in told if word.isdigit()] == [str(i + 1) for i in range(LINES)]

    def check_all(self) -> None:
        """Fail where anything at all is not as it must be once everything is done."""
        assert self.check_records() == LAYERS * WIDTH
        for layer in range(LAYERS):
            for number in range(WIDTH):
                for line in (self.folder / f"l{layer}n{number}").read_text().splitlines():
                    if " read " in line:
                        _, _, path, digest = line.split()[:4]
                        now = hashlib.md5((self.folder / path).read_bytes()).hexdigest()
                        assert digest == now, f"l{layer}n{number} was made of another {path}"
        assert not (self.folder / "violations").exists(), (self.folder / "violations").read_text()
        assert not list(self.folder.glob("*.bad-*"))
        # No mode of ours: what the director wrote is to be sound for anybody.
        with sqlite3.connect(self.notebook.place.database) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()
        self._check_told()

    def _check_told(self) -> None:
        """Fail where a success that a client had been told of was lost, or made again."""
        store = Store.open(self.notebook.place.database, read_only=True)
        rows = store.history()
        store.close()
        done = {(row["job"], row["step"]) for row in rows if row["outcome"] == "succeeded"}
        assert self.told <= done, self.told - done
        lost = [step for step, number in Counter(step for _, step in done).items() if number > 1]
        assert not {step for _, step in self.told} & set(lost), "made again although its success was told"
