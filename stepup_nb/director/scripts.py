"""Can a script be run as it is? A rule of StepUp's that finds the commonest mistake before the shell does."""

from __future__ import annotations

import os
import posixpath
import shlex

from stepup_nb.core.declare import LINE_SHELL
from stepup_nb.core.model import StepSpec


def trouble(spec: StepSpec, root: str) -> str | None:
    """Return what is wrong with the script that a step runs, or None.

    StepUp 3.0: only what exists as a file is looked at, the first word of a ``runsh`` command or the script of
    ``runpy``: it must be executable, and begin with ``#!/``.
    """
    is_script = (spec.action == "runsh" and spec.shell == LINE_SHELL) or (
        spec.action == "runpy" and spec.shell[1:] == ()
    )
    if not is_script:
        return None
    try:
        word = shlex.split(spec.command)[0]
    except (ValueError, IndexError):
        return None
    workdir = posixpath.join(root, spec.workdir)
    path = posixpath.join(workdir, word)
    if "/" not in word or not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            is_fine = os.access(path, os.X_OK) and (file.read(4) == b"\x7fELF" or _begins_well(file))
    except OSError:
        return None
    return (
        None
        if is_fine
        else f"Script does not start with a shebang: {word} (wd={posixpath.normpath(workdir)})"
    )


def _begins_well(file: object) -> bool:
    file.seek(0)  # type: ignore[attr-defined]
    return bool(file.read(3) == b"#!/")  # type: ignore[attr-defined]
