"""Starts one process: where, as whom, with nothing inherited that was not given, and marked for life.

Knows nothing of jobs but their numbers, and nothing of what becomes of a process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import posixpath
import resource
import signal
import threading
import zlib
from collections.abc import Mapping, Sequence

from stepup_nb.director.direct import direct, find
from stepup_nb.director.executor import CannotStart

_CLONE_FS = 0x200
_libc = ctypes.CDLL(None, use_errno=True)

_CATCHABLE = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]

# Linux keeps this limit (on file locks, RLIMIT_LOCKS) for each process and has not used it since 2.4.25. That
# makes it the one mark that a whole tree inherits and that neither `env -i` nor `setsid` takes off.
_MARK_LIMIT = 10

NO_JOB = 0xFFFFFFFF
"""In place of a job's number: a process of ours that belongs to none, and becomes none's leftover."""


class Spawner:
    """Starts processes in sessions of their own, with nothing inherited but what is given.

    Parameters
    ----------
    run
        The marker of the run; see `run_marker`. Belongs, as all of this, to the thread that starts.
    """

    def __init__(self, run: str) -> None:
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._run = zlib.crc32(run.encode()) >> 1 << 32
        self._limit = resource.getrlimit(_MARK_LIMIT)
        if threading.current_thread() is not threading.main_thread():
            # A current directory of this thread's own. Where it is refused (some containers), the others see
            # ours change for some 100 µs; that concerns tests and debugging only.
            _libc.unshare(_CLONE_FS)

    def start(
        self,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        job: int,
        stdout: int,
        stderr: int,
        *more: int,
    ) -> int:
        """Start a command and return its process number; raise `CannotStart`. More descriptors become 3 and so on."""
        try:
            os.chdir(cwd)
        except (OSError, ValueError) as error:
            raise _cannot_enter(error, cwd) from None
        try:
            self._mark(self._run | job & 0xFFFFFFFF)
            if (found := direct(argv, env)) is not None:
                try:
                    return self._spawn(*found, {**env, "PWD": _here(cwd, env)}, stdout, stderr, *more)
                except OSError:
                    # What is there to be done, or said, about that is a matter of the shell.
                    pass
            program = argv[0] if "/" in argv[0] else _find(argv[0], env.get("PATH", os.defpath))
            return self._spawn(program, argv, env, stdout, stderr, *more)
        except (OSError, ValueError) as error:
            raise cannot_start(error, argv[0]) from None
        finally:
            self._mark(self._limit[0])
            os.fchdir(self._home)

    def _spawn(self, program: str, argv: Sequence[str], env: Mapping[str, str], *fds: int) -> int:
        return os.posix_spawn(
            program,
            list(argv),
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((self._null, *fds))],
            setsid=True,
            setsigmask=(),
            setsigdef=_CATCHABLE,
        )

    def enter(self, cwd: str) -> int:
        """Return a descriptor of a directory, for another process to enter; raise `CannotStart` where none may."""
        try:
            os.chdir(cwd)
            return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise _cannot_enter(error, cwd) from None
        finally:
            os.fchdir(self._home)

    def mark(self, pid: int, job: int) -> None:
        """Mark a child of ours that runs as a job's."""
        try:
            resource.prlimit(pid, _MARK_LIMIT, (self._run | job & 0xFFFFFFFF, self._limit[1]))
        except (OSError, ValueError):
            # As below.
            pass

    def job_of(self, pid: int) -> int | None:
        """Return the job of this run that an unreaped child descends from; None where the mark is missing."""
        try:
            mark = resource.prlimit(pid, _MARK_LIMIT)[0]
        except OSError:
            return None
        return mark & 0xFFFFFFFF if mark >> 32 << 32 == self._run and mark >= 0 else None

    def close(self) -> None:
        """Give back the descriptors."""
        os.close(self._null)
        os.close(self._home)

    def _mark(self, soft: int) -> None:
        try:
            resource.setrlimit(_MARK_LIMIT, (soft, self._limit[1]))
        except (OSError, ValueError):
            # A lower hard limit: orphans are told apart by their environment then.
            pass


def _here(cwd: str, env: Mapping[str, str]) -> str:
    """Return what a shell would say where it is: what it was told, if that is so, else the place without links."""
    told = env.get("PWD", "")
    return told if told == posixpath.normpath(cwd) else os.getcwd()


def _find(name: str, path: str) -> str:
    program = find(name, path)
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return program


_FULL = {
    errno.EAGAIN: "SNB-510 the system refused a new process (a limit on their number?)",
    errno.ENOMEM: "SNB-510 there is no memory for a new process",
    errno.EMFILE: "SNB-510 too many files are open",
    errno.ENFILE: "SNB-510 too many files are open on this machine",
}


def _cannot_enter(error: Exception, cwd: str) -> CannotStart:
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        return CannotStart(_FULL[number], is_transient=True, is_full=True)
    if number == errno.ENOENT:
        return CannotStart(f"its directory '{cwd}' is not there; create it, or give another --workdir")
    if number == errno.ENOTDIR:
        return CannotStart(f"'{cwd}' is not a directory; give another --workdir")
    if number == errno.EACCES:
        return CannotStart(f"its directory '{cwd}' may not be entered: permission denied")
    return CannotStart(f"its directory '{cwd}' cannot be used: {_plain(error)}")


def cannot_start(error: Exception, program: str) -> CannotStart:
    """Return in words why a command could not be started, and whether that may pass."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        return CannotStart(_FULL[number], is_transient=True, is_full=True)
    if number == errno.ETXTBSY:
        return CannotStart("its program is being written by another process", is_transient=True)
    if number == errno.ENOENT:
        if "/" in program and os.path.lexists(program):
            return CannotStart(f"the interpreter that '{program}' names is not there")
        return CannotStart(f"there is no command '{program}'; check its spelling and the PATH")
    if number == errno.EACCES:
        return CannotStart(f"'{program}' may not be executed: permission denied; try chmod +x")
    if number == errno.ENOTDIR:
        return CannotStart(f"there is no command '{program}': a part of its path is not a directory")
    if number == errno.ENOEXEC:
        return CannotStart(f"'{program}' is neither a program nor a script with a first line like #!/bin/sh")
    if number == errno.E2BIG:
        return CannotStart("its command line or its environment is too long; pass long lists by a file")
    return CannotStart(f"'{program}' cannot be started: {_plain(error)}")


def _plain(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
