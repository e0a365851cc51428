"""Plans that are written from a session, run by `stepup-nb boot` and by StepUp itself: the same files come out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client.helpers_session import session_in

from stepup_nb.client.exporting import export_plan
from stepup_nb.client.session import Session
from stepup_nb.core.declare import PYTHON_CODE, SCRIPT_SHELL
from stepup_nb.core.errors import UsageError

GIVEN = {
    "data/größe 1.txt": "b\na\n",
    "it's.txt": "it is\n",
    "helper.py": "X = 1\n",
    "make.py": "#!/usr/bin/env python3\nimport helper\nprint(helper.X, file=open('made.txt', 'w'))\n",
    "sub/plan.py": "#!/usr/bin/env python3\n"
    "try:\n    from stepup.core.api import runsh as run\n    words = {}\n"
    "except ImportError:\n    from stepup.core.api import run\n    words = {'shell': True}\n"
    "run('echo sub > sub.txt', out='sub.txt', **words)\n",
    "../beside/shared.txt": "shared\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    found = tmp_path / "mine" / "project"
    write_given(found)
    return found


@pytest.fixture
def session(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("MODE", "fast & good")
    session = session_in(project)
    yield session
    session.close()


def write_given(folder: Path) -> None:
    for name, text in GIVEN.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def declare(session: Session, *, dollars: bool = True) -> None:
    """Declare a pipeline that has of everything something."""
    session.pool("test", 2)
    session.pool("mem", 8)
    session.static("it's.txt")
    # `$0` is the shell's own; in a pipeline that fails, `pipefail` shows.
    session.declare(
        "runsh",
        "echo \"$0: $MODE\t'$HOME'\" > ${out}\nfalse | cat || echo 'pipe \"failed\"' >> out/a.txt\n",
        shell=SCRIPT_SHELL,
        out="out/a.txt",
        env="MODE",
        pool="test",
    )
    own = (
        "[ $$ -gt 1 ] && echo '$$$ $${inp}' '$'{out} "
        if dollars
        else "echo '{inp}' $((1 + 1)) ${nope:-none} "
    )
    session.declare(
        "runsh",
        own + "> ${out}; cat ${inp} > out/deep/b.vol",
        inp=["data/größe 1.txt", "../beside/shared.txt"],
        out=["out/deep/größe 'x' \"y\".txt"],
        vol="out/deep/b.vol",
        pool={"mem": 4},
    )
    session.declare(
        "runsh",
        'sort "größe 1.txt" "../it\'s.txt" > ../sorted.txt',
        inp=["größe 1.txt", "../it's.txt"],
        out="../sorted.txt",
        workdir="data",
        pool="test",
    )
    session.declare("runsh", "cat sorted.txt > after.txt", out="after.txt", after="sort")
    for _ in range(2):
        session.declare("runsh", "sleep 0.01")
    session.declare("runpy", "./make.py", inp="make.py", out="made.txt")
    session.declare(
        "runpy",
        "import helper\nopen('cell.txt', 'w').write(f'{helper.X!r} \"quoted\"')\n",
        shell=PYTHON_CODE,
        out="cell.txt",
    )
    session.declare("copy", "cell.txt out/copy.txt", inp="cell.txt", out="out/copy.txt")
    session.declare("runsh", "cat sub/sub.txt > both.txt", inp="sub/sub.txt", out="both.txt")
    session.boot("sub/plan.py")
    report = session.wait()
    assert (report["how"], report["failed"]) == ("done", []), report


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a project, by path: neither state nor plans of it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and not {".stepup", "__pycache__"} & {*path.parts}
        and ".stepup.db" not in path.name
        and path.parent / path.name != folder / "plan.py"
        and path.name != "exported.py"
    }


def run_in_a_clone(project: Path, words: list[str | os.PathLike[str]], **variables: str) -> dict[str, bytes]:
    """Run the exported plan where nothing was built, and return the files that are there then."""
    clone = project.parents[1] / "clone" / "project"
    write_given(clone)
    shutil.copy2(project / "exported.py", clone / "plan.py")
    ran = subprocess.run(
        words,
        cwd=clone,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return files(clone)


def test_our_own_boot_makes_the_same_files_of_the_exported_plan(session, project):
    # `$$` is not among it, which StepUp 3 halves and we leave alone.
    declare(session, dollars=False)
    export_plan(session, "exported.py")
    words = [sys.executable, "-m", "stepup_nb", "boot", "-n", "2"]
    assert run_in_a_clone(project, words) == files(project)


def stepup(version: int) -> Path:
    """Return the program of a StepUp in an environment of its own, which is set up where it is not there yet."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        import peers
    finally:
        del sys.path[0]
    try:
        return Path(peers.program(f"stepup{version}", "stepup"))
    except peers.Absent as absent:
        pytest.skip(str(absent))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", [3, 4])
def test_stepup_makes_the_same_files_of_the_exported_plan(session, project, version):
    program = stepup(version)
    declare(session)
    export_plan(session, "exported.py", stepup=version)
    words: list[str | os.PathLike[str]] = [program, "boot", "-n", "2"]
    limits = {}
    if version == 4:
        words = [program, "build", "-j", "2", "-k"]
        limits["STEPUP_BUILD_RESOURCES"] = "mem:8,test:2"
        assert "STEPUP_BUILD_RESOURCES=mem:8,test:2 stepup build" in (project / "exported.py").read_text()
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    assert run_in_a_clone(project, words, PATH=path, **limits) == files(project)


def test_two_exports_are_the_same_text_and_nothing_is_overwritten_unasked(session, project):
    declare(session)
    warnings = export_plan(session, "exported.py")
    text = (project / "exported.py").read_text()
    assert any("MODE" in warning for warning in warnings)
    assert "fast" not in text
    with pytest.raises(UsageError, match=r"'exported\.py' is there already") as refused:
        export_plan(session, "exported.py")
    assert refused.value.code == "SNB-170"
    (project / "exported.py").write_text("mine\n")
    export_plan(session, "exported.py", force=True)
    assert (project / "exported.py").read_text() == text
    assert os.access(project / "exported.py", os.X_OK)
    assert sorted(path.name for path in project.glob(".plan*")) == []


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as refused:
        call()
    return refused.value.code


def test_what_cannot_be_exported_is_refused(session, project):
    assert refusal(lambda: export_plan(session, "exported.py")) == "SNB-172"
    session.declare("runsh", "cat helper.py", inp="helper.py")
    assert refusal(lambda: export_plan(session, "exported.py", stepup=5)) == "SNB-172"
    assert refusal(lambda: export_plan(session, "data/plan.py")) == "SNB-171"
    assert refusal(lambda: export_plan(session, "helper.py", force=True)) == "SNB-170"
    assert (project / "helper.py").read_text() == GIVEN["helper.py"]
