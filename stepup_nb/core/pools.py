"""Who may start next: pools, slots, workers, and the lines of steps that wait for them.

Knows requests and ranks of steps, nothing of files or processes. Occupancy is what the live jobs hold; there is
no counter of slots beside it.

Slots of a pool count over all machines of a cluster, or on each: then a step is placed on one where all that it asks
for is free, with the most room, and only there it may run. Of steps that need no such slots nobody knows where they
will run; those that were placed are never more than a machine has threads.

The rule against starvation: a step is *overtaken* when a step that became QUEUED later starts, although it
takes slots of the same pool, or although this step's slots were free. A step overtaken `OVERTAKES` times,
while it was the oldest of those with the same request, reserves its slots in all its pools: from then on
nothing takes them, whatever its priority, until it has started.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from stepup_nb.core.model import Job, Pool, PoolRequest, Step
from stepup_nb.core.words import counted, did_you_mean

OVERTAKES = 10
"""After so many overtakes a waiting step reserves its slots."""

Request = tuple[PoolRequest, ...]
Claims = dict[tuple[str, str], int]
"""Reserved slots by pool and machine; the machine is empty where it does not matter."""
Rank = tuple[int, float, int]


def rank(step: Step) -> Rank:
    """Return what orders startable steps: priority, then critical path, then declaration."""
    return (-step.spec.priority, -step.tail, step.seq)


class _Line:
    """The waiting steps that ask for the same slots."""

    def __init__(self, request: Request) -> None:
        self.pools = frozenset(name for name, _ in request)
        self.waiting: OrderedDict[str, Step] = OrderedDict()
        """In order of becoming QUEUED."""
        self.oldest: Step
        """The first of them; it is asked for at every start of any other step."""
        self._ranked: list[tuple[Rank, str]] = []

    def add(self, step: Step) -> None:
        if not self.waiting:
            self.oldest = step
        self.waiting[step.key] = step
        self.rerank(step)

    def remove(self, step: Step) -> None:
        del self.waiting[step.key]
        if step is self.oldest and self.waiting:
            self.oldest = next(iter(self.waiting.values()))

    def rerank(self, step: Step) -> None:
        # Entries with an old rank stay in the heap; `best` drops them when they come up.
        heapq.heappush(self._ranked, (rank(step), step.key))

    def best(self) -> Step:
        while True:
            ranked, key = self._ranked[0]
            step = self.waiting.get(key)
            if step is not None and rank(step) == ranked:
                return step
            heapq.heappop(self._ranked)


class Pools:
    """All pools, the workers, and what waits for them."""

    def __init__(self, workers: int) -> None:
        self.pools: dict[str, Pool] = {}
        self.workers = workers
        self.capacity: int | None = None
        """Steps that a cluster can run at once, 0 when it is gone; None where the workers are all that counts."""
        self.machines: dict[str, int] = {}
        """Machines of the cluster, and how many steps can run on each; empty: the director's own is the only one."""
        self.placed: dict[str, int] = {}
        """Machine to number of live jobs that were placed on it."""
        self.busy: dict[int, int] = {}
        """Worker number to live job."""
        self.is_paused = False
        self.is_draining = False
        self.is_starting = False
        """Nothing starts before all that is known has been looked at."""
        self.shortage = ""
        """Why the machine has no room for another process: for a moment nothing starts."""
        self._lines: dict[Request, _Line] = {}
        self._places = 0
        self._reserved: dict[str, Step] = {}

    @property
    def limit(self) -> int:
        """Steps that may run at once over all pools."""
        return self.workers if self.capacity is None else self.capacity

    def named(self, name: str) -> Pool:
        """Return the pool of that name; one that nobody defined yet comes into being."""
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = Pool(name)
        return pool

    def defined(self) -> list[Pool]:
        """Return the pools that have a definition, in order of first mention."""
        return [pool for pool in self.pools.values() if pool.is_defined]

    # --- the lines ---

    def enqueue(self, step: Step) -> None:
        """Let the step wait for its slots."""
        self._places += 1
        step.place = self._places
        step.overtaken = 0
        line = self._lines.get(step.spec.pool)
        if line is None:
            line = self._lines[step.spec.pool] = _Line(step.spec.pool)
        line.add(step)

    def dequeue(self, step: Step) -> None:
        """Let the step wait no longer."""
        line = self._lines[step.spec.pool]
        line.remove(step)
        if not line.waiting:
            del self._lines[step.spec.pool]
        self._reserved.pop(step.key, None)

    def rerank(self, step: Step) -> None:
        """Take note that the rank of a waiting step changed."""
        self._lines[step.spec.pool].rerank(step)

    def waiting(self, pool: str | None = None) -> Iterable[Step]:
        """Yield the steps that wait, for one pool or at all, in no particular order."""
        for request, line in self._lines.items():
            if pool is None or any(pool == asked for asked, _ in request):
                yield from line.waiting.values()

    def first_in_line(self, pool: str, most: int) -> list[Step]:
        """Return the first steps that wait for a pool, or with an empty name for none, as they would start."""
        waiting = self.waiting(pool) if pool else self._line_of_no_pool()
        places = {step.key: place for place, step in enumerate(self._reservations())}
        return heapq.nsmallest(
            most, waiting, key=lambda step: (places.get(step.key, len(places)), rank(step))
        )

    def _line_of_no_pool(self) -> Iterable[Step]:
        line = self._lines.get(())
        return () if line is None else line.waiting.values()

    @property
    def length(self) -> int:
        """Steps that wait in all lines."""
        return sum(len(line.waiting) for line in self._lines.values())

    def number_waiting(self, pool: str) -> int:
        """Return how many steps wait for a pool."""
        return sum(
            len(line.waiting)
            for request, line in self._lines.items()
            if any(pool == asked for asked, _ in request)
        )

    def refused(self, pool: str) -> list[Step]:
        """Return the waiting steps that ask for more than the pool has, now that it is smaller or gone."""
        return [
            step
            for request, line in self._lines.items()
            if any(pool == asked for asked, _ in request) and self.obstacle(request)
            for step in line.waiting.values()
        ]

    def would_go_on(self) -> bool:
        """Tell whether it is a pause alone that keeps some waiting step from its start."""
        return not self.is_draining and any(
            (self.is_paused or self.is_starting or any(self.pools[name].is_paused for name, _ in request))
            and not self.closed(request)
            for request in self._lines
        )

    def is_contended(self) -> bool:
        """Tell whether a free worker would have a choice."""
        lines = self._lines
        return bool(lines) and (len(lines) > 1 or any(len(line.waiting) > 1 for line in lines.values()))

    # --- starting and ending ---

    def next_start(self) -> Step | None:
        """Return the step that is to start now, or None if none can."""
        if (
            not self._lines
            or self.is_paused
            or self.is_draining
            or self.is_starting
            or self.shortage
            or len(self.busy) >= self.limit
        ):
            return None
        claims: Claims = {}
        for step in self._reservations():
            if self._fits(step.spec.pool, claims):
                return step
            self._claim(step, claims)
        best: Step | None = None
        for request, line in self._lines.items():
            if self._fits(request, claims):
                step = line.best()
                if best is None or rank(step) < rank(best):
                    best = step
        return best

    def take(self, step: Step, job: Job) -> list[Step]:
        """Give the step's slots and a worker to the job; return whom it overtook, which is remembered."""
        overtaken = []
        place, taken = step.place, [name for name, _ in step.spec.pool]
        machine = self._machine_for(step.spec.pool, self._claims_before(step)) or ""
        for request, line in self._lines.items():
            oldest = line.oldest
            if oldest.place < place and (not line.pools.isdisjoint(taken) or self._fits(request, {})):
                oldest.overtaken += 1
                overtaken.append(oldest)
                if oldest.overtaken >= OVERTAKES:
                    self._reserved[oldest.key] = oldest
        self.dequeue(step)
        job.worker = _free_numbers(self.busy, 1)[0]
        self.busy[job.worker] = job.id
        if self._by_machine(step.spec.pool):
            job.place = machine
            self.placed[machine] = self.placed.get(machine, 0) + 1
        for name, slots in step.spec.pool:
            held = self.pools[name].held_on(machine)
            job.pool[name] = slots
            job.slots[name] = _free_numbers(held, slots)
            for number in job.slots[name]:
                held[number] = job.id
        return overtaken

    def give_back(self, job: Job) -> None:
        """Take back what the job holds."""
        del self.busy[job.worker]
        if job.place is not None:
            self.placed[job.place] -= 1
        for name, numbers in job.slots.items():
            held = self.pools[name].held_on(job.place or "")
            for number in numbers:
                del held[number]

    # --- reasons ---

    def obstacle(self, request: Request) -> str:
        """Say why the request cannot be met whatever ends, or return an empty text."""
        for name, slots in request:
            pool = self.named(name)
            if not pool.is_defined:
                hint = did_you_mean(name, [other.name for other in self.defined()])
                return f"pool '{name}' is not defined{hint}"
            if pool.size and slots > pool.size:
                return f"pool '{name}' has {counted(pool.size, 'slot')}, this step needs {slots}"
        return ""

    def closed(self, request: Request) -> str:
        """Say what keeps the request waiting until somebody mends that: a closed pool; or return an empty text."""
        if self.capacity == 0:
            return "the cluster is gone: '%stepup executor local' goes on here"
        return next((f"pool '{name}' is closed" for name, _ in request if self.pools[name].size == 0), "")

    def halted(self, request: Request) -> str:
        """Say what keeps the request waiting however many slots are free, or return an empty text."""
        if self.is_draining:
            return "draining: '%stepup run' goes on"
        if self.is_paused:
            return "paused"
        if self.shortage:
            return self.shortage
        for name, _ in request:
            if self.pools[name].is_paused:
                return f"pool '{name}' is paused"
        return self.closed(request)

    def why(self, step: Step) -> str:
        """Say why a QUEUED step has not started: by the predicate that decides."""
        request = step.spec.pool
        if halted := self.halted(request):
            return halted
        if (lacking := self.lacking(step)) is not None:
            name, slots = lacking
            return f"waits for {'a slot' if slots == 1 else f'{slots} slots'} in pool '{name}'"
        if not self._fits(request, {}):
            names = " and ".join(f"'{name}'" for name, _ in self._by_machine(request))
            return f"waits for a machine with a worker and slots of {names} free"
        claims: Claims = {}
        for other in self._reservations():
            if other is step:
                break
            self._claim(other, claims)
            if not self._fits(request, claims):
                return f"slots reserved for {other.label}"
        return "waits for a worker"

    def lacking(self, step: Step) -> tuple[str, int] | None:
        """Return the first of a step's pools that has not enough free slots, with the number it needs."""
        return next(((name, slots) for name, slots in step.spec.pool if slots > self.free(name)), None)

    def free(self, name: str) -> float:
        """Return the free slots of a pool, those of the machine with the most of them where they count on each."""
        pool = self.pools[name]
        if pool.size is None:
            return math.inf
        if not pool.is_per_machine:
            return pool.size - len(pool.held)
        return pool.size - min(len(pool.held_on(machine)) for machine in self._machines)

    def rivals(self, step: Step) -> list[Step]:
        """Return the first of each line that waits for one of a step's pools; of all where it asks for none."""
        taken = [name for name, _ in step.spec.pool]
        lines = (line for line in self._lines.values() if not taken or not line.pools.isdisjoint(taken))
        return [line.best() for line in lines]

    def is_reserved(self, step: Step) -> bool:
        """Tell whether free slots are kept for a step."""
        return step.key in self._reserved

    def reserved_for(self, pool: str) -> Step | None:
        """Return the step that free slots of the pool are kept for, if any."""
        return next((s for s in self._reservations() if any(name == pool for name, _ in s.spec.pool)), None)

    # --- the arithmetic ---

    def _fits(self, request: Request, claims: Claims) -> bool:
        is_to_be_placed = False
        for name, slots in request:
            pool = self.pools[name]
            if pool.is_paused:
                return False
            if pool.size is None:
                continue
            if pool.is_per_machine:
                is_to_be_placed = True
            elif len(pool.held) + claims.get((name, ""), 0) + slots > pool.size:
                return False
        return not is_to_be_placed or self._machine_for(request, claims) is not None

    @property
    def _machines(self) -> Mapping[str, int]:
        return self.machines or {"": self.limit}

    def _by_machine(self, request: Request) -> list[PoolRequest]:
        """Return what a request asks of pools whose slots count on each machine."""
        pools = self.pools
        return [
            asked
            for asked in request
            if pools[asked.pool].is_per_machine and pools[asked.pool].size is not None
        ]

    def _machine_for(self, request: Request, claims: Claims, *, may_be_full: bool = False) -> str | None:
        """Return the machine with the most room for a request that is to be placed, or None.

        Of two the one with fewer steps that were placed there. One that is full may be chosen only to wait for.
        """
        asked = self._by_machine(request)
        best: tuple[float, float] | None = None
        found = None
        for machine, most in self._machines.items() if asked else ():
            idle = most - self.placed.get(machine, 0)
            room = min(
                (self.pools[name].size or 0)
                - len(self.pools[name].held_on(machine))
                - claims.get((name, machine), 0)
                - slots
                for name, slots in asked
            )
            if (may_be_full or (room >= 0 and idle > 0)) and (best is None or (room, idle) > best):
                best, found = (room, idle), machine
        return found

    def _claims_before(self, step: Step) -> Claims:
        """Return what is reserved for others before a step may start."""
        claims: Claims = {}
        for other in self._reservations():
            if other is step:
                break
            self._claim(other, claims)
        return claims

    def _reservations(self) -> list[Step]:
        return sorted(self._reserved.values(), key=lambda step: step.place)

    def _claim(self, step: Step, claims: Claims) -> None:
        request = step.spec.pool
        # What cannot start anyway keeps nothing from anybody.
        if any(self.pools[name].is_paused for name, _ in request) or self.closed(request):
            return
        machine = self._machine_for(request, claims, may_be_full=True) or ""
        for name, slots in request:
            where = (name, machine if self.pools[name].is_per_machine else "")
            claims[where] = claims.get(where, 0) + slots


def _free_numbers(held: Mapping[int, int], number: int) -> tuple[int, ...]:
    free: list[int] = []
    candidate = 0
    while len(free) < number:
        if candidate not in held:
            free.append(candidate)
        candidate += 1
    return tuple(free)
