"""``stepup-nb``: the door for terminals and CI jobs.

A table of verbs: what each is called, which arguments it takes, what it does. The work is done elsewhere;
here arguments become values, and errors become exit codes.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from stepup_nb import __version__, steering
from stepup_nb.client import find
from stepup_nb.client.machine import usable_cores, usable_memory, workers_from
from stepup_nb.core import public
from stepup_nb.core.errors import StepUpError, UsageError
from stepup_nb.core.words import counted, did_you_mean
from stepup_nb.notebook import ansi, show
from stepup_nb.terminal import Terminal

PROGRAM = "stepup-nb"

TROUBLE = 1
"""Exit code where something went wrong that is no step's failure."""
WRONG_USAGE = 64
INTERRUPTED = 130

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


# --- execute --------------------------------------------------------------------------------------


def _add_execute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebook", metavar="NOTEBOOK", type=Path, help="the notebook to execute")
    _add_workers(parser, "what the notebook's database remembers, else the cores")
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, help="save the executed notebook here (default: in place)"
    )
    _add_progress(parser)


def _add_workers(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "-n",
        "--num-workers",
        metavar="N",
        type=_workers,
        help="steps running at once: a count such as 4, or a multiple of the cores such as 1.5"
        f" (default: {default})",
    )


def _add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-progress",
        dest="progress",
        action="store_false",
        help="leave out the number of steps that are done",
    )


def _workers(text: str) -> str:
    if workers_from(text, usable_cores()) is None:
        raise argparse.ArgumentTypeError(f"'{text}' is less than one worker, or no number")
    return text


def _execute(options: argparse.Namespace) -> int:
    # Not before it is needed: it brings Jupyter with it.
    from stepup_nb.notebook.execute import execute

    return execute(
        options.notebook,
        Terminal(progress=options.progress),
        out=options.output,
        workers=options.num_workers,
    )


# --- status ---------------------------------------------------------------------------------------


def _add_status(parser: argparse.ArgumentParser) -> None:
    _add_at(parser)
    parser.add_argument("--json", action="store_true", help="everything, as one JSON object")


def _add_at(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--at",
        metavar="PATH",
        type=Path,
        help="the notebook, where there are several in the folder; its database and its folder will do too",
    )


def _status(options: argparse.Namespace) -> int:
    found = find.status(steering.database(options))
    if options.json:
        print(json.dumps(public.status(found), indent=1))
    else:
        print(_tables(found))
    return 0


def _tables(found: Mapping[str, Any]) -> str:
    """Return pools, steps and root causes as text."""
    name = ansi.one_line(Path(found["notebook"] or found["database"]).name, 100)
    is_live = found["director_pid"] is not None
    head = [
        f"{name}, in use (director {found['director_pid']})"
        if is_live
        else f"{name}, not in use: what its database remembers",
        show.counts(found["counts"]),
    ]
    if found["workers"] is not None:
        head.append(counted(found["workers"], "worker"))
    if found["paused"]:
        head.append("paused")
    parts = ["; ".join(head), *(ansi.one_line(note, 500) for note in found["notes"])]
    if found["pools"]:
        parts.append(show.pools(found["pools"]))
    # What is only remembered is told apart where there is anything else.
    shown = [row for row in found["steps"] if not (is_live and row["dormant"])]
    if shown:
        parts.append(
            show.table(("state", "step", "pool", "time", "why"), map(show.step_cells, shown), widest=60)
        )
    dormant = len(found["steps"]) - len(shown)
    if dormant:
        parts.append(f"{counted(dormant, 'step')} known from earlier and not declared in this session")
    if found["causes"]:
        rows = [
            (f"{counted(row['number'], 'step')}: {', '.join(row['steps'][:3])}", row["cause"])
            for row in found["causes"]
        ]
        parts.append(show.table(("cannot run", "because"), rows))
    return "\n\n".join(parts)


# --- steering a live session ----------------------------------------------------------------------


def _add_steps(*flags: tuple[str, str]) -> Callable[[argparse.ArgumentParser], None]:
    """Let a verb take steps, or one of these flags in their place."""

    def add(parser: argparse.ArgumentParser) -> None:
        _add_at(parser)
        parser.add_argument("steps", metavar="STEP", nargs="*", help="name of a step, or a unique part of it")
        group = parser.add_mutually_exclusive_group()
        for flag, help in flags:
            group.add_argument(flag, action="store_true", help=help)
        parser.set_defaults(flags=[flag.lstrip("-") for flag, _ in flags])

    return add


def _add_pool(parser: argparse.ArgumentParser) -> None:
    _add_at(parser)
    parser.add_argument("pool", metavar="POOL", nargs="?", help="one pool only (default: everything)")


def _chosen(options: argparse.Namespace) -> list[str]:
    """Return the steps that are named; there are some, or a flag that stands for them."""
    flags = [flag for flag in options.flags if getattr(options, flag)]
    if bool(options.steps) == bool(flags):
        words = " or ".join(f"'--{flag}'" for flag in options.flags)
        raise UsageError("SNB-226", "Which steps?", "", f"name them, or write {words}")
    return list(options.steps)


def _cancel(options: argparse.Namespace) -> int:
    steps = _chosen(options)
    found = steering.ask(options, "Cancel", steps=None if options.all else steps)["steps"]
    print(f"cancelled {counted(len(found), 'step')}")
    return 0


def _rerun(options: argparse.Namespace) -> int:
    steps = _chosen(options)
    found = steering.ask(options, "Rerun", steps=steps, failed=options.failed, all=options.all)["steps"]
    print(f"running {counted(len(found), 'step')} again")
    return 0


def _pause(options: argparse.Namespace) -> int:
    steering.ask(options, "Pause", pool=options.pool)
    return 0


def _resume(options: argparse.Namespace) -> int:
    steering.ask(options, "Resume", pool=options.pool)
    return 0


def _add_prefix(parser: argparse.ArgumentParser) -> None:
    _add_at(parser)
    parser.add_argument("prefix", metavar="PREFIX", help="how the names of the files begin")


def _add_path(parser: argparse.ArgumentParser) -> None:
    _add_at(parser)
    parser.add_argument("path", metavar="PATH", help="the file")


def _add_named(parser: argparse.ArgumentParser) -> None:
    _add_at(parser)
    parser.add_argument("steps", metavar="STEP", nargs="+", help="name of a step, or a unique part of it")


def _add_clean(parser: argparse.ArgumentParser) -> None:
    _add_at(parser)
    parser.add_argument("-d", "--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", help="remove what was built there, and what was made from it"
    )


# --- boot and doctor ------------------------------------------------------------------------------


def _add_boot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "plan", metavar="PLAN", nargs="?", default="plan.py", help="the plan (default: plan.py)"
    )
    _add_workers(parser, "the cores")
    parser.add_argument(
        "-w", "--watch", action="store_true", help="stay when all is done, and watch for changes until 'run'"
    )
    parser.add_argument(
        "-W", "--watch-first", action="store_true", help="watch, and run half a second after the first change"
    )
    parser.add_argument(
        "-e", "--explain-rerun", action="store_true", help="say why a step that has run before runs again"
    )
    parser.add_argument(
        "-s",
        "--show-perf",
        action="count",
        help="taken from StepUp's scripts; times are in the history, whether or not this is said",
    )
    parser.add_argument(
        "--no-clean", dest="clean", action="store_false", help="leave outdated outputs where they are"
    )
    _add_progress(parser)


def _boot(options: argparse.Namespace) -> int:
    # It brings the launcher of directors with it.
    from stepup_nb import boot

    cores = usable_cores()
    return boot.boot(
        boot.Options(
            root=options.root,
            plan=options.plan,
            workers=workers_from(options.num_workers or "1.0", cores) or 1,
            is_watching=options.watch or options.watch_first,
            is_eager=options.watch_first,
            is_explaining=options.explain_rerun,
            is_cleaning=options.clean,
        ),
        Terminal(progress=options.progress),
    )


def _doctor(options: argparse.Namespace) -> int:
    import platform

    cores = usable_cores()
    memory = usable_memory()
    facts = [
        ("stepup_nb", __version__),
        ("python", f"{platform.python_version()} at {sys.executable}"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("cores", f"{cores} usable of {os.cpu_count()}"),
        ("memory", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB usable"),
        ("folder", os.fspath(options.root.absolute())),
    ]
    for found in find.databases(os.fspath(options.root.absolute())):
        holder = find.holder(found)
        is_live = find.connect(holder) is not None
        facts.append(
            (
                Path(found).name,
                f"in use by director {holder['director_pid']}" if holder and is_live else "not in use",
            )
        )
    print(show.table(("what", "found"), facts, widest=200))
    return 0


# --- the verbs ------------------------------------------------------------------------------------


_LIVE = "Waits half a minute for a session that is just starting; exits with 0 whatever became of the steps."


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that ``stepup-nb`` can do."""

    help: str
    """In a line, for the list of verbs."""
    description: str
    epilog: str
    """What is better read in lines."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Returns the exit code."""


_ENDS = "Sessions of a plan end so; in a notebook, the director ends, and the next use starts a new one."

VERBS: dict[str, Verb] = {
    "boot": Verb(
        "run a plan, as StepUp does",
        "Run plan.py, and all steps that it and other plans declare and that are not up to date. When"
        " everything has succeeded, outputs of steps that are gone are removed.",
        "exit codes:\n"
        "  0    all steps are done\n"
        "  1    there is no plan, or something went wrong here\n"
        "  2    a step failed\n"
        "  3    no step failed, but some could not run\n"
        "  64   wrong usage\n"
        "  130, 143, 129  ended by Ctrl-C, SIGTERM, SIGHUP",
        _add_boot,
        _boot,
    ),
    "execute": Verb(
        "execute a notebook without a browser, and wait for its steps",
        "Execute a notebook in a kernel of its own, with a line whenever a step starts or ends; wait for"
        " all its steps, and save it. Steps that are up to date do not run again. Steps go on when a cell"
        " raises an error, and are stopped by Ctrl-C, SIGTERM or SIGHUP: in order the first time, at once"
        " the second.",
        "exit codes:\n"
        "  0    all steps are done\n"
        "  1    a cell raised an error, or something went wrong here\n"
        "  2    a step failed\n"
        "  3    no step failed, but some could not run\n"
        "  64   wrong usage\n"
        "  130, 143, 129  ended by Ctrl-C, SIGTERM, SIGHUP",
        _add_execute,
        _execute,
    ),
    "status": Verb(
        "show pools and steps",
        "Show the pools and steps of the notebook in this folder, and what keeps steps from running. Asks the"
        " notebook's kernel if there is one, else tells what its database remembers; never waits.",
        "",
        _add_status,
        _status,
    ),
    "cancel": Verb(
        "stop steps of the live session",
        f"Stop steps, with all processes they started, also while a cell of the notebook computes. {_LIVE}",
        "",
        _add_steps(("--all", "all that are not finished")),
        _cancel,
    ),
    "rerun": Verb(
        "run steps of the live session again",
        f"Run steps again, whether or not they are up to date. {_LIVE}",
        "",
        _add_steps(("--failed", "all that failed or were cancelled"), ("--all", "all")),
        _rerun,
    ),
    "pause": Verb(
        "start nothing new", f"Start no more steps, in one pool or at all. {_LIVE}", "", _add_pool, _pause
    ),
    "wait": Verb(
        "wait until there is nothing to do",
        f"Wait until a plan's session has come to its watch phase, or a notebook's steps are finished. {_LIVE}",
        "",
        _add_at,
        steering.wait,
    ),
    "run": Verb(
        "look at all files, and run what is outdated",
        f"Leave the watch phase of a plan's session, or end a drain; what failed runs again. {_LIVE}",
        "",
        _add_at,
        steering.run,
    ),
    "drain": Verb(
        "start nothing more",
        "Let running steps end, and start no more. Where a plan's session watches, waits until they have ended."
        f" {_LIVE}",
        "",
        _add_at,
        steering.drain,
    ),
    "join": Verb(
        "end the session when everything is done",
        f"Wait until there is nothing to do, and end the session. {_ENDS} {_LIVE}",
        "",
        _add_at,
        steering.join,
    ),
    "shutdown": Verb(
        "end the session when what runs has ended",
        f"Start nothing more, and end the session. Said again, running steps are stopped. {_ENDS} {_LIVE}",
        "",
        _add_at,
        steering.shutdown,
    ),
    "why": Verb("say why steps ran, run or wait", f"Say why. {_LIVE}", "", _add_named, steering.why),
    "log": Verb(
        "print what steps printed",
        f"Print what their last jobs printed. {_LIVE}",
        "",
        _add_named,
        steering.log,
    ),
    "graph": Verb(
        "write the graph into files",
        f"Write PREFIX.txt, PREFIX_provenance.dot and PREFIX_dependency.dot. {_LIVE}",
        "",
        _add_prefix,
        steering.graph,
    ),
    "watch-update": Verb(
        "say that a file changed",
        f"Return when the session has seen it. {_LIVE}",
        "",
        _add_path,
        steering.look_again,
    ),
    "watch-delete": Verb(
        "say that a file is gone",
        f"Return when the session has seen it. {_LIVE}",
        "",
        _add_path,
        steering.look_again,
    ),
    "clean": Verb(
        "remove outdated outputs",
        "Remove what steps have built that are gone; with paths, what was built there, in folders at any depth, and"
        " all that was made from it. Only files that are as a step has left them. Needs no session.",
        "",
        _add_clean,
        steering.clean,
    ),
    "trust": Verb(
        "believe results that were recorded elsewhere",
        "Believe what a database says that somebody else wrote, or that came from another machine.",
        "",
        _add_at,
        steering.trust,
    ),
    "doctor": Verb(
        "what stepup_nb found out about this machine",
        "Say what is known of it.",
        "",
        lambda parser: None,
        _doctor,
    ),
    "resume": Verb("end a pause", f"End a pause, of one pool or of all. {_LIVE}", "", _add_pool, _resume),
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and ends with the code for wrong usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {_clean(message)}\n'{self.prog} --help' tells more.\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        description="Execute notebooks with steps, and look at their steps, from a terminal or in CI.",
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument(
        "-l",
        "--log-level",
        metavar="LEVEL",
        type=_level,
        default=os.environ.get("STEPUP_LOG_LEVEL", "WARNING"),
        help=f"how much to tell on standard error: {', '.join(LEVELS)} (default: WARNING)",
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get("STEPUP_ROOT") or "."),
        help="the folder of the notebook that is asked about (default: $STEPUP_ROOT, else this folder)",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=_Parser)
    for name, verb in VERBS.items():
        verb.add_arguments(
            verbs.add_parser(
                name,
                help=verb.help,
                description=textwrap.fill(verb.description, 88),
                epilog=verb.epilog,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
        )
    return parser


def _level(text: str) -> str:
    level = text.upper()
    if level not in LEVELS:
        raise argparse.ArgumentTypeError(f"'{text}' is no log level{did_you_mean(level, LEVELS)}")
    return level


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding does not have must not end the program.
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help()
        return 0
    logging.basicConfig(level=options.log_level, format="%(levelname)s %(name)s: %(message)s")
    try:
        return VERBS[options.verb].run(options)
    except UsageError as error:
        print(f"{PROGRAM}: {_clean(str(error))}", file=sys.stderr)
    except StepUpError as error:
        traceback.print_exc()
        print(f"{PROGRAM}: {_clean(str(error))}", file=sys.stderr)
    except BrokenPipeError:
        pass
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        _flush()
    return TROUBLE


def _clean(text: str) -> str:
    return ansi.to_text(text)


def _flush() -> None:
    """Write what is left; where nobody reads it, leave nothing for the interpreter to complain of."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
