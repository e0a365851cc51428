"""The magics in a shell without a kernel, as in a terminal: text alone, and the same answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client.helpers_session import until
from IPython.core.interactiveshell import InteractiveShell

from stepup_nb.core.errors import StepsFailed, UsageError
from stepup_nb.notebook import verbs
from stepup_nb.notebook.load import loaded
from stepup_nb.notebook.magics import CELL_OPTIONS, StepUpMagics, help_of
from stepup_nb.notebook.verbs import VERBS


class Shell:
    """IPython without a terminal, in a folder of its own."""

    def __init__(self) -> None:
        self.ip: Any = InteractiveShell.instance()

    def run(self, code: str) -> Any:
        """Run a cell; return its value, or raise what it raises."""
        result = self.ip.run_cell(code, store_history=True)
        result.raise_error()
        return result.result


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("STEPUP_NB_NOTEBOOK", str(tmp_path / "nb.ipynb"))
    shell = Shell()
    shell.run("%load_ext stepup_nb")
    yield shell
    if loaded() is not None:
        shell.run("%unload_ext stepup_nb")
    shell.ip.history_manager.end_session()
    InteractiveShell.clear_instance()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Return what was printed since it was asked last."""
    return lambda: capsys.readouterr().out


# --- help -----------------------------------------------------------------------------------------


def test_help_lists_every_option_with_all_its_flags():
    lines = help_of(CELL_OPTIONS)
    for option in CELL_OPTIONS:
        assert ", ".join(option.flags) in lines and option.help in lines
    assert max(map(len, lines.splitlines())) <= 110


def test_every_magic_has_help_with_an_example():
    for name in ("pool", "runpy", "runsh", "static", "stepup"):
        words = getattr(StepUpMagics, name).__doc__
        assert words and f"%{name}" in words and "::" in words


def test_the_usage_of_every_verb_names_its_options():
    for name, verb in VERBS.items():
        assert verb.usage.split()[0] == name
        told = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", verb.usage))
        assert all(told.intersection(option.flags) for option in verb.options)
        assert told <= {flag for option in verb.options for flag in option.flags}
        assert verb.usage in (StepUpMagics.stepup.__doc__ or "")


# --- a terminal -----------------------------------------------------------------------------------


def test_steps_are_declared_and_waited_for_with_text_alone(shell, said):
    shell.run("%pool test 2")
    assert said() == "pool test: 0 of 2 slots in use, 0 waiting\n"
    shell.run("%%runsh -p test -o a.txt\necho A > a.txt")
    assert said() == ""
    shell.run("%stepup wait")
    assert re.fullmatch(r"✓ 1 succeeded; waited [\d.]+ s\n", said())
    shell.run("%stepup status")
    assert re.search(r"^SUCCEEDED  runsh echo A > a.txt  test", said(), re.MULTILINE)
    shell.run("%stepup")
    assert "%stepup rerun STEP ...|--failed|--all" in said()


def test_the_handle_is_the_value_of_the_line(shell, said):
    handle = shell.run("%runsh echo A")
    shell.run("h = %runsh echo B")
    assert shell.ip.user_ns["h"].label == "runsh echo B"
    assert "<step 'runsh echo A'" in said()
    handle.wait()
    assert handle.stdout == "A\n"
    shell.run("%runsh echo C;")
    assert said() == ""


def test_what_is_to_be_remarked_is_printed(shell, said):
    shell.run("h = %runsh --pool tset true")
    assert said() == "pool 'tset' is not defined\n"


def test_a_wait_that_ends_badly_raises_in_words(shell, said):
    with pytest.raises(StepsFailed, match="exit code 3"):
        shell.run("%runsh --wait exit 3")
    with pytest.raises(TimeoutError, match="SNB-602"):
        shell.run("h = %runsh sleep 60\n%stepup wait --timeout 0")
    assert "■ stopped waiting after" in said()
    shell.run("%stepup cancel --all")
    shell.run("%stepup wait --no-raise")
    assert "runsh sleep 60: cancelled" in said()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("%pool test -1", "SNB-111"),
        ("%pool test", "SNB-109"),
        ("%pool test 1 2", "SNB-109"),
        ("%pool --drop", "SNB-109"),
        ("%pool gpu 2 --tokens a", "SNB-117"),
        ("%pool gone --drop", "SNB-502"),
        ("%runsh --bogus x", "SNB-107"),
        ("%runsh --var 1x true", "SNB-109"),
        ("%%runsh echo A\necho B", "SNB-109"),
        ("%%runsh --expand\necho {absent}", "SNB-108"),
        ("%static", "SNB-109"),
        ("%stepup nonsense", "SNB-109"),
        ("%stepup why", "SNB-109"),
        ("%stepup cancel", "SNB-109"),
        ("%stepup status --jason", "SNB-107"),
        ("%stepup wait --timeout soon", "SNB-113"),
        ("%stepup wait --timeout nan", "SNB-113"),
        ("%stepup wait absent", "SNB-120"),
        ("%stepup workers none", "SNB-109"),
        ("%stepup workers 0", "SNB-109"),
        ("%stepup pause absent", "SNB-502"),
        ("%stepup notebook a b", "SNB-109"),
    ],
)
def test_a_mistake_has_a_code_and_a_fix(shell, line, code):
    with pytest.raises(UsageError) as caught:
        shell.run(line)
    assert caught.value.code == code
    assert caught.value.fix


def test_a_mistake_is_shown_without_our_traceback(shell, said):
    shell.ip.run_cell("%pool test x")
    assert said().splitlines() == [
        "UsageError: 'x' is no size for a pool. (SNB-111)",
        "  why: a pool has a whole number of slots",
        "  fix: give 1 or more, 0 to close the pool, or 'none' for no limit",
    ]


def test_expressions_see_the_names_of_the_function_they_stand_in(shell):
    shell.run(
        "def f(inner):\n    h = %runsh --wait echo {inner}\n    return h\nassert f('local').stdout == 'local\\n'"
    )


def test_a_long_log_is_cut_and_its_place_told(shell, said, monkeypatch):
    monkeypatch.setattr(verbs, "LOG_SHOWN", 20)
    shell.run("%runsh --name talk --wait seq 100")
    said()
    shell.run("%stepup log talk")
    lines = said().splitlines()
    assert re.fullmatch(
        r"── stdout of talk \(the first \d+ bytes are not shown; all of it is in .*\.out\)", lines[0]
    )
    assert lines[-1] == "100" and len(lines) < 9


def test_a_step_that_printed_nothing_has_a_log_that_says_so(shell, said):
    shell.run("%runsh --name mute --wait true\nh = %runsh --name blocked --block true")
    said()
    shell.run("%stepup log mute blocked")
    assert said() == "mute: printed nothing\nblocked: no job ran yet\n"


# --- loading --------------------------------------------------------------------------------------


def test_loading_twice_is_loading_once(shell):
    extension = loaded()
    shell.run("%load_ext stepup_nb")
    import stepup_nb

    stepup_nb.load_ipython_extension(shell.ip)
    assert loaded() is extension


def test_unloading_takes_everything_away(shell, said):
    before = {name: len(found) for name, found in shell.ip.events.callbacks.items()}
    shell.run("%pool test 1")
    director = loaded().session.status()["director_pid"]
    shell.run("%unload_ext stepup_nb")
    until(lambda: not Path(f"/proc/{director}").exists())
    assert loaded() is None
    assert {name: len(found) for name, found in shell.ip.events.callbacks.items()}["pre_run_cell"] < before[
        "pre_run_cell"
    ]
    assert "runsh" not in shell.ip.magics_manager.magics["cell"]
    assert "pool" not in shell.ip.magics_manager.magics["line"]
    assert not any(type(found).__name__ == "StepUp" for found in shell.ip.configurables)
    assert not any("StepUp" in found.__qualname__ for found in shell.ip.Completer.custom_matchers)


def test_the_notebook_can_be_named_before_the_first_step(shell, said, tmp_path):
    shell.run("%stepup notebook other.ipynb\n%pool test 1")
    assert "given by %stepup notebook" in said()
    assert loaded().session.status()["notebook"].endswith("other.ipynb")


def test_a_notebook_that_is_named_in_a_cell_takes_that_cells_steps(shell):
    shell.run(f"%config StepUp.notebook = '{loaded().place().root}/third.ipynb'\nh = %runsh true")
    (row,) = loaded().session.status()["steps"]
    assert "%config StepUp.notebook" in row["cell"]
    assert loaded().session.status()["notebook"].endswith("third.ipynb")


# --- what if --------------------------------------------------------------------------------------


def test_whatif_predicts_in_a_terminal_too(shell, said):
    shell.run("%pool fit 2\n%stepup workers 4")
    shell.run(
        "from stepup_nb.api import runsh\nfor k in range(4): runsh('true', duration=2, pool='fit', block=True)"
    )
    said()
    shell.run("%stepup whatif --pool fit=1,2 --workers 1..2")
    assert "Not run: 4 steps" in said()
    shell.run("%stepup whatif --pool fit=1..4 --json")
    assert [row["pools"]["fit"] for row in json.loads(said())["runs"]] == [1, 2, 3, 4]


def test_whatif_saves_its_plot_over_nothing_but_a_plot(shell, said):
    shell.run("%pool fit 1")
    shell.run("from stepup_nb.api import runsh\nfor _ in range(3): runsh('true', pool='fit')")
    shell.run("%stepup wait")
    for _ in range(2):
        shell.run("%stepup whatif --pool fit=1..3 --save s.svg")
    assert said().count("wrote s.svg") == 2
    Path(loaded().session.place.root, "s.svg").write_text("mine")
    with pytest.raises(UsageError) as refused:
        shell.run("%stepup whatif --pool fit=1..3 --save s.svg")
    assert refused.value.code == "SNB-146"
    with pytest.raises(UsageError) as refused:
        shell.run("%stepup whatif --save s.svg")
    assert refused.value.code == "SNB-109"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--pool fit", "SNB-151"),
        ("--pool fit=8..1", "SNB-151"),
        ("--workers none..2", "SNB-151"),
        ("--pool fti=1..2", "SNB-502"),
        ("--pool", "SNB-107"),
        ("--pools fit=2", "SNB-107"),
        ("fit=2", "SNB-109"),
    ],
)
def test_whatif_refuses_what_makes_no_sense(shell, line, code):
    shell.run("%pool fit 2")
    shell.run("from stepup_nb.api import runsh\nrunsh('true', pool='fit', block=True)")
    with pytest.raises(UsageError, match=code):
        shell.run(f"%stepup whatif {line}")


def test_whatif_without_steps_says_so(shell):
    with pytest.raises(UsageError, match="SNB-152"):
        shell.run("%stepup whatif")
