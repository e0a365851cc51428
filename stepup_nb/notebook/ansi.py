"""Turns what a step printed, or what a stranger named, into text that is safe to show.

Knows terminals a little (overwriting, erasing, colours) and html a little (escaping, inline style).
Knows nothing of steps, records or notebooks. Everything here is pure, and linear in its input.
"""

import codecs
import colorsys
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from html import escape
from itertools import groupby

from stepup_nb.core import words


class Color(Enum):
    """The closed palette. Black and white are left out: they are the page's own two colours."""

    RED = "orangered"
    GREEN = "forestgreen"
    YELLOW = "darkgoldenrod"
    BLUE = "dodgerblue"
    MAGENTA = "mediumorchid"
    CYAN = "darkcyan"

    GREY = ""
    """Has no hue of its own: the text's colour, faded."""

    @property
    def css(self) -> str:
        """The inline declaration.

        No fixed colour has a contrast of 4.5 on white and on #111 alike. Mixed with the colour that the text
        has anyway, each hue has it on both, whatever the theme calls its variables; a browser that does not
        know the mixture leaves the text in its own colour. Hues go by their names in CSS because JupyterLab,
        in a notebook it does not trust, lets a name pass in such a place but no hexadecimal number.
        """
        if self is Color.GREY:
            return f"opacity:{FADED}"
        return f"color:color-mix(in srgb,{self.value} {HUE_SHARE}%,currentColor)"


HUE_SHARE = 70
"""Percent of the hue in a colour that is shown; the rest is the colour of the surrounding text."""

FADED = 0.72
"""Opacity of text that stands back, still with a contrast of 4.5 in every theme that was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What of a terminal's rendition is kept. Backgrounds, inversion and blinking are not."""

    color: Color | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False

    @property
    def css(self) -> str:
        """Inline declarations, "" for plain text."""
        # Faded colours would fall below the contrast that the palette promises.
        color = self.color or (Color.GREY if self.dim else None)
        wanted = (
            (color is not None, color.css if color else ""),
            (self.bold, "font-weight:bold"),
            (self.italic, "font-style:italic"),
            (self.underline, "text-decoration:underline"),
        )
        return ";".join(css for is_wanted, css in wanted if is_wanted)

    @property
    def words(self) -> str:
        """The same as words, for style sheets: "bold red"; "" for plain text."""
        attributes = ("bold", "dim", "italic", "underline")
        found = [name for name in attributes if getattr(self, name)]
        return " ".join([*found, *([self.color.name.lower()] if self.color else [])])


PLAIN = Style()


@dataclass(frozen=True, slots=True)
class Span:
    """Text of one style within one line: no line feed, no escape, no control character but the tab."""

    text: str
    style: Style = PLAIN


def decode(raw: bytes) -> str:
    """The text of these bytes; what is not UTF-8 becomes U+FFFD."""
    return raw.decode("utf-8", "replace")


def decoder() -> codecs.IncrementalDecoder:
    """A decoder that gives, piece by piece, what `decode` gives for the whole."""
    return codecs.getincrementaldecoder("utf-8")("replace")


def lines(text: str) -> list[list[Span]]:
    """The lines that an endlessly wide terminal would show; the last is what follows the last line feed."""
    return _lines(text.split("\n"), PLAIN)


def tail(text: str, count: int) -> tuple[int, list[list[Span]]]:
    """How many lines stand before the last `count` ones, and those.

    Here a final line feed ends the last line and starts none. The lines before cost next to nothing.
    """
    raw = text.removesuffix("\n").split("\n") if text else []
    hidden = max(0, len(raw) - max(0, count))
    return hidden, _lines(raw[hidden:], _style_after("\n".join(raw[:hidden])))


class Screen:
    """What an endlessly wide terminal shows, line by line as the text comes in.

    Gives what `lines` gives for the whole, but that of a line without an end only the last `LONGEST`
    characters are kept.
    """

    def __init__(self) -> None:
        self._style = PLAIN
        self._rest = ""

    def feed(self, text: str) -> list[list[Span]]:
        """Take in more text; return the lines that are complete now."""
        ended, feed, rest = (self._rest + text).rpartition("\n")
        self._rest = rest[-LONGEST:]
        if not feed:
            return []
        shown = _lines(ended.split("\n"), self._style)
        self._style = _style_after(ended, self._style)
        return shown

    def line(self) -> list[Span]:
        """Return the line that has no end yet."""
        return _lines([self._rest], self._style)[0]


visible = words.visible

LONGEST = 20_000
"""Characters of a line without an end that a `Screen` keeps."""


def to_html(spans: Iterable[Span]) -> str:
    """The spans of a line as escaped html: text, and `span` elements with nothing but a `style`."""
    parts = []
    for span in spans:
        css, text = span.style.css, escape(span.text)
        parts.append(f'<span style="{css}">{text}</span>' if css and text else text)
    return "".join(parts)


def to_text(text: str) -> str:
    """The same lines without style, fit for logs and terminals: their only controls are line feed and tab."""
    return "\n".join(plain(line) for line in lines(text))


def plain(spans: Iterable[Span]) -> str:
    """The text of the spans of a line."""
    return "".join(span.text for span in spans)


def clip(spans: Iterable[Span], limit: int) -> list[Span]:
    """At most `limit` characters of a line, and where there are more, a word on how many."""
    kept, room, left_out = [], limit, 0
    for span in spans:
        if text := span.text[:room]:
            kept.append(Span(text, span.style))
        room -= len(text)
        left_out += len(span.text) - len(text)
    if left_out:
        kept.append(Span(f"… {left_out} more characters", Style(dim=True)))
    return kept


def one_line(text: str, limit: int) -> str:
    """A label, path or sentence in one line of at most `limit` columns, cut with an ellipsis.

    Nothing is interpreted or dropped, since a name that hides something should not look harmless: line feeds
    are shown as U+21B5, escapes and other controls by their code.
    """
    # A character takes at least one column here, so what lies beyond the limit need not be looked at.
    start = visible(text[: limit + 1].replace("\n", "↵").replace("\t", " "))
    if width(start) <= limit:
        return start
    taken = 0
    for index, char in enumerate(start):
        taken += _columns(char)
        if taken > limit - 1:
            return start[:index] + "…" if limit > 0 else ""
    return start


def width(text: str) -> int:
    """Columns of this text in a monospaced font, wide characters counted twice."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


# Within one line. A string command (OSC, DCS ...) that nobody ended is over where its line is, so that one
# forgotten terminator does not swallow the rest of the output.
_TOKEN = re.compile(
    r"(?P<text>[^\x1b\r\b]+)"
    r"|(?P<cr>\r+)"
    r"|(?P<bs>\b+)"
    r"|\x1b\[(?P<args>[0-?]*)(?P<csi>[ -/]*[@-~])?"
    r"|\x1b[\]PX^_][^\x07\x18\x1a\x1b]*(?:\x07|\x18|\x1a|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?".replace(r"\b", r"\x08")
)
_MOVES = re.compile("[\x1b\r\b]")
_SGR = re.compile("\x1b\\[([0-9;:]*)m")
_RESETS = ("\x1b[0m", "\x1b[m")


def _lines(raw: list[str], style: Style) -> list[list[Span]]:
    shown = []
    for line in raw:
        if not _MOVES.search(line):
            shown.append([Span(visible(line), style)] if line else [])
        elif "\x1b" not in line and "\b" not in line:
            text = _overwritten(visible(piece) for piece in reversed(line.split("\r")))
            shown.append([Span(text, style)] if text else [])
        else:
            spans, style = _played(line, style)
            shown.append(spans)
    return shown


def _overwritten(pieces_last_first: Iterable[str]) -> str:
    """What remains of pieces all written from the first column: of an earlier one what sticks out."""
    text = ""
    for piece in pieces_last_first:
        if len(piece) > len(text):
            text += piece[len(text) :]
    return text


def _played(line: str, style: Style) -> tuple[list[Span], Style]:
    """Plays one line as a terminal would: its spans, and the style that holds at its end."""
    cells: list[str] = []
    styles: list[Style] = []
    at = 0
    for token in _TOKEN.finditer(line):
        kind = token.lastgroup
        if kind == "text":
            text = visible(token[0])
            end = at + len(text)
            cells[at:end] = text
            styles[at:end] = [style] * len(text)
            at = end
        elif kind == "cr":
            at = 0
        elif kind == "bs":
            at = max(0, at - len(token[0]))
        elif token["csi"] == "m":
            style = _styled(token["args"], style)
        elif token["csi"] == "K":
            # Whoever erases up to the cursor, or all, returns to the first column next; doing both at once
            # keeps the cursor within the line, and the time linear.
            at = 0 if token["args"] in ("1", "2") else at
            del cells[at:], styles[at:]
    spans = [
        Span("".join(char for _, char in run), look)
        for look, run in groupby(zip(styles, cells, strict=True), key=lambda cell: cell[0])
    ]
    return spans, style


def _style_after(text: str, style: Style = PLAIN) -> Style:
    """The style that holds after this text, as `_played` would find it line by line."""
    # No other escape takes in the ESC of a reset, so a reset found by its letters is one.
    start = max(text.rfind(reset) for reset in _RESETS)
    style = PLAIN if start >= 0 else style
    for args in _SGR.findall(text, max(0, start)):
        style = _styled(args, style)
    return style


_ATTRIBUTES: dict[int, Callable[[Style], Style]] = {
    0: lambda _: PLAIN,
    1: lambda style: replace(style, bold=True),
    2: lambda style: replace(style, dim=True),
    3: lambda style: replace(style, italic=True),
    4: lambda style: replace(style, underline=True),
    21: lambda style: replace(style, underline=True),
    22: lambda style: replace(style, bold=False, dim=False),
    23: lambda style: replace(style, italic=False),
    24: lambda style: replace(style, underline=False),
    39: lambda style: replace(style, color=None),
}
_EIGHT = (None, Color.RED, Color.GREEN, Color.YELLOW, Color.BLUE, Color.MAGENTA, Color.CYAN, None)
_BRIGHT = (Color.GREY, *_EIGHT[1:])


@lru_cache(maxsize=1024)
def _styled(args: str, style: Style) -> Style:
    """The style after "select graphic rendition" with these arguments (ECMA-48, and xterm for 38 and 48)."""
    if len(args) > 200 or args.strip("0123456789;:"):
        return style
    numbers = iter(args.split(";"))
    for group in numbers:
        head, *details = (_number(part) for part in group.split(":"))
        if head in (38, 48, 58):
            if not details:
                # The old spelling: the colour's kind and its numbers are arguments of their own.
                kind = _number(next(numbers, ""))
                details = [kind, *(_number(next(numbers, "")) for _ in range({5: 1, 2: 3}.get(kind, 0)))]
            if head == 38:
                style = replace(style, color=_extended(details))
        elif head == 4 and details == [0]:
            style = replace(style, underline=False)
        elif head in _ATTRIBUTES:
            style = _ATTRIBUTES[head](style)
        elif 30 <= head <= 37:
            style = replace(style, color=_EIGHT[head - 30])
        elif 90 <= head <= 97:
            style = replace(style, color=_BRIGHT[head - 90])
    return style


def _number(digits: str) -> int:
    # Longer ones mean nothing, and turning a megabyte of digits into a number is not linear.
    return int(digits) if 0 < len(digits) < 5 else 0


def _extended(details: list[int]) -> Color | None:
    match details:
        case [5, index] if index < 8:
            return _EIGHT[index]
        case [5, index] if index < 16:
            return _BRIGHT[index - 8]
        case [5, index] if index < 232:
            red, rest = divmod(index - 16, 36)
            return _nearest(*(0 if level == 0 else 55 + 40 * level for level in (red, *divmod(rest, 6))))
        case [5, index] if index < 256:
            return _nearest(*[8 + 10 * (index - 232)] * 3)
        case [2, *_, red, green, blue] if len(details) >= 4:
            return _nearest(red, green, blue)
    return None


def _nearest(red: int, green: int, blue: int) -> Color | None:
    """The palette's colour of the same hue; None for what is almost black, almost white or no colour."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(min(255, part) / 255 for part in (red, green, blue)))
    if saturation < 0.25:
        return Color.GREY if 0.25 < value < 0.7 else None
    if value < 0.2:
        return None
    upper_ends = (
        (20, Color.RED),
        (70, Color.YELLOW),
        (165, Color.GREEN),
        (200, Color.CYAN),
        (260, Color.BLUE),
        (345, Color.MAGENTA),
    )
    return next((color for end, color in upper_ends if hue * 360 < end), Color.RED)
