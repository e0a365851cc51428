"""The phrases that people read."""

from __future__ import annotations

import pytest

from stepup_nb.core.words import counted, did_you_mean, ending, one_line


def test_the_most_similar_word_is_suggested_and_none_that_is_not_similar() -> None:
    assert did_you_mean("tset", ["best", "test", "rest"]) == "; did you mean 'test'?"
    assert did_you_mean("tset", ["gpu", "memory"]) == ""
    assert did_you_mean("tset", []) == ""


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (1, "exit code 1"),
        (127, "exit code 127 (command not found)"),
        (128, "exit code 128"),
        (137, "exit code 137 (128 + signal 9, SIGKILL)"),
        (143, "exit code 143 (128 + signal 15, SIGTERM)"),
        (193, "exit code 193"),
        (255, "exit code 255"),
        (-9, "killed by signal 9 (SIGKILL)"),
        (-11, "killed by signal 11 (SIGSEGV)"),
        (-99, "killed by signal 99 (unknown)"),
    ],
)
def test_an_ending_is_told_in_words(returncode: int, words: str) -> None:
    assert ending(returncode) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps")])
def test_what_is_counted_has_its_plural(number: int, words: str) -> None:
    assert counted(number, "step") == words


def test_a_text_of_many_lines_becomes_one_of_at_most_eighty_characters() -> None:
    assert one_line("\n  set -e\n\n  make\n") == "set -e ⏎ make"
    assert one_line("x" * 80) == "x" * 80
    assert one_line("x" * 81) == "x" * 79 + "…"
    assert one_line("a\r\nb\x0bc") == "a ⏎ b ⏎ c"
