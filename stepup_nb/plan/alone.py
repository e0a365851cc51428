"""What the primitives do in a script that is run by hand: say what they would have declared, and let it go on.

One line for each call, as StepUp 3.0 prints them (the ``-1`` is the step that nobody is), with paths
relative to the root.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stepup_nb.core.declare import fill_in
from stepup_nb.core.errors import UsageError
from stepup_nb.plan import paths as p
from stepup_nb.plan.exceptions import ArgumentError
from stepup_nb.plan.stepinfo import StepInfo
from stepup_nb.plan.variables import read_paths

if TYPE_CHECKING:
    from stepup_nb.core.nglob import NGlobMulti

Words = str | os.PathLike[str] | Iterable[Any]


class Alone:
    """Stands in for the director where there is none. Methods take what the user gave, and return what StepUp would."""

    def static(self, paths: Iterable[Words]) -> None:
        """Say which files are static; nested lists are flattened.

        Raises
        ------
        PathError
            SNB-133 and SNB-134.
        """
        found = read_paths(paths=[path for given in paths for path in p.words(given)])["paths"]
        for path in found:
            p.check(path)
        if found:
            _say("missing", -1, _rooted(found))

    def glob(
        self,
        patterns: Iterable[str],
        subs: Mapping[str, str],
        *,
        required: bool = False,
        defer: bool = False,
    ) -> NGlobMulti | None:
        """Say what matches patterns now, and return it; None for a deferred glob.

        Raises
        ------
        ArgumentError
            SNB-131 for the patterns, and for options that exclude each other.
        FileNotFoundError
            Nothing matches, and something must.
        """
        from stepup_nb.core.nglob import consistent, search

        wanted = [str(pattern) for pattern in read_paths(patterns=patterns)["patterns"]]
        check_glob(wanted, subs, required=required, defer=defer)
        if defer:
            _say("defer", -1, _rooted(wanted))
            return None
        found = search(wanted, subs, _listing)
        result = consistent(wanted, subs, found, p.make_path)
        if required and not result:
            raise FileNotFoundError("Could not find any matching paths on the filesystem.")
        every = sorted({path for one in found for path in one})
        if every:
            _say("missing", -1, _rooted(every))
        _say("nglob", -1, _rooted(wanted), dict(subs), _rooted(every))
        return result

    def step(
        self,
        action: str,
        *,
        inp: Words = (),
        env: Words = (),
        out: Words = (),
        vol: Words = (),
        workdir: str | os.PathLike[str] = "./",
        optional: bool = False,
        pool: Any = None,
        block: bool = False,
        **options: Any,
    ) -> StepInfo:
        """Say what the step would be, and return it.

        Raises
        ------
        PathError
            SNB-133.
        """
        given = read_paths(inp=inp, out=out, vol=vol, workdir=p.as_folder(os.fspath(workdir)))
        (folder,) = given.pop("workdir")
        names = p.words(env)
        action = fill_in(action, given)
        rooted = {name: _rooted(paths, folder) for name, paths in given.items()}
        workdir = p.make_path(p.translate(folder))
        _say(
            "step",
            -1,
            action,
            rooted["inp"],
            names,
            rooted["out"],
            rooted["vol"],
            workdir,
            optional,
            pool,
            block,
        )
        return StepInfo(action, workdir, given["inp"], names, given["out"], given["vol"])

    def pool(
        self, name: str, size: int | None, tokens: Iterable[str] = (), per_machine: bool | None = None
    ) -> None:
        """Say what the pool would be."""
        _say("pool", -1, name, size)

    def amend(self, *, inp: Words = (), env: Words = (), out: Words = (), vol: Words = ()) -> None:
        """Say what a step would add to itself; nothing to add is nothing to say.

        Raises
        ------
        PathError
            SNB-133, and SNB-134 for inputs.
        """
        given = read_paths(inp=inp, out=out, vol=vol)
        names = sorted(set(p.words(env)))
        if names or any(given.values()):
            inps, outs, vols = map(_rooted, given.values())
            _say("amend", -1, inps, names, outs, vols)
        for path in given["inp"]:
            p.check(path)

    def getinfo(self) -> StepInfo:
        """Return a declaration with nothing in it.

        StepUp 3.0 ends with an AttributeError there.
        """
        _say("getinfo", -1)
        return StepInfo("", "./", (), (), (), ())

    def graph(self, prefix: str | os.PathLike[str]) -> None:
        """Say where the graph would be written."""
        _say("graph", os.fspath(prefix))


def check_glob(patterns: Collection[str], subs: Mapping[str, str], *, required: bool, defer: bool) -> None:
    """Refuse what is no glob, and what a deferred one cannot do (SNB-131)."""
    from stepup_nb.core.nglob import check, names_in

    try:
        check(patterns, subs)
    except UsageError as error:
        raise ArgumentError(error.code, error.what, error.why, error.fix) from None
    is_named = bool(subs) or bool(names_in(patterns))
    if defer and (required or is_named):
        raise ArgumentError(
            "SNB-131",
            "Named wildcards are not supported in deferred globs."
            if is_named
            else "Combination of options not supported: _defer=True, _required=True",
            "a deferred glob looks for nothing yet",
            "leave out _defer=True",
        )


def _say(call: str, *arguments: Any) -> None:
    print(f"{call}({', '.join(map(repr, arguments))})", flush=True)


def _rooted(paths: Iterable[str], workdir: str = ".") -> list[Any]:
    return [p.make_path(p.translate(path, workdir)) for path in paths]


def _listing(folder: str) -> list[tuple[str, bool]]:
    # A link to a folder that leads back up would have '**' go round in a circle; it is left out.
    try:
        with os.scandir(folder or ".") as entries:
            real = posixpath.realpath(folder or ".")
            return [
                (entry.name, entry.is_dir())
                for entry in entries
                if not (entry.is_symlink() and _leads_up(posixpath.realpath(entry.path), real))
            ]
    except OSError:
        return []


def _leads_up(target: str, folder: str) -> bool:
    return target == folder or folder.startswith(p.as_folder(target))
