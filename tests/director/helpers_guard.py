"""A kernel, a guard and a director as three real processes, to see what dies with whom.

The director is a small one of the test's own: it stands where `stepup_nb.director.host` would.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from director.helpers_processes import until

import stepup_nb
from stepup_nb.director import guard

PACKAGE = Path(stepup_nb.__file__).parent

KERNEL = """
    import os, signal, subprocess, sys
    guard = subprocess.Popen(sys.argv[1:2] + ["-I", "-S", sys.argv[2], str(os.getpid()), sys.argv[3]],
                             start_new_session=True, cwd="/", stdin=subprocess.DEVNULL)
    with open(sys.argv[4], "w") as file:
        file.write(f"{guard.pid}\\n")
    guard.wait()
    with open(sys.argv[4], "a") as file:
        file.write(f"{guard.returncode}\\n")
    signal.pause()
"""

HOST = """
    import os, sys
    from stepup_nb.director.local import LocalExecutor
    from stepup_nb.director.output import LogFolder
    from stepup_nb.director.processes import run_marker, watch_parent
    from stepup_nb.director.reactor import Reactor

    def main(arguments):
        reactor = Reactor()
        executor = LocalExecutor(
            reactor,
            lambda end: None,
            logs=LogFolder(arguments["folder"] + "/logs"),
            marker=run_marker(arguments["database"]),
        )

        def die():
            executor.kill_all()
            os._exit(9)

        watch_parent(reactor, die, arguments["guard"])
        for number, command in enumerate(arguments["commands"]):
            executor.start(number, ["/bin/sh", "-c", command], "/", {"PATH": "/usr/bin:/bin"})
        with open(arguments["folder"] + "/director", "w") as file:
            file.write(f"{os.getpid()}\\n")
        while not os.path.exists(arguments["folder"] + "/end"):
            reactor.turn(0.01)
        return 7
"""


class House:
    """A kernel with its guard and its director, which runs some commands."""

    def __init__(self, folder: Path, *commands: str, host: str = HOST) -> None:
        self.folder = folder
        for package in ("stepup_nb", "stepup_nb/director"):
            (folder / package).mkdir()
            real = PACKAGE.parent / package
            (folder / package / "__init__.py").write_text(f"__path__.append({str(real)!r})\n")
        (folder / "stepup_nb/director/host.py").write_text(textwrap.dedent(host))
        # Its own, for a sweep by another run of these tests is none of ours.
        self.database = f"test-{os.urandom(4).hex()}"
        arguments = {"folder": str(folder), "commands": list(commands), "database": self.database}
        given = {"path": [str(folder)], "arguments": arguments}
        self.kernel = subprocess.Popen(
            [
                *(sys.executable, "-c", textwrap.dedent(KERNEL), sys.executable, guard.__file__),
                *(json.dumps(given), str(folder / "guard")),
            ],
            stderr=(folder / "stderr").open("wb"),
        )
        until(lambda: self._read("guard"))
        self.guard = int(self._read("guard")[0])

    def wait_for_director(self) -> None:
        """Wait until the director runs, and keep its number."""
        until(lambda: self._read("director"))
        self.director = int(self._read("director")[0])

    def guard_ended(self) -> int:
        """Wait for the guard's end, and return its exit status as the kernel saw it."""
        until(lambda: len(self._read("guard")) == 2)
        return int(self._read("guard")[1])

    def end(self) -> None:
        """Let the director end by itself."""
        (self.folder / "end").touch()

    def close(self) -> None:
        """End the kernel, and with it, if all is well, the rest."""
        self.kernel.kill()
        self.kernel.wait()
        until(lambda: not is_alive(self.guard))

    def _read(self, name: str) -> list[str]:
        try:
            text = (self.folder / name).read_text()
        except FileNotFoundError:
            return []
        return text.split("\n")[:-1]


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in b"ZX"
    except OSError:
        return False
