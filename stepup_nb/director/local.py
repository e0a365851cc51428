"""Runs jobs on this machine: spawns them, watches them, ends their whole trees.

Linux only. What a job starts stays below us, whatever it does (`processes.become_subreaper`): a process
whose parent ends becomes our child and is found by reading our own list of children, which is all that the
end of an ordinary job costs.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial

from stepup_nb.core.messages import JobEnded
from stepup_nb.director import faults, processes, spawn
from stepup_nb.director.executor import CannotStart, Executor, Found, Reporter, Stream, Tail
from stepup_nb.director.output import CHUNK, TAIL, LogFolder, Output, Sums, decode, log_name, stored
from stepup_nb.director.reactor import READ, Reactor, Timer
from stepup_nb.director.warm import Warm

_LINGER = 0.1
"""Seconds in which what a command leaves behind may end by itself, as the `tee` of `> >(tee log)` does."""
_BUSY = 2.0
"""Seconds at most that it gets as long as it is seen at work."""
_NOTICE = 0.25
"""Seconds between SIGTERM and SIGKILL for what does not."""
_PATIENCE = 10.0
"""Seconds after the first SIGKILL at which a job is given up: only the system itself holds on for so long."""
_FIRST_SAMPLE = 0.05
_SAMPLE = 0.5
_KILL_ALL = 2.0
_ENDED_TAILS = 128
_ROUNDS = 10
"""Times that the tree of a job is gone through for one signal, against a job that forks without end."""


class _Phase(Enum):
    """Where a job is on its way to its end."""

    RUNNING = "running"
    """Its leader lives and nobody wants it stopped."""
    LINGERING = "lingering"
    """Its leader ended by itself; what it left behind has a moment to do so too."""
    STOPPING = "stopping"
    """Everything has had its SIGTERM."""
    KILLING = "killing"
    """Everything gets SIGKILL, again and again."""


class _Job:
    """A tree of processes, from the start of its leader to the end of its last one."""

    __slots__ = (
        "cpu",
        "deadline",
        "ended",
        "id",
        "leftovers",
        "notes",
        "output",
        "pause",
        "peak",
        "phase",
        "pid",
        "pidfd",
        "rss",
        "timer",
    )

    def __init__(self, number: int, pid: int, output: Output) -> None:
        self.id = number
        self.output = output
        self.pid = pid
        """The leader's number. It is reaped last of all, so that the number remains ours."""
        self.pidfd = -1
        """-1 once the leader ended."""
        self.phase = _Phase.RUNNING
        self.timer: Timer | None = None
        """Of its next sample while it runs, of its next move after that."""
        self.pause = 0.0
        self.deadline = 0.0
        self.ended: float | None = None
        self.peak = 0
        self.rss = 0
        self.cpu = 0.0
        """Of adopted processes only; the leader's own comes with its end."""
        self.leftovers: tuple[str, ...] = ()
        self.notes: list[str] = []


class _Stray:
    """A process that became our child because its parent ended."""

    __slots__ = ("owners", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, owners: set[_Job]) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.owners = owners
        """The job it belongs to; all that it may belong to where that cannot be told."""


class LocalExecutor(Executor):
    """The `Executor` of this machine.

    Parameters
    ----------
    reactor
        The loop, whose thread every call belongs to.
    report
        Gets a `JobEnded` for each job: ``ended`` is when its leader ended; ``cpu`` the processor seconds of
        all of the tree that anybody waited for; ``peak_rss`` the largest sum of resident memory over the
        tree that a sample saw (after 0.05, 0.1, 0.2, 0.4 s, then every 0.5 s; pages that processes share
        count in each), or the largest of a single process if that is more. For a job too short for a
        sample it is an upper bound: Linux counts the starter's own peak, some 20 MB, as the started one's.
    logs
        Where output is kept.
    marker
        The run; see `processes.run_marker`.
    clock
        Seconds since the epoch.
    on_output
        Called with the job whenever some of its output arrived; for the caller to coalesce.
    grace
        Seconds between SIGTERM and SIGKILL.
    owns_process
        Whether all children of this process are jobs or come from them, as in a director of its own. In a
        thread of another program (tests), only what certainly comes from a job is touched.
    python
        The words that a Python step begins with: such commands are started in processes that wait for them; see `warm`.
    is_warm
        Whether they are to begin with.
    """

    def __init__(
        self,
        reactor: Reactor,
        report: Reporter,
        *,
        logs: LogFolder,
        marker: str,
        clock: Callable[[], float] = time.time,
        on_output: Callable[[int], None] | None = None,
        grace: float = 5.0,
        owns_process: bool = True,
        python: Sequence[str] = (),
        is_warm: bool = True,
    ) -> None:
        processes.become_subreaper()
        if owns_process:
            processes.keep_descriptors()
        self.grace = grace
        self._reactor = reactor
        self._report = report
        self._logs = logs
        self._marker = marker
        self._clock = clock
        self._on_output = on_output
        self._owns_process = owns_process
        self._spawner = spawn.Spawner(marker)
        self._nursery = processes.Nursery()
        self.warm = Warm(reactor, self, self._spawner, python, is_on=is_warm)
        self._jobs: dict[int, _Job] = {}
        self._strays: dict[int, _Stray] = {}
        self._pids: set[int] = set()
        self._tails: OrderedDict[int, tuple[bytes, bytes]] = OrderedDict()
        self._sums: dict[int, Sums] = {}
        """Of the same jobs."""
        self._buffer = bytearray(CHUNK)
        self._ooms = processes.oom_kills()
        self._watched: set[int] = set()

    # --- starting -------------------------------------------------------------------------------

    def start(
        self, job: int, argv: Sequence[str], cwd: str, env: Mapping[str, str], place: str | None = None
    ) -> None:
        """Start a command; see `Executor.start`."""
        try:
            self._start(job, argv, cwd, env)
        except CannotStart as cannot:
            if cannot.is_full:
                self.warm.make_room()
            raise

    def _start(self, job: int, argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> None:
        env = {**env, processes.RUN_VARIABLE: self._marker, processes.JOB_VARIABLE: str(job)}
        out, out_end, err, err_end = self._pipes()
        try:
            found = self.warm.start(argv, cwd, env, job, out_end, err_end)
            pid, pidfd = found or (self._spawner.start(argv, cwd, env, job, out_end, err_end), -1)
        except CannotStart:
            os.close(out)
            os.close(err)
            raise
        finally:
            # Before anything else is opened: what there is room for a pipe's end, there is room for a pidfd.
            os.close(out_end)
            os.close(err_end)
        faults.reach("started")
        new = _Job(job, pid, Output(job, self._logs, out, err))
        self._jobs[job] = new
        self._pids.add(pid)
        try:
            new.pidfd = os.pidfd_open(pid) if pidfd < 0 else pidfd
            self._watch(new.pidfd, partial(self._on_leader_end, new))
            self._watch(out, partial(self._on_pipe, new, 0))
            self._watch(err, partial(self._on_pipe, new, 1))
        except OSError as error:
            self._undo(new)
            raise spawn.cannot_start(error, argv[0]) from None
        new.timer = self._reactor.call_after(_FIRST_SAMPLE, partial(self._sample, new, _FIRST_SAMPLE))

    def _pipes(self) -> tuple[int, int, int, int]:
        fds: list[int] = []
        try:
            for _ in range(2):
                fds += os.pipe2(os.O_CLOEXEC)
                os.set_blocking(fds[-2], False)
        except OSError as error:
            for fd in fds:
                os.close(fd)
            raise spawn.cannot_start(error, "") from None
        return fds[0], fds[1], fds[2], fds[3]

    def _undo(self, job: _Job) -> None:
        """Take back a start that cannot be watched; its command has lived for some 100 µs."""
        processes.send_group(job.pid, signal.SIGKILL)
        self._reap(job.pid, set(), 0)
        self._unwatch_all(job)
        job.output.close()
        self._drop(job)

    # --- watching -------------------------------------------------------------------------------

    def _watch(self, fd: int, call: Callable[[], None]) -> None:
        self._reactor.watch(fd, READ, call)
        self._watched.add(fd)

    def own(self, pid: int, fd: int, call: Callable[[], None]) -> None:
        """Know a process as one of ours that is no job's; see `warm.Keeper.own`."""
        self._pids.add(pid)
        self._watch(fd, call)

    def disown(self, fd: int) -> None:
        """Watch a descriptor no longer; see `warm.Keeper.disown`."""
        self._unwatch(fd)

    def bury(self, pid: int) -> None:
        """Reap a process that has ended; see `warm.Keeper.bury`."""
        self._pids.discard(pid)
        self._reap(pid, set())

    def adopt(self) -> None:
        """Look for processes whose parents have ended; see `warm.Keeper.adopt`."""
        self._adopt()

    def _unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.discard(fd)
            self._reactor.unwatch(fd)

    def _on_pipe(self, job: _Job, which: int) -> None:
        size = job.output.read(which, self._buffer)
        if size == 0:
            self._unwatch(job.output.pipes[which].fd)
        elif size and self._on_output is not None:
            self._on_output(job.id)

    def _on_leader_end(self, job: _Job) -> None:
        self._unwatch(job.pidfd)
        os.close(job.pidfd)
        job.pidfd = -1
        job.ended = self._clock()
        if job.phase is _Phase.RUNNING:
            self._set_timer(job, None)
        self._adopt()
        self._settle(job)

    def _on_stray_end(self, stray: _Stray) -> None:
        self._unwatch(stray.pidfd)
        os.close(stray.pidfd)
        del self._strays[stray.pid]
        self._pids.discard(stray.pid)
        self._reap(stray.pid, stray.owners)
        # What it had started itself is our child now.
        self._adopt()
        for job in tuple(stray.owners):
            self._settle(job)

    def _settle(self, job: _Job) -> None:
        """Finish a job of which nothing is left; else see that it comes to that."""
        if job.ended is None or job.id not in self._jobs:
            return
        if not self._own(job):
            self._finish(job)
        elif job.phase is _Phase.RUNNING:
            job.phase = _Phase.LINGERING
            job.deadline = time.monotonic() + _BUSY
            self._set_timer(
                job, self._reactor.call_after(_LINGER, partial(self._linger, job, self._work(job)))
            )

    def _adopt(self) -> None:
        """Find out which processes have become our children, and whose they are."""
        # One that ended after the list was read may have left us children that the list does not have.
        while self._adopt_listed():
            pass

    def _adopt_listed(self) -> bool:
        """Adopt who is on the list of our children now; return whether one of them had ended already."""
        has_reaped = False
        for pid in self._nursery.pids() - self._pids:
            found = processes.look(pid)
            owners = None if found is None else self._owners(pid, found)
            if found is None or owners is None:
                continue
            if found.state == "Z" and self._reap(pid, owners)[0] is not None:
                has_reaped = True
                continue
            if all(job.phase is _Phase.KILLING for job in owners):
                self._kill_stray(pid)
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:
                # No descriptor to await its end with: it shall not live on unseen.
                self._kill_stray(pid)
                continue
            self._strays[pid] = stray = _Stray(pid, pidfd, owners)
            self._pids.add(pid)
            self._watch(pidfd, partial(self._on_stray_end, stray))
        return has_reaped

    def _owners(self, pid: int, found: processes.Look) -> set[_Job] | None:
        """Return the jobs that a child may belong to; None for one that is none of our business."""
        number = self._spawner.job_of(pid)
        if number is None:
            number = self._job_in_environment(pid)
        if number == spawn.NO_JOB:
            # Waits for a step, and we shall hear of it; unless it has ended before that.
            return set() if found.state == "Z" else None
        if number is not None:
            return {self._jobs[number]} if number in self._jobs else set()
        if not self._owns_process or found.session == os.getsid(0):
            # Not a job's: each has a session of its own, and no process comes back from there into ours.
            return None
        return set(self._jobs.values())

    def _job_in_environment(self, pid: int) -> int | None:
        """Return the job that the environment of a process names, where its mark is missing; None where it has none."""
        for pause in (0.0005, 0.001, 0.002, 0.005, 0.01, 0.0):
            found = processes.environment(pid)
            if found.get(processes.RUN_VARIABLE) == self._marker:
                word = found.get(processes.JOB_VARIABLE, "")
                return int(word) if word.isdigit() else -1
            if found:
                return None
            seen = processes.look(pid)
            if seen is None or seen.state == "Z":
                # It has ended, and nothing of it is left to be told by.
                return None
            # In the middle of an exec, which takes long on a busy machine, a process has no environment; after
            # `env -i` it never has one.
            time.sleep(pause)
        return None

    def _own(self, job: _Job) -> list[_Stray]:
        return [stray for stray in self._strays.values() if stray.owners == {job}]

    def _sample(self, job: _Job, after: float) -> None:
        began = time.monotonic()
        self._adopt()
        self._weigh(job)
        # At most a twentieth of our time for a tree of any size.
        after = max(min(2 * after, _SAMPLE), 20 * (time.monotonic() - began))
        job.timer = self._reactor.call_after(after, partial(self._sample, job, after))

    def _weigh(self, job: _Job) -> None:
        job.rss = sum(processes.resident(pid) for pid, _ in self._tree(job))
        job.peak = max(job.peak, job.rss)

    # --- ending ---------------------------------------------------------------------------------

    def stop(self, job: int) -> None:
        """End a job's whole tree; see `Executor.stop`."""
        found = self._jobs.get(job)
        if found is None or found.phase in (_Phase.STOPPING, _Phase.KILLING):
            return
        self._terminate(found, self.grace)

    def _linger(self, job: _Job, before: tuple[int, int]) -> None:
        """Leave what a command left behind alone while it is at work, or end it."""
        self._adopt()
        now = self._work(job)
        is_busy = now != before or any(look.state in "RD" for look in self._looks(job))
        if is_busy and time.monotonic() < job.deadline:
            self._set_timer(job, self._reactor.call_after(_LINGER, partial(self._linger, job, now)))
            return
        job.leftovers = tuple(look.name for look in self._looks(job))
        self._terminate(job, _NOTICE)

    def _work(self, job: _Job) -> tuple[int, int]:
        """Return what grows while a job is at work: its output, and the processor time of who is there."""
        return job.output.total, sum(look.ticks for look in self._looks(job))

    def _looks(self, job: _Job) -> list[processes.Look]:
        looks = (processes.look(pid) for pid, _ in self._tree(job))
        return [look for look in looks if look is not None and look.state != "Z"]

    def _terminate(self, job: _Job, grace: float) -> None:
        job.phase = _Phase.STOPPING
        self._signal(job, signal.SIGTERM, signal.SIGCONT)
        self._set_timer(job, self._reactor.call_after(grace, partial(self._kill, job)))

    def _kill(self, job: _Job) -> None:
        now = time.monotonic()
        self._adopt()
        if job.phase is not _Phase.KILLING:
            names = ", ".join(look.name for look in self._looks(job))
            if names and not job.leftovers:
                job.notes.append(f"killed, because it did not end on SIGTERM: {names}")
            job.phase = _Phase.KILLING
            job.pause = 0.01
            job.deadline = now + _PATIENCE
        self._signal(job, signal.SIGKILL)
        if now < job.deadline:
            self._set_timer(job, self._reactor.call_after(job.pause, partial(self._kill, job)))
            job.pause = min(2 * job.pause, 1.0)
        else:
            self._give_up(job)
            return
        self._settle(job)

    def _signal(self, job: _Job, *numbers: int) -> None:
        """Signal everything that a job consists of, each process once."""
        told: set[int] = set()
        for _ in range(_ROUNDS):
            self._adopt()
            # Listed before any is signalled: once a parent is gone, its children are elsewhere.
            new = [(pid, parent) for pid, parent in self._tree(job) if pid not in told]
            for number in numbers:
                if not told:
                    processes.send_group(job.pid, number)
                for pid, parent in new:
                    processes.send(pid, parent, number, except_group=job.pid)
            if not new:
                break
            # Once more, for what was just forking when we listed has a child now.
            told.update(pid for pid, _ in new)

    def _tree(self, job: _Job) -> list[tuple[int, int]]:
        """Return all processes of a job that are there now, with their parents."""
        roots = [stray.pid for stray in self._own(job)]
        if job.pidfd >= 0:
            roots.append(job.pid)
        below = [found for root in roots for found in processes.descendants(root)]
        return [(root, os.getpid()) for root in roots] + below

    def _kill_stray(self, pid: int) -> None:
        for child, parent in list(processes.descendants(pid)):
            processes.send(child, parent, signal.SIGKILL)
        processes.send_child(pid, signal.SIGKILL)

    def _give_up(self, job: _Job) -> None:
        looks = [(pid, processes.look(pid)) for pid, _ in self._tree(job)]
        names = ", ".join(f"{look.name} (pid {pid})" for pid, look in looks if look is not None)
        job.notes.append(f"still there, because the system does not let it be killed: {names}")
        strays = self._own(job)
        if job.pidfd >= 0:
            self._unwatch(job.pidfd)
            stray = _Stray(job.pid, job.pidfd, set())
            self._strays[job.pid] = stray
            self._watch(stray.pidfd, partial(self._on_stray_end, stray))
            job.pidfd = -1
            job.ended = self._clock()
        for stray in strays:
            stray.owners.clear()
        self._finish(job, is_given_up=True)

    def _finish(self, job: _Job, is_given_up: bool = False) -> None:
        """Reap its leader, take in the last of its output, and report."""
        returncode, usage = self._reap(job.pid, set())
        if returncode is None:
            if not is_given_up:
                # Somebody traces it (strace -p), and is to hear of its end before us.
                if job.phase is not _Phase.KILLING:
                    self._set_timer(job, self._reactor.call_after(0.01, partial(self._settle, job)))
                return
            returncode = -signal.SIGKILL
        self._set_timer(job, None)
        self._unwatch_all(job)
        if job.output.drain(self._buffer) and self._on_output is not None:
            self._on_output(job.id)
        job.output.close()
        self._tails[job.id] = job.output.tails
        self._sums[job.id] = job.output.sums
        if len(self._tails) > _ENDED_TAILS:
            del self._sums[self._tails.popitem(last=False)[0]]
        self._drop(job)
        if usage is not None:
            job.cpu += usage.ru_utime + usage.ru_stime
            largest = usage.ru_maxrss * 1024
            # What is not above our own peak may well be just that, see the class.
            if not job.peak or largest > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024:
                job.peak = max(job.peak, largest)
        if job.phase is not _Phase.KILLING and returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
            self._ask_about_memory(job)
        faults.reach("ended")
        self._report(
            JobEnded(
                job.id,
                returncode,
                self._clock() if job.ended is None else job.ended,
                peak_rss=job.peak or None,
                cpu=job.cpu,
                leftovers=job.leftovers,
                notes=(*job.notes, *job.output.notes),
            )
        )

    def _drop(self, job: _Job) -> None:
        del self._jobs[job.id]
        if job.pid not in self._strays:
            self._pids.discard(job.pid)
        for stray in list(self._strays.values()):
            if job in stray.owners:
                stray.owners.discard(job)
                if not stray.owners:
                    self._kill_stray(stray.pid)

    def _unwatch_all(self, job: _Job) -> None:
        for pipe in job.output.pipes:
            self._unwatch(pipe.fd)
        if job.pidfd >= 0:
            self._unwatch(job.pidfd)
            os.close(job.pidfd)
            job.pidfd = -1

    def _set_timer(self, job: _Job, timer: Timer | None) -> None:
        if job.timer is not None:
            job.timer.cancel()
        job.timer = timer

    def _reap(
        self, pid: int, owners: set[_Job], options: int = os.WNOHANG
    ) -> tuple[int | None, resource.struct_rusage | None]:
        """Take the end of a child from the system. Return its code (None: not yet) and what it used."""
        try:
            ended, status, usage = os.wait4(pid, options)
        except ChildProcessError:
            # Somebody else in this process took it, which can only be in a test.
            return -signal.SIGKILL, None
        if not ended:
            return None, None
        for job in owners if len(owners) == 1 else ():
            job.cpu += usage.ru_utime + usage.ru_stime
        return os.waitstatus_to_exitcode(status), usage

    def _ask_about_memory(self, job: _Job) -> None:
        kills = processes.oom_kills()
        if kills > self._ooms:
            job.notes.append("killed by signal 9, probably because memory ran out")
        self._ooms = kills

    def kill_all(self) -> None:
        """Kill every process of every job and wait for their ends; see `Executor.kill_all`."""
        deadline = time.monotonic() + _KILL_ALL
        jobs = list(self._jobs.values())
        for job in jobs:
            self._set_timer(job, None)
            processes.send_group(job.pid, signal.SIGKILL)
        while time.monotonic() < deadline:
            self._adopt()
            if not self._pids:
                break
            for pid in self._pids:
                # Its own children come to us when it has ended, and have their turn then.
                processes.send_child(pid, signal.SIGKILL)
            self._pids = {pid for pid in self._pids if self._reap(pid, set())[0] is None}
            time.sleep(0.001)
        for job in jobs:
            self._unwatch_all(job)
            job.output.drain(self._buffer)
            job.output.close()
        for stray in self._strays.values():
            self._unwatch(stray.pidfd)
            os.close(stray.pidfd)
        self._jobs.clear()
        self._strays.clear()

    def use_warm(self, is_on: bool) -> None:
        """Start Python steps in interpreters that wait for them, or each in a fresh one."""
        self.warm.use(is_on)

    def close(self) -> None:
        """Kill what is left, and give back all descriptors; see `Executor.close`."""
        self.kill_all()
        self.warm.close()
        self._spawner.close()
        self._nursery.close()
        self._logs.close()

    # --- output ---------------------------------------------------------------------------------

    def tail(self, job: int) -> Tail:
        """Return the end of what a job wrote; see `Executor.tail`."""
        live = self._jobs.get(job)
        kept = live.output.tails if live is not None else self._tails.get(job)
        if kept is None:
            kept = (
                self._logs.read(log_name(job, "stdout"), -TAIL, TAIL),
                self._logs.read(log_name(job, "stderr"), -TAIL, TAIL),
            )
        return Tail(decode(kept[0], live is None), decode(kept[1], live is None))

    def read_log(self, job: int, stream: Stream, offset: int, limit: int) -> bytes:
        """Return a piece of a log; see `Executor.read_log`."""
        return self._logs.read(log_name(job, stream), offset, limit)

    def output(self, job: int, place: tuple[int, int], most: int, *, is_last: bool) -> Found:
        """Return what a job wrote after a place; see `Executor.output`."""
        live = self._jobs.get(job)
        if live is not None:
            return live.output.after(place, most, is_last=is_last)
        return stored(self._logs, job, place, most, is_last=is_last, sums=self._sums.get(job))

    def sums(self, job: int) -> Sums:
        """Return how much a job, live or just ended, has written."""
        live = self._jobs.get(job)
        return live.output.sums if live is not None else self._sums.get(job, Sums((0, 0), 0))

    def memory(self) -> int:
        """Return the bytes of memory that all live jobs used lately; see `Executor.memory`."""
        return sum(job.rss for job in self._jobs.values())

    def forget(self, jobs: Iterable[int]) -> None:
        """Remove the logs of ended jobs; see `Executor.forget`."""
        self._logs.remove(jobs)

    def log_path(self, job: int, stream: Stream) -> str:
        """Return where a log is; see `Executor.log_path`."""
        return os.path.join(self._logs.path, log_name(job, stream))
