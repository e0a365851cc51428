"""The magics: parse the line, make one call of the session, show the answer. No logic.

Their docstrings are what ``%runsh?`` shows; the lists of options in them come from the one table in
`core.declare`.
"""

from __future__ import annotations

import inspect
import shlex
import shutil
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)

from stepup_nb.client.handles import StepHandle
from stepup_nb.client.session import check
from stepup_nb.core.declare import (
    OPTIONS,
    PLAIN_SCRIPT_SHELL,
    PYTHON_CODE,
    SCRIPT_SHELL,
    Option,
)
from stepup_nb.core.errors import UsageError
from stepup_nb.core.words import did_you_mean
from stepup_nb.notebook import ansi, show
from stepup_nb.notebook.extension import Extension
from stepup_nb.notebook.options import Line, expand, is_silenced, parse, parse_words, without_silencer
from stepup_nb.notebook.verbs import VERBS, Verbs, show_page

MAGIC_OPTIONS: tuple[Option, ...] = (
    *OPTIONS,
    Option(("--var",), "NAME", "bind the step's handle to a variable"),
    Option(("--wait",), "", "wait until the step is finished"),
    Option(("--quiet",), "", "show no record"),
)
CELL_OPTIONS: tuple[Option, ...] = (
    *MAGIC_OPTIONS,
    Option(("--expand",), "", "expand {expr} in the body, too"),
)
POOL_OPTIONS: tuple[Option, ...] = (
    Option(("--tokens",), "a,b", "what the slots are called in the environment, instead of their numbers"),
    Option(("--per-machine",), "", "so many slots on each machine of a cluster, not over all of them"),
    Option(("--drop",), "", "forget the pool; steps that ask for it wait"),
)

Names = Mapping[str, Any]


def help_of(table: Sequence[Option]) -> str:
    """Return the options as lines of a help text."""
    rows = []
    for option in table:
        flags = ", ".join(option.flags) + (f" {option.metavar}" if option.metavar else "")
        rows.append((flags + " ..." if option.is_list else flags, option.help))
    return _aligned(rows, 28)


def _aligned(rows: Iterable[tuple[str, str]], width: int) -> str:
    """Return what and help side by side, or one below the other where the first is wide."""
    return "\n".join(
        f"  {what:<{width}} {help}" if len(what) <= width else f"  {what}\n{'':<{width + 3}}{help}"
        for what, help in rows
    )


def first_word(command: str) -> list[str]:
    """Return the first word of a command, if it has one; what is wrong with its quotes is told when it runs."""
    try:
        return shlex.split(command)[:1]
    except ValueError:
        return []


@magics_class
class StepUpMagics(Magics):
    """``%pool``, ``%runsh``, ``%runpy``, ``%static`` and ``%stepup``, the cell magics among them."""

    def __init__(self, extension: Extension) -> None:
        super().__init__(extension.ip)
        self.extension = extension

    def _expanded(self, line: str, magic: str, local_ns: Names | None) -> str:
        names = ChainMap(dict(local_ns or {}), self.extension.ip.user_ns)
        return expand(without_silencer(line), names, magic=magic)

    # --- %pool ---------------------------------------------------------------------------------

    @no_var_expand
    @needs_local_scope
    @line_magic
    def pool(self, line: str, local_ns: Names | None = None) -> None:
        """Define a pool, resize it while steps run, or list all pools.

        ::

          %pool                          the table of pools
          %pool test 2                   two slots: at most two steps of this pool run at once
          %pool test 0                   closed: its steps wait
          %pool test none                no limit
          %pool gpu 2 --tokens 0,1       $STEPUP_POOL_GPU in a step is 0 or 1
          %pool mem 16 --per-machine     sixteen slots on each machine of a cluster
          %pool test --drop              forget it

        Making a pool smaller stops nothing: nothing new starts until it fits.
        """
        session = self.extension.begin_session()
        found = parse_words(self._expanded(line, "%pool", local_ns), POOL_OPTIONS, magic="%pool")
        if not found.words:
            if found.options:
                raise UsageError("SNB-109", "Which pool?", "", "write '%pool NAME SIZE'")
            show_page(self.extension, show.pools_page(session.status()["pools"]))
            return
        name, *sizes = found.words
        if len(sizes) > 1:
            raise UsageError("SNB-109", f"'{sizes[1]}' is too much.", "", "write '%pool NAME SIZE'")
        if found.options.get("drop"):
            session.drop_pool(name)
            print(f"pool {name}: dropped")
            return
        if sizes:
            tokens = found.options.get("tokens")
            words = tokens.split(",") if tokens else ()
            is_per_machine = True if found.options.get("per_machine") else None
            for note in session.pool(name, sizes[0], words, is_per_machine)["notes"]:
                print(ansi.visible(note))
        pools = {row["name"]: row for row in session.status()["pools"]}
        if name not in pools:
            raise UsageError(
                "SNB-109",
                f"There is no pool '{name}'{did_you_mean(name, pools) or '.'}",
                "",
                f"write '%pool {name} 2' for one with two slots",
            )
        if sizes:
            self.extension.show_pool(pools[name])
        else:
            print(show.pool_words(pools[name]))

    # --- %runsh --------------------------------------------------------------------------------

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def runsh(self, line: str, cell: str | None = None, local_ns: Names | None = None) -> StepHandle | None:
        """Declare a step that runs a shell command, and return at once.

        In a line, the command follows the options; the handle is returned::

          %runsh -p test -i a.txt -o b.txt -- sort a.txt > b.txt
          h = %runsh sleep 1

        As a cell, the rest of the cell is a script for 'bash -eo pipefail', where a failing line fails the step::

          %%runsh --pool test --out a.txt
          sleep 1
          echo A > a.txt

        {expr} on the line is replaced by the value of a Python expression ({{ and }} are plain braces).
        ${inp}, ${out} and ${vol} become the declared paths.

        Options, which come first ('--' ends them):

        OPTIONS
        """
        if cell is None:
            found = parse(self._expanded(line, "%runsh", local_ns), MAGIC_OPTIONS, magic="%runsh")
            handle = self._declare(found.rest, found)
            return None if is_silenced(line) else handle
        found = parse(self._expanded(line, "%%runsh", local_ns), CELL_OPTIONS, magic="%%runsh")
        if found.rest:
            raise UsageError(
                "SNB-109",
                f"'{found.rest}' stands where only options may be.",
                "the command of '%%runsh' is the rest of the cell",
                "put it on the next line, or use '%runsh' for a command of one line",
            )
        if found.options.pop("expand", False):
            names = ChainMap(dict(local_ns or {}), self.extension.ip.user_ns)
            cell = expand(cell, names, magic="%%runsh")
        if "shell" not in found.options:
            found.options["shell"] = SCRIPT_SHELL if shutil.which("bash") else PLAIN_SCRIPT_SHELL
        self._declare(cell, found)
        return None

    def _declare(self, command: str, found: Line, action: str = "runsh") -> StepHandle:
        options = dict(found.options)
        variable, is_waiting = options.pop("var", None), options.pop("wait", False)
        if variable is not None and not str(variable).isidentifier():
            raise UsageError("SNB-109", f"'{variable}' is no name of a variable.", "", "write '--var NAME'")
        with self.extension.quietly(options.pop("quiet", False)):
            handle = self.extension.begin_session().declare(action, command, **options)
        if variable is not None:
            self.extension.ip.user_ns[variable] = handle
        if not self.extension.has_front_end:
            for note in handle.notes:
                print(ansi.visible(note))
        if is_waiting:
            check(self.extension.wait([handle.name], None))
        return handle

    runsh.__doc__ = inspect.cleandoc(str(runsh.__doc__)).replace("OPTIONS", help_of(CELL_OPTIONS))

    # --- %runpy --------------------------------------------------------------------------------

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def runpy(self, line: str, cell: str | None = None, local_ns: Names | None = None) -> StepHandle | None:
        r"""Declare a step that runs Python in a process of its own, and return at once.

        In a line, a script with its arguments follows the options; the handle is returned::

          %runpy -p test -o a.txt -- ./make.py --size 3

        As a cell, the rest of the cell is the program, run by this kernel's own interpreter::

          %%runpy --out squares.txt
          with open("squares.txt", "w") as file:
              file.writelines(f"{i * i}\n" for i in range(10))

        Nothing of the notebook's variables is in it: what goes in and out are files. The script, and every module
        of the project that it imports, are inputs by themselves; which these are is known once it has run.

        Options, which come first ('--' ends them):

        OPTIONS
        """
        if cell is None:
            found = parse(self._expanded(line, "%runpy", local_ns), MAGIC_OPTIONS, magic="%runpy")
            found.options.setdefault("inp", []).extend(first_word(found.rest))
            handle = self._declare(found.rest, found, "runpy")
            return None if is_silenced(line) else handle
        found = parse(self._expanded(line, "%%runpy", local_ns), CELL_OPTIONS, magic="%%runpy")
        if found.rest:
            raise UsageError(
                "SNB-109",
                f"'{found.rest}' stands where only options may be.",
                "the program of '%%runpy' is the rest of the cell",
                "put it on the next line, or use '%runpy' for a script",
            )
        if found.options.pop("expand", False):
            names = ChainMap(dict(local_ns or {}), self.extension.ip.user_ns)
            cell = expand(cell, names, magic="%%runpy")
        found.options["shell"] = PYTHON_CODE
        self._declare(cell, found, "runpy")
        return None

    runpy.__doc__ = inspect.cleandoc(str(runpy.__doc__)).replace("OPTIONS", help_of(CELL_OPTIONS))

    # --- %static -------------------------------------------------------------------------------

    @no_var_expand
    @needs_local_scope
    @line_magic
    def static(self, line: str, local_ns: Names | None = None) -> None:
        """Declare files that exist and that no step may build; patterns are expanded.

        ::

          %static data.csv src/*.py
        """
        paths = parse_words(self._expanded(line, "%static", local_ns), (), magic="%static").words
        if not paths:
            raise UsageError("SNB-109", "'%static' needs a path.", "", "write '%static data.csv'")
        self.extension.begin_session().static(*paths)

    # --- %stepup -------------------------------------------------------------------------------

    @no_var_expand
    @needs_local_scope
    @line_magic
    def stepup(self, line: str, local_ns: Names | None = None) -> Any:
        """See and steer the steps of this notebook.

        VERBS

        STEP is a step's name, or a unique part of it. For instance, to see what is there, and to run a
        step again with all that depends on it::

          %stepup status
          %stepup rerun cut
        """
        word, *rest = without_silencer(line).split(None, 1) or [""]
        if not word:
            show_page(
                self.extension,
                [show.Table(("", ""), [(f"%stepup {v.usage}", v.help) for v in VERBS.values()], code=())],
            )
            return None
        verb = VERBS.get(word)
        if verb is None:
            hint = did_you_mean(word, VERBS) or "."
            raise UsageError(
                "SNB-109", f"'%stepup' cannot '{word}'{hint or '.'}", "", "'%stepup' alone lists what it can"
            )
        magic = f"%stepup {word}"
        found = parse_words(self._expanded("".join(rest), magic, local_ns), verb.options, magic=magic)
        if verb.most is not None and len(found.words) > verb.most:
            raise UsageError(
                "SNB-109", f"'{found.words[verb.most]}' is too much for '{magic}'.", "", "leave it out"
            )
        if len(found.words) < verb.least and not found.options:
            raise UsageError(
                "SNB-109",
                f"'{magic}' needs the name of a step{' or an option' if verb.options else ''}.",
                "'%stepup status' lists all steps",
                f"write '%stepup {verb.usage}'",
            )
        return verb.run(Verbs(self.extension), found)


StepUpMagics.stepup.__doc__ = inspect.cleandoc(str(StepUpMagics.stepup.__doc__)).replace(
    "VERBS", _aligned([(f"%stepup {verb.usage}", verb.help) for verb in VERBS.values()], 34)
)
