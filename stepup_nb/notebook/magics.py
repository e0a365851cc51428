"""The magics: parse the line, make one call of the session, show the answer. No logic.

Their docstrings are what ``%runsh?`` shows; the lists of options in them come from the one table in
`core.declare`.
"""

from __future__ import annotations

import inspect
import json
import os
import shlex
import shutil
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.display import publish_display_data

from stepup_nb.client.audit import MOST_MEGABYTES, Asked
from stepup_nb.client.exporting import export_plan
from stepup_nb.client.handles import StepHandle
from stepup_nb.client.machine import usable_cores, workers_from
from stepup_nb.client.session import check
from stepup_nb.core import graphs, public, races
from stepup_nb.core.declare import (
    OPTIONS,
    PLAIN_SCRIPT_SHELL,
    PYTHON_CODE,
    SCRIPT_SHELL,
    Option,
    whole_number,
)
from stepup_nb.core.errors import StepsFailed, UsageError
from stepup_nb.core.words import counted, did_you_mean
from stepup_nb.notebook import ansi, hints, report, show, timeline, written
from stepup_nb.notebook.extension import Extension
from stepup_nb.notebook.options import Line, expand, is_silenced, parse, parse_words, without_silencer

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
WAIT_OPTIONS: tuple[Option, ...] = (
    Option(("--timeout",), "S", "stop waiting after so many seconds; the steps go on"),
    Option(("--no-raise",), "", "raise nothing when steps did not succeed"),
)

AUDIT_OPTIONS: tuple[Option, ...] = (
    Option(("-p", "--pool"), "NAME=1,4", "a pool, and the sizes to compare (repeatable)", is_repeated=True),
    Option(("--repeat",), "N", "runs with each size, since races are a matter of chance (default 1)"),
    Option(("--workers",), "N", "steps running at once (default: as in the session, or the largest size)"),
    Option(("--most",), "MB", f"copy a project of so many megabytes at most (default {MOST_MEGABYTES})"),
    Option(("--allow-absolute",), "", "run steps that name the project's folder, too"),
    Option(("--keep",), "", "leave the copies where they are, and say where"),
)

WHATIF_OPTIONS: tuple[Option, ...] = (
    Option(
        ("--pool",),
        "NAME=SIZES",
        "a pool, and sizes for it: 4, 1..8, or 1,2,4 (repeatable)",
        is_repeated=True,
    ),
    Option(("--workers",), "SIZES", "numbers of workers, likewise"),
    Option(("--json",), "", "as data"),
    Option(("--save",), "FILE", "write the plot of the speed-up into a file"),
    Option(("--force",), "", "replace a file that is no such plot"),
)

LOG_SHOWN = 200_000
"""Characters of the end of one stream that ``%stepup log`` prints: browsers have died of more."""

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


@dataclass(frozen=True, slots=True)
class WaitLine:
    """What ``%stepup wait`` was asked for."""

    steps: list[str] | None
    timeout: float | None
    is_raising: bool

    @staticmethod
    def parse(line: str, names: Names) -> WaitLine:
        """Read the arguments, options before or after the steps."""
        magic = "%stepup wait"
        found = parse_words(expand(without_silencer(line), names, magic=magic), WAIT_OPTIONS, magic=magic)
        return WaitLine.of(found)

    @staticmethod
    def of(found: Line) -> WaitLine:
        """Return what a line asks for."""
        timeout = found.options.get("timeout")
        try:
            seconds = None if timeout is None else float(timeout)
        except ValueError:
            seconds = -1.0
        if seconds is not None and not 0.0 <= seconds < 1e9:
            raise UsageError("SNB-113", f"'{timeout}' is no time.", "", "give seconds, as in '--timeout 30'")
        return WaitLine(list(found.words) or None, seconds, "no-raise" not in found.options)

    def finish(self, report: dict[str, Any]) -> None:
        """Raise what the report calls for, unless that is not wanted."""
        try:
            check(report)
        except (StepsFailed, TimeoutError) as error:
            if self.is_raising:
                raise
            print(error)


def audit_asked(line: str, names: Names) -> Asked:
    """Read the arguments of ``%stepup audit``."""
    magic = "%stepup audit"
    return audit_of(
        parse_words(expand(without_silencer(line), names, magic=magic), AUDIT_OPTIONS, magic=magic)
    )


def audit_of(found: Line) -> Asked:
    """Return what a line asks for."""
    options = found.options

    def number(option: str, default: int | None) -> int | None:
        if option not in options:
            return default
        return whole_number(options[option], f"number for '--{option}'", least=1)

    return Asked(
        pools=races.read_pools(options.get("pool", ())),
        steps=found.words or None,
        repeat=number("repeat", 1) or 1,
        workers=number("workers", None),
        keep="keep" in options,
        most=number("most", MOST_MEGABYTES) or 1,
        allow_absolute="allow-absolute" in options,
    )


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
            self._show(show.pools_page(session.status()["pools"]))
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
            self._show(
                [show.Table(("", ""), [(f"%stepup {v.usage}", v.help) for v in VERBS.values()], code=())]
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
        return verb.run(self, found)

    def _show(self, page: show.Page) -> None:
        """Show a page in the executing cell, or as text on a terminal."""
        if self.extension.has_front_end:
            publish_display_data({"text/plain": show.text(page), "text/html": show.html(page)})
        else:
            print(show.text(page))

    def _status(self, line: Line) -> None:
        status = self.extension.begin_session().status()
        if line.options:
            print(json.dumps(public.status(status), indent=1))
        else:
            self._show(show.status_page(status))

    def _wait(self, line: Line) -> None:
        asked = WaitLine.of(line)
        asked.finish(self.extension.wait(asked.steps, asked.timeout))

    def _audit(self, line: Line) -> None:
        self.extension.audit(audit_of(line))

    def _export(self, line: Line) -> None:
        path = line.words[0] if line.words else "plan.py"
        warnings = export_plan(
            self.extension.begin_session(),
            path,
            stepup=line.options.get("stepup", 3),
            force="force" in line.options,
        )
        print(f"wrote {ansi.one_line(path, 200)}")
        for warning in warnings:
            print(f"  note: {ansi.visible(warning)}")

    def _why(self, line: Line) -> None:
        for name in line.words:
            print(show.why(self.extension.begin_session().why(name)))

    def _log(self, line: Line) -> None:
        session = self.extension.begin_session()
        for row in session.rows(line.words):
            is_empty = True
            for stream in ("stdout", "stderr"):
                kept = ansi.decode(session.log(row["name"], stream))
                if kept:
                    is_empty = False
                    print(show.log(row, stream, kept, most=LOG_SHOWN))
            if is_empty:
                is_new = row["job"] is None
                print(
                    f"{ansi.one_line(row['label'], 80)}: {'no job ran yet' if is_new else 'printed nothing'}"
                )

    def _history(self, line: Line) -> None:
        self._show(show.history_page(self.extension.begin_session().history()))

    def _whatif(self, line: Line) -> None:
        from stepup_nb.core import whatif
        from stepup_nb.notebook.whatif import MARK, bundle, is_plotted, plot, without_collecting

        pools: dict[str, whatif.Sizes] = {}
        for text in line.options.get("pool", ()):
            name, sizes = whatif.pool_sizes(text)
            pools[name] = tuple(dict.fromkeys((*pools.get(name, ()), *sizes)))
        numbers = line.options.get("workers")
        workers = () if numbers is None else whatif.sizes_of(numbers, of="the workers")
        session = self.extension.begin_session()
        with without_collecting():
            found = whatif.sweep(whatif.Known.of(session.workload()), pools, workers)
        if "json" in line.options:
            print(json.dumps(found.to_json(), indent=1))
            return
        if "save" in line.options:
            path = written.named(session.place.root, str(line.options["save"]), (".svg",))
            if not is_plotted(found):
                raise UsageError(
                    "SNB-109", "There is nothing to plot.", "", "give several sizes: --pool NAME=1..8"
                )
            written.write(path, plot(found, file=True), MARK, force="force" in line.options)
            print(f"wrote {ansi.one_line(str(line.options['save']), 200)}")
            return
        shown = bundle(found)
        if self.extension.has_front_end:
            publish_display_data(shown)
        else:
            print(shown["text/plain"])

    def _run(self, line: Line) -> None:
        self.extension.begin_session().run()

    def _drain(self, line: Line) -> None:
        self.extension.begin_session().drain()
        print("draining: running steps finish, nothing new starts until '%stepup run'")

    def _cancel(self, line: Line) -> None:
        is_all = bool(line.options)
        found = self.extension.begin_session().cancel(*([] if is_all else line.words), all=is_all)
        print(f"cancelled {counted(len(found), 'step')}")

    def _rerun(self, line: Line) -> None:
        names = [] if line.options else line.words
        found = self.extension.begin_session().rerun(
            *names, failed="failed" in line.options, all="all" in line.options
        )
        print(f"{counted(len(found), 'step')} to run again")

    def _workers(self, line: Line) -> None:
        session = self.extension.begin_session()
        for word in line.words:
            if not word.isascii() or not word.isdigit() or int(word) < 1:
                raise UsageError(
                    "SNB-109", f"'{word}' is no number of workers.", "", "give a whole number from 1"
                )
            session.set_workers(int(word))
        print(counted(session.status()["workers"], "worker"))

    def _executor(self, line: Line) -> None:
        session = self.extension.begin_session()
        if line.words:
            answer = session.executor(*line.words, plain=line.options.get("plain", False))
        else:
            answer = session.where()
        print(show.executor(answer, os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "")))

    def _pause(self, line: Line) -> None:
        self.extension.begin_session().pause(*line.words)
        what = f"pool {line.words[0]}" if line.words else "all"
        print(f"paused {what}: running steps finish, nothing new starts until '%stepup resume'")

    def _resume(self, line: Line) -> None:
        self.extension.begin_session().resume(*line.words)

    def _clean(self, line: Line) -> None:
        is_dry = bool(line.options)
        found = self.extension.begin_session().clean(dry_run=is_dry)
        for path in found["removed"]:
            print(f"{'would remove' if is_dry else 'removed'} {ansi.one_line(path, 200)}")
        for row in found["kept"]:
            print(f"kept {ansi.one_line(row['path'], 200)}: {ansi.one_line(row['why'], 200)}")
        if not found["removed"] and not found["kept"]:
            print("no outdated outputs")

    def _boot(self, line: Line) -> None:
        session = self.extension.begin_session()
        if "num-workers" in line.options:
            number = workers_from(str(line.options["num-workers"]), usable_cores())
            if number is None:
                raise UsageError(
                    "SNB-109",
                    f"'{line.options['num-workers']}' is no number of workers.",
                    "",
                    "give a count such as 4, or a multiple of the cores such as 1.5",
                )
            session.set_workers(number)
        handle = session.boot(line.words[0] if line.words else "plan.py")
        if not self.extension.has_front_end:
            print(f"booting {ansi.one_line(handle.name, 200)}")

    def _watch(self, line: Line) -> None:
        by = self.extension.begin_session().watch({"on": True, "off": False}.get(line.words[0]))
        if line.words[0] == "on":
            ways = {"events": "what the system tells of files", "scan": "looking at all files every second"}
            print(f"watching, by {ways.get(by, by)}: what depends on a changed file runs again by itself")
        else:
            print("not watching any more")

    def _graph(self, line: Line) -> None:
        session = self.extension.begin_session()
        kind: graphs.Kind = "provenance" if "provenance" in line.options else "dependency"
        if line.words:
            # As `graph()` does: three files.
            from stepup_nb.client.pictures import write

            for name in write(session.nodes(), os.fspath(Path(session.place.root) / line.words[0])):
                print(f"wrote {ansi.one_line(name, 200)}")
            return
        nodes = session.nodes()
        if "dot" in line.options:
            dot = graphs.provenance_dot if kind == "provenance" else graphs.dependency_dot
            print(ansi.visible(dot(nodes)), end="")
        elif "text" in line.options or not self.extension.has_front_end:
            print(ansi.visible(graphs.outline(nodes, kind)), end="")
        else:
            from stepup_nb.notebook.graph_view import bundle

            publish_display_data(dict(bundle(nodes, kind)))

    def _forget(self, line: Line) -> None:
        found = self.extension.begin_session().forget(*line.words)
        print(f"forgot {counted(len(found), 'step')}")

    def _notebook(self, line: Line) -> None:
        found = self.extension.use_notebook(line.words[0]) if line.words else self.extension.place()
        print(ansi.visible(f"{found.notebook or 'no notebook'} ({found.how}); database {found.database}"))

    def _trust(self, line: Line) -> None:
        found = self.extension.begin_session().trust()
        print(f"the results of {counted(len(found), 'step')} are believed from now on")

    def _panel(self, line: Line) -> None:
        if self.extension.has_front_end:
            self.extension.show_panel("compact" if line.options else "full")
        else:
            self._status(Line())

    def _freeze(self, line: Line) -> None:
        number = self.extension.freeze()
        print(f"turned {counted(number, 'panel')} into pictures" if number else "no panel is shown")

    def _narrate(self, line: Line) -> None:
        is_on = {"on": True, "off": False}.get(line.words[0])
        if is_on is None:
            raise UsageError(
                "SNB-109",
                "Narrate, or not?",
                "",
                "write '%stepup narrate on' or '%stepup narrate off'",
            )
        if not self.extension.has_front_end:
            print("sentences that come while steps run need a notebook; '%stepup why STEP' tells of one step")
        elif not self.extension.narrate(is_on) and not is_on:
            print("nothing is narrated")

    def _timeline(self, line: Line) -> None:
        session = self.extension.begin_session()
        jobs, now = timeline.recent(session.history()), time.time()
        labels = {row["name"]: row["label"] for row in session.status()["steps"]}
        if "save" in line.options:
            path = written.named(session.place.root, str(line.options["save"]), (".svg",))
            if jobs:
                drawing = timeline.draw(jobs, labels, now, file=True)
                written.write(path, drawing, timeline.MARK, force="force" in line.options)
                print(f"wrote {ansi.one_line(str(line.options['save']), 200)}")
                return
        if not jobs:
            print("No job ran yet.")
        elif self.extension.has_front_end:
            drawn = timeline.draw(jobs, labels, now)
            publish_display_data({"text/plain": timeline.text(jobs, labels, now), "text/html": drawn})
        else:
            print(timeline.text(jobs, labels, now))

    def _report(self, line: Line) -> None:
        if not line.words:
            raise UsageError("SNB-109", "Where to?", "", "write '%stepup report out.html'")
        report.save(self.extension.begin_session(), line.words[0], force="force" in line.options)
        print(f"wrote {ansi.one_line(line.words[0], 200)}")

    def _hints(self, line: Line) -> None:
        found, machine = hints.of_session(self.extension.begin_session(), *line.words)
        self._show(hints.page(found, machine))

    def _doctor(self, line: Line) -> None:
        self._show([show.Table(("what", "found"), self.extension.doctor(), widest=400, code=())])


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that ``%stepup`` can do."""

    usage: str
    help: str
    run: Callable[[StepUpMagics, Line], Any]
    options: tuple[Option, ...] = ()
    words: str = ""
    """What its words are: STEP, POOL, PATH, or N."""
    least: int = 0
    """Words that it needs, unless an option stands for them."""
    most: int | None = 0
    """Words that it takes; None: any number."""


def _switch(flag: str, help: str) -> Option:
    return Option((flag,), "", help)


VERBS: dict[str, Verb] = {
    "status": Verb(
        "status [--json]",
        "pools, and all steps with their state and reason",
        StepUpMagics._status,
        (_switch("--json", "as data"),),
    ),
    "panel": Verb(
        "panel [--compact]",
        "the live panel: pools, steps, timeline, graph and output, with their controls",
        StepUpMagics._panel,
        (_switch("--compact", "in one line, for slides"),),
    ),
    "freeze": Verb("freeze", "turn the panels into pictures that stay in the notebook", StepUpMagics._freeze),
    "wait": Verb(
        "wait [STEP ...] [--timeout S] [--no-raise]",
        "wait until the steps are finished, or nothing can move any more",
        StepUpMagics._wait,
        WAIT_OPTIONS,
        words="STEP",
        most=None,
    ),
    "audit": Verb(
        "audit --pool NAME=1,4 [STEP ...] [--repeat N] [--workers N] [--most MB] [--allow-absolute] [--keep]",
        "run steps from scratch with each size, in copies of the project, and list what comes out differently",
        StepUpMagics._audit,
        AUDIT_OPTIONS,
        words="STEP",
        most=None,
    ),
    "why": Verb(
        "why STEP ...", "why it ran, runs or waits", StepUpMagics._why, words="STEP", least=1, most=None
    ),
    "log": Verb(
        "log STEP ...", "what its last job printed", StepUpMagics._log, words="STEP", least=1, most=None
    ),
    "history": Verb("history", "the last jobs, of all sessions", StepUpMagics._history),
    "whatif": Verb(
        "whatif [--pool NAME=SIZES ...] [--workers SIZES] [--json] [--save FILE.svg] [--force]",
        "how long it would take with other sizes, from recorded durations; runs nothing",
        StepUpMagics._whatif,
        WHATIF_OPTIONS,
    ),
    "cancel": Verb(
        "cancel STEP ...|--all",
        "stop steps, with all processes they started",
        StepUpMagics._cancel,
        (_switch("--all", "all that are not finished"),),
        words="STEP",
        least=1,
        most=None,
    ),
    "rerun": Verb(
        "rerun STEP ...|--failed|--all",
        "run steps again",
        StepUpMagics._rerun,
        (_switch("--failed", "all that failed or were cancelled"), _switch("--all", "all")),
        words="STEP",
        least=1,
        most=None,
    ),
    "pause": Verb(
        "pause [POOL]", "start nothing new, in one pool or at all", StepUpMagics._pause, words="POOL", most=1
    ),
    "resume": Verb("resume [POOL]", "end a pause", StepUpMagics._resume, words="POOL", most=1),
    "workers": Verb(
        "workers [N]",
        "limit the steps running at once over all pools",
        StepUpMagics._workers,
        words="N",
        most=1,
    ),
    "executor": Verb(
        "executor [local|dask [ADDRESS]] [--plain]",
        "run steps on a Dask cluster, or on this machine",
        StepUpMagics._executor,
        (_switch("--plain", "also where others can listen to the line"),),
        words="local|dask",
        most=2,
    ),
    "run": Verb("run", "look at all files for changes, end a drain, and go on", StepUpMagics._run),
    "drain": Verb("drain", "let running steps finish, and start nothing new until run", StepUpMagics._drain),
    "clean": Verb(
        "clean [--dry-run]",
        "remove outputs of steps that are gone",
        StepUpMagics._clean,
        (_switch("--dry-run", "only say what would be removed"),),
    ),
    "boot": Verb(
        "boot [-n N] [PLAN]",
        "run a plan.py of StepUp's, and all that it declares, as steps of this notebook",
        StepUpMagics._boot,
        (Option(("-n", "--num-workers"), "N", "steps running at once: 4, or 1.5 times the cores"),),
        words="PATH",
        most=1,
    ),
    "watch": Verb(
        "watch on|off",
        "run again by itself what depends on a file that changes",
        StepUpMagics._watch,
        words="on|off",
        least=1,
        most=1,
    ),
    "narrate": Verb(
        "narrate on|off",
        "why the scheduler decides as it does: a sentence for each decision, under this cell, as they are made",
        StepUpMagics._narrate,
        words="on|off",
        least=1,
        most=1,
    ),
    "graph": Verb(
        "graph [--provenance] [--dot|--text] [PREFIX]",
        "the graph of steps and files, or who declared what; with PREFIX into files",
        StepUpMagics._graph,
        (
            _switch("--provenance", "who declared what"),
            _switch("--dot", "for Graphviz"),
            _switch("--text", "in lines"),
        ),
        words="PREFIX",
        most=1,
    ),
    "timeline": Verb(
        "timeline [--save FILE.svg] [--force]",
        "which step had which slot when; as a drawing, or in a file of its own",
        StepUpMagics._timeline,
        (
            Option(("--save",), "FILE", "write the drawing into a file"),
            _switch("--force", "replace a file that is no timeline"),
        ),
    ),
    "report": Verb(
        "report FILE.html [--force]",
        "write one page on everything: steps, pools, timeline, graph, failures; it opens without a kernel",
        StepUpMagics._report,
        (_switch("--force", "replace a file that is no report"),),
        words="PATH",
        most=1,
    ),
    "hints": Verb(
        "hints [POOL]",
        "how large pools may be, from the memory and processor time that their steps took",
        StepUpMagics._hints,
        words="POOL",
        most=1,
    ),
    "export": Verb(
        "export [--stepup 3|4] [--force] [PLAN.py]",
        "write the declared steps as a plan that StepUp runs, and name what it cannot say",
        StepUpMagics._export,
        (
            Option(("--stepup",), "3|4", "the version of StepUp that is to run it (default 3)"),
            _switch("--force", "overwrite what is there"),
        ),
        words="PATH",
        most=1,
    ),
    "forget": Verb(
        "forget STEP ...",
        "drop steps from graph and database",
        StepUpMagics._forget,
        words="STEP",
        least=1,
        most=None,
    ),
    "notebook": Verb(
        "notebook [PATH]", "which notebook this is, or say it", StepUpMagics._notebook, words="PATH", most=1
    ),
    "trust": Verb("trust", "believe results that were recorded elsewhere", StepUpMagics._trust),
    "doctor": Verb("doctor", "what stepup_nb found out about this machine and kernel", StepUpMagics._doctor),
}

StepUpMagics.stepup.__doc__ = inspect.cleandoc(str(StepUpMagics.stepup.__doc__)).replace(
    "VERBS", _aligned([(f"%stepup {verb.usage}", verb.help) for verb in VERBS.values()], 34)
)

__all__ = [
    "CELL_OPTIONS",
    "MAGIC_OPTIONS",
    "POOL_OPTIONS",
    "VERBS",
    "WAIT_OPTIONS",
    "StepUpMagics",
    "WaitLine",
]
