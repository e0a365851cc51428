"""Is a step up to date, and if not, what exactly differs?

One manifest answers both: its digest decides, its parts explain. Knows nothing of the disk: contents are handed in.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from stepup_nb.core.model import Content, StepSpec

_FORMAT = 1
"""Version of the encoding below; it is the first word of every digest, so that a change makes all steps run."""

_NAME = "blake2b:"
"""What every digest begins with. Another format gets another name: by it alone a record of another release is told."""

ASKED = "you asked for it"
"""Why a step runs that is up to date: ``--force`` or ``rerun``."""


class Manifest(NamedTuple):
    """Everything that a step's result depends on."""

    action: str
    command: str
    workdir: str
    shell: tuple[str, ...]
    inputs: tuple[tuple[str, Content], ...]
    """Path and content, sorted by path."""
    env: tuple[tuple[str, str | None], ...]
    """Name and keyed hash of the value, sorted by name; None for a variable that is not set."""


class Record(NamedTuple):
    """What the last success of a step was made of, and what it made. This is what the database keeps."""

    manifest: Manifest
    inp_digest: str
    outputs: tuple[tuple[str, Content], ...]
    out_digest: str
    job: int
    """The job that made it."""
    ended: float
    """When that job ended, in seconds since the epoch."""
    volatiles: tuple[tuple[str, Content], ...] = ()
    """By-products that were there then. In no digest: only for removing them."""
    foreign: tuple[str, ...] = ()
    """Outputs that were there before, and that the job did not write. In no digest: they are not removed."""

    def made(self) -> dict[str, Content]:
        """Return what the step has made itself, by path, and what may therefore be removed one day."""
        outputs = (pair for pair in self.outputs if pair[0] not in self.foreign)
        return {**dict(outputs), **dict(self.volatiles)}

    def content_of_input(self, path: str) -> Content | None:
        """Return the content that the input had, or None if it was none of the inputs."""
        return _find(self.manifest.inputs, path)

    def content_of_output(self, path: str) -> Content | None:
        """Return the content that the output got, or None if it was none of the outputs."""
        return _find(self.outputs, path)

    def to_json(self) -> list[Any]:
        """Return the plain form that the database keeps."""
        m = self.manifest
        return [
            [m.action, m.command, m.workdir, m.shell, m.inputs, m.env],
            self.inp_digest,
            self.outputs,
            self.out_digest,
            self.job,
            self.ended,
            self.volatiles,
            self.foreign,
        ]

    @staticmethod
    def from_json(form: list[Any]) -> Record:
        """Return the record whose plain form this is."""
        of_step, inp_digest, outputs, out_digest, job, ended, volatiles, *more = form
        # Earlier, of nothing was known that it had been there before.
        (foreign,) = more or ((),)
        action, command, workdir, shell, inputs, env = of_step
        manifest = Manifest(
            action,
            command,
            workdir,
            tuple(shell),
            _contents(inputs),
            tuple((name, value) for name, value in env),
        )
        files = _contents(outputs), out_digest, job, ended, _contents(volatiles)
        return Record(manifest, inp_digest, *files, tuple(foreign))


def _find(contents: tuple[tuple[str, Content], ...], path: str) -> Content | None:
    # Sorted by path: a step may have thousands of files, and each of them is asked for.
    at = bisect_left(contents, path, key=itemgetter(0))
    return contents[at][1] if at < len(contents) and contents[at][0] == path else None


def _contents(form: list[Any]) -> tuple[tuple[str, Content], ...]:
    return tuple((path, (digest, size, mode)) for path, (digest, size, mode) in form)


def manifest(
    spec: StepSpec, inputs: Mapping[str, Content], env_hashes: tuple[tuple[str, str | None], ...]
) -> Manifest:
    """Return what the step depends on now."""
    return Manifest(
        spec.action,
        spec.command,
        spec.workdir,
        spec.shell,
        tuple((path, inputs[path]) for path in sorted(spec.inp)),
        tuple(sorted(env_hashes, key=itemgetter(0))),
    )


# JSON with all escapes is one exact byte string per value, surrogates in paths included. To make an encoder takes
# longer than to encode a short text.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _digest(words: object) -> str:
    text = _encode([_FORMAT, words])
    return _NAME + hashlib.blake2b(text.encode("ascii"), digest_size=32).hexdigest()


def inp_digest(manifest: Manifest) -> str:
    """Return the digest over action, command, working directory, shell, inputs and environment."""
    m = manifest
    return _digest(["inp", m.action, m.command, m.workdir, m.shell, m.inputs, m.env])


def out_digest(outputs: tuple[tuple[str, Content], ...]) -> str:
    """Return the digest over the outputs."""
    return _digest(["out", outputs]) if outputs else _NO_OUTPUTS


_NO_OUTPUTS = _digest(["out", ()])


def digest_of(declared: Iterable[StepSpec]) -> str:
    """Return a digest over declarations; it is kept with what declared them."""
    return _digest(["declared", [repr(spec.arguments) for spec in declared]])


def make_record(
    manifest: Manifest,
    outputs: tuple[tuple[str, Content], ...],
    job: int,
    ended: float,
    volatiles: tuple[tuple[str, Content], ...] = (),
    foreign: tuple[str, ...] = (),
) -> Record:
    """Return the record of a job that succeeded."""
    outputs = tuple(sorted(outputs))
    return Record(
        manifest, inp_digest(manifest), outputs, out_digest(outputs), job, ended, volatiles, foreign
    )


def is_record_of(record: Record, spec: StepSpec) -> bool:
    """Tell whether a step that is declared like this may have such a record, whatever its files contain."""
    m = record.manifest
    return (m.action, m.command, m.workdir, m.shell) == (
        spec.action,
        spec.command,
        spec.workdir,
        spec.shell,
    ) and all(
        [name for name, _ in recorded] == sorted(declared)
        for recorded, declared in ((m.inputs, spec.inp), (m.env, spec.env), (record.outputs, spec.out))
    )


def is_up_to_date(record: Record, now: Manifest, outputs: Mapping[str, Content | None]) -> bool:
    """Tell whether the outputs on disk are what the step would make from what it depends on now.

    Parameters
    ----------
    record
        The last success.
    now
        What the step depends on now.
    outputs
        The declared outputs and their content; None where there is no regular file.
    """
    # What the digests are made of is compared, which finds the same and takes a tenth of the time.
    return (
        now == record.manifest
        and tuple(sorted(outputs.items())) == record.outputs
        and record.inp_digest.startswith(_NAME)
        and record.out_digest.startswith(_NAME)
    )


def reasons(record: Record | None, now: Manifest, outputs: Mapping[str, Content | None]) -> list[str]:
    """Name exactly what differs from the last success; empty when the step is up to date.

    Takes what `is_up_to_date` takes, and tells a difference exactly when that finds one (property-tested).
    """
    if record is None:
        return ["never ran"]
    old = record.manifest
    words = []
    for what, before, after in (
        ("command", (old.action, old.command), (now.action, now.command)),
        ("working directory", old.workdir, now.workdir),
        ("shell", old.shell, now.shell),
    ):
        if before != after:
            words.append(f"{what} changed")
    words += _differences("input", dict(old.inputs), dict(now.inputs))
    old_env, now_env = dict(old.env), dict(now.env)
    for name in sorted(old_env.keys() | now_env.keys()):
        if name not in now_env:
            words.append(f"environment variable {name} is no longer declared")
        elif name not in old_env:
            words.append(f"environment variable {name} is newly declared")
        elif old_env[name] != now_env[name]:
            words.append(f"environment variable {name} changed")
    words += _differences("output", dict(record.outputs), outputs)
    if not words and not is_up_to_date(record, now, outputs):
        return ["recorded by another release"]
    return words


def _differences(
    kind: str, before: Mapping[str, Content | None], after: Mapping[str, Content | None]
) -> list[str]:
    words = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            words.append(f"{kind} '{path}' is no longer declared")
        elif after[path] is None:
            words.append(f"{kind} '{path}' is missing")
        elif path not in before:
            words.append(f"{kind} '{path}' is newly declared")
        else:
            old, new = before[path], after[path]
            if old is not None and new is not None and old != new:
                what = "changed" if old[:2] != new[:2] else "has other permissions"
                words.append(f"{kind} '{path}' {what}")
    return words
