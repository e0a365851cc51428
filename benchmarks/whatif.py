"""What a prediction costs, and how right it is: `make bench ARGS="whatif-sweep predictions"`."""

from __future__ import annotations

import gc
import time
from random import Random
from typing import Any

from cases import Case, case
from measure import Figures, in_process

from stepup_nb.core import whatif, workload

STEPS, SIZES = 10_000, 8
GRAPHS = 30

Rows = list[dict[str, Any]]


def mixed(number: int) -> Rows:
    """Return steps that read what steps before them made, come after others, and ask for pools."""
    random = Random(1)
    rows = []
    for k in range(number):
        near = range(max(0, k - 200), k)
        readers = random.choice((0, 1, 1, 2, 3)) if k > 20 else 0
        row: dict[str, Any] = {
            "name": f"step {k}",
            "duration": random.uniform(0.1, 10.0),
            "inp": [f"{random.choice(near)}.txt" for _ in range(readers)] or ["data.csv"],
            "out": [f"{k}.txt"],
        }
        if k > 20 and random.random() < 0.1:
            row["after"] = [f"step {random.choice(near)}"]
        if random.random() < 0.7:
            row["pool"] = {random.choice(("test", "mem", "lic")): random.choice((1, 1, 1, 2))}
        rows.append(row)
    return rows


def sweep() -> Figures:
    """Predict the time of all steps with every size of a pool."""
    rows = mixed(STEPS)
    gc.disable()
    cpu, begin = time.process_time(), time.perf_counter()
    known = whatif.Known(workload.read(rows), {"test": 2, "mem": 4, "lic": 3}, 8, 0.002)
    found = whatif.sweep(known, {"test": tuple(range(2, 2 + SIZES))})
    found.words()
    figures = {"wall": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
    gc.enable()
    assert all(len(run.jobs) == STEPS for run in found.runs)
    return figures


REAL = """
from random import Random
from stepup_nb.api import hold
from stepup_nb.core import whatif

errors, gaps, naive = [], [], []
for seed in range({graphs}):
    random = Random(seed)
    number = random.randint(12, 30)
    session().set_workers(workers := random.choice((2, 3, 4, 8)))
    before, after = random.sample(range(1, 9), 2)
    pool("test", before)
    pool("mem", 4)
    with hold():
        for k in range(number):
            near = [f"{{seed}}-{{j}}.txt" for j in range(max(0, k - 8), k)]
            inp = random.sample(near, min(len(near), random.choice((0, 0, 1, 2))))
            asked = random.choice((None, "test", "test", "test", "mem:2"))
            command = f"sleep {{random.uniform(0.05, 0.3):.3f}}; echo > {{seed}}-{{k}}.txt"
            runsh(command, inp=inp, out=f"{{seed}}-{{k}}.txt", pool=asked, priority=random.choice((0, 0, 1)))
    session().wait()
    known = whatif.Known.of(session().workload())
    gaps.append(known.handover)
    predicted = whatif.sweep(known, {{"test": (after,)}}).runs[0].makespan
    exact = whatif.Known(known.workload, known.pools, known.workers, 0.0)
    without = whatif.sweep(exact, {{"test": (after,)}}).runs[0].makespan
    pool("test", after)
    last = session().history()[-1]["job"]
    session().rerun(all=True)
    session().wait()
    ran = [row for row in session().history() if row["job"] > last]
    assert len(ran) == number and all(row["outcome"] == "succeeded" for row in ran)
    took = max(row["ended"] for row in ran) - min(row["started"] for row in ran)
    errors.append(abs(predicted - took) / took)
    naive.append(abs(without - took) / took)
    session().forget(*[row["step"] for row in ran])
errors.sort()
middle = statistics.median
answer(error=middle(errors), worst=errors[-1], without=middle(naive), handover=middle(gaps))
"""


@case
def whatif_sweep() -> Case:
    """Many steps, many sizes."""
    return Case(
        f"what if: {STEPS:,} steps with {SIZES} sizes of a pool",
        {"simulate": sweep},
        base="",
        targets={"cpu": "≤ 10 s"},
    )


@case
def predictions() -> Case:
    """Predicted from what was recorded with one size, and run with another."""
    return Case(
        f"what if: {GRAPHS} graphs of sleeping steps, predicted and run",
        {"error of the makespan": lambda: in_process(REAL.format(graphs=GRAPHS))},
        base="",
        targets={
            "error": "≤ 5 % in the median",
            "without": "that is without the time from one job to the next",
        },
    )
