"""Who makes and needs which file, who declared what, and what a declaration may claim.

Holds the nouns and their links; asks and refuses, but moves no step from state to state. Every `check_...`
leaves the graph as it is.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from stepup_nb.core import nglob
from stepup_nb.core.alike import Alike, Same
from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import (
    FINISHED,
    SOLID,
    TO_RUN,
    Content,
    File,
    FileState,
    Glob,
    Scope,
    ScopeKind,
    Step,
    StepSpec,
)
from stepup_nb.core.words import counted, did_you_mean, one_line


class Graph:
    """Steps, files and scopes, and the links between them."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.files: dict[str, File] = {}
        self.scopes: dict[str, Scope] = {}
        self._same: dict[str, Same] = {}
        self._awaited: dict[str, dict[str, Step]] = {}
        """Live steps whose ``after`` names something that is not there (yet), by that name."""
        self._deferred: dict[Glob, set[str]] = {}
        """Deferred patterns, and the scopes that gave them."""

    # --- nouns ---

    def file(self, path: str) -> File:
        """Return the file of that path; one that nobody mentioned yet comes into being."""
        file = self.files.get(path)
        if file is None:
            file = self.files[path] = File(path)
        return file

    def add(self, step: Step) -> None:
        """Let the graph know a step that is not live (yet)."""
        self.steps[step.key] = step
        self._same.setdefault(step.spec.base, Same()).add(step)

    def remove(self, step: Step) -> None:
        """Forget a step that is not live, and its claims."""
        self.unlink(step)
        for path in (*step.spec.inp, *step.spec.out, *step.spec.vol):
            file = self.files.get(path)
            if file is not None and not file.consumers and file.producer is None and not file.static:
                del self.files[path]
        del self.steps[step.key]
        same = self._same[step.spec.base]
        same.remove(step)
        if not same.count:
            del self._same[step.spec.base]

    def enliven(self, step: Step, scope: Scope) -> None:
        """Make a known step live, declared by that scope, with all its links."""
        step.is_live, step.is_retired = True, False
        self._same[step.spec.base].idle.discard(step.key)
        self.own(step, scope)
        self.link(step)

    def own(self, step: Step, scope: Scope) -> None:
        """Make the scope the one that declared a live step last."""
        self._disown(step)
        step.scope, step.cell, step.creator = scope, scope.title, scope.id
        scope.undecided.pop(step.key, None)
        scope.steps[step.key] = step
        if (previous := scope.previous.get(step.spec.base)) is not None:
            previous.discard(step.key)
        self._same[step.spec.base].own(step, scope.id)

    def _disown(self, step: Step) -> None:
        owner = step.scope
        if owner is not None:
            owner.steps.pop(step.key, None)
            owner.undecided.pop(step.key, None)
            if (previous := owner.previous.get(step.spec.base)) is not None:
                previous.discard(step.key)
            self._same[step.spec.base].disown(step.key, owner.id)

    def retire(self, step: Step, *, is_gone: bool = True) -> None:
        """Make a step live no longer: its claims yield from now on, and it reads nothing.

        It is gone, or only laid by: its creator, which failed, may declare it again.
        """
        step.is_live, step.is_retired = False, is_gone
        self._disown(step)
        self._same[step.spec.base].retire(step)
        self.unlink_inputs(step)
        for path in step.spec.vol:
            self.release(path, step)

    def link(self, step: Step) -> None:
        """Make the step claim its outputs; a live one also its by-products, its inputs, and what it follows."""
        for path in step.spec.out:
            file = self.file(path)
            file.producer = step
            file.state = FileState.AWAITED if step.record is None else FileState.OUTDATED
        if not step.is_live:
            return
        for path in step.spec.vol:
            file = self.file(path)
            file.producer = step
            file.state = FileState.VOLATILE
        for path in step.spec.inp:
            self.file(path).consumers[step.key] = step
        for name in step.spec.after:
            self._follow(step, name)

    def unlink(self, step: Step) -> None:
        """Undo `link`."""
        self.unlink_inputs(step)
        for path in (*step.spec.out, *step.spec.vol, *step.fading):
            self.release(path, step)

    def respecify(self, step: Step, spec: StepSpec) -> None:
        """Give a live step other files, and change only the links that are others then. Outputs are only added."""
        old, step.spec = step.spec, spec
        for path in set(old.inp).difference(spec.inp):
            if (file := self.files.get(path)) is not None:
                file.consumers.pop(step.key, None)
        for path in sorted(set(spec.inp).difference(old.inp)):
            self.file(path).consumers[step.key] = step
        for path in sorted(set(spec.out).difference(old.out)):
            file = self.file(path)
            if file.producer is not step:
                file.producer = step
                file.state = FileState.AWAITED if file.look is None else FileState.OUTDATED
        for path in sorted(set(spec.vol).difference(old.vol)):
            file = self.file(path)
            file.producer, file.state = step, FileState.VOLATILE

    def unlink_inputs(self, step: Step) -> None:
        """Let the step read nothing and follow nobody."""
        for path in step.spec.inp:
            if (file := self.files.get(path)) is not None:
                file.consumers.pop(step.key, None)
        for name, target in step.needs_after.items():
            if target is not None:
                target.followers.pop(step.key, None)
            else:
                self._await_no_more(step, name)
        step.needs_after.clear()

    def release(self, path: str, step: Step) -> None:
        """Let a step claim a file no longer."""
        file = self.files.get(path)
        if file is not None and file.producer is step:
            file.producer = None
            file.state = FileState.STATIC if file.content else FileState.MISSING

    # --- static files, one by one and by the thousand ---

    def call_static(self, path: str, scope: Scope) -> File:
        """Make a file static by the word of a scope."""
        file = self.file(path)
        file.static.add(scope.id)
        scope.statics.add(path)
        scope.undecided_statics.discard(path)
        return file

    def recall_static(self, path: str, scope: Scope) -> None:
        """Take that word back."""
        scope.statics.discard(path)
        scope.undecided_statics.discard(path)
        if (file := self.files.get(path)) is not None:
            file.static.discard(scope.id)

    def defer(self, glob: Glob, scope: Scope) -> list[File]:
        """Let whatever matches be static; return the known files that are now."""
        self._deferred.setdefault(glob, set()).add(scope.id)
        return [file for path, file in self.files.items() if self._is_deferred_by(glob, path)]

    def undefer(self, glob: Glob, scope: Scope) -> list[File]:
        """Undo `defer`; return the known files that matched."""
        scopes = self._deferred.get(glob, set())
        scopes.discard(scope.id)
        if scopes:
            return []
        self._deferred.pop(glob, None)
        return [file for path, file in self.files.items() if self._is_deferred_by(glob, path)]

    @staticmethod
    def _is_deferred_by(glob: Glob, path: str) -> bool:
        return any(nglob.matches(pattern, path) for pattern in glob.patterns)

    def is_static(self, file: File) -> bool:
        """Tell whether somebody said that no step builds a file, by its name or by a pattern."""
        return bool(file.static) or any(self._is_deferred_by(glob, file.path) for glob in self._deferred)

    def static_through(self, path: str) -> str | None:
        """Return the node of the deferred glob by which a file is static that nobody named."""
        patterns = (pattern for glob in self._deferred for pattern in glob.patterns)
        return next((f"dg:{pattern}" for pattern in patterns if nglob.matches(pattern, path)), None)

    def is_output(self, path: str) -> bool:
        """Tell whether a file is the work of a step, also of one that is gone, as long as nobody changed it."""
        file = self.files.get(path)
        maker = None if file is None else file.producer
        if file is None or maker is None:
            return False
        return not maker.is_retired or (file.content is not None and file.content == made_by(maker, path))

    def left_behind(self) -> dict[str, Content | None]:
        """Return what steps have made and claim no more, or by a job that failed: its content, if that is known."""
        found: dict[str, Content | None] = {}
        for step in self.steps.values():
            if step.record is not None and not step.is_live:
                found.update(step.record.volatiles)
            found.update(step.made)
        for step in self.steps.values():
            if not step.is_live and not step.is_retired:
                # Whoever declared it may do so again; what was killed while it wrote has told nobody what.
                found.update(dict.fromkeys(step.spec.vol))
        return found

    # --- after ---

    def _follow(self, step: Step, name: str) -> None:
        """Find the live step that a name of ``after`` means, or remember that there is none yet."""
        target = self.find_live(name, step)
        if target is None:
            step.needs_after[name] = None
            self._awaited.setdefault(name, {})[step.key] = step
        else:
            if step.needs_after.get(name, target) is None:
                self._await_no_more(step, name)
            step.needs_after[name] = target
            target.followers[step.key] = step

    def _await_no_more(self, step: Step, name: str) -> None:
        waiting = self._awaited[name]
        del waiting[step.key]
        if not waiting:
            del self._awaited[name]

    def _awaiting(self, key: str) -> list[tuple[Step, str]]:
        return [
            (waiting, name)
            for name, steps in self._awaited.items()
            if name in key
            for waiting in steps.values()
            if waiting.key != key
        ]

    def take_awaiting(self, step: Step) -> list[Step]:
        """Let all whose ``after`` means this step, declared just now, follow it, and return them."""
        found = self._awaiting(step.key)
        for waiting, name in found:
            self._follow(waiting, name)
        return [waiting for waiting, _ in found]

    def desert(self, step: Step) -> None:
        """Let nobody follow a step that is not live any more."""
        for follower in step.followers.values():
            for name, target in follower.needs_after.items():
                if target is step:
                    follower.needs_after[name] = None
                    self._awaited.setdefault(name, {})[follower.key] = follower
        step.followers.clear()

    def reunite(self, step: Step) -> list[Step]:
        """Let all whose ``after`` meant a step that was deserted, or may have, find another one; return them."""
        found = self._awaiting(step.key)
        for waiting, name in found:
            target = self.find_live(name, waiting)
            # Nobody declares anything here, so that nobody could be told of a circle.
            if target is not None and not self._is_behind(target, waiting):
                self._follow(waiting, name)
        return [waiting for waiting, _ in found]

    def _is_behind(self, step: Step, first: Step) -> bool:
        """Tell whether a step waits, through whatever others, for another one."""
        todo, done = [first], {first.key}
        while todo:
            at = todo.pop()
            if at is step:
                return True
            behind = list(at.followers.values())
            for path in at.spec.out:
                behind += self.files[path].consumers.values()
            for other in behind:
                if other.key not in done:
                    done.add(other.key)
                    todo.append(other)
        return False

    def meanings(
        self, name: str, asking: Step | None = None, gone: Container[str] = frozenset()
    ) -> list[Step]:
        """Return the live steps that a name may mean to a step: that of this key, else all it is a part of."""
        step = self.steps.get(name)
        if step is not None and step.is_live and step is not asking and name not in gone:
            return [step]
        return [
            s
            for key, s in self.steps.items()
            if s.is_live and name in key and s is not asking and key not in gone
        ]

    def find_live(self, name: str, asking: Step | None = None) -> Step | None:
        """Return the live step of that key, else the only live one whose key contains the name."""
        found = self.meanings(name, asking)
        return found[0] if len(found) == 1 else None

    def find(self, name: str) -> Step:
        """Return the step that the user means by a name, or by a unique part of one.

        Raises
        ------
        UsageError
            SNB-120 when no step, or more than one, is meant.
        """
        step = self.steps.get(name)
        if step is not None:
            return step
        found = [s for key, s in self.steps.items() if name in key]
        live = [s for s in found if s.is_live]
        found = live or found
        if len(found) == 1:
            return found[0]
        if found:
            some = ", ".join(f"'{s.label}'" for s in found[:4])
            raise UsageError(
                "SNB-120",
                f"'{name}' means {counted(len(found), 'step')}.",
                f"it is a part of the names {some}{', …' if len(found) > 4 else ''}",
                "give more of the name, or the whole of it",
            )
        hint = did_you_mean(name, (step.spec.name or step.spec.command for step in self.steps.values()))
        raise UsageError(
            "SNB-120", f"There is no step '{name}'{hint or '.'}", "", "'%stepup status' lists all steps"
        )

    # --- which step does a declaration mean? ---

    def identify(self, spec: StepSpec, scope: Scope) -> tuple[Step | None, str, int]:
        """Return the step that a declaration adopts or changes, if any, and the key and number that it gets.

        SPEC 3.1 and 3.2: the k-th equal declaration of a round takes the k-th of the cell's last round, else
        an equal step that is not live, else the lowest number that no live step has.

        Raises
        ------
        UsageError
            SNB-403 when a name is taken.
        """
        if spec.name is not None:
            return self._identify_named(spec, scope), spec.name, 1
        same = self._same.get(spec.base)
        number = 1
        if same is not None and scope.kind is ScopeKind.STEP:
            # StepUp's rule: the label is the identity, whatever the order.
            step = self.steps.get(spec.base)
            if step is not None and step.spec.base == spec.base:
                if step.is_live and step.is_strict and not self.yields(step, scope):
                    raise _declared_twice((step.key, step.scope), (spec.base, scope))
                if not step.is_live or step.is_strict:
                    return step, step.key, step.number
        if same is not None:
            step = (
                self._of_last_round(spec, scope)
                or self._declared_elsewhere(same, spec, scope)
                or same.idle.equal_to(spec.arguments)
            )
            if step is not None:
                return step, step.key, step.number
            number = same.lowest
        while True:
            key = numbered(spec.base, number)
            there = self.steps.get(key)
            # The key of a stranger may look like a number of this base: 'x (2)'.
            if there is None or (not there.is_live and there.spec.base == spec.base):
                break
            number += 1
        if same is not None:
            same.lowest = number
        return there, key, number

    def _identify_named(self, spec: StepSpec, scope: Scope) -> Step | None:
        step = self.steps.get(spec.base)
        if step is not None and step.spec.base != spec.base:
            raise UsageError(
                "SNB-403",
                f"The name '{spec.name}' is taken.",
                f"it is what the occurrence {step.number} of '{one_line(step.spec.base)}' is called",
                "choose another name",
            )
        if step is None or not step.is_live or step.scope is None:
            return step
        if step.key in scope.steps and scope.kind is not ScopeKind.SESSION:
            raise UsageError(
                "SNB-403",
                f"The name '{spec.name}' is given twice in {_cell(scope)}.",
                "a name is the identity of one step",
                "give each step a name of its own, or leave the name out",
            )
        if not self.yields(step, scope):
            raise UsageError(
                "SNB-403",
                f"Two cells declare a step of the name '{spec.name}': {_both(_cell(step.scope), _cell(scope))}.",
                "a name is the identity of one step",
                "change one of the two names, or delete one of the cells",
            )
        return step

    def _of_last_round(self, spec: StepSpec, scope: Scope) -> Step | None:
        """Return the step of the cell's last round whose turn it is: an equal one, else the first."""
        previous = scope.previous.get(spec.base)
        while previous:
            step = previous.equal_to(spec.arguments) or previous.first()
            if step is None or step.key in scope.undecided or not step.is_live:
                return step
            previous.discard(step.key)  # another scope took it
        return None

    def _declared_elsewhere(self, same: Same, spec: StepSpec, scope: Scope) -> Step | None:
        """Return the live step that this is another declaration of, not one more of its kind."""
        for path in (*spec.out, *spec.vol):
            file = self.files.get(path)
            maker = None if file is None else file.producer
            if maker is not None and maker.is_live and maker.spec.base == spec.base:
                is_equal = maker.declared.arguments == spec.arguments
                if self.yields(maker, scope) or (is_equal and maker.scope is not scope):
                    return maker
        if scope.kind is ScopeKind.SESSION:
            return None
        step = self._equal_elsewhere(same, spec, scope)
        if step is not None and (step.state in FINISHED or self.is_superseded(step, scope)):
            return step
        return None

    def _equal_elsewhere(self, same: Same, spec: StepSpec, scope: Scope) -> Step | None:
        """Return the equal step of other scopes whose turn it is: for the k-th declaration, the k-th."""
        others = scope.elsewhere.get(spec.base)
        if others is None:
            others = scope.elsewhere[spec.base] = Alike()
            for id, steps in same.owned.items():
                owner = self.scopes.get(id)
                if owner is None or owner is scope:
                    continue
                are_identified = owner.kind is ScopeKind.CELL and scope.kind is ScopeKind.CELL
                if owner.is_deleted or not (are_identified or owner.kind is ScopeKind.SESSION):
                    for step in steps:
                        others.add(step)
        while (found := others.equal_to(spec.arguments)) is not None:
            if found.is_live and found.scope is not scope and found.declared.arguments == spec.arguments:
                break
            others.discard(found.key)  # it was taken
        return found

    def pass_by(self, spec: StepSpec, scope: Scope) -> None:
        """Take note that the equal step of other scopes whose turn it was had it."""
        others = scope.elsewhere.get(spec.base)
        if others and (step := others.equal_to(spec.arguments)) is not None:
            others.discard(step.key)

    def yields(self, step: Step, scope: Scope) -> bool:
        """Tell whether what a step claims gives way to a declaration in that scope."""
        owner = step.scope
        if not step.is_live or owner is None or self.is_superseded(step, scope):
            return True
        if owner is scope:
            return scope.kind is ScopeKind.SESSION
        return not (owner.kind in SOLID and scope.kind in SOLID)

    def is_superseded(self, step: Step, scope: Scope) -> bool:
        """Tell whether a step is in question: by this new round of its cell, or because its cell was deleted.

        What a plan declared is in question for everybody, as soon as the plan is to run again.
        """
        return (
            step.key in scope.undecided
            or step.is_in_question
            or (step.scope is not None and step.scope.is_deleted)
        )

    # --- may it claim what it claims? ---

    def check_claims(self, spec: StepSpec, key: str, scope: Scope) -> dict[str, Step]:
        """Return the live steps that give way to this declaration, by key.

        Raises
        ------
        UsageError
            SNB-401 two steps would write one file; SNB-402 a static file would be written; SNB-404 a file is
            both input and output; SNB-405 an input is somebody's volatile output, or the reverse.
        """
        claimed = (*spec.out, *spec.vol)
        for path in sorted(set(spec.inp).intersection(claimed)):
            raise UsageError(
                "SNB-404",
                f"'{path}' is both input and output of step '{one_line(key)}'.",
                "a step's result would change what it was made from",
                "write to another path, and let later steps read that one",
            )
        for path in sorted(set(spec.out).intersection(spec.vol)) if spec.vol else ():
            raise UsageError(
                "SNB-405", f"'{path}' is both an output and volatile.", "", "leave one of the two out"
            )
        for path in sorted(claimed) if self._deferred else ():
            for glob, scopes in self._deferred.items():
                if self._is_deferred_by(glob, path):
                    raise _deferred_and_built(path, glob, self.scopes.get(min(scopes)), key, scope)
        yielding: dict[str, Step] = {}
        for path in sorted(claimed):
            file = self.files.get(path)
            if file is None:
                continue
            for declarer in sorted(file.static):
                if not self._static_yields(path, declarer, scope):
                    raise _static_and_built(path, self.scopes.get(declarer), key, scope)
            other = file.producer
            if other is not None and other.key != key and other.is_live:
                if not self.yields(other, scope):
                    raise _two_writers(path, (other.key, other.scope), (key, scope))
                yielding[other.key] = other
        for path in spec.vol:
            file = self.files.get(path)
            for reader in () if file is None else file.consumers.values():
                if reader.key != key:
                    if not self.is_superseded(reader, scope):
                        raise _read_and_volatile(path, (key, scope), (reader.key, reader.scope))
                    yielding[reader.key] = reader
        for path in spec.inp:
            file = self.files.get(path)
            maker = None if file is None else file.producer
            if maker is not None and path in maker.spec.vol and maker.key not in (key, *yielding):
                if not self.is_superseded(maker, scope):
                    raise _read_and_volatile(path, (maker.key, maker.scope), (key, scope))
                yielding[maker.key] = maker
        return yielding

    def _static_yields(self, path: str, declarer: str, scope: Scope) -> bool:
        """Tell whether somebody's word that a file is static gives way to a declaration in that scope."""
        owner = self.scopes.get(declarer)
        if owner is None or owner.is_deleted:
            return True
        if owner.owner is not None and (owner.owner.state in TO_RUN or owner.owner.is_in_question):
            return True
        if path in owner.undecided_statics:
            return owner is scope or owner.kind is ScopeKind.STEP
        if owner is scope:
            return scope.kind is ScopeKind.SESSION
        return not (owner.kind in SOLID and scope.kind in SOLID)

    def check_static(self, paths: Iterable[str], scope: Scope) -> dict[str, Step]:
        """Return the live steps that give way when that scope calls these files static, by key (SNB-402)."""
        yielding: dict[str, Step] = {}
        for path in sorted(paths):
            file = self.files.get(path)
            maker = None if file is None else file.producer
            if maker is not None and maker.is_live:
                if not self.yields(maker, scope):
                    raise _static_and_built(path, scope, maker.key, maker.scope)
                yielding[maker.key] = maker
        return yielding

    def check_circle(self, spec: StepSpec, key: str, scope: Scope, yielding: dict[str, Step]) -> None:
        """Refuse a declaration by which a step would wait for itself (SNB-406); shows the whole way round.

        Steps of the cell's last round that alone close the circle give way: they are added to `yielding`.
        """
        if key in spec.after:
            raise _goes_round(key, [(key, "--after")])
        while circle := self._find_circle(spec, key, yielding):
            steps = [self.steps[at] for at, _ in circle if at != key]
            old = next((step for step in steps if self.is_superseded(step, scope)), None)
            if old is None:
                raise _goes_round(key, circle)
            yielding[old.key] = old

    def _find_circle(self, spec: StepSpec, key: str, gone: dict[str, Step]) -> list[tuple[str, str]]:
        """Return the way from the step's outputs to its inputs: keys, each with what leads on from it."""
        known = self.steps.get(key)
        wanted = {p for p in spec.inp if (f := self.files.get(p)) and f.producer and f.producer.is_live}
        meant = [self.meanings(name, known, gone) for name in spec.after]
        after = {found[0].key for found in meant if len(found) == 1}
        if not wanted and not after:
            return []
        # Walk downstream from the new outputs; old links of this very step do not count any more.
        came_from: dict[str, tuple[str, str]] = {}
        done = {key, *gone}
        ahead: list[Step] = []

        def look_ahead(of: str, outputs: Iterable[str], followers: Iterable[Step]) -> None:
            links = [
                (path, reader)
                for path in outputs
                if (file := self.files.get(path)) is not None
                for reader in file.consumers.values()
            ]
            for through, step in [*links, *(("--after", follower) for follower in followers)]:
                if step.key not in done:
                    done.add(step.key)
                    came_from[step.key] = (of, through)
                    ahead.append(step)

        followers = [] if known is None else list(known.followers.values())
        deserted = [(f, name) for s in gone.values() for f in s.followers.values() for name in f.spec.after]
        followers += [
            follower
            for follower, name in (*self._awaiting(key), *deserted)
            if name == key or (name in key and all(s is known for s in self.meanings(name, follower, gone)))
        ]
        look_ahead(key, spec.out, followers)
        while ahead:
            step = ahead.pop()
            closing = next((path for path in step.spec.out if path in wanted), None)
            if closing is None and step.key in after:
                closing = "--after"
            if closing is not None:
                circle = [(step.key, closing)]
                while circle[-1][0] != key:
                    circle.append(came_from[circle[-1][0]])
                return circle[::-1]
            look_ahead(step.key, step.spec.out, step.followers.values())
        return []


def made_by(step: Step, path: str) -> Content | None:
    """Return the content that a step, as far as is known, gave a file last."""
    recorded = None if step.record is None else step.record.content_of_output(path)
    return step.made.get(path) if recorded is None else recorded


def numbered(base: str, number: int) -> str:
    """Return the key of an occurrence: the base, from the second one on with its number."""
    return base if number == 1 else f"{base} ({number})"


# --- refusals: their text does not depend on which of two declarations came first ------------------

_Declared = tuple[str, Scope | None]
"""A step's key, and who declares it."""


def _two_writers(path: str, one: _Declared, other: _Declared) -> UsageError:
    first, second = sorted((_step(one), _step(other)))
    return UsageError(
        "SNB-401",
        f"Two steps would write '{path}'.",
        f"it is an output of step {first} and of step {second}",
        "change one of the two paths, or remove one step with '%stepup forget'",
    )


def _static_and_built(path: str, declarer: Scope | None, key: str, builder: Scope | None) -> UsageError:
    return UsageError(
        "SNB-402",
        f"'{path}' is declared static, and a step would write it.",
        f"static: {_cell(declarer)}; output of step {_step((key, builder))}",
        "remove one of the two declarations",
    )


def _declared_twice(one: _Declared, other: _Declared) -> UsageError:
    first, second = sorted((_cell(one[1]), _cell(other[1])))
    return UsageError(
        "SNB-407",
        f"Step '{one_line(one[0])}' is declared twice.",
        f"by {first}" if first == second else f"by {first} and by {second}",
        "declare it once, or let the two commands differ, if only by a comment",
    )


def _deferred_and_built(
    path: str, glob: Glob, declarer: Scope | None, key: str, builder: Scope | None
) -> UsageError:
    return UsageError(
        "SNB-402",
        f"'{path}' matches a deferred glob, and a step would write it.",
        f"glob '{' '.join(glob.patterns)}': {_cell(declarer)}; output of step {_step((key, builder))}",
        "write to another path, or make the pattern narrower",
    )


def _read_and_volatile(path: str, maker: _Declared, reader: _Declared) -> UsageError:
    return UsageError(
        "SNB-405",
        f"'{path}' is volatile, and a step would read it.",
        f"it is a volatile output of step {_step(maker)} and an input of step {_step(reader)}",
        "declare it with --out instead of --vol",
    )


def _goes_round(key: str, circle: list[tuple[str, str]]) -> UsageError:
    # In the order in which things would be made, beginning at the same step whoever is declared last.
    start = circle.index(min(circle))
    way = [f"'{one_line(at)}' → {through}" for at, through in (*circle[start:], *circle[:start])]
    return UsageError(
        "SNB-406",
        f"Step '{one_line(key)}' would wait for itself."
        if len(circle) == 1
        else f"{counted(len(circle), 'step')} would wait for each other.",
        f"the way goes round in a circle: {' → '.join(way)} → '{one_line(min(circle)[0])}'",
        "take one of these links out: an --inp, an --out or an --after",
    )


def _cell(scope: Scope | None) -> str:
    return scope.title if scope is not None and scope.title else "outside all cells"


def _step(declared: _Declared) -> str:
    key, scope = declared
    return f"'{one_line(key)}' ({_cell(scope)})"


def _both(one: str, other: str) -> str:
    first, second = sorted((one, other))
    return f"{first} and {second}"
