"""Forks a director, watches it and its kernel, and kills everything below when either ends.

Run by itself, as ``python -I -S guard.py KERNEL DIRECTOR``, by the process whose number ``KERNEL`` is, in a
session of its own. ``DIRECTOR`` is a JSON object: ``path``, the entries to append to ``sys.path`` of the
director, and ``arguments``, an object for `stepup_nb.director.host.main`, which gets one key more,
``guard``, this process's number (see `processes.watch_parent`); the socket in its ``folder``, and then the
empty folder, are removed in the end. Anybody on the machine can read all that: no secrets. The director
inherits stdin, stdout, stderr and every other descriptor that this process was given; here they are closed,
so that whoever reads them sees the director's end. Where ``module`` is given, it is another module beside this
one whose ``main`` is called: that of a station, which works for a worker as the director does for a kernel.

Knows nothing of steps, and imports next to nothing: what stays behind is small, and has no reason to fail.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from types import FrameType

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

KERNEL_GONE = 3
"""Exit status where the kernel had ended before anything was done."""

_IN_ORDER = 1.0
"""Seconds for a director whose kernel has ended to end by itself, with all that it runs."""

_PATIENCE = 10.0
"""Seconds after which what SIGKILL could not end is left to the system: it dies when that lets go of it."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Fork the director and outlive it; return its exit status, 0 where the kernel or a SIGTERM ended it."""
    kernel = int(sys.argv[1])
    kernel_end = _watch_kernel(kernel)
    if kernel_end < 0:
        return KERNEL_GONE
    _name("stepup-guard")
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    # Children that end must wait to be reaped, and no signal that the kernel ignores must be ignored below.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    for number in _SIGNALS:
        # A handler, for what is ignored would be ignored by every step as well.
        signal.signal(number, _take_note)

    guard = os.getpid()
    director = os.fork()
    if director == 0:
        for fd in (kernel_end, woken, wake):
            if fd == wake:
                signal.set_wakeup_fd(-1)
            os.close(fd)
        return _direct(guard)

    director_end = os.pidfd_open(director)
    _let_go(kernel_end, woken, wake, director_end)
    ends = select.poll()
    for fd in (kernel_end, director_end, woken):
        ends.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in ends.poll()]
        if director_end in ready:
            _, status = os.waitpid(director, 0)
            code = os.waitstatus_to_exitcode(status)
            _kill_all()
            _clear(sys.argv[2])
            return code if code >= 0 else 128 - code
        if kernel_end in ready or signal.SIGTERM in os.read(woken, 64):
            if kernel_end in ready:
                # Not at once by force: whoever kills this process in the next moment would find nobody left to
                # kill the steps. The director closes its database, too.
                os.kill(director, signal.SIGTERM)
                ends.unregister(kernel_end)
                ends.unregister(woken)
                ends.poll(_IN_ORDER * 1000)
            _kill_all()
            _clear(sys.argv[2])
            return 0


def _watch_kernel(kernel: int) -> int:
    """Return a descriptor that becomes readable when the kernel ends; -1 where it has."""
    try:
        fd = os.pidfd_open(kernel)
    except ProcessLookupError:
        return -1
    # While it is our parent, its number is its own: the descriptor is of no other process.
    return fd if os.getppid() == kernel else -1


def _take_note(number: int, frame: FrameType | None) -> None:
    """Do nothing: the number of the signal is in the pipe."""


def _direct(guard: int) -> int:
    """Become the director."""
    # A group of its own: a signal to the guard's group shall not hit both at once.
    os.setpgid(0, 0)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    import json
    from importlib import import_module

    given = json.loads(sys.argv[2])
    module = given.get("module", "host")
    _name("stepup-director" if module == "host" else f"stepup-{module}")
    sys.path += given["path"]
    program = import_module(f"stepup_nb.director.{module}")
    code: int = program.main({**given["arguments"], "guard": guard})
    return code


def _let_go(*own: int) -> None:
    """Close every descriptor that is not our own."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in own:
            try:
                os.close(fd)
            except OSError:
                # It was that of the listing.
                pass


def _kill_all() -> None:
    """Kill every process below this one, however it got away from its parent."""
    deadline = time.monotonic() + _PATIENCE
    pause = 0.001
    while time.monotonic() < deadline:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb", buffering=0) as file:
            children = file.read()
        for child in children.split():
            try:
                # Ours until we reap it, so the number is safe. What it has below comes to us when it is dead.
                os.kill(int(child), signal.SIGKILL)
            except PermissionError:
                # Another user's, as below `sudo`.
                pass
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                return
        time.sleep(pause)
        pause = min(1.2 * pause, 0.1)


def _clear(director: str) -> None:
    """Remove the folder with the director's socket: one that was killed cannot do that itself."""
    import json

    folder = json.loads(director)["arguments"].get("folder")
    if folder:
        for remove, path in ((os.unlink, f"{folder}/socket"), (os.rmdir, folder)):
            try:
                remove(path)
            except OSError:
                pass


def _name(name: str) -> None:
    """Set the name by which tools like top show this process."""
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
