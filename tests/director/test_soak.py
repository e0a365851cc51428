"""Minutes of everything at once on a real director: `make test-long`."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from random import Random

import pytest
from director.helpers_world import alive, director_of, with_processes

from stepup_nb.core.errors import UsageError

NAP = "61.7"
"""How the naps of these steps are told from those of others."""


@pytest.mark.slow
@with_processes
@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_for_a_minute_the_end_is_in_order(notebook, seed):
    random = Random(seed)
    session = notebook.begin()
    names: list[str] = []
    kills = 0
    pools = ("a", "b", "c")
    for pool in pools:
        session.pool(pool, 2)
    for turn in range(1500):
        deed = random.random()
        if deed < 0.6:
            command = random.choice(
                [
                    f"sleep 0.0{random.randrange(9)}",
                    f"sleep {NAP} & sleep 0.02",
                    "echo hello; exit 3",
                    "yes | head -c 300000",
                ]
            )
            options = {"pool": random.choice([*pools, None]), "priority": random.randrange(3)}
            names.append(session.declare("runsh", f"{command} # {turn}", **options).name)
        elif deed < 0.7:
            session.pool(random.choice(pools), random.choice([0, 1, 2, 5, None]))
        elif deed < 0.8 and names:
            session.cancel(random.choice(names))
        elif deed < 0.9 and names:
            session.rerun(random.choice(names))
        elif deed < 0.93 and kills < 2:
            # The third one within a minute would be told, and the next begun by the user only.
            kills += 1
            os.kill(director_of(session), signal.SIGKILL)
        elif deed < 0.96 and names:
            # One whose job runs cannot be forgotten.
            with contextlib.suppress(UsageError):
                session.forget(names.pop(random.randrange(len(names))))
        else:
            session.set_workers(random.randrange(1, 9))
    for pool in pools:
        session.pool(pool, 4)
    session.wait()
    status = session.status()
    assert set(status["counts"]) <= {"SUCCEEDED", "FAILED", "CANCELLED"}, status["counts"]
    assert all(pool["used"] == pool["waiting"] == 0 for pool in status["pools"])
    assert {row["outcome"] for row in session.history()} <= {
        "succeeded",
        "failed",
        "cancelled",
        "interrupted",
    }
    assert alive(NAP) == []
    session.close()
    with sqlite3.connect(notebook.place.database) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
