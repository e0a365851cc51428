"""Dask clusters on this machine, for several tests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from stepup_nb.director import dask_cluster

_HOSTS = Path(__file__).with_name("cluster_of_hosts.py")


class LocalCluster:
    """What `%stepup executor dask` starts: two workers with two threads each, and TLS."""

    def __init__(self, workers: int = 2, threads: int = 2) -> None:
        self._start([dask_cluster.__file__, str(workers), str(threads), "[]"])
        self.security: dict[str, str] = json.loads(self.said)
        self.address = self.security.pop("address")

    def _start(self, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    def close(self) -> None:
        """End it at once, with all that it has started: who loses its parent may fall to this process."""
        tree: list[psutil.Process] = []
        found = [psutil.Process(self.process.pid)] if self.process.poll() is None else []
        while found:
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    # So that it starts nobody whom we then do not know.
                    process.suspend()
            tree += found
            found = [child for child in tree[0].children(recursive=True) if child not in tree]
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(tree, timeout=20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                # What it wrote last nobody reads: the other end is gone.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class ClusterOfHosts(LocalCluster):
    """A cluster whose workers are on several hosts: addresses of this machine that look like different ones.

    Parameters
    ----------
    hosts
        The threads of each worker, after its host: ``("127.0.0.2", 4)``.
    most
        It has no worker until somebody wants one, and so many at most.
    """

    def __init__(self, *hosts: tuple[str, int], most: int = 0) -> None:
        self._start([str(_HOSTS), str(most) if most else json.dumps(hosts)])
        self.address = json.loads(self.said)

    def end(self) -> None:
        """Close it in good order, and wait until it is."""
        self.process.communicate()

    def scale(self, *hosts: tuple[str, int]) -> None:
        """Let it have these workers, and return when it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(hosts).encode() + b"\n")
        self.process.stdin.flush()
        self.process.stdout.readline()
