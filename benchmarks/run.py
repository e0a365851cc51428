"""Measures stepup_nb and its peers side by side: `make bench`, or `make bench ARGS="thousand noop"`.

Subjects of a case are measured in turn, round by round, so that what else the machine does falls on all of them.
Told are medians, with the least and the most. Times are seconds unless a case says otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import curves  # noqa: F401  (adds its cases)
import whatif  # noqa: F401  (adds its cases)
from cases import CASES, Case
from peers import Absent

Results = dict[str, list[dict[str, float]] | str]


def measure(case: Case, rounds: int) -> Results:
    """Measure all subjects of a case in turn; a peer that is absent gets its reason instead of figures."""
    found: Results = {name: [] for name in case.subjects}
    for number in range(rounds):
        for name, subject in case.subjects.items():
            results = found[name]
            if isinstance(results, str) or (number and name in case.few):
                continue
            try:
                results.append(subject())
            except Absent as absent:
                found[name] = f"absent: {absent}"
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def median(results: list[dict[str, float]], key: str) -> float:
    """Return the median of a figure."""
    return statistics.median(result[key] for result in results)


def table(case: Case, found: Results) -> str:
    """Return the results as a table in Markdown."""
    keys: list[str] = []
    for results in found.values():
        if not isinstance(results, str):
            keys += [key for key in results[0] if key not in keys]
    lines = [f"### {case.title}", ""]
    base = found.get(case.base, "")
    heads = ["", *keys, *([] if isinstance(base, str) else [f"× {case.base}"]), "rounds"]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name, results in found.items():
        if isinstance(results, str):
            lines.append(f"| {name} | {results} |{' |' * (len(heads) - 2)}")
            continue
        cells = [_cell(results, key) for key in keys]
        if not isinstance(base, str):
            cells.append(f"{median(results, 'wall') / median(base, 'wall'):.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {len(results)} |")
    if case.sizes:
        lines += ["", f"Power of N, from one row to the next: {_powers(case, found, keys)}."]
    if case.targets:
        lines += [
            "",
            "To be reached: " + "; ".join(f"`{key}` {words}" for key, words in case.targets.items()) + ".",
        ]
    return "\n".join(lines) + "\n"


def _powers(case: Case, found: Results, keys: list[str]) -> str:
    """Return with which power of the size the figures grow between neighbours."""
    rows = [results for results in found.values() if not isinstance(results, str)]
    told = []
    for key in keys:
        values = [median(results, key) for results in rows]
        powers = [
            f"{math.log(y / x) / math.log(n / m):.2f}" if x > 0 and y > 0 else "–"
            for x, y, m, n in zip(values, values[1:], case.sizes, case.sizes[1:], strict=False)
        ]
        told.append(f"`{key}` {', '.join(powers)}")
    return "; ".join(told)


def _cell(results: list[dict[str, float]], key: str) -> str:
    values = [result[key] for result in results if key in result]
    if not values:
        return ""
    if key == "rss":
        return f"{statistics.median(values) / 1e6:.0f} MB"
    middle = statistics.median(values)
    spread = f" ({_short(min(values))}–{_short(max(values))})" if len(values) > 1 else ""
    return _short(middle) + spread


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"


def main() -> None:
    """Measure what is asked for, and print tables and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all without any")
    parser.add_argument("-r", "--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--json", type=Path, help="write all figures there, too")
    asked = parser.parse_args()
    unknown = set(asked.cases) - set(CASES)
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    day, cores = time.strftime("%Y-%m-%d"), os.cpu_count()
    machine = f"{day}, {cores} cores, {platform.platform()}, Python {platform.python_version()}"
    print(f"{machine}\n")
    figures: dict[str, Any] = {"machine": machine}
    for name in asked.cases or CASES:
        case = CASES[name]()
        found = measure(case, asked.rounds)
        print(table(case, found), flush=True)
        figures[name] = found
        if asked.json:
            asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
