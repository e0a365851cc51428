"""Random deaths: whoever is killed, and when, nothing that was finished is wrong, lost, or made twice.

`make torture` has the whole figure. The kernel here is a process that owns a session, as a notebook's kernel does.
"""

from __future__ import annotations

from random import Random

import pytest
from faults.helpers_rounds import rounds
from faults.helpers_torture import Project


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(rounds(2, 10)))
def test_random_kills_of_kernel_director_and_guard_spoil_lose_and_double_nothing(seed, tmp_path):
    random = Random(seed)
    kills, projects, slowest = 0, 0, 0.0
    while kills < rounds(15, 30):
        project = Project(tmp_path / f"project{projects}")
        projects += 1
        for _ in range(6):
            project.start()
            project.kill(random)
            kills += 1
            if project.has_guard:
                slowest = max(slowest, project.until_no_orphans())
            project.check_records()
        victim = project.start()
        victim.until_done()
        victim.finish()
        assert project.orphans() == []
        project.check_all()
    print(f"{kills} kills in {projects} projects; the last orphan was gone after {slowest:.2f} s at most")
