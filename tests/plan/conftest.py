"""A small world for plan scripts: primitives of `stepup_nb.api` that write down how they are called."""

import os
from collections.abc import Iterator

import pytest

from stepup_nb import api
from stepup_nb.plan.stepinfo import StepInfo


class Calls(list[str]):
    """One line a call, such as ``amend out=['a.txt']``; what is empty, false or the default is left out."""

    def step(self, action, *, workdir="./", inp=(), env=(), out=(), vol=(), **options):
        lists = {"inp": list(inp), "env": list(env), "out": list(out), "vol": list(vol)}
        where = {} if workdir == "./" else {"workdir": workdir}
        self._note("step", action, **lists, **where, **options)
        return StepInfo(action, workdir, inp, env, out, vol)

    def amend(self, **lists):
        self._note("amend", **{name: [str(path) for path in paths] for name, paths in lists.items()})

    def static(self, *paths):
        self._note("static", *paths)

    def _note(self, call, *arguments, **options):
        words = [str(one) for one in arguments]
        words += [f"{name}={_plain(value)}" for name, value in options.items() if value]
        self.append(" ".join([call, *words]))


def _plain(value):
    return [str(one) for one in value] if isinstance(value, list) else value


@pytest.fixture
def calls(monkeypatch, tmp_path) -> Iterator[Calls]:
    """Be in an empty folder that is the root, and get to know what is declared."""
    monkeypatch.chdir(tmp_path)
    for name in ("STEPUP_ROOT", "HERE", "ROOT", "STEPUP_DIRECTOR_SOCKET", "STEPUP_PATH_FILTER"):
        monkeypatch.delenv(name, raising=False)
    found = Calls()
    for name in ("step", "amend", "static"):
        monkeypatch.setattr(api, name, getattr(found, name), raising=False)
    yield found
    os.chdir("/")
