"""Variables from files of several kinds in one namespace."""

import sys

import pytest

from stepup_nb.plan.exceptions import ArgumentError
from stepup_nb.plan.namespaces import loadns


@pytest.fixture(autouse=True)
def files(calls, tmp_path):
    (tmp_path / "v.json").write_text('{"a": 1, "b": {"c": 2}}')
    (tmp_path / "v.toml").write_text('a = 3\nt = "x"\n')
    (tmp_path / "v.yaml").write_text("a: 9\ny: 5\n")
    (tmp_path / "sub").mkdir()
    yield
    sys.modules.pop("helper_of_v", None)


def test_later_files_win_and_all_are_inputs(calls):
    assert vars(loadns("v.json", "v.toml")) == {"a": 3, "b": {"c": 2}, "t": "x"}
    assert calls == ["amend inp=['v.json', 'v.toml']"]


def test_yaml_is_read_where_it_is_installed():
    pytest.importorskip("yaml")
    assert vars(loadns("v.yaml")) == {"a": 9, "y": 5}


def test_nothing_is_amended_where_nothing_is_wanted(calls):
    loadns("v.json", do_amend=False)
    loadns()
    assert calls == []


def test_a_python_file_runs_in_its_own_folder(tmp_path):
    (tmp_path / "sub" / "v.py").write_text("import os, helper_of_v\nn = helper_of_v.n\nhere = os.getcwd()\n")
    (tmp_path / "sub" / "helper_of_v.py").write_text("n = 7\n")
    found = loadns("sub/v.py")
    assert (found.n, found.here) == (7, str(tmp_path / "sub"))
    assert str(tmp_path / "sub") not in sys.path
    assert not hasattr(found, "__name__")


def test_paths_in_a_python_file_are_made_relative_to_where_they_are_used(tmp_path):
    pytest.importorskip("path")
    (tmp_path / "sub" / "v.py").write_text(
        "from path import Path\np = Path('q.txt')\nd = Path('d/')\ns = 'q'\n"
    )
    found = loadns("sub/v.py")
    assert (found.p, found.d, found.s) == ("sub/q.txt", "sub/d/", "q")
    assert loadns("sub/v.py", dir_out="out").p == "../sub/q.txt"


def test_what_defines_no_variables_is_refused(tmp_path):
    (tmp_path / "l.json").write_text("[1]")
    with pytest.raises(ArgumentError, match=r"'l\.json' defines no variables"):
        loadns("l.json")
    with pytest.raises(ValueError, match=r"unsupported variable file format: x\.txt"):
        loadns("x.txt")
    with pytest.raises(FileNotFoundError):
        loadns("nope.json")
