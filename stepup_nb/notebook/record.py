"""Draws the record that stands under a cell: what became of the steps it declared, as html and as plain text.

A pure function of rows (the steps of `status`, SPEC part 8, and a few keys more). Knows nothing of kernels,
displays or the director. The html is saved in the notebook, so it does without classes, scripts and style
sheets: GitHub takes even the inline style away, JupyterLab some of it where a notebook is not trusted, and it
reads well all the same.
"""

import math
import re
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypedDict

from stepup_nb.core.words import counted, ending
from stepup_nb.notebook import ansi
from stepup_nb.notebook.ansi import Color, Span


class Row(TypedDict, total=False):
    """A step as the director's view has it. Any key may be missing; times are seconds since the epoch."""

    name: str
    label: str
    action: str
    command: str
    workdir: str
    state: str
    reason: str
    pool: Mapping[str, int]
    slots: Mapping[str, Sequence[int]]
    inp: Sequence[str]
    out: Sequence[str]
    vol: Sequence[str]
    env: Sequence[str]
    cell: Any
    dormant: bool
    skipped: bool
    returncode: int | None
    outcome: str | None
    duration: float | None
    started: float | None
    ended: float | None
    since: float | None
    """When the result that still holds was recorded; without it, `ended` is taken."""
    stdout_tail: str
    stderr_tail: str
    stdout_left_out: int
    """Bytes of the stream before its tail."""
    stderr_left_out: int
    log: str | None
    notes: Sequence[str]


Bundle = dict[str, str]
"""Text by media type."""

SHOWN = 10
"""Steps that are shown in full; the others are folded away."""

LIMIT = 50_000
"""Bytes of either text, at most."""

COLUMNS = 100
"""Columns of the plain text, at most."""

LABEL = 80
"""Columns of a label, at most."""


def render(rows: Sequence[Row], *, now: float, notes: Sequence[str] = ()) -> Bundle:
    """Return the record of these steps, in their order, as `text/html` and `text/plain`.

    `now` is in seconds since the epoch; `notes` are sentences about the record as a whole.
    """
    shown, folded = _chosen(rows)
    steps = [_step(row, now) for row in shown]
    return {
        "text/html": _fitting(lambda detail: _html(steps, folded, rows, now, notes, detail)),
        "text/plain": _fitting(lambda detail: _plain(steps, folded, rows, now, notes, detail)),
    }


def duration(seconds: float) -> str:
    """A span of time in words.

    >>> duration(0.214), duration(3.42), duration(125), duration(3720)
    ('0.21 s', '3.4 s', '2 min 05 s', '1 h 02 min')
    """
    if seconds < 0.995:
        return f"{max(0.0, seconds):.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24:02} h"


def ago(seconds: float) -> str:
    """How long ago, in words.

    >>> ago(0.4), ago(40), ago(7300), ago(200_000)
    ('moments ago', '40 s ago', '2 h ago', '2 days ago')
    """
    if seconds < 1.5:
        return "moments ago"
    if seconds < 60:
        return f"{int(seconds)} s ago"
    if seconds < 3600:
        return f"{int(seconds / 60)} min ago"
    if seconds < 86400:
        return f"{int(seconds / 3600)} h ago"
    return f"{counted(int(seconds / 86400), 'day')} ago"


def size(number: float) -> str:
    """A number of bytes in words.

    >>> size(812), size(4200), size(414_300_000)
    ('812 bytes', '4.2 kB', '414 MB')
    """
    if number < 1000:
        return counted(int(number), "byte")
    for unit in ("kB", "MB", "GB", "TB"):  # noqa: B007
        number /= 1000
        if number < 999.5:
            break
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


# --- what there is to say -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    glyph: str
    color: Color
    noun: str
    """How the head counts them."""


_LOOKS = {
    "FAILED": _Look("✗", Color.RED, "failed"),
    "CANCELLED": _Look("⊘", Color.MAGENTA, "cancelled"),
    "RUNNING": _Look("●", Color.BLUE, "running"),
    "QUEUED": _Look("◔", Color.YELLOW, "queued"),
    "CHECKING": _Look("◎", Color.CYAN, "checking"),
    "PENDING": _Look("○", Color.GREY, "pending"),
    "SUCCEEDED": _Look("✓", Color.GREEN, "succeeded"),
    "SKIP": _Look("≡", Color.GREEN, "skipped"),
    "DELETED": _Look("–", Color.GREY, "deleted"),
}
"""By word, in the order in which the head counts them: troubles first."""

_UNKNOWN = _Look("?", Color.GREY, "in another state")

_NO_NEWS = ("", "never ran", "up to date")
"""Reasons for which a step ran, or did not, that go without saying."""


@dataclass(frozen=True, slots=True)
class _Output:
    """The last lines of one stream."""

    stream: str
    lines: list[list[Span]]
    hidden: int
    left_out: int


@dataclass(frozen=True, slots=True)
class _Step:
    """A row in words."""

    word: str
    look: _Look
    label: str
    meta: str
    """Where and how long, or since when: what stands at the right."""
    why: list[str]
    output: list[_Output]
    log: str


@dataclass(frozen=True, slots=True)
class _Detail:
    """How much is said; less where the whole would be too long."""

    folded: int
    """Folded steps that are listed."""
    lines: int
    """Lines of output, in hundredths of those there are by default."""
    columns: int
    """Characters of a line of output."""
    styled: bool
    """Whether output has its colours."""
    words: int
    """Columns of a sentence."""
    notes: int


_DETAILS = (
    _Detail(folded=100, lines=100, columns=240, styled=True, words=300, notes=6),
    _Detail(folded=40, lines=100, columns=160, styled=False, words=300, notes=4),
    _Detail(folded=20, lines=50, columns=100, styled=False, words=200, notes=2),
    # Fits whatever is in it: at most six bytes a column.
    _Detail(folded=5, lines=0, columns=0, styled=False, words=60, notes=1),
)


def _fitting(draw: Callable[[_Detail], str]) -> str:
    for detail in _DETAILS:
        text = draw(detail)
        if len(text.encode()) <= LIMIT:
            break
    return text


def _chosen(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows to show in full, and the others; what failed or runs is folded away last."""
    rank = {"FAILED": 0, "RUNNING": 1}
    urgent = sorted(range(len(rows)), key=lambda index: rank.get(_word(rows[index]), 2))[:SHOWN]
    first = set(urgent)
    return (
        [row for index, row in enumerate(rows) if index in first],
        [row for index, row in enumerate(rows) if index not in first],
    )


def _word(row: Row) -> str:
    state = str(row.get("state") or "")
    return "SKIP" if state == "SUCCEEDED" and row.get("skipped") else state


def _counts(rows: Iterable[Row]) -> list[tuple[str, int]]:
    """Numbers of steps by word, troubles first."""
    counts = Counter(map(_word, rows))
    known = [(word, counts.pop(word)) for word in _LOOKS if word in counts]
    return known + ([("", others)] if (others := counts.total()) else [])


def _look(word: str) -> _Look:
    return _LOOKS.get(word, _UNKNOWN)


def _counted(rows: Iterable[Row]) -> str:
    return ", ".join(f"{number} {_look(word).noun}" for word, number in _counts(rows))


def _step(row: Row, now: float, *, is_folded: bool = False) -> _Step:
    word = _word(row)
    return _Step(
        word=word if word in _LOOKS else re.sub("[^A-Za-z]", "", word)[:9] or "UNKNOWN",
        look=_look(word),
        label=ansi.one_line(
            str(row.get("label") or row.get("name") or row.get("command") or "step").strip(), LABEL
        ),
        meta=_meta(row, word, now),
        why=_why(row, word, now),
        output=[] if is_folded else _output(row, word),
        log=str(row.get("log") or ""),
    )


def _meta(row: Row, word: str, now: float) -> str:
    if word == "SKIP":
        if not _is_comparable(row):
            return ""
        since = _since(row)
        return "up to date" if since is None else f"up to date since {_clock(since, now)}, {ago(now - since)}"
    took = _seconds(row.get("duration"))
    if word == "RUNNING" and (started := _seconds(row.get("started"))) is not None:
        took = max(0.0, now - started)
    has_run = word not in ("PENDING", "CHECKING", "QUEUED")
    parts = [_places(row, has_run), duration(took) if took is not None and has_run else ""]
    return " · ".join(filter(None, parts))


def _places(row: Row, has_run: bool) -> str:
    """Pools, with the slots that are or were held there: "test, slot 0"."""
    held = row.get("slots") if has_run else None
    places = []
    for pool, number in list((row.get("pool") or {}).items())[:5]:
        place = ansi.one_line(str(pool), 24)
        if numbers := (held or {}).get(pool):
            place += f", slot{'s' if len(numbers) > 1 else ''} {_ranges(numbers)}"
        elif number != 1:
            place += f", {counted(number, 'slot')}"
        places.append(place)
    return ansi.one_line("; ".join(places), 60)


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in short: "0–3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("–".join(map(str, run)) for run in runs)


def _why(row: Row, word: str, now: float) -> list[str]:
    """Sentences, most important first: why it waits, failed or ran; what else is to be known."""
    reason = str(row.get("reason") or "")
    sentences = []
    if word == "SKIP":
        since = _since(row)
        if not _is_comparable(row):
            when = "" if since is None else f" {ago(now - since)}"
            sentences.append(f"ran{when}; nothing declared to compare; --force runs it again")
    elif word in ("RUNNING", "SUCCEEDED"):
        if reason not in _NO_NEWS:
            sentences.append(f"because {reason}")
    elif word in ("FAILED", "CANCELLED"):
        sentences.append(_end(row, word, reason))
    else:
        sentences.append(reason)
    if row.get("dormant"):
        sentences.append("not declared in this session")
    sentences += map(str, row.get("notes") or ())
    return [sentence for sentence in sentences if sentence]


def _end(row: Row, word: str, reason: str) -> str:
    """How it ended and why, each said once."""
    returncode, outcome = row.get("returncode"), str(row.get("outcome") or "")
    how = ending(returncode) if isinstance(returncode, int) and returncode and word == "FAILED" else ""
    if outcome in ("timed out", "interrupted", "lost"):
        how = outcome
    return reason if how in reason else ": ".join(filter(None, (how, reason)))


def _is_comparable(row: Row) -> bool:
    return bool(row.get("inp") or row.get("out") or row.get("env"))


def _since(row: Row) -> float | None:
    since = _seconds(row.get("since"))
    return since if since is not None else _seconds(row.get("ended"))


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _local(seconds: float, form: str) -> str:
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "an unknown time"


def _clock(then: float, now: float) -> str:
    """The local time of day, or the date where it was another day."""
    day = "%Y-%m-%d"
    return _local(then, "%H:%M" if _local(then, day) == _local(now, day) else day)


def _output(row: Row, word: str) -> list[_Output]:
    if word in ("PENDING", "CHECKING", "QUEUED"):
        # It would be that of an earlier job.
        return []
    failed = word == "FAILED"
    streams = (
        ("stdout", row.get("stdout_tail"), row.get("stdout_left_out"), 6),
        ("stderr", row.get("stderr_tail"), row.get("stderr_left_out"), 12 if failed else 6),
    )
    output = []
    for stream, text, left_out, count in streams:
        # A terminal at rest shows no blank lines at its end either.
        hidden, lines = ansi.tail(str(text or "").rstrip("\r\n\t "), count)
        if any(lines):
            output.append(_Output(stream, lines, hidden, int(left_out or 0)))
    return output


def _last(output: _Output, detail: _Detail) -> tuple[int, list[list[Span]]]:
    """The lines to be shown, clipped, and how many others of the tail are not."""
    count = math.ceil(len(output.lines) * detail.lines / 100)
    shown = output.lines[len(output.lines) - count :]
    clipped = [ansi.clip(line, detail.columns) for line in shown]
    if not detail.styled:
        clipped = [[Span(ansi.plain(line))] for line in clipped]
    return output.hidden + len(output.lines) - count, clipped


def _rest(step: _Step, detail: _Detail) -> str:
    """What of the output is not shown, and where it is."""
    hidden = sum(_last(output, detail)[0] for output in step.output)
    left_out = sum(output.left_out for output in step.output)
    amounts = ([counted(hidden, "line")] if hidden else []) + ([size(left_out)] if left_out else [])
    is_clipped = any(
        len(ansi.plain(line)) > detail.columns for output in step.output for line in output.lines
    )
    if not amounts and not is_clipped:
        return ""
    words = [f"{' and '.join(amounts)} hidden"] if amounts else []
    return ", ".join(words + ([f"full log at {ansi.one_line(step.log, detail.words)}"] if step.log else []))


def _title(rows: Sequence[Row]) -> str:
    return counted(len(rows), "step") if rows else "no steps"


def _as_of(now: float) -> str:
    # A saved record is read on another day.
    return f"as of {_local(now, '%Y-%m-%d %H:%M')}"


def _sentences(sentences: Sequence[str], detail: _Detail) -> list[str]:
    # The first one says why; the others are notes.
    return [ansi.one_line(sentence, detail.words) for sentence in sentences[: 1 + detail.notes]]


_INDENT = 13
"""Columns of glyph and word."""

_ELSEWHERE = "%stepup status lists them all"


# --- html ---------------------------------------------------------------------------------------------

# Where it matters, the properties are those that JupyterLab keeps in a notebook it does not trust: no `gap`,
# no `var()`. What it drops only embellishes.
# The left is in line with what is printed, and the longest label has room for what stands at its right.
_BOX = (
    "font-family:var(--jp-ui-font-family,system-ui,-apple-system,'Segoe UI',sans-serif);font-size:13px;"
    "line-height:1.5;max-width:76em;margin:0;padding:0 0 6px 8px"
)
_LINE = "1px solid #8883"
_FAINT = f"opacity:{ansi.FADED}"
_SMALL = "font-size:12px"
_ROW = f"display:flex;flex-wrap:wrap;align-items:baseline;border-top:{_LINE};padding:3px 0"
_WORD = "min-width:8.6em;margin-right:8px;font-size:11px;font-weight:600;letter-spacing:0.04em"
_GLYPH = "display:inline-block;width:1.3em;font-size:13px;line-height:1;font-weight:normal"
# nbconvert's page gives `pre` the font of the text.
_MONO = "font-family:var(--jp-code-font-family,Menlo,Consolas,'DejaVu Sans Mono',monospace)"
_WRAP = "white-space:pre-wrap;overflow-wrap:anywhere"
_LABEL = f"flex:1 1 16em;overflow:hidden;{_WRAP};background:none;padding:0;{_MONO};font-size:13px"
_META = f"margin-left:auto;{_FAINT};{_SMALL};font-variant-numeric:tabular-nums"
# Under the label in a wide cell, under the word in a narrow one.
_BELOW = "padding:0 0 3px 17px;padding-left:clamp(17px,90% - 330px,103px)"
_STREAM = f"font-size:10px;letter-spacing:0.04em;line-height:1.2;margin-top:3px;{_FAINT}"
_PRE = (
    f"margin:2px 0 4px;padding:0 0 0 9px;border:0;background:none;overflow:hidden;{_SMALL};line-height:1.45;"
    f"{_MONO};{_WRAP};border-left:"
)
_RULES = {"stdout": "2px solid #8886", "stderr": "4px double #e5484d"}


def _tag(name: str, style: str, inner: str) -> str:
    return f'<{name} style="{style}">{inner}</{name}>'


def _text(text: str, style: str) -> str:
    """Text of any origin.

    In a `span`, MathJax would make formulas, and even links, of what stands between two dollar signs or
    behind a backslash; `code` and `pre` it leaves alone.
    """
    if "$" in text or "\\" in text:
        return _tag("code", f"{style};font-family:inherit;background:none;padding:0", escape(text))
    return _tag("span", style, escape(text))


def _html(
    steps: list[_Step],
    folded: list[Row],
    rows: Sequence[Row],
    now: float,
    notes: Sequence[str],
    detail: _Detail,
) -> str:
    parts = [_html_head(rows, now)]
    for step in steps:
        parts += [_html_row(step), _html_below(step, detail)]
    if folded:
        parts.append(_html_folded(folded, now, detail))
    for note in notes[: detail.notes]:
        words = _text(ansi.one_line(note, detail.words), f"{_SMALL};{_WRAP}")
        parts.append(_tag("div", f"border-top:{_LINE};padding:3px 0", f"<b>note:</b> {words}"))
    return _tag("div", _BOX, "\n".join(filter(None, parts)))


def _html_head(rows: Sequence[Row], now: float) -> str:
    counts = ", ".join(
        _tag("span", _look(word).color.css, f"{number} {_look(word).noun}") for word, number in _counts(rows)
    )
    title = f"<b>{_title(rows)}</b>{': ' if counts else ''}{counts}"
    as_of = _tag("span", f"margin-left:auto;{_SMALL};{_FAINT}", _as_of(now))
    return _tag("div", "display:flex;flex-wrap:wrap;padding:2px 0 4px", f"<span>{title}</span> {as_of}")


def _html_row(step: _Step) -> str:
    glyph = f'<span aria-hidden="true" style="{_GLYPH}">{step.look.glyph}</span>'
    word = _tag("b", f"{_WORD};{step.look.color.css}", f"{glyph} {escape(step.word)}")
    label = _tag("code", _LABEL, escape(step.label))
    return _tag("div", _ROW, " ".join([word, label, *([_text(step.meta, _META)] if step.meta else [])]))


def _html_below(step: _Step, detail: _Detail) -> str:
    parts = [_tag("div", _SMALL, _text(words, _WRAP)) for words in _sentences(step.why, detail)]
    for output in step.output:
        _, lines = _last(output, detail)
        if lines:
            # That of stdout is the usual one; the other is told apart by a word and a double rule.
            if output.stream == "stderr":
                parts.append(_tag("div", _STREAM, output.stream))
            text = "\n".join(ansi.to_html(line) for line in lines)
            parts.append(_tag("pre", _PRE + _RULES[output.stream], text))
    if rest := _rest(step, detail):
        parts.append(_tag("div", f"{_SMALL};{_FAINT}", _text(rest, _WRAP)))
    return _tag("div", _BELOW, "".join(parts)) if parts else ""


def _html_folded(folded: list[Row], now: float, detail: _Detail) -> str:
    title = f"{counted(len(folded), 'more step')}: {_counted(folded)}"
    steps = [_step(row, now, is_folded=True) for row in folded[: detail.folded]]
    lines = "\n".join(
        _html_line(step, label, detail) for step, label in zip(steps, _column(steps, 60), strict=True)
    )
    parts = [_tag("summary", "cursor:pointer;padding:4px 0", title), _tag("pre", f"{_PRE}0", lines)]
    if len(folded) > detail.folded:
        number = counted(len(folded) - detail.folded, "more step")
        parts.append(_tag("div", f"{_SMALL};{_FAINT}", f"and {number}; {_ELSEWHERE}"))
    return _tag("details", f"border-top:{_LINE}", "".join(parts))


def _html_line(step: _Step, label: str, detail: _Detail) -> str:
    word = _tag("span", step.look.color.css, f"{step.look.glyph} {step.word:<{_INDENT - 2}}")
    told = "; ".join(filter(None, [step.meta, *_sentences(step.why, detail)[:1]]))
    return word + escape(label) + (_tag("span", _FAINT, f"  {escape(told)}") if told else "")


# --- plain text ---------------------------------------------------------------------------------------


def _plain(
    steps: list[_Step],
    folded: list[Row],
    rows: Sequence[Row],
    now: float,
    notes: Sequence[str],
    detail: _Detail,
) -> str:
    parts = _wrapped(f"{_title(rows)}{': ' if rows else ''}{_counted(rows)}; {_as_of(now)}", "")
    metas = [ansi.one_line(step.meta, 44) for step in steps]
    room = COLUMNS - _INDENT - max(map(ansi.width, metas), default=0) - 2
    for step, label, meta in zip(steps, _column(steps, room), metas, strict=True):
        parts.append(f"{step.look.glyph} {step.word:<{_INDENT - 2}}{label}  {meta}".rstrip())
        parts += _plain_below(step, detail)
    if folded:
        parts += _wrapped(f"{counted(len(folded), 'more step')}: {_counted(folded)}; {_ELSEWHERE}", "")
    for note in notes[: detail.notes]:
        parts += _wrapped(f"note: {ansi.one_line(note, detail.words)}", "")
    return "\n".join(parts)


def _column(steps: Sequence[_Step], room: int) -> list[str]:
    """The labels, cut and filled up to the same number of columns, `room` at most."""
    labels = [ansi.one_line(step.label, room) for step in steps]
    widest = max(map(ansi.width, labels), default=0)
    return [label + " " * (widest - ansi.width(label)) for label in labels]


def _plain_below(step: _Step, detail: _Detail) -> list[str]:
    margin = " " * _INDENT
    parts = []
    for words in _sentences(step.why, detail):
        parts += _wrapped(words, margin)
    for output in step.output:
        gutter = f"{margin}{output.stream} │ "
        for line in _last(output, detail)[1]:
            text = ansi.plain(line).expandtabs()
            parts.append((gutter + ansi.one_line(text, COLUMNS - len(gutter))).rstrip())
    if rest := _rest(step, detail):
        parts += _wrapped(rest, margin)
    return parts


def _wrapped(text: str, margin: str) -> list[str]:
    """The text in lines of at most `COLUMNS` columns, broken between words where they are short enough."""
    # Wide characters take two columns, which textwrap does not know.
    columns = COLUMNS if ansi.width(text) == len(text) else (COLUMNS + len(margin)) // 2
    lines = textwrap.wrap(
        text, columns, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
    # It leaves a blank that fills a line before a word that has to be broken.
    return [line.rstrip() for line in lines]
