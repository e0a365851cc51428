"""Which paths does a glob match, and which of them belong together?

The language is StepUp's: ``?``, ``*``, ``**``, ``[abc]``, ``[!abc]``, and named wildcards, ``${*name}``, that stand for
the same text wherever they occur in one call. Hidden files count; a directory is a path that ends in ``/``.
Knows nothing of the disk (the caller lists the folders), of environment variables, and of who declares what is found.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import Any

from stepup_nb.core.errors import UsageError

Listing = Callable[[str], Iterable[tuple[str, bool]]]
"""Names in a folder, and whether each is a directory (links followed). No names where there is no folder.

The folder is ``""`` for the current one, ``"/"`` for the root, else a path without a slash at its end.
"""

DEEPEST = 64
"""So many levels ``**`` goes down at least, not for ever: a listing cannot tell that a link leads back up.
With two such links in a folder even that takes too long: then let a folder that is its own ancestor be empty.
"""

_NAMED = re.compile(r"\$\{\*([A-Za-z_][A-Za-z0-9_]*)\}")
_CLASS = r"\[!?+(?:\][^/\]]*|[^/\]]+)\]"
_TOKEN = re.compile(rf"/|\*+|\?|{_CLASS}|\[|[^/*?\[]+")
_WILD = re.compile(rf"[*?]|{_CLASS}|{_NAMED.pattern}")
_ABOVE = re.compile(r"\./\Z|/|(?:\.\./)*")
"""How a normalised pattern begins that leaves the current folder, or is that folder."""
_FOLDERS = "(?:[^/]+/)*"
_DEEP = _FOLDERS + "[^/]*"

_Part = str | Callable[[str], object] | None
"""What stands between two slashes: a text, the test of a name, or None for ``**``."""


def has_wildcard(pattern: str) -> bool:
    """Tell whether a pattern can match more than one path, as far as its own text tells."""
    return _WILD.search(pattern) is not None


def names_in(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the wildcards that have one, sorted."""
    return tuple(sorted({name for pattern in patterns for name in _NAMED.findall(pattern)}))


def matches(pattern: str, path: str) -> bool:
    """Tell whether a normalised path matches; a directory's path ends in ``/``.

    A pattern that begins with a wildcard matches no path that begins with ``../`` or ``/``.
    """
    return _compiled(pattern, ()).fullmatch(path) is not None


def check(patterns: Collection[str], subs: Mapping[str, Any]) -> None:
    """Refuse what is no glob with a UsageError, SNB-131; a sub-pattern that no pattern uses is fine, as in StepUp."""
    if not patterns:
        raise UsageError("SNB-131", "A glob needs a pattern.", "", "give one, for instance 'data/*.csv'")
    for name, sub in subs.items():
        if name.startswith("_"):
            why = "names that begin with '_' are those of options"
            raise UsageError("SNB-131", f"'{name}' is no name for a sub-pattern.", why, "choose another name")
        if not isinstance(sub, str):
            raise UsageError("SNB-131", f"The sub-pattern '{name}' is no text.", "", f"write {name}='{sub}'")
        if "${*" in sub:
            what = f"The sub-pattern '{name}' has a named wildcard in it: '{sub}'."
            raise UsageError("SNB-131", what, "names cannot be nested", "use '*', '?', '**' or '[...]' in it")
    for pattern in patterns:
        if "${*" in _NAMED.sub("", pattern):
            what = f"There is a named wildcard in '{pattern}' that cannot be read."
            why = "a name is made of ASCII letters, digits and '_', with no digit first, and '}' ends it"
            raise UsageError("SNB-131", what, why, "write it as in '${*name}'")


class _Pattern:
    """A pattern with its sub-patterns filled in, ready to match paths and to walk folders."""

    def __init__(self, text: str, subs: tuple[tuple[str, str], ...]) -> None:
        check([text], dict(subs))
        self.names = names_in([text])
        self.is_many = has_wildcard(_NAMED.sub("/", text))
        """Whether it can match several paths for the same values of its names."""
        normal = posixpath.normpath(text).replace("//", "/")
        normal += "/" * (text.endswith("/") and normal != "/")
        # Two `**` in a row say what one says, and take longer.
        normal = re.sub(r"(?<![^/])(?:\*\*/)+(?=\*\*(?:/|\Z))", "", normal)
        self.above: str = _ABOVE.findall(normal)[0]
        """Where a walk begins: a folder that is always there, with its slash, or nothing."""
        regex, self.parts = _translate(normal[len(self.above) :], dict(subs))
        if self.parts[-1] == "":
            del self.parts[-1]
        if {"", ".", ".."}.intersection(part for part in self.parts if isinstance(part, str)):
            regex = "(?!)"  # A path is normalised, and a directory has its slash.
        elif self.parts and not isinstance(self.parts[0], str):
            # `*` is never `..`: matching must say what walking finds.
            regex = rf"(?!\.{{1,2}}(?:/|\Z)|/){regex}" if self.above else rf"(?!\.{{0,2}}(?:/|\Z)){regex}"
        self.fullmatch = re.compile(re.escape(self.above) + regex).fullmatch


_compiled = lru_cache(maxsize=4096)(_Pattern)


def _patterns(texts: Sequence[str], subs: Mapping[str, str]) -> list[_Pattern]:
    check(texts, subs)
    return [_compiled(text, tuple(sorted(subs.items()))) for text in texts]


def _translate(text: str, subs: Mapping[str, str]) -> tuple[str, list[_Part]]:
    """Return the regular expression of whole paths, and the parts between slashes, which know no names."""
    flat: list[tuple[str, str]] = []  # what a token is for, and the token
    for at, piece in enumerate(_NAMED.split(text)):
        if at % 2 == 0:
            flat += [("both", token) for token in _TOKEN.findall(piece)]
            continue
        tokens = _TOKEN.findall(subs.get(piece, "*"))
        if ("regex", f"(?P<{piece}>") in flat:
            flat += [("regex", f"(?P={piece})"), *(("part", token) for token in tokens)]
        else:
            flat += [("regex", f"(?P<{piece}>"), *(("both", token) for token in tokens), ("regex", ")")]
    full = []
    spelled = [("", "")]
    before = "/"
    for at, (place, token) in enumerate(flat):
        if place == "regex":
            full.append(token)
            continue
        after = next((later for other, later in flat[at + 1 :] if other != "regex"), "/")
        regex = _regex(token, before == after == "/")
        if before == "/" and token[0] == "*" and regex != _DEEP:
            # Of a part made of wildcards alone, each may be empty, but not all.
            if place == "part":
                full[-1] = "(?=[^/])" + full[-1]
            elif after[0] == "*":
                regex = "(?=[^/])" + regex
        part, test = spelled.pop()
        spelled += [(part, test), ("", "")] if token == "/" else [(part + token, test + regex)]
        if place == "both":
            if regex == _DEEP and flat[at + 1 : at + 2] == [("both", "/")]:
                full.append(_FOLDERS)
            elif token != "/" or full[-1:] != [_FOLDERS]:
                full.append(regex + "/?" * (token[0] == "*" and at == len(flat) - 1))
        before = token
    return "".join(full), [
        None if test == _DEEP else re.compile(test).fullmatch if has_wildcard(part) else part
        for part, test in spelled
    ]


def _regex(token: str, is_alone: bool) -> str:
    if token == "?":
        return "[^/]"
    if token[0] == "*":
        return (_DEEP if token == "**" else "[^/]+") if is_alone else "[^/]*"
    if token[0] != "[" or token == "[":
        return re.escape(token)
    wanted = token[1] != "!"
    ranges = [
        re.escape(one) or f"{re.escape(first)}-{re.escape(last)}"
        for first, last, one in re.findall(r"(?s)(.)-(.)|(.)", token[1 if wanted else 2 : -1])
        if first <= last
    ]
    return f"(?!/)[{'' if wanted else '^'}{''.join(ranges) or '/'}]"


def search(patterns: Sequence[str], subs: Mapping[str, str], listing: Listing) -> tuple[tuple[str, ...], ...]:
    """Return for each pattern the sorted paths that match it, whatever the others match; SNB-131 as in `check`.

    Lists no folder twice, and none that is not needed: what a pattern spells out is followed.
    """
    entries = cache(lambda folder: dict(listing(folder)))
    return tuple(
        tuple(sorted({path for path in _walk(pattern, entries) if pattern.fullmatch(path)}))
        for pattern in _patterns(patterns, subs)
    )


def _walk(pattern: _Pattern, entries: Callable[[str], dict[str, bool]]) -> Iterator[str]:
    """Find all paths that match, and a few that do not."""
    last = len(pattern.parts) - 1
    if last < 0:
        yield pattern.above
        return
    # A folder, with its slash; the first part to be found in it; whether the folder is known to exist.
    todo = [(pattern.above, 0, True)]
    done = set()
    while todo:
        prefix, at, is_there = todo.pop()
        if (prefix, at) in done:
            continue
        done.add((prefix, at))
        part = pattern.parts[at]
        folder = prefix if prefix == "/" else prefix[:-1]
        if isinstance(part, str):
            if at < last:
                todo.append((f"{prefix}{part}/", at + 1, False))
            elif part in (found := entries(folder)):
                yield prefix + part + "/" * found[part]
        elif part is not None:
            for name, is_folder in entries(folder).items():
                if (is_folder or at == last) and part(name):
                    path = prefix + name + "/" * is_folder
                    if at == last:
                        yield path
                    else:
                        todo.append((path, at + 1, True))
        else:
            if at < last:
                todo.append((prefix, at + 1, is_there))
            elif is_there or entries(posixpath.dirname(folder)).get(posixpath.basename(folder)):
                yield prefix
            may_descend = prefix.count("/") <= last + pattern.above.count("/") + DEEPEST
            for name, is_folder in entries(folder).items():
                if not is_folder and at == last:
                    yield prefix + name
                elif is_folder and may_descend:
                    todo.append((f"{prefix}{name}/", at, True))


@dataclass(frozen=True, slots=True)
class NGlobMatch:
    """The files for one combination of values; ``match.name`` is the value of ``${*name}``."""

    mapping: dict[str, str]
    """The value of each name."""
    files: list[Any]
    """One item a pattern: a path; or a sorted list of paths, if the pattern has wildcards without a name."""

    def __getattr__(self, name: str) -> str:
        # `mapping` itself is missing in a half-made copy.
        if name != "mapping" and name in self.mapping:
            return self.mapping[name]
        raise AttributeError(f"no wildcard of this glob has the name '{name}'")

    def __getitem__(self, index: Any) -> Any:
        return self.files[index]

    @property
    def single(self) -> Any:
        """The path, where there is one only; otherwise a ValueError."""
        return _single([path for item in self.files for path in (item if isinstance(item, list) else [item])])


@dataclass(frozen=True)
class NGlobMulti:
    """What a glob found; made by `consistent`.

    True if for at least one combination of values every pattern has a path. Iterating gives the sorted paths; if a
    wildcard has a name, it gives a `NGlobMatch` for each consistent combination, sorted by the values.
    """

    patterns: tuple[str, ...]
    subs: dict[str, str]
    found: tuple[tuple[str, ...], ...]
    """For each pattern its sorted paths, consistent with those of the others or not."""
    make_path: Callable[[str], Any] = field(default=str, compare=False, repr=False)
    """What a path becomes before it is handed out."""

    def __bool__(self) -> bool:
        return bool(self._consistent)

    def __iter__(self) -> Iterator[Any]:
        return self.matches() if self.used_names else iter(self.files())

    @property
    def used_names(self) -> tuple[str, ...]:
        """The names of wildcards in the patterns, sorted: the order of the values in `results`."""
        return names_in(self.patterns)

    @property
    def results(self) -> dict[tuple[str, ...], list[set[Any]]]:
        """For each consistent combination of values, the paths of each pattern."""
        make = self.make_path
        return {key: [set(map(make, ours)) for ours in files] for key, files in self._consistent.items()}

    def files(self) -> tuple[Any, ...]:
        """Return all paths that match a pattern, sorted. As in StepUp, they need not be consistent."""
        return tuple(map(self.make_path, sorted({path for paths in self.found for path in paths})))

    def matches(self) -> Iterator[NGlobMatch]:
        """Give the consistent combinations, sorted by their values; without names, there is one at most."""
        many = [pattern.is_many for pattern in _patterns(self.patterns, self.subs)]
        for values, files in self._consistent.items():
            made = [list(map(self.make_path, paths)) for paths in files]
            yield NGlobMatch(
                dict(zip(self.used_names, values, strict=True)),
                [paths if is_many else paths[0] for paths, is_many in zip(made, many, strict=True)],
            )

    def single(self) -> Any:
        """Return the path, where `files` has one only; otherwise raise a ValueError."""
        return _single(self.files())

    def canonical(self) -> list[Any]:
        """Return the consistent results as sorted lists: equal, also through JSON, if nothing changed."""
        return [[[*values], [[*ours] for ours in files]] for values, files in self._consistent.items()]

    def without(self, paths: Collection[str]) -> NGlobMulti:
        """Return what the glob finds if these paths are not there."""
        found = [set(ours).difference(paths) for ours in self.found]
        return consistent(self.patterns, self.subs, found, self.make_path)

    @cached_property
    def _consistent(self) -> dict[tuple[str, ...], tuple[list[str], ...]]:
        bound: list[str] = []
        joined: dict[tuple[str, ...], tuple[list[str], ...]] = {(): ()}
        for pattern, paths in zip(_patterns(self.patterns, self.subs), self.found, strict=True):
            shared = [name for name in pattern.names if name in bound]
            fresh = [name for name in pattern.names if name not in bound]
            fitting: dict[tuple[str, ...], dict[tuple[str, ...], list[str]]] = {}
            for match in filter(None, map(pattern.fullmatch, paths)):
                group = fitting.setdefault(tuple(match[name] for name in shared), {})
                group.setdefault(tuple(match[name] for name in fresh), []).append(match[0])
            places = [bound.index(name) for name in shared]
            joined = {
                before + values: (*files, ours)
                for before, files in joined.items()
                for values, ours in fitting.get(tuple(before[at] for at in places), {}).items()
            }
            bound += fresh
        order = [bound.index(name) for name in self.used_names]
        return dict(sorted((tuple(values[at] for at in order), files) for values, files in joined.items()))


def consistent(
    patterns: Sequence[str],
    subs: Mapping[str, str],
    found: Sequence[Iterable[str]],
    make_path: Callable[[str], Any] = str,
) -> NGlobMulti:
    """Return what belongs together of what was found, in any order; paths that do not match are left out."""
    own = [
        tuple(sorted({path for path in paths if pattern.fullmatch(path)}))
        for pattern, paths in zip(_patterns(patterns, subs), found, strict=True)
    ]
    return NGlobMulti(tuple(patterns), dict(subs), tuple(own), make_path)


def _single(paths: Sequence[Any]) -> Any:
    if len(paths) != 1:
        raise ValueError(f"one file was expected, and {len(paths) or 'none'} match the glob")
    return paths[0]
