"""What is said to users is true: magics and verbs have help, the README's example and commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stepup_nb.core.declare import OPTIONS
from stepup_nb.core.messages import _COMMANDS
from stepup_nb.notebook.magics import CELL_OPTIONS, StepUpMagics
from stepup_nb.notebook.verbs import VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
SOURCES = {path: path.read_text() for path in (ROOT / "stepup_nb").rglob("*.py")}


@pytest.mark.parametrize("magic", ["pool", "runsh", "static", "stepup"])
def test_a_magic_explains_itself(magic: str) -> None:
    text = getattr(StepUpMagics, magic).__doc__ or ""
    assert len(text.splitlines()) > 3, f"%{magic}? shows next to nothing"


def test_the_help_of_runsh_lists_every_option_with_an_example() -> None:
    text = StepUpMagics.runsh.__doc__ or ""
    assert "%%runsh --pool test" in text
    for option in CELL_OPTIONS:
        for flag in option.flags:
            assert flag in text, f"'%runsh?' does not mention {flag}"


def test_the_help_of_stepup_lists_every_verb() -> None:
    text = StepUpMagics.stepup.__doc__ or ""
    for verb in VERBS.values():
        assert verb.usage in text


def test_every_option_has_a_help_text() -> None:
    assert all(option.help for option in OPTIONS)


def test_every_magic_of_the_readme_exists() -> None:
    verbs = set(re.findall(r"%stepup ([a-z]+)", README))
    assert verbs <= VERBS.keys(), f"the README speaks of {verbs - VERBS.keys()}"


def test_every_make_target_of_the_readme_exists() -> None:
    asked = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True)
    listed = asked.stdout
    for target in set(re.findall(r"(?:`|^)make ([a-z][a-z-]+)", README, re.MULTILINE)):
        assert f"make {target}" in listed, f"the README speaks of 'make {target}', and 'make help' does not"


def test_the_command_line_lists_its_verbs() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "stepup_nb", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for verb in set(re.findall(r"`stepup-nb ([a-z]+)", README)):
        assert verb in listed, f"the README speaks of 'stepup-nb {verb}', and its help does not"


def test_error_codes_are_used_for_one_thing_only() -> None:
    words: dict[str, set[str]] = {}
    for path, text in SOURCES.items():
        for code in re.findall(r'"(SNB-\d{3})"', text):
            words.setdefault(code, set()).add("magics" if path.stem == "verbs" else path.stem)
    for code, places in words.items():
        assert len(places) <= 4, f"{code} is raised in {sorted(places)}: one code, one meaning"


def test_every_module_of_the_core_is_on_the_map() -> None:
    for path in (ROOT / "stepup_nb" / "core").glob("*.py"):
        if path.stem != "__init__":
            assert f"`{path.stem}`" in ARCHITECTURE, f"ARCHITECTURE.md does not say what {path.name} is for"


def test_every_heading_that_the_code_points_to_exists() -> None:
    for path, text in SOURCES.items():
        for heading in re.findall(r'"([^"\n]+)" in ARCHITECTURE\.md', text):
            assert f"## {heading}" in ARCHITECTURE, f"{path.name} points to '{heading}'"


def test_every_command_of_the_protocol_is_documented() -> None:
    assert all(kind.__doc__ for kind in _COMMANDS.values())


@pytest.mark.parametrize(("stamp", "extras"), [(".venv/.lab", ".[dask,lab]"), (".venv/.dev", ".[dev]")])
def test_what_make_would_install_is_what_it_says(stamp: str, extras: str) -> None:
    # A comma in the requirements parted the arguments of a call, and a fresh clone could make no demo.
    command = ["make", "-n", "-B", "--no-print-directory", stamp]
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    told = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout
    assert f"-e '{extras}'" in told
    subprocess.run(["sh", "-n"], input=told, text=True, check=True)
