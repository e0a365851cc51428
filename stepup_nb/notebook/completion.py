"""Completion of magics: options, pools, steps, verbs and paths, and nothing else among them.

A matcher of IPython's second kind, which can say that its candidates are all there are.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable, Sequence
from typing import Any

from stepup_nb.core.declare import Option
from stepup_nb.core.errors import StepUpError
from stepup_nb.notebook.extension import Extension
from stepup_nb.notebook.magics import CELL_OPTIONS, MAGIC_OPTIONS, POOL_OPTIONS, VERBS, WAIT_OPTIONS

_STEP_VERBS = ("wait", "why", "log", "cancel", "rerun", "forget")
_SWITCHES = {
    "cancel": ("--all",),
    "rerun": ("--failed", "--all"),
    "clean": ("--dry-run",),
    "status": ("--json",),
}


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
        found = self._candidates(line, is_first=context.cursor_line == 0)
        if found is None:
            return {"completions": [], "suppress": False}
        # IPython replaces the last word as Python sees it, which may begin behind a dash of ours.
        given = line[len(line.rstrip()) :] if not line or line[-1].isspace() else line.split()[-1]
        given = "" if given.isspace() else given
        fragment = context.token
        skip = len(given) - len(fragment) if given.endswith(fragment) else 0
        chosen = [word for word in found if word.startswith(given)]
        return {
            "completions": [SimpleCompletion(text=word[skip:], type="stepup") for word in chosen],
            "matched_fragment": fragment,
            "suppress": True,
            "ordered": True,
        }

    def _candidates(self, line: str, *, is_first: bool) -> list[str] | None:
        """Return all words that may stand where the line ends, or None where it is not ours."""
        words = line.split()
        if not words:
            return None
        head, before = words[0], words[1:] if line[-1].isspace() else words[1:-1]
        if not line[-1].isspace() and len(words) == 1:
            return None
        if head == "%%runsh" and is_first:
            return self._of_step(before, CELL_OPTIONS)
        if head == "%runsh" or (len(words) > 2 and words[1] == "=" and words[2] == "%runsh"):
            return self._of_step(before, MAGIC_OPTIONS)
        if head == "%pool":
            return [*self._pools(), *_flags(POOL_OPTIONS)] if not before else _flags(POOL_OPTIONS)
        if head == "%static":
            return self._paths(words[-1] if not line[-1].isspace() else "")
        if head == "%stepup":
            return self._of_verb(before, words[-1] if not line[-1].isspace() else "")
        return None

    def _of_step(self, before: Sequence[str], table: Sequence[Option]) -> list[str] | None:
        if "--" in before:
            return None
        last = next((word for word in reversed(before) if word.startswith("-")), "")
        option = next((option for option in table if last in option.flags), None)
        takes_more = option is not None and option.metavar and (option.is_list or before[-1] == last)
        if option is None or not takes_more:
            return _flags(table)
        values = {
            "pool": self._pools,
            "after": self._steps,
            "inp": lambda: self._paths(""),
            "out": lambda: self._paths(""),
            "vol": lambda: self._paths(""),
            "workdir": lambda: [path for path in self._paths("") if path.endswith("/")],
            "env": lambda: sorted(os.environ),
        }.get(option.dest, list)()
        return [*values, *(_flags(table) if option.is_list and before[-1] != last else [])]

    def _of_verb(self, before: Sequence[str], given: str) -> list[str]:
        if not before:
            return list(VERBS)
        verb = before[0]
        found: list[str] = list(_SWITCHES.get(verb, ()))
        if verb in _STEP_VERBS:
            found += self._steps()
        if verb == "wait":
            found += _flags(WAIT_OPTIONS)
        if verb in ("pause", "resume"):
            found += self._pools()
        if verb == "notebook":
            found += self._paths(given)
        return found

    def _status(self) -> dict[str, Any]:
        session = self._extension.session
        if session is None or not session.is_started:
            return {"pools": [], "steps": []}
        # Pressing Tab must never raise, whatever became of the director.
        with contextlib.suppress(StepUpError, OSError):
            return session.status()
        return {"pools": [], "steps": []}

    def _pools(self) -> list[str]:
        return [str(row["name"]) for row in self._status()["pools"]]

    def _steps(self) -> list[str]:
        names = (str(row["name"]) for row in self._status()["steps"] if not row["dormant"])
        return [
            name if name.isidentifier() or name.replace("-", "_").isidentifier() else repr(name)
            for name in names
        ]

    def _paths(self, given: str) -> list[str]:
        root = os.fspath(self._extension.place().root)
        pattern = os.path.join(root, glob.escape(given)) + "*" if given else os.path.join(root, "*")
        found = glob.glob(pattern) + (glob.glob(os.path.join(root, "*", "*")) if not given else [])
        return sorted(os.path.relpath(path, root) + ("/" if os.path.isdir(path) else "") for path in found)


def _flags(table: Iterable[Option]) -> list[str]:
    return [option.flags[-1] for option in table]
