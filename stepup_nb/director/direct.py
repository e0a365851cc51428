"""Leaves out a shell that would only look for a program and become it, as GNU make does: one program less to start.

Knows words and variables, nothing of processes. Where there is any doubt the shell stays: what it says and does of
a command that cannot be found or executed is its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from stepup_nb.core.declare import LINE_SHELL

_PLAIN = re.compile(r"[\w./+@,-][\w./+@%,:-]*(?:[ \t]+[\w./+@%,:=-]+)*", re.ASCII)
"""Words that every shell leaves as they are; the first is no assignment."""

_OWN = frozenset(
    # Words that begin a construction, and what dash, bash, ksh or busybox do themselves. `setsid` does not wait for
    # its command where it is the first of a session.
    """
    alias autoload bg bind break builtin caller case cd chdir command compgen complete compopt
    continue coproc declare dirs disown do done echo elif else enable esac eval exec exit export
    false fc fg fi float for function functions getconf getopts hash help hist history if in integer
    jobs kill let local login logout mapfile nameref newgrp nohup popd print printf pushd pwd read
    readarray readonly return select set setsid shift shopt source stop suspend test then time times trap
    true type typeset ulimit umask unalias unset until wait whence while .
    """.split()
)


def find(name: str, path: str) -> str | None:
    """Return the program that a name means where programs are looked for in these folders, or None."""
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    return None


def direct(argv: Sequence[str], env: Mapping[str, str]) -> tuple[str, list[str]] | None:
    """Return the program and its words that a shell would become, or None where it may do anything else.

    Parameters
    ----------
    argv
        The words that the shell is started with.
    env
        Its environment. The current directory is that in which it is to be started.
    """
    if len(argv) != 3 or (argv[0], argv[1]) != LINE_SHELL or _PLAIN.fullmatch(argv[2]) is None:
        return None
    words = argv[2].split()
    name, path = words[0], env.get("PATH")
    # Bash hands functions down by the environment, also when it is called sh.
    if name in _OWN or path is None or f"BASH_FUNC_{name}%%" in env:
        return None
    program = name if "/" in name else find(name, path)
    return None if program is None else (program, words)
