"""The magics: parse the line, make one call of the session, show the answer. No logic.

Their docstrings are what ``%runsh?`` shows; the lists of options in them come from the one table in
`core.declare`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
    output_can_be_silenced,
)

from stepup_nb.client.handles import StepHandle
from stepup_nb.client.session import check
from stepup_nb.core.declare import OPTIONS, PLAIN_SCRIPT_SHELL, SCRIPT_SHELL, Option
from stepup_nb.core.errors import StepsFailed, UsageError
from stepup_nb.core.words import counted, did_you_mean
from stepup_nb.notebook import ansi, show
from stepup_nb.notebook.extension import Extension
from stepup_nb.notebook.options import Line, expand, parse, words

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
    Option(("--drop",), "", "forget the pool; steps that ask for it wait"),
)
WAIT_OPTIONS: tuple[Option, ...] = (
    Option(("--timeout",), "S", "stop waiting after so many seconds; the steps go on"),
    Option(("--no-raise",), "", "raise nothing when steps did not succeed"),
)


def help_of(table: Sequence[Option]) -> str:
    """Return the options as lines of a help text."""
    lines = []
    for option in table:
        left = ", ".join(option.flags) + (f" {option.metavar}" if option.metavar else "")
        if option.is_list:
            left += " ..."
        lines.append(f"  {left:<28} {option.help}" if len(left) <= 28 else f"  {left}\n{'':<31}{option.help}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class WaitLine:
    """What ``%stepup wait`` was asked for."""

    steps: list[str] | None
    timeout: float | None
    is_raising: bool

    @staticmethod
    def parse(line: str, extension: Extension) -> WaitLine:
        """Read the arguments, options before or after the steps."""
        text = expand(_bare(line), extension.ip.user_ns, magic="%stepup wait")
        options: dict[str, Any] = {}
        steps: list[str] = []
        while text:
            found = parse(text, WAIT_OPTIONS, magic="%stepup wait")
            options |= found.options
            names = words(found.rest, magic="%stepup wait")
            if not names:
                break
            steps.append(names[0])
            text = found.rest[_length_of_first(found.rest) :]
        timeout = options.get("timeout")
        try:
            seconds = None if timeout is None else float(timeout)
        except ValueError:
            raise UsageError(
                "SNB-113", f"'{timeout}' is no time.", "", "give seconds, as in '--timeout 30'"
            ) from None
        return WaitLine(steps or None, seconds, "no-raise" not in options)

    def finish(self, report: dict[str, Any]) -> None:
        """Raise what the report calls for, unless that is not wanted."""
        try:
            check(report)
        except (StepsFailed, TimeoutError) as error:
            if self.is_raising:
                raise
            print(ansi.to_text(str(error)))


def _length_of_first(text: str) -> int:
    length = 0
    while length < len(text):
        length += 1
        try:
            if len(words(text[:length] + "\0", magic="%stepup wait")) > 1:
                return length
        except UsageError:
            continue
    return length


def _bare(line: str) -> str:
    """Return a magic's line without the ``;`` that silences its value."""
    line = line.strip()
    return line[:-1].rstrip() if line.endswith(";") else line


@magics_class
class StepUpMagics(Magics):
    """``%pool``, ``%runsh``, ``%%runsh``, ``%static`` and ``%stepup``."""

    def __init__(self, extension: Extension) -> None:
        super().__init__(extension.ip)
        self.extension = extension

    def _expanded(self, line: str, magic: str) -> str:
        return expand(_bare(line), self.extension.ip.user_ns, magic=magic)

    # --- %pool ---------------------------------------------------------------------------------

    @output_can_be_silenced
    @no_var_expand
    @line_magic
    def pool(self, line: str) -> None:
        """Define a pool, resize it while steps run, or list all pools.

        ::

          %pool                          the table of pools
          %pool test 2                   two slots: at most two steps of this pool run at once
          %pool test 0                   closed: its steps wait
          %pool test none                no limit
          %pool gpu 2 --tokens 0,1       $STEPUP_POOL_GPU in a step is 0 or 1
          %pool test --drop              forget it

        Making a pool smaller stops nothing: nothing new starts until it fits.
        """
        session = self.extension.begin_session()
        text = self._expanded(line, "%pool")
        given = words(text, magic="%pool")
        if not given:
            print(show.pools(session.status()["pools"]))
            return
        name, rest = given[0], text[_length_of_first(text) :]
        size = None
        options: dict[str, Any] = {}
        while rest.strip():
            found = parse(rest, POOL_OPTIONS, magic="%pool")
            options |= found.options
            more = words(found.rest, magic="%pool")
            if more and size is not None:
                raise UsageError("SNB-109", f"'{more[0]}' is too much.", "", "write '%pool NAME SIZE'")
            if not more:
                break
            size, rest = more[0], found.rest[_length_of_first(found.rest) :]
        if options.get("drop"):
            session.drop_pool(name)
            print(f"pool {name}: dropped")
            return
        if size is None:
            found_pools = {row["name"]: row for row in session.status()["pools"]}
            if name not in found_pools:
                hint = did_you_mean(name, found_pools)
                raise UsageError(
                    "SNB-109",
                    f"'%pool {name}' has no size{hint}",
                    "",
                    f"write '%pool {name} 2' for two slots",
                )
            print(show.pool_words(found_pools[name]))
            return
        tokens = options.get("tokens")
        answer = session.pool(name, size, tokens.split(",") if tokens else ())
        for note in answer["notes"]:
            print(note)
        row = next(row for row in session.status()["pools"] if row["name"] == name)
        print(show.pool_words(row))

    # --- %runsh --------------------------------------------------------------------------------

    @output_can_be_silenced
    @no_var_expand
    @line_cell_magic
    def runsh(self, line: str, cell: str | None = None) -> StepHandle | None:
        if cell is None:
            found = parse(self._expanded(line, "%runsh"), MAGIC_OPTIONS, magic="%runsh")
            return self._declare(found.rest, found)
        found = parse(self._expanded(line, "%%runsh"), CELL_OPTIONS, magic="%%runsh")
        if found.rest:
            raise UsageError(
                "SNB-109",
                f"'{found.rest}' stands where only options may be.",
                "the command of '%%runsh' is the rest of the cell",
                "put it on the next line, or use '%runsh' for a command of one line",
            )
        if found.options.pop("expand", False):
            cell = expand(cell, self.extension.ip.user_ns, magic="%%runsh")
        if "shell" not in found.options:
            found.options["shell"] = SCRIPT_SHELL if shutil.which("bash") else PLAIN_SCRIPT_SHELL
        self._declare(cell, found)
        return None

    def _declare(self, command: str, found: Line) -> StepHandle:
        options = dict(found.options)
        variable, is_waiting = options.pop("var", None), options.pop("wait", False)
        if variable is not None and not str(variable).isidentifier():
            raise UsageError("SNB-109", f"'{variable}' is no name of a variable.", "", "write '--var NAME'")
        if options.pop("quiet", False):
            self.extension.quiet()
        handle = self.extension.begin_session().declare("runsh", command, **options)
        if variable is not None:
            self.extension.ip.user_ns[variable] = handle
        if not self.extension.has_front_end:
            for note in handle.notes:
                print(note)
        if is_waiting:
            check(self.extension.wait([handle.name], None))
        return handle

    runsh.__doc__ = f"""Declare a step that runs a shell command, and return at once.

    In a line, the command follows the options; the handle is returned::

      %runsh -p test -i a.txt -o b.txt -- sort a.txt > b.txt
      h = %runsh sleep 1

    As a cell, the rest of the cell is a script for 'bash -eo pipefail', where a failing line fails the step::

      %%runsh --pool test --out a.txt
      sleep 1
      echo A > a.txt

    {{expr}} on the line is replaced by the value of a Python expression ({{{{ and }}}} are plain braces).
    ${{inp}}, ${{out}} and ${{vol}} become the declared paths.

    Options, which come first ('--' ends them):

{help_of(CELL_OPTIONS)}
    """

    # --- %static -------------------------------------------------------------------------------

    @no_var_expand
    @line_magic
    def static(self, line: str) -> None:
        """Declare files that exist and that no step may build; patterns are expanded.

        ::

          %static data.csv src/*.py
        """
        paths = words(self._expanded(line, "%static"), magic="%static")
        if not paths:
            raise UsageError("SNB-109", "'%static' needs a path.", "", "write '%static data.csv'")
        self.extension.begin_session().static(*paths)

    # --- %stepup -------------------------------------------------------------------------------

    @output_can_be_silenced
    @no_var_expand
    @line_magic
    def stepup(self, line: str) -> Any:
        text = _bare(line)
        verb, _, rest = text.partition(" ")
        if not verb:
            print(VERBS_HELP)
            return None
        call = VERBS.get(verb)
        if call is None:
            hint = did_you_mean(verb, VERBS)
            raise UsageError(
                "SNB-109", f"'%stepup' cannot '{verb}'{hint}", "", "'%stepup' alone lists what it can"
            )
        return call.run(self, expand(rest, self.extension.ip.user_ns, magic=f"%stepup {verb}"))

    def _names(self, verb: str, text: str, *, least: int = 1) -> list[str]:
        names = words(text, magic=f"%stepup {verb}")
        if len(names) < least:
            raise UsageError(
                "SNB-109",
                f"'%stepup {verb}' needs the name of a step.",
                "",
                "'%stepup status' lists all steps",
            )
        return names

    def _nothing_more(self, verb: str, text: str) -> None:
        if text.strip():
            raise UsageError(
                "SNB-109", f"'{text.strip()}' is too much for '%stepup {verb}'.", "", "leave it out"
            )

    def _status(self, text: str) -> Any:
        status = self.extension.begin_session().status()
        if text.strip() == "--json":
            print(json.dumps(status, indent=1))
            return
        self._nothing_more("status", text)
        print(show.status(status))

    def _wait(self, text: str) -> None:
        asked = WaitLine.parse(text, self.extension)
        asked.finish(self.extension.wait(asked.steps, asked.timeout))

    def _why(self, text: str) -> None:
        for name in self._names("why", text):
            print(show.why(self.extension.begin_session().why(name)))

    def _log(self, text: str) -> None:
        session = self.extension.begin_session()
        for name in self._names("log", text):
            for stream in ("stdout", "stderr"):
                kept = session.log(name, stream)
                if kept:
                    print(f"── {stream} of {ansi.one_line(name, 80)}")
                    print(ansi.to_text(ansi.decode(kept)))

    def _history(self, text: str) -> None:
        self._nothing_more("history", text)
        print(show.history(self.extension.begin_session().history()))

    def _run(self, text: str) -> None:
        self._nothing_more("run", text)
        self.extension.begin_session().run()

    def _drain(self, text: str) -> None:
        self._nothing_more("drain", text)
        self.extension.begin_session().drain()
        print("draining: running steps finish, nothing new starts until '%stepup run'")

    def _cancel(self, text: str) -> None:
        session = self.extension.begin_session()
        if text.strip() == "--all":
            found = session.cancel(all=True)
        else:
            found = session.cancel(*self._names("cancel", text))
        print(f"cancelled {counted(len(found), 'step')}")

    def _rerun(self, text: str) -> None:
        session = self.extension.begin_session()
        if text.strip() in ("--failed", "--all"):
            found = session.rerun(failed="failed" in text, all="all" in text)
        else:
            found = session.rerun(*self._names("rerun", text))
        print(f"{counted(len(found), 'step')} to run again")

    def _workers(self, text: str) -> None:
        if not text.strip():
            print(counted(self.extension.begin_session().status()["workers"], "worker"))
            return
        if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
            raise UsageError(
                "SNB-109", f"'{text.strip()}' is no number of workers.", "", "give a whole number from 1"
            )
        self.extension.begin_session().set_workers(int(text))

    def _pause(self, text: str) -> None:
        self.extension.begin_session().pause(text.strip() or None)

    def _resume(self, text: str) -> None:
        self.extension.begin_session().resume(text.strip() or None)

    def _clean(self, text: str) -> None:
        is_dry = text.strip() == "--dry-run"
        if not is_dry:
            self._nothing_more("clean", text)
        found = self.extension.begin_session().clean(dry_run=is_dry)
        for path in found["removed"]:
            print(f"{'would remove' if is_dry else 'removed'} {ansi.one_line(path, 200)}")
        for row in found["kept"]:
            print(f"kept {ansi.one_line(row['path'], 200)}: {row['why']}")
        if not found["removed"] and not found["kept"]:
            print("no outdated outputs")

    def _forget(self, text: str) -> None:
        found = self.extension.begin_session().forget(*self._names("forget", text))
        print(f"forgot {counted(len(found), 'step')}")

    def _notebook(self, text: str) -> None:
        names = words(text, magic="%stepup notebook")
        if len(names) > 1:
            self._nothing_more("notebook", names[1])
        found = self.extension.use_notebook(names[0]) if names else self.extension.place()
        print(f"{found.notebook or 'no notebook'} ({found.how}); database {found.database}")

    def _trust(self, text: str) -> None:
        self._nothing_more("trust", text)
        found = self.extension.begin_session().trust()
        print(f"the results of {counted(len(found), 'step')} are believed from now on")

    def _doctor(self, text: str) -> None:
        self._nothing_more("doctor", text)
        print(show.table(("what", "found"), self.extension.doctor(), widest=400))


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that ``%stepup`` can do."""

    usage: str
    help: str
    run: Callable[[StepUpMagics, str], Any]


VERBS: dict[str, Verb] = {
    "status": Verb(
        "status [--json]", "pools, and all steps with their state and reason", StepUpMagics._status
    ),
    "wait": Verb(
        "wait [STEP ...] [--timeout S] [--no-raise]",
        "wait until the steps are finished, or nothing can move any more",
        StepUpMagics._wait,
    ),
    "why": Verb("why STEP", "why it ran, runs or waits", StepUpMagics._why),
    "log": Verb("log STEP", "all that its last job printed", StepUpMagics._log),
    "history": Verb("history", "the last jobs, of all sessions", StepUpMagics._history),
    "cancel": Verb(
        "cancel STEP ...|--all", "stop steps, with all processes they started", StepUpMagics._cancel
    ),
    "rerun": Verb("rerun STEP ...|--failed|--all", "run steps again", StepUpMagics._rerun),
    "pause": Verb("pause [POOL]", "start nothing new, in one pool or at all", StepUpMagics._pause),
    "resume": Verb("resume [POOL]", "end a pause", StepUpMagics._resume),
    "workers": Verb("workers [N]", "limit the steps running at once over all pools", StepUpMagics._workers),
    "run": Verb("run", "look at all files for changes, end a drain, and go on", StepUpMagics._run),
    "drain": Verb("drain", "let running steps finish, and start nothing new until run", StepUpMagics._drain),
    "clean": Verb("clean [--dry-run]", "remove outputs of steps that are gone", StepUpMagics._clean),
    "forget": Verb("forget STEP ...", "drop steps from graph and database", StepUpMagics._forget),
    "notebook": Verb("notebook [PATH]", "which notebook this is, or say it", StepUpMagics._notebook),
    "trust": Verb("trust", "believe results that were recorded elsewhere", StepUpMagics._trust),
    "doctor": Verb("doctor", "what stepup_nb found out about this machine and kernel", StepUpMagics._doctor),
}

VERBS_HELP = "\n".join(f"  %stepup {verb.usage:<44} {verb.help}" for verb in VERBS.values())

StepUpMagics.stepup.__doc__ = f"""See and steer the steps of this notebook.

{VERBS_HELP}

    STEP is a step's name, or a unique part of it.
    """

__all__ = ["StepUpMagics", "WaitLine", "cell_magic"]
