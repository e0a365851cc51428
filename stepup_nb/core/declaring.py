"""What declarations do: rounds of a cell, adoption, supersession, retirement.

The rules are those of SPEC part 3; which step a declaration means, and whether it may claim its files, is asked
of the graph.
"""

from __future__ import annotations

from stepup_nb.core import uptodate
from stepup_nb.core.alike import Alike
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
    RELYING,
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
        self._dormant: dict[str, dict[str, Step]] = {}
        """Steps of the database by the cell that declared them last: that cell's first round decides on them."""
        self._cell_of: dict[str, str] = {}
        """The same by the step's key."""
        self._deserted: list[Step] = []
        """Steps that were retired by this message: who came after them may mean others now."""

    # --- rounds --------------------------------------------------------------------------------

    def _scope(self, id: str) -> Scope:
        """Return a scope; one that nobody opened is outside all cells. Only `_know` makes it known."""
        return self.graph.scopes.get(id) or Scope(id, ScopeKind.SESSION)

    def _know(self, scope: Scope) -> None:
        self.graph.scopes.setdefault(scope.id, scope)

    def _open_scope(self, m: OpenScope) -> None:
        scope = self._scope(m.scope)
        self._know(scope)
        if scope.is_open:
            self._close(scope, is_ok=False)
        scope.kind, scope.title = m.kind, m.title
        scope.undecided, scope.steps = scope.steps, {}
        scope.undecided_statics, scope.statics = scope.statics, set()
        last_round: dict[str, list[Step]] = {}
        for step in (*scope.undecided.values(), *self._dormant.get(scope.id, {}).values()):
            last_round.setdefault(step.spec.base, []).append(step)
        scope.previous = {base: Alike(steps) for base, steps in last_round.items()}
        scope.elsewhere = {}
        # Jobs of earlier rounds may still be dying.
        scope.leaving = {job for job in scope.leaving if job in self.jobs}
        for step in scope.undecided.values():
            if step.job is not None and step.job.id in self.jobs:
                scope.leaving.add(step.job.id)
                self._leaving[step.job.id] = scope
        scope.released = scope.is_deleted = False
        scope.is_open = True
        for id in m.deleted:
            if id != scope.id:
                self._delete_cell(id)

    def _delete_cell(self, id: str) -> None:
        """A cell is gone: what it claims yields at once; what nobody takes over is retired after this round."""
        gone = self.graph.scopes.get(id)
        if gone is not None:
            gone.is_deleted = True
        self._retire_dormant(id)

    def _close_scope(self, m: CloseScope) -> None:
        scope = self.graph.scopes.get(m.scope)
        if scope is not None and scope.is_open:
            self._close(scope, m.is_ok)
        for gone in [s for s in self.graph.scopes.values() if s.is_deleted]:
            for step in list(gone.steps.values()):
                self._retire(step)
            for path in list(gone.statics):
                self._drop_static(path, gone)
            if not gone.is_open:
                del self.graph.scopes[gone.id]

    def _close(self, scope: Scope, is_ok: bool) -> None:
        scope.is_open = False
        if is_ok:
            for step in list(scope.undecided.values()):
                self._retire(step)
            self._retire_dormant(scope.id)
            for path in list(scope.undecided_statics):
                self._drop_static(path, scope)
        else:
            scope.statics |= scope.undecided_statics
            scope.steps = {**scope.undecided, **scope.steps}
            # What is undecided goes on; what was superseded is still waited for.
            scope.leaving -= {s.job.id for s in scope.undecided.values() if s.job is not None}
            self._review.extend(s for s in scope.steps.values() if s.state is PENDING)
        scope.undecided = {}
        scope.undecided_statics = set()
        scope.previous = {}

    def _retire_dormant(self, cell: str) -> None:
        """What a cell declared in an earlier session, and nobody in this one, is retired."""
        for step in self._dormant.pop(cell, {}).values():
            del self._cell_of[step.key]
            step.is_retired = True
            self._touch(step)

    def _drop_static(self, path: str, scope: Scope | None) -> None:
        file = self.graph.files.get(path)
        if file is not None and scope is not None:
            file.static.discard(scope.id)
            scope.statics.discard(path)
            scope.undecided_statics.discard(path)

    # --- declaring -----------------------------------------------------------------------------

    def _declare(self, m: Declare) -> None:
        spec, graph = m.spec, self.graph
        scope = self._scope(m.scope)
        self._check_request(spec)
        step, key, number = graph.identify(spec, scope)
        yielding = graph.check_claims(spec, key, scope)
        if step is None or not step.is_live or not _has_equal_links(step.spec, spec):
            graph.check_circle(spec, key, scope, yielding)
        # Nothing is refused below this line.
        self._know(scope)
        graph.pass_by(spec, scope)
        for other in yielding.values():
            self._retire(other)
        for path in (*spec.out, *spec.vol):
            if (file := graph.files.get(path)) is not None:
                for declarer in list(file.static):
                    self._drop_static(path, graph.scopes.get(declarer))
                file.static.clear()
        if step is None:
            step = self._create(spec, key, number, m, scope)
        else:
            self._declare_again(step, m, scope)
        if scope.leaving and step.job is not None:
            self._left(scope, step.job.id)
        self._look_anew(step)
        note = self.pools.obstacle(spec.pool)
        self._out.reply = {"step": step.key, "notes": [note] if note else []}

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

    def _look_anew(self, step: Step) -> None:
        """The last looks are of an earlier moment: take new ones at what nobody else is about to look at."""
        paths: list[str] = []
        if step.state is SUCCEEDED and step.token == 0:
            paths += (*step.spec.inp, *step.spec.out)
        elif step.state is PENDING:
            paths += (path for path in step.spec.inp if self._is_to_appear(self.graph.files[path]))
        if paths:
            self._look(paths, Looking("look"))

    def _create(self, spec: StepSpec, key: str, number: int, m: Declare, scope: Scope) -> Step:
        step = Step(key, spec, 0, number)
        step.environment, step.env_hashes, step.hold = m.environment, m.env_hashes, m.hold
        step.force = spec.force
        step.reason = "declared just now"
        self.graph.add(step)
        self._enliven(step, scope)
        return step

    def _enliven(self, step: Step, scope: Scope) -> None:
        """Make a PENDING step live, with all links, and let those who wait for what it makes know."""
        self._seq += 1
        step.seq = self._seq
        if (cell := self._cell_of.pop(step.key, None)) is not None:
            del self._dormant[cell][step.key]
        self.counts[step.state] += 1
        self.graph.enliven(step, scope)
        self._linked(step)

    def _linked(self, step: Step) -> None:
        spec = step.spec
        for name, _ in spec.pool:
            self.pools.named(name)
        if spec.duration is not None:
            step.estimate = spec.duration
        step.tail, step.at = step.estimate, 0
        for path in spec.out:
            # Who read it as a static file, or as another step's, waits for this step from now on.
            for reader in list(self.graph.files[path].consumers.values()):
                if reader.state in RELYING:
                    self._pend(reader, f"input '{path}' is now made by step '{step.label}'")
                elif reader.state is PENDING:
                    self._review.append(reader)
        self._review.extend(self.graph.take_awaiting(step))
        self._review_need([step, *self._optional_suppliers(step)])
        self.critical.mark(step)
        self._hold(step)
        self._review.append(step)
        self._touch(step)

    def _declare_again(self, step: Step, m: Declare, scope: Scope) -> None:
        spec = m.spec
        is_equal = step.spec.arguments == spec.arguments and step.env_hashes == m.env_hashes
        step.environment, step.hold = m.environment, m.hold
        step.force = step.force or spec.force
        self._forget_attempts(step)
        if step.is_live and is_equal:
            self.graph.own(step, scope)
            self._respecify(step, spec)
            return
        if step.state is not PENDING or step.job is not None:
            self._pend(step, "declared again" if is_equal else "its declaration changed")
        old_files = [self.graph.files[path] for path in step.spec.out if path in self.graph.files]
        old_suppliers = self._optional_suppliers(step)
        self.critical.mark_suppliers(step)
        self.graph.unlink(step)
        step.env_hashes = m.env_hashes
        step.is_outdated = False
        step.spec = spec
        if step.is_live:
            self.graph.own(step, scope)
            self.graph.link(step)
            self._linked(step)
        else:
            self._enliven(step, scope)
        self._review_need(old_suppliers)
        for file in old_files:
            self._review_readers(file)

    def _respecify(self, step: Step, spec: StepSpec) -> None:
        """An equal declaration of a live step: state and record stay; pool, priority and so on count from now."""
        if step.state is QUEUED and spec.pool != step.spec.pool:
            self._move(step, PENDING, "asks for other slots")
        is_other_option = spec.optional != step.spec.optional
        step.spec = spec
        for name, _ in spec.pool:
            self.pools.named(name)
        if spec.duration is not None:
            self._set_estimate(step, spec.duration)
        if step.state is QUEUED:
            self.pools.rerank(step)
        if is_other_option:
            self._review_need([step, *self._optional_suppliers(step)])
        self._hold(step)
        self._touch(step)
        is_being_stopped = step.state is RUNNING and step.job is not None and step.job.stop is not None
        if step.state in (FAILED, CANCELLED) or is_being_stopped:
            self._pend(step, "declared again")
        elif step.state is SUCCEEDED and spec.force:
            self._pend(step, uptodate.ASKED)
        elif step.state is SUCCEEDED:
            step.skipped = True
        else:
            self._review.append(step)

    def _retire(self, step: Step) -> None:
        """A step is declared no longer: it never runs again unless it is declared again."""
        if not step.is_live:
            return
        if step.state in (RUNNING, QUEUED, CHECKING):
            self._pend(step, "no longer declared")
            if step.job is not None:
                step.job.stop = Stop.RETIRE
        self.counts[step.state] -= 1
        step.reason = "no longer declared"
        suppliers = self._optional_suppliers(step)
        self.critical.mark_suppliers(step)
        self.graph.retire(step)
        self._review.extend(step.followers.values())
        self.graph.desert(step)
        self._deserted.append(step)
        step.is_needed = False
        self._review_need(suppliers)
        for path in step.spec.out:
            file = self.graph.files.get(path)
            if file is not None and file.producer is step:
                self._set_file(file, self._state_without_maker(file))
                self._review_readers(file)
        self._may_be_stuck = True
        self._touch(step)

    def _reunite(self) -> None:
        """Find another meaning for each ``after`` that lost its step, now that all of a message is done."""
        while self._deserted:
            for follower in self.graph.reunite(self._deserted.pop()):
                self._review.append(follower)
                self.critical.mark_suppliers(follower)
                self._review_need(self._optional_suppliers(follower))

    def _declare_static(self, m: DeclareStatic) -> None:
        scope = self._scope(m.scope)
        yielding = self.graph.check_static(m.paths, scope)
        # Nothing is refused below this line.
        self._know(scope)
        for step in yielding.values():
            self._retire(step)
        for path in m.paths:
            file = self.graph.file(path)
            file.static.add(scope.id)
            scope.statics.add(path)
            scope.undecided_statics.discard(path)
            if file.producer is not None:
                # That of a step which is not live: now the file stands for itself.
                file.producer = None
                self._set_file(file, FileState.MISSING if file.content is None else FileState.STATIC)
                self._review_readers(file)
            self._out.files[path] = file
        if m.paths:
            self._look(m.paths, Looking("look"))


def _has_equal_links(old: StepSpec, new: StepSpec) -> bool:
    return (old.inp, old.out, old.after) == (new.inp, new.out, new.after)
