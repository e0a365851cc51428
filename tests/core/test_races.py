"""What a race audit makes of the runs it was given."""

from __future__ import annotations

from typing import Any

import pytest

from stepup_nb.core import races
from stepup_nb.core.errors import UsageError
from stepup_nb.core.races import Content, Made, Run

ROOT = "/home/me/thesis"


def content(text: str, mode: int = 0o100644) -> Content:
    return Content(text, len(text), mode, text)


def made(label: str, state: str = "SUCCEEDED", *, inp: tuple[str, ...] = (), **more: Any) -> Made:
    out = {path: None if text is None else content(text) for path, text in more.pop("out", {}).items()}
    return Made(label=label, state=state, inp=inp, out=out, **more)


def run(size: int | None, *steps: Made) -> Run:
    return Run({"test": size}, {step.label: step for step in steps})


def row(name: str, *, inp: tuple[str, ...] = (), out: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    plain = {"name": name, "label": name, "inp": inp, "out": out, "vol": (), "env": (), "workdir": "."}
    return {**plain, "pool": {}, "creator": None, "dormant": False, "seq": 0, **more}


def test_runs_go_through_the_sizes_of_all_pools_side_by_side():
    assert races.runs_of(races.read_pools(["a=1,4", "b=2,none"])) == [{"a": 1, "b": 2}, {"a": 4, "b": None}]


@pytest.mark.parametrize("words", [["test"], ["test=1,2", "test=3,4"]])
def test_words_that_say_no_sizes_are_refused(words):
    with pytest.raises(UsageError, match="SNB-160"):
        races.read_pools(words)


def test_a_step_brings_what_it_needs_its_plan_and_what_that_declares():
    rows = [
        row("plan", seq=1),
        row("child", out=("c",), creator="plan", seq=2),
        row("sibling", creator="plan", seq=3),
        row("reads", inp=("c",), seq=4),
        row("follows", seq=5),
        row("apart", seq=6),
        row("old", out=("c",), dormant=True, seq=7),
    ]
    links = [("follows", [], [], ["reads"])]
    found = races.involved(rows, links, ["follows"])
    assert [one["name"] for one in found] == ["plan", "child", "sibling", "reads", "follows"]
    assert len(races.involved(rows, links, None)) == 6


def test_the_first_line_that_differs_is_shown_and_what_hides_in_it_is_not():
    one, other = content("a\nb\nc\n"), content("a\nB\u202e\nc\nd\n")
    assert races.difference(one, other, "test=1", "test=4") == (
        "6 bytes with test=1, 9 with test=4; line 2 is 'b' with test=1, 'B\\u202e' with test=4"
    )


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (content("a"), content("a"), ""),
        (content("a"), None, "is there with x=1 only"),
        (content("a", 0o100644), content("a", 0o100755), "has mode 644 with x=1, 755 with x=2"),
        (Content("1", 5, 0, None), Content("2", 5, 0, None), "5 bytes each"),
        (content("a\n"), content("a"), "2 bytes with x=1, 1 with x=2; only the ends of lines differ"),
        (
            content("a\n"),
            content(""),
            "2 bytes with x=1, 0 with x=2; line 1 is 'a' with x=1, missing with x=2",
        ),
    ],
)
def test_how_two_files_differ_is_said_in_words(one, other, words):
    assert races.difference(one, other, "x=1", "x=2") == words


def test_what_differs_in_some_of_the_runs_is_counted():
    first = made("a", out={"p": "1"})
    found = races.compare([run(1, first), run(4, first), run(4, made("a", out={"p": "2"}))])
    (one,) = found.differing
    assert (one.output, one.run, one.differing, one.rounds) == ("p", "test=4", 1, 2)


def test_what_only_follows_from_another_difference_says_so_and_goes_last():
    def runs(text: str) -> list[Made]:
        return [made("reader", inp=("p",), out={"q": text}), made("maker", out={"p": text})]

    found = races.compare([run(1, *runs("1")), run(4, *runs("2"))]).differing
    assert [(one.step, one.follows) for one in found] == [("maker", ""), ("reader", "maker")]


def test_what_does_not_run_because_another_fails_follows_from_that():
    well = [made("maker", out={"p": "1"}), made("reader", inp=("p",), out={"q": "1"})]
    badly = [
        made("maker", "FAILED", returncode=3, said="no seat", out={"p": None}),
        made("reader", "PENDING", reason="waits for p", inp=("p",), out={"q": None}),
    ]
    found = races.compare([run(2, *well), run(4, *badly)]).differing
    assert [(one.step, one.output, one.follows) for one in found] == [
        ("maker", None, ""),
        ("reader", None, "maker"),
    ]
    assert found[0].what == "succeeds with test=2; fails with test=4: exit code 3: no seat"


def test_what_differs_with_equal_sizes_is_unsteady_and_said_once():
    runs = [run(size, made("now", out={"p": str(at)})) for at, size in enumerate((1, 4, 1))]
    found = races.compare(runs)
    assert found.differing == ()
    assert [one.run for one in found.unsteady] == ["test=1"]


def test_a_step_that_a_plan_declares_in_some_runs_only_is_named():
    found = races.compare([run(1, made("a")), run(4, made("a"), made("b"))]).differing
    assert [(one.step, one.what) for one in found] == [("b", "is declared with test=4 only")]


@pytest.mark.parametrize(
    ("text", "is_way_out"),
    [
        (f"cat {ROOT}/a", True),
        (f"cat '{ROOT}'", True),
        (f"cat {ROOT}2/a", False),
        (f"cat {ROOT}.old/a", False),
        ("cat ~/thesis/a", True),
        ('cat "$HOME/thesis/a"', True),
        ("cat ${HOME}/thesis/a", True),
        ("cat ~/thesis2", False),
        ("cat thesis/a", False),
        ("cat ~/a", False),
    ],
)
def test_a_text_that_names_the_project_s_folder_is_recognised(text, is_way_out):
    names = races.spellings(ROOT, "/home/me")
    assert (races.way_out(row("s"), {"its command": text}, {}, names) is not None) == is_way_out


@pytest.mark.parametrize("text", ["cat ~/a", "ls $HOME", "ls ${HOME}/b", "ls /home/me/c"])
def test_a_project_that_is_the_home_directory_is_recognised_as_that(text):
    assert races.is_named(text, races.spellings("/home/me", "/home/me"))


def test_a_variable_leads_out_where_it_is_declared_or_named():
    texts = {"its command": 'cp a "$TARGET"'}
    variables = {"TARGET": f"{ROOT}/b", "OTHER": f"{ROOT}/c", "PATH": f"{ROOT}/bin:/bin", "PWD": ROOT}
    names = races.spellings(ROOT)
    assert "TARGET" in (races.way_out(row("s"), texts, variables, names) or "")
    assert races.way_out(row("s"), {"its command": "echo $PWD $PATH"}, variables, names) is None
    assert "OTHER" in (races.way_out(row("s", env=("OTHER",)), {}, variables, names) or "")


def test_in_a_copy_the_shell_is_told_that_it_is_there():
    found = races.environment_in("/tmp/c", ROOT, {"PWD": f"{ROOT}/sub", "OLDPWD": "/", "A": ROOT})
    assert found == {"PWD": "/tmp/c/sub", "OLDPWD": "/", "A": ROOT}
