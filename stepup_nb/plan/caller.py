"""What the primitives do in a running step: translate, substitute, ask the director, give StepUp's answers.

Each call is one request, which the director carries out as a whole or refuses.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stepup_nb.client.job import JobSession
from stepup_nb.core.declare import file_in, make_spec, match_from, pattern_in, pool_name, pool_size
from stepup_nb.core.errors import StepUpError, UsageError
from stepup_nb.core.messages import spec_to_json
from stepup_nb.plan import paths as p
from stepup_nb.plan.exceptions import GraphError, InputNotFoundError, RPCError, refused
from stepup_nb.plan.stepinfo import StepInfo
from stepup_nb.plan.variables import read_paths

if TYPE_CHECKING:
    from stepup_nb.core.nglob import NGlobMulti

Words = str | os.PathLike[str] | Iterable[Any]

WORKDIR_MARK = "  # wd="
"""What comes between action and working directory in the name of a step (StepUp 3.0)."""

_hold = ""


def _check_folders(root: str, out: Iterable[str], vol: Iterable[str]) -> None:
    """Refuse folders that no step can make; the paths are relative to the root where they lie below it."""
    for path in vol:
        if path.endswith("/"):
            raise GraphError(
                "SNB-104",
                f"A volatile output cannot be a directory. It is '{path}'.",
                "",
                "name the files in it; the folders of outputs are made by themselves",
            )
    for path in out:
        if path == "./" or (path.endswith("/") and root.startswith(path)):
            raise GraphError(
                "SNB-104",
                f"Path is declared as an output but must be static: {path}",
                "the project lies in it",
                "name the files that the step makes",
            )


class Caller:
    """Speaks for the step that this process belongs to. The methods are those of `Alone`."""

    def __init__(self, session: JobSession) -> None:
        self._session = session

    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        try:
            return self._session.ask(op, **fields)
        except UsageError:
            raise
        except StepUpError as error:
            raise refused(error) from None

    def _declare(self, op: str, **fields: Any) -> dict[str, Any]:
        try:
            return self._session.ask(op, **fields)
        except UsageError as error:
            raise refused(error) from None

    def _rooted(self, path: str, option: str) -> str:
        return file_in(self._session.root, self._session.here, path, option, has_folders=True)

    def static(self, paths: Iterable[Words]) -> None:
        """Declare static files and folders, patterns allowed.

        Raises
        ------
        PathError
            SNB-133 and SNB-134.
        RPCError
            A step builds one of them.
        """
        from stepup_nb.core.nglob import has_wildcard

        given = read_paths(paths=[path for one in paths for path in p.words(one)])["paths"]
        found = []
        for path in given:
            if has_wildcard(path) and not os.path.lexists(path):
                self.glob([path], {}, required=True)
            else:
                p.check(path)
                found.append(self._rooted(path, "static()"))
        if found:
            self._declare("DeclareStatic", paths=sorted(set(found)))

    def glob(
        self,
        patterns: Iterable[str],
        subs: Mapping[str, str],
        *,
        required: bool = False,
        defer: bool = False,
    ) -> NGlobMulti | None:
        """Search for patterns, declare what matches static, and return it; None for a deferred glob.

        Raises
        ------
        ArgumentError
            SNB-131 for the patterns, and for options that exclude each other.
        FileNotFoundError
            Nothing matches, and something must.
        """
        from stepup_nb.core.nglob import consistent
        from stepup_nb.plan.alone import check_glob

        wanted = [str(pattern) for pattern in read_paths(patterns=patterns)["patterns"]]
        check_glob(wanted, subs, required=required, defer=defer)
        root, here = self._session.root, self._session.here
        rooted = [pattern_in(root, here, pattern) for pattern in wanted]
        answer = self._declare("DeclareGlob", glob=[rooted, sorted(subs.items()), defer])
        if defer:
            return None
        found = [
            [match_from(root, here, pattern, path) for path in paths]
            for pattern, paths in zip(wanted, answer["found"], strict=True)
        ]
        result = consistent(wanted, subs, found, p.make_path)
        if required and not result:
            raise FileNotFoundError("Could not find any matching paths on the filesystem.")
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
        **options: Any,
    ) -> StepInfo:
        """Declare a step of this step's.

        Raises
        ------
        UsageError, PathError
            SNB-1xx for an argument.
        RPCError
            The graph does not allow it; nothing changed.
        """
        given = read_paths(inp=inp, out=out, vol=vol, workdir=p.as_folder(os.fspath(workdir)))
        (folder,) = given.pop("workdir")
        names = p.words(env)
        if WORKDIR_MARK in action:
            raise RPCError(
                "SNB-101",
                "Do not provide a workdir comment in the action string.",
                f"what follows '{WORKDIR_MARK}' in the name of a step is its working directory",
                "give it as workdir=",
            )
        kind, _, command = action.strip().partition(" ")
        spec = make_spec(
            kind,
            command,
            {**options, **given, "env": names, "workdir": str(folder)},
            root=self._session.root,
            here=self._session.here,
            is_outside_allowed=True,
            has_folders=True,
        )
        _check_folders(self._session.root, spec.out, spec.vol)
        self._declare("Declare", spec=spec_to_json(spec), hold=_hold)
        return StepInfo(
            f"{kind} {spec.command}",
            p.as_folder(spec.workdir),
            set(given["inp"]),
            set(names),
            set(given["out"]),
            set(given["vol"]),
        )

    def pool(
        self, name: str, size: int | None, tokens: Iterable[str] = (), per_machine: bool | None = None
    ) -> None:
        """Define a pool, or resize it."""
        words = [str(token) for token in tokens]
        self._declare(
            "DefinePool",
            name=pool_name(name),
            size=pool_size(size),
            tokens=words,
            is_per_machine=None if per_machine is None else bool(per_machine),
        )

    def amend(self, *, inp: Words = (), env: Words = (), out: Words = (), vol: Words = ()) -> None:
        """Say what else this step reads and writes.

        Raises
        ------
        InputNotFoundError
            SNB-132: an input is not there yet. The step runs again when it is, whatever it does now.
        RPCError
            The graph does not allow it; nothing changed.
        """
        given = {
            name: sorted({self._rooted(path, "amend()") for path in paths})
            for name, paths in read_paths(inp=inp, out=out, vol=vol).items()
        }
        _check_folders(self._session.root, given["out"], given["vol"])
        names = sorted(set(p.words(env)))
        if not names and not any(given.values()):
            return
        missing = self._declare("Amend", env=names, **given)["missing"]
        if missing:
            raise InputNotFoundError(
                f"Missing inputs: {', '.join(missing)}",
                "no step has built them yet, or nobody has declared them",
                "nothing: the step runs again by itself as soon as they are there",
            )

    def getinfo(self) -> StepInfo:
        """Return what was declared of this step."""
        info = self._ask("info")
        lists = {name: [p.translate_back(path) for path in info[name]] for name in ("inp", "out", "vol")}
        return StepInfo(info["action"], "./", lists["inp"], info["env"], lists["out"], lists["vol"])

    def graph(self, prefix: str | os.PathLike[str]) -> None:
        """Write the graph as it is now into three files."""
        from stepup_nb.client.pictures import write

        write(self._ask("nodes")["nodes"], os.fspath(prefix))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Delay the steps that the block declares until it ends, however it ends."""
        global _hold
        if _hold:
            yield
            return
        _hold = secrets.token_hex(8)
        self._ask("Hold", hold=_hold)
        try:
            yield
        finally:
            hold, _hold = _hold, ""
            self._ask("Release", hold=hold)
