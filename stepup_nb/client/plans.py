"""Is there a plan, and can it be run?"""

from __future__ import annotations

import os

from stepup_nb.core.errors import UsageError

SHEBANG = b"#!/usr/bin/env python3\n"
"""The first line of a plan (StepUp 3.0)."""


def check_plan(root: str, plan: str) -> None:
    """Refuse a plan that is not there, or is no script (SNB-227). It is given relative to the root."""
    path = os.path.join(root, plan)
    if not os.path.isfile(path):
        raise UsageError(
            "SNB-227",
            f"There is no plan '{plan}' in '{root}'.",
            "",
            "go to the folder of the plan, or say where it is: '--root DIR', or 'boot PLAN'",
        )
    with open(path, "rb") as file:
        first = file.readline()
    if first == SHEBANG and os.access(path, os.X_OK):
        return
    what = "is not executable" if first == SHEBANG else "does not begin with a line '#!/usr/bin/env python3'"
    raise UsageError(
        "SNB-227", f"'{plan}' {what}.", "it is run as a script", f"correct it; 'chmod +x {plan}'"
    )
