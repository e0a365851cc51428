"""What a race audit decides: which runs it takes, which steps are in them, and what differs between the runs.

A step whose outputs depend on how many others run beside it has a race, whatever its exit code says. Knows rows of
steps and the contents of files; copies and runs nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepup_nb.core.declare import pool_name, pool_size
from stepup_nb.core.errors import UsageError
from stepup_nb.core.words import counted, did_you_mean, ending, one_line, visible

Row = Mapping[str, Any]

Sizes = Mapping[str, int | None]
"""Sizes of the pools that an audit is about, in one of its runs; None is no limit."""

_EXAMPLE = "write '%stepup audit --pool test=1,4', or audit(pools={'test': [1, 4]})"

_PLAIN_VARIABLES = frozenset({"PATH", "PYTHONPATH", "VIRTUAL_ENV", "PWD", "OLDPWD"})
"""Variables that a step may name: programs are only read where the first three lead, and a copy has its own PWD."""


# --- which runs -----------------------------------------------------------------------------------


def read_pools(words: Iterable[str]) -> dict[str, list[str]]:
    """Return what ``test=1,4`` says, word by word.

    Raises
    ------
    UsageError
        SNB-160: a word is none of these.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, sizes = word.partition("=")
        if not equals:
            raise UsageError("SNB-160", f"'{word}' says no sizes to try.", "", _EXAMPLE)
        if name in found:
            raise UsageError("SNB-160", f"Pool '{name}' is given twice.", "", _EXAMPLE)
        found[name] = sizes.split(",")
    return found


def runs_of(pools: Mapping[str, Iterable[object]]) -> list[dict[str, int | None]]:
    """Return the sizes of each run: of several pools, the first run has the first size of each, and so on.

    Raises
    ------
    UsageError
        SNB-110, SNB-111 for what is no name or no size; SNB-160 where there is nothing to compare.
    """
    if not pools:
        raise UsageError(
            "SNB-160", "An audit needs a pool.", "it compares runs with different sizes of one", _EXAMPLE
        )
    sizes = {pool_name(name): _sizes(name, given) for name, given in pools.items()}
    numbers = {len(some) for some in sizes.values()}
    if len(numbers) > 1:
        raise UsageError(
            "SNB-160",
            "The pools have different numbers of sizes.",
            "the first run has the first size of each pool, the second run the second",
            "give each pool as many sizes as the others",
        )
    return [{name: some[at] for name, some in sizes.items()} for at in range(numbers.pop())]


def _sizes(name: str, given: Iterable[object]) -> list[int | None]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise UsageError("SNB-160", f"The sizes of pool '{name}' are no list.", "", _EXAMPLE)
    sizes = [pool_size(size) for size in given]
    if len(sizes) < 2 or len(set(sizes)) < len(sizes) or 0 in sizes:
        raise UsageError(
            "SNB-160",
            f"Pool '{name}' needs two different sizes at least, none of them 0.",
            "an audit compares what comes out with each",
            _EXAMPLE,
        )
    return sizes


def words_of(sizes: Sizes) -> str:
    """Say in a few words which run it is: ``test=4``."""
    return " ".join(f"{name}={'none' if size is None else size}" for name, size in sizes.items())


def workers_for(runs: Iterable[Sizes], workers: int) -> int:
    """Return how many steps may run at once in each run: as many as ever, but no fewer than a pool has slots."""
    return max([workers, *(size for sizes in runs for size in sizes.values() if size is not None)])


# --- which steps ----------------------------------------------------------------------------------


def involved(rows: Iterable[Row], links: Iterable[Sequence[Any]], asked: Collection[str] | None) -> list[Row]:
    """Return the declared steps that are asked for, with all they need, in order of declaration.

    Parameters
    ----------
    rows
        Steps, as in ``status``.
    links
        Name, inputs, outputs and predecessors of each declared step.
    asked
        Names; None means all.
    """
    live = {row["name"]: row for row in rows if not row["dormant"]}
    makers = {path: name for name, row in live.items() for path in row["out"]}
    after = {name: followed for name, _, _, followed in links}
    children: dict[str, list[str]] = {}
    for name, row in live.items():
        if row["creator"]:
            children.setdefault(row["creator"], []).append(name)
    found: set[str] = set()
    left = [name for name in (live if asked is None else asked) if name in live]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        row = live[name]
        needed = [makers.get(path) for path in row["inp"]]
        # A plan that runs declares all that it declares.
        needed += [row["creator"], *after.get(name, ()), *children.get(name, ())]
        left += [one for one in needed if one in live]
    return sorted((live[name] for name in found), key=lambda row: int(row["seq"]))


def check(rows: Sequence[Row], pools: Iterable[Row], runs: Sequence[Sizes]) -> None:
    """Refuse what cannot be audited honestly.

    Raises
    ------
    UsageError
        SNB-160: these sizes of these pools say nothing of these steps. SNB-161: a step would write outside of a
        copy of the project.
    """
    defined = {row["name"]: row for row in pools}
    for name in runs[0]:
        sizes = [sizes[name] for sizes in runs]
        if name not in defined:
            raise UsageError(
                "SNB-160",
                f"There is no pool '{name}'{did_you_mean(name, defined) or '.'}",
                "",
                "'%pool' lists the pools",
            )
        asking = {row["name"]: row["pool"][name] for row in rows if name in row["pool"]}
        if not asking:
            raise UsageError(
                "SNB-160",
                f"No step of the audit asks for pool '{name}'.",
                "whatever its size, the same would run",
                "audit other steps, or give the steps that pool",
            )
        least = min((size for size in sizes if size is not None), default=None)
        greedy = max(asking, key=lambda key: int(asking[key]))
        if least is not None and asking[greedy] > least:
            raise UsageError(
                "SNB-160",
                f"With {counted(least, 'slot')} in pool '{name}', '{one_line(greedy)}' cannot run.",
                f"it asks for {asking[greedy]}",
                f"give sizes from {asking[greedy]} on",
            )
        tokens = defined[name]["tokens"]
        if tokens and any(size is None or size > len(tokens) for size in sizes):
            raise UsageError(
                "SNB-160",
                f"Pool '{name}' has {counted(len(tokens), 'token')}.",
                "each slot needs a token of its own",
                f"give sizes up to {len(tokens)}, or the pool more tokens",
            )
    for row in rows:
        for path in (*row["out"], *row["vol"], row["workdir"]):
            if posixpath.isabs(path):
                raise UsageError(
                    "SNB-161",
                    f"'{one_line(row['label'])}' works outside of the project, at '{path}'.",
                    "an audit runs steps in a copy of the project, and that path is not in it",
                    "give the steps to audit by name, and leave that one out",
                )


# --- what leads out of a copy ---------------------------------------------------------------------


def spellings(root: str, home: str = "") -> list[str]:
    """Return how a text may name the project's folder."""
    if not home or not f"{root}/".startswith(f"{home}/"):
        return [root]
    below = root.removeprefix(home)
    return [root, f"~{below or '/'}", f"$HOME{below}", f"${{HOME}}{below}"]


def is_named(text: str, names: Iterable[str]) -> bool:
    """Tell whether a text names a folder, or something in it, by one of these spellings."""
    return any(name in text and re.search(rf"{re.escape(name)}(?:(?<=/)|(?![\w.-]))", text) for name in names)


def way_out(
    row: Row, texts: Mapping[str, str], environment: Mapping[str, str], names: Sequence[str]
) -> str | None:
    """Say by which absolute path a step would reach the project itself instead of a copy; None: by none that shows.

    Parameters
    ----------
    row
        The step.
    texts
        What it runs, by what it is called: its command, and the scripts in it.
    environment
        The variables that it gets.
    names
        `spellings` of the project's folder.
    """
    for what, text in texts.items():
        if is_named(text, names):
            return f"{what} names '{names[0]}'"
    for name, value in environment.items():
        if not is_named(value, names[:1]) or (name in _PLAIN_VARIABLES and name not in row["env"]):
            continue
        if name in row["env"]:
            return f"the environment variable {name} has '{names[0]}' in its value"
        for what, text in texts.items():
            if re.search(rf"\b{re.escape(name)}\b", text):
                return f"{what} names the environment variable {name}, which has '{names[0]}' in its value"
    return None


def environment_in(copy: str, root: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment as it is for a step in a copy: where the shell says it is, is in the copy."""
    found = dict(environment)
    for name in ("PWD", "OLDPWD"):
        value = found.get(name, "")
        if value == root or value.startswith(f"{root}/"):
            found[name] = copy + value.removeprefix(root)
    return found


# --- what differs ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Content:
    """What a run left at one path."""

    digest: str
    size: int
    mode: int
    text: str | None = None
    """Only of small text files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What one run made of one step."""

    label: str
    state: str
    reason: str = ""
    returncode: int | None = None
    said: str = ""
    """The last line of its standard error."""
    inp: tuple[str, ...] = ()
    out: Mapping[str, Content | None] = field(default_factory=dict)
    """What is there at each output's path; None where it did not succeed."""

    def words(self, sizes: str) -> str:
        """Say how it ended with these sizes."""
        if self.state == "SUCCEEDED":
            return f"succeeds with {sizes}"
        if self.state != "FAILED":
            return f"does not run with {sizes}" + (f": {self.reason}" if self.reason else "")
        how = self.reason or (ending(self.returncode) if self.returncode else "")
        return ": ".join(
            part for part in (f"fails with {sizes}", how, visible(self.said.strip())[:120]) if part
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One run of all steps, from scratch."""

    sizes: Sizes
    steps: Mapping[str, Made]
    seconds: float = 0.0

    @property
    def words(self) -> str:
        """Which run it is."""
        return words_of(self.sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that a step made otherwise than in the first run."""

    step: str
    label: str
    output: str | None
    """Path of the output that differs; None: it ended otherwise."""
    run: str
    """Which sizes made the difference: ``test=4``."""
    what: str
    """What differs, in words, in the first run that differs."""
    differing: int
    """How many runs with these sizes differ,"""
    rounds: int
    """of how many."""
    follows: str = ""
    """Label of the step that makes an input of it which differs already."""
    is_unsteady: bool = False
    """It also differs between two runs with the sizes of the first one: not for the pool's size alone."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What an audit found."""

    differing: tuple[Difference, ...]
    unsteady: tuple[Difference, ...]
    """What is different each time, also with equal sizes."""
    failing: tuple[str, ...]
    """Labels of steps that succeed in no run: nothing of them could be compared."""


def compare(runs: Sequence[Run]) -> Findings:
    """Compare all runs with the first one.

    Of a step that differs only because what it reads differs, that is said.
    """
    first, *others = runs
    names = list(dict.fromkeys(name for run in runs for name in run.steps))
    found: list[Difference] = []
    for name in names:
        outputs = dict.fromkeys(path for run in runs if name in run.steps for path in run.steps[name].out)
        for output in (None, *sorted(outputs)):
            words = [(run, _difference(first, run, name, output)) for run in others]
            is_unsteady = any(what for run, what in words if run.sizes == first.sizes)
            # What differs with equal sizes says nothing with others.
            for sizes in [first.words] if is_unsteady else dict.fromkeys(run.words for run in others):
                same = [what for run, what in words if run.words == sizes]
                differing = [what for what in same if what]
                if differing:
                    found.append(
                        Difference(
                            step=name,
                            label=_label(runs, name),
                            output=output,
                            run=sizes,
                            what=differing[0],
                            differing=len(differing),
                            rounds=len(same),
                            is_unsteady=is_unsteady,
                        )
                    )
    found = _with_causes(found, runs)
    return Findings(
        tuple(d for d in found if not d.is_unsteady),
        tuple(d for d in found if d.is_unsteady),
        tuple(_label(runs, name) for name in names if not _succeeds(runs, name)),
    )


def _label(runs: Sequence[Run], name: str) -> str:
    return next(run.steps[name].label for run in runs if name in run.steps)


def _succeeds(runs: Sequence[Run], name: str) -> bool:
    return any(name in run.steps and run.steps[name].state == "SUCCEEDED" for run in runs)


def _difference(first: Run, run: Run, name: str, output: str | None) -> str:
    """Say what of a step is otherwise than in the first run; nothing if nothing is."""
    one, other = first.steps.get(name), run.steps.get(name)
    if one is None or other is None:
        if output is not None or one is other:
            return ""
        return f"is declared with {(first if other is None else run).words} only"
    if output is None:
        # Words of a state hold the last line of what was printed, which may tell the time.
        if (one.state, one.returncode) == (other.state, other.returncode):
            return ""
        return f"{one.words(first.words)}; {other.words(run.words)}"
    if one.state != "SUCCEEDED" or other.state != "SUCCEEDED":
        return ""
    return difference(one.out.get(output), other.out.get(output), first.words, run.words)


def difference(one: Content | None, other: Content | None, at: str, to: str) -> str:
    """Say how two files differ, of a run `at` these sizes and one at those; nothing if they are equal."""
    if one is None or other is None:
        return "" if one is other else f"is there with {to if one is None else at} only"
    if one.digest == other.digest:
        if one.mode == other.mode:
            return ""
        return f"has mode {one.mode & 0o7777:o} with {at}, {other.mode & 0o7777:o} with {to}"
    sizes = (
        f"{counted(one.size, 'byte')} each"
        if one.size == other.size
        else f"{counted(one.size, 'byte')} with {at}, {other.size} with {to}"
    )
    return f"{sizes}; {line}" if (line := _first_line(one.text, other.text, at, to)) else sizes


def _first_line(one: str | None, other: str | None, at: str, to: str) -> str:
    if one is None or other is None:
        return ""
    lines, others = one.splitlines(), other.splitlines()
    for number in range(max(len(lines), len(others))):
        pair = [some[number] if number < len(some) else None for some in (lines, others)]
        if pair[0] != pair[1]:
            said = ["missing" if line is None else f"'{_excerpt(line)}'" for line in pair]
            return f"line {number + 1} is {said[0]} with {at}, {said[1]} with {to}"
    return "only the ends of lines differ"


def _excerpt(line: str) -> str:
    text = visible(line)
    return text if len(text) <= 60 else text[:59] + "…"


def _with_causes(found: Sequence[Difference], runs: Sequence[Run]) -> list[Difference]:
    """Say of each difference from which step's it follows; those that follow from none go first."""
    makers = {d.output: d for d in found if d.output is not None}
    broken = {d.step for d in found if d.output is None}
    for run in runs:
        for name, made in run.steps.items():
            if name in broken:
                makers |= {path: next(d for d in found if d.step == name) for path in made.out}
    named = []
    for one in found:
        inputs = [path for run in runs if one.step in run.steps for path in run.steps[one.step].inp]
        causes = (makers[path].label for path in inputs if path in makers and makers[path].step != one.step)
        named.append(replace(one, follows=next(causes, "")))
    return sorted(named, key=lambda one: bool(one.follows))
