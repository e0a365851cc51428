"""A cluster on this machine, for those who have no other: run as a program, it lives until its stdin is closed.

Prints one line of JSON: ``address``, and ``ca``, ``cert`` and ``key``, without which nobody is let in.
"""

from __future__ import annotations

import json
import sys

from distributed import LocalCluster, Security


def main() -> None:
    """Start as many workers, with as many threads each, as the arguments say; the third is where they import from."""
    workers, threads, path = map(json.loads, sys.argv[1:])
    sys.path[:] = dict.fromkeys([*path, *sys.path])
    security = Security.temporary()
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        said = {
            "address": cluster.scheduler_address,
            "ca": security.tls_ca_file,
            "cert": security.tls_client_cert,
            "key": security.tls_client_key,
        }
        print(json.dumps(said), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
