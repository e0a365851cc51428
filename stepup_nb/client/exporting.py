"""Writes the steps of a session as a plan of StepUp's; `core.export` says what is in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from stepup_nb.client.replacing import replace_file
from stepup_nb.core import export
from stepup_nb.core.declare import path_in
from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import spec_from_json
from stepup_nb.core.races import involved

if TYPE_CHECKING:
    from stepup_nb.client.session import Session


def export_plan(session: Session, path: str, *, stepup: object = 3, force: bool = False) -> list[str]:
    """Write the steps that are declared as a plan; return what it cannot say.

    Raises
    ------
    UsageError
        SNB-170: it would overwrite something; SNB-171: it cannot lie there; SNB-172: there is no such plan.
    """
    if str(stepup) not in map(str, export.VERSIONS):
        raise UsageError("SNB-172", f"There is no plan for StepUp '{stepup}'.", "", "give 3 or 4")
    root = session.place.root
    name = path_in(root, ".", path, option="export")
    if "/" in name or name == ".":
        raise UsageError(
            "SNB-171",
            f"The plan cannot be '{path}'.",
            f"its paths are relative to the folder that it lies in, and the steps' are relative to '{root}'",
            "give the name of a file in that folder, for instance 'plan.py'",
        )
    project = _project(session, name)
    full = os.path.join(root, name)
    if any(name in step.read for step in project.steps):
        raise UsageError(
            "SNB-170",
            f"'{name}' is an input of a step.",
            "the step would read the plan",
            "choose another name",
        )
    plan = export.plan(project, int(str(stepup)))
    _write(full, plan.text, is_forced=force)
    return plan.warnings


def _write(path: str, text: str, *, is_forced: bool) -> None:
    try:
        if is_forced:
            replace_file(path, text)
        else:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        # StepUp runs plans as programs.
        os.chmod(path, 0o755)
    except FileExistsError:
        raise UsageError(
            "SNB-170",
            f"'{os.path.basename(path)}' is there already.",
            "it may be yours",
            "choose another name, or overwrite it with '--force'",
        ) from None
    except OSError as error:
        raise UsageError(
            "SNB-171",
            f"The plan cannot be written to '{path}'.",
            f"the system says: {(error.strerror or str(error)).lower()}",
            "mend that, or choose another name",
        ) from error


def _project(session: Session, file: str) -> export.Project:
    status, links = session.status(), session.links()
    rows = {row["name"]: row for row in involved(status["steps"], links, None)}
    told = session.declarations()
    declared = {name: message for (kind, name), message in told if kind == "step"}
    after = {name: found for name, _, _, found in links}
    creators = {row["creator"] for row in rows.values() if row["creator"]}
    steps = [
        export.Declared(
            key=name,
            spec=spec_from_json(declared[name]["spec"]),
            read=tuple(row["inp"]),
            after=tuple(after.get(name, ())),
            cell=row["cell"],
            has_children=name in creators,
        )
        for name, row in rows.items()
        if name in declared
    ]
    if not steps:
        raise UsageError(
            "SNB-172",
            "There is no step to export.",
            "a plan holds what is declared in this session",
            "run the cells that declare the steps first",
        )
    root = session.place.root
    statics = {path for (kind, _), message in told if kind == "static" for path in message["paths"]}
    needed = statics.union(*(step.read for step in steps))
    return export.Project(
        title=os.path.basename(session.place.notebook or root),
        file=file,
        root=root,
        steps=steps,
        pools={row["name"]: row["size"] for row in status["pools"]},
        statics=statics,
        present={path for path in needed if os.path.isfile(os.path.join(root, path))},
        elsewhere=_of_plans(session.nodes(), creators),
        workers=status["workers"],
    )


def _of_plans(nodes: list[dict[str, Any]], creators: set[str]) -> set[str]:
    """Return the paths that are declared by steps which declare steps, and by those that these declare."""
    known = {node["key"]: node for node in nodes}
    plans = {f"step:{name}" for name in creators}
    found = set()
    for node in nodes:
        creator = node["creator"]
        if node["key"].startswith("file:") and creator is not None:
            above = known.get(creator, {}).get("creator")
            if above in plans or (creator in plans and node["key"][5:] not in _outputs(known, creator)):
                found.add(node["key"][5:])
    return found


def _outputs(known: dict[str, dict[str, Any]], step: str) -> set[str]:
    return {key[5:] for key in known[step]["supplies"] if key.startswith("file:")}
