"""Says what a database remembers while it has no director, cleans by it, or says that it is to be believed.

Run by itself, as ``python -I -S peek.py DATABASE [VERB [JSON]]``, by whoever is no director and may not import one.
Answers with one JSON object on stdout: ``ok``, as a director would answer, or ``error``. Only ``trust`` changes the
database, only ``clean`` removes files.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
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
        strangers = frozenset(loaded.strangers)
        for row in found["steps"]:
            # The scheduler would say of each that it is not declared in this session, and there is none.
            step = scheduler.graph.steps[row["name"]]
            row["reason"] = step.reason or ("" if step.state in FINISHED else "did not run")
            if step.key in strangers:
                row["reason"] = "recorded elsewhere: not believed before 'stepup-nb trust'"
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


def clean(database: str, paths: list[str] | None, dry_run: bool) -> dict[str, Any]:
    """Remove outdated outputs, or what was built at some paths; see `core.messages.Clean`."""
    from stepup_nb.core.messages import RemoveFiles
    from stepup_nb.core.scheduler import Scheduler
    from stepup_nb.director.remove import remove_files
    from stepup_nb.director.store import Store

    store = Store.open(database, read_only=True)
    try:
        loaded = store.load()
        scheduler = Scheduler(1, loaded.restored)
        found = scheduler.outdated_outputs() if paths is None else scheduler.made_from(paths)
        doubtful = scheduler.doubtful() if paths is None else ()
        order = RemoveFiles(0, tuple(reversed(found)), dry_run, tuple(doubtful))
        report = remove_files(order, _root(database))
    finally:
        store.close()
    return {
        "removed": sorted(report.removed),
        "kept": [{"path": path, "why": why} for path, why in sorted(report.kept)],
    }


def trust(database: str) -> dict[str, Any]:
    """Believe what was recorded elsewhere; see `Store.trust`."""
    from stepup_nb.director import owner
    from stepup_nb.director.store import Store

    lock = owner.acquire(owner.lock_path(database), notebook=database, kernel_pid=os.getpid())
    try:
        store = Store.open(database)
        try:
            return {"steps": list(store.trust())}
        finally:
            store.close()
    finally:
        lock.release()


def _root(database: str) -> str:
    folder = os.path.dirname(database)
    return os.path.dirname(folder) if os.path.basename(folder) == ".stepup" else folder


def _notebook(database: str) -> str | None:
    path = database.removesuffix(".stepup.db") + ".ipynb"
    return path if database.endswith(".stepup.db") and os.path.exists(path) else None


def main() -> int:
    """Answer, and return 0; also an error is an answer."""
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from stepup_nb.core.errors import InternalError, StepUpError

    database, verb = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "look"
    given = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    try:
        verbs: dict[str, Callable[..., dict[str, Any]]] = {"look": look, "clean": clean, "trust": trust}
        answer: dict[str, Any] = {"ok": verbs[verb](database, **given)}
    except StepUpError as error:
        answer = {"error": error.to_json()}
    except Exception as error:
        answer = {"error": InternalError(repr(error), traceback.format_exc()).to_json()}
    # ASCII only: whatever the locale is, names pass unharmed.
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
