"""The nouns: steps, files, pools, jobs, scopes, and the states they can be in.

Knows nothing of how they change: the scheduler is the only one who moves them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from stepup_nb.core.words import one_line

if TYPE_CHECKING:
    from stepup_nb.core.alike import Alike
    from stepup_nb.core.uptodate import Record


class StepState(StrEnum):
    """Where a step is on its way; see "Step states" in ARCHITECTURE.md for the picture."""

    PENDING = "PENDING"
    """Something other than a slot is missing: an input, a supplier, a pool's definition, permission."""

    CHECKING = "CHECKING"
    """Its files are being looked at, to find out whether it is up to date. Takes no slot, no worker."""

    QUEUED = "QUEUED"
    """Outdated and ready: only free slots in its pools, or a worker, are missing."""

    RUNNING = "RUNNING"
    """A job of it holds slots, or has just ended and its outputs are being hashed."""

    SUCCEEDED = "SUCCEEDED"
    """Its outputs are those of its inputs: it ran, or proved up to date without a run."""

    FAILED = "FAILED"
    """Its last job did not succeed. Runs again when declared again or by rerun, or if an input changes."""

    CANCELLED = "CANCELLED"
    """The user stopped it. Runs again when declared again or by rerun."""


PENDING = StepState.PENDING
CHECKING = StepState.CHECKING
QUEUED = StepState.QUEUED
RUNNING = StepState.RUNNING
SUCCEEDED = StepState.SUCCEEDED
FAILED = StepState.FAILED
CANCELLED = StepState.CANCELLED

ALLOWED: dict[StepState, frozenset[StepState]] = {
    PENDING: frozenset({CHECKING, CANCELLED}),
    CHECKING: frozenset({PENDING, QUEUED, SUCCEEDED, CANCELLED}),
    QUEUED: frozenset({PENDING, RUNNING, CANCELLED}),
    RUNNING: frozenset({PENDING, SUCCEEDED, FAILED, CANCELLED}),
    SUCCEEDED: frozenset({PENDING}),
    FAILED: frozenset({PENDING}),
    CANCELLED: frozenset({PENDING}),
}
"""The table of moves. `Scheduler._move` refuses every other one."""

FINISHED = frozenset({SUCCEEDED, FAILED, CANCELLED})

RELYING = frozenset({CHECKING, QUEUED, RUNNING, SUCCEEDED})
"""The states of a step that relies on its inputs: they are there, and as they are to be."""

TO_RUN = frozenset({PENDING, CHECKING, QUEUED})
"""The states of a step that may be going to run."""


class FileState(StrEnum):
    """What a file is to the graph (StepUp's words)."""

    STATIC = "STATIC"
    """No step builds it, and it was there when last looked at."""

    MISSING = "MISSING"
    """No step builds it, and it was not there when last looked at, or nobody looked yet."""

    AWAITED = "AWAITED"
    """Declared output of a step that never built it."""

    BUILT = "BUILT"
    """Output of a step that succeeded, with the recorded content."""

    OUTDATED = "OUTDATED"
    """Was built; its step is to run, or to be checked, again."""

    VOLATILE = "VOLATILE"
    """By-product of a step: never an input, never hashed."""


class Outcome(StrEnum):
    """How a job ended. Not one more state of its step."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"
    """Director or kernel went away while it ran."""
    LOST = "lost"
    """The machine it ran on went away."""


class FileHash(NamedTuple):
    """What a file was at one look: its content, and the marks by which a look can be cut short."""

    digest: str
    """Algorithm and hexadecimal digest of the content, as in ``blake3:af13…``."""
    size: int
    """Bytes."""
    mode: int
    """``st_mode``: type and permission bits."""
    inode: int
    mtime_ns: int
    ctime_ns: int
    looked_ns: int
    """Wall clock at which the reading began, in nanoseconds."""

    @property
    def content(self) -> Content:
        """The part that counts for being up to date."""
        return (self.digest, self.size, self.mode)

    @property
    def mark(self) -> tuple[int, int, int]:
        """The part that tells whether somebody touched the file, even to restore it afterwards."""
        return (self.inode, self.mtime_ns, self.ctime_ns)


FOLDER = FileHash("folder", 0, 0o040000, 0, 0, 0, 0)
"""What a path that ends in ``/`` is where there is a folder: that it is there counts, nothing else of it."""


TICK_NS = 10_000_000
"""How much later than a file's times something must have been for those times to prove anything.

Linux before 6.13 stamps files with a clock that advances by up to 10 ms at a time (HZ=100): a file can be
written twice within one step of it and look untouched.
"""

Content = tuple[str, int, int]
"""Digest, size and mode of a file: what is compared to tell whether it is the same."""


class FileProblem(NamedTuple):
    """Why a path could not be hashed, in words that go after the path ("is a directory")."""

    words: str


Look = FileHash | FileProblem | None
"""The result of looking at a path; None means that nothing is there."""


MOST_SLOTS = 100_000
"""Slots of one pool that one step may ask for: each has a number, and is written down."""


class PoolRequest(NamedTuple):
    """What a step asks of one pool."""

    pool: str
    slots: int


class StepSpec(NamedTuple):
    """What the user declared; never changed after that, only replaced.

    Paths are relative to the root where they lie below it, absolute elsewhere, normalised and sorted.
    """

    action: str
    """What kind of command it is: one of `declare.ACTIONS`."""
    command: str
    """What the action does, with ``${inp}``, ``${out}``, ``${vol}`` already replaced."""
    workdir: str = "."
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    """The words in front of the command."""
    name: str | None = None
    inp: tuple[str, ...] = ()
    out: tuple[str, ...] = ()
    vol: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """Names of the environment variables that the step is sensitive to."""
    after: tuple[str, ...] = ()
    pool: tuple[PoolRequest, ...] = ()
    optional: bool = False
    block: bool = False
    priority: int = 0
    duration: float | None = None
    """Expected seconds, from the user."""
    timeout: float | None = None
    """Seconds after which a job is stopped."""
    retry: int = 0
    """How many more attempts a failing step gets."""
    force: bool = False
    """Run although it is up to date."""

    @property
    def base(self) -> str:
        """The step's identity, but for the occurrence: its name, else action, command and workdir."""
        if self.name is not None:
            return self.name
        where = "" if self.workdir == "." else f"  # wd={self.workdir}/"
        return f"{self.action} {self.command}{where}"

    @property
    def arguments(self) -> tuple[object, ...]:
        """What makes two declarations equal. Pool, priority, duration, optional and block are not in it."""
        return (
            self.action,
            self.command,
            self.workdir,
            self.shell,
            self.inp,
            self.out,
            self.vol,
            self.env,
            self.after,
        )


@dataclass(slots=True, eq=False)
class File:
    """A path that some step reads or writes."""

    path: str
    state: FileState = FileState.MISSING
    look: Look = None
    """What was there when it was last looked at."""
    seen: bool = False
    """Whether it was looked at in this session at all."""
    token: int = 0
    """The latest look that told of it: what an earlier one tells afterwards may be an older truth."""
    told: int = 0
    """The turn in which it did: who needs the file in the same turn need not look again."""
    static: set[str] = field(default_factory=set)
    """Scopes that declared it static: while there is one, no step may build it."""
    producer: Step | None = None
    """The step that claims it, live or not. A claim of one that is not live yields to any other."""
    consumers: dict[str, Step] = field(default_factory=dict)
    """Live steps that read it, by key, in order of declaration."""

    @property
    def content(self) -> Content | None:
        """Content at the last look, or None where there was no regular file."""
        look = self.look
        # The first three cells of it, without a second call: this is asked more often than anything else.
        return look[:3] if type(look) is FileHash else None


class ScopeKind(StrEnum):
    """Who declares."""

    CELL = "cell"
    """A cell that its front end identifies: executed again, it opens a new round."""
    RUN = "run"
    """One execution of a cell that nobody identifies."""
    SESSION = "session"
    """Code outside all cells; retires nothing."""
    STEP = "step"
    """A step that declares others while it runs, such as a plan: each of its jobs is a round.

    StepUp's rules hold for what it declares: a step waits until its creator runs or has succeeded, an input that
    nobody declares is no input, and an equal step is declared once.
    """


SOLID = frozenset({ScopeKind.CELL, ScopeKind.STEP})
"""The scopes whose claims do not give way to a later declaration of another one."""


class Glob(NamedTuple):
    """Patterns that a step asked for, and what they matched: when that changes, the step runs again."""

    patterns: tuple[str, ...]
    """Relative to the root, or absolute."""
    subs: tuple[tuple[str, str], ...] = ()
    """What the named wildcards stand for, sorted by name."""
    found: tuple[tuple[str, ...], ...] = ()
    """The paths that matched each pattern by itself, sorted, outputs of steps left out."""
    is_deferred: bool = False
    """Nothing was searched for: whatever matches is static as soon as a step needs it."""


class PoolSize(NamedTuple):
    """How a pool is defined; see `Pool`."""

    size: int | None
    tokens: tuple[str, ...] = ()
    is_per_machine: bool = False


class Products(NamedTuple):
    """What a step declared in its last round, when it has succeeded: to be restored with it."""

    steps: tuple[str, ...] = ()
    """Keys."""
    statics: tuple[str, ...] = ()
    globs: tuple[Glob, ...] = ()
    pools: tuple[tuple[str, PoolSize], ...] = ()
    digest: str = ""
    """Of the declarations of these steps: what is restored with a result must be what was declared with it."""


@dataclass(slots=True, eq=False)
class Scope:
    """A declarer, and the round it is in."""

    id: str
    kind: ScopeKind
    title: str = ""
    """How people recognise it: execution count and first line of the cell."""
    owner: Step | None = None
    """The step whose scope it is."""
    steps: dict[str, Step] = field(default_factory=dict)
    """Declared in this round, by key."""
    statics: set[str] = field(default_factory=set)
    """Paths declared static in this round."""
    undecided_statics: set[str] = field(default_factory=set)
    """Paths declared static in the last round, and not (yet) in this one."""
    globs: dict[Glob, None] = field(default_factory=dict)
    """Patterns asked for in this round."""
    pools: dict[str, PoolSize] = field(default_factory=dict)
    """The pools that a step defined in this round."""
    previous: dict[str, Alike] = field(default_factory=dict)
    """Steps of the last round by base, for the k-th to find the k-th."""
    elsewhere: dict[str, Alike] = field(default_factory=dict)
    """Equal steps of scopes that nobody identifies, by base, likewise."""
    undecided: dict[str, Step] = field(default_factory=dict)
    """Steps of the last round that this round has not declared (yet), by key."""
    leaving: set[int] = field(default_factory=set)
    """Jobs of the last round that are still alive and not adopted: successors wait for their end."""
    released: bool = False
    """A wait inside the cell: successors no longer wait for what is undecided."""
    is_open: bool = False
    is_deleted: bool = False
    """The front end says that the cell is gone: its claims yield."""


@dataclass(slots=True, eq=False)
class Step:
    """A declared command on its way."""

    key: str
    """Unique: the base, and from the second occurrence on its number: ``runsh sleep 1 (2)``."""
    spec: StepSpec
    """What counts: what was declared, and what its last job amended."""
    seq: int
    """Order of declaration."""
    number: int = 1
    """Which occurrence of its base it is, from 1."""
    scope: Scope | None = None
    """Who declared it last; None when it is only known from the database."""
    cell: str = ""
    """Title of that scope, kept for steps that are not declared in this session."""
    is_live: bool = False
    """Declared, and not retired since. A step that is not live never runs."""
    is_retired: bool = False
    """Its scope had a later round without it: its outputs are outdated outputs."""
    unamended: StepSpec | None = None
    """What was declared, where a job amended more than that."""
    creator: str = ""
    """Id of the scope that declared it last."""
    products: Products | None = None
    """What it declared itself, to be restored with it; None while it did not succeed."""
    round: Scope | None = None
    """The scope of what it declares; None while nothing of it is live."""
    fading: tuple[str, ...] = ()
    """Outputs that an earlier job amended, and its running one did not (yet): still its own."""
    made: dict[str, Content] = field(default_factory=dict)
    """Files that its jobs left and no record tells of, by path: what is to be cleaned when nobody needs them."""
    state: StepState = StepState.PENDING
    reason: str = ""
    """Why it is in this state, in words; for waiting steps `Scheduler.reason` says it afresh."""
    record: Record | None = None
    """What its last success was made of; None while none holds."""
    is_restored: bool = False
    """Not run since it was restored, and to be looked at: if it proves up to date, that is no news."""
    skipped: bool = False
    """SUCCEEDED without a run since it was last declared or rerun."""
    environment: str = ""
    """Name of the interned environment its jobs get."""
    env_hashes: tuple[tuple[str, str | None], ...] = ()
    """Keyed hashes of the declared variables' values; None for a variable that is not set."""
    force: bool = False
    """The next check finds it outdated, whatever the files are."""
    is_outdated: bool = False
    """The last check found it outdated, and no file changed since."""
    why: tuple[str, ...] = ()
    """What exactly was outdated at that check."""
    job: Job | None = None
    """Its live job, if there is one; also one that is being stopped."""
    last: Job | None = None
    """Its last job that ended."""
    attempts: int = 0
    """Jobs since it was last asked to run, for `StepSpec.retry`."""
    putbacks: int = 0
    """How often a changed input put it back since it was last asked to run."""
    defers: int = 0
    """How often an amended input that was not there put it back since it was last asked to run."""
    losses: int = 0
    """How often the machine that it ran on went away since it was last asked to run."""
    not_before: float = 0.0
    """No start before this time: the pause before another attempt."""
    hold: str = ""
    """The hold that delays it, if any."""
    token: int = 0
    """The look it waits for, if any."""
    queued_at: float = 0.0
    place: int = 0
    """Order of becoming QUEUED."""
    overtaken: int = 0
    """Starts of later queued steps while this one, the oldest of its kind, waited."""
    estimate: float = 1.0
    """Expected seconds of a job, coarse on purpose (see `scheduler.coarse`)."""
    tail: float = 1.0
    """Longest remaining time from its start to the end of everything that needs it (see `critical`)."""
    is_needed: bool = False
    """An optional step that is to run, because a step that is no option, or is needed, waits for it."""
    at: int = 0
    """Where in the list of what it waits for something was missing last: the next search begins there."""
    needs_after: dict[str, Step | None] = field(default_factory=dict)
    """The steps named by ``after``; None while a name means nothing."""
    followers: dict[str, Step] = field(default_factory=dict)
    """Live steps that come ``after`` this one, by key."""

    @property
    def declared(self) -> StepSpec:
        """What was declared: the part of `spec` that no job amended."""
        return self.spec if self.unamended is None else self.unamended

    @property
    def is_strict(self) -> bool:
        """Whether StepUp's rule holds for its inputs: one that nobody declares is none."""
        return self.scope is not None and self.scope.kind is ScopeKind.STEP

    @property
    def is_undecided(self) -> bool:
        """Whether a step that led to it runs again, and has not declared it, or what leads to it, again (yet)."""
        at: Step | None = self
        while at is not None and (scope := at.scope) is not None and scope.kind is ScopeKind.STEP:
            if at.key in scope.undecided:
                return True
            at = scope.owner
        return False

    @property
    def is_in_question(self) -> bool:
        """Whether it is undecided, or a step that led to it may be going to run again: then what it claims yields."""
        at: Step | None = self
        while at is not None and (scope := at.scope) is not None and scope.kind is ScopeKind.STEP:
            owner = scope.owner
            if at.key in scope.undecided or (owner is not None and owner.state in TO_RUN):
                return True
            at = owner
        return False

    @property
    def label(self) -> str:
        """The key in one line of at most 80 characters: what people see."""
        return one_line(self.key)


@dataclass(slots=True, eq=False)
class Pool:
    """A named limit. A pool that somebody asks for exists before it is defined."""

    name: str
    size: int | None = None
    """Number of slots; None is no limit; 0 is closed."""
    is_defined: bool = False
    tokens: tuple[str, ...] = ()
    """What the slots are called in the environment; empty: their numbers."""
    is_per_machine: bool = False
    """Each machine of a cluster has so many slots; else there are so many over all of them."""
    is_paused: bool = False
    held: dict[int, int] = field(default_factory=dict)
    """Slot number to live job: the view from the pool of what the jobs hold."""
    elsewhere: dict[str, dict[int, int]] = field(default_factory=dict)
    """The same for each other machine by its name, where slots count on each."""
    scope: str = ""
    """Title of the scope that defined the size last."""

    @property
    def used(self) -> int:
        """Slots held by live jobs."""
        return len(self.held) + sum(len(held) for held in self.elsewhere.values())

    @property
    def holders(self) -> dict[int, None]:
        """The live jobs that hold slots."""
        return dict.fromkeys(job for held in (self.held, *self.elsewhere.values()) for job in held.values())

    def held_on(self, machine: str) -> dict[int, int]:
        """Return slot number to live job, as it is on one machine; empty: the director's own."""
        return self.elsewhere.setdefault(machine, {}) if machine and self.is_per_machine else self.held


class Stop(StrEnum):
    """Why a live job is being stopped, which decides what becomes of its step."""

    CANCEL = "cancelled"
    TIMEOUT = "timed out"
    PUT_BACK = "put back"
    """Something upstream, or its own declaration, changed: its step is PENDING already."""
    RETIRE = "retired"


@dataclass(slots=True, eq=False)
class Job:
    """One attempt to run a step."""

    id: int
    step: str
    """Key of the step."""
    pool: dict[str, int] = field(default_factory=dict)
    slots: dict[str, tuple[int, ...]] = field(default_factory=dict)
    worker: int = 0
    machine: str = ""
    """Where it runs in a cluster: the address of a worker; empty for the director's own machine."""
    place: str | None = None
    """The machine that it must run on, since it holds slots that count there; None: wherever there is room."""
    queued: float = 0.0
    """Seconds since the epoch, as are all times here."""
    started: float = 0.0
    began_ns: int = 0
    """When it was launched by the clock that files are stamped with, which may be set and goes on in a machine that
    sleeps; to be compared with times of files, and with nothing else."""
    ended: float | None = None
    outcome: Outcome | None = None
    returncode: int | None = None
    """Exit status; negative: the signal that killed it."""
    why: str = ""
    """What was outdated, in words."""
    peak_rss: int | None = None
    """Bytes."""
    cpu: float | None = None
    """Processor seconds of the whole tree, as far as it was waited for."""
    stop: Stop | None = None
    timeout: float = 0.0
    """Seconds it may take, by the declaration it was started with; 0 where there is no limit."""
    is_launched: bool = False
    """The director was told to start it. Before that, a job only holds its slots while its inputs are confirmed."""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    inputs: dict[str, FileHash] = field(default_factory=dict)
    """What the inputs were when it started, or when it amended them."""
    lacking: dict[str, None] = field(default_factory=dict)
    """Inputs that it amended and that were not there: once there is one, it has run in vain."""
    leftovers: tuple[str, ...] = ()
    """Names of processes that its command left behind and that were killed."""
    notes: tuple[str, ...] = ()
    blocks: set[str] = field(default_factory=set)
    """Keys of steps that wait for its end."""
