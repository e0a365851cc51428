"""What the lines of ``%stepup wait``, ``audit`` and ``whatif`` ask for.

Knows options and values, nothing of sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepup_nb.client.audit import MOST_MEGABYTES, Asked
from stepup_nb.client.session import check
from stepup_nb.core import races
from stepup_nb.core.declare import (
    Option,
    whole_number,
)
from stepup_nb.core.errors import StepsFailed, UsageError
from stepup_nb.notebook.options import Line, expand, parse_words, without_silencer

WAIT_OPTIONS: tuple[Option, ...] = (
    Option(("--timeout",), "S", "stop waiting after so many seconds; the steps go on"),
    Option(("--no-raise",), "", "raise nothing when steps did not succeed"),
)

AUDIT_OPTIONS: tuple[Option, ...] = (
    Option(("-p", "--pool"), "NAME=1,4", "a pool, and the sizes to compare (repeatable)", is_repeated=True),
    Option(("--repeat",), "N", "runs with each size, since races are a matter of chance (default 1)"),
    Option(("--workers",), "N", "steps running at once (default: as in the session, or the largest size)"),
    Option(("--most",), "MB", f"copy a project of so many megabytes at most (default {MOST_MEGABYTES})"),
    Option(("--allow-absolute",), "", "run steps that name the project's folder, too"),
    Option(("--keep",), "", "leave the copies where they are, and say where"),
)

WHATIF_OPTIONS: tuple[Option, ...] = (
    Option(
        ("--pool",),
        "NAME=SIZES",
        "a pool, and sizes for it: 4, 1..8, or 1,2,4 (repeatable)",
        is_repeated=True,
    ),
    Option(("--workers",), "SIZES", "numbers of workers, likewise"),
    Option(("--json",), "", "as data"),
    Option(("--save",), "FILE", "write the plot of the speed-up into a file"),
    Option(("--force",), "", "replace a file that is no such plot"),
)

Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WaitLine:
    """What ``%stepup wait`` was asked for."""

    steps: list[str] | None
    timeout: float | None
    is_raising: bool

    @staticmethod
    def parse(line: str, names: Names) -> WaitLine:
        """Read the arguments, options before or after the steps."""
        magic = "%stepup wait"
        found = parse_words(expand(without_silencer(line), names, magic=magic), WAIT_OPTIONS, magic=magic)
        return WaitLine.of(found)

    @staticmethod
    def of(found: Line) -> WaitLine:
        """Return what a line asks for."""
        timeout = found.options.get("timeout")
        try:
            seconds = None if timeout is None else float(timeout)
        except ValueError:
            seconds = -1.0
        if seconds is not None and not 0.0 <= seconds < 1e9:
            raise UsageError("SNB-113", f"'{timeout}' is no time.", "", "give seconds, as in '--timeout 30'")
        return WaitLine(list(found.words) or None, seconds, "no-raise" not in found.options)

    def finish(self, report: dict[str, Any]) -> None:
        """Raise what the report calls for, unless that is not wanted."""
        try:
            check(report)
        except (StepsFailed, TimeoutError) as error:
            if self.is_raising:
                raise
            print(error)


def audit_asked(line: str, names: Names) -> Asked:
    """Read the arguments of ``%stepup audit``."""
    magic = "%stepup audit"
    return audit_of(
        parse_words(expand(without_silencer(line), names, magic=magic), AUDIT_OPTIONS, magic=magic)
    )


def audit_of(found: Line) -> Asked:
    """Return what a line asks for."""
    options = found.options

    def number(option: str, default: int | None) -> int | None:
        if option not in options:
            return default
        return whole_number(options[option], f"number for '--{option}'", least=1)

    return Asked(
        pools=races.read_pools(options.get("pool", ())),
        steps=found.words or None,
        repeat=number("repeat", 1) or 1,
        workers=number("workers", None),
        keep="keep" in options,
        most=number("most", MOST_MEGABYTES) or 1,
        allow_absolute="allow-absolute" in options,
    )
