"""A program that is a cluster: takes lists of hosts and threads, and says its address.

Given a number instead, it is one that adapts, with so many workers at most.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import dask
from distributed import LocalCluster, Nanny, Scheduler, SpecCluster

Specs = dict[str, dict[str, Any]]


def specs(words: str) -> Specs:
    """Return what a cluster of workers on these hosts is; one that was there stays."""
    found: Specs = {}
    for host, threads in json.loads(words):
        name = f"{host} with {threads}, {sum(host in other for other in found)}"
        options = {"host": host, "nthreads": threads, "dashboard_address": "127.0.0.1:0"}
        found[name] = {"cls": Nanny, "options": options}
    return found


def adapt(most: int) -> None:
    """Be a cluster that has no worker until somebody wants one, and so many at most."""
    with LocalCluster(
        n_workers=0, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        cluster.adapt(minimum=0, maximum=most, interval="100ms", wait_count=3)
        print(json.dumps(cluster.scheduler_address), flush=True)
        sys.stdin.read()


def main() -> None:
    """Be the cluster until nobody says anything any more."""
    # Else it gives up a worker that happens to be restarting some time after it was killed once.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"})
    if sys.argv[1].isdigit():
        adapt(int(sys.argv[1]))
        return
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
    }
    with SpecCluster(scheduler=scheduler, workers=specs(sys.argv[1])) as cluster:
        print(json.dumps(cluster.scheduler_address), flush=True)
        for line in sys.stdin:
            cluster.worker_spec = specs(line)
            cluster.sync(cluster._correct_state)
            print(flush=True)


if __name__ == "__main__":
    main()
