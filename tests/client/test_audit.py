"""A race audit: what it finds, what it refuses, and that nothing of the user's is touched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from client.helpers_audit import CURED, audited, pages
from client.helpers_session import session_in, until

from stepup_nb.client.audit import Asked, Audit
from stepup_nb.client.session import Session
from stepup_nb.core.errors import UsageError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    found.mkdir()
    return found


@pytest.fixture
def mine(project: Path) -> Iterator[Session]:
    session = session_in(project)
    yield session
    session.close()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the copies go: nowhere else, and nothing is left there."""
    found = tmp_path / "scratch"
    found.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    return found


def copies(scratch: Path) -> list[Path]:
    return list(scratch.glob("stepup-nb-audit-*"))


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return what tells whether somebody touched a file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        # Logs and database of the session itself go on.
        if path.is_file() and ".stepup" not in path.as_posix():
            stat = path.stat()
            found[str(path)] = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


def test_a_converter_with_a_fixed_scratch_file_is_found_though_it_never_fails(mine, project, scratch):
    pages(mine, project)
    mine.wait()
    before = tree(project)

    report = audited(mine, {"test": [1, 4]})

    wrong = [one for one in report.findings.differing if not one.follows]
    assert wrong
    assert {one.run for one in wrong} == {"test=4"}
    assert all(one.output and one.output.startswith("page") for one in wrong)
    assert any("'THIS IS PAGE" in one.what for one in wrong)
    follows = [one for one in report.findings.differing if one.follows]
    assert [one.output for one in follows] == ["book.out"]
    assert report.findings.unsteady == ()
    assert tree(project) == before
    assert copies(scratch) == []


def test_a_converter_with_a_scratch_file_of_its_own_differs_in_nothing(mine, project):
    pages(mine, project, CURED)
    report = audited(mine, {"test": [1, 4]})
    assert report.findings.differing == report.findings.unsteady == ()
    assert [run.words for run in report.runs] == ["test=1", "test=4"]
    assert {made.state for run in report.runs for made in run.steps.values()} == {"SUCCEEDED"}
    assert report.steps == 9
    # Two workers of the session would be the limit, and not the pool.
    assert report.workers == 4


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_converter_is_found_in_ten_of_ten_audits_and_its_cure_in_none(tmp_path):
    for name, converter, is_wrong in (("wrong", None, True), ("cured", CURED, False)):
        folder = tmp_path / name
        folder.mkdir()
        session = session_in(folder)
        try:
            pages(session, folder, *([converter] if converter else []))
            found = [bool(audited(session, {"test": [1, 4]}).findings.differing) for _ in range(10)]
        finally:
            session.close()
        assert found == [is_wrong] * 10, name


def test_a_step_that_fails_beside_another_is_found_by_how_it_ends(mine):
    mine.pool("lock", 1)
    # Who has the lock keeps it until somebody else has tried, or a second has gone by.
    holding = "for i in 1 2 3 4 5 6 7 8 9 10; do [ -e tried ] && break; sleep 0.1; done; rmdir busy"
    for i in range(2):
        mine.declare("runsh", f"mkdir busy || {{ touch tried; exit 3; }}; {holding}; : {i}", pool="lock")
    found = audited(mine, {"lock": [1, 2]}).findings.differing
    assert found
    assert all(one.output is None for one in found)
    assert "succeeds with lock=1; fails with lock=2: exit code 3: mkdir:" in found[0].what


def test_what_is_different_each_time_is_no_matter_of_the_pool(mine):
    mine.pool("test", 1)
    mine.declare("runsh", "date +%N > now.txt", out="now.txt", pool="test", name="now")
    mine.declare("runsh", "echo 1 > one.txt", out="one.txt", pool="test")
    findings = audited(mine, {"test": [1, 2]}).findings
    assert findings.differing == ()
    assert [one.step for one in findings.unsteady] == ["now"]


def test_what_succeeds_in_no_run_is_said_not_to_be_compared(mine):
    mine.pool("test", 1)
    mine.declare("runsh", "exit 4", pool="test", name="broken")
    findings = audited(mine, {"test": [1, 2]}).findings
    assert findings.differing == ()
    assert findings.failing == ("broken",)


def test_only_the_steps_that_are_asked_for_run_with_what_they_need(mine):
    mine.pool("test", 1)
    mine.declare("runsh", "echo 1 > a", out="a", name="first")
    mine.declare("runsh", "cat a > b", inp="a", out="b", pool="test", name="second")
    mine.declare("runsh", "echo 3 > c", out="c", pool="test", name="third", after=["second"])
    mine.declare("runsh", "echo 4 > d", out="d", pool="test", name="apart")
    report = audited(mine, {"test": [1, 2]}, steps=("second",))
    assert set(report.runs[0].steps) == {"first", "second"}
    assert set(audited(mine, {"test": [1, 2]}, steps=("third",)).runs[0].steps) == {
        "first",
        "second",
        "third",
    }


def test_steps_get_the_environment_they_were_declared_with(mine, monkeypatch):
    mine.pool("test", 1)
    monkeypatch.setenv("MODE", "fast")
    mine.declare("runsh", 'echo "$MODE" > mode.txt', out="mode.txt", env="MODE", pool="test", name="mode")
    monkeypatch.setenv("MODE", "slow")
    (made,) = audited(mine, {"test": [1, 2]}).runs[0].steps.values()
    assert made.out["mode.txt"].text == "fast\n"


def test_what_a_plan_declares_is_audited_with_it(mine, project):
    plan = project / "plan.py"
    plan.write_text(
        "#!/usr/bin/env python3\n"
        "from stepup.core.api import runsh\n"
        "for i in range(3):\n"
        "    runsh(f'echo {i} > {i}.txt', out=f'{i}.txt', pool='test')\n"
    )
    plan.chmod(0o755)
    mine.pool("test", 1)
    mine.boot("plan.py")
    assert mine.wait()["how"] == "done"
    report = audited(mine, {"test": [1, 3]})
    assert report.findings.differing == ()
    assert report.steps == 4


def test_a_pool_that_a_plan_gives_its_size_cannot_be_audited(mine, project):
    plan = project / "plan.py"
    plan.write_text(
        "#!/usr/bin/env python3\nfrom stepup.core.api import pool, runsh\n"
        "pool('test', 2)\nrunsh('true', pool='test')\n"
    )
    plan.chmod(0o755)
    mine.boot("plan.py")
    mine.wait()
    assert refusal(mine, "SNB-160") == "a step of the audit, a plan perhaps, gives it a size itself"


def test_the_copy_has_inputs_links_and_times_and_no_outputs_state_or_git(mine, project, scratch):
    (project / "data").mkdir()
    (project / "data" / "in.txt").write_text("in\n")
    os.utime(project / "data" / "in.txt", ns=(10**18, 10**18))
    (project / "relative").symlink_to("data/in.txt")
    (project / "absolute").symlink_to(project / "data")
    (project / ".git").mkdir()
    (project / ".git" / "config").write_text("mine\n")
    outside = project.parent / "shared.txt"
    outside.write_text("shared\n")
    mine.pool("test", 1)
    mine.declare(
        "runsh",
        "cat data/in.txt ../shared.txt > out.txt; stat -c %Y data/in.txt > time.txt; "
        "readlink relative absolute > links.txt",
        inp=["data/in.txt", "../shared.txt"],
        out=["out.txt", "links.txt", "time.txt"],
        pool="test",
    )
    mine.wait()
    report = audited(mine, {"test": [1, 2]}, keep=True)
    (made,) = report.runs[0].steps.values()
    texts = {path: content.text for path, content in made.out.items()}
    assert texts == {
        "out.txt": "in\nshared\n",
        "links.txt": "data/in.txt\ndata\n",
        "time.txt": "1000000000\n",
    }
    (folder,) = copies(scratch)
    copy = Path(report.folders[0])
    assert copy == Path(f"{folder}/run0{project}")
    assert {path.name for path in copy.iterdir()} == {"data", "relative", "absolute", *texts}
    assert (copy / "data" / "in.txt").stat().st_nlink == 1


def test_a_step_that_writes_by_an_absolute_path_is_refused_before_anything_is_copied(
    mine, project, monkeypatch
):
    mine.pool("test", 1)
    mine.declare("runsh", f"echo 1 > {project}/a.txt", out="a.txt", pool="test", name="absolute")
    assert refusal(mine) == f"its command names '{project}', and an audit runs steps in a copy of it"
    mine.declare("runsh", f"echo 1 > {project}s/a.txt", pool="test", name="absolute")
    audited(mine, {"test": [1, 2]})

    monkeypatch.setenv("TARGET", f"{project}/b.txt")
    mine.declare("runsh", 'echo 1 > "$TARGET"', pool="test", name="absolute")
    assert refusal(mine).startswith("its command names the environment variable TARGET")

    (project / "write.sh").write_text(f"#!/bin/sh\necho 1 > {project}/c.txt\n")
    (project / "write.sh").chmod(0o755)
    mine.declare("runsh", "./write.sh", pool="test", name="absolute")
    assert refusal(mine).startswith("'./write.sh' names")
    mine.declare("runsh", f"cat {project}/write.sh > d.txt", out="d.txt", pool="test", name="absolute")
    report = audited(mine, {"test": [1, 2]}, allow_absolute=True)
    assert report.findings.failing == report.findings.differing == ()


def refusal(session: Session, code: str = "SNB-161", **more: object) -> str:
    with pytest.raises(UsageError) as refused:
        audited(session, {"test": [1, 2]}, **more)
    assert refused.value.code == code
    return refused.value.why


def test_outputs_outside_of_the_project_are_refused_also_by_way_of_a_link(mine, project):
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    mine.pool("test", 1)
    mine.is_outside_allowed = True
    mine.declare("runsh", "echo 1 > ../elsewhere/a", out="../elsewhere/a", pool="test", name="out")
    assert "in a copy of the project" in refusal(mine)
    (project / "link").symlink_to(elsewhere)
    mine.declare("runsh", "echo 1 > link/b", out="link/b", pool="test", name="out")
    assert "symbolic link" in refusal(mine)
    mine.declare("runsh", "pwd", workdir=str(elsewhere), pool="test", name="out")
    assert "in a copy of the project" in refusal(mine)


def test_a_project_that_is_too_large_is_not_copied_unless_the_user_says_so(mine, project):
    pages(mine, project, CURED, number=1)
    with (project / "large.dat").open("wb") as file:
        file.truncate(3_000_000)
    with pytest.raises(UsageError, match=r"The project is too large: 3 MB in \d+ files") as refused:
        audited(mine, {"test": [1, 2]}, most=2)
    assert "--most 4" in refused.value.fix
    audited(mine, {"test": [1, 2]}, most=4)


@pytest.mark.parametrize(
    ("pools", "what"),
    [
        ({}, "An audit needs a pool."),
        ({"tset": [1, 2]}, "There is no pool 'tset'; did you mean 'test'?"),
        ({"idle": [1, 2]}, "No step of the audit asks for pool 'idle'."),
        ({"test": [1]}, "Pool 'test' needs two different sizes at least, none of them 0."),
        ({"test": [1, 1]}, "Pool 'test' needs two different sizes at least, none of them 0."),
        ({"test": [1, 2], "idle": [1, 2, 3]}, "The pools have different numbers of sizes."),
        ({"mem": [2, 8]}, "With 2 slots in pool 'mem', 'wide' cannot run."),
        ({"gpu": [1, 3]}, "Pool 'gpu' has 2 tokens."),
    ],
)
def test_what_compares_nothing_is_refused(mine, pools, what):
    mine.pool("test", 1)
    mine.pool("idle", 1)
    mine.pool("mem", 8)
    mine.pool("gpu", 2, ["a", "b"])
    mine.declare("runsh", "true", pool="test")
    mine.declare("runsh", "true", pool={"mem": 4, "gpu": 1}, name="wide")
    with pytest.raises(UsageError) as refused:
        audited(mine, pools)
    assert (refused.value.code, refused.value.what) == ("SNB-160", what)


def test_an_audit_that_is_stopped_leaves_no_process_and_no_folder(mine, scratch):
    mine.pool("test", 1)
    mine.declare("runsh", "case $PWD in */run0/*) sleep 600;; esac", pool="test", name="long")
    mine.wait()
    known = {child.pid for child in psutil.Process().children(recursive=True)}
    audit = Audit(mine, Asked(pools={"test": [1, 2]}))
    audit.start()
    until(lambda: audit.stage.total)
    (folder,) = copies(scratch)
    until(lambda: any(str(folder) in _cwd(p) for p in psutil.Process().children(recursive=True)))
    audit.stop()
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= known
    assert copies(scratch) == []
    assert audit.done.exception() is not None


def test_an_audit_whose_director_is_killed_says_so_and_leaves_nothing(mine, scratch):
    mine.pool("test", 1)
    mine.declare("runsh", "case $PWD in */run0/*) sleep 600;; esac", pool="test", name="long")
    mine.wait()
    known = {child.pid for child in psutil.Process().children()}
    audit = Audit(mine, Asked(pools={"test": [1, 2]}))
    audit.start()
    until(lambda: audit.stage.total)
    (guard,) = (child for child in psutil.Process().children() if child.pid not in known)
    guard.kill()
    error = audit.done.exception()
    assert isinstance(error, UsageError)
    assert error.code == "SNB-209"
    audit.stop()
    assert copies(scratch) == []


def test_the_steps_of_the_session_are_waited_for_and_go_on_when_an_audit_is_stopped(mine):
    mine.pool("test", 1)
    handle = mine.declare("runsh", "sleep 600", pool="test", name="long")
    until(lambda: handle.state == "RUNNING")
    audit = Audit(mine, Asked(pools={"test": [1, 2]}))
    audit.start()
    assert audit.stage.words == "waiting for the steps of the session"
    audit.stop()
    assert handle.state == "RUNNING"


def _cwd(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""
