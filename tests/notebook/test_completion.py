"""What the Tab key offers in a line of a magic."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stepup_nb.client.connection import DirectorGone
from stepup_nb.notebook.completion import StepUpMatcher
from stepup_nb.notebook.magics import CELL_OPTIONS, MAGIC_OPTIONS
from stepup_nb.notebook.verbs import VERBS

FLAGS = [option.flags[-1] for option in MAGIC_OPTIONS]
CELL_FLAGS = [option.flags[-1] for option in CELL_OPTIONS]


@dataclass
class Session:
    """A session with two pools and four steps."""

    is_started: bool = True
    is_gone: bool = False

    def status(self) -> dict[str, Any]:
        if self.is_gone:
            raise DirectorGone("gone")
        names = ["cut", "runsh echo A", "two\nlines"]
        steps = [{"name": name, "dormant": False} for name in names] + [{"name": "cold", "dormant": True}]
        return {"pools": [{"name": "test"}, {"name": "team"}], "steps": steps}


@dataclass
class Place:
    root: Path


@dataclass
class Extension:
    root: Path
    session: Session | None = field(default_factory=Session)

    def place(self) -> Place:
        return Place(self.root)


@pytest.fixture
def extension(tmp_path: Path) -> Extension:
    for name in ("data.csv", "a b.txt", "sub/deep/one.txt", "sub/two.txt", ".hidden"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Extension(tmp_path)


@pytest.fixture
def offered(extension: Extension):
    matcher = StepUpMatcher(extension)  # type: ignore[arg-type]
    return lambda line, is_first=True: matcher.candidates(line, is_first=is_first)


def test_options_are_offered_where_the_command_has_not_begun(offered):
    assert offered("%runsh ") == FLAGS
    assert offered("%%runsh ") == CELL_FLAGS
    assert offered("%runsh --p") == ["--pool", "--priority"]
    assert offered("%%runpy --p") == offered("%runpy --p") == ["--pool", "--priority"]
    assert offered("%runpy -- da") == ["data.csv"]
    assert offered("%runsh --force --na") == ["--name"]
    assert offered("%runsh --name cut ") == FLAGS
    assert offered("h = %runsh --na") == offered("h=%runsh --na") == ["--name"]


def test_the_command_is_completed_by_whoever_does_so_otherwise(offered):
    assert offered("%runsh -- ca") is None
    assert offered("%runsh echo A ") is None
    assert offered("%runsh --force echo ") is None
    assert offered("%runsh -p test echo ") is None


def test_values_are_those_that_an_option_can_have(offered):
    assert offered("%runsh --pool ") == offered("%runsh -p ") == ["test", "team"]
    assert offered("%runsh --pool tes") == ["test"]
    assert offered("%runsh --workdir ") == ["sub/"]
    assert "PATH" in offered("%runsh --env ")
    assert offered("%runsh --name ") == []
    assert offered("%runsh --after c") == ["cut"]


def test_a_list_goes_on_until_another_option(offered):
    assert offered("%runsh --inp data.csv da") == ["data.csv"]
    assert "--out" in offered("%runsh --inp data.csv --o")
    assert "--" in offered("%runsh --inp data.csv -")


def test_paths_are_those_of_the_notebooks_folder_down_to_any_depth(offered):
    assert offered("%static ") == ["a b.txt", "data.csv", "sub/"]
    assert offered("%static sub/") == ["sub/deep/", "sub/two.txt"]
    assert offered("%runsh --inp sub/deep/o") == ["sub/deep/one.txt"]
    assert offered("%static .h") == [".hidden"]


def test_a_name_with_blanks_is_offered_in_quotes_and_can_be_completed_from_there(offered):
    assert offered("%stepup why ") == ["cut", "'runsh echo A'"]
    assert offered("%stepup why 'runsh e") == ["'runsh echo A'"]


def test_steps_that_are_only_remembered_are_not_offered(offered):
    assert offered("%stepup wait co") == []


def test_verbs_and_what_they_take(offered):
    assert offered("%stepup ") == list(VERBS)
    assert offered("%stepup re") == ["rerun", "resume", "report"]
    assert offered("%stepup rerun --") == ["--failed", "--all"]
    assert offered("%stepup wait --") == ["--timeout", "--no-raise"]
    assert offered("%stepup pause ") == ["test", "team"]
    assert offered("%stepup notebook da") == ["data.csv"]
    assert offered("%stepup history ") == []
    assert offered("%stepup watch o") == ["on", "off"]
    assert offered("%stepup narrate o") == ["on", "off"]
    assert offered("%stepup timeline --save da") == ["data.csv"]
    assert offered("%stepup wait --timeout ") == []
    assert offered("%stepup audit --pool t") == ["test=", "team="]
    assert offered("%stepup audit --k") == ["--keep"]
    assert offered("%stepup export --stepup ") == ["3", "4"]
    assert offered("%stepup export da") == ["data.csv"]
    assert offered("%stepup nonsense ") == []


def test_pools(offered):
    assert offered("%pool ") == ["test", "team", "--tokens", "--per-machine", "--drop"]
    assert offered("%pool test --d") == ["--drop"]


def test_other_lines_are_none_of_ours(offered):
    for line in ("", "pri", "%run", "%runsh", "x = %", "%timeit ", "print(%runsh --", "echo --"):
        assert offered(line) is None
    assert offered("%%runsh --", is_first=False) is None


def test_without_a_director_there_are_no_pools_and_nobody_is_bothered(extension, offered):
    extension.session.is_gone = True
    assert offered("%pool ") == ["--tokens", "--per-machine", "--drop"]
    extension.session.is_started = False
    assert offered("%stepup why ") == []
    extension.session = None
    assert offered("%runsh --pool ") == []


def test_a_value_of_an_option_of_a_verb_is_completed_as_what_it_is(offered):
    assert offered("%stepup whatif --p") == ["--pool"]
    assert offered("%stepup whatif --pool te") == ["test=", "team="]
    assert offered("%stepup whatif --workers ") == []
    assert offered("%stepup whatif --pool test=1..8 ") == [
        "--pool",
        "--workers",
        "--json",
        "--save",
        "--force",
    ]
