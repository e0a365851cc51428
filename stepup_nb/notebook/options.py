"""The line of a magic: its options, and what stands besides them, word for word.

Knows the table of options, nothing of IPython but the namespace that ``{expr}`` is looked up in.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from stepup_nb.core.declare import Option
from stepup_nb.core.errors import UsageError

_CLOSING = re.compile("}")
_MOST_BRACES = 8
"""So many closing braces are tried as the end of an expression."""

_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """What a magic's line says."""

    options: dict[str, Any] = field(default_factory=dict)
    """Values by keyword: True for a switch, a text, or a list of texts."""
    rest: str = ""
    """Everything after the options, as written (`parse`)."""
    words: tuple[str, ...] = ()
    """What stands between and after the options (`parse_words`)."""


def parse(text: str, table: Sequence[Option], *, magic: str) -> Line:
    """Read the options at the beginning of a line.

    Options that take several words end at the next option or at ``--``; the rest of the line is kept as it
    is, quotes and all.

    Raises
    ------
    UsageError
        SNB-107 for an option that does not exist or has no value.
    """
    reader = _Reader(text, table, magic)
    while reader.take_option():
        pass
    return Line(reader.options, reader.rest)


def parse_words(text: str, table: Sequence[Option], *, magic: str) -> Line:
    """Read a line that is nothing but options and words, in any order; after ``--`` all are words.

    Raises
    ------
    UsageError
        SNB-107 for an option that does not exist or has no value, or a quote that is not closed.
    """
    reader = _Reader(text, table, magic)
    words: list[str] = []
    while reader.rest:
        if not reader.take_option() and reader.rest:
            words.append(reader.take_word())
    return Line(reader.options, words=tuple(words))


def without_silencer(line: str) -> str:
    r"""Return a line without the ``;`` at its end that silences a magic's value; ``\;`` is for the shell."""
    return line.strip()[:-1].rstrip() if is_silenced(line) else line.strip()


def is_silenced(line: str) -> bool:
    r"""Tell whether a line ends in the ``;`` that silences a magic's value.

    IPython's own way to find out (``output_can_be_silenced``) reads the line as Python, and fails with an error of
    its own, after the magic has done its work, where a brace or a quote of the shell is not closed.
    """
    line = line.strip()
    return line.endswith(";") and not line.endswith("\\;")


class _Reader:
    """Takes a line apart, from left to right."""

    def __init__(self, text: str, table: Sequence[Option], magic: str) -> None:
        self._text = text.rstrip()
        self._at = 0
        self._flags = {flag: option for option in table for flag in option.flags}
        self._magic = magic
        self._are_options_over = False
        self.options: dict[str, Any] = {}
        self._skip_blanks()

    @property
    def rest(self) -> str:
        """What has not been taken yet, as written."""
        return self._text[self._at :]

    def take_word(self) -> str:
        """Take a word, without its quotes."""
        word, self._at = self._word()
        self._skip_blanks()
        return word

    def take_option(self) -> bool:
        """Take an option with its values if there stands one, and say whether there did."""
        word, end = self._word()
        # '-1' is a number that somebody got wrong, and is told so by whoever wanted one.
        if self._are_options_over or not word.startswith("-") or word == "-" or word[1].isdigit():
            return False
        self._at = end
        self._skip_blanks()
        if word == "--":
            self._are_options_over = True
            return False
        flag, equals, value = word.partition("=")
        option = self._flags.get(flag)
        if option is None:
            raise self._unknown(flag)
        values = [value] if equals else []
        if option.metavar and not equals:
            values = list(self._values(option))
        self._store(option, values, flag)
        return True

    def _values(self, option: Option) -> Iterator[str]:
        while self.rest:
            word, _ = self._word()
            # The value of an option with exactly one may begin with '-': '--priority -1'.
            if word.startswith("-") and (option.is_list or word == "--"):
                return
            yield self.take_word()
            if not option.is_list:
                return

    def _store(self, option: Option, values: list[str], flag: str) -> None:
        magic, options = self._magic, self.options
        if not option.metavar:
            if values:
                raise UsageError(
                    "SNB-107", f"'{flag}' of '{magic}' takes no value.", "", f"write '{flag}' alone"
                )
            options[option.dest] = True
        elif not values:
            raise UsageError(
                "SNB-107", f"'{flag}' of '{magic}' has no value.", "", f"write '{flag} {option.metavar}'"
            )
        elif option.is_repeated:
            options.setdefault(option.dest, []).extend(values)
        elif option.dest in options:
            raise UsageError(
                "SNB-107", f"'{flag}' of '{magic}' is given twice.", "", "leave one of the two out"
            )
        else:
            options[option.dest] = values if option.is_list else values[0]

    def _unknown(self, flag: str) -> UsageError:
        # Without the dashes, which would make all of them look alike.
        known = {name.lstrip("-"): name for name in self._flags}
        close = difflib.get_close_matches(flag.lstrip("-"), known, n=1)
        hint = f"; did you mean '{known[close[0]]}'?" if close else "."
        return UsageError(
            "SNB-107",
            f"'{self._magic}' has no option '{flag}'{hint or '.'}",
            "",
            f"'{self._magic.split()[0]}?' lists all options; '--' ends them, if what follows begins with '-'",
        )

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _word(self) -> tuple[str, int]:
        """Return the next word, without its quotes, and where it ends."""
        match = _WORD.match(self._text, self._at)
        if match is not None:
            return "".join(shlex.split(match[0], comments=False)), match.end()
        if self._at < len(self._text):
            raise UsageError(
                "SNB-107",
                f"A quote in the line of '{self._magic}' is not closed.",
                "",
                "close it, or write \\ before it",
            )
        return "", self._at


# --- {expr} ---------------------------------------------------------------------------------------


def expand(text: str, names: Mapping[str, Any], *, magic: str) -> str:
    """Replace each ``{expr}`` by the text of its value.

    ``{{`` and ``}}`` are braces. What belongs to the shell is left alone: ``${...}`` with all that is in it,
    ``{}`` and a brace that is not closed.

    Raises
    ------
    UsageError
        SNB-108: an undefined name, or no expression at all.
    """
    pieces = []
    at = 0
    while at < len(text):
        if text.startswith(("{{", "}}"), at):
            pieces.append(text[at])
            at += 2
        elif text.startswith("${", at):
            end = _end_of_braces(text, at + 1)
            pieces.append(text[at:end])
            at = end
        elif text[at] == "{" and (found := _expression(text, at + 1)) is not None:
            expression, at = found
            pieces.append(_value(expression, names, magic) if expression.strip() else f"{{{expression}}}")
        else:
            pieces.append(text[at])
            at += 1
    return "".join(pieces)


def _end_of_braces(text: str, at: int) -> int:
    """Return where the brace that opens at a place has been closed, or the end."""
    depth = 0
    for place in range(at, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place + 1
    return len(text)


def _expression(text: str, at: int) -> tuple[str, int] | None:
    """Return the expression that begins at a place, and what comes after its brace; None without a brace.

    It ends at the first brace with which it is Python, so that it may hold braces itself.
    """
    ends = [match.start() for match in islice(_CLOSING.finditer(text, at), _MOST_BRACES)]
    for end in ends:
        try:
            compile(text[at:end].strip(), "<magic>", "eval")
        except (SyntaxError, ValueError):
            continue
        return text[at:end], end + 1
    return (text[at : ends[0]], ends[0] + 1) if ends else None


def _value(expression: str, names: Mapping[str, Any], magic: str) -> str:
    fix = "write '{{' and '}}' for braces that are meant for the shell"
    try:
        value = eval(compile(expression.strip(), "<magic>", "eval"), dict(names))
        if not callable(value):
            return str(value)
        # '{print}' and '{next}' are more likely awk's than the user's wish to see how a function looks.
        what, why = f"'{{{expression}}}' in '{magic}' is a function, and no text.", ""
    except NameError as error:
        what, why, fix = f"'{{{expression}}}' in '{magic}' has no value.", str(error), f"define it, or {fix}"
    except SyntaxError:
        what, why = f"'{{{expression}}}' in '{magic}' is no Python expression.", ""
    except Exception as error:
        what, why = f"'{{{expression}}}' in '{magic}' has no value.", f"{type(error).__name__}: {error}"
    raise UsageError("SNB-108", what, why, fix) from None
