"""The errors of stepup_nb, and nothing else.

::

    Exception
    └── StepUpError           code, what, why, fix
        ├── UsageError        the user can mend it; shown as a short block, never with our traceback
        │   └── OwnerError    another kernel owns the notebook's director
        ├── StepsFailed       a wait ended, and some awaited steps did not succeed
        └── InternalError     ours: shown with traceback and the step's story

Codes are stable. The hundreds say where to look: 1 options and names, 2 sessions and the director,
3 the database, 4 files and the graph, 5 resources of the machine, 6 results.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepup_nb.core.words import did_you_mean, visible


class StepUpError(Exception):
    """What happened, why, and what to do; the user's things are named in quotes.

    Parameters
    ----------
    code
        Stable code, ``SNB-nnn``.
    what
        One sentence: what was refused, or what went wrong.
    why
        One clause: the reason. May be empty.
    fix
        One clause: what the reader can do. May be empty.
    """

    def __init__(self, code: str, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(code, what, why, fix)
        self.code = code
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        lines = [f"{self.what} ({self.code})"]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        # It quotes names of files and steps, and whoever catches it may print it to a terminal.
        return visible("\n".join(lines))

    def to_json(self) -> dict[str, Any]:
        """Return the form in which the error travels from the director to a client."""
        return {
            "kind": type(self).__name__,
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
        }


class _Block(StepUpError):
    """Shown as its text alone."""

    def _render_traceback_(self) -> list[str]:
        # IPython shows this instead of a traceback.
        return f"{type(self).__name__}: {self}".splitlines()


class UsageError(_Block):
    """The user can mend it."""


def no_pool(name: str, known: Iterable[str]) -> UsageError:
    """Return what is raised for a pool that nobody defined, given those that are."""
    hint = did_you_mean(name, known)
    return UsageError(
        "SNB-502", f"There is no pool '{name}'{hint or '.'}", "", f"define it with '%pool {name} 2'"
    )


class OwnerError(UsageError):
    """Another kernel, or a director that outlived its kernel, holds this notebook's database."""


class StepsFailed(_Block):
    """A wait ended and some awaited steps did not succeed.

    Attributes
    ----------
    report
        The same dictionary that a wait's answer carries: ``failed`` (rows of steps), ``stuck`` (root causes).
    """

    def __init__(self, what: str, why: str = "", fix: str = "", report: dict[str, Any] | None = None) -> None:
        super().__init__("SNB-601", what, why, fix)
        self.report = report or {}

    def __str__(self) -> str:
        return visible(f"{self.what} ({self.code})" + (f"\n{self.why}" if self.why else ""))


class InternalError(StepUpError):
    """A mistake of ours: where it comes from matters, so that it is shown with its traceback."""

    def __init__(self, what: str, why: str = "") -> None:
        super().__init__("SNB-900", what, why, "please report it, with this text and the cell that led to it")


_KINDS: dict[str, type[StepUpError]] = {"UsageError": UsageError, "OwnerError": OwnerError}


def from_json(error: dict[str, Any]) -> StepUpError:
    """Return the exception that `StepUpError.to_json` described."""
    if error["kind"] == "InternalError":
        return InternalError(error["what"], error["why"])
    return _KINDS.get(error["kind"], StepUpError)(error["code"], error["what"], error["why"], error["fix"])
