"""What running steps say about themselves: more inputs, more outputs; and what is left when they fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stepup_nb.core.errors import UsageError
from stepup_nb.core.looking import Seeing
from stepup_nb.core.messages import (
    Amend,
    Amended,
    FilesLooked,
)
from stepup_nb.core.model import (
    FAILED,
    PENDING,
    RELYING,
    TICK_NS,
    File,
    FileHash,
    Job,
    Look,
    Scope,
    Step,
)
from stepup_nb.core.moving import Looking


class Amending(Seeing):
    """Lets running jobs amend their steps."""

    def _drop_amended(self, step: Step) -> None:
        """A job begins: what the last one amended is to be amended anew (StepUp 3.0)."""
        if step.unamended is None:
            return
        spec = step.spec
        step.fading = tuple(sorted(set(spec.out).difference(step.declared.out)))
        for path in set(spec.vol).difference(step.declared.vol):
            self.graph.release(path, step)
        self.critical.mark_suppliers(step)
        self.graph.respecify(step, step.declared)
        step.unamended = None
        names = set(step.declared.env)
        step.env_hashes = tuple(pair for pair in step.env_hashes if pair[0] in names)
        self._review_need(self._optional_makers(set(spec.inp).difference(step.spec.inp)))

    def _fade(self, step: Step) -> None:
        """A job succeeded: what an earlier one amended, and it did not, is the step's no more."""
        for path in step.fading:
            if path not in step.spec.out:
                file = self.graph.files[path]
                self.graph.release(path, step)
                self._out.files[path] = file
                self._lose_supply(file, "is no longer made by any step")
        step.fading = ()

    def _amend(self, m: Amend) -> None:
        job = self.jobs.get(m.job)
        step = None if job is None else self.graph.steps.get(job.step)
        if (
            job is None
            or step is None
            or step.job is not job
            or job.ended is not None
            or job.stop is not None
        ):
            raise over()
        old = step.spec
        graph = self.graph
        inp = set(m.inp).difference(old.inp)
        for path in set(m.optional).difference(old.inp, inp, old.out):
            # What nobody declares is, where StepUp's rules hold, none of our business.
            file = graph.files.get(path) or File(path)
            is_made = file.producer is not None and file.producer.is_live
            if not step.is_strict or is_made or graph.is_static(file):
                inp.add(path)
        out, vol = set(m.out).difference(old.out, old.vol), set(m.vol).difference(old.out, old.vol)
        # What is new, with that part of the old which could be at odds with it.
        more = old._replace(
            inp=tuple(sorted(inp | ((out | vol) & {*old.inp}))),
            out=tuple(sorted(out | (inp & {*old.out}))),
            vol=tuple(sorted(vol | (inp & {*old.vol}))),
        )
        spec = old._replace(
            inp=tuple(sorted({*old.inp, *inp})),
            out=tuple(sorted({*old.out, *out})),
            vol=tuple(sorted({*old.vol, *vol})),
            env=tuple(sorted({*old.env, *m.env})),
        )
        scope = step.scope
        assert scope is not None
        yielding = graph.check_claims(more, step.key, scope)
        if inp or out:
            # Of what was there before, each link has been checked with all that was there then.
            fresh = spec if out else spec._replace(inp=more.inp)
            graph.check_circle(fresh, step.key, scope, yielding)
        self._check_creators(yielding.values(), scope)
        # Nothing is refused below this line.
        for other in yielding.values():
            self._retire(other)
        known = dict(step.env_hashes)
        step.env_hashes = tuple(sorted({**dict(m.env_hashes), **known}.items()))
        step.unamended = step.declared
        graph.respecify(step, spec)
        step.fading = tuple(path for path in step.fading if path not in out)
        job.reads, job.writes = spec.inp, (*spec.out, *spec.vol, *step.fading)
        for path in sorted(out | vol):
            for declarer in list(graph.files[path].static):
                if (owner := graph.scopes.get(declarer)) is not None:
                    graph.recall_static(path, owner)
            graph.files[path].static.clear()
            self._out.files[path] = graph.files[path]
        for path in sorted(out):
            for reader in list(graph.files[path].consumers.values()):
                if reader.state in RELYING or reader.state is FAILED:
                    self._pend(reader, f"input '{path}' is now made by step '{step.label}'")
                elif reader.state is PENDING:
                    self._review.append(reader)
        if out:
            self._review_need([step])
        self._review_need(self._optional_makers(inp))
        for path in inp:
            if (maker := graph.files[path].producer) is not None:
                self.critical.mark(maker)
        self._touch(step)
        missing = [path for path in sorted(inp) if self._is_hopeless(graph.files[path], step)]
        job.lacking.update(dict.fromkeys(missing))
        paths = sorted(inp.difference(missing))
        if paths:
            self._look(paths, Looking("amend", step, job, token=m.token, is_read=m.is_read))
        else:
            self._out.amended.append(Amended(m.token, tuple(missing)))

    def _is_hopeless(self, file: File, reader: Step) -> bool:
        """Tell whether a file is no input now, whatever a look at it would tell."""
        return bool(self._missing(file, reader)) and not self._is_to_appear(file, reader)

    def _amended(self, step: Step, job: Job, report: FilesLooked, looking: Looking) -> None:
        """What a job amended was looked at: is it there, and was it there when it was read?"""
        if step.job is job and self.jobs.get(job.id) is job:
            for path, look in report.looks.items():
                file = self.graph.files.get(path)
                if file is None or self._missing(file, step) or not isinstance(look, FileHash):
                    job.lacking[path] = None
                    continue
                # Within a tick of its start an interpreter has not read anything yet.
                if looking.is_read and look.ctime_ns > job.began_ns + TICK_NS:
                    # It was read at some moment before: perhaps what it was then is not what it is now.
                    look = look._replace(inode=-1)
                job.inputs[path] = look
        self._out.amended.append(Amended(looking.token, tuple(sorted(job.lacking))))

    # --- what failed jobs left -------------------------------------------------------------------

    def _look_at_made(self, step: Step, job: Job) -> None:
        """A job did not succeed: what it left in place of its outputs is to be cleaned one day."""
        paths = [path for path in (*step.spec.out, *step.spec.vol) if not path.endswith("/")]
        if paths:
            self._look(paths, Looking("made", step, job))

    def _leave(self, step: Step, job: Job, looks: Mapping[str, Look]) -> None:
        """Take note of what a job that did not succeed wrote; what it did not write may be somebody else's."""
        # It may have been forgotten meanwhile, and another one have its name.
        if step.record is not None or step.job is not None or self.graph.steps.get(step.key) is not step:
            return
        for path, look in looks.items():
            if isinstance(look, FileHash) and look.ctime_ns >= job.began_ns:
                step.made[path] = look.content
            elif not isinstance(look, FileHash) or step.made.get(path) != look.content:
                step.made.pop(path, None)
        self._touch(step)

    # --- what a step declares is the matter of `Declaring` ---------------------------------------

    def _retire(self, step: Step) -> None:
        raise NotImplementedError

    def _check_creators(self, steps: Iterable[Step], scope: Scope) -> None:
        raise NotImplementedError


def over() -> UsageError:
    """Return the refusal for a job that is not running any more."""
    return UsageError(
        "SNB-130",
        "The job that says so is over, or is being stopped.",
        "only a step that runs may declare steps, or amend itself",
        "wait in the script for all that calls stepup_nb",
    )
