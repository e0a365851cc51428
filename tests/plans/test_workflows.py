"""Shell scripts of StepUp users: each folder of `workflows` has a plan, and a `main.sh` that says what comes of it.

The scripts call ``stepup``: here that is stepup_nb. With StepUp 3.0.0 on the PATH they pass as well, but for those
whose first line says what StepUp does instead.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parent / "workflows"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/main.sh"))
PACKAGE = Path(__file__).parents[2]

LONG = 100.0
"""Seconds after which a script counts as hanging."""

AT_ONCE = 3
"""Scripts that run side by side: they mostly wait."""

TAG = "WORKFLOW_UNDER_TEST"
"""By this variable processes are known that a script has left behind."""


class Ended(NamedTuple):
    """What became of a script."""

    code: int | str
    output: str
    left: list[str]
    """Command lines of processes that outlived it."""


def run(name: str, place: Path) -> Ended:
    """Run a script in a copy of its folder."""
    folder, programs = place / name, place / f"{name}.bin"
    shutil.copytree(FOLDER / name, folder)
    programs.mkdir()
    stepup = programs / "stepup"
    stepup.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stepup_nb "$@"\n')
    stepup.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STEPUP")}
    environment |= {
        "PATH": f"{programs}:{environment['PATH']}",
        "WF_SHIM": str(PACKAGE / "stepup_nb" / "shim"),
        TAG: str(folder),
    }
    with (place / f"{name}.out").open("w+b") as output:
        process = subprocess.Popen(
            ["bash", "-x", "main.sh"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | str
        try:
            code = process.wait(LONG)
        except subprocess.TimeoutExpired:
            code = f"none after {LONG:g} s"
        left = dict(_alive(str(folder)))
        if isinstance(code, int) and left:
            left = _after_a_while(left, str(folder))
        for pid in left:
            _kill(pid)
        process.wait()
        output.seek(0)
        return Ended(code, output.read().decode(errors="replace"), sorted(left.values()))


def _alive(tag: str) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if f"{TAG}={tag}\0".encode() in (entry / "environ").read_bytes():
                    yield int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it ended meanwhile, or is somebody else's


def _after_a_while(left: dict[int, str], tag: str) -> dict[int, str]:
    """Return who is still there when those whose end is near have had two seconds for it (SPEC part 6)."""
    for pid in left:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            _wait_for_end(descriptor)
        finally:
            os.close(descriptor)
    return dict(_alive(tag))


def _wait_for_end(descriptor: int) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(3000)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.fixture(scope="module")
def running(request, tmp_path_factory) -> Iterator[dict[str, Future[Ended]]]:
    """All scripts that were chosen: some are always under way, while the tests look at them one by one."""
    place = tmp_path_factory.mktemp("workflows")
    chosen = [
        item.callspec.params["name"]
        for item in request.session.items
        if item.originalname == test_a_workflow_of_stepup_users_goes_as_its_script_says.__name__
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(run, name, place) for name in chosen}
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_of_stepup_users_goes_as_its_script_says(name, running):
    ended = running[name].result()
    assert ended.code == 0, f"main.sh ended with {ended.code}:\n{ended.output}"
    assert not ended.left, f"processes outlived main.sh: {ended.left}\n{ended.output}"
