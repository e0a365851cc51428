"""How many cores a container, a hub or the affinity leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepup_nb.client.machine import usable_cores, workers_from

MANY = 64


@pytest.fixture
def cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ask on a machine of 64 cores, whose control groups are these files."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(MANY)))

    def ask(files: dict[str, str] | None = None, own: str = "0::/\n", **environ: str) -> int:
        for name, content in (files or {}).items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (tmp_path / "own").write_text(own)
        return usable_cores(environ, tmp_path / "cgroup", tmp_path / "own")

    return ask


def test_without_any_limit_all_cores_of_the_affinity_count(cores):
    assert cores() == MANY


def test_a_container_leaves_what_its_quota_says(cores):
    assert cores({"cpu.max": "200000 100000\n"}) == 2


def test_a_quota_of_two_and_a_half_cores_is_two(cores):
    assert cores({"cpu.max": "250000 100000\n"}) == 2


def test_less_than_a_core_is_one(cores):
    assert cores({"cpu.max": "50000 100000\n"}) == 1
    assert cores(CPU_LIMIT="0.25") == 1


def test_max_is_no_limit(cores):
    assert cores({"cpu.max": "max 100000\n"}) == MANY


def test_a_limit_around_the_own_group_counts(cores):
    files = {"user.slice/cpu.max": "300000 100000", "user.slice/session/cpu.max": "max 100000"}
    assert cores(files, own="0::/user.slice/session\n") == 3


def test_the_limit_of_somebody_elses_group_does_not_count(cores):
    assert cores({"other.slice/cpu.max": "300000 100000"}, own="0::/user.slice\n") == MANY


def test_the_first_version_of_control_groups_has_a_quota_and_a_period(cores):
    files = {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cores(files) == 4
    assert cores({"cpu/cpu.cfs_quota_us": "-1\n"}) == MANY


def test_the_first_version_may_have_the_limit_in_a_group_of_the_cpu(cores):
    files = {"cpu/docker/1f/cpu.cfs_quota_us": "500000", "cpu/docker/1f/cpu.cfs_period_us": "100000"}
    assert cores(files, own="7:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n") == 5


def test_a_hub_says_its_limit_in_the_environment(cores):
    assert cores(CPU_LIMIT="2.0") == 2
    assert cores({"cpu.max": "800000 100000"}, CPU_LIMIT="6") == 6


@pytest.mark.parametrize("nonsense", ["", "many", "0", "-1", "nan", "inf", "1 2 3"])
def test_nonsense_is_no_limit(cores, nonsense):
    assert cores({"cpu.max": nonsense}, own="nonsense\n::\n", CPU_LIMIT=nonsense) == MANY


@pytest.mark.parametrize(
    ("text", "workers"),
    [("4", 4), (" 4 ", 4), ("1.5", 12), ("0.5", 4), ("1.0", 8), ("0", None), ("0.01", None)],
)
def test_a_number_of_workers_is_a_count_or_a_multiple_of_the_cores(text, workers):
    assert workers_from(text, 8) == workers


@pytest.mark.parametrize("text", ["", "x", "-2", "inf", "nan"])
def test_what_is_no_number_of_workers_means_none(text):
    assert workers_from(text, 8) is None
