"""Assertions for exercises: what a learner was to bring about, checked against what the history proves.

Each takes handles or names of steps, a unique part of which will do. It raises AssertionError with what was
expected, what happened and what may help, or returns the evidence. Times are those of jobs, so that no
assertion depends on when it is called; a job that is still running has no end yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from stepup_nb.client import current
from stepup_nb.client.failures import without_traceback
from stepup_nb.core import evidence
from stepup_nb.core.declare import whole_number
from stepup_nb.core.errors import UsageError, no_pool
from stepup_nb.core.words import counted, one_line, visible

if TYPE_CHECKING:
    from stepup_nb.client.handles import StepHandle

    Steps = StepHandle | str | Iterable[StepHandle | str]

Row = dict[str, Any]

_FIRST_MOMENT = 1e9
"""A number below this is one of rows, from it on a moment: the autumn of 2001 has no history."""


class Evidence(list[Row]):
    """Rows of ``history`` that prove something; shown as the sentence that says what.

    Parameters
    ----------
    rows
        Jobs, oldest first.
    words
        The sentence.
    """

    def __init__(self, rows: Iterable[Row], words: str) -> None:
        super().__init__(rows)
        self.words = words

    def __repr__(self) -> str:
        return self.words


def assert_peak(
    pool: str,
    slots: int,
    *,
    at_most: bool = False,
    since: float | None = None,
    steps: Steps | None = None,
) -> int:
    """Check that the most slots of a pool that were held at one moment are so many.

    Parameters
    ----------
    pool
        Its name. Of one whose slots count on each machine, the most on any one machine.
    slots
        How many: exactly, or with ``at_most`` no more than that.
    since
        Looks only at jobs that began after a moment (``time.time()``), or after so many rows of the history
        (``len(stepup_nb.history())``). Without it, at the jobs of this session.
    steps
        Looks only at jobs of these.

    Returns
    -------
    int
        The peak.

    Raises
    ------
    AssertionError
        It was another number; also when nothing ran, and the number is to be exact.
    UsageError
        SNB-112 for a number of slots that is none, SNB-145 for a mark that is none, SNB-502 for an unknown pool,
        SNB-120 for an unknown step.
    """
    session = current.session()
    slots = whole_number(slots, "number of slots", least=0)
    known = {row["name"]: row for row in session.status()["pools"]}
    history = session.history()
    if pool not in known and not evidence.of_pool(history, pool):
        raise no_pool(pool, known)
    rows = evidence.of_pool(_since(history, since), pool)
    if steps is not None:
        chosen = {row["name"] for row in _rows_of(steps)}
        rows = [row for row in rows if row["step"] in chosen]
    is_each = bool(known.get(pool, {}).get("per_machine"))
    found = evidence.peak_of_one_machine(rows, pool) if is_each else evidence.peak(rows, pool)
    if found.slots == slots or (at_most and found.slots < slots):
        return found.slots
    limit = "at most " if at_most else ""
    what = f"{limit}{counted(slots, 'slot')} of '{pool}' {'was' if slots == 1 else 'were'} to be held at one moment"
    what += " on one machine" if is_each else ""
    happened = evidence.held_words(found, pool, evidence.zero(rows))
    if not rows:
        happened = f"no step of '{pool}' ran {'in this session' if since is None else 'since then'}"
    raise _failed(what, happened, rows, _peak_hint(pool, known.get(pool), found.slots, slots, since, rows))


def _peak_hint(
    name: str, pool: Row | None, found: int, slots: int, since: float | None, rows: Sequence[Row]
) -> str:
    size = None if pool is None else pool["size"]
    if not rows:
        return _hint_to_run(current.session().status()["steps"], name)
    if found < slots:
        if any(row["ended"] is None for row in rows):
            return "steps are still running: '%stepup wait' first"
        if size is not None and size < slots:
            return (
                f"the pool has {counted(size, 'slot')} now: '%pool {name} {slots}', and '%stepup rerun --all'"
            )
        if (workers := current.session().status()["workers"]) < slots:
            return f"there {'is' if workers == 1 else 'are'} {counted(workers, 'worker')}: '%stepup workers {slots}'"
        return "enough steps of the pool must be ready at the same time: declare more of them, or longer ones"
    if size is None or size > slots:
        return f"'%pool {name} {slots}' limits it, from the next start on"
    if since is None:
        return "these are all jobs of this session: 'since=len(stepup_nb.history())', taken before, looks at later ones"
    return "a pool that is made smaller stops nothing that runs already"


def _hint_to_run(steps: Iterable[Row], pool: str) -> str:
    asking = [row for row in steps if pool in row["pool"] and not row["dormant"]]
    if not asking:
        return f"no step asks for it: declare some with '--pool {pool}', or pool=\"{pool}\""
    if all(row["state"] == "SUCCEEDED" for row in asking):
        number = counted(len(asking), "step")
        return f"{number} of it {'is' if len(asking) == 1 else 'are'} up to date: '%stepup rerun --all' runs all again"
    return "'%stepup wait' waits for them; '%stepup status' says why they do not run"


def assert_order(*steps: Steps, since: float | None = None) -> Evidence:
    """Check that steps ran one after the other: the last job of each ended before that of the next began.

    Parameters
    ----------
    steps
        In the order that is expected; two or more.
    since
        As in `assert_peak`; without it, the last job of each counts, in whatever session.

    Returns
    -------
    Evidence
        These jobs.

    Raises
    ------
    AssertionError
        Two of them ran in another order, or at the same time, or one never ran.
    UsageError
        SNB-145 for fewer than two steps, SNB-120 for an unknown one.
    """
    chosen = _at_least_two(steps, "assert_order")
    last = evidence.last_of_each(_since(current.session().history(), since, is_all=True))
    what = f"{evidence.names(row['name'] for row in chosen)} were to run in this order"
    _check_ran(chosen, last, what, since)
    rows = [last[row["name"]] for row in chosen]
    found = evidence.disorder(rows)
    start = evidence.zero(rows)
    if found is not None:
        first, second = found
        words = "; ".join(evidence.ran_words(row, start) for row in found)
        name, later = one_line(first["step"]), one_line(second["step"])
        hint = f"have '{later}' read (inp=) what '{name}' writes (out=), or declare it with after='{name}'"
        if first["ended"] is None:
            hint = f"'{name}' is still running: '%stepup wait' first"
        raise _failed(what, words, rows, hint)
    return Evidence(rows, "; ".join(evidence.ran_words(row, start) for row in rows))


def assert_no_overlap(*steps: Steps, since: float | None = None) -> Evidence:
    """Check that no two of these steps ran at the same moment.

    Parameters
    ----------
    steps
        Two or more.
    since
        As in `assert_peak`. Without it, their jobs of this session, and of one that did not run in it, its last.

    Returns
    -------
    Evidence
        The jobs that were looked at, oldest first.

    Raises
    ------
    AssertionError
        Two of them met, or one never ran.
    UsageError
        SNB-145 for fewer than two steps, SNB-120 for an unknown one.
    """
    chosen = _at_least_two(steps, "assert_no_overlap")
    history = current.session().history()
    recent = _since(history, since)
    names = [row["name"] for row in chosen]
    what = f"no two of {evidence.names(names)} were to run at the same moment"
    last = evidence.last_of_each(recent if since is not None else history)
    _check_ran(chosen, last, what, since)
    rows = [row for row in recent if row["step"] in names]
    ran = {row["step"] for row in rows}
    rows = sorted([*rows, *(last[name] for name in names if name not in ran)], key=lambda row: row["started"])
    found = evidence.meeting(rows)
    start = evidence.zero(rows)
    if found is not None:
        hint = "a pool of one slot that both ask for keeps them apart: '%pool NAME 1' and --pool NAME"
        raise _failed(what, evidence.together_words(*found, start), rows, hint)
    number = counted(len(rows), "job")
    return Evidence(rows, f"{number} of {evidence.names(names)}, one after the other")


def assert_skipped(*steps: Steps, since: float | None = None) -> Evidence:
    """Check that steps were up to date and did not run.

    Parameters
    ----------
    steps
        One or more.
    since
        As in `assert_peak`: they did not run since then. Without it, they did not run when they were declared
        last (the cell was run again), or not in this session at all (the kernel was restarted).

    Returns
    -------
    Evidence
        The jobs that made the results which still hold.

    Raises
    ------
    AssertionError
        One of them ran, or is not up to date.
    UsageError
        SNB-145 without a step, SNB-120 for an unknown one.
    """
    session = current.session()
    if not steps:
        raise _too_few("Which steps were to be skipped?", "assert_skipped")
    chosen = _rows_of(*steps)
    history = session.history()
    recent = evidence.last_of_each(_since(history, since))
    what = f"{evidence.names(row['name'] for row in chosen)} {'was' if len(chosen) == 1 else 'were'} to be skipped"
    for row in chosen:
        job = recent.get(row["name"])
        if row["dormant"]:
            words = f"{one_line(row['name'])} is not declared in this session"
            raise _failed(what, words, (), "run the cell that declares it")
        if row["state"] != "SUCCEEDED":
            words = f"{one_line(row['name'])} is {row['state']}: {one_line(row['reason'])}"
            raise _failed(what, words, (), "'%stepup wait' waits until it is known; '%stepup why' says more")
        if job is not None and not (since is None and row["skipped"]):
            why = session.why(row["name"])["last"]
            words = f"{one_line(row['name'])} ran for {evidence.seconds(evidence.end(job) - job['started'])}"
            words += (
                f" because {'it never ran before' if why == 'never ran' else one_line(why)}" if why else ""
            )
            hint = (
                "run its cell again: what is unchanged does not run again"
                if since is None
                else f"something it depends on changed since then: '%stepup why' lists what {one_line(row['name'])} saw"
            )
            raise _failed(what, words, (), hint)
    last = evidence.last_of_each(history)
    rows = [last[row["name"]] for row in chosen if row["name"] in last]
    return Evidence(rows, f"{evidence.names(row['name'] for row in chosen)}: up to date, nothing ran")


# --- what they share ----------------------------------------------------------------------------------


def _rows_of(*steps: Steps) -> list[Row]:
    """Return the rows of steps, each once."""
    from stepup_nb.client.handles import names_of

    found = {row["name"]: row for row in current.session().rows(names_of(*steps))}
    return list(found.values())


def _at_least_two(steps: Sequence[Steps], call: str) -> list[Row]:
    chosen = _rows_of(*steps)
    if len(chosen) < 2:
        raise _too_few("It takes two steps, or more.", call)
    return chosen


def _too_few(what: str, call: str) -> UsageError:
    return UsageError("SNB-145", what, "", f"name them, as in stepup_nb.{call}('a', 'b')")


def _since(rows: list[Row], since: float | None, *, is_all: bool = False) -> list[Row]:
    """Return the jobs that are meant: by default this session's, or all of them."""
    if since is None:
        return rows if is_all else evidence.began_since(rows, current.session().began)
    is_number = type(since) in (int, float)
    if not is_number or not since >= 0 or (since < _FIRST_MOMENT and since != int(since)):
        raise UsageError(
            "SNB-145",
            f"since={since!r:.80} is neither a moment nor a number of rows.",
            "",
            "take 'mark = len(stepup_nb.history())' or 'mark = time.time()' before, and give since=mark",
        )
    if since < _FIRST_MOMENT:
        return rows[int(since) :]
    return evidence.began_since(rows, since)


def _check_ran(chosen: Iterable[Row], last: dict[str, Any], what: str, since: float | None) -> None:
    for row in chosen:
        if row["name"] not in last:
            words = f"{one_line(row['name'])} has not run{'' if since is None else ' since then'}"
            if row["state"] != "SUCCEEDED" and row["reason"]:
                words += f": {row['state']}, {one_line(row['reason'])}"
            hint = "'%stepup wait' waits for it"
            if row["state"] == "SUCCEEDED":
                hint = "it is up to date; '%stepup rerun' runs it again"
            raise _failed(what, words, (), hint)


def _failed(what: str, happened: str, rows: Sequence[Row], hint: str) -> AssertionError:
    lines = [f"{what}.", f"  but: {happened}"]
    if rows:
        lines.append(f"  times: {evidence.counting(rows)}")
    if hint:
        lines.append(f"  hint: {hint}")
    return without_traceback(AssertionError(visible("\n".join(lines))))
