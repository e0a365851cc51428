"""Whatever users, commands and disks do: no invariant of SPEC parts 4 and 5 is violated.

The worlds, and what must hold in them, are in `worlds`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from worlds import check, random_program


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 40))
def test_no_program_of_deeds_breaks_a_rule(seed: int, length: int) -> None:
    check(random_program(Random(seed), length))


def test_twenty_thousand_seeded_schedules_break_no_rule() -> None:
    for seed in range(20_000):
        try:
            check(random_program(Random(seed), 30), is_comparing=False)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("seed", [5765])
def test_seeds_that_broke_a_rule_once(seed: int) -> None:
    # 5765: a step whose time-out was taken back while a job with a time-out ran.
    check(random_program(Random(seed), 30))
