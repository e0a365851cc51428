"""Workers of a cluster die at random: every step is done in the end, and none is ever alive twice.

`make torture` has the whole figure.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import psutil
import pytest
from client.helpers_session import until
from director.helpers_cluster import ClusterOfHosts
from faults.helpers_rounds import rounds

from stepup_nb.client.session import Session

pytest.importorskip("distributed")

# Whoever comes second, while the first one is alive, says so. What it makes depends on its number alone.
STEP = """
exec 9> live/{number}
flock -n 9 || echo {number} >> twice
echo {number} >> begun/{number}
sleep 0.{pause:03}
seq {number} > out/{number}
"""


def worker_at(cluster: ClusterOfHosts, address: str) -> psutil.Process | None:
    """The process that is the worker with this address; None when it is gone."""
    host, port = address.split("//")[1].split(":")
    for process in psutil.Process(cluster.process.pid).children(recursive=True):
        try:
            found = [(line.laddr.ip, line.laddr.port) for line in process.net_connections("inet")]
        except psutil.Error:
            continue
        if (host, int(port)) in found and "spawn_main" in " ".join(process.cmdline()):
            return process
    return None


def kill_one(session: Session, cluster: ClusterOfHosts, chance: Random) -> bool:
    """Kill a worker on which a step runs; Dask itself gives up one that dies before it is ready."""
    there = sorted({row["machine"] for row in session.status()["steps"] if row["state"] == "RUNNING"} - {""})
    victim = worker_at(cluster, chance.choice(there)) if there else None
    if victim is None:
        return False
    victim.kill()
    return True


@pytest.mark.timeout(900)
@pytest.mark.parametrize("notebook", ["process"], indirect=True)
def test_random_kills_of_workers_lose_and_double_nothing(notebook):
    chance = Random(8)
    steps, kills = rounds(120, 500), rounds(5, 20)
    for folder in ("live", "begun", "out"):
        (notebook.folder / folder).mkdir()
    cluster = ClusterOfHosts(("127.0.0.1", 4), ("127.0.0.2", 4))
    try:
        session = notebook.begin()
        session.executor("dask", cluster.address)
        session.pool("mem", 3, per_machine=True)
        for number in range(steps):
            command = STEP.format(number=number, pause=chance.randrange(10, 200))
            pool = {"mem": 1} if number % 2 else {}
            session.declare("runsh", command, name=f"s{number}", out=f"out/{number}", pool=pool)
        for kill in range(kills):
            # The next one dies when so many more have ended.
            goal = (kill + 1) * steps // (kills + 2)
            until(lambda goal=goal: session.status()["counts"].get("SUCCEEDED", 0) >= goal)
            until(lambda: kill_one(session, cluster, chance))
        session.wait()
        states = Counter(row["state"] for row in session.status()["steps"])
        jobs = session.history()
    finally:
        cluster.close()
    assert states == {"SUCCEEDED": steps}
    assert not (notebook.folder / "twice").exists()
    for number in range(steps):
        made = (notebook.folder / "out" / str(number)).read_text()
        assert made == "".join(f"{line}\n" for line in range(1, number + 1))
    lost = sum(job["outcome"] == "lost" for job in jobs)
    assert Counter(job["outcome"] for job in jobs) == {"lost": lost, "succeeded": steps}
    begun = sum(len((notebook.folder / "begun" / str(n)).read_text().split()) for n in range(steps))
    assert steps <= begun <= steps + lost
    print(f"{kills} kills of workers in {steps} steps: {lost} jobs lost, none alive twice, all done")
