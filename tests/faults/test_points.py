"""At every named point a director is killed, n times over; whoever goes on gets what he would have got."""

from __future__ import annotations

import contextlib
from itertools import count
from pathlib import Path

import pytest
from director.helpers_world import LAUNCHES, Notebook, cell, until

from stepup_nb.core.errors import InternalError, UsageError
from stepup_nb.director import faults

WIDTH = 4
LAYERS = 3
SPARE = 5
"""Outputs that are removed in the end."""

AT_THE_START = ("created", "locked")
"""Points that a director passes once in its life."""


def declare(session) -> None:
    """Declare three layers of four steps, each of which writes its output in pieces; and five more."""
    with cell(session, "layers"):
        session.pool("p", 3)
        for layer in range(LAYERS):
            for number in range(WIDTH):
                before = [f"l{layer - 1}n{(number + k) % WIDTH}" for k in range(2)] if layer else ["source"]
                out = f"l{layer}n{number}"
                session.declare(
                    "runsh",
                    f": > {out}; for i in 1 2 3; do cat {' '.join(before)} >> {out}; echo {out} >> {out}; done",
                    inp=before,
                    out=out,
                    pool="p",
                )


def declare_spare(session, number: int) -> None:
    """Declare steps in a cell that is run again with fewer of them."""
    with cell(session, "spare"):
        for k in range(number):
            session.declare("runsh", f"echo spare {k} > spare{k}", out=f"spare{k}")


def to_the_end(session) -> dict[str, object]:
    """Run everything, and clean up what is not declared any more."""
    declare(session)
    declare_spare(session, SPARE)
    session.wait()
    declare_spare(session, 0)
    session.wait()
    return session.clean()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == "" and path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    notebook = begin_in(folder)
    session = notebook.begin(workers=3)
    to_the_end(session)
    session.close()
    found = contents(folder)
    assert len(found) == 1 + WIDTH * LAYERS
    return found


def begin_in(folder: Path) -> Notebook:
    (folder / "source").write_text("source\n")
    return Notebook(folder, LAUNCHES["process"])


def doomed(notebook: Notebook, point: str, number: int, monkeypatch):
    """Begin a session whose first director is killed at a point; return it, and who was started."""
    session = notebook.begin(workers=3)
    started: list[str] = []

    def launch(place, workers):
        with monkeypatch.context() as patch:
            if not started:
                patch.setenv(faults.VARIABLE, f"{point}:{number}")
            started.append(point)
            return LAUNCHES["process"](place, workers)

    session._launch = launch
    return session, started


@pytest.mark.parametrize(
    ("point", "number"),
    [(point, number) for point in faults.POINTS for number in range(1, 2 if point in AT_THE_START else 6)],
)
def test_whoever_goes_on_after_a_crash_gets_the_same_files(point, number, tmp_path, undisturbed, monkeypatch):
    notebook = begin_in(tmp_path)
    session, started = doomed(notebook, point, number, monkeypatch)
    # Where it dies before anybody knows of it, this use of it fails, and the next one starts another.
    with contextlib.suppress(InternalError):
        session.pool("p", 3)
    to_the_end(session)
    # The last of these points are passed while there is nothing else to do.
    sizes = count(1)
    until(lambda: bool(session.pool("q", next(sizes))) and len(started) == 2)
    if number % 2 == 0:
        # As after a restart of the kernel: everything is declared anew, to a third director.
        session.close()
        session = notebook.begin(workers=3)
        to_the_end(session)
    session.wait()
    assert session.status()["counts"] == {"SUCCEEDED": WIDTH * LAYERS}
    assert contents(tmp_path) == undisturbed
    assert session.clean() == {"removed": [], "kept": []}
    session.close()


@pytest.mark.parametrize(
    "words", ["nowhere:1", "committed", "committed:0", "committed:x", "committed:-1", ":"]
)
def test_a_point_that_does_not_exist_is_refused_when_the_director_starts(words, tmp_path, monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, words)
    session = begin_in(tmp_path).begin()
    with pytest.raises(UsageError) as caught:
        session.pool("p", 1)
    assert caught.value.code == "SNB-109"
    assert all(point in caught.value.why for point in faults.POINTS)
    monkeypatch.delenv(faults.VARIABLE)
    session.pool("p", 1)
    session.close()


def test_every_point_is_explained_in_the_architecture_and_reached_somewhere():
    root = Path(__file__).parent.parent.parent
    told = (root / "ARCHITECTURE.md").read_text()
    code = "".join(path.read_text() for path in (root / "stepup_nb" / "director").glob("*.py"))
    for point in faults.POINTS:
        assert f"| `{point}` |" in told
        assert code.count(f'faults.reach("{point}")') == 1
