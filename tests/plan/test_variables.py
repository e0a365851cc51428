"""Environment variables in paths: what stands there afterwards, and what the step depends on."""

import pytest

from stepup_nb.plan.exceptions import PathError
from stepup_nb.plan.variables import getenv, subs_env_vars, substitute


@pytest.fixture(autouse=True)
def variables(calls, monkeypatch):
    monkeypatch.setenv("A", "va")
    monkeypatch.delenv("B", raising=False)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("$A", "va"),
        ("${A}/x$A", "va/xva"),
        ("${*n}", "${*n}"),
        ("$*n", "${*n}"),
        ("$$", "$$"),
        ("$$A", "$$A"),
    ],
)
def test_variables_are_put_in_and_wildcards_stay(given, text):
    assert substitute(given) == (text, {"A"} if "va" in text else set())


def test_a_value_is_not_looked_through_again(monkeypatch):
    monkeypatch.setenv("A", "$B")
    assert substitute("${A}") == ("$B", {"A"})


def test_nobody_depends_on_what_every_step_has_of_its_own(monkeypatch):
    # StepUp 3.0.0 recorded HERE and ROOT with values of another step; plans then ran again without cause.
    monkeypatch.setenv("HERE", "sub")
    assert substitute("${HERE}/$A") == ("sub/va", {"A"})


@pytest.mark.parametrize("given", ["$", "${", "${a-b}", "$1", "a$", "${*n", "${*}", "${A"])
def test_a_dollar_that_begins_no_variable_is_refused(given):
    with pytest.raises(ValueError, match="The path contains invalid shell variable identifiers"):
        substitute(given)


def test_an_undefined_variable_is_refused_and_nothing_is_amended(calls):
    with pytest.raises(PathError, match="Undefined shell variable: B") as refusal, subs_env_vars() as subs:
        subs("$A/$B")
    assert refusal.value.code == "SNB-133"
    assert calls == []


def test_names_are_case_sensitive():
    with pytest.raises(PathError, match="Undefined shell variable: a"):
        substitute("$a")


def test_the_step_depends_on_the_variables_of_a_block_once_it_ends(calls, monkeypatch):
    monkeypatch.setenv("C", "c")
    with subs_env_vars() as subs:
        assert subs("$C/../$A/./x") == "va/x"
        assert subs(None) is None
        assert calls == []
    assert calls == ["amend env=['A', 'C']"]


def test_a_variable_is_read_and_depended_on(calls):
    assert getenv("A") == "va"
    assert getenv("B") is None
    assert getenv("B", "default") == "default"
    assert calls == ["amend env=['A']", "amend env=['B']", "amend env=['B']"]


def test_here_and_root_are_read_and_not_depended_on(calls, monkeypatch):
    monkeypatch.setenv("HERE", "sub")
    assert (getenv("HERE"), getenv("ROOT", "x")) == ("sub", "x")
    assert calls == []


def test_a_path_in_a_variable_has_variables_of_its_own(calls, monkeypatch):
    monkeypatch.setenv("P", "${A}/x/../y")
    assert getenv("P") == "${A}/x/../y"
    assert getenv("P", path=True) == "va/y"
    assert calls[1:] == ["amend env=['P']", "amend env=['A']"]


def test_a_path_in_a_variable_is_relative_to_the_root(monkeypatch, tmp_path):
    monkeypatch.setenv("STEPUP_ROOT", str(tmp_path))
    monkeypatch.setenv("HERE", "sub")
    monkeypatch.setenv("P", "x:/abs::sub/y/")
    assert getenv("P", multi=True) == ["x", "/abs", "sub/y/"]
    assert getenv("P", multi=True, back=True) == ["../x", "/abs", "y/"]
    assert getenv("B", "sub/z", back=True) == "z"
    assert getenv("B", multi=True) == []


def test_a_path_that_is_not_set_cannot_be_made():
    with pytest.raises(ValueError, match=r"Undefined shell variable: B\. Cannot create path"):
        getenv("B", path=True)
