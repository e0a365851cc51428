"""Steps as a plan for StepUp 3 or 4: the text of a ``plan.py``, and what it cannot say.

What StepUp has no word for is left out, or said in a stricter way, and named: in a comment where it is, and in the
warnings. Two exports of the same steps are the same text.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stepup_nb.core.declare import LINE_SHELL, PYTHON_CODE
from stepup_nb.core.model import StepSpec
from stepup_nb.core.words import counted, one_line, visible

VERSIONS = (3, 4)
"""Of StepUp, that plans are written for."""

_WIDTH = 100
"""Columns of a call that stays on one line."""
_BLOCKED = "blocked"
"""In StepUp 4 a step is blocked by a resource that nobody has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A step that is to be in the plan."""

    key: str
    spec: StepSpec
    """What was declared."""
    read: tuple[str, ...]
    """All inputs, those among them that its last job has amended."""
    after: tuple[str, ...] = ()
    """Keys of the steps that it comes after."""
    cell: str = ""
    has_children: bool = False
    """It declares steps itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What there is to be exported."""

    title: str
    """What the steps are from: the notebook's name."""
    file: str
    """Path of the plan."""
    root: str
    """The folder of both."""
    steps: Sequence[Declared]
    """In order of declaration."""
    pools: Mapping[str, int | None]
    statics: Collection[str] = ()
    """Files that were declared static."""
    present: Collection[str] = ()
    """Inputs that are there."""
    elsewhere: Collection[str] = ()
    """Files that plans of the project declare, static or as outputs."""
    workers: int = 2


@dataclass(slots=True)
class Plan:
    """A plan for StepUp."""

    text: str = ""
    warnings: list[str] = field(default_factory=list)
    """What it cannot say, or says in another way."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of StepUp's API."""

    function: str
    words: tuple[str, ...]
    """Its arguments that have no names, as Python source."""
    options: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    cell: str = ""

    def lines(self) -> list[str]:
        given = [*self.words, *(f"{name}={value}" for name, value in self.options)]
        line = f"{self.function}({', '.join(given)})"
        found = [f"# {_comment(note)}" for note in self.notes]
        if len(line) <= _WIDTH and "\n" not in line:
            return [*found, line]
        inner = ["\n".join(f"    {part}" for part in f"{one},".split("\n")) for one in given]
        return [*found, f"{self.function}(", *inner, ")"]


def plan(project: Project, version: int) -> Plan:
    """Return the plan for a version of StepUp."""
    writer = _Writer3(project) if version == 3 else _Writer4(project)
    return writer.plan()


# --- Python source --------------------------------------------------------------------------------


def _comment(text: str) -> str:
    return visible(one_line(text))


def literal(text: str) -> str:
    r"""Return a text as Python source; one of several lines as one literal a line.

    >>> literal("it's\ta \"b\"")
    '"it\'s\\ta \\"b\\""'
    """
    lines = text.splitlines(keepends=True) if "\n" in text.rstrip("\n") else [text]
    # `splitlines` knows more ends of lines than Python's source does: all of them are escaped.
    return "\n".join(_quoted(line) for line in lines)


def _quoted(text: str) -> str:
    quote = "'" if '"' in text and "'" not in text else '"'
    return f"{quote}{''.join(_char(char, quote) for char in text)}{quote}"


def _char(char: str, quote: str) -> str:
    if char in (quote, "\\"):
        return f"\\{char}"
    if char.isprintable():
        return char
    return repr(char)[1:-1]


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(literal(text) for text in texts)}]"


# --- the plan -------------------------------------------------------------------------------------


class _Writer:
    """Writes a plan; the versions differ in names, in folders, and in how limits are said."""

    version = 0
    run = ""
    """How it is run, with ``{workers}`` and ``{limits}``."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._warnings: list[str] = []
        self._steps = [step for step in project.steps if self._is_said(step)]
        self._made = {path for step in self._steps for path in (*step.spec.out, *step.spec.vol)}
        self._outputs = {step.key: step.spec.out for step in self._steps}
        self._commands: dict[tuple[str, str], int] = {}
        self._lost: dict[str, list[str]] = {}
        """Steps by the option that is lost on them."""

    def plan(self) -> Plan:
        calls = [self._step(step) for step in self._steps]
        statics, folders = self._files()
        head = [*self._pool_calls(), *statics, *folders]
        for option, steps in self._lost.items():
            self._warn(f"{option} of {_some(steps)}: StepUp {self.version} has no such option")
        variables = sorted({name for step in self._steps for name in step.spec.env})
        if variables:
            self._warn(f"set {', '.join(variables)} for StepUp as in the notebook: the plan has no values")
        if any("STEPUP_POOL_" in step.spec.command for step in self._steps):
            self._warn("StepUp does not tell steps their slots: $STEPUP_POOL_... is not set")
        if any(step.spec.action == "runpy" for step in self._steps):
            self._warn("Python steps are run by the Python of StepUp's environment, not by this kernel's")
        lines = self._opening([*head, *calls])
        for group in (self._pool_calls(), statics, folders):
            if group:
                lines += ["", *(line for call in group for line in call.lines())]
        cell = None
        for call in calls:
            if call.cell != cell:
                cell = call.cell
                lines += ["", f"# {_comment(cell) or 'outside all cells'}"]
            lines += call.lines()
        return Plan("\n".join(lines) + "\n", list(self._warnings))

    def _opening(self, calls: Sequence[_Call]) -> list[str]:
        names = ", ".join(sorted({call.function for call in calls}))
        lines = [
            "#!/usr/bin/env python3",
            f"# The steps of {_comment(self._project.title)} as a plan for StepUp {self.version}.",
            f"# Run it as plan.py: {self.run.format(workers=self._project.workers, limits=self._limits_words())}",
        ]
        lines += [f"# Note: {_comment_all(warning)}" for warning in self._warnings]
        return [*lines, "", f"from stepup.core.api import {names}"] if names else lines

    def _warn(self, words: str) -> None:
        if words not in self._warnings:
            self._warnings.append(words)

    # --- files ---------------------------------------------------------------------------------

    def _can_say(self, path: str) -> bool:
        if "$" not in path:
            return True
        self._warn(
            f"'{path}' has a '$' in its name, which StepUp reads as a variable: the plan leaves it out"
        )
        return False

    def _from(self, workdir: str, paths: Iterable[str]) -> list[str]:
        """Return paths as they are given to a step in that folder."""
        # StepUp 4 does not track folders.
        said = [path for path in paths if self.version == 3 or not path.endswith("/")]
        return [self._seen_from(workdir, path) for path in said if self._can_say(path)]

    def _seen_from(self, workdir: str, path: str) -> str:
        named = self._named(path)
        if posixpath.isabs(named) or posixpath.isabs(workdir):
            return path
        found = posixpath.relpath(
            posixpath.join(self._project.root, named), posixpath.join(self._project.root, workdir)
        )
        return f"{found}/" if path.endswith("/") else found

    def _named(self, path: str) -> str:
        """Return a path of the graph as the plan names it: what lies beside the project goes with it."""
        root = self._project.root
        is_beside = path.startswith(f"{posixpath.dirname(root)}/") and posixpath.dirname(root) != "/"
        return posixpath.relpath(path, root) if is_beside else path

    def _needed(self) -> list[str]:
        """Return the files that are to be static, in order of their names."""
        project = self._project
        given = {path for step in self._steps for path in step.read} | {*project.statics}
        found = []
        for path in sorted(given - self._made):
            if path in project.elsewhere or path.endswith("/") or not self._can_say(path):
                continue
            if path not in project.present:
                self._warn(
                    f"'{path}' is not there, so that the plan cannot declare it static: what needs it waits"
                )
                continue
            if posixpath.isabs(path):
                self._warn(f"'{path}' lies outside of the project: it has to be there wherever the plan runs")
            found.append(self._named(path))
        return found

    def _files(self) -> tuple[list[_Call], list[_Call]]:
        """Return the calls that declare static files, and those that declare folders."""
        raise NotImplementedError

    # --- limits --------------------------------------------------------------------------------

    def _pool_calls(self) -> list[_Call]:
        raise NotImplementedError

    def _limits_words(self) -> str:
        return ""

    def _limit(self, step: Declared) -> tuple[tuple[str, str], ...]:
        """Return the options that limit a step."""
        raise NotImplementedError

    def _is_closed(self, step: Declared) -> bool:
        """Tell whether a step waits for a pool that has no slot, or is not defined."""
        pools = self._project.pools
        closed = [name for name, _ in step.spec.pool if pools.get(name, 0) == 0]
        for name in closed:
            how = "is closed" if name in pools else "is not defined"
            self._warn(f"pool '{name}' {how}: its steps are blocked")
        return bool(closed)

    # --- steps ---------------------------------------------------------------------------------

    def _is_said(self, step: Declared) -> bool:
        """Tell whether a step is in the plan; one that is not is named."""
        spec = step.spec
        if spec.action == "render-jinja":
            self._warn(
                f"'{one_line(step.key)}' is left out: give StepUp's render_jinja() its arguments by hand"
            )
            return False
        if "$" in spec.workdir:
            self._warn(
                f"'{one_line(step.key)}' is left out: StepUp reads the '$' in its folder's name as a variable"
            )
            return False
        if step.has_children and spec.workdir == "." and _script(spec) == "./plan.py":
            self._warn(
                "plan.py is a plan already, and is left out with what it declares: let it declare this one, by "
                f"{self._declares_a_plan()}"
            )
            return False
        return True

    def _step(self, step: Declared) -> _Call:
        spec = step.spec
        name = one_line(step.key)
        for option, is_given in self._options_lost(spec):
            if is_given:
                self._lost.setdefault(option, []).append(f"'{name}'")
        notes = [] if spec.name is None else [spec.name]
        inp = list(spec.inp)
        if spec.action == "runpy" and not self._is_native_script(spec):
            inp = list(dict.fromkeys([*inp, *step.read]))
        for target in step.after:
            said = next((path for path in self._outputs.get(target, ()) if "$" not in path), None)
            if said is None:
                self._warn(
                    f"'{name}' comes after '{one_line(target)}', which has no output: the plan has no such order"
                )
                notes.append(f"is to come after '{one_line(target)}', which no file says")
            elif said not in inp:
                inp.append(said)
                notes.append(f"comes after '{one_line(target)}', by way of its output")
        if step.has_children:
            self._warn(f"'{name}' declares steps itself: it has to do so by StepUp {self.version}'s own API")
        return self._call(step, sorted(inp), notes)

    def _declares_a_plan(self) -> str:
        """Return how another plan declares this one."""
        raise NotImplementedError

    def _options_lost(self, spec: StepSpec) -> list[tuple[str, bool]]:
        return [
            ("--priority", spec.priority != 0),
            ("--timeout", spec.timeout is not None),
            ("--retry", spec.retry != 0),
            ("--force", spec.force),
        ]

    def _is_native_script(self, spec: StepSpec) -> bool:
        """Tell whether StepUp runs it as a Python script, too, and finds what it imports by itself."""
        return (_script(spec) or "").count("/") > 0

    def _call(self, step: Declared, inp: list[str], notes: list[str]) -> _Call:
        raise NotImplementedError

    def _shared(self, step: Declared, inp: Sequence[str]) -> list[tuple[str, str]]:
        """Return the options that all versions have."""
        spec = step.spec
        options = []
        for name, paths in (("inp", inp), ("out", spec.out), ("vol", spec.vol)):
            said = self._from(spec.workdir, paths)
            if said:
                options.append((name, _list(said)))
        if spec.env:
            options.append(("env", _list(spec.env)))
        if spec.workdir != ".":
            options.append(("workdir", literal(f"{spec.workdir}/")))
        if spec.optional:
            options.append(("optional", "True"))
        return options

    def _command(self, spec: StepSpec) -> str:
        """Return what /bin/sh is to run, another text than that of every other step."""
        command = _shell_command(spec)
        number = self._commands.get((command, spec.workdir), 0) + 1
        self._commands[command, spec.workdir] = number
        if number == 1:
            return command
        # The same command twice is an error in StepUp: a comment makes two of it.
        is_open = spec.shell == LINE_SHELL and ("\n" in command or command.endswith("\\"))
        return f"{command}\n# {number}" if is_open else f"{command}  # {number}"


class _Writer3(_Writer):
    version = 3
    run = "stepup boot -n {workers}"

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self._pools = self._single_pools()

    def _files(self) -> tuple[list[_Call], list[_Call]]:
        files = self._needed()
        elsewhere = self._project.elsewhere
        # What holds the user's own files is the user's, too; every other folder is made.
        static = {folder for path in files for folder in _folders(path) if folder not in elsewhere}
        used = {
            folder
            for step in self._steps
            for path in (*step.spec.out, *step.spec.vol, posixpath.join(step.spec.workdir, "x"))
            if self._can_say(path)
            for folder in _folders(self._named(path))
        }
        static |= {folder for folder in used if folder.startswith(("/", "../"))}
        made = [
            _Call("mkdir", (literal(folder),)) for folder in sorted(used - static - {*elsewhere} - self._made)
        ]
        names = sorted([*static, *files])
        return ([_Call("static", tuple(literal(name) for name in names))] if names else []), made

    # --- limits: a step has one slot of one pool ------------------------------------------------

    def _single_pools(self) -> dict[str, tuple[str, int]]:
        """Return name and size of the pool that stands for each pool.

        Pools that a step asks for together become one, and of requests for several slots the largest counts for
        all: never do more run than the pools allow.
        """
        sizes = {name: size for name, size in self._project.pools.items() if size}
        groups: dict[str, set[str]] = {name: {name} for name in sizes}
        most = dict.fromkeys(sizes, 1)
        for step in self._steps:
            asked = [(name, slots) for name, slots in step.spec.pool if name in sizes]
            together = set().union(*(groups[name] for name, _ in asked))
            for name in together:
                groups[name] = together
            for name, slots in asked:
                most[name] = max(most[name], slots)
        found = {}
        for name, group in groups.items():
            size = max(1, min(sizes[one] // most[one] for one in group))
            found[name] = ("_".join(sorted(group)), size)
            if len(group) > 1 or most[name] > 1:
                self._warn(
                    f"pool {', '.join(sorted(group))}: StepUp 3 gives a step one slot of one pool; in pool "
                    f"'{found[name][0]}' of {size} never more run than here, perhaps fewer"
                )
        return found

    def _pool_calls(self) -> list[_Call]:
        asked = {name for step in self._steps for name, _ in step.spec.pool}
        defined = sorted({self._pools[name] for name in asked if name in self._pools})
        return [_Call("pool", (literal(name), str(size))) for name, size in defined]

    def _limit(self, step: Declared) -> tuple[tuple[str, str], ...]:
        if self._is_closed(step) or step.spec.block:
            return (("block", "True"),)
        names = [self._pools[name][0] for name, _ in step.spec.pool if name in self._pools]
        return (("pool", literal(names[0])),) if names else ()

    # --- steps ---------------------------------------------------------------------------------

    def _declares_a_plan(self) -> str:
        file = self._project.file
        return f"runpy({literal(f'./{file}')}, inp={literal(file)})"

    def _options_lost(self, spec: StepSpec) -> list[tuple[str, bool]]:
        return [*super()._options_lost(spec), ("--duration", spec.duration is not None)]

    def _call(self, step: Declared, inp: list[str], notes: list[str]) -> _Call:
        spec = step.spec
        shared = self._shared(step, inp)
        options = (*shared, *self._limit(step))
        if spec.action == "mkdir":
            return _Call(
                "mkdir",
                (literal(f"{spec.out[0] if spec.out else spec.command}"),),
                (),
                tuple(notes),
                step.cell,
            )
        if spec.action == "copy" and not self._limit(step) and {name for name, _ in shared} == {"inp", "out"}:
            words = tuple(literal(path) for path in (*spec.inp, *spec.out))
            return _Call("copy", words, (), tuple(notes), step.cell)
        script = _script(spec)
        if step.has_children and script == "./plan.py" and inp == [posixpath.join(spec.workdir, "plan.py")]:
            left = tuple(pair for pair in options if pair[0] not in ("inp", "workdir"))
            return _Call("plan", (literal(f"{spec.workdir}/"),), left, tuple(notes), step.cell)
        function, command = (
            ("runpy", spec.command) if self._is_native(spec) else ("runsh", self._command(spec))
        )
        escaped = _escaped(command)
        if "$$" in escaped and escaped != command:
            notes = [*notes, "StepUp 3 makes one '$' of two"]
        return _Call(function, (literal(escaped),), options, tuple(notes), step.cell)

    def _is_native(self, spec: StepSpec) -> bool:
        if not self._is_native_script(spec):
            return False
        key = (f"runpy {spec.command}", spec.workdir)
        self._commands[key] = self._commands.get(key, 0) + 1
        return self._commands[key] == 1


class _Writer4(_Writer):
    version = 4
    run = "{limits}stepup build -j {workers} -k"

    def _declares_a_plan(self) -> str:
        return f"plan({literal(f'./{self._project.file}')})"

    def _files(self) -> tuple[list[_Call], list[_Call]]:
        # StepUp 4 reads a pattern where it can.
        names = [re.sub(r"([*?[])", r"[\1]", path) for path in self._needed()]
        return ([_Call("static", tuple(literal(name) for name in names))] if names else []), []

    def _pool_calls(self) -> list[_Call]:
        return []

    def _limits_words(self) -> str:
        asked = {name for step in self._steps for name, _ in step.spec.pool}
        sizes = [(name, size) for name, size in sorted(self._project.pools.items()) if size and name in asked]
        return (
            f"STEPUP_BUILD_RESOURCES={','.join(f'{name}:{size}' for name, size in sizes)} " if sizes else ""
        )

    def _limit(self, step: Declared) -> tuple[tuple[str, str], ...]:
        pools = self._project.pools
        asked = [
            name if slots == 1 else f"{name}:{slots}"
            for name, slots in step.spec.pool
            if pools.get(name, 0) is not None
        ]
        self._is_closed(step)
        if step.spec.block:
            asked.append(_BLOCKED)
        return (("resources", literal(",".join(asked))),) if asked else ()

    def _call(self, step: Declared, inp: list[str], notes: list[str]) -> _Call:
        spec = step.spec
        shared = self._shared(step, inp)
        options = [*shared, *self._limit(step)]
        if spec.duration is not None:
            options.append(("duration", repr(spec.duration)))
        if spec.action == "copy" and {name for name, _ in options} == {"inp", "out"}:
            words = tuple(literal(path) for path in (*spec.inp, *spec.out))
            return _Call("copy", words, (), tuple(notes), step.cell)
        script = _script(spec)
        if script is not None and self._is_native_script(spec):
            if step.has_children:
                left = tuple(pair for pair in options if pair[0] != "optional")
                return _Call("plan", (literal(spec.command),), left, tuple(notes), step.cell)
            key = (spec.command, spec.workdir)
            self._commands[key] = self._commands.get(key, 0) + 1
            if self._commands[key] == 1:
                return _Call("run", (literal(spec.command),), tuple(options), tuple(notes), step.cell)
        shell = ("shell", "True")
        return _Call("run", (literal(self._command(spec)),), (shell, *options), tuple(notes), step.cell)


def _comment_all(text: str) -> str:
    return visible(" ".join(text.split()))


def _some(steps: Sequence[str]) -> str:
    if len(steps) <= 3:
        return ", ".join(steps)
    return f"{', '.join(steps[:3])} and {counted(len(steps) - 3, 'more step')}"


def _script(spec: StepSpec) -> str | None:
    """Return the script that a Python step runs, or None."""
    if spec.action != "runpy" or spec.shell == PYTHON_CODE:
        return None
    try:
        return shlex.split(spec.command)[0]
    except (ValueError, IndexError):
        return None


def _shell_command(spec: StepSpec) -> str:
    """Return a command for /bin/sh that does what the step does."""
    if spec.action == "copy":
        return f"cp -p -- {spec.command}"
    if spec.action == "mkdir":
        return f"mkdir -p -- {spec.command}"
    if spec.action == "runpy":
        return (
            shlex.join([*_PYTHON_WORDS, spec.command])
            if spec.shell == PYTHON_CODE
            else f"python3 {spec.command}"
        )
    return spec.command if spec.shell == LINE_SHELL else shlex.join([*spec.shell, spec.command])


_PYTHON_WORDS = ("python3", "-c")


def _escaped(command: str) -> str:
    """Return a command that StepUp 3 turns into this one: it halves ``$$``, and fills in ``${inp}`` and the like."""
    if "$$" in command or re.search(r"\$\{?(inp|out|vol)\b", command):
        return command.replace("$", "$$")
    return command


def _folders(path: str) -> list[str]:
    """Return the folders that a path lies in, but for the root itself, each with a slash at its end."""
    found = []
    folder = posixpath.dirname(path.rstrip("/"))
    while folder not in ("", "/", ".") and posixpath.basename(folder) != "..":
        found.append(f"{folder}/")
        folder = posixpath.dirname(folder)
    return found
