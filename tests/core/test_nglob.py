"""A glob finds what matches, walks no further than it must, and says which files belong together.

What is expected here was compared with StepUp 3.0.0 on a real tree; where we differ, the test says so.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterable
from pathlib import PurePosixPath
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.core.errors import UsageError
from stepup_nb.core.nglob import (
    DEEPEST,
    NGlobMulti,
    check,
    consistent,
    has_wildcard,
    matches,
    names_in,
    search,
)


class Tree:
    """A small fake disk: paths, directories with a slash at the end, and a note of every listing."""

    def __init__(self, *paths: str) -> None:
        self.paths: set[str] = set()
        for path in paths:
            ends = [at + 1 for at, sign in enumerate(path) if sign == "/" and at > 0]
            self.paths |= {path, *(path[:end] for end in ends)} - {""}
        self.folders: dict[str, dict[str, bool]] = {}
        for path in self.paths:
            folder, _, name = path.rstrip("/").rpartition("/")
            above = "/" if path.startswith("/") and not folder else folder
            self.folders.setdefault(above, {})[name] = path.endswith("/")
        self.asked: list[str] = []

    def listing(self, folder: str) -> Iterable[tuple[str, bool]]:
        self.asked.append(folder)
        return self.folders.get(folder, {}).items()

    def search(self, pattern: str, **subs: str) -> list[str]:
        return list(search([pattern], subs, self.listing)[0])

    def glob(self, *patterns: str, **subs: str) -> NGlobMulti:
        return consistent(patterns, subs, search(patterns, subs, self.listing))


TREE = Tree(
    ".dot", ".hid/z", "[ab]", "a.txt", "a/b/c/h.txt", "a/b/g.txt", "a/f.txt", "b.txt", "ch1.in", "ch1.out", "ch2.in",
    "ch3.out", "data-1-a", "data-1-b", "empty/", "new\nline", "src/x/data_1.csv", "src/y/data_1.csv",
    "src/y/data_2.csv", "x-1", "x-2", "../up/u.txt", "/abs/q.txt",
)  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a.txt", "a.txt"),
        ("nope", ""),
        ("a", ""),  # a directory is written with its slash
        ("a/", "a/"),
        ("a.txt/", ""),
        ("a/b/", "a/b/"),
        ("", ""),
        (".", ""),
        ("..", ""),
        ("./", "./"),
        ("../", "../"),
        ("../../", "../../"),
        ("/", "/"),
        ("./a.txt", "a.txt"),
        ("a//f.txt", "a/f.txt"),
        ("a/../b.txt", "b.txt"),
        ("*/../?.txt", "a.txt b.txt"),
        ("a/*", "a/b/ a/f.txt"),  # and not a/: `*` between slashes is not empty
        ("*/b/*", "a/b/c/ a/b/g.txt"),
        ("a/b*", "a/b/"),  # a final `*` takes a directory, with its slash
        ("a*", "a.txt a/"),
        ("*b", "data-1-b"),  # anything else takes a file
        ("*/b", ""),
        ("sr?", ""),
        ("sr?/", "src/"),
        ("*/", ".hid/ a/ empty/ src/"),
        (".*", ".dot .hid/"),
        ("?.txt", "a.txt b.txt"),
        ("a?f.txt", ""),
        ("**/", ".hid/ a/ a/b/ a/b/c/ empty/ src/ src/x/ src/y/"),
        ("a/**", "a/ a/b/ a/b/c/ a/b/c/h.txt a/b/g.txt a/f.txt"),
        ("a/**/", "a/ a/b/ a/b/c/"),
        ("a/**/**", "a/ a/b/ a/b/c/ a/b/c/h.txt a/b/g.txt a/f.txt"),
        ("a/**/*", "a/b/ a/b/c/ a/b/c/h.txt a/b/g.txt a/f.txt"),
        ("empty/**", "empty/"),
        ("empty/*", ""),
        ("nope/**", ""),
        ("a.txt/**", ""),
        ("**/*.txt", "a.txt a/b/c/h.txt a/b/g.txt a/f.txt b.txt"),
        ("**/b/**", "a/b/ a/b/c/ a/b/c/h.txt a/b/g.txt"),
        ("a/**/b/**/*.txt", "a/b/c/h.txt a/b/g.txt"),
        ("src/**/data_1.csv", "src/x/data_1.csv src/y/data_1.csv"),
        ("**.txt", "a.txt b.txt"),  # next to other signs `**` is `*`
        ("a**", "a.txt a/"),
        ("a**/f.txt", "a/f.txt"),
        ("x***", "x-1 x-2"),
        ("[ab].txt", "a.txt b.txt"),
        ("[a-b].txt", "a.txt b.txt"),
        ("[!a].txt", "b.txt"),
        ("x-[!-]", "x-1 x-2"),
        ("x-[12-]", "x-1 x-2"),
        ("a[!x]f.txt", ""),
        ("a[.-0]f.txt", ""),
        ("[[]ab]", "[ab]"),
        ("[[]ab[]]", "[ab]"),  # StepUp 3.0.0 cannot read `[]]`
        ("[]a].txt", "a.txt"),
        ("[^a].txt", "a.txt"),  # `!` negates; StepUp 3.0.0 finds nothing here
        ("[z-a].txt", ""),  # an error in StepUp 3.0.0
        ("[!z-a].txt", "a.txt b.txt"),
        ("[ab*", "[ab]"),  # without an end it is a sign like others
        ("{a,b}.txt", ""),
        ("a\\.txt", ""),
        ("../*/", "../up/"),
        ("../**/*.txt", "../up/u.txt"),
        ("/abs/*", "/abs/q.txt"),
        ("//abs/*", "/abs/q.txt"),
        ("/**/q.*", "/abs/q.txt"),
    ],
)
def test_a_pattern_finds_its_paths(pattern: str, found: str) -> None:
    assert TREE.search(pattern) == found.split()
    assert all(matches(pattern, path) for path in found.split())


def test_a_line_break_is_a_sign_like_others() -> None:
    assert TREE.search("new*") == TREE.search("new?line") == TREE.search("**/*line") == ["new\nline"]
    assert "new\nline" in TREE.search("**")  # StepUp 3.0.0 leaves it out


def test_a_wildcard_is_never_a_way_up() -> None:
    # In StepUp 3.0.0 a deferred `**` takes them, although no search would find them.
    for path in ["../", "./", "/", "../a.txt", "/a.txt", ".", "..", ""]:
        assert not matches("**", path)
        assert not matches("*/*", path)
    assert matches("../*", "../a.txt")
    assert not matches("../*", "../../")
    assert matches("/**", "/")


def test_a_pattern_says_whether_it_has_wildcards() -> None:
    assert [has_wildcard(text) for text in ["a", "[ab", "a]", "[]", "$a", "{a}"]] == [False] * 6
    assert [has_wildcard(text) for text in ["*", "a?", "[ab]", "**/a", "a${*n}"]] == [True] * 5
    assert names_in(["${*b}/${*a}", "x", "${*b}"]) == ("a", "b")


# --- the walk -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("a.txt", [""]),
        ("a/b/g.txt", ["a/b"]),
        ("a/b/", ["a"]),
        ("a/b/*.txt", ["a/b"]),
        ("s*/y/*", ["", "src/y"]),
        ("src/*/data_1.csv", ["src", "src/x", "src/y"]),
        ("*", [""]),
        ("src/**/*.csv", ["src", "src/x", "src/y"]),
        ("../up/*", ["../up"]),
        ("/abs/*", ["/abs"]),
        ("/*/", ["/"]),
        ("./", []),
    ],
)
def test_only_the_folders_that_matter_are_listed(pattern: str, asked: list[str]) -> None:
    tree = Tree(*TREE.paths)
    tree.search(pattern)
    assert sorted(tree.asked) == asked


def test_patterns_of_one_call_list_a_folder_once() -> None:
    tree = Tree(*TREE.paths)
    tree.glob("ch${*n}.in", "ch${*n}.out", "**/*.txt", "**/*.csv")
    assert len(tree.asked) == len(set(tree.asked))


def test_a_link_that_leads_back_up_ends_somewhere() -> None:
    found = search(["**/f"], {}, lambda folder: [("f", False), ("loop", True)])[0]
    assert DEEPEST <= len(found) <= DEEPEST + 5


def test_ten_thousand_files_take_well_under_a_second() -> None:
    tree = Tree(*(f"d{n % 10}/e{n % 100}/f{n}.{'csv' if n % 2 else 'txt'}" for n in range(10_000)))
    start = perf_counter()
    assert len(tree.search("**/*.csv")) == 5_000
    assert perf_counter() - start < 0.8


signs = st.sampled_from(["a", "b", ".", "*", "**", "?", "[ab]", "[!a]", "/", "/**/", "*/"])
pattern_texts = st.lists(signs, min_size=1, max_size=5).map("".join).filter(lambda text: text[0] != "/")
folders = st.lists(st.sampled_from(["a", "ab", ".a", "bb"]), max_size=4).map(
    lambda parts: "".join(f"{p}/" for p in parts)
)
files = st.sampled_from(["", "b", "aa", ".b", "a.b"])
trees = st.lists(st.builds(str.__add__, folders, files), max_size=8).map(
    lambda paths: Tree(*filter(None, paths))
)


@given(trees, pattern_texts)
def test_a_search_finds_exactly_what_matches(tree: Tree, pattern: str) -> None:
    assert tree.search(pattern) == sorted(
        path for path in tree.paths | {"./", "../", "../../"} if matches(pattern, path)
    )


@given(trees, pattern_texts, st.sampled_from(["*", "**", "?", "[!a]*", "a", "**/"]))
def test_a_search_with_names_finds_exactly_what_matches(tree: Tree, pattern: str, sub: str) -> None:
    named = f"{pattern}${{*n}}{pattern}${{*n}}"
    assert tree.search(named, n=sub) == list(consistent([named], {"n": sub}, [tree.paths]).files())


# --- names ----------------------------------------------------------------------------------------


def told(glob: NGlobMulti) -> list[str]:
    return [" ".join([*match.mapping.values(), "|", *map(str, match.files)]) for match in glob]


def test_files_with_the_same_value_belong_together() -> None:
    glob = TREE.glob("ch${*n}.in", "ch${*n}.out")
    assert told(glob) == ["1 | ch1.in ch1.out"]
    assert glob
    assert glob.results == {("1",): [{"ch1.in"}, {"ch1.out"}]}
    assert glob.used_names == ("n",)


def test_a_match_knows_its_values_and_files() -> None:
    (match,) = TREE.glob("ch${*n}.in", "ch${*n}.out")
    assert match.n == "1"
    assert match.mapping == {"n": "1"}
    assert match.files == ["ch1.in", "ch1.out"]
    assert match[1] == "ch1.out"
    with pytest.raises(AttributeError, match="'zz'"):
        _ = match.zz
    with pytest.raises(ValueError, match="2 match"):
        _ = match.single
    assert copy.deepcopy(match) == match == pickle.loads(pickle.dumps(match))
    (other,) = TREE.glob("ch${*files}.in", files="2")
    assert (other.single, other.mapping) == ("ch2.in", {"files": "2"})


def test_a_pattern_with_other_wildcards_gives_lists() -> None:
    assert [match.files for match in TREE.glob("ch${*n}.*")] == [
        [["ch1.in", "ch1.out"]],
        [["ch2.in"]],
        [["ch3.out"]],
    ]
    assert [match.files for match in TREE.glob("ch${*n}.in", "?.txt", n="1")] == [
        ["ch1.in", ["a.txt", "b.txt"]]
    ]
    assert [match.files for match in TREE.glob("ch${*n}.in", "a.txt", n="1")] == [["ch1.in", "a.txt"]]
    assert [match.single for match in TREE.glob("ch${*n}.[i]n")] == ["ch1.in", "ch2.in"]


def test_matches_are_sorted_by_the_values_of_sorted_names() -> None:
    assert told(TREE.glob("src/${*x}/data_${*n}.csv")) == [
        "1 x | src/x/data_1.csv",
        "1 y | src/y/data_1.csv",
        "2 y | src/y/data_2.csv",
    ]
    assert told(TREE.glob("data-${*b}-${*a}")) == ["a 1 | data-1-a", "b 1 | data-1-b"]


def test_names_of_different_patterns_are_joined_where_they_are_shared() -> None:
    assert told(TREE.glob("src/${*x}/data_${*n}.csv", "src/y/data_${*n}.csv", "x-${*n}")) == [
        "1 x | src/x/data_1.csv src/y/data_1.csv x-1",
        "1 y | src/y/data_1.csv src/y/data_1.csv x-1",
        "2 y | src/y/data_2.csv src/y/data_2.csv x-2",
    ]
    assert told(TREE.glob("${*A}.txt", "${*a}.txt", a="b")) == ["a b | a.txt b.txt", "b b | b.txt b.txt"]


def test_a_name_stands_for_the_same_text_each_time() -> None:
    tree = Tree("a/a.txt", "a/b.txt", "b/b.txt")
    assert told(tree.glob("${*d}/${*d}.txt")) == ["a | a/a.txt", "b | b/b.txt"]


def test_a_sub_pattern_says_what_a_name_stands_for() -> None:
    assert told(TREE.glob("ch${*n}.in", n="[!1]")) == ["2 | ch2.in"]
    assert told(TREE.glob("${*p}/g.txt", p="**")) == ["a/b | a/b/g.txt"]
    assert told(TREE.glob("${*p}g.txt", p="**/")) == ["a/b/ | a/b/g.txt"]
    assert told(TREE.glob("${*p}.csv", p="s*/x/*")) == ["src/x/data_1 | src/x/data_1.csv"]
    assert told(TREE.glob("ch${*n}.in", n="")) == []
    assert told(TREE.glob("[${*n}]", n="ab")) == ["ab | [ab]"]


def test_a_named_wildcard_at_the_end_takes_no_directory() -> None:
    assert told(TREE.glob("a/${*n}")) == ["f.txt | a/f.txt"]
    assert told(TREE.glob("a/${*n}/")) == ["b | a/b/"]
    assert told(TREE.glob("a/${*n}${*m}")) == [" f.txt | a/f.txt"]
    # The last part would be empty.
    assert consistent(["*/${*n}*/${*n}"], {}, [["a/b/"]]).files() == ()


def test_without_names_a_glob_gives_the_sorted_paths() -> None:
    glob = TREE.glob("?.txt", "a.*")
    assert list(glob) == list(glob.files()) == ["a.txt", "b.txt"]
    assert glob.results == {(): [{"a.txt", "b.txt"}, {"a.txt"}]}
    assert [match.files for match in glob.matches()] == [[["a.txt", "b.txt"], ["a.txt"]]]


def test_a_glob_is_false_unless_each_pattern_has_a_path() -> None:
    # The files are there all the same, as in StepUp: all of them are declared.
    for patterns, files in [
        (("?.txt", "nope"), ("a.txt", "b.txt")),
        (("ch${*n}.in", "nope"), ("ch1.in", "ch2.in")),
        (("x-${*n}", "data-1-${*n}"), ("data-1-a", "data-1-b", "x-1", "x-2")),
        (("nope",), ()),
    ]:
        glob = TREE.glob(*patterns)
        assert not glob
        assert glob.files() == files
        assert glob.results == {}
        assert list(glob.matches()) == []
        assert glob.canonical() == []


def test_single_is_the_only_file() -> None:
    assert TREE.glob("a.txt").single() == "a.txt"
    assert TREE.glob("ch${*n}.in", n="1").single() == "ch1.in"
    with pytest.raises(ValueError, match="2 match"):
        TREE.glob("?.txt").single()
    with pytest.raises(ValueError, match="none match"):
        TREE.glob("nope").single()


def test_paths_are_handed_out_as_the_caller_makes_them() -> None:
    glob = consistent(["${*n}.txt"], {}, [["b.txt", "a.txt"]], PurePosixPath)
    a, b = PurePosixPath("a.txt"), PurePosixPath("b.txt")
    assert glob.files() == (a, b)
    assert [match.single for match in glob] == [a, b]
    assert glob.results == {("a",): [{a}], ("b",): [{b}]}
    assert glob.without(["a.txt"]).single() == b


# --- changes --------------------------------------------------------------------------------------


def test_what_is_left_out_takes_its_partners_along() -> None:
    glob = TREE.glob("src/${*x}/data_${*n}.csv", "x-${*n}")
    less = glob.without(["x-1"])
    assert told(less) == ["2 y | src/y/data_2.csv x-2"]
    assert less.canonical() == [[["2", "y"], [["src/y/data_2.csv"], ["x-2"]]]]
    assert glob.without(["nope"]) == glob


any_paths = st.lists(st.sampled_from(["a.in", "b.in", "c.in", "a.out", "b.out", "d.out", "a.in/", "x"]))


@given(st.permutations(["a.in", "b.in", "c.in", "a.out", "b.out", "x"]), any_paths)
def test_what_belongs_together_is_independent_of_the_order(paths: list[str], gone: list[str]) -> None:
    patterns = ["${*n}.in", "${*n}.o*", "?"]
    glob = consistent(patterns, {}, [paths] * 3)
    assert glob == consistent(patterns, {}, [sorted(paths)] * 3)
    assert json.loads(json.dumps(glob.canonical())) == glob.canonical()
    assert [match.n for match in glob] == ["a", "b"]
    left = [path for path in paths if path not in gone]
    assert glob.without(gone) == consistent(patterns, {}, [left] * 3)


@given(any_paths, any_paths)
def test_a_match_has_a_path_of_every_pattern(ins: list[str], outs: list[str]) -> None:
    glob = consistent(["${*n}.in", "${*n}.out"], {}, [ins, outs])
    both = {path[0] for path in ins if path.endswith(".in")} & {
        path[0] for path in outs if path.endswith(".out")
    }
    assert [match.n for match in glob] == sorted(both)
    assert bool(glob) is bool(both)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "subs", "what"),
    [
        ([], {}, "A glob needs a pattern."),
        (["${*n}"], {"_n": "?"}, "'_n' is no name for a sub-pattern."),
        (["${*n}"], {"n": 1}, "The sub-pattern 'n' is no text."),
        (["${*n}"], {"n": "a${*m}"}, "The sub-pattern 'n' has a named wildcard in it: 'a${*m}'."),
        (["a", "ch${*n"], {}, "There is a named wildcard in 'ch${*n' that cannot be read."),
        (["${*}"], {}, "There is a named wildcard in '${*}' that cannot be read."),
        (["${*1}"], {}, "There is a named wildcard in '${*1}' that cannot be read."),
        (["${*a-b}"], {}, "There is a named wildcard in '${*a-b}' that cannot be read."),
        (["${*ü}"], {}, "There is a named wildcard in '${*ü}' that cannot be read."),
    ],
)
def test_what_is_no_glob_is_refused(patterns: list[str], subs: dict[str, str], what: str) -> None:
    for refuse in (
        lambda: check(patterns, subs),
        lambda: search(patterns, subs, TREE.listing),
        lambda: consistent(patterns, subs, [[]] * len(patterns)),
    ):
        with pytest.raises(UsageError) as caught:
            refuse()
        assert (caught.value.code, caught.value.what) == ("SNB-131", what)
        assert caught.value.fix


def test_a_sub_pattern_that_no_pattern_uses_is_fine() -> None:
    assert list(TREE.glob("a.txt", n="x")) == ["a.txt"]
    assert told(TREE.glob("x-${*_n}")) == ["1 | x-1", "2 | x-2"]
