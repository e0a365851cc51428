"""Says what a database remembers while it has no director, and changes nothing on disk.

Run by itself, as ``python -I -S peek.py DATABASE``, by whoever is no director and may not import one. Answers
with one JSON object on stdout: ``ok``, a status as a director's, or ``error``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any


def look(database: str) -> dict[str, Any]:
    """Return the status that a director would give before anything is declared.

    ``counts`` are those of the last session's steps, and ``workers`` is None where nobody ever said how many.
    """
    from stepup_nb.core import view
    from stepup_nb.core.model import FINISHED
    from stepup_nb.core.scheduler import Scheduler
    from stepup_nb.director.store import Store

    store = Store.open(database, read_only=True)
    try:
        loaded = store.load()
        scheduler = Scheduler(loaded.restored.workers or 1, loaded.restored)
        found = view.status(scheduler)
        counts: dict[str, int] = {}
        for step in scheduler.graph.steps.values():
            if not step.is_retired:
                counts[step.state] = counts.get(step.state, 0) + 1
        tails = store.tails([row["job"] for row in found["steps"] if row["job"] is not None])
        for row in found["steps"]:
            # The scheduler would say of each that it is not declared in this session, and there is none.
            step = scheduler.graph.steps[row["name"]]
            row["reason"] = step.reason or ("" if step.state in FINISHED else "did not run")
            stdout, stderr = tails.get(row["job"], (b"", b""))
            row["stdout_tail"] = stdout.decode(errors="replace")
            row["stderr_tail"] = stderr.decode(errors="replace")
        return {
            **found,
            "notebook": _notebook(database),
            "database": database,
            "director_pid": None,
            "workers": loaded.restored.workers,
            "counts": counts,
            "notes": store.notes,
            "causes": [],
        }
    finally:
        store.close()


def _notebook(database: str) -> str | None:
    path = database.removesuffix(".stepup.db") + ".ipynb"
    return path if database.endswith(".stepup.db") and os.path.exists(path) else None


def main() -> int:
    """Answer, and return 0; also an error is an answer."""
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from stepup_nb.core.errors import InternalError, StepUpError

    try:
        answer: dict[str, Any] = {"ok": look(sys.argv[1])}
    except StepUpError as error:
        answer = {"error": error.to_json()}
    except Exception as error:
        answer = {"error": InternalError(repr(error), traceback.format_exc()).to_json()}
    # ASCII only: whatever the locale is, names pass unharmed.
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
