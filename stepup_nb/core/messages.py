"""What goes into the scheduler and what comes out of it.

In: *commands* of clients and *reports* of the director. Out: a `Decision` with *instructions* for the
director to carry out, and the nouns that changed, to be committed first and told last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from stepup_nb.core.model import (
    MOST_SLOTS,
    File,
    FileHash,
    Glob,
    Job,
    Look,
    Pool,
    PoolRequest,
    ScopeKind,
    Step,
    StepSpec,
)

# --- commands: what clients ask for --------------------------------------------------------------


class OpenScope(NamedTuple):
    """A cell begins: a new round of its scope."""

    scope: str
    kind: ScopeKind
    title: str = ""
    deleted: tuple[str, ...] = ()
    """Scopes whose cells the front end says are gone."""


class CloseScope(NamedTuple):
    """A cell ends. Without an error, what its round did not declare again is retired."""

    scope: str
    is_ok: bool = True


class Declare(NamedTuple):
    """Declare a step. Answered with its key."""

    spec: StepSpec
    scope: str
    environment: str = ""
    env_hashes: tuple[tuple[str, str | None], ...] = ()
    hold: str = ""


class DeclareStatic(NamedTuple):
    """Say that no step may build these files."""

    paths: tuple[str, ...]
    scope: str


class DeclareGlob(NamedTuple):
    """Search for patterns, and call what they match static, but for steps' outputs.

    Answered by `Globbed`, through the token.
    """

    token: int
    glob: Glob
    scope: str


class Amend(NamedTuple):
    """A running job says what else its step reads or writes. Answered by `Amended`, through the token."""

    token: int
    job: int
    inp: tuple[str, ...] = ()
    out: tuple[str, ...] = ()
    vol: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    env_hashes: tuple[tuple[str, str | None], ...] = ()
    is_read: bool = False
    """The inputs were read before this was said: they must not have changed since the job began."""
    optional: tuple[str, ...] = ()
    """More inputs, each only as far as it is one: a file that nobody declares is left out."""


class DefinePool(NamedTuple):
    """Define a pool, or resize it. Answered with a note when another scope had given another size."""

    name: str
    size: int | None
    scope: str
    tokens: tuple[str, ...] = ()
    is_per_machine: bool | None = None
    """None: as it is, at first over all machines."""


class DropPool(NamedTuple):
    """Forget a pool's definition; what asks for it waits."""

    name: str


class Hold(NamedTuple):
    """Begin a hold: steps declared under it wait for its end."""

    hold: str


class Release(NamedTuple):
    """End a hold."""

    hold: str


class Cancel(NamedTuple):
    """Stop steps; None means every step that is not finished."""

    steps: tuple[str, ...] | None


class Rerun(NamedTuple):
    """Run steps again: by name, or all that failed or were cancelled, or all."""

    steps: tuple[str, ...] = ()
    failed: bool = False
    all: bool = False


class Pause(NamedTuple):
    """Start nothing new, in one pool or at all."""

    pool: str | None = None


class Resume(NamedTuple):
    """End a pause."""

    pool: str | None = None


class SetWorkers(NamedTuple):
    """Limit the steps running at once over all pools."""

    number: int


class Drain(NamedTuple):
    """Start nothing new until `Run`; running steps finish."""


class Run(NamedTuple):
    """Look at all known files, end a drain, and go on. In a plan's session, what failed runs again."""


class SetPhase(NamedTuple):
    """Say where a plan's session is: ``startup``, ``run`` (as soon as all looks are back), ``watch``."""

    phase: str


class Ending(NamedTuple):
    """Ask a plan's session to end: ``join`` when nothing is left to do, ``shutdown`` when what runs has ended.

    To ask for the latter again is to insist: answered with how often that was.
    """

    how: str


class LookAgain(NamedTuple):
    """Look at these files and patterns, or at all known ones. Answered, through the token, when that is done."""

    token: int
    paths: tuple[str, ...] | None = None
    is_watching: bool = False
    """Nobody waits for it: only somebody who watches has a hint that something changed."""


class Forget(NamedTuple):
    """Drop steps from the graph and the database."""

    steps: tuple[str, ...]


class Clean(NamedTuple):
    """Remove outdated outputs. Answered by `FilesRemoved`, through the token."""

    token: int
    dry_run: bool = False
    options: bool = False
    """Also those of optional steps that nobody needs."""
    paths: tuple[str, ...] | None = None
    """Instead of outdated outputs: what steps have built there, and what was made from that."""


class Wait(NamedTuple):
    """Tell through the token when the steps are finished, or when nothing can move any more."""

    token: int
    steps: tuple[str, ...] | None = None
    scope: str = ""
    """The scope that asks: its undecided steps are ignored, and no longer waited for by successors."""
    deadline: float | None = None


class StopWaiting(NamedTuple):
    """Forget a wait."""

    token: int


Command = (
    OpenScope
    | CloseScope
    | Declare
    | DeclareStatic
    | DeclareGlob
    | Amend
    | DefinePool
    | DropPool
    | Hold
    | Release
    | Cancel
    | Rerun
    | Pause
    | Resume
    | SetWorkers
    | Drain
    | Run
    | SetPhase
    | Ending
    | LookAgain
    | Forget
    | Clean
    | Wait
    | StopWaiting
)

# --- reports: what the director saw --------------------------------------------------------------


class FilesLooked(NamedTuple):
    """The answer to `LookAt`."""

    token: int
    looks: Mapping[str, Look]
    found: Mapping[Glob, tuple[tuple[str, ...], ...]] = MappingProxyType({})
    """What each pattern matches by itself."""


class JobNotStarted(NamedTuple):
    """No process came to be."""

    job: int
    words: str
    is_transient: bool
    """It may be possible later: the step goes back to its queue for a while."""
    is_full: bool = False
    """The machine has no room for any process now, whichever step it is for."""


class Capacity(NamedTuple):
    """So many steps can run at once in the cluster, none if it is gone; None: the session's workers count."""

    number: int | None
    machines: tuple[tuple[str, int], ...] = ()
    """Each machine of the cluster, and how many steps can run there at once; empty: the director's own."""


class JobBegan(NamedTuple):
    """Where a job runs and since when, from an executor that learns it late."""

    job: int
    started: float
    machine: str


class JobLost(NamedTuple):
    """The machine that a job ran on went away, and its processes with it."""

    job: int
    words: str


class JobEnded(NamedTuple):
    """The command's process ended and nothing of its tree is left."""

    job: int
    returncode: int
    ended: float
    peak_rss: int | None = None
    cpu: float | None = None
    leftovers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class FilesRemoved(NamedTuple):
    """The answer to `RemoveFiles`."""

    token: int
    removed: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    """Path and the reason why it was kept."""
    gone: tuple[str, ...] = ()
    """Those that somebody else had removed before."""


class Tick(NamedTuple):
    """Time went by: the wake-up that a decision asked for."""


Report = FilesLooked | JobNotStarted | JobBegan | JobLost | JobEnded | FilesRemoved | Capacity | Tick
Message = Command | Report

# --- instructions: what the director is to do ----------------------------------------------------


class LookAt(NamedTuple):
    """Find out what these paths are now; what is known of each may cut the look short."""

    token: int
    files: tuple[tuple[str, FileHash | None], ...]
    globs: tuple[Glob, ...] = ()
    """Patterns to search for."""


class StartJob(NamedTuple):
    """Start a command. RUNNING is committed before this is carried out."""

    job: Job
    spec: StepSpec
    environment: str
    variables: tuple[tuple[str, str], ...]
    """What its environment gets on top, slots and tokens of its pools among it."""


class StopJob(NamedTuple):
    """End a job's whole tree: SIGTERM and SIGCONT, after the grace SIGKILL."""

    job: int


class RemoveFiles(NamedTuple):
    """Delete outdated outputs whose content is still as recorded."""

    token: int
    files: tuple[tuple[str, tuple[str, int, int]], ...]
    dry_run: bool
    doubtful: tuple[tuple[str, float], ...] = ()
    """What nobody knows the maker of: if something is there that is younger than this, it is named, and kept."""


Instruction = LookAt | StartJob | StopJob | RemoveFiles


class WaitEnded(NamedTuple):
    """A wait is over; told after the commit that made it so."""

    token: int
    how: str
    """``done``, ``stuck`` or ``timeout``."""


class Amended(NamedTuple):
    """A job may go on: what it amended is known now."""

    token: int
    missing: tuple[str, ...]
    """Inputs that are not there (yet): the step is put back, whatever the job still does."""


class Globbed(NamedTuple):
    """A search has ended."""

    token: int
    found: tuple[tuple[str, ...], ...]
    """The paths that match each pattern, relative to the root."""


class Looked(NamedTuple):
    """What was to be looked at again has been."""

    token: int


class LogLine(NamedTuple):
    """A line for the log of a run: StepUp's tag, and a step, a path, a variable, or the name of a phase."""

    tag: str
    step: str
    job: int | None = None
    pages: tuple[tuple[str, str], ...] = ()
    """What else there is to say: titles and texts."""


@dataclass(slots=True)
class Decision:
    """What one turn of the loop decided: commit the nouns, then act, then tell."""

    instructions: list[Instruction] = field(default_factory=list)
    steps: dict[str, Step] = field(default_factory=dict)
    """Changed steps, by key."""
    forgotten: dict[str, Step] = field(default_factory=dict)
    """Steps that left the graph, by key."""
    files: dict[str, File] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    dropped_jobs: set[int] = field(default_factory=set)
    """Jobs that came to nothing before there was a process: they never were."""
    settings: bool = False
    """Workers, a pause, a drain, the phase, or how the session is to end changed."""
    lines: list[LogLine] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """Why it was decided so, in sentences, while somebody listens."""
    ended: list[WaitEnded] = field(default_factory=list)
    amended: list[Amended] = field(default_factory=list)
    globbed: list[Globbed] = field(default_factory=list)
    looked: list[Looked] = field(default_factory=list)
    removed: list[FilesRemoved] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    """The answer to the last command."""


# --- the JSON form of commands, which is the protocol --------------------------------------------

_OPTIONS = StepSpec._field_defaults
_options_of = attrgetter(*_OPTIONS)
_USUAL = tuple(_OPTIONS.values())


def spec_to_json(spec: StepSpec) -> dict[str, Any]:
    """Return the plain form of a spec; what is as by default is left out."""
    form: dict[str, Any] = {"action": spec.action, "command": spec.command}
    options = _options_of(spec)
    if options != _USUAL:
        pairs = zip(_OPTIONS.items(), options, strict=True)
        form |= {name: value for (name, default), value in pairs if value != default}
    return form


def spec_from_json(form: object) -> StepSpec:
    """Return the spec whose plain form this is; raise ValueError where it is none."""
    spec: StepSpec = _read(StepSpec, _SPEC_FIELDS, form)
    return spec


def command_to_json(command: Command) -> dict[str, Any]:
    """Return the plain form of a command: its name and its fields."""
    form: dict[str, Any] = {"op": type(command).__name__}
    for name, value in zip(command._fields, command, strict=True):
        form[name] = spec_to_json(value) if isinstance(value, StepSpec) else value
    return form


def command_from_json(form: Mapping[str, Any]) -> Command:
    """Return the command whose plain form this is; raise ValueError where it is none."""
    values = dict(form)
    found = _COMMANDS.get(_text(values.pop("op", "")))
    if found is None:
        raise ValueError("there is no such request")
    command: Command = _read(*found, values)
    return command


_Read = Callable[[Any], Any]


def _read(kind: type[Any], readers: Mapping[str, _Read], form: object) -> Any:
    """Return the object whose fields these are, each of its type: what comes from outside may be anything."""
    if not isinstance(form, dict):
        raise ValueError(f"fields are expected, not {_shown(form)}")
    values = {}
    try:
        for name, value in form.items():
            values[name] = readers[name](value)
    except KeyError:
        raise ValueError(f"a {kind.__name__} has no {_shown(name)}") from None
    except ValueError as error:
        raise ValueError(f"'{name}': {error}") from None
    try:
        return kind(**values)
    except TypeError:
        missing = [name for name in kind._fields if name not in (*kind._field_defaults, *values)]
        raise ValueError(f"a {kind.__name__} needs {', '.join(missing)}") from None


def _shown(value: object) -> str:
    return f"{value!r:.40}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text is expected, not {_shown(value)}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false is expected, not {_shown(value)}")
    return value


def _whole(least: int | None, most: int = 2**53) -> _Read:
    def read(value: object) -> int:
        if type(value) is not int or not (-most if least is None else least) <= value <= most:
            what = "a whole number" if least is None else f"a whole number from {least}"
            raise ValueError(f"{what} is expected, not {_shown(value)}")
        return value

    return read


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise ValueError(f"a number of seconds is expected, not {_shown(value)}")
    return float(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"a list is expected, not {_shown(value)}")
    for word in value:
        _text(word)
    return tuple(value)


def _requests(value: object) -> tuple[PoolRequest, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"a list is expected, not {_shown(value)}")
    found = []
    for request in value:
        if not isinstance(request, list | tuple) or len(request) != 2:
            raise ValueError(f"a pool and a number of slots are expected, not {_shown(request)}")
        found.append(PoolRequest(_text(request[0]), _slots(request[1])))
    return tuple(found)


def _or_none(read: _Read) -> _Read:
    return lambda value: None if value is None else read(value)


def _glob(value: object) -> Glob:
    # What matches is found out by the director, and by nobody else.
    if not isinstance(value, list | tuple) or len(value) != 3 or not isinstance(value[1], list | tuple):
        raise ValueError(f"patterns, substitutions and a flag are expected, not {_shown(value)}")
    patterns, subs, is_deferred = value
    pairs = [_texts(pair) for pair in subs]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("a name and a pattern are expected")
    return Glob(_texts(patterns), tuple((name, sub) for name, sub in pairs), (), _flag(is_deferred))


_slots = _whole(1, MOST_SLOTS)

_BY_TYPE: dict[str, _Read] = {
    "str": _text,
    "str | None": _or_none(_text),
    "bool": _flag,
    "bool | None": _or_none(_flag),
    "int": _whole(None),
    "float | None": _or_none(_seconds),
    "tuple[str, ...]": _texts,
    "tuple[str, ...] | None": _or_none(_texts),
    "tuple[PoolRequest, ...]": _requests,
    "ScopeKind": ScopeKind,
    "StepSpec": spec_from_json,
    "Glob": _glob,
}
"""What reads a field, by the type that its class writes down."""

_BY_NAME: dict[str, _Read] = {
    "number": _whole(1),
    "retry": _whole(0),
    "size": _or_none(_whole(0)),
}
"""What reads a field whose type does not say all."""


def _readers(kind: type[Any]) -> dict[str, _Read]:
    # What has no reader is given by the director alone.
    types = {name: _BY_TYPE.get(type.__forward_arg__) for name, type in kind.__annotations__.items()}
    found = {name: _BY_NAME.get(name) or read for name, read in types.items()}
    return {name: read for name, read in found.items() if read is not None}


_SPEC_FIELDS = _readers(StepSpec)
_COMMANDS = {
    kind.__name__: (kind, _readers(kind))
    for kind in (
        OpenScope,
        CloseScope,
        Declare,
        DeclareStatic,
        DeclareGlob,
        Amend,
        DefinePool,
        DropPool,
        Hold,
        Release,
        Cancel,
        Rerun,
        Pause,
        Resume,
        SetWorkers,
        Drain,
        Run,
        SetPhase,
        Ending,
        LookAgain,
        Forget,
        Clean,
        Wait,
    )
}
