"""What declarations do: rounds of a cell, adoption, supersession, retirement.

The rules are those of SPEC part 3; which step a declaration means, and whether it may claim its files, is asked
of the graph.
"""

from __future__ import annotations

from stepup_nb.core.engine import Engine, Looking
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import (
    CloseScope,
    Declare,
    DeclareStatic,
    OpenScope,
)
from stepup_nb.core.model import (
    CANCELLED,
    CHECKING,
    FAILED,
    PENDING,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    FileState,
    Scope,
    ScopeKind,
    Step,
    StepSpec,
    Stop,
)
from stepup_nb.core.words import counted


class Declaring(Engine):
    """An engine that takes declarations."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._seq = 0
        """Declarations so far."""
        self._dormant_cells: dict[str, dict[str, Step]] = {}
        """Steps of the database by the cell that declared them last: that cell's first round retires them."""

    # --- declaring -----------------------------------------------------------------------------

    def _scope(self, id: str) -> Scope:
        scope = self.graph.scopes.get(id)
        if scope is None:
            scope = self.graph.scopes[id] = Scope(id, ScopeKind.SESSION)
        return scope

    def _open_scope(self, m: OpenScope) -> None:
        scope = self.graph.scopes.get(m.scope)
        if scope is None:
            scope = self.graph.scopes[m.scope] = Scope(m.scope, m.kind)
        elif scope.is_open:
            self._close(scope, is_ok=False)
        scope.kind, scope.title = m.kind, m.title
        scope.undecided = scope.steps
        scope.steps = {}
        scope.counts = {}
        scope.previous = {}
        for step in scope.undecided.values():
            scope.previous.setdefault(step.spec.base, []).append(step)
        scope.undecided_statics, scope.statics = scope.statics, set()
        scope.leaving = set()
        for step in scope.undecided.values():
            if step.job is not None and step.job.id in self.jobs:
                scope.leaving.add(step.job.id)
                self._leaving[step.job.id] = scope
        scope.released = scope.is_deleted = False
        scope.is_open = True
        for id in m.deleted:
            gone = self.graph.scopes.get(id)
            if gone is not None and gone is not scope:
                gone.is_deleted = True

    def _close_scope(self, m: CloseScope) -> None:
        scope = self.graph.scopes.get(m.scope)
        if scope is not None and scope.is_open:
            self._close(scope, m.is_ok)
        for gone in [s for s in self.graph.scopes.values() if s.is_deleted]:
            for step in list(gone.steps.values()):
                self._retire(step)
            for path in gone.statics:
                self._drop_static(path, gone)
            if not gone.is_open:
                del self.graph.scopes[gone.id]

    def _close(self, scope: Scope, is_ok: bool) -> None:
        scope.is_open = False
        if is_ok:
            for step in list(scope.undecided.values()):
                self._retire(step)
            for step in list(self._dormant_cells.pop(scope.id, {}).values()):
                if not step.is_live:
                    step.is_retired = True
                    self._touch(step)
            for path in scope.undecided_statics:
                self._drop_static(path, scope)
        else:
            scope.statics |= scope.undecided_statics
            scope.steps = {**scope.undecided, **scope.steps}
            scope.leaving = set()
            self._review.extend(s for s in scope.steps.values() if s.state is PENDING)
        scope.undecided = {}
        scope.undecided_statics = set()
        scope.previous = {}

    def _drop_static(self, path: str, scope: Scope) -> None:
        file = self.graph.files.get(path)
        if file is not None:
            file.static.discard(scope.id)

    def _declare(self, m: Declare) -> None:
        spec, graph = m.spec, self.graph
        scope = self._scope(m.scope)
        self._check_request(spec)
        step, key = graph.identify(spec, scope)
        yielding = graph.check_claims(spec, key, scope)
        graph.check_cycle(spec, key)
        # Nothing is refused below this line.
        for other in yielding:
            self._retire(other)
        for path in (*spec.out, *spec.vol):
            self._drop_static(path, scope)
        if step is None:
            step = self._create(spec, key, graph.number_of(spec, key), m)
        else:
            self._declare_again(step, m)
        self._own(step, scope)
        # The last look is of an earlier moment: take a new one at what nobody else is about to look at.
        if step.state is SUCCEEDED and step.token == 0 and (spec.inp or spec.out):
            self._look((*spec.inp, *spec.out), Looking("look"))
        notes = [self.pools.obstacle(spec.pool)]
        self._out.reply = {"step": step.key, "notes": [note for note in notes if note]}

    def _check_request(self, spec: StepSpec) -> None:
        for name, slots in spec.pool:
            pool = self.pools.pools.get(name)
            if pool is not None and pool.is_defined and pool.size and slots > pool.size:
                raise UsageError(
                    "SNB-501",
                    f"The step asks for {counted(slots, 'slot')} of pool '{name}', which has {pool.size}.",
                    "it could never start",
                    f"ask for at most {pool.size}, or make the pool larger with '%pool {name} {slots}'",
                )

    def _create(self, spec: StepSpec, key: str, number: int, m: Declare) -> Step:
        self._seq += 1
        step = Step(key, spec, self._seq, number)
        step.environment, step.env_hashes, step.hold = m.environment, m.env_hashes, m.hold
        step.force = spec.force
        step.reason = "declared just now"
        self.graph.add(step)
        self._enliven(step)
        return step

    def _enliven(self, step: Step) -> None:
        """Make a PENDING step live, with all links, and let those who wait for what it makes know."""
        self.counts[step.state] += 1
        for name, _ in step.spec.pool:
            self.pools.named(name)
        self.graph.enliven(step)
        self._linked(step)

    def _linked(self, step: Step) -> None:
        step.estimate = step.spec.duration if step.spec.duration is not None else step.estimate
        self._stale_tails += 1
        for path in step.spec.out:
            # Who read it as a static file, or as another step's, waits for this step from now on.
            for reader in list(self.graph.files[path].consumers.values()):
                if reader.state in (SUCCEEDED, RUNNING, QUEUED, CHECKING):
                    self._pend(reader, f"input '{path}' is now made by step '{step.label}'")
                elif reader.state is PENDING:
                    self._review.append(reader)
        if step.spec.optional or step.spec.inp:
            self._review_optional_suppliers(step)
        self._review.extend(self.graph.take_awaiting(step))
        self._review.append(step)
        self._touch(step)

    def _review_optional_suppliers(self, step: Step) -> None:
        todo, done = [step], {step.key}
        while todo:
            for path in todo.pop().spec.inp:
                file = self.graph.files.get(path)
                maker = None if file is None else file.producer
                if maker is not None and maker.spec.optional and maker.key not in done:
                    done.add(maker.key)
                    self._review.append(maker)
                    todo.append(maker)

    def _declare_again(self, step: Step, m: Declare) -> None:
        spec = m.spec
        is_equal = step.spec.arguments == spec.arguments and step.env_hashes == m.env_hashes
        step.environment, step.hold = m.environment, m.hold
        step.force = step.force or spec.force
        was_live = step.is_live
        step.attempts = step.putbacks = 0
        step.not_before = 0.0
        if was_live and is_equal:
            self._respecify(step, spec)
            return
        if step.state is not PENDING or step.job is not None:
            self._pend(step, "declared again" if is_equal else "its declaration changed")
        if was_live:
            self.counts[PENDING] -= 1
            old_outputs = [path for path in step.spec.out if path not in spec.out]
            self.graph.unlink(step)
            for path in old_outputs:
                if (file := self.graph.files.get(path)) is not None:
                    self._review_readers(file)
        else:
            self.graph.unlink(step)
        step.env_hashes = m.env_hashes
        step.is_outdated = False
        step.spec = spec
        self._enliven(step)

    def _respecify(self, step: Step, spec: StepSpec) -> None:
        """An equal declaration of a live step: state and record stay; pool, priority and so on count from now."""
        if step.state is QUEUED and spec.pool != step.spec.pool:
            self._move(step, PENDING, "asks for other slots")
            self._review.append(step)
        step.spec = spec
        for name, _ in spec.pool:
            self.pools.named(name)
        if spec.duration is not None:
            self._set_estimate(step, spec.duration)
        if step.state is QUEUED:
            self.pools.rerank(step)
        self._review_optional_suppliers(step)
        self._touch(step)
        if step.state in (FAILED, CANCELLED):
            self._pend(step, "declared again")
        elif step.state is SUCCEEDED and spec.force:
            self._pend(step, "forced")
        elif step.state is SUCCEEDED:
            step.skipped = True
        else:
            self._review.append(step)

    def _own(self, step: Step, scope: Scope) -> None:
        owner = step.scope
        if owner is not None and owner is not scope:
            owner.steps.pop(step.key, None)
            owner.undecided.pop(step.key, None)
        step.scope = scope
        step.cell = scope.title
        scope.undecided.pop(step.key, None)
        scope.steps[step.key] = step
        base = step.spec.base
        scope.counts[base] = scope.counts.get(base, 0) + 1
        if scope.leaving and step.job is not None:
            self._left(scope, step.job.id)

    def _retire(self, step: Step) -> None:
        """A step is declared no longer: it never runs again unless it is declared again."""
        if not step.is_live:
            return
        if step.state in (RUNNING, QUEUED, CHECKING):
            was_running = step.state is RUNNING
            self._pend(step, "no longer declared")
            if was_running and step.job is not None:
                step.job.stop = Stop.RETIRE
        self.counts[step.state] -= 1
        step.reason = "no longer declared"
        self.graph.retire(step)
        self._review.extend(self.graph.desert(step))
        self._review_optional_suppliers(step)
        for path in step.spec.out:
            file = self.graph.files.get(path)
            if file is not None and file.producer is step:
                self._set_file(file, FileState.BUILT if step.state is SUCCEEDED else FileState.OUTDATED)
                self._review_readers(file)
        self._touch(step)

    def _declare_static(self, m: DeclareStatic) -> None:
        self.graph.check_static(m.paths)
        scope = self._scope(m.scope)
        for path in m.paths:
            file = self.graph.file(path)
            file.static.add(scope.id)
            scope.statics.add(path)
            scope.undecided_statics.discard(path)
            if file.producer is not None:
                file.producer = None
            self._out.files[path] = file
        if m.paths:
            self._look(m.paths, Looking("look"))
