"""A database and what is written into it, without a director: steps, their jobs, their results."""

import os
import shutil

from stepup_nb.core import uptodate
from stepup_nb.core.messages import Decision
from stepup_nb.core.model import (
    File,
    FileHash,
    Job,
    Outcome,
    Pool,
    Scope,
    ScopeKind,
    Step,
    StepSpec,
    StepState,
)
from stepup_nb.director.store import Store

CELL = Scope("cell-1", ScopeKind.CELL, "In [3]: for x in range(3)")
LOOK = FileHash("blake3:" + "ab" * 32, 5, 0o100644, 2**63 + 7, 10**18, 10**18 + 1, 10**18 + 10**9)


def no_tails(job):
    """Say that a job printed nothing."""
    return b"", b""


def step(number=1, command="", **options):
    """Return a live step that makes a file of a file."""
    command = command or f"cp a{number} b{number}"
    spec = StepSpec(action="runsh", command=command, inp=(f"a{number}",), out=(f"b{number}",), **options)
    return Step(spec.base, spec, number, scope=CELL, is_live=True)


def decision(*nouns, forgotten=()):
    """Return the decision that changed these nouns."""
    made = Decision()
    for noun in nouns:
        if isinstance(noun, Step):
            made.steps[noun.key] = noun
        elif isinstance(noun, File):
            made.files[noun.path] = noun
        elif isinstance(noun, Pool):
            made.pools[noun.name] = noun
        else:
            made.jobs[noun.id] = noun
    return made


def start(store, step, number):
    """Write down that a step runs, and return its job."""
    step.state, step.record = StepState.RUNNING, None
    step.job = Job(
        number,
        step.key,
        pool={"test": 1},
        slots={"test": (0,)},
        worker=1,
        queued=99.0,
        started=100.0 + number,
    )
    store.save(decision(step, step.job), no_tails)
    return step.job


def finish(store, step, tails=no_tails, outcome=Outcome.SUCCEEDED):
    """Write down how a step's job ended."""
    job = step.job
    job.ended, job.outcome, job.returncode = 200.0 + job.id, outcome, 0 if outcome is Outcome.SUCCEEDED else 3
    step.job, step.last = None, job
    step.state, step.reason = StepState(outcome.name), f"job {job.id}"
    if outcome is Outcome.SUCCEEDED:
        made = uptodate.manifest(step.spec, dict.fromkeys(step.spec.inp, LOOK.content), ())
        outputs = tuple((path, LOOK.content) for path in step.spec.out)
        step.record = uptodate.make_record(made, outputs, job.id, job.ended)
    store.save(decision(step, job, *(File(path, look=LOOK) for path in step.spec.out)), tails)


def run(store, step, number, **how):
    """Write down that a step ran."""
    start(store, step, number)
    finish(store, step, **how)


def filled(path, steps=3):
    """Make a database with some finished steps, and close it."""
    store = Store.open(path)
    for number in range(1, steps + 1):
        made = step(number)
        store.save(decision(made, File(f"a{number}", look=LOOK)), no_tails)
        run(store, made, number, tails=lambda job: (b"out %d" % job, b""))
    store.save(decision(Pool("test", 2, is_defined=True)), no_tails, settings={"workers": 3})
    store.close()


def image(store, folder):
    """Copy what is on disk now: what a crash or a power cut at this moment would leave."""
    folder.mkdir()
    for end in ("", "-wal"):
        if os.path.exists(store.path + end):
            shutil.copy(store.path + end, folder)
    return folder / os.path.basename(store.path)


def steps_of(store):
    """Return the steps that a database remembers, by key."""
    return {step.key: step for step in store.load().restored.steps}


def write_until_full(file):
    """Leave no room on a disk."""
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
