"""The verbs of ``%stepup``: what each does, and the table that help, completion and documentation are made of."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.display import publish_display_data

from stepup_nb.client.exporting import export_plan
from stepup_nb.client.machine import usable_cores, workers_from
from stepup_nb.core import graphs, public
from stepup_nb.core.declare import (
    Option,
)
from stepup_nb.core.errors import UsageError
from stepup_nb.core.words import counted
from stepup_nb.notebook import ansi, hints, report, show, timeline, written
from stepup_nb.notebook.asked import AUDIT_OPTIONS, WAIT_OPTIONS, WHATIF_OPTIONS, WaitLine, audit_of
from stepup_nb.notebook.extension import Extension
from stepup_nb.notebook.options import Line

LOG_SHOWN = 200_000
"""Characters of the end of one stream that ``%stepup log`` prints: browsers have died of more."""


class Verbs:
    """What ``%stepup`` does, for one extension."""

    def __init__(self, extension: Extension) -> None:
        self.extension = extension

    def _show(self, page: show.Page) -> None:
        show_page(self.extension, page)

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
    run: Callable[[Verbs, Line], Any]
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
        Verbs._status,
        (_switch("--json", "as data"),),
    ),
    "panel": Verb(
        "panel [--compact]",
        "the live panel: pools, steps, timeline, graph and output, with their controls",
        Verbs._panel,
        (_switch("--compact", "in one line, for slides"),),
    ),
    "freeze": Verb("freeze", "turn the panels into pictures that stay in the notebook", Verbs._freeze),
    "wait": Verb(
        "wait [STEP ...] [--timeout S] [--no-raise]",
        "wait until the steps are finished, or nothing can move any more",
        Verbs._wait,
        WAIT_OPTIONS,
        words="STEP",
        most=None,
    ),
    "audit": Verb(
        "audit --pool NAME=1,4 [STEP ...] [--repeat N] [--workers N] [--most MB] [--allow-absolute] [--keep]",
        "run steps from scratch with each size, in copies of the project, and list what comes out differently",
        Verbs._audit,
        AUDIT_OPTIONS,
        words="STEP",
        most=None,
    ),
    "why": Verb("why STEP ...", "why it ran, runs or waits", Verbs._why, words="STEP", least=1, most=None),
    "log": Verb("log STEP ...", "what its last job printed", Verbs._log, words="STEP", least=1, most=None),
    "history": Verb("history", "the last jobs, of all sessions", Verbs._history),
    "whatif": Verb(
        "whatif [--pool NAME=SIZES ...] [--workers SIZES] [--json] [--save FILE.svg] [--force]",
        "how long it would take with other sizes, from recorded durations; runs nothing",
        Verbs._whatif,
        WHATIF_OPTIONS,
    ),
    "cancel": Verb(
        "cancel STEP ...|--all",
        "stop steps, with all processes they started",
        Verbs._cancel,
        (_switch("--all", "all that are not finished"),),
        words="STEP",
        least=1,
        most=None,
    ),
    "rerun": Verb(
        "rerun STEP ...|--failed|--all",
        "run steps again",
        Verbs._rerun,
        (_switch("--failed", "all that failed or were cancelled"), _switch("--all", "all")),
        words="STEP",
        least=1,
        most=None,
    ),
    "pause": Verb(
        "pause [POOL]", "start nothing new, in one pool or at all", Verbs._pause, words="POOL", most=1
    ),
    "resume": Verb("resume [POOL]", "end a pause", Verbs._resume, words="POOL", most=1),
    "workers": Verb(
        "workers [N]",
        "limit the steps running at once over all pools",
        Verbs._workers,
        words="N",
        most=1,
    ),
    "executor": Verb(
        "executor [local|dask [ADDRESS]] [--plain]",
        "run steps on a Dask cluster, or on this machine",
        Verbs._executor,
        (_switch("--plain", "also where others can listen to the line"),),
        words="local|dask",
        most=2,
    ),
    "run": Verb("run", "look at all files for changes, end a drain, and go on", Verbs._run),
    "drain": Verb("drain", "let running steps finish, and start nothing new until run", Verbs._drain),
    "clean": Verb(
        "clean [--dry-run]",
        "remove outputs of steps that are gone",
        Verbs._clean,
        (_switch("--dry-run", "only say what would be removed"),),
    ),
    "boot": Verb(
        "boot [-n N] [PLAN]",
        "run a plan.py of StepUp's, and all that it declares, as steps of this notebook",
        Verbs._boot,
        (Option(("-n", "--num-workers"), "N", "steps running at once: 4, or 1.5 times the cores"),),
        words="PATH",
        most=1,
    ),
    "watch": Verb(
        "watch on|off",
        "run again by itself what depends on a file that changes",
        Verbs._watch,
        words="on|off",
        least=1,
        most=1,
    ),
    "narrate": Verb(
        "narrate on|off",
        "why the scheduler decides as it does: a sentence for each decision, under this cell, as they are made",
        Verbs._narrate,
        words="on|off",
        least=1,
        most=1,
    ),
    "graph": Verb(
        "graph [--provenance] [--dot|--text] [PREFIX]",
        "the graph of steps and files, or who declared what; with PREFIX into files",
        Verbs._graph,
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
        Verbs._timeline,
        (
            Option(("--save",), "FILE", "write the drawing into a file"),
            _switch("--force", "replace a file that is no timeline"),
        ),
    ),
    "report": Verb(
        "report FILE.html [--force]",
        "write one page on everything: steps, pools, timeline, graph, failures; it opens without a kernel",
        Verbs._report,
        (_switch("--force", "replace a file that is no report"),),
        words="PATH",
        most=1,
    ),
    "hints": Verb(
        "hints [POOL]",
        "how large pools may be, from the memory and processor time that their steps took",
        Verbs._hints,
        words="POOL",
        most=1,
    ),
    "export": Verb(
        "export [--stepup 3|4] [--force] [PLAN.py]",
        "write the declared steps as a plan that StepUp runs, and name what it cannot say",
        Verbs._export,
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
        Verbs._forget,
        words="STEP",
        least=1,
        most=None,
    ),
    "notebook": Verb(
        "notebook [PATH]", "which notebook this is, or say it", Verbs._notebook, words="PATH", most=1
    ),
    "trust": Verb("trust", "believe results that were recorded elsewhere", Verbs._trust),
    "doctor": Verb("doctor", "what stepup_nb found out about this machine and kernel", Verbs._doctor),
}


def show_page(extension: Extension, page: show.Page) -> None:
    """Show a page in the executing cell, or as text on a terminal."""
    if extension.has_front_end:
        publish_display_data({"text/plain": show.text(page), "text/html": show.html(page)})
    else:
        print(show.text(page))
