"""State → plain dictionaries: what panel, record, tables and tests render.

The shapes are those of SPEC part 8. What the core does not know (paths of logs, tails of outputs, the notebook)
is added by the director.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stepup_nb.core.messages import FilesRemoved
from stepup_nb.core.model import CANCELLED, FAILED, FINISHED, FileState, Job, Outcome, Pool, Step
from stepup_nb.core.scheduler import Scheduler

Row = dict[str, Any]


def step_row(scheduler: Scheduler, step: Step) -> Row:
    """Return one step: the keys of ``status``' steps, and those that only records and panels need."""
    spec = step.spec
    job = step.job or step.last
    record = step.record
    scope = step.scope
    return {
        "name": step.key,
        "label": step.label,
        "action": spec.action,
        "command": spec.command,
        "workdir": spec.workdir,
        "state": str(step.state),
        "reason": scheduler.reason(step),
        "pool": dict(spec.pool),
        "inp": list(spec.inp),
        "out": list(spec.out),
        "vol": list(spec.vol),
        "env": list(spec.env),
        "cell": step.cell,
        "dormant": not step.is_live,
        "skipped": step.skipped,
        "returncode": job.returncode if job is not None else None,
        "duration": _duration(job),
        "job": job.id if job is not None else None,
        "outcome": str(job.outcome) if job is not None and job.outcome is not None else None,
        "started": job.started if job is not None else None,
        "ended": job.ended if job is not None else None,
        "queued": job.queued if job is not None else None,
        "slots": _slots(job) if job is not None else {},
        "worker": job.worker if job is not None else None,
        "machine": job.machine if job is not None else "",
        "place": job.place if job is not None else None,
        "peak_rss": job.peak_rss if job is not None else None,
        "expected": _expected(step),
        "since": record.ended if record is not None else None,
        "notes": notes(job) if job is not None else [],
        "seq": step.seq,
        "optional": spec.optional,
        "creator": None if scope is None or scope.owner is None else scope.owner.key,
    }


def _slots(job: Job) -> dict[str, list[int]]:
    return {name: list(numbers) for name, numbers in job.slots.items()}


def _expected(step: Step) -> float | None:
    """Return the seconds that its next or current job will probably take: as said, else as the last success took."""
    if step.spec.duration is not None:
        return step.spec.duration
    last = step.last
    return _duration(last) if last is not None and last.outcome is Outcome.SUCCEEDED else None


def job_row(job: Job) -> Row:
    """Return one job: a row of ``history``, and why it ran."""
    return {
        "job": job.id,
        "step": job.step,
        "outcome": str(job.outcome) if job.outcome is not None else None,
        "returncode": job.returncode,
        "queued": job.queued,
        "started": job.started,
        "ended": job.ended,
        "pool": dict(job.pool),
        "slots": _slots(job),
        "worker": job.worker,
        "machine": job.machine,
        "peak_rss": job.peak_rss,
        "cpu": job.cpu,
        "why": job.why,
    }


def _duration(job: Job | None) -> float | None:
    return job.ended - job.started if job is not None and job.ended is not None else None


def notes(job: Job) -> list[str]:
    """Return what is to be remarked on a job, in words."""
    said = list(job.notes)
    if job.leftovers:
        some = ", ".join(job.leftovers[:5])
        number = len(job.leftovers)
        said.append(f"left {number} process{'es' if number > 1 else ''} behind: {some}; killed")
    return said


def pool_row(scheduler: Scheduler, pool: Pool) -> Row:
    """Return one pool; an unlimited size is None."""
    reserved = scheduler.pools.reserved_for(pool.name)
    return {
        "name": pool.name,
        "size": pool.size,
        "used": pool.used,
        "waiting": scheduler.pools.number_waiting(pool.name),
        "tokens": list(pool.tokens),
        "per_machine": pool.is_per_machine,
        "machines": _machines(scheduler, pool) if pool.is_per_machine else [],
        "paused": pool.is_paused,
        "reserved": reserved.label if reserved is not None else None,
        "scope": pool.scope,
    }


def _machines(scheduler: Scheduler, pool: Pool) -> list[list[str | int]]:
    """Return each machine that has slots of its own, and how many of them are held."""
    machines = scheduler.pools.machines or {"": 0}
    still = [machine for machine, held in pool.elsewhere.items() if held and machine not in machines]
    if pool.held and "" not in machines:
        still.append("")
    return [[machine, len(pool.held_on(machine))] for machine in (*machines, *still)]


def queues(scheduler: Scheduler, most: int) -> Row:
    """Return the names of the first waiting steps by pool, in the order in which they would start.

    Those that ask for no pool at all are under the empty name.
    """
    names = ["", *(pool.name for pool in scheduler.pools.defined())]
    return {name: [step.key for step in scheduler.pools.first_in_line(name, most)] for name in names}


def links(scheduler: Scheduler) -> Row:
    """Return name, inputs, outputs and the steps it comes after, of each step that is declared."""
    return {
        "nodes": [
            [step.key, list(step.spec.inp), list(step.spec.out), _after(step)]
            for step in scheduler.graph.steps.values()
            if step.is_live
        ]
    }


def workload(scheduler: Scheduler, earlier: Callable[[], Mapping[str, float]]) -> Row:
    """Return what is known of the work that all steps are together, and the limits in force.

    The steps are those that are declared; where none is, those that were when the last session ended. A step has
    the keys that `core.workload` reads; those that say nothing are left out.

    Parameters
    ----------
    scheduler
        Who knows.
    earlier
        Returns the seconds that the last success of each step took, as the history has it: asked once, if a step's
        last job was none.
    """
    steps = [s for s in _in_order(scheduler.graph.steps.values()) if not s.is_retired]
    if any(s.is_live for s in steps):
        steps = [s for s in steps if s.is_live and not scheduler.is_idle_option(s)]
    history: Mapping[str, float] | None = None
    rows = []
    for step in steps:
        duration = None
        if step.last is not None:
            if step.last.outcome is Outcome.SUCCEEDED:
                duration = _duration(step.last)
            else:
                history = earlier() if history is None else history
                duration = history.get(step.key)
        spec, scope = step.spec, step.scope
        more = {
            "inp": spec.inp,
            "out": spec.out,
            "after": [name if to is None else to.key for name, to in step.needs_after.items()] or spec.after,
            "pool": dict(spec.pool),
            "priority": spec.priority,
            "block": spec.block,
            "creator": None if scope is None or scope.owner is None else scope.owner.key,
        }
        known = {"name": step.key, "duration": duration, "estimate": step.estimate}
        if duration is None:
            known["duration"] = spec.duration
        rows.append(known | {name: value for name, value in more.items() if value})
    return {
        "workers": scheduler.pools.workers,
        "pools": {pool.name: pool.size for pool in scheduler.pools.defined()},
        "steps": rows,
    }


def nodes(scheduler: Scheduler) -> list[Row]:
    """Return all that is declared, and all that is needed, as `core.graphs` draws it; in order of creation."""
    graph = scheduler.graph
    steps = sorted((s for s in graph.steps.values() if s.is_live), key=lambda s: s.seq)
    found: dict[str, Row] = {}

    def node(key: str, label: str, state: str = "", creator: str | None = None) -> Row:
        row = found.get(key)
        if row is None:
            row = found[key] = {
                "key": key,
                "label": label,
                "orphan": key != "root:",
                "state": "",
                "properties": [],
                "creator": None,
                "creates": [],
                "consumes": [],
                "supplies": [],
                "amended": [],
            }
        row["state"] = row["state"] or state
        if creator is not None:
            row["orphan"], row["creator"] = False, creator
            found[creator]["creates"].append(key)
        return row

    def file(path: str, creator: str | None = None) -> Row:
        known = graph.files.get(path)
        row = node(f"file:{path}", path, "" if known is None else str(known.state), creator)
        if known is not None and known.content is not None and not row["properties"] and path[-1:] != "/":
            row["properties"].append(["digest", known.content[0].partition(":")[2]])
        return row

    def link(supplier: Row, consumer: Row) -> None:
        supplier["supplies"].append(consumer["key"])
        consumer["consumes"].append(supplier["key"])

    node("root:", "root")
    for step in steps:
        node(f"step:{step.key}", step.label, str(step.state))
    for step in steps:
        # A step may be older than the one that declares it now.
        owner = None if step.scope is None else step.scope.owner
        node(f"step:{step.key}", step.label, creator="root:" if owner is None else f"step:{owner.key}")
    for step in steps:
        spec, row = step.spec, found[f"step:{step.key}"]
        if step.round is not None:
            for path in sorted(step.round.statics):
                file(path, row["key"])
        for path in (*spec.out, *spec.vol):
            link(row, file(path, row["key"]))
        row["properties"] += _properties(step)
        if step.round is not None:
            for glob in step.round.globs:
                if glob.is_deferred:
                    for pattern in glob.patterns:
                        node(f"dg:{pattern}", pattern, creator=row["key"])
    for scope in graph.scopes.values():
        if scope.owner is None:
            for path in sorted(scope.statics):
                if f"file:{path}" not in found:
                    file(path, "root:")
    for step in steps:
        row = found[f"step:{step.key}"]
        row["amended"] = sorted(
            {*step.spec.inp, *step.spec.out, *step.spec.vol}.difference(
                step.declared.inp, step.declared.out, step.declared.vol
            )
        )
        for path in step.spec.inp:
            supplier = file(path)
            if supplier["orphan"] and not step.is_strict and supplier["state"] == "STATIC":
                # In a notebook, what is there and what no step builds is static by itself.
                file(path, "root:")
            if supplier["orphan"] and step.is_strict:
                through = graph.static_through(path)
                if through is None:
                    # Whatever lies there, nobody has said that it is meant (StepUp 3.0).
                    supplier["state"] = str(FileState.AWAITED)
                elif through in found:
                    file(path, through)
            link(supplier, row)
        for target in step.needs_after.values():
            if target is not None:
                link(found[f"step:{target.key}"], found[f"step:{step.key}"])
    return list(found.values())


def _properties(step: Step) -> list[list[str]]:
    spec, scope = step.spec, step.round
    rows = []
    if spec.optional:
        rows.append(["mandatory", "REQUIRED" if step.is_needed else "NO"])
    if spec.block:
        rows.append(["block", "True"])
    rows += [["pool", name if slots == 1 else f"{name}:{slots}"] for name, slots in spec.pool]
    rows += [["env_var", name] for name in spec.env]
    if scope is not None:
        rows += [["ngm", f"{list(g.patterns)} {dict(g.subs)}"] for g in scope.globs if not g.is_deferred]
        rows += [["defines pool", f"{name}={defined.size}"] for name, defined in scope.pools.items()]
    if step.record is not None:
        rows.append(["inp_digest", step.record.inp_digest.partition(":")[2]])
        rows.append(["out_digest", step.record.out_digest.partition(":")[2]])
    return rows


def _after(step: Step) -> list[str]:
    return [target.key for target in step.needs_after.values() if target is not None]


def counts(scheduler: Scheduler) -> dict[str, int]:
    """Return how many live steps are in each state; states without one are left out."""
    return {str(state): number for state, number in scheduler.counts.items() if number}


def status(scheduler: Scheduler) -> Row:
    """Return everything of ``status`` that the core knows."""
    return {
        "workers": scheduler.pools.limit,
        "paused": scheduler.pools.is_paused,
        "draining": scheduler.pools.is_draining,
        "phase": scheduler.phase,
        "ending": scheduler.ending,
        "pools": [pool_row(scheduler, pool) for pool in scheduler.pools.defined()],
        "counts": counts(scheduler),
        "steps": [step_row(scheduler, step) for step in _in_order(scheduler.graph.steps.values())],
    }


def _in_order(steps: Iterable[Step]) -> list[Step]:
    return sorted(steps, key=lambda step: (not step.is_live, step.seq))


def why(scheduler: Scheduler, step: Step) -> Row:
    """Return why a step ran, runs, will run or waits: from the computation that decided."""
    root = scheduler.root_cause(step) if step.state not in FINISHED else ""
    reason = scheduler.reason(step)
    return {
        "name": step.key,
        "label": step.label,
        "state": str(step.state),
        "reason": reason,
        "outdated": list(step.why),
        "root": root if root != reason else "",
        "last": step.last.why if step.last is not None else "",
        "dormant": not step.is_live,
    }


def wait_report(scheduler: Scheduler, steps: list[Step] | None, scope: str, how: str) -> Row:
    """Return what a wait tells when it ends.

    ``failed`` holds rows of steps, ``stuck`` one row per root cause: the cause, how many steps it keeps waiting,
    and the labels of the first few.
    """
    awaited = list(scheduler.awaited(steps, scope))
    failed = [step_row(scheduler, step) for step in awaited if step.state in (FAILED, CANCELLED)]
    causes: dict[str, list[str]] = {}
    if how == "stuck":
        for step in awaited:
            if step.state not in FINISHED and not scheduler.is_idle_option(step):
                cause = scheduler.root_cause(step) or scheduler.reason(step)
                causes.setdefault(cause, []).append(step.label)
    return {
        "how": how,
        "counts": counts(scheduler),
        "awaited": len(awaited),
        "skipped": sum(step.skipped for step in awaited),
        "failed": failed,
        "stuck": _cause_rows(causes),
    }


def removed_row(report: FilesRemoved) -> Row:
    """Return what a cleaning tells: the paths removed, and those kept with the reason."""
    return {
        "removed": list(report.removed),
        "kept": [{"path": path, "why": words} for path, words in report.kept],
    }


def root_causes(scheduler: Scheduler) -> list[Row]:
    """Return what keeps live steps from ever running: cause, number of steps, the first few labels."""
    causes: dict[str, list[str]] = {}
    for step in scheduler.graph.steps.values():
        if step.is_live and step.state not in FINISHED and not scheduler.is_idle_option(step):
            cause = scheduler.root_cause(step)
            if cause:
                causes.setdefault(cause, []).append(step.label)
    return _cause_rows(causes)


def _cause_rows(causes: dict[str, list[str]]) -> list[Row]:
    return [{"cause": cause, "number": len(labels), "steps": labels[:5]} for cause, labels in causes.items()]
