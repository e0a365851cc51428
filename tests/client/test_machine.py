"""How many cores and how much memory a container, a hub or the machine leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepup_nb.client.machine import memory_limit, usable_cores, workers_from

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


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ask on a machine of 64 GB, whose control groups are these files."""
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4000, "SC_PHYS_PAGES": 16_000_000}.__getitem__)

    def ask(
        files: dict[str, str] | None = None, own: str = "0::/\n", **environ: str
    ) -> tuple[int, str] | None:
        for name, content in (files or {}).items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (tmp_path / "own").write_text(own)
        return memory_limit(environ, tmp_path / "cgroup", tmp_path / "own")

    return ask


def test_without_any_limit_the_memory_is_the_machines(memory):
    assert memory() == (64_000_000_000, "this machine's memory")
    assert memory({"memory.max": "max\n"}) == (64_000_000_000, "this machine's memory")


def test_the_smallest_limit_is_told_with_whose_it_is(memory):
    own = "0::/user.slice/session\n"
    files = {"user.slice/memory.max": "4000000000\n", "user.slice/session/memory.max": "max\n"}
    assert memory(files, own) == (4_000_000_000, "this container's limit")
    assert memory(files, own, MEM_LIMIT="2147483648") == (2_147_483_648, "MEM_LIMIT of this server")
    assert memory(files, own, MEM_LIMIT="8000000000") == (4_000_000_000, "this container's limit")


def test_the_first_version_of_control_groups_has_its_own_name_for_it_and_for_no_limit(memory):
    none = {"memory/memory.limit_in_bytes": "9223372036854771712\n"}
    assert memory(none) == (64_000_000_000, "this machine's memory")
    files = {"memory/docker/1f/memory.limit_in_bytes": "1000000000\n"}
    assert memory(files, own="7:memory:/docker/1f\n4:cpu,cpuacct:/other\n") == (
        1_000_000_000,
        "this container's limit",
    )


@pytest.mark.parametrize("nonsense", ["", "2G", "0", "-1", "nan"])
def test_nonsense_is_no_limit_of_memory(memory, nonsense):
    assert memory({"memory.max": nonsense}, MEM_LIMIT=nonsense) == (64_000_000_000, "this machine's memory")


def test_where_nobody_says_it_the_memory_is_unknown(memory, monkeypatch):
    def refuse(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", refuse)
    assert memory() is None
    assert memory({"memory.max": "5000"}) == (5000, "this container's limit")
