"""The line of a magic: options first, then the command, word for word.

Knows the table of options, nothing of IPython but the two name spaces that ``{expr}`` is looked up in.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepup_nb.core.declare import Option
from stepup_nb.core.errors import UsageError
from stepup_nb.core.words import did_you_mean

_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""")


@dataclass(frozen=True, slots=True)
class Line:
    """What a magic's line says."""

    options: dict[str, Any] = field(default_factory=dict)
    """Values by keyword: True for a switch, a text, or a list of texts."""
    rest: str = ""
    """Everything after the options, as written."""


def parse(text: str, table: Sequence[Option], *, magic: str) -> Line:
    """Read the options at the beginning of a line.

    Options that take several words end at the next option or at ``--``; the rest of the line is kept as it is,
    quotes and all.

    Raises
    ------
    UsageError
        SNB-107 for an option that does not exist or has no value.
    """
    flags = {flag: option for option in table for flag in option.flags}
    options: dict[str, Any] = {}
    at = 0
    while True:
        at = _skip_blanks(text, at)
        word, end = _word(text, at, magic)
        if word == "--":
            return Line(options, text[_skip_blanks(text, end) :].rstrip())
        if not word.startswith("-") or word == "-":
            return Line(options, text[at:].rstrip())
        flag, equals, value = word.partition("=")
        option = flags.get(flag)
        if option is None:
            hint = did_you_mean(flag, flags)
            raise UsageError(
                "SNB-107",
                f"'{magic}' has no option '{flag}'{hint}",
                "",
                f"'{magic}?' lists all options; '--' ends them, if the command itself begins with '-'",
            )
        at = end
        values = [value] if equals else []
        if option.metavar and not equals:
            at, values = _values(text, at, option, magic)
        _store(options, option, values, flag, magic)


def _values(text: str, at: int, option: Option, magic: str) -> tuple[int, list[str]]:
    values: list[str] = []
    while True:
        start = _skip_blanks(text, at)
        word, end = _word(text, start, magic)
        # The value of an option with exactly one may begin with '-': '--priority -1'.
        if not word or (word.startswith("-") and (option.is_list or word == "--")):
            return at, values
        values.append(word)
        at = end
        if not option.is_list:
            return at, values


def _store(options: dict[str, Any], option: Option, values: list[str], flag: str, magic: str) -> None:
    if not option.metavar:
        if values:
            raise UsageError("SNB-107", f"'{flag}' of '{magic}' takes no value.", "", f"write '{flag}' alone")
        options[option.dest] = True
        return
    if not values:
        raise UsageError(
            "SNB-107", f"'{flag}' of '{magic}' has no value.", "", f"write '{flag} {option.metavar}'"
        )
    if option.is_repeated:
        options.setdefault(option.dest, []).extend(values)
    elif option.dest in options:
        raise UsageError("SNB-107", f"'{flag}' of '{magic}' is given twice.", "", "leave one of the two out")
    else:
        options[option.dest] = values if option.is_list else values[0]


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _word(text: str, at: int, magic: str) -> tuple[str, int]:
    match = _WORD.match(text, at)
    if match is None:
        if at < len(text):
            raise UsageError(
                "SNB-107",
                f"A quote in the line of '{magic}' is not closed.",
                "",
                "close it, or write \\ before it",
            )
        return "", at
    return "".join(shlex.split(match[0], comments=False)) if match[0].strip() else "", match.end()


def words(text: str, *, magic: str) -> list[str]:
    """Split a line as a shell would."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(
            "SNB-107", f"The line of '{magic}' cannot be read: {error}.", "", "close the quote"
        ) from None


def expand(text: str, names: Mapping[str, Any], *, magic: str) -> str:
    """Replace each ``{expr}`` by the text of its value; ``{{`` and ``}}`` are braces, ``${...}`` is left alone.

    Raises
    ------
    UsageError
        SNB-108: an undefined name, or no expression at all.
    """
    pieces = []
    at = 0
    for match in re.finditer(r"\{\{|\}\}|(?<!\$)\{([^{}]*)\}", text):
        pieces.append(text[at : match.start()])
        at = match.end()
        if match[0] == "{{" or match[0] == "}}":
            # The inner braces of ${{ }} and of shell functions written for StepUp stay two.
            pieces.append(match[0][0])
        else:
            pieces.append(_value(match[1], names, magic))
    return "".join(pieces) + text[at:]


def _value(expression: str, names: Mapping[str, Any], magic: str) -> str:
    fix = "define it, or write '{{' and '}}' for braces that are meant for the shell"
    try:
        return str(eval(compile(expression.strip(), "<magic>", "eval"), dict(names)))
    except NameError as error:
        raise UsageError(
            "SNB-108", f"'{{{expression}}}' in '{magic}' has no value.", str(error), fix
        ) from None
    except SyntaxError:
        raise UsageError(
            "SNB-108", f"'{{{expression}}}' in '{magic}' is no Python expression.", "", fix
        ) from None
    except Exception as error:
        raise UsageError(
            "SNB-108",
            f"'{{{expression}}}' in '{magic}' has no value.",
            f"{type(error).__name__}: {error}",
            fix,
        ) from None
