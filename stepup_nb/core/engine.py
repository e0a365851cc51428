"""How a step gets to its result: checked, queued, started, verified, put back.

What clients ask for is in `declaring` and `scheduler`; what steps wait for, and how they move, in `moving`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from stepup_nb.core import uptodate
from stepup_nb.core.amending import Amending
from stepup_nb.core.looking import DEFERS, PUT_BACKS, is_same, searches
from stepup_nb.core.messages import (
    FilesLooked,
    JobBegan,
    JobEnded,
    JobLost,
    JobNotStarted,
    LogLine,
    StartJob,
)
from stepup_nb.core.model import (
    CANCELLED,
    CHECKING,
    FAILED,
    PENDING,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    TICK_NS,
    Content,
    FileHash,
    FileProblem,
    FileState,
    Glob,
    Job,
    Look,
    Outcome,
    Scope,
    Step,
    Stop,
)
from stepup_nb.core.moving import STARTUP, WATCH, Looking
from stepup_nb.core.words import ending

LOSSES = 3
"""So often a machine that goes away puts a step back that runs there; the next time it fails."""


def coarse(seconds: float) -> float:
    """Return a power of two near a measured duration.

    Recorded durations only order what may start; on a fine scale noise would reorder equal steps from run to run.
    """
    return float(2.0 ** max(-4, round(math.log2(max(seconds, 1e-6)))))


class Engine(Amending):
    """Drives steps through their jobs."""

    # --- reviewing and checking ------------------------------------------------------------------

    def _settle(self) -> None:
        while True:
            while self._review:
                self._review_step(self._review.popleft())
            if self.pools.is_contended():
                for step in self.critical.work_out():
                    if step.state is QUEUED:
                        self.pools.rerank(step)
            best = self.pools.next_start()
            if best is None:
                break
            self._start(best)
        if self.narrator is not None:
            self._out.said += self.narrator.tell()

    def _review_step(self, step: Step) -> None:
        """Move a step on if its conditions changed."""
        if not step.is_live or self.graph.steps.get(step.key) is not step:
            return
        if step.state is PENDING:
            obstacle = self._obstacle(step)
            if obstacle and step.unamended is not None and self._waits_for_itself(step):
                self._out.lines.append(LogLine("DROPAMEND", step.key))
                self._drop_amended(step)
                self._touch(step)
                obstacle = self._obstacle(step)
            if obstacle:
                if obstacle != step.reason:
                    self._touch(step, obstacle)
                    if self.narrator is not None:
                        self.narrator.waits(step, obstacle)
            else:
                self._check(step)
        elif step.state is QUEUED:
            obstacle = self._obstacle(step)
            if obstacle:
                self._move(step, PENDING, obstacle)

    def _waits_for_itself(self, step: Step) -> bool:
        """Tell whether a plan amended what a step of its own makes, and that one waits for the plan.

        The plan may succeed without it: it amends anew what it needs (StepUp 3.0). One that was put back only
        now is not tried again: it would go round for ever.
        """
        if step.record is None or step.job is not None or self.phase in (STARTUP, WATCH):
            return False
        files = (self.graph.files[path] for path in set(step.spec.inp).difference(step.declared.inp))
        makers = [file.producer for file in files if self._missing(file, step)]
        return any(
            maker is not None
            and not (maker.is_live and maker.state is not PENDING)
            and self._made(step, maker)
            for maker in makers
        )

    def _made(self, creator: Step, step: Step | None) -> bool:
        """Tell whether a step declared another one, directly or through others."""
        while step is not None and step.creator.startswith("step:"):
            key = step.creator.removeprefix("step:")
            if key == creator.key:
                return True
            step = self.graph.steps.get(key)
        return False

    def _check(self, step: Step) -> None:
        spec = step.spec
        self._move(step, CHECKING, "its files are being looked at")
        is_to_run = step.force or step.record is None
        paths = spec.inp if is_to_run else (*spec.inp, *spec.out)
        globs = () if is_to_run or step.products is None else searches(step.products.globs)
        if globs or not self._are_fresh(paths):
            step.token = self._look(paths, Looking("check", step), globs)
        else:
            # Among them those whose only input was made just now, and looked at to know that it was.
            self._checked(step, {})

    def _files_looked(self, report: FilesLooked) -> None:
        looking = self._looking.pop(report.token, None)
        if looking is None:
            return
        step, job = looking.step, looking.job
        self._plain_looks -= step is None and looking.purpose != "watch"
        if looking.purpose == "made" and step is not None and job is not None:
            self._leave(step, job, report.looks)
            return
        is_verifying = step is not None and job is not None and looking.purpose == "verify"
        before = {path: self._known(path) for path in report.looks} if is_verifying else {}
        if step is not None and job is not None and is_verifying and step.token == report.token:
            # Before their makers are told: what a step does to its own inputs is its own fault.
            self._judge_inputs(step, job, report)
        again = []
        for path, look in report.looks.items():
            file = self.graph.files.get(path)
            if file is None:
                continue
            if report.token < file.token and not is_same(look, file.look):
                # A look that began later has told otherwise. Which of the two is the older truth?
                again.append(path)
                continue
            file.token = max(report.token, file.token)
            file.told = self._turn
            self._see(file, look)
        if again:
            self._look(again, Looking("look"))
        if looking.purpose == "amend" and step is not None and job is not None:
            self._amended(step, job, report, looking)
            return
        if step is None:
            self._looked(report, looking)
            return
        if step.token != report.token:
            return
        step.token = 0
        if looking.purpose == "check":
            self._checked(step, report.found)
        elif looking.purpose == "confirm" and job is not None:
            self._confirmed(step, job)
        elif job is not None:
            self._verified(step, job, report, before)

    def _checked(self, step: Step, found: Mapping[Glob, tuple[tuple[str, ...], ...]]) -> None:
        """All its files were looked at: is it up to date?"""
        spec = step.spec
        if obstacle := self._obstacle(step):
            self._move(step, PENDING, obstacle)
            return
        inputs = {path: content for path, content in self._contents(spec.inp).items() if content is not None}
        if len(inputs) < len(spec.inp):
            # A supplier's output went away between its success and this look: the look has told the supplier.
            self._move(step, PENDING, "an input is missing")
            self._review.append(step)
            return
        now = uptodate.manifest(spec, inputs, step.env_hashes)
        outputs = self._contents(spec.out)
        if step.force:
            why = [uptodate.ASKED]
        else:
            is_equal = step.record is not None and uptodate.is_up_to_date(step.record, now, outputs)
            why = [] if is_equal else uptodate.reasons(step.record, now, outputs)
            why = why or self._outdated_products(step, found)
            if not why:
                self._skip(step)
                return
        if step.record is not None:
            self._out.lines.append(
                LogLine("NOSKIP", step.key, pages=(("Changes causing rerun", "\n".join(why)),))
            )
        step.why = tuple(why)
        step.is_outdated = True
        if words := self._pool_obstacle(step):
            self._move(step, PENDING, words)
        else:
            self._move(step, QUEUED, "; ".join(why[:3]))

    def _outdated_products(self, step: Step, found: Mapping[Glob, tuple[tuple[str, ...], ...]]) -> list[str]:
        """Say why what a step declared cannot be what it was, or return nothing."""
        if step.products is None:
            return []
        for glob in searches(step.products.globs):
            if glob in found and (words := self._other_matches(glob, found[glob])):
                return [words]
        if step.round is None:
            return self._unrestorable(step)
        words = self._conflicting_products(step, step.round)
        return [words] if words else []

    # --- what a step declares is the matter of `Declaring` ---------------------------------------

    def _unrestorable(self, step: Step) -> list[str]:
        raise NotImplementedError

    def _conflicting_products(self, step: Step, scope: Scope) -> str:
        raise NotImplementedError

    def _restore_products(self, step: Step) -> None:
        raise NotImplementedError

    def _begin_round(self, step: Step) -> None:
        raise NotImplementedError

    # --- starting --------------------------------------------------------------------------------

    def _skip(self, step: Step) -> None:
        step.skipped = True
        step.why = ()
        self._succeed(step, "up to date")
        if not step.is_restored:
            self._out.lines.append(LogLine("SKIP", step.key))
        if step.products is not None and step.round is None:
            self._restore_products(step)

    def _succeed(self, step: Step, reason: str) -> None:
        step.force = False
        step.is_outdated = False
        step.attempts = 0
        step.putbacks = step.defers = step.losses = 0
        self._move(step, SUCCEEDED, reason)
        for path in step.spec.out:
            file = self.graph.files[path]
            self._set_file(file, FileState.BUILT)
            self._review_readers(file)
        self._review.extend(follower for follower in step.followers.values() if follower.state is PENDING)

    def _start(self, step: Step) -> None:
        spec = step.spec
        job = Job(self._next_job, step.key, queued=step.queued_at, started=self._now)
        self._next_job += 1
        job.why = "; ".join(step.why[:3])
        job.reads, job.writes = spec.inp, (*spec.out, *spec.vol)
        is_reserved = self.pools.is_reserved(step)
        overtaken = self.pools.take(step, job)
        self._move(step, RUNNING, job.why)
        step.job = job
        step.skipped = False
        self.jobs[job.id] = job
        self._out.jobs[job.id] = job
        if self.narrator is not None:
            self.narrator.started(step, job, overtaken, is_reserved=is_reserved)
        if not self._are_fresh(spec.inp):
            # It stood in line for a while: are the inputs still those of the check?
            step.token = self._look(spec.inp, Looking("confirm", step, job))
        else:
            self._launch(step, job)

    def _confirmed(self, step: Step, job: Job) -> None:
        missing = [path for path in job.reads if self._known(path) is None]
        if missing:
            self._pend(step, f"input '{missing[0]}' is missing")
        else:
            self._launch(step, job)

    def _launch(self, step: Step, job: Job) -> None:
        self._drop_amended(step)
        spec = step.spec
        job.started = self._now
        job.began_ns = int(self._now * 1e9) if self._wall_ns is None else self._wall_ns
        job.is_launched = True
        job.reads, job.writes = spec.inp, (*spec.out, *spec.vol, *step.fading)
        # From here on its outputs may be half-written: whatever becomes of the job, the old result is gone.
        if step.record is not None:
            step.made.update(step.record.made())
        step.record = None
        step.products = None
        self._touch(step)
        self._begin_round(step)
        job.inputs = {path: known for path in spec.inp if (known := self._known(path)) is not None}
        step.attempts += 1
        if spec.timeout is not None:
            job.timeout = spec.timeout
            self._at(self._now + spec.timeout, lambda: self._time_out(step, job))
        self._out.instructions.append(StartJob(job, spec, step.environment, tuple(self._slot_variables(job))))
        self._out.lines.append(LogLine("START", step.key, job.id))

    def _slot_variables(self, job: Job) -> Iterable[tuple[str, str]]:
        for name, numbers in job.slots.items():
            tokens = self.pools.pools[name].tokens
            words = [tokens[n] if n < len(tokens) else str(n) for n in numbers]
            yield slot_variable(name), ",".join(words)

    def _time_out(self, step: Step, job: Job) -> None:
        if job.id in self.jobs and job.ended is None and job.stop is None:
            self._stop(step, Stop.TIMEOUT)
            self._touch(step, f"its time-out of {job.timeout:g} s is over; it is being stopped")

    # --- ending ----------------------------------------------------------------------------------

    def _job_not_started(self, report: JobNotStarted) -> None:
        job = self.jobs.get(report.job)
        if job is None:
            return
        step = self.graph.steps.get(job.step)
        if report.is_transient and job.stop is None and step is not None and step.job is job:
            self._unstart(step, job)
            step.attempts -= 1
            self._end_round(step, is_ok=False)
            if report.is_full:
                self._delay_all(report.words)
            else:
                self._delay(step, 1.0)
            self._out.lines.append(LogLine("RESCHEDULE", step.key, pages=(("Not started", report.words),)))
            self._pend(step, f"{report.words}; tries again")
            return
        self._gone(job)
        job.ended = self._now
        job.notes = (report.words,)
        if job.stop is not None:
            self._stopped(step, job)
        else:
            self._end(step, job, Outcome.FAILED, report.words)

    def _job_began(self, report: JobBegan) -> None:
        """It was handed over at its start; this is when its process came to be, and where."""
        job = self.jobs.get(report.job)
        if job is not None and job.ended is None:
            job.started = max(report.started, job.started)
            job.machine = report.machine
            self._out.jobs[job.id] = job
            if (step := self.graph.steps.get(job.step)) is not None and step.job is job:
                self._touch(step)

    def _job_lost(self, report: JobLost) -> None:
        """A job is over, and nobody knows how it would have ended: its step runs again, elsewhere."""
        job = self.jobs.get(report.job)
        if job is None:
            return
        step = self.graph.steps.get(job.step)
        self._gone(job)
        job.ended = self._now
        if job.stop is not None:
            self._stopped(step, job)
            return
        job.notes = (*job.notes, report.words)
        if step is None or step.job is not job:
            self._end(step, job, Outcome.LOST, report.words)
            return
        step.losses += 1
        if step.losses > LOSSES:
            self._end(step, job, Outcome.LOST, f"{report.words}, {step.losses} times", is_final=True)
            return
        job.outcome = Outcome.LOST
        self._out.jobs[job.id] = job
        step.last, step.job = job, None
        step.attempts -= 1
        self._end_round(step, is_ok=False)
        self._keep_amended(step)
        self._look_at_made(step, job)
        self._out.lines.append(LogLine("RESCHEDULE", step.key, job.id, (("Lost", report.words),)))
        self._pend(step, f"{report.words}; runs again ({step.losses} of {LOSSES})")

    def _stopped(self, step: Step | None, job: Job) -> None:
        if job.stop is Stop.TIMEOUT:
            self._end(step, job, Outcome.TIMED_OUT, f"stopped after its time-out of {job.timeout:g} s")
        elif step is not None and step.job is job and step.state is FAILED:
            self._end(step, job, Outcome.FAILED, step.reason)
        else:
            self._end(step, job, Outcome.CANCELLED, "cancelled by the user")

    def _job_ended(self, report: JobEnded) -> None:
        job = self.jobs.get(report.job)
        if job is None:
            return
        self._refusals = 0
        job.ended = max(report.ended, job.started)
        job.returncode = report.returncode
        job.peak_rss, job.cpu = report.peak_rss, report.cpu
        job.leftovers, job.notes = report.leftovers, report.notes
        self._out.jobs[job.id] = job
        step = self.graph.steps.get(job.step)
        if job.lacking and job.stop is None and step is not None and step.job is job:
            # Whatever it made of that: StepUp's mark, which nothing takes back.
            self._defer(step, job)
            return
        if report.returncode == 0 and job.stop is None and (job.reads or job.writes):
            if step is not None and step.job is job:
                # It holds its slots until its result is known (StepUp 3.0): who looks at a pool of one never
                # sees two of its steps under way.
                step.token = self._look((*job.reads, *job.writes), Looking("verify", step, job))
                return
        self._gone(job)
        if job.stop is not None:
            self._stopped(step, job)
        elif report.returncode != 0:
            self._end(step, job, Outcome.FAILED, ending(report.returncode))
        elif step is None or step.job is not job:
            self._end(step, job, Outcome.CANCELLED, "no longer declared")
        else:
            self._record(step, job)
            self._end(step, job, Outcome.SUCCEEDED, job.why)

    def _defer(self, step: Step, job: Job) -> None:
        """A job ended that had amended inputs which were not there: its step runs again when they are."""
        step.token = 0
        step.defers += 1
        lacking = sorted(job.lacking)
        self._gone(job)
        words = f"amended input '{lacking[0]}' was not there"
        if step.defers > DEFERS:
            self._end(step, job, Outcome.FAILED, f"{words}, {step.defers} times", is_final=True)
            return
        job.outcome = Outcome.CANCELLED
        job.notes = (*job.notes, f"put back: {words}")
        self._out.jobs[job.id] = job
        step.last, step.job = job, None
        step.attempts -= 1
        self._end_round(step, is_ok=False)
        self._keep_amended(step)
        self._out.lines.append(
            LogLine(
                "RESCHEDULE",
                step.key,
                job.id,
                (("Rescheduling due to unavailable amended inputs", _lacking(lacking)),),
            )
        )
        self._look_at_made(step, job)
        self._pend(step, f"{words}: runs again when it is")

    def _judge_inputs(self, step: Step, job: Job, report: FilesLooked) -> None:
        """The command ended with 0: were its inputs left alone, even if they are the same again?"""
        own = {look.inode for path in step.spec.out if isinstance(look := report.looks.get(path), FileHash)}
        changed = [
            path
            for path in job.reads
            if not is_same(now := report.looks.get(path), before := job.inputs.get(path))
            and not _is_linked(now, before, own)
        ]
        if not changed:
            return
        step.token = 0
        step.putbacks += 1
        self._gone(job)
        words = f"input '{changed[0]}' changed while it ran"
        if step.putbacks > PUT_BACKS:
            page = ("Invalid inputs", "\n".join(f"Input changed unexpectedly: {path}" for path in changed))
            words = f"{words}, {step.putbacks} times"
            self._end(step, job, Outcome.FAILED, words, is_final=True, pages=(page,))
            return
        job.outcome = Outcome.CANCELLED
        job.notes = (*job.notes, f"{words}; result not recorded")
        self._out.jobs[job.id] = job
        step.last, step.job = job, None
        step.attempts -= 1
        self._end_round(step, is_ok=False)
        self._keep_amended(step)
        self._out.lines.append(LogLine("RESCHEDULE", step.key, job.id))
        self._pend(step, f"{words}; runs again ({step.putbacks} of {PUT_BACKS})")

    def _verified(
        self, step: Step, job: Job, report: FilesLooked, before: dict[str, FileHash | None]
    ) -> None:
        """The command ended with 0 and left its inputs alone: are all outputs there?"""
        self._gone(job)
        looks = report.looks
        outputs: list[tuple[str, Content]] = []
        foreign = []
        problems = []
        for path in step.spec.out:
            look = looks.get(path)
            if isinstance(look, FileHash):
                outputs.append((path, look.content))
                old = before.get(path)
                if old is not None and not path.endswith("/") and old.mark == look.mark:
                    job.notes = (*job.notes, f"output '{path}' was there before and was not written")
                elif _is_older(path, look, job):
                    job.notes = (
                        *job.notes,
                        f"output '{path}' is older than this run, which did not write it",
                    )
                if _is_older(path, look, job) and step.made.get(path) != look.content:
                    foreign.append(path)
                continue
            problems.append(
                f"'{path}' {look.words}" if isinstance(look, FileProblem) else f"did not create '{path}'"
            )
        if not problems and (words := self._twin(step, outputs, looks)):
            self._end(step, job, Outcome.FAILED, words, is_final=True)
            return
        if problems:
            missing = [path for path in step.spec.out if not isinstance(looks.get(path), FileHash)]
            page = ("Expected outputs not created", "\n".join(missing))
            self._end(step, job, Outcome.FAILED, f"ended with 0 but {problems[0]}", pages=(page,))
            return
        volatiles = tuple(
            (path, look.content)
            for path in step.spec.vol
            if isinstance(look := looks.get(path), FileHash)
            and (not _is_older(path, look, job) or step.made.get(path) == look.content)
        )
        self._record(step, job, tuple(outputs), volatiles, tuple(foreign))
        self._end(step, job, Outcome.SUCCEEDED, job.why)

    def _twin(self, step: Step, outputs: Iterable[tuple[str, Content]], looks: Mapping[str, Look]) -> str:
        """Say which output is another step's as well, by another name, or return an empty text.

        Names may differ by upper case or accents alone, on a file system that knows no such difference; or in
        which links they lead through. The other step is put back: perhaps what it made is this one's.
        """
        for path, _ in outputs:
            look = looks.get(path)
            if not isinstance(look, FileHash) or path.endswith("/"):
                continue
            other = self.graph.files.get(self._by_inode.get(look.inode, path))
            self._by_inode[look.inode] = path
            maker = None if other is None else other.producer
            if other is None or maker is None or maker is step or not maker.is_live:
                continue
            if isinstance(other.look, FileHash) and other.look.mark == look.mark:
                self._by_inode[look.inode] = other.path
                maker.force = True
                self._pend(maker, f"output '{other.path}' is the same file as '{path}'")
                return f"'{path}' is the same file as '{other.path}', which step '{maker.label}' makes"
        return ""

    def _record(
        self,
        step: Step,
        job: Job,
        outputs: tuple[tuple[str, Content], ...] = (),
        volatiles: tuple[tuple[str, Content], ...] = (),
        foreign: tuple[str, ...] = (),
    ) -> None:
        """Write down what a success was made of, and what it made."""
        inputs = {path: kept.content for path, kept in job.inputs.items()}
        manifest = uptodate.manifest(step.spec, inputs, step.env_hashes)
        ended = job.ended or self._now
        step.record = uptodate.make_record(manifest, outputs, job.id, ended, volatiles, foreign)
        for path, _ in (*outputs, *volatiles):
            step.made.pop(path, None)

    def _end(
        self,
        step: Step | None,
        job: Job,
        outcome: Outcome,
        words: str,
        *,
        is_final: bool = False,
        pages: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """A job is over: record it, and move its step if the job is still the current one."""
        job.outcome = outcome
        self._out.jobs[job.id] = job
        if step is None or step.job is not job:
            return
        step.job = None
        step.last = job
        self._touch(step)
        is_ok = outcome is Outcome.SUCCEEDED and step.state is RUNNING
        self._end_round(step, is_ok=is_ok)
        if is_ok:
            self._fade(step)
        else:
            self._keep_amended(step)
            if job.is_launched:
                self._look_at_made(step, job)
        if step.state is not RUNNING:
            # Put back, given up or retired while the job was being stopped.
            self._review.append(step)
            if outcome is Outcome.FAILED and step.state is FAILED:
                self._out.lines.append(LogLine("FAIL", step.key, job.id))
            return
        if outcome is Outcome.SUCCEEDED:
            if step.spec.duration is None and job.ended is not None:
                self._set_estimate(step, coarse(job.ended - job.started))
            self._succeed(step, words)
            self._out.lines.append(LogLine("SUCCESS", step.key, job.id))
            for path in step.spec.out:
                for reader in list(self.graph.files[path].consumers.values()):
                    if reader.state is FAILED:
                        self._revive(reader, self.graph.files[path], f"input '{path}' was made again")
            if step.is_strict and (lacking := self._missing_input(step)):
                # That was taken back while it ran.
                self._pend(step, lacking)
        elif outcome is Outcome.CANCELLED:
            self._move(step, CANCELLED, words)
            self._out.lines.append(LogLine("FAIL", step.key, job.id))
            self._let_down(step)
        else:
            self._out.lines.append(LogLine("FAIL", step.key, job.id, pages))
            if step.attempts <= step.spec.retry and not is_final:
                self._delay(step, min(0.1 * 2 ** (step.attempts - 1), 10.0))
                self._pend(step, words)
            else:
                self._move(step, FAILED, words)
                self._let_down(step)


def _is_linked(now: Look, before: FileHash | None, own: set[int]) -> bool:
    """Tell whether a file was but given another name, as `ln` does: one that an output of the job bears."""
    return (
        isinstance(now, FileHash)
        and before is not None
        and now.inode in own
        and (now.content, now.inode, now.mtime_ns) == (before.content, before.inode, before.mtime_ns)
    )


def _is_older(path: str, look: FileHash, job: Job) -> bool:
    """Tell whether a file is as it was before a job began: whoever made it, that job did not."""
    return not path.endswith("/") and look.ctime_ns < job.began_ns - TICK_NS


def _lacking(paths: list[str]) -> str:
    return "\n".join(("Missing inputs and/or required directories:", *paths))


def slot_variable(pool: str) -> str:
    """Return the environment variable that tells a job its slots of a pool."""
    return "STEPUP_POOL_" + "".join(c.upper() if c.isascii() and c.isalnum() else "_" for c in pool)
