"""Completion of magics: options, pools, steps, verbs and paths, and nothing else among them.

A matcher of IPython's second kind, which can say that its candidates are all there are.
"""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stepup_nb.core.declare import Option
from stepup_nb.core.errors import StepUpError
from stepup_nb.notebook.extension import Extension
from stepup_nb.notebook.magics import CELL_OPTIONS, MAGIC_OPTIONS, POOL_OPTIONS
from stepup_nb.notebook.verbs import VERBS

MOST_PATHS = 500
"""Paths that are offered at most: more are no help."""


class StepUpMatcher:
    """Completes the lines of one extension's magics."""

    def __init__(self, extension: Extension) -> None:
        self._extension = extension
        from IPython.core.completer import context_matcher

        @context_matcher()  # type: ignore[untyped-decorator,unused-ignore]
        def match(context: Any) -> dict[str, Any]:
            return self._match(context)

        self.match = match

    def _match(self, context: Any) -> dict[str, Any]:
        from IPython.core.completer import SimpleCompletion

        lines = context.full_text.split("\n")
        line = lines[context.cursor_line][: context.cursor_position]
        given = _last_word(line)
        found = self.candidates(line, is_first=context.cursor_line == 0)
        if found is None:
            return {"completions": [], "suppress": False}
        # IPython replaces the last word as Python sees it, which may begin behind a dash of ours.
        fragment = context.token if given.endswith(context.token) else given
        skip = len(given) - len(fragment)
        return {
            "completions": [SimpleCompletion(text=word[skip:], type="stepup") for word in found],
            "matched_fragment": fragment,
            "suppress": True,
            "ordered": True,
        }

    def candidates(self, line: str, *, is_first: bool) -> list[str] | None:
        """Return all words that may stand at the end of a line, or None where that is not ours to say.

        Parameters
        ----------
        line
            The line up to the cursor.
        is_first
            Whether it is the first of its cell, where ``%%runsh`` and ``%%runpy`` may stand.
        """
        given = _last_word(line)
        head, *before = line[: len(line) - len(given)].split() or [""]
        if len(before) > 1 and before[0] == "=" and head.isidentifier():
            head, before = before[1], before[2:]
        elif "=" in head and head.partition("=")[0].isidentifier():
            head = head.partition("=")[2]
        found: Iterable[str] | None
        if head in ("%%runsh", "%%runpy") and is_first:
            found = self._of_step(before, given, CELL_OPTIONS)
        elif head == "%runpy" and (not before or "--" in before):
            found = [*_flags(MAGIC_OPTIONS), *self._paths(given)]
        elif head in ("%runsh", "%runpy"):
            found = self._of_step(before, given, MAGIC_OPTIONS)
        elif head == "%pool":
            found = [*([] if before else self._pools()), *_flags(POOL_OPTIONS)]
        elif head == "%static":
            found = self._paths(given)
        elif head == "%stepup":
            found = self._of_verb(before, given)
        else:
            found = None
        return None if found is None else [word for word in found if word.startswith(given)]

    def _of_step(self, before: Sequence[str], given: str, table: Sequence[Option]) -> list[str] | None:
        if "--" in before:
            return None
        at = next((i for i in reversed(range(len(before))) if before[i].startswith("-")), None)
        flags = _flags(table)
        if at is None:
            # Behind a word that is no option's, the command has begun.
            return flags if not before else None
        option = next((option for option in table if before[at] in option.flags), None)
        values = len(before) - at - 1
        if option is None or not option.metavar:
            return flags if not values else None
        if values and not option.is_list:
            return flags if values == 1 else None
        known: dict[str, Callable[[], Iterable[str]]] = {
            "pool": self._pools,
            "after": self._steps,
            "inp": lambda: self._paths(given),
            "out": lambda: self._paths(given),
            "vol": lambda: self._paths(given),
            "workdir": lambda: [path for path in self._paths(given) if path.endswith("/")],
            "env": lambda: sorted(os.environ),
        }
        found = [*known.get(option.dest, list)()]
        return [*found, *flags, "--"] if values else found

    def _of_verb(self, before: Sequence[str], given: str) -> list[str]:
        if not before:
            return list(VERBS)
        verb = VERBS.get(before[0])
        if verb is None:
            return []
        option = next((option for option in verb.options if before[-1] in option.flags), None)
        if option is not None and option.metavar:
            return self._values_of(option, given)
        known: dict[str, Callable[[], Iterable[str]]] = {
            "STEP": self._steps,
            "POOL": self._pools,
            "PATH": lambda: self._paths(given),
            "on|off": lambda: ["on", "off"],
        }
        return [*_flags(verb.options), *known.get(verb.words, list)()]

    def _values_of(self, option: Option, given: str) -> list[str]:
        if option.metavar == "FILE":
            return self._paths(given)
        if option.dest == "pool":
            return [f"{name}=" for name in self._pools()]
        return option.metavar.split("|") if "|" in option.metavar else []

    def _status(self) -> dict[str, Any]:
        session = self._extension.session
        if session is not None and session.is_started:
            # Pressing Tab must never raise, whatever became of the director.
            try:
                return session.status()
            except (StepUpError, OSError):
                pass
        return {"pools": [], "steps": []}

    def _pools(self) -> list[str]:
        return [str(row["name"]) for row in self._status()["pools"]]

    def _steps(self) -> list[str]:
        names = (str(row["name"]) for row in self._status()["steps"] if not row["dormant"])
        return [shlex.quote(name) for name in names if "\n" not in name]

    def _paths(self, given: str) -> list[str]:
        """Return the paths that begin as given, relative to the notebook's folder; folders end in a slash."""
        root = self._extension.place().root
        found = glob.glob(f"{glob.escape(given)}*", root_dir=root)  # noqa: PTH207
        return sorted(f"{path}/" if (root / path).is_dir() else path for path in found)[:MOST_PATHS]


def _last_word(line: str) -> str:
    """Return what of the last word stands there already; blanks in quotes are a part of it."""
    start = 0
    quote = ""
    for at, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            start = at + 1
    return line[start:]


def _flags(table: Iterable[Option]) -> list[str]:
    return [option.flags[-1] for option in table]
