"""Jobs on a Dask cluster: a real one, with TLS, of two workers with two threads each, on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from client.helpers_session import until
from director.helpers_world import Notebook, with_processes

from stepup_nb.client.session import Session
from stepup_nb.core.errors import UsageError
from stepup_nb.director import dask_cluster

pytest.importorskip("distributed")
pytestmark = with_processes

Security = dict[str, str]


class LocalCluster:
    """What `%stepup executor dask` starts, but for several sessions."""

    def __init__(self) -> None:
        command = [sys.executable, dask_cluster.__file__, "2", "2", "[]"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.security: Security = json.loads(self._process.stdout.readline())
        self.address = self.security.pop("address")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    cluster = LocalCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def remote(notebook: Notebook, cluster: LocalCluster) -> Session:
    """A session whose steps run on the cluster."""
    session = notebook.begin()
    session.executor("dask", cluster.address, security=cluster.security)
    return session


def row(session: Session, name: str) -> dict[str, Any]:
    return session.rows([name])[0]


def named(word: str) -> list[psutil.Process]:
    """Processes that were started as ``sleep WORD``."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if process.info["cmdline"] == ["sleep", word]]


def worker_of(process: psutil.Process) -> psutil.Process:
    """The worker of the cluster that a process of a job comes from."""
    guards = [parent for parent in process.parents() if parent.name() == "stepup-guard"]
    worker = guards[-1].parent()
    assert worker is not None
    return worker


def outcomes(session: Session, name: str) -> list[str]:
    return [job["outcome"] for job in session.history() if job["step"] == name]


def test_a_step_runs_there_and_its_files_output_and_history_are_here(remote, notebook, cluster):
    step = remote.declare("runsh", "echo A > a.txt; echo said; echo told >&2", name="a", out="a.txt")
    remote.wait()
    assert (step.state, step.stdout, step.stderr) == ("SUCCEEDED", "said\n", "told\n")
    assert notebook.read("a.txt") == "A\n"
    (job,) = remote.history()
    assert job["outcome"] == "succeeded"
    assert job["machine"].startswith("tls://127.0.0.1:")
    assert (remote.where()["address"], remote.where()["threads"]) == (cluster.address, 4)


def test_what_was_done_there_is_skipped_here_and_the_reverse(remote, notebook):
    def declare():
        remote.declare("runsh", "echo A > a.txt", name="a", out="a.txt")
        remote.declare("runsh", "cat a.txt > b.txt", name="b", inp="a.txt", out="b.txt")

    declare()
    remote.wait()
    remote.executor("local")
    remote.rerun("b")
    remote.wait()
    assert [job["machine"] == "" for job in remote.history()] == [False, False, True]
    here = notebook.again(remote)
    for name, command, inp, out in (
        ("a", "echo A > a.txt", (), "a.txt"),
        ("b", "cat a.txt > b.txt", "a.txt", "b.txt"),
    ):
        here.declare("runsh", command, name=name, inp=inp, out=out)
    here.wait()
    assert len(here.history()) == 3


def test_a_pool_counts_over_all_workers(remote):
    remote.pool("two", 2)
    for number in range(8):
        remote.declare("runsh", f"sleep 0.05; echo {number}", pool="two")
    remote.wait()
    jobs = remote.history()
    moments = sorted((t, d) for job in jobs for t, d in ((job["started"], 1), (job["ended"], -1)))
    running = [sum(change for _, change in moments[: i + 1]) for i in range(len(moments))]
    assert max(running) == 2
    assert len({job["machine"] for job in jobs}) >= 1


def test_a_cancelled_step_is_dead_with_all_that_it_started(remote):
    remote.declare("runsh", "sleep 9001 & setsid sleep 9001 & sleep 9001", name="long")
    until(lambda: len(named("9001")) == 3)
    remote.cancel("long")
    until(lambda: row(remote, "long")["state"] == "CANCELLED")
    assert named("9001") == []
    assert outcomes(remote, "long") == ["cancelled"]


def test_a_step_that_waits_in_the_cluster_is_cancelled_and_never_runs(remote, notebook):
    remote.set_workers(8)
    for number in range(4):
        remote.declare("runsh", f"sleep 9002; echo {number}", name=f"long {number}")
    until(lambda: len(named("9002")) == 4)
    remote.declare("runsh", "touch ran", name="waits")
    until(lambda: row(remote, "waits")["state"] == "RUNNING")
    remote.cancel("waits")
    until(lambda: row(remote, "waits")["state"] == "CANCELLED")
    remote.cancel(all=True)
    until(lambda: row(remote, "long 3")["state"] == "CANCELLED")
    assert not (notebook.folder / "ran").exists()


def test_a_step_of_a_lost_worker_runs_again_elsewhere_and_leaves_nobody_behind(remote, notebook):
    remote.declare(
        "runsh",
        "sleep 9003 & until [ -e go ]; do sleep 0.02; done; kill $!; echo done > done.txt",
        name="lost",
        out="done.txt",
    )
    until(lambda: named("9003"))
    first = named("9003")[0]
    worker_of(first).kill()
    until(lambda: not first.is_running())
    notebook.write("go", "")
    remote.wait()
    assert outcomes(remote, "lost") == ["lost", "succeeded"]
    assert notebook.read("done.txt") == "done\n"


def test_its_output_comes_while_it_runs_and_is_complete_in_the_end(remote, notebook):
    remote.declare("runsh", "echo first; until [ -e go ]; do sleep 0.02; done; seq 200000", name="talks")
    until(lambda: row(remote, "talks")["stdout_tail"] == "first\n")
    notebook.write("go", "")
    remote.wait()
    expected = b"first\n" + b"".join(b"%d\n" % number for number in range(1, 200001))
    assert remote.log("talks") == expected


@pytest.mark.parametrize("is_far", [False, True])
def test_a_step_there_declares_and_amends_as_here(notebook, cluster, monkeypatch, is_far):
    if is_far:
        # As on a machine where the director's socket is not.
        monkeypatch.setenv("STEPUP_NB_FAR", "1")
    remote = notebook.begin()
    remote.executor("dask", cluster.address, security=cluster.security)
    notebook.write("more.txt", "1")
    code = (
        f"#!{sys.executable}\nfrom stepup_nb.api import amend, runsh\n"
        "amend(inp='more.txt')\nrunsh('echo child', name='child')\n"
    )
    notebook.write("plan.py", code).chmod(0o755)
    remote.declare("runpy", "./plan.py", name="plan", inp="plan.py")
    remote.wait()
    assert row(remote, "child")["state"] == "SUCCEEDED"
    assert row(remote, "plan")["inp"] == ["more.txt", "plan.py"]


def test_when_the_director_is_killed_its_jobs_there_end(remote):
    remote.declare("runsh", "sleep 9004", name="long")
    until(lambda: named("9004"))
    os.kill(remote.status()["director_pid"], signal.SIGKILL)
    until(lambda: not named("9004"))


def test_a_cluster_of_ones_own_ends_with_the_session(notebook):
    session = notebook.begin(workers=1)
    where = session.executor("dask")
    assert where["address"].startswith("tls://127.0.0.1:")
    session.declare("runsh", "echo hello").wait()
    director = psutil.Process(session.status()["director_pid"])
    below = director.children(recursive=True)
    assert below
    session.close()
    until(lambda: not any(process.is_running() for process in below))


def test_when_the_cluster_is_gone_steps_wait_and_say_so_until_they_run_here(notebook):
    cluster = LocalCluster()
    try:
        session = notebook.begin()
        session.executor("dask", cluster.address, security=cluster.security)
        session.declare("runsh", "echo hello", name="a").wait()
    finally:
        cluster.close()
    until(lambda: session.status()["workers"] == 0)
    assert session.where()["threads"] is None
    session.declare("runsh", "echo again", name="b")
    report = session.wait()
    assert report["how"] == "stuck" and len(report["stuck"]) == 1
    assert "executor local" in row(session, "b")["reason"]
    session.executor("local")
    session.wait()
    assert row(session, "b")["state"] == "SUCCEEDED"


def test_a_cluster_that_is_not_there_is_told_at_once(session):
    with pytest.raises(UsageError, match="SNB-235"):
        session.executor("dask", "tcp://127.0.0.1:9")
    assert session.where()["kind"] == "local"


def test_an_open_line_to_another_machine_is_refused(session):
    with pytest.raises(UsageError, match="SNB-234"):
        session.executor("dask", "tcp://192.0.2.7:8786")
    with pytest.raises(UsageError, match="SNB-231"):
        session.executor("slurm")
