"""Scripts that are run by hand: what they print is what StepUp 3.0.0 printed, line for line."""

import pytest

from stepup_nb.plan import paths
from stepup_nb.plan.alone import Alone
from stepup_nb.plan.exceptions import ArgumentError

ALONE = Alone()


@pytest.fixture(autouse=True)
def folder(calls, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "_path_class", str)
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("")


def test_static_files_are_said_to_be_missing_until_somebody_confirms_them(capsys):
    ALONE.static(["a.txt", ["d/", "./d/x"]])
    ALONE.static([])
    assert capsys.readouterr().out == "missing(-1, ['a.txt', 'd/', 'd/x'])\n"


def test_a_step_is_said_with_paths_of_the_graph_and_returned_with_its_own(capsys, monkeypatch):
    monkeypatch.setenv("HERE", "sub")
    info = ALONE.step(
        "runsh cat $inp > $out $$", inp=["b c", "a"], out="o", workdir="w", env="E", pool="p", block=True
    )
    assert capsys.readouterr().out == (
        "step(-1, \"runsh cat 'b c' a > o $$\", ['sub/w/b c', 'sub/w/a'], ['E'], ['sub/w/o'], [], 'sub/w/',"
        " False, 'p', True)\n"
    )
    assert (info.workdir, info.inp, info.out) == ("sub/w/", ["a", "b c"], ["o"])


def test_a_glob_finds_what_is_there(capsys):
    found = ALONE.glob(["${*n}.txt", "d/*"], {"n": "a*"})
    assert capsys.readouterr().out == (
        "missing(-1, ['a.txt', 'd/x'])\nnglob(-1, ['${*n}.txt', 'd/*'], {'n': 'a*'}, ['a.txt', 'd/x'])\n"
    )
    assert [match.n for match in found] == ["a"]


def test_a_glob_without_matches_is_falsy_and_says_so(capsys):
    assert not ALONE.glob(["*.md"], {})
    assert capsys.readouterr().out == "nglob(-1, ['*.md'], {}, [])\n"
    with pytest.raises(FileNotFoundError):
        ALONE.glob(["*.md"], {}, required=True)


def test_a_deferred_glob_looks_for_nothing(capsys):
    assert ALONE.glob(["*.md"], {}, defer=True) is None
    assert capsys.readouterr().out == "defer(-1, ['*.md'])\n"
    with pytest.raises(ArgumentError, match="Named wildcards are not supported in deferred globs"):
        ALONE.glob(["${*n}"], {"n": "x"}, defer=True)


def test_a_link_that_leads_back_up_is_no_way_without_end(tmp_path):
    (tmp_path / "d" / "up").symlink_to(tmp_path)
    assert list(ALONE.glob(["**/a.txt"], {})) == ["a.txt"]


def test_amending_says_what_is_added_and_checks_inputs(capsys):
    ALONE.amend(inp=["a.txt", "./d/"], env=["B", "A", "B"], out="o", vol=["v"])
    ALONE.amend()
    with pytest.raises(ValueError, match="Path does not exist: nope"):
        ALONE.amend(inp="nope")
    assert capsys.readouterr().out == (
        "amend(-1, ['a.txt', 'd/'], ['A', 'B'], ['o'], ['v'])\namend(-1, ['nope'], [], [], [])\n"
    )


def test_the_rest_is_said_and_does_nothing(capsys):
    ALONE.pool("p", 3)
    ALONE.graph("graph")
    assert ALONE.getinfo().inp == []
    assert capsys.readouterr().out == "pool(-1, 'p', 3)\ngraph('graph')\ngetinfo(-1)\n"
