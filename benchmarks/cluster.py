"""What a cluster costs: a thousand commands by stepup_nb, and by Dask alone on the same cluster, taking turns.

The cluster is what `%stepup executor dask` starts: two workers of two threads each, with TLS. Dask gets all commands at
once and starts each by `subprocess.run`. stepup_nb is measured from the first declaration to the end of `wait`; its
pools are gated outside of Dask. Also what one remote step with 100 MB of output costs the process of the notebook.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from distributed import Client, Security

from stepup_nb.client.launch import ProcessHost
from stepup_nb.client.session import Place, Session, check
from stepup_nb.director import dask_cluster


def by_dask(client: Client, number: int) -> float:
    """Return the seconds that Dask takes for so many commands."""
    began = time.perf_counter()
    client.gather(client.map(lambda n: subprocess.run(["/bin/true"]).returncode, range(number), pure=False))
    return time.perf_counter() - began


def session_in(folder: Path) -> Session:
    """Return a session of a notebook in an empty folder."""
    names = {"notebook": "a.ipynb", "database": "a.stepup.db", "state": ".stepup/a"}
    place = Place(root=str(folder), **{name: str(folder / path) for name, path in names.items()})
    return Session(place, workers=2, launch=ProcessHost)


def by_us(session: Session, number: int) -> float:
    """Return the seconds that a session takes for so many commands, which it has not seen before."""
    before = len(session.history())
    began = time.perf_counter()
    for count in range(number):
        session.declare("runsh", "/bin/true", name=f"step {before + count}")
    check(session.wait())
    took = time.perf_counter() - began
    assert len(session.history()) == before + number
    return took


def flood(session: Session, megabytes: int) -> tuple[float, int, int]:
    """Return the seconds that a step with much output takes, by how many bytes this process grows, and its log."""
    this = psutil.Process()
    before = this.memory_info().rss
    began = time.perf_counter()
    session.declare("runsh", f"yes | head -c {megabytes}000000", name="flood").wait()
    took = time.perf_counter() - began
    grown = this.memory_info().rss - before
    return took, grown, len(session.log("flood"))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=1000, help="commands (default 1000)")
    parser.add_argument("-r", "--rounds", type=int, default=5, help="rounds (default 5)")
    given = parser.parse_args()
    words = [sys.executable, dask_cluster.__file__, "2", "2", "[]"]
    cluster = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert cluster.stdout is not None
    said = json.loads(cluster.stdout.readline())
    security = Security(
        tls_ca_file=said["ca"],
        tls_client_cert=said["cert"],
        tls_client_key=said["key"],
        require_encryption=True,
    )
    with tempfile.TemporaryDirectory() as name, Client(said["address"], security=security) as client:
        session = session_in(Path(name))
        try:
            session.executor("dask", said.pop("address"), security=said)
            by_us(session, 8)
            by_dask(client, 8)
            rows = [
                (by_dask(client, given.number), by_us(session, given.number)) for _ in range(given.rounds)
            ]
            for dask, ours in rows:
                print(f"Dask {dask:6.2f} s   stepup_nb {ours:6.2f} s   {ours / dask:5.2f} x")
            print(f"median ratio {statistics.median(ours / dask for dask, ours in rows):.2f}")
            took, grown, log = flood(session, 100)
            print(
                f"100 MB of output: {took:.2f} s, this process grew by {grown / 2**20:.1f} MiB, log {log:,} bytes"
            )
        finally:
            session.close()
            cluster.kill()
            cluster.wait()


if __name__ == "__main__":
    main()
