"""What a hint of a change leads to: one look at a time, and none where nobody wants to know."""

import pytest

from stepup_nb.core.graph import Graph
from stepup_nb.core.model import Glob
from stepup_nb.director.folders import MOST, Folders
from stepup_nb.director.reactor import Reactor
from stepup_nb.director.watching import Watching


@pytest.fixture
def reactor():
    reactor = Reactor()
    yield reactor
    reactor.close()


def test_however_much_changes_there_is_one_look_at_a_time(reactor, tmp_path):
    looks = []

    def look():
        looks.append(len(looks) + 1)
        return looks[-1]

    watching = Watching(reactor, str(tmp_path), Graph(), look, lambda: True)
    for _ in range(1000):
        watching._on_change()
    assert looks == [1]
    watching.looked(7)
    assert looks == [1], "somebody else's look"
    watching.looked(1)
    assert looks == [1, 2], "what changed meanwhile is looked at once more"
    watching.looked(2)
    assert looks == [1, 2]


def test_where_nobody_wants_to_know_nothing_is_looked_at(reactor, tmp_path):
    watching = Watching(reactor, str(tmp_path), Graph(), pytest.fail, lambda: False)
    watching._on_change()


def test_the_folders_of_a_pattern_are_those_in_which_a_match_may_come_up(tmp_path):
    for name in ("a/b/c", "d"):
        (tmp_path / name).mkdir(parents=True)
    folders = Folders(str(tmp_path))

    def of(*patterns):
        return {path.removeprefix(str(tmp_path)).lstrip("/") for path in folders.of((), [Glob(patterns)])}

    assert of("a/*.txt") == {"a"}
    assert of("*.txt") == {""}
    assert of("a/**/*.txt") == {"a", "a/b", "a/b/c"}
    assert of("*/x") == {"", "a", "a/b", "a/b/c", "d"}
    (tmp_path / "d" / "e").mkdir()
    assert of("*/x") == {"", "a", "a/b", "a/b/c", "d"}, "it is not walked through for nothing"
    folders.forget()
    assert of("*/x") == {"", "a", "a/b", "a/b/c", "d", "d/e"}
    assert folders.of(["f/x.txt", "g/"], ()) == {str(tmp_path / "f"), str(tmp_path)}
    assert MOST > 1000
