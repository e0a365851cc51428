"""Jobs on a Dask cluster: a real one, with TLS, of two workers with two threads each, on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import psutil
import pytest
from client.helpers_session import LONG, MEET, until
from director.helpers_cluster import ClusterOfHosts, LocalCluster
from director.helpers_world import Notebook, director_of, with_processes

from stepup_nb.client.session import Session
from stepup_nb.core.errors import UsageError

distributed = pytest.importorskip("distributed")
pytestmark = with_processes


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


def greatest_overlap(jobs: Iterable[dict[str, Any]]) -> int:
    moments = sorted((t, d) for job in jobs for t, d in ((job["started"], 1), (job["ended"], -1)))
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


def on(notebook: Notebook, cluster: ClusterOfHosts) -> Session:
    session = notebook.begin()
    session.executor("dask", cluster.address)
    return session


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


def test_here_and_there_files_and_hashes_are_the_same(notebook, cluster, tmp_path):
    (tmp_path / "other").mkdir()
    there = Notebook(tmp_path / "other", notebook.launch)
    found = []
    for place in (notebook, there):
        place.write("raw.txt", "b\na\n")
        session = place.begin()
        if place is there:
            session.executor("dask", cluster.address, security=cluster.security)
        session.declare("runsh", "sort raw.txt > sorted.txt", inp="raw.txt", out="sorted.txt")
        session.declare(
            "runsh", "mkdir -p made; cp sorted.txt made/a.txt", inp="sorted.txt", out="made/a.txt"
        )
        session.declare(
            "runsh", "wc -l < made/a.txt > n.txt; touch v.tmp", inp="made/a.txt", out="n.txt", vol="v.tmp"
        )
        session.declare("runsh", "exit 3", name="fails", inp="n.txt")
        session.wait()
        files = {path: place.read(path) for path in ("sorted.txt", "made/a.txt", "n.txt", "v.tmp")}
        states = {row["name"]: (row["state"], row["returncode"]) for row in session.status()["steps"]}
        session.close()
        with contextlib.closing(sqlite3.connect(place.place.database)) as db:
            digests = dict(db.execute("SELECT CAST(path AS TEXT), digest FROM file").fetchall())
        found.append((files, digests, states))
    assert found[0] == found[1]
    assert len(found[0][1]) >= 4


def meet(session: Session) -> None:
    """Declare two steps that are sure to run at once, where the pool lets them."""
    for me, other in (("a", "b"), ("b", "a")):
        session.declare("runsh", MEET.format(me=f"{me}.on", other=f"{other}.on"), pool="two")


def test_a_pool_counts_over_all_workers(remote):
    remote.pool("two", 2)
    meet(remote)
    for number in range(6):
        remote.declare("runsh", f"sleep 0.05; echo {number}", pool="two")
    remote.wait()
    jobs = remote.history()
    assert greatest_overlap(jobs) == 2


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


@contextlib.contextmanager
def cluster_of_notebook(workers: int) -> Iterator[ClusterOfHosts]:
    """A cluster as somebody makes it in a notebook, which closes it in good order."""
    cluster = ClusterOfHosts(*[("127.0.0.1", 2)] * workers)
    try:
        yield cluster
        cluster.end()
    finally:
        cluster.close()


def test_a_step_that_runs_while_its_cluster_is_closed_waits_and_runs_here(notebook):
    # It was handed to the cluster again and again, until so many losses were a failure.
    session = notebook.begin()
    with cluster_of_notebook(2) as cluster:
        session.executor("dask", cluster.address)
        session.declare("runsh", "until [ -e go ]; do sleep 0.02; done", name="a")
        until(lambda: row(session, "a")["machine"])
    until(lambda: session.status()["workers"] == 0)
    until(lambda: row(session, "a")["state"] == "QUEUED")
    notebook.write("go", "")
    session.executor("local")
    session.wait()
    assert set(outcomes(session, "a")[:-1]) == {"lost"}
    assert outcomes(session, "a")[-1] == "succeeded"


def test_a_cluster_that_is_left_is_no_limit_any_more(notebook):
    # Its next worker had made room for more steps here, and its end for none.
    session = notebook.begin(workers=1)
    with cluster_of_notebook(1) as cluster:
        session.executor("dask", cluster.address)
        session.declare("runsh", "until [ -e go ]; do sleep 0.02; done", name="a")
        until(lambda: row(session, "a")["machine"])
        session.executor("local")
    until(lambda: outcomes(session, "a")[0] == "lost")
    assert session.status()["workers"] == 1
    notebook.write("go", "")
    session.wait()
    assert outcomes(session, "a") == ["lost", "succeeded"]


def test_a_cluster_that_is_left_does_not_complain(session, caplog):
    # In the notebook that has made the cluster its complaint was a traceback under some cell.
    logger = logging.getLogger("distributed.scheduler")
    logger.addHandler(caplog.handler)
    try:
        with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster:
            session.executor("dask", cluster.scheduler_address)
            assert "stepup_nb" in str(list(cluster.scheduler.clients))
            session.executor("local")
            until(lambda: "stepup_nb" not in str(list(cluster.scheduler.clients)))
    finally:
        logger.removeHandler(caplog.handler)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_no_claims_are_left(remote, notebook, cluster):
    remote.declare("runsh", "echo hello", name="a").wait()
    claims = notebook.folder / ".stepup" / "a" / "claims"
    assert [path.name for path in claims.glob("*/*")].count("1") == 1
    (claims / "of-a-killed-run").mkdir()
    remote.executor("local")
    until(lambda: [path.name for path in claims.iterdir()] == ["of-a-killed-run"])
    remote.executor("dask", cluster.address, security=cluster.security)
    assert not (claims / "of-a-killed-run").exists()
    # In order: who closes a session waits only so long.
    director = psutil.Process(director_of(remote))
    remote._connection.send("shutdown")
    director.wait(LONG)
    assert not list(claims.iterdir())


def test_a_cluster_that_is_not_there_is_told_at_once(session):
    with pytest.raises(UsageError, match="SNB-235"):
        session.executor("dask", "tcp://127.0.0.1:9")
    assert session.where()["kind"] == "local"


def test_an_open_line_to_another_machine_is_refused(session):
    with pytest.raises(UsageError, match="SNB-234"):
        session.executor("dask", "tcp://192.0.2.7:8786")
    with pytest.raises(UsageError, match="SNB-231"):
        session.executor("slurm")


# --- several hosts, which may come and go ------------------------------------------------------------


@pytest.fixture
def hosts() -> Iterator[ClusterOfHosts]:
    """Two hosts with four threads each."""
    cluster = ClusterOfHosts(("127.0.0.1", 4), ("127.0.0.2", 4))
    yield cluster
    cluster.close()


def host_of(job: dict[str, Any]) -> str:
    return str(job["machine"]).split("//")[1].split(":")[0]


def test_a_pool_of_two_holds_over_two_hosts_with_four_threads_each(notebook, hosts):
    session = on(notebook, hosts)
    session.pool("two", 2)
    meet(session)
    for number in range(48):
        session.declare("runsh", f"sleep 0.02; echo {number}", pool="two")
    session.wait()
    jobs = session.history()
    assert [job["outcome"] for job in jobs] == ["succeeded"] * 50
    assert greatest_overlap(jobs) == 2
    assert len({tuple(job["slots"]["two"]) for job in jobs}) == 2


def test_a_pool_per_machine_holds_on_each_host(notebook, hosts):
    session = on(notebook, hosts)
    session.pool("mem", 3, per_machine=True)
    for number in range(24):
        command = f"until [ -e go ]; do sleep 0.02; done; echo $STEPUP_POOL_MEM {number}"
        session.declare("runsh", command, name=f"s{number}", pool={"mem": 1 + number % 2})
    until(lambda: sum(bool(job["machine"]) for job in session.history()) >= 4)
    notebook.write("go", "")
    session.wait()
    jobs = session.history()
    assert {host_of(job) for job in jobs} == {"127.0.0.1", "127.0.0.2"}
    for host in ("127.0.0.1", "127.0.0.2"):
        moments = sorted(
            (moment, change * job["pool"]["mem"])
            for job in jobs
            if host_of(job) == host
            for moment, change in ((job["queued"] and job["started"], 1), (job["ended"], -1))
        )
        held = [sum(change for _, change in moments[: i + 1]) for i in range(len(moments))]
        assert max(held) == 3
    slots = {(host_of(job), number) for job in jobs for number in job["slots"]["mem"]}
    assert slots == {(host, number) for host in ("127.0.0.1", "127.0.0.2") for number in range(3)}


def test_a_killed_worker_with_four_running_steps_loses_nothing(notebook, hosts):
    session = on(notebook, hosts)
    for number in range(8):
        command = f"sleep 9005 & until [ -e go ]; do sleep 0.02; done; kill $!; echo {number} > {number}.txt"
        session.declare("runsh", command, name=f"s{number}", out=f"{number}.txt")
    until(lambda: len(named("9005")) == 8)
    there = [step for step in session.status()["steps"] if host_of(step) == "127.0.0.2"]
    assert len(there) == 4
    victims = [nap for nap in named("9005") if worker_of(nap).pid == worker_of_host(hosts, "127.0.0.2").pid]
    worker_of(victims[0]).kill()
    until(lambda: not any(nap.is_running() for nap in victims))
    notebook.write("go", "")
    session.wait()
    assert [notebook.read(f"{number}.txt") for number in range(8)] == [f"{number}\n" for number in range(8)]
    lost = [job for job in session.history() if job["outcome"] == "lost"]
    assert {job["step"] for job in lost} == {step["name"] for step in there}
    assert not named("9005")


def worker_of_host(cluster: ClusterOfHosts, host: str) -> psutil.Process:
    """The process of the cluster that listens on a host."""
    below = psutil.Process(cluster.process.pid).children(recursive=True)
    return next(
        process
        for process in below
        for line in process.net_connections("inet")
        if line.status == psutil.CONN_LISTEN and line.laddr.ip == host
    )


def test_workers_that_come_and_go_are_followed(notebook, hosts):
    session = on(notebook, hosts)
    session.pool("mem", 1, per_machine=True)
    assert session.status()["workers"] == 8
    for number in range(4):
        command = f"until [ -e go{number} ]; do sleep 0.02; done"
        session.declare("runsh", command, name=f"s{number}", pool="mem")
    until(lambda: len([step for step in session.status()["steps"] if step["machine"]]) == 2)
    hosts.scale(("127.0.0.1", 4), ("127.0.0.3", 2))
    until(lambda: session.status()["workers"] == 6)
    until(lambda: {host_of(step) for step in running(session)} == {"127.0.0.1", "127.0.0.3"})
    hosts.scale(("127.0.0.1", 4))
    until(lambda: session.status()["workers"] == 4)
    for number in range(4):
        notebook.write(f"go{number}", "")
    session.wait()
    assert [step["reason"] for step in session.status()["steps"] if step["state"] != "SUCCEEDED"] == []
    assert {"lost", "succeeded"} == {job["outcome"] for job in session.history()}


def running(session: Session) -> list[dict[str, Any]]:
    return [step for step in session.status()["steps"] if step["state"] == "RUNNING" and step["machine"]]


@pytest.mark.parametrize("pool", [{}, {"mem": 1}])
def test_a_cluster_that_adapts_grows_when_there_is_work(notebook, pool):
    cluster = ClusterOfHosts(most=2)
    try:
        session = on(notebook, cluster)
        session.pool("mem", 2, per_machine=True)
        for number in range(4):
            command = f"until [ -e go ]; do sleep 0.02; done; echo {number}"
            session.declare("runsh", command, name=f"s{number}", pool=pool)
        # Two workers have to be started for that, as processes of their own.
        until(lambda: len(running(session)) == 2, patience=100.0)
        notebook.write("go", "")
        session.wait()
        assert {step["state"] for step in session.status()["steps"]} == {"SUCCEEDED"}
    finally:
        cluster.close()
