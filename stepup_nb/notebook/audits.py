"""A race audit in a cell or a terminal: the line that tells how far it is, and the page that tells what it found."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from stepup_nb.client.audit import Audit, Report
from stepup_nb.core.races import Difference, words_of
from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, outputs, record, show
from stepup_nb.notebook.publisher import Bundle, Live, Row

_MOST = 40
"""Differences that are shown."""


class Audited:
    """What an audit found; shows itself as a table.

    Attributes
    ----------
    differing
        A dictionary for each output that is another one, and each step that ends otherwise, than with the first
        sizes: ``step``, ``label``, ``output`` (a path, or None), ``run`` (``test=4``), ``what`` (in words),
        ``differing`` of how many ``rounds``, ``follows`` (the label of the step it has that from, or empty).
    unsteady
        The same of what differs each time, also with equal sizes: the time of day, a random number.
    failing
        Labels of steps that succeed with none of the sizes, so that nothing could be compared.
    runs
        A dictionary for each run: ``pools``, ``seconds``, and ``folder``, its copy of the project if that was to be
        kept, else None.
    """

    def __init__(self, report: Report) -> None:
        self.differing = [_row(one) for one in report.findings.differing]
        self.unsteady = [_row(one) for one in report.findings.unsteady]
        self.failing = list(report.findings.failing)
        folders = report.folders or (None,) * len(report.runs)
        self.runs: list[dict[str, Any]] = [
            {"pools": dict(run.sizes), "seconds": run.seconds, "folder": folder}
            for run, folder in zip(report.runs, folders, strict=True)
        ]
        self._report = report

    @property
    def summary(self) -> str:
        """The result in one line."""
        report = self._report
        differing = len({row["step"] for row in self.differing})
        mark = "✗" if differing else "○" if self.unsteady or self.failing else "✓"
        sizes = " and ".join(dict.fromkeys(words_of(run.sizes) for run in report.runs))
        found = f"{counted(differing, 'step')} differ" if differing != 1 else "1 step differs"
        return (
            f"{mark} audited {counted(report.steps, 'step')} with {sizes}: "
            f"{found if differing else 'nothing depends on the size'}; "
            f"{counted(len(report.runs), 'run')}, {counted(report.workers, 'worker')}, "
            f"{record.duration(report.seconds)}"
        )

    @property
    def page(self) -> show.Page:
        """The result in full."""
        page: list[str | show.Table] = [self.summary]
        if self.differing:
            page.append(_table(self.differing))
            page += _more(self.differing)
        if self.unsteady:
            page.append("Different each time, whatever the size:")
            page.append(_table(self.unsteady))
            page += _more(self.unsteady)
        if self.failing:
            some = ", ".join(f"'{label}'" for label in self.failing[:5])
            page.append(f"Succeeds in no run, so that nothing can be compared: {some}")
        page += [ansi.one_line(note, 400) for note in self._report.notes]
        page += [
            f"The copy of the run with {words_of(run['pools'])}: {ansi.one_line(run['folder'], 400)}"
            for run in self.runs
            if run["folder"] is not None
        ]
        return page

    def __repr__(self) -> str:
        return show.text(self.page)

    def _repr_html_(self) -> str:
        return show.html(self.page)


def _row(one: Difference) -> dict[str, Any]:
    row = asdict(one)
    del row["is_unsteady"]
    return row


def _table(rows: list[dict[str, Any]]) -> show.Table:
    return show.Table(
        ("step", "output", "what differs"),
        [(row["label"], row["output"] or "", _what(row)) for row in rows[:_MOST]],
        widest=300,
    )


def _what(row: dict[str, Any]) -> str:
    what: str = row["what"]
    if row["rounds"] > 1:
        what += f"; so in {row['differing']} of {row['rounds']} runs with {row['run']}"
    return f"{what}; follows from '{row['follows']}'" if row["follows"] else what


def _more(rows: list[dict[str, Any]]) -> list[str]:
    hidden = len(rows) - _MOST
    return [f"{counted(hidden, 'more difference')}; stepup_nb.audit() returns all."] if hidden > 0 else []


class AuditLine(Live):
    """The output under a cell that audits: how far it is; when it has ended, what it found.

    Parameters
    ----------
    audit
        The audit under way.
    is_brief
        In the end, leave one line: what was found is shown elsewhere.
    """

    def __init__(self, audit: Audit, *, is_brief: bool = False) -> None:
        super().__init__(outputs.new_id())
        self.follows_all = True
        self._audit = audit
        self._is_brief = is_brief
        self._began = time.monotonic()
        self._last: Bundle | None = None

    @property
    def _age(self) -> str:
        return record.duration(time.monotonic() - self._began)

    def pulse(self, rows: Iterable[Row]) -> float | None:
        """Look twice a second how far it is."""
        return None if self._last is not None else 0.5

    def end(self, result: Audited | None) -> None:
        """Settle what is shown from now on; None: it was broken off."""
        if result is None:
            self._last = outputs.line_bundle(f"■ audit stopped after {self._age}")
        elif self._is_brief:
            self._last = outputs.line_bundle(result.summary)
        else:
            self._last = {"text/plain": show.text(result.page), "text/html": show.html(result.page)}

    def line(self, rows: Iterable[Row], event: Row) -> str:
        """Return as text how far it is."""
        if self._last is not None:
            return str(self._last["text/plain"])
        stage = self._audit.stage
        done = f": {stage.done} of {counted(stage.total, 'step')} done" if stage.total else ""
        return f"… audit, {stage.words}{done} · {self._age}"

    def draw(self, rows: list[Row], event: Row) -> Bundle:
        """Return the line, or the page in the end."""
        if self._last is not None:
            return self._last
        stage = self._audit.stage
        share = stage.done / stage.total if stage.total else 0.0
        return outputs.line_bundle(ansi.one_line(self.line(rows, event), 200), share)
