"""What Binder makes of this repository: the files that tell it, followed as its builder (repo2docker) follows them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest

from stepup_nb.client import machine

ROOT = Path(__file__).parent.parent
BINDER = ROOT / "binder"
UNDERSTOOD = {"apt.txt", "runtime.txt", "requirements.txt", "postBuild", "start"}
"""Files of `binder/` that the test below follows, in this order."""

SERVER = {"CPU_LIMIT": "0.5", "MEM_LIMIT": str(1 << 30)}
"""What a hub tells a small server."""


def python_version() -> str:
    """Return the version that `binder/runtime.txt` names."""
    found = re.fullmatch(r"python-(\d+\.\d+)\n?", (BINDER / "runtime.txt").read_text())
    assert found, "binder/runtime.txt is to name a version of Python, as in 'python-3.11'"
    return found[1]


def run(*command: str | Path, folder: Path, **more: str) -> str:
    """Run a command to its end; return what it printed."""
    # Of this process' Python and Jupyter nothing is to be found there.
    own = ("JUPYTER", "JPY_", "PYTHON", "PYTEST_", "STEPUP_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    done = subprocess.run(
        [os.fspath(word) for word in command],
        cwd=folder,
        env={**kept, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


def test_the_launch_link_leads_into_the_first_lesson() -> None:
    (link,) = re.findall(r"\]\((https://mybinder\.org/v2/[^)]*)\)", (ROOT / "README.md").read_text())
    (path,) = parse_qs(urlsplit(link).query)["urlpath"]
    first = min((ROOT / "notebooks").glob("*.ipynb"))
    assert path == f"lab/tree/{first.relative_to(ROOT)}"


def test_binder_builds_with_a_python_that_we_support() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert tuple(map(int, python_version().split("."))) >= (3, 11)


def test_a_small_server_has_one_worker_and_knows_its_memory() -> None:
    nowhere = Path("/nowhere")
    assert machine.usable_cores(SERVER, nowhere, nowhere) == 1
    assert machine.usable_memory(SERVER, nowhere, nowhere) == 1 << 30


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.timeout(1800)
def test_what_binder_builds_runs_the_first_lesson(tmp_path: Path) -> None:
    python = shutil.which(f"python{python_version()}")
    if python is None:
        pytest.skip(f"there is no Python {python_version()}, which Binder would have")
    assert {path.name for path in BINDER.iterdir()} <= UNDERSTOOD, "this test does not follow all of them"
    home = tmp_path / "home"
    for name in run("git", "ls-files", folder=ROOT).splitlines():
        if (ROOT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, home / name)

    if (BINDER / "apt.txt").exists():
        for package in (BINDER / "apt.txt").read_text().split():
            run("dpkg", "--status", package, folder=home)
    environment = tmp_path / "environment"
    run(python, "-m", "venv", environment, folder=home)
    path = os.pathsep.join((os.fspath(environment / "bin"), os.environ["PATH"]))
    run(environment / "bin/pip", "install", "--quiet", "-r", "binder/requirements.txt", folder=home)
    if (BINDER / "postBuild").exists():
        run("binder/postBuild", folder=home, PATH=path)

    start = [home / "binder/start"] if (BINDER / "start").exists() else []
    first = min((home / "notebooks").glob("*.ipynb"))
    # Jupyter starts in the root of the repository, a kernel in the folder of its notebook.
    run(*start, "jupyter", "execute", "--inplace", first.relative_to(home), folder=home, PATH=path, **SERVER)
    outputs = [
        output.get("data", {}).get("text/plain", "")
        for cell in nbformat.read(first, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert any("3 steps: 3 succeeded" in output for output in outputs)
