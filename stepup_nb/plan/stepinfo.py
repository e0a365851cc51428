"""What was declared of a step, as the calls that declare steps return it, and as scripts hand it on in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from stepup_nb.plan.paths import make_path

if TYPE_CHECKING:
    from stepup_nb.core.nglob import NGlobMulti


def _paths(given: Iterable[str | os.PathLike[str]]) -> list[Any]:
    return sorted(make_path(path) for path in given)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "action": str,
    "workdir": make_path,
    "inp": _paths,
    "env": sorted,
    "out": _paths,
    "vol": _paths,
}


class StepInfo:
    """The declaration of a step; what the step amends later is not in it.

    Attributes
    ----------
    action
        The action string, with the paths put in for ``${inp}``, ``${out}`` and ``${vol}``.
    workdir
        Where it runs, relative to the root (or to whoever asked for it with `getinfo`), with a slash at its
        end.
    inp, out, vol
        Sorted lists of paths relative to ``workdir``.
    env
        Sorted list of names.
    """

    __slots__ = ("action", "env", "inp", "out", "vol", "workdir")
    __hash__ = None  # type: ignore[assignment]

    action: str
    workdir: Any
    inp: list[Any]
    env: list[str]
    out: list[Any]
    vol: list[Any]

    def __init__(
        self,
        action: str,
        workdir: str | os.PathLike[str],
        inp: Iterable[str | os.PathLike[str]],
        env: Iterable[str],
        out: Iterable[str | os.PathLike[str]],
        vol: Iterable[str | os.PathLike[str]],
    ) -> None:
        self.action = action
        self.workdir = workdir
        self.inp = inp  # type: ignore[assignment]
        self.env = env  # type: ignore[assignment]
        self.out = out  # type: ignore[assignment]
        self.vol = vol  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _CONVERTERS:
            raise AttributeError(f"'StepInfo' object has no attribute '{name}'")
        object.__setattr__(self, name, _CONVERTERS[name](value))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepInfo):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _CONVERTERS)

    def __repr__(self) -> str:
        return f"StepInfo({', '.join(f'{name}={getattr(self, name)!r}' for name in _CONVERTERS)})"

    def filter_inp(self, *patterns: str, **subs: str) -> NGlobMulti:
        """Return which inputs match patterns in the language of `stepup_nb.api.glob`."""
        return _filter(self.inp, patterns, subs)

    def filter_out(self, *patterns: str, **subs: str) -> NGlobMulti:
        """Return which outputs match patterns in the language of `stepup_nb.api.glob`."""
        return _filter(self.out, patterns, subs)

    def filter_vol(self, *patterns: str, **subs: str) -> NGlobMulti:
        """Return which volatile outputs match patterns in the language of `stepup_nb.api.glob`."""
        return _filter(self.vol, patterns, subs)

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary that stands for it in a file."""
        return {name: getattr(self, name) for name in _CONVERTERS}


def _filter(paths: list[Any], patterns: tuple[str, ...], subs: dict[str, str]) -> NGlobMulti:
    from stepup_nb.core.nglob import consistent

    return consistent(patterns, subs, [paths] * len(patterns), make_path)


def dump_step_info(filename: str, step_info: StepInfo | list[StepInfo]) -> None:
    """Write one step, or a list of steps, to a JSON file."""
    found: Any = [one.to_json() for one in step_info] if isinstance(step_info, list) else step_info.to_json()
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=2)
        file.write("\n")


def load_step_info(filename: str) -> StepInfo | list[StepInfo]:
    """Read what `dump_step_info` wrote: a step if it was one, a list if it was a list."""
    with open(filename, encoding="utf-8") as file:
        found = json.load(file)
    return [StepInfo(**one) for one in found] if isinstance(found, list) else StepInfo(**found)
