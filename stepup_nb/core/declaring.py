"""What declarations do: rounds of a cell, adoption, supersession, retirement.

The rules are those of SPEC part 3; which step a declaration means, and whether it may claim its files, is asked
of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable

from stepup_nb.core import nglob, uptodate
from stepup_nb.core.alike import Alike
from stepup_nb.core.amending import over
from stepup_nb.core.declare import pool_name
from stepup_nb.core.engine import Engine
from stepup_nb.core.errors import UsageError
from stepup_nb.core.graph import made_by
from stepup_nb.core.looking import searches
from stepup_nb.core.messages import (
    CloseScope,
    Declare,
    DeclareGlob,
    DeclareStatic,
    DefinePool,
    FilesLooked,
    Globbed,
    LogLine,
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
    TO_RUN,
    Content,
    File,
    FileState,
    Glob,
    Pool,
    PoolSize,
    Products,
    Scope,
    ScopeKind,
    Step,
    StepSpec,
    Stop,
)
from stepup_nb.core.moving import STARTUP, Looking
from stepup_nb.core.words import counted, one_line


class Declaring(Engine):
    """An engine that takes declarations."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._seq = 0
        """The greatest number of a step in the order of declarations."""
        self._last_seq = 0
        """That of the step that became live last."""
        self._dormant: dict[str, dict[str, Step]] = {}
        """Steps of the database by the cell that declared them last: that cell's first round decides on them."""
        self._cell_of: dict[str, str] = {}
        """The same by the step's key."""
        self._pool_scopes: dict[str, str] = {}
        """Scope in this session that gave a pool its size."""
        self._deserted: list[Step] = []
        """Steps that were retired by this message: who came after them may mean others now."""
        self._unsupplied: dict[str, Step] = {}
        """Steps that running plans restored, perhaps before what they read was declared again."""

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
        self._open(scope)
        for id in m.deleted:
            if id != scope.id:
                self._delete_cell(id)

    def _open(self, scope: Scope) -> None:
        """Begin a round: what the last one declared is undecided."""
        scope.pools = {}
        globs, scope.globs = scope.globs, {}
        for glob in globs:
            if glob.is_deferred:
                self._undefer(glob, scope)
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
            self._pend_unsupplied()
        for gone in [s for s in self.graph.scopes.values() if s.is_deleted]:
            for step in list(gone.steps.values()):
                self._retire(step)
            for path in list(gone.statics):
                self._drop_static(path, gone)
            if not gone.is_open:
                del self.graph.scopes[gone.id]

    def _close(self, scope: Scope, is_ok: bool) -> None:
        scope.is_open = False
        if scope.kind is ScopeKind.STEP and not is_ok:
            for step in list(scope.undecided.values()):
                self._lay_by(step)
            for path in list(scope.undecided_statics):
                self._drop_static(path, scope)
        elif is_ok:
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
        todo = [cell]
        while todo:
            for step in self._dormant.pop(todo.pop(), {}).values():
                del self._cell_of[step.key]
                step.is_retired = True
                self._touch(step)
                todo.append(round_id(step.key))
                for path in step.spec.out:
                    if (file := self.graph.files.get(path)) is not None and file.producer is step:
                        self._lose_supply(file, "is not made any more")

    def _drop_static(self, path: str, scope: Scope | None) -> None:
        if scope is None:
            return
        self.graph.recall_static(path, scope)
        file = self.graph.files.get(path)
        if file is not None and not file.static:
            self._lose_supply(file, "is no longer declared static")

    # --- what a step declares ------------------------------------------------------------------

    def scope_of_job(self, job: int) -> str:
        """Return the scope for which a running job declares; made if need be.

        Raises
        ------
        UsageError
            SNB-130: the job is over.
        """
        found = self.jobs.get(job)
        step = None if found is None else self.graph.steps.get(found.step)
        if found is None or step is None or step.job is not found or found.ended or found.stop is not None:
            raise over()
        return self._round_of(step).id

    def _round_of(self, step: Step) -> Scope:
        """Return the scope of what a step declares; its round begins with its job."""
        scope = step.round
        if scope is None:
            id = round_id(step.key)
            scope = step.round = Scope(id, ScopeKind.STEP, f"step '{step.label}'", owner=step)
            self.graph.scopes[id] = scope
            self._open(scope)
        return scope

    def _begin_round(self, step: Step) -> None:
        """A job begins: what earlier ones declared is undecided."""
        scope = step.round
        if scope is None:
            if round_id(step.key) in self._dormant:
                self._round_of(step)
            return
        self._open(scope)
        self._review.extend(scope.undecided.values())

    def _end_round(self, step: Step, *, is_ok: bool) -> None:
        """A job has ended, and with it the round of what it declared."""
        scope = step.round
        if scope is None or not scope.is_open:
            return
        adopted = list(scope.steps.values())
        self._close(scope, is_ok)
        self._pend_unsupplied()
        self._may_be_stuck = True
        if not is_ok:
            return
        for child in adopted:
            for path in child.spec.out:
                self._review_readers(self.graph.files[path])
        step.products = Products(
            tuple(sorted(scope.steps)),
            tuple(sorted(scope.statics)),
            tuple(scope.globs),
            tuple(sorted(scope.pools.items())),
            uptodate.digest_of([child.declared for _, child in sorted(scope.steps.items())]),
        )

    def _end_products(self, step: Step) -> list[Step]:
        """A step is not live any more: neither is what it declared. Return the steps that are to end as well."""
        scope, step.round = step.round, None
        if scope is None:
            return []
        for path in [*scope.statics, *scope.undecided_statics]:
            self._drop_static(path, scope)
        for glob in scope.globs:
            if glob.is_deferred:
                self._undefer(glob, scope)
        scope.is_open = False
        del self.graph.scopes[scope.id]
        return [*scope.steps.values(), *scope.undecided.values()]

    def _undefer(self, glob: Glob, scope: Scope) -> None:
        for file in self.graph.undefer(glob, scope):
            self._lose_supply(file, "matches no pattern that is declared any more")

    def _lay_by(self, step: Step) -> None:
        """Its creator failed before it declared this step again: it keeps what it has, and does nothing."""
        self._end_lives(step, "not declared again: its plan did not get so far", is_gone=False)

    def _unrestorable(self, step: Step) -> list[str]:
        """Say why what a step declared cannot be restored with it, or return nothing."""
        todo = [step]
        while todo:
            at = todo.pop()
            products = at.products
            if products is None:
                continue
            id = round_id(at.key)
            children = [self.graph.steps.get(key) for key in products.steps]
            for key, child in zip(products.steps, children, strict=True):
                if child is None:
                    return [f"step '{one_line(key)}', which it declares, was forgotten"]
                if child.is_live or child.creator != id:
                    return [f"step '{child.label}', which it declares, belongs to another one now"]
                for path in (*child.spec.out, *child.spec.vol):
                    file = self.graph.files.get(path)
                    if file is not None and (file.static or _is_claimed(file, child)):
                        return [f"'{path}', which step '{child.label}' makes, belongs to another one now"]
                if child.state is SUCCEEDED:
                    todo.append(child)
            if products.digest != uptodate.digest_of([c.declared for c in children if c is not None]):
                # A state file is data from a stranger: what it says of a step that never ran, nobody has sealed.
                return ["what it declared is not as it was written down"]
            for path in products.statics:
                file = self.graph.files.get(path)
                if file is not None and file.producer is not None and file.producer.is_live:
                    return [f"'{path}', which it calls static, is made by a step now"]
            for name, defined in products.pools:
                if self._conflicting_pool(name, defined.size) is not None:
                    return [f"pool '{name}', which it defines, has another size now"]
        return []

    def _restore_products(self, step: Step) -> None:
        """What a step declared when it succeeded last is declared again, with it."""
        todo = [step]
        others, self._unsupplied = self._unsupplied, {}
        while todo:
            creator = todo.pop()
            products = creator.products
            if products is None or not (
                products.steps or products.statics or products.globs or products.pools
            ):
                continue
            scope = self._round_of(creator)
            for name, defined in products.pools:
                self._set_pool(name, defined, scope)
            for glob in products.globs:
                self._take_glob(glob, scope)
            self._take_statics(products.statics, scope, is_restoring=True)
            for key in products.steps:
                child = self.graph.steps[key]
                self._revive_as_it_was(child, scope, creator.environment)
                if child.state is SUCCEEDED:
                    todo.append(child)
            self._close(scope, is_ok=True)
        self._pend_unsupplied()
        self._unsupplied = others

    def _revive_as_it_was(self, step: Step, scope: Scope, environment: str) -> None:
        """Make a step live as it was. What is not as it was since then is found by a look."""
        step.environment = environment
        now = tuple((name, self._hash_env(environment, name)) for name in step.spec.env)
        step.env_hashes = now
        if step.state is not SUCCEEDED:
            step.attempts = step.putbacks = step.losses = 0
            if step.state is not PENDING:
                self._move(step, PENDING, "")
            self._enliven(step, scope)
            return
        self._enliven(step, scope)
        step.skipped = True
        for path in step.spec.out:
            self._set_file(self.graph.files[path], FileState.BUILT)
        recorded = () if step.record is None else step.record.manifest.env
        changed = [name for name, value in now if value != dict(recorded).get(name, "")]
        for name in changed:
            self._out.lines.append(LogLine("UPDATED", name))
        if changed:
            self._pend(step, f"environment variable {changed[0]} changed")
        elif step.record is not None and not uptodate.is_record_of(step.record, step.spec):
            # It was declared otherwise since, and had not been checked when the session ended.
            self._pend(step, "its declaration changed")
        elif words := self._changed_supply(step):
            self._pend(step, words)
        elif step.products is not None and self.phase != STARTUP:
            # Plans run: what it claims by what it declared must not stand in their way if it is to run again.
            self._pend(step, "its files are to be looked at", is_restored=True)
        else:
            self._unsupplied[step.key] = step
        self._look_anew(step)

    def _pend_unsupplied(self) -> None:
        """All is declared that was to be, for now: what lacks an input waits for it."""
        unsupplied, self._unsupplied = self._unsupplied, {}
        for step in unsupplied.values():
            if step.is_live and step.state is SUCCEEDED and (words := self._missing_input(step)):
                self._pend(step, words, is_restored=True)

    def _changed_supply(self, step: Step) -> str:
        """Say which input is, or will be, another one than the step read; that was seen while it was not live."""
        for path in step.spec.inp:
            file = self.graph.files[path]
            maker = file.producer
            if maker is not None and maker.is_live:
                if maker.state is not SUCCEEDED:
                    return f"input '{path}' is to be made again by step '{maker.label}'"
                if made_by(maker, path) != _read(step, path):
                    return f"input '{path}' was made again"
            elif file.seen and file.content != _read(step, path):
                return f"input '{path}' {'is missing' if file.content is None else 'changed'}"
        return ""

    # --- declaring -----------------------------------------------------------------------------

    def _declare(self, m: Declare) -> None:
        spec, graph = m.spec, self.graph
        scope = self._scope(m.scope)
        self._check_request(spec)
        step, key, number = graph.identify(spec, scope)
        yielding = graph.check_claims(spec, key, scope)
        self._check_creators([*([] if step is None else [step]), *yielding.values()], scope)
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

    def _check_creators(self, steps: Iterable[Step], scope: Scope) -> None:
        """Refuse what would take a step, through whatever others, from those that declared it (SNB-407)."""
        meant = {step.key for step in steps}
        owner = scope.owner
        while owner is not None and meant:
            if owner.key in meant:
                raise UsageError(
                    "SNB-407",
                    f"Step '{owner.label}' would declare itself.",
                    f"it is what led to {scope.title}",
                    "declare another step",
                )
            owner = None if owner.scope is None else owner.scope.owner

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
        globs: tuple[Glob, ...] = ()
        if step.state is SUCCEEDED and step.token == 0:
            paths += (*step.spec.inp, *step.spec.out)
            globs = () if step.products is None else searches(step.products.globs)
        elif step.state is PENDING:
            paths += (path for path in step.spec.inp if self._is_to_appear(self.graph.files[path], step))
        if paths or globs:
            self._look(paths, Looking("look"), globs)

    def _create(self, spec: StepSpec, key: str, number: int, m: Declare, scope: Scope) -> Step:
        step = Step(key, spec, 0, number)
        step.environment, step.env_hashes, step.hold = m.environment, m.env_hashes, m.hold
        step.force = spec.force
        step.reason = "declared just now"
        self.graph.add(step)
        self._enliven(step, scope)
        return step

    def _enliven(self, step: Step, scope: Scope) -> None:
        """Make a step live, with all links, and let those who wait for what it makes know."""
        # As long as steps come in the order of last time they keep their numbers, and nothing is written.
        if step.seq <= self._last_seq:
            self._seq += 1
            step.seq = self._seq
        self._last_seq = step.seq
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
        self._note_option(step)
        for path in spec.out:
            # Who read it as a static file, or as another step's, waits for this step from now on.
            made = made_by(step, path) if step.state is SUCCEEDED else None
            for reader in list(self.graph.files[path].consumers.values()):
                if reader.state is SUCCEEDED and made is not None and _read(reader, path) == made:
                    continue  # restored before it
                if reader.state in RELYING or reader.state is FAILED:
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
        env_hashes = self._with_amended_env(step, m)
        is_equal = step.declared.arguments == spec.arguments and step.env_hashes == env_hashes
        is_restorable = scope.kind is ScopeKind.STEP and not step.is_live and step.state is SUCCEEDED
        if is_restorable and step.declared.arguments == spec.arguments and not spec.force and step.record:
            # What its creator did again in the meantime is no reason to look twice (StepUp 3.0).
            step.hold = m.hold
            self._take_spec(step, spec)
            if not (reasons := self._unrestorable(step)):
                self._revive_as_it_was(step, scope, m.environment)
                if step.state is SUCCEEDED:
                    self._restore_products(step)
                return
            self._out.lines.append(
                LogLine("NOSKIP", step.key, pages=(("Changes causing rerun", "\n".join(reasons)),))
            )
        step.environment, step.hold = m.environment, m.hold
        step.force = step.force or spec.force
        self._forget_attempts(step)
        if step.is_live and is_equal:
            was_undecided = step.is_undecided
            self.graph.own(step, scope)
            self._respecify(step, spec)
            if was_undecided:
                self._decide_products(step)
            return
        if step.state is not PENDING or step.job is not None:
            self._pend(step, "declared again" if is_equal else "its declaration changed")
        old_files = [self.graph.files[path] for path in step.spec.out if path in self.graph.files]
        old_suppliers = self._optional_suppliers(step)
        self.critical.mark_suppliers(step)
        self.graph.unlink(step)
        step.is_outdated = False
        if not is_equal:
            # What the last job amended says nothing of a step with other arguments.
            step.fading = tuple(sorted({*step.fading, *step.spec.out}.difference(step.declared.out)))
            self._fade(step)
            step.unamended = None
        self._take_spec(step, spec)
        step.env_hashes = env_hashes if is_equal else m.env_hashes
        if step.is_live:
            self.graph.own(step, scope)
            self.graph.link(step)
            self._linked(step)
        else:
            self._enliven(step, scope)
        self._review_need(old_suppliers)
        for file in old_files:
            self._review_readers(file)

    def _note_option(self, step: Step) -> None:
        if step.spec.optional:
            self._options[step.key] = step
        else:
            self._options.pop(step.key, None)

    @staticmethod
    def _take_spec(step: Step, spec: StepSpec) -> None:
        """Take a new declaration, and keep what the last job amended."""
        if step.unamended is None:
            step.spec = spec
        else:
            now = step.spec
            step.spec = spec._replace(inp=now.inp, out=now.out, vol=now.vol, env=now.env)
            step.unamended = spec

    def _respecify(self, step: Step, spec: StepSpec) -> None:
        """An equal declaration of a live step: state and record stay; pool, priority and so on count from now."""
        if step.state is QUEUED and spec.pool != step.spec.pool:
            self._move(step, PENDING, "asks for other slots")
        is_other_option = spec.optional != step.spec.optional
        self._take_spec(step, spec)
        self._note_option(step)
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
        self._end_lives(step, "no longer declared", is_gone=True)

    def _end_lives(self, first: Step, words: str, *, is_gone: bool) -> None:
        """End a step, what it declared, and so on: in a list, for plans may be as deep as a user's mistake."""
        todo = [first]
        while todo:
            step = todo.pop()
            if not step.is_live:
                continue
            creator = step.creator
            todo += self._end_products(step)
            self._end_life(step, words, is_gone=is_gone)
            if is_gone:
                self._retire_dormant(round_id(step.key))
            else:
                self._dormant.setdefault(creator, {})[step.key] = step
                self._cell_of[step.key] = creator

    def _end_life(self, step: Step, words: str, *, is_gone: bool) -> None:
        if step.state in (RUNNING, QUEUED, CHECKING):
            self._pend(step, words)
            if step.job is not None:
                step.job.stop = Stop.RETIRE
        self._fade(step)
        self._options.pop(step.key, None)
        self.counts[step.state] -= 1
        step.reason = words
        suppliers = self._optional_suppliers(step)
        self.critical.mark_suppliers(step)
        self.graph.retire(step, is_gone=is_gone)
        self._review.extend(step.followers.values())
        self.graph.desert(step)
        self._deserted.append(step)
        step.is_needed = False
        self._review_need(suppliers)
        for path in step.spec.out:
            file = self.graph.files.get(path)
            if file is not None and file.producer is step:
                self._set_file(file, self._state_without_maker(file))
                self._lose_supply(file, "is not made any more")
        self._may_be_stuck = True
        self._touch(step)

    def _reunite(self) -> None:
        """Find another meaning for each ``after`` that lost its step, now that all of a message is done."""
        while self._deserted:
            for follower in self.graph.reunite(self._deserted.pop()):
                self._review.append(follower)
                self.critical.mark_suppliers(follower)
                self._review_need(self._optional_suppliers(follower))

    # --- pools ---------------------------------------------------------------------------------

    def _define_pool(self, m: DefinePool) -> None:
        pool_name(m.name)
        pool = self.pools.named(m.name)
        before = self._pool_scopes.get(m.name)
        scope = self._scope(m.scope)
        notes = []
        if scope.kind is ScopeKind.STEP:
            other = self._conflicting_pool(m.name, m.size)
            if other is not None:
                raise _two_sizes(m.name, (other.pools[m.name].size, other), (m.size, scope))
            self._know(scope)
        elif m.is_per_machine not in (None, pool.is_per_machine) and pool.used:
            raise UsageError(
                "SNB-504",
                f"Pool '{m.name}' is in use: {counted(pool.used, 'slot')} held.",
                "whether slots count on each machine or over all of them cannot change meanwhile",
                "wait for these steps, or use a pool of another name",
            )
        elif pool.is_defined and pool.size != m.size and before is not None and before != m.scope:
            notes.append(
                f"pool '{m.name}' had {_size(pool.size)} by {pool.scope or 'code outside all cells'};"
                f" the one executed last counts: {_size(m.size)}"
            )
        tokens = m.tokens or (pool.tokens if m.size is not None and m.size <= len(pool.tokens) else ())
        is_per_machine = pool.is_per_machine if m.is_per_machine is None else m.is_per_machine
        self._set_pool(m.name, PoolSize(m.size, tokens, is_per_machine), scope)
        self._out.reply = {"pool": m.name, "notes": notes}

    def _conflicting_pool(self, name: str, size: int | None) -> Scope | None:
        """Return a step's scope that gives a pool another size: StepUp's refusal does not depend on who is first."""
        for scope in self.graph.scopes.values():
            if scope.kind is ScopeKind.STEP and (known := scope.pools.get(name)) is not None:
                owner = scope.owner
                is_in_question = owner is not None and (owner.state in TO_RUN or owner.is_in_question)
                if known.size != size and not is_in_question:
                    return scope
        return None

    def _decide_products(self, step: Step) -> None:
        """A step was undecided until now, and what it declared with it: what of that do others have meanwhile?"""
        todo = [step]
        while todo:
            at = todo.pop()
            for path in at.spec.out:
                self._review_readers(self.graph.files[path])
            scope = at.round
            if scope is None:
                continue
            if at.state is SUCCEEDED and (words := self._conflicting_products(at, scope)):
                at.force = True
                self._pend(at, words)
            for child in scope.steps.values():
                if child.state in (PENDING, QUEUED):
                    self._review.append(child)
                todo.append(child)

    def _conflicting_products(self, step: Step, scope: Scope) -> str:
        """Say what a step that succeeded declared and others took over, or return nothing."""
        for name, defined in scope.pools.items():
            if self._conflicting_pool(name, defined.size) is not None:
                return f"pool '{name}', which it defines, has another size now"
        declared = Products() if step.products is None else step.products
        for key in declared.steps:
            if key not in scope.steps:
                return f"step '{one_line(key)}', which it declares, belongs to another one now"
        for path in declared.statics:
            if path not in scope.statics:
                return f"'{path}', which it calls static, is made by a step now"
        return ""

    def _set_pool(self, name: str, defined: PoolSize, scope: Scope) -> None:
        pool = self.pools.named(name)
        self._pool_scopes[name] = scope.id
        pool.scope = scope.title
        if scope.kind is ScopeKind.STEP:
            scope.pools[name] = defined
        self._change_pool(pool, defined)

    def _change_pool(self, pool: Pool, defined: PoolSize | None) -> None:
        was_closed = pool.size == 0
        if self.narrator is not None and defined is not None:
            self.narrator.resized(pool, defined.size)
        pool.is_defined = defined is not None
        size, pool.tokens, is_per_machine = defined or PoolSize(None)
        pool.size = size
        if not pool.used:
            # Slots that are held are counted as they were taken.
            pool.is_per_machine = is_per_machine
        self._out.pools[pool.name] = pool
        self._review.extend(self._pool_waiters.pop(pool.name, {}).values())
        for step in self.pools.refused(pool.name):
            self._move(step, PENDING, self._pool_obstacle(step))
        if was_closed is not (size == 0):
            for step in self.pools.waiting(pool.name):
                self._touch(step)
        self._may_be_stuck = True

    # --- files ---------------------------------------------------------------------------------

    def _declare_static(self, m: DeclareStatic) -> None:
        scope = self._scope(m.scope)
        yielding = self.graph.check_static(m.paths, scope)
        self._check_creators(yielding.values(), scope)
        # Nothing is refused below this line.
        self._know(scope)
        for step in yielding.values():
            self._retire(step)
        self._take_statics(m.paths, scope)

    def _take_statics(self, paths: tuple[str, ...], scope: Scope, *, is_restoring: bool = False) -> None:
        for path in paths:
            file = self.graph.call_static(path, scope)
            if is_restoring and file.look is None:
                file.seen = True  # it was missing, and may be back
            if file.producer is not None:
                # That of a step which is not live: now the file stands for itself.
                file.producer = None
                self._set_file(file, FileState.MISSING if file.content is None else FileState.STATIC)
            self._review_readers(file)
            self._out.files[path] = file
        if paths:
            self._look(paths, Looking("look"))

    def _declare_glob(self, m: DeclareGlob) -> None:
        nglob.check(m.glob.patterns, dict(m.glob.subs))
        scope = self._scope(m.scope)
        self._know(scope)
        if m.glob.is_deferred:
            self._take_glob(m.glob, scope)
            self._out.globbed.append(Globbed(m.token, ()))
        else:
            job = None if scope.owner is None else scope.owner.job
            self._look((), Looking("glob", job=job, scope=scope, token=m.token), (m.glob,))

    def _globbed(self, report: FilesLooked, looking: Looking, scope: Scope) -> None:
        for glob, matches in report.found.items():
            glob = glob._replace(found=self._without_outputs(matches))
            is_asked = scope.owner is None or scope.owner.job is looking.job
            if is_asked and (scope.is_open or scope.kind is ScopeKind.SESSION):
                self._take_glob(glob, scope)
                if found := dict.fromkeys(path for paths in glob.found for path in paths):
                    self._take_statics(tuple(found), scope)
            self._out.globbed.append(Globbed(looking.token, glob.found))

    def _take_glob(self, glob: Glob, scope: Scope) -> None:
        scope.globs[glob] = None
        if glob.is_deferred:
            for file in self.graph.defer(glob, scope):
                self._review_readers(file)

    def _with_amended_env(self, step: Step, m: Declare) -> tuple[tuple[str, str | None], ...]:
        """Return the values that count, also of the variables that only the last job named."""
        more = sorted(set(step.spec.env).difference(step.declared.env, m.spec.env))
        return tuple(sorted((*m.env_hashes, *((name, self._hash_env(m.environment, name)) for name in more))))


def _size(size: int | None) -> str:
    return "no limit" if size is None else counted(size, "slot")


def _two_sizes(name: str, one: tuple[int | None, Scope], other: tuple[int | None, Scope]) -> UsageError:
    first, second = sorted(f"{_size(size)} by {scope.title}" for size, scope in (one, other))
    return UsageError(
        "SNB-503",
        f"Pool '{name}' gets two sizes.",
        f"{first}, and {second}",
        "define it in one plan, with one size",
    )


def round_id(key: str) -> str:
    """Return the id of the scope of what a step declares."""
    return f"step:{key}"


def _is_claimed(file: File, step: Step) -> bool:
    return file.producer is not None and file.producer.is_live and file.producer is not step


def _read(reader: Step, path: str) -> Content | None:
    return None if reader.record is None else reader.record.content_of_input(path)


def _has_equal_links(old: StepSpec, new: StepSpec) -> bool:
    return (old.inp, old.out, old.after) == (new.inp, new.out, new.after)
