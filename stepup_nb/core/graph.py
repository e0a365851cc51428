"""Who makes and needs which file, who declared what, and what a declaration may claim.

Holds the nouns and their links; asks and refuses, but moves no step from state to state. Every `check_...`
leaves the graph as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import File, FileState, Scope, ScopeKind, Step, StepSpec, StepState
from stepup_nb.core.words import counted, did_you_mean


class _Same:
    """The steps of one base, told apart by their numbers."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.idle: dict[str, Step] = {}
        """Those that are not live."""
        self.lowest = 1
        """No number below is free."""


class Graph:
    """Steps, files and scopes, and the links between them."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.files: dict[str, File] = {}
        self.scopes: dict[str, Scope] = {}
        self._same: dict[str, _Same] = {}
        self._awaited: dict[str, dict[str, Step]] = {}
        """Live steps whose ``after`` names something that is not there (yet), by that name."""

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
        same = self._same.get(step.spec.base)
        if same is None:
            same = self._same[step.spec.base] = _Same()
        same.steps[step.key] = same.idle[step.key] = step

    def remove(self, step: Step) -> None:
        """Forget a step and its claims."""
        self.unlink(step)
        for path in (*step.spec.inp, *step.spec.out, *step.spec.vol):
            file = self.files.get(path)
            if file is not None and not file.consumers and file.producer is None and not file.static:
                del self.files[path]
        del self.steps[step.key]
        same = self._same[step.spec.base]
        del same.steps[step.key]
        same.idle.pop(step.key, None)
        same.lowest = min(same.lowest, step.number)
        if not same.steps:
            del self._same[step.spec.base]
        if step.scope is not None:
            step.scope.steps.pop(step.key, None)
            step.scope.undecided.pop(step.key, None)

    def enliven(self, step: Step) -> None:
        """Make a known step live, with all its links."""
        step.is_live, step.is_retired = True, False
        self._same[step.spec.base].idle.pop(step.key, None)
        self.link(step)

    def retire(self, step: Step) -> None:
        """Make a step live no longer: its claims yield from now on, and it reads nothing."""
        step.is_live, step.is_retired = False, True
        same = self._same[step.spec.base]
        same.idle[step.key] = step
        same.lowest = min(same.lowest, step.number)
        self.unlink_inputs(step)
        if step.scope is not None:
            step.scope.steps.pop(step.key, None)
            step.scope.undecided.pop(step.key, None)

    def link(self, step: Step) -> None:
        """Make the step claim its outputs; a live one also consumes its inputs and follows what it names."""
        for path in step.spec.out:
            file = self.file(path)
            file.producer = step
            file.state = FileState.AWAITED if step.record is None else FileState.OUTDATED
        for path in step.spec.vol:
            file = self.file(path)
            file.producer = step
            file.state = FileState.VOLATILE
        if step.is_live:
            self.link_inputs(step)

    def link_inputs(self, step: Step) -> None:
        """Make the step a consumer of its inputs, and a follower of the steps it comes after."""
        for path in step.spec.inp:
            self.file(path).consumers[step.key] = step
        for name in step.spec.after:
            self.follow(step, name)

    def unlink_inputs(self, step: Step) -> None:
        """Undo `link_inputs`."""
        for path in step.spec.inp:
            self.files[path].consumers.pop(step.key, None)
        for name, target in step.needs_after.items():
            if target is not None:
                target.followers.pop(step.key, None)
            else:
                self._await_no_more(step, name)
        step.needs_after.clear()

    def unlink(self, step: Step) -> None:
        """Undo `link`."""
        self.unlink_inputs(step)
        for path in (*step.spec.out, *step.spec.vol):
            file = self.files.get(path)
            if file is not None and file.producer is step:
                file.producer = None
                file.state = FileState.STATIC if file.content else FileState.MISSING

    # --- after ---

    def follow(self, step: Step, name: str) -> None:
        """Find the live step that a name of ``after`` means, or remember that there is none yet."""
        target = self.find_live(name)
        if target is None or target is step:
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

    def take_awaiting(self, step: Step) -> list[Step]:
        """Let all whose ``after`` means this step, declared just now, follow it, and return them."""
        found = [
            (waiting, name)
            for name, steps in self._awaited.items()
            if name in step.key
            for waiting in steps.values()
            if waiting is not step
        ]
        for waiting, name in found:
            self.follow(waiting, name)
        return [waiting for waiting, _ in found]

    def desert(self, step: Step) -> list[Step]:
        """Let all that follow a step look for another one, because it is not live any more; return them."""
        deserted = list(step.followers.values())
        step.followers.clear()
        for follower in deserted:
            for name, target in follower.needs_after.items():
                if target is step:
                    follower.needs_after[name] = None
                    self._awaited.setdefault(name, {})[follower.key] = follower
                    self.follow(follower, name)
        return deserted

    def find_live(self, name: str) -> Step | None:
        """Return the live step of that key, else the only live one whose key contains the name."""
        step = self.steps.get(name)
        if step is not None and step.is_live:
            return step
        found = [s for key, s in self.steps.items() if s.is_live and name in key]
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
        hint = did_you_mean(name, self.steps)
        raise UsageError(
            "SNB-120", f"There is no step '{name}'{hint}", "", "'%stepup status' lists all steps"
        )

    # --- which step does a declaration mean? ---

    def identify(self, spec: StepSpec, scope: Scope) -> tuple[Step | None, str]:
        """Return the step that a declaration adopts or changes, if any, and the key that it gets.

        SPEC 3.1 and 3.2: the k-th equal declaration of a round takes the k-th of the cell's last round, else
        an equal step that is not live, else the lowest number that no live step has.

        Raises
        ------
        UsageError
            SNB-403 when a name is taken.
        """
        if spec.name is not None:
            return self._identify_named(spec, scope), spec.name
        same = self._same.get(spec.base)
        if same is None:
            return None, spec.base
        arguments = spec.arguments
        mine = [s for s in scope.previous.get(spec.base, ()) if s.key in scope.undecided]
        for step in mine:
            if step.spec.arguments == arguments:
                return step, step.key
        if mine:
            return mine[0], mine[0].key
        if len(same.steps) - len(same.idle) > scope.counts.get(spec.base, 0):
            for step in same.steps.values():
                if step.is_live and step.key not in scope.steps and self._is_meant_again(step, spec, scope):
                    return step, step.key
        for step in same.idle.values():
            if step.spec.arguments == arguments:
                return step, step.key
        while True:
            key = numbered(spec.base, same.lowest)
            there = self.steps.get(key)
            if there is None or key in same.idle:
                return there, key
            same.lowest += 1

    def _identify_named(self, spec: StepSpec, scope: Scope) -> Step | None:
        step = self.steps.get(spec.base)
        if step is None or not step.is_live or step.scope is None:
            return step
        if step.key in scope.steps and scope.kind is not ScopeKind.SESSION:
            raise UsageError(
                "SNB-403",
                f"The name '{spec.name}' is given twice in {_cell(scope)}.",
                "a name is the identity of one step",
                "give each step a name of its own, or leave the name out",
            )
        if step.scope is not scope and not self.yields(step, scope):
            raise UsageError(
                "SNB-403",
                f"Two cells declare a step of the name '{spec.name}': {_cells(step.scope, scope)}.",
                "a name is the identity of one step",
                "change one of the two names, or delete one of the cells",
            )
        return step

    def _is_meant_again(self, step: Step, spec: StepSpec, scope: Scope) -> bool:
        owner = step.scope
        if owner is None or owner.is_deleted:
            return True
        is_equal = step.spec.arguments == spec.arguments
        if owner.kind is ScopeKind.CELL and scope.kind is ScopeKind.CELL:
            return is_equal and bool(spec.out or spec.vol)
        if is_equal and spec.out:
            return True
        if not is_equal and set(spec.out) & set(step.spec.out):
            return True
        return step.state in (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED)

    def yields(self, step: Step, scope: Scope) -> bool:
        """Tell whether what a step claims gives way to a declaration in that scope."""
        owner = step.scope
        if not step.is_live or owner is None or owner.is_deleted:
            return True
        if step.key in scope.undecided:
            return True
        is_identified = owner.kind is ScopeKind.CELL and scope.kind is ScopeKind.CELL
        return not is_identified and step.key not in scope.steps

    def number_of(self, spec: StepSpec, key: str) -> int:
        """Return the occurrence number that `identify` has just given with a key."""
        return 1 if key == spec.base else self._same[spec.base].lowest

    # --- may it claim what it claims? ---

    def check_claims(self, spec: StepSpec, key: str, scope: Scope) -> list[Step]:
        """Return the live steps that give way to this declaration.

        Raises
        ------
        UsageError
            SNB-401 two steps would write one file; SNB-402 a static file would be written; SNB-404 a file is
            both input and output; SNB-405 an input is somebody's volatile output, or the reverse.
        """
        for path in sorted({*spec.inp} & {*spec.out, *spec.vol}):
            raise UsageError(
                "SNB-404",
                f"'{path}' is both input and output of step '{_short(key)}'.",
                "a step's result would change what it was made from",
                "write to another path, and let later steps read that one",
            )
        for path in sorted({*spec.out} & {*spec.vol}):
            raise UsageError(
                "SNB-405", f"'{path}' is both an output and volatile.", "", "leave one of the two out"
            )
        yielding: dict[str, Step] = {}
        for path in (*spec.out, *spec.vol):
            file = self.files.get(path)
            if file is None:
                continue
            if file.static and not (file.static == {scope.id} and path in scope.undecided_statics):
                raise UsageError(
                    "SNB-402",
                    f"Step '{_short(key)}' cannot write '{path}'.",
                    "it was declared static, so no step may build it",
                    "choose another path, or do not declare it static",
                )
            other = file.producer
            if other is not None and other.key != key and other.is_live:
                if not self.yields(other, scope):
                    raise self._two_writers(path, other, key, scope)
                yielding[other.key] = other
        for path in spec.vol:
            file = self.files.get(path)
            readers = [] if file is None else [s for s in file.consumers.values() if s.key != key]
            if readers:
                raise UsageError(
                    "SNB-405",
                    f"'{path}' cannot be a volatile output of step '{_short(key)}'.",
                    f"step '{readers[0].label}' reads it",
                    "declare it with --out",
                )
        for path in spec.inp:
            file = self.files.get(path)
            if file is not None and file.producer is not None and file.producer.key != key:
                maker = file.producer
                if path in maker.spec.vol and maker.is_live and maker.key not in yielding:
                    raise UsageError(
                        "SNB-405",
                        f"'{path}' cannot be an input of step '{_short(key)}'.",
                        f"it is a volatile output of step '{maker.label}'",
                        "declare it there with --out",
                    )
        return list(yielding.values())

    def _two_writers(self, path: str, other: Step, key: str, scope: Scope) -> UsageError:
        mine = f"'{_short(key)}' ({_cell(scope)})"
        theirs = f"'{other.label}' ({_cell(other.scope)})"
        first, second = sorted((mine, theirs))
        return UsageError(
            "SNB-401",
            f"Two steps would write '{path}'.",
            f"it is an output of step {first} and of step {second}",
            "change one of the two paths, or remove one step with '%stepup forget'",
        )

    def check_static(self, paths: Iterable[str]) -> None:
        """Refuse to call static what a live step builds (SNB-402)."""
        for path in paths:
            file = self.files.get(path)
            if file is not None and file.producer is not None and file.producer.is_live:
                raise UsageError(
                    "SNB-402",
                    f"'{path}' cannot be static.",
                    f"step '{file.producer.label}' ({_cell(file.producer.scope)}) builds it",
                    "remove one of the two declarations",
                )

    def check_cycle(self, spec: StepSpec, key: str) -> None:
        """Refuse a declaration that would make a step wait for itself (SNB-406); shows the whole path."""
        wanted = set(spec.inp)
        after = {step.key for name in spec.after if (step := self.find_live(name)) is not None}
        if not wanted and not after:
            return
        # Walk downstream from the new outputs; an old link of this very step does not count any more.
        came_from: dict[str, tuple[str, str]] = {}
        ahead: list[tuple[str, Step]] = []

        def look_ahead(of: str, outputs: Iterable[str], followers: Iterable[Step]) -> None:
            for path in outputs:
                file = self.files.get(path)
                for reader in () if file is None else file.consumers.values():
                    ahead.append((of, reader))
                    came_from.setdefault(reader.key, (of, path))
            for follower in followers:
                ahead.append((of, follower))
                came_from.setdefault(follower.key, (of, "--after"))

        known = self.steps.get(key)
        look_ahead(key, spec.out, known.followers.values() if known is not None else ())
        done = {key}
        while ahead:
            _, step = ahead.pop()
            if step.key in done:
                continue
            done.add(step.key)
            closing = next((path for path in step.spec.out if path in wanted), None)
            if closing is None and step.key in after:
                closing = "--after"
            if closing is not None:
                raise self._cycle(key, step.key, closing, came_from)
            look_ahead(step.key, step.spec.out, step.followers.values())

    def _cycle(self, key: str, last: str, closing: str, came_from: dict[str, tuple[str, str]]) -> UsageError:
        # The walk went from the end to the start; tell it in the order in which things would be made.
        links: list[str] = []
        at = last
        while at != key:
            before, through = came_from[at]
            links = [f"'{_short(before)}'", through, *links]
            at = before
        told = " → ".join([*links, f"'{_short(last)}'", closing, f"'{_short(key)}'"])
        return UsageError(
            "SNB-406",
            f"Step '{_short(key)}' would wait for itself.",
            f"the files go round in a circle: {told}",
            "take one of these files out of an --inp or an --out",
        )


def numbered(base: str, number: int) -> str:
    """Return the key of an occurrence: the base, from the second one on with its number."""
    return base if number == 1 else f"{base} ({number})"


def _short(key: str) -> str:
    line = " ".join(key.split())
    return line if len(line) <= 80 else line[:79] + "…"


def _cell(scope: Scope | None) -> str:
    return scope.title if scope is not None and scope.title else "outside all cells"


def _cells(a: Scope, b: Scope) -> str:
    first, second = sorted((_cell(a), _cell(b)))
    return f"{first} and {second}"
