"""What the page of this folder says of each fault is so: the tests that it names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
ROW = re.compile(r"\| (?P<number>\d+) \| (?P<fault>[^|]+) \| (?P<severity>S[1-4]) \| (?P<proof>.+) \|")
TEST = re.compile(r"`(?P<path>[\w/]+\.(?:py|js))(?:::(?P<name>\w+))?`")
REASONS = ("not here: ", "not run: ")


def rows() -> dict[int, re.Match[str]]:
    found = {}
    for line in (HERE / "README.md").read_text().splitlines():
        match = ROW.fullmatch(line)
        if match is not None:
            number = int(match["number"])
            assert number not in found, f"row {number} is there twice"
            found[number] = match
    return found


def functions(path: Path) -> set[str]:
    if path.suffix != ".py":
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_row():
    assert sorted(rows()) == list(range(1, len(rows()) + 1))
    assert len(rows()) >= 86


@pytest.mark.parametrize("number", sorted(rows()))
def test_a_row_names_tests_that_are_there_or_says_why_there_is_none(number):
    proof = rows()[number]["proof"]
    named = list(TEST.finditer(proof))
    assert named or any(reason in proof for reason in REASONS), "name a test, or say 'not here: ' and why"
    for test in named:
        path = TESTS / test["path"]
        assert path.is_file(), f"there is no {test['path']}"
        if test["name"] is not None:
            assert test["name"] in functions(path), f"{test['path']} has no {test['name']}"
