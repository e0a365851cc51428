"""Knows what is in the tables, and so what has to be written when something changed: only what differs.

The other way round it makes nouns of rows again. Decides nothing; a connection is lent to it only to read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest
from operator import attrgetter
from typing import Any

from stepup_nb.core.messages import Decision
from stepup_nb.core.model import FINISHED, File, FileHash, Job, Pool, Step, StepState
from stepup_nb.core.scheduler import Restored
from stepup_nb.director.results import (
    NEVER_ENDED,
    Declared,
    Disbelieved,
    Ended,
    Kept,
    Row,
    kept_of,
    spec_of,
    spec_words,
    words_of,
)
from stepup_nb.director.rows import (
    INSERT_JOB,
    JOB,
    UNREADABLE,
    Work,
    decode,
    encode,
    fits,
    from_blob,
    job_of,
    slots_words,
    texts_of,
    to_blob,
)

TAIL = 4096
"""Bytes of each stream that are kept of a job; the log file has all of it."""

Cells = Sequence[tuple[Any, ...]]
"""Rows as they are stored."""


class Tables:
    """The content of the tables, as far as it is needed to tell what differs from it.

    Parameters
    ----------
    key
        The secret that results are sealed with.
    run
        The name of this run, which its jobs bear.

    Attributes
    ----------
    database
        The name of the database; part of every seal.
    settings
        By name, each as JSON.
    names
        The number that stands for a step's key, by key.
    unwritten
        Those of them that are not in the table of names yet: they are written with the next transaction.
    unfinished
        Jobs without an outcome, by number.
    ran
        Jobs since `forget_ran`, and their steps' numbers.
    """

    def __init__(self, key: bytes, run: str) -> None:
        self.database = ""
        self.settings: dict[str, str] = {}
        self.names: dict[str, int] = {}
        self.unwritten: dict[str, int] = {}
        self.unfinished: dict[int, Job] = {}
        self.ran: dict[int, int] = {}
        self._key = key
        self._run = run
        self._next_name = 1
        self._rows: dict[str, Row] = {}
        self._files: dict[str, tuple[int, FileHash]] = {}
        self._next_file = 1
        self._pools: dict[str, tuple[Any, ...]] = {}

    # --- writing -----------------------------------------------------------------------------------

    def changes(
        self,
        decision: Decision,
        tails: Callable[[int], tuple[bytes, bytes]],
        forgotten: Collection[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Work:
        """Return what writes all that a decision changed; the arguments are those of `Store.save`."""
        work = Work()
        for key, step in decision.steps.items():
            if key in forgotten:
                self._forget(work, key)
            else:
                self._write_step(work, key, step)
        for file in decision.files.values():
            self._write_file(work, file)
        for pool in decision.pools.values():
            self._write_pool(work, pool)
        for job in decision.jobs.values():
            self._write_job(work, job, tails)
        for number in decision.dropped_jobs & self.unfinished.keys():
            # Its start was taken back, after it had been written down: there was no job.
            work.add("DELETE FROM job WHERE id = ?", (number,))
            work.know(self.unfinished, number, None)
            work.know(self.ran, number, None)
        if settings is not None:
            self.write_settings(work, settings)
        return work

    def write_settings(self, work: Work, settings: Mapping[str, Any]) -> None:
        """Have settings written, as far as they differ."""
        for name, value in settings.items():
            words = encode(value)
            if self.settings.get(name) != words:
                self.put_setting(work, name, words)

    def put_setting(self, work: Work, name: str, words: str) -> None:
        """Have one setting written, given as JSON."""
        work.add("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", (name, words))
        work.know(self.settings, name, words)

    def _write_step(self, work: Work, key: str, step: Step) -> None:
        old = self._rows.get(key) or Row(self._name(key), step.spec, "")
        spec, scope, state = step.spec, step.scope, step.state
        kept: Kept | Disbelieved | None = None
        if step.record is not None or step.made:
            kept = Kept(step.record, step.products, tuple(sorted(step.made.items())) if step.made else ())
            if isinstance(old.kept, Kept) and kept.is_same(old.kept):
                kept = old.kept
        ended: Ended
        declared: Declared
        if scope is not None:
            declared = (step.seq, step.number, step.is_retired, scope.id, scope.kind.value, scope.title)
        else:
            declared = (step.seq, step.number, step.is_retired, *old.declared[3:5], step.cell)
        is_disbelieved = isinstance(old.kept, Disbelieved)
        if state in FINISHED:
            last = step.last
            ended = (state.value, step.reason, None if last is None else last.id)
        elif kept is old.kept or (
            # That it runs, its job says; only of somebody else's result nothing may be left by then.
            not is_disbelieved
            if state is StepState.RUNNING
            # Until then the user may yet say that it is to be trusted.
            else is_disbelieved
        ):
            # That it waits is not worth a write: what was on its way begins anew after a restart.
            ended, kept = old.ended, old.kept
        else:
            ended = (StepState.PENDING.value, "", old.ended[2])
        text = old.text
        if not text or (old.spec is not spec and (old.spec != spec or step.unamended is not None)):
            text = spec_words(step)
        row = Row(old.id, spec, text, declared, ended, kept)
        if text is not old.text or declared != old.declared:
            is_due = text is not old.text or _is_grave(old.declared, declared)
            self._put_step(work, row, is_due=is_due)
        if kept is not old.kept or (text is not old.text and isinstance(kept, Kept)):
            self._put_result(work, key, row)
        elif ended != old.ended:
            work.add(
                "INSERT INTO result (step, state, reason, last_job) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (step) DO UPDATE"
                " SET state = excluded.state, reason = excluded.reason, last_job = excluded.last_job",
                (row.id, ended[0], to_blob(ended[1]), ended[2]),
            )
        work.know(self._rows, key, row)

    def _put_step(self, work: Work, row: Row, *, is_due: bool = True) -> None:
        seq, number, is_retired, scope, kind, cell = row.declared
        work.add(
            "INSERT OR REPLACE INTO step (id, seq, number, is_retired, scope_id, scope_kind, cell, spec)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.id,
                seq,
                number,
                int(is_retired),
                None if scope is None else to_blob(scope),
                kind,
                to_blob(cell),
                row.text,
            ),
            is_due=is_due,
        )

    def _put_result(self, work: Work, key: str, row: Row) -> None:
        state, reason, last = row.ended
        words = seal = None
        if isinstance(row.kept, Kept):
            words = words_of(row.kept)
            seal = self.seal(key, row.text, words)
        work.add(
            "INSERT OR REPLACE INTO result (step, state, reason, last_job, record, seal)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (row.id, state, to_blob(reason), last, words, seal),
        )

    def _forget(self, work: Work, key: str) -> None:
        row = self._rows.get(key)
        if row is not None:
            work.add("DELETE FROM step WHERE id = ?", (row.id,))
            work.add("DELETE FROM result WHERE step = ?", (row.id,))
            # What it printed is forgotten with it; that it ran stays in the history.
            work.add("DELETE FROM tail WHERE job IN (SELECT id FROM job WHERE step = ?)", (row.id,))
            work.know(self._rows, key, None)

    def _write_file(self, work: Work, file: File) -> None:
        look = file.look
        if not isinstance(look, FileHash) or not fits(look):
            look = None
        known = self._files.get(file.path)
        if look is None:
            if known is not None:
                work.add("DELETE FROM file WHERE id = ?", (known[0],))
                work.know(self._files, file.path, None)
        elif known is None:
            self._put_file(work, file.path, self._next_file, look)
            self._next_file += 1
        elif look != known[1]:
            self._put_file(work, file.path, known[0], look)

    def _put_file(self, work: Work, path: str, number: int, look: FileHash) -> None:
        digest, size, mode, inode, mtime, ctime, looked = look
        work.add(
            "INSERT OR REPLACE INTO file"
            " (id, path, digest, size, mode, inode, mtime_ns, ctime_ns, looked_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, to_blob(path), digest, size, mode, str(inode), mtime, ctime, looked),
        )
        work.know(self._files, path, (number, look))

    def _write_pool(self, work: Work, pool: Pool) -> None:
        row = (pool.size, pool.tokens, pool.scope, pool.is_per_machine) if pool.is_defined else None
        if row == self._pools.get(pool.name):
            return
        if row is None:
            work.add("DELETE FROM pool WHERE name = ?", (pool.name,))
            work.know(self._pools, pool.name, None)
        else:
            self._put_pool(work, pool.name, row)

    def _put_pool(self, work: Work, name: str, row: tuple[Any, ...]) -> None:
        size, tokens, scope, is_per_machine = row
        work.add(
            "INSERT OR REPLACE INTO pool (name, size, tokens, scope, is_per_machine) VALUES (?, ?, ?, ?, ?)",
            (name, size, encode(tokens), to_blob(scope), is_per_machine),
        )
        work.know(self._pools, name, row)

    def _write_job(self, work: Work, job: Job, tails: Callable[[int], tuple[bytes, bytes]]) -> None:
        is_known = job.id in self.unfinished
        outcome = None if job.outcome is None else job.outcome.value
        news = (
            job.started,
            job.ended,
            outcome,
            job.returncode,
            to_blob(job.why),
            job.peak_rss,
            job.cpu,
            encode(job.leftovers) if job.leftovers else "[]",
            encode(job.notes) if job.notes else "[]",
            job.machine,
        )
        if is_known:
            work.add(
                "UPDATE job SET started = ?, ended = ?, outcome = ?, returncode = ?, why = ?, peak_rss = ?,"
                " cpu = ?, leftovers = ?, notes = ?, machine = ? WHERE id = ?",
                (*news, job.id),
            )
        else:
            number = self._name(job.step)
            work.add(
                INSERT_JOB,
                (
                    job.id,
                    number,
                    self._run,
                    slots_words(tuple(job.pool.items())),
                    slots_words(tuple(job.slots.items())),
                    job.worker,
                    job.queued,
                    *news,
                ),
            )
            work.know(self.ran, job.id, number)
        work.know(self.unfinished, job.id, None if outcome else job)
        if outcome is not None:
            stdout, stderr = tails(job.id)
            if stdout or stderr:
                work.add(
                    "INSERT OR REPLACE INTO tail (job, stdout, stderr) VALUES (?, ?, ?)",
                    (job.id, stdout[-TAIL:], stderr[-TAIL:]),
                )

    def _name(self, key: str) -> int:
        """Return the number that stands for a step's key in the tables."""
        number = self.names.get(key)
        if number is None:
            number = self.names[key] = self.unwritten[key] = self._next_name
            self._next_name += 1
        return number

    def seal(self, key: str, spec: str, record: str) -> bytes:
        """Return the keyed hash that only this user can make of what a step is and of what it made."""
        words = f"{self.database} {len(key)} {len(spec)} {key}{spec}{record}"
        return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()

    def everything(self, jobs: Cells, tails: Cells) -> Work:
        """Return what writes all that is known, and this history, into empty tables."""
        work = Work()
        self.unwritten = dict(self.names)
        for name, words in self.settings.items():
            self.put_setting(work, name, words)
        for key, row in self._rows.items():
            self._put_step(work, row)
            if row.ended != NEVER_ENDED or row.kept is not None:
                self._put_result(work, key, row)
        for path, (number, look) in self._files.items():
            self._put_file(work, path, number, look)
        for name, pool in self._pools.items():
            self._put_pool(work, name, pool)
        for cells in jobs:
            work.add(INSERT_JOB, cells)
        for cells in tails:
            work.add("INSERT OR REPLACE INTO tail (job, stdout, stderr) VALUES (?, ?, ?)", cells)
        # Whatever became of the history: that these run is why their steps have no result.
        running, self.unfinished = self.unfinished, {}
        for job in running.values():
            self._write_job(work, job, lambda job: (b"", b""))
        return work

    # --- reading -----------------------------------------------------------------------------------

    def load(self, db: sqlite3.Connection) -> Restored:
        """Return what the tables hold, as fresh nouns: no step is live, no file was seen."""
        restored = Restored()
        keys = {number: from_blob(blob) for number, blob in db.execute("SELECT id, key FROM name")}
        self.names = {key: number for number, key in keys.items()}
        self._next_name = max(keys, default=0) + 1
        if len(self.names) < len(keys):
            raise ValueError("two rows for one key")
        lasts = {
            row[0]: job_of(row, keys[row[1]])
            for row in db.execute(f"SELECT {JOB} FROM job WHERE id IN (SELECT last_job FROM result)")
        }
        self._rows = {}
        for row in db.execute(
            "SELECT id, seq, number, is_retired, scope_id, scope_kind, cell, spec, state, reason, last_job,"
            " record, seal FROM step LEFT JOIN result ON result.step = step.id"
        ):
            step = self._step(keys[row[0]], row, lasts)
            _, _, _, scope, kind, _ = self._rows[step.key].declared
            if kind in ("cell", "step") and scope is not None:
                restored.scopes[step.key] = scope
            restored.steps.append(step)
        restored.steps.sort(key=attrgetter("seq"))
        self._files = {}
        for number, blob, digest, size, mode, inode, mtime, ctime, looked in db.execute(
            "SELECT id, path, digest, size, mode, inode, mtime_ns, ctime_ns, looked_ns FROM file ORDER BY id"
        ):
            look = FileHash(digest, size, mode, int(inode), mtime, ctime, looked)
            path = from_blob(blob)
            self._files[path] = (number, look)
            self._next_file = number + 1
            restored.files.append(File(path, look=look))
        self._pools = {}
        for name, limit, tokens, scope, is_per_machine in db.execute(
            "SELECT name, size, tokens, scope, is_per_machine FROM pool"
        ):
            pool = Pool(name, limit, True, texts_of(tokens), bool(is_per_machine), scope=from_blob(scope))
            self._pools[name] = (pool.size, pool.tokens, pool.scope, pool.is_per_machine)
            restored.pools.append(pool)
        workers = decode(self.settings.get("workers", "null"))
        restored.workers = workers if isinstance(workers, int) and workers > 0 else None
        restored.next_job = (db.execute("SELECT max(id) FROM job").fetchone()[0] or 0) + 1
        if max(self._next_name, self._next_file, restored.next_job) > 2**62:
            raise ValueError("no room for more rows")
        return restored

    def _step(self, key: str, row: tuple[Any, ...], lasts: dict[int, Job]) -> Step:
        number, seq, occurrence, is_retired, scope, kind, cell, text, state, reason, last, words, seal = row
        spec, unamended = spec_of(text)
        kept: Kept | Disbelieved | None = None
        if words is not None:
            is_ours = compare_digest(self.seal(key, text, words), seal)
            kept = kept_of(words) if is_ours else Disbelieved()
        ended: Ended = NEVER_ENDED if state is None else (state, from_blob(reason), last)
        declared: Declared = (
            seq,
            occurrence,
            is_retired == 1,
            None if scope is None else from_blob(scope),
            kind,
            from_blob(cell),
        )
        self._rows[key] = Row(number, spec, text, declared, ended, kept)
        step = Step(
            key, spec, seq, occurrence, cell=declared[5], is_retired=declared[2], last=lasts.get(last)
        )
        step.unamended = unamended
        if isinstance(kept, Disbelieved):
            # What a stranger's job amended is as little believed as what it made.
            step.spec, step.unamended = step.declared, None
            return step
        step.state, step.reason = StepState(ended[0]), ended[1]
        if kept is not None:
            kept.give(step)
        if step.state is StepState.SUCCEEDED and step.record is None:
            step.state = StepState.PENDING
        return step

    # --- trust -------------------------------------------------------------------------------------

    def strangers(self) -> tuple[str, ...]:
        """Return the keys of steps whose results somebody else recorded."""
        return tuple(key for key, row in self._rows.items() if isinstance(row.kept, Disbelieved))

    def believe(self, records: Callable[[int], Cells]) -> tuple[dict[str, Kept], Work]:
        """Return the results that somebody else recorded, by key, and what writes them as this user's own.

        Parameters
        ----------
        records
            Returns what is stored of a step's result, by the step's number.
        """
        work = Work()
        believed = {}
        for key in self.strangers():
            row = self._rows[key]
            for (words,) in records(row.id):
                try:
                    kept = kept_of(words)
                except UNREADABLE:
                    continue
                believed[key] = kept
                work.add(
                    "UPDATE result SET seal = ? WHERE step = ?", (self.seal(key, row.text, words), row.id)
                )
                work.know(self._rows, key, row._replace(kept=kept))
        return believed, work


def _is_grave(old: Declared, new: Declared) -> bool:
    """Tell whether it must not be lost by whom, and in which place, a step was declared.

    What can be lost is the order, the title of a cell (the number of its execution is in it), and scopes that nobody
    finds again: whoever runs a cell another time shall not pay for each of its steps that is done.
    """
    return old[1:3] != new[1:3] or (old[3] != new[3] and not {old[4], new[4]} <= {"run", "session"})
