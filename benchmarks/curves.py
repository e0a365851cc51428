"""How cost grows: with steps, with files, with pools, with output. Importing it adds its cases to `cases.CASES`."""

from __future__ import annotations

from cases import Case, Subject, case
from measure import in_process

_TWICE = """
from stepup_nb.core.model import ScopeKind
from stepup_nb.api import pool, static
processes = whole()

def cell():
    # A cell that is run again: what it declares unchanged is taken up, and looked at.
    session().open_scope("cell:1", ScopeKind.CELL, "a cell")
    for number in range({number}): {declare}
    session().close_scope("cell:1", is_ok=True)
    check(session().wait())

def timed():
    cpu, begin = ticks(processes[1]), time.perf_counter()
    cell()
    return time.perf_counter() - begin, ticks(processes[1]) - cpu

session().set_workers(2)
{before}
first, _ = timed()
second, director = timed()
answer(wall=first, again=second, director_again=director, rss=resident(processes[1]))
"""


def _twice(number: int, declare: str, before: str = "") -> Subject:
    """Declare and run steps, and declare them again when all are up to date, by the director alone."""
    return lambda: in_process(_TWICE.format(number=number, declare=declare, before=before))


def _curve(
    title: str, sizes: list[int], subject: dict[int, Subject], targets: dict[str, str] | None = None
) -> Case:
    return Case(
        title,
        {f"{size:,}": subject[size] for size in sizes},
        base="",
        few=frozenset(f"{size:,}" for size in sizes if size >= 10_000),
        targets=targets or {},
        sizes=tuple(sizes),
    )


@case
def scale_steps() -> Case:
    """3 and 15: steps without files."""
    sizes = [100, 1000, 10_000, 100_000]
    return _curve(
        "N steps `true`, run, and declared again (director alone; `director_again`: its seconds of the second time)",
        sizes,
        {size: _twice(size, 'runsh(f"true {number}")') for size in sizes},
        {"rss": "≤ 600 MB at 100,000", "director_again": "≤ 5 s at 100,000; no power above that of n log n"},
    )


@case
def scale_files() -> Case:
    """3: steps that each read a file and make one."""
    sizes = [100, 1000, 10_000]
    before = 'for number in range({size}): Path(f"in{{number}}").write_text("x")'
    declare = 'runsh(f"cp in{number} out{number}", inp=f"in{number}", out=f"out{number}")'
    return _curve(
        "N steps `cp`, with an input and an output each",
        sizes,
        {size: _twice(size, declare, before.format(size=size)) for size in sizes},
    )


@case
def scale_inputs() -> Case:
    """3: one step that reads many files."""
    sizes = [100, 1000, 10_000]
    before = 'for number in range({size}): Path(f"in{{number}}").write_text("x")'
    declare = 'runsh("cat in* > out", inp=[f"in{{n}}" for n in range({size})], out="out")'
    return _curve(
        "one step with N inputs",
        sizes,
        {size: _twice(1, declare.format(size=size), before.format(size=size)) for size in sizes},
    )


@case
def scale_pools() -> Case:
    """3: many pools."""
    sizes = [1, 10, 100, 1000]
    before = 'for number in range({size}): pool(f"p{{number}}", 1)'
    declare = 'runsh(f"true {{number}}", pool=f"p{{number % {size}}}")'
    return _curve(
        "1,000 steps `true` in N pools of one slot",
        sizes,
        {size: _twice(1000, declare.format(size=size), before.format(size=size)) for size in sizes},
    )


@case
def scale_output() -> Case:
    """3: one step that prints much."""
    sizes = [1, 10, 100, 1000]
    declare = "runsh(\"head -c {size}000000 /dev/zero | tr '\\\\0' x\")"
    return _curve(
        "one step that prints N MB",
        sizes,
        {size: _twice(1, declare.format(size=size)) for size in sizes},
    )
