"""Paths between a script and the graph. What StepUp 3.0.0 answered to the same questions stands in the tables."""

import pytest

from stepup_nb.plan import paths
from stepup_nb.plan.exceptions import ArgumentError, PathError

pytestmark = pytest.mark.usefixtures("calls")


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("./a", "a"), ("a/../b", "b"), ("a/../b/", "b/"), ("a//b", "a/b"), ("./a/", "a/"), ("", "."), ("./", "./"),
        ("..", ".."), ("../x/..", ".."), ("a/./", "a/"), ("/a/../b/", "/b/"), ("${X}/a", "${X}/a"), ("/", "/"),
    ],
)  # fmt: skip
def test_a_path_is_made_short_and_keeps_the_slash_of_a_directory(given, normal):
    assert paths.normalise(given) == normal


@pytest.mark.parametrize(
    ("here", "path", "workdir", "there"),
    [
        (".", "a", ".", "a"), (".", "a/", "w/", "w/a/"), (".", "../b", "w", "b"), ("sub", "a", ".", "sub/a"),
        ("sub", "../b", "w", "sub/b"), ("sub", "./", ".", "sub/"), ("sub/", "..", ".", "."),
        ("sub", "/etc/x", "w", "/etc/x"), ("sub", "a", "/abs/", "/abs/a"), ("sub", "../../x", "/abs/", "/x"),
    ],
)  # fmt: skip
def test_a_path_is_translated_to_what_the_graph_knows(monkeypatch, here, path, workdir, there):
    monkeypatch.setenv("HERE", here)
    assert paths.translate(path, workdir) == there


@pytest.mark.parametrize(
    ("here", "path", "workdir", "back"),
    [
        (".", "a", ".", "a"), (".", "a/", "w", "../a/"), ("sub", "a", ".", "../a"), ("sub", "../b", "w", "../../../b"),
        ("sub", "./", ".", "../"), ("sub", "/etc/x", "w", "/etc/x"), (".", "/abs/q", "/abs/", "q"),
    ],
)  # fmt: skip
def test_a_path_of_the_graph_is_translated_back(monkeypatch, here, path, workdir, back):
    monkeypatch.setenv("STEPUP_ROOT", "/some/root")
    monkeypatch.setenv("HERE", here)
    assert paths.translate_back(path, workdir) == back


def test_a_path_is_a_text_that_joins_as_a_path():
    pytest.importorskip("path")
    assert repr(paths.make_path("a") / "b") == "Path('a/b')"
    assert paths.make_path("a") == "a"


def test_without_the_package_path_a_path_is_a_plain_text(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "path", None)
    monkeypatch.setattr(paths, "_path_class", None)
    assert type(paths.make_path("a")) is str


def test_a_module_of_the_users_that_is_called_path_does_no_harm(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "path", __import__("pathlib"))
    monkeypatch.setattr(paths, "_path_class", None)
    assert type(paths.make_path("a")) is str


def test_one_text_is_as_good_as_a_list_of_one(tmp_path):
    assert paths.words("a") == paths.words(["a"]) == ["a"]
    assert paths.words([tmp_path]) == paths.words(tmp_path) == [str(tmp_path)]


@pytest.mark.parametrize(
    ("given", "word"),
    [("x.py", "./x.py"), ("../x.py", "../x.py"), ("sub/../x", "./x"), ("a b.py", "'./a b.py'")],
)
def test_an_executable_is_called_by_its_path(given, word):
    assert paths.command_word(given) == word


def test_an_absolute_executable_is_refused():
    with pytest.raises(ArgumentError, match=r"Executable is not a relative path: /abs/x \(SNB-135\)"):
        paths.command_word("/abs/x")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nope", "Path does not exist: nope"),
        ("d", "Directory without trailing separator: d"),
        ("nope/", "Path does not exist: nope/"),
    ],
)
def test_a_path_that_is_not_there_is_refused_in_the_words_of_stepup(tmp_path, path, words):
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match=words) as refusal:
        paths.check(path)
    assert isinstance(refusal.value, PathError)
    paths.check("d/")
