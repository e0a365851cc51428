"""Whatever happens to files, folders and the database while outputs are cleaned: nothing is lost that is not ours."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import sqlite3
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from director.helpers_world import Notebook, cell
from faults.helpers_rounds import rounds

from stepup_nb.client.session import check
from stepup_nb.core.messages import RemoveFiles
from stepup_nb.core.model import FOLDER, Content
from stepup_nb.director.hashing import look
from stepup_nb.director.remove import remove_files

FOLDERS = ("", "out", "out/deep", "other")

WORD = 16
"""Bytes of a text that is found again wherever it is."""

MANY = 100
"""So many files are enough."""


def content_of(path: Path) -> Content:
    found = look(str(path))
    assert found is not None
    return found.content  # type: ignore[union-attr]


# --- a project with outputs of ours, and files that are not -----------------------------------------


@dataclass
class Project:
    """What is ours may go, what is precious must be found afterwards, whatever its name is then."""

    folder: Path
    random: Random
    outputs: dict[str, Content] = field(default_factory=dict)
    """What is offered for removal."""
    precious: set[bytes] = field(default_factory=set)
    outer: dict[Path, bytes] = field(default_factory=dict)
    """What is outside of the project: it must stay where it is."""
    touched: set[str] = field(default_factory=set)
    """Outputs to which somebody does something."""

    def __post_init__(self) -> None:
        self.root = self.folder / "project"
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
            (self.outside / name).mkdir(parents=True, exist_ok=True)
            for number in range(3):
                path = f"{name}/{number}".removeprefix("/")
                # One of our own outputs may well be a copy of what somebody has elsewhere.
                words = self.words()
                (self.root / path).write_bytes(words)
                (self.outside / path).write_bytes(words)
                self.outer[self.outside / path] = words
                self.outputs[path] = content_of(self.root / path)
            self.mine(f"{name}/mine".removeprefix("/"))

    @property
    def outside(self) -> Path:
        return self.folder / "home"

    def words(self) -> bytes:
        return self.random.randbytes(WORD // 2).hex().encode()

    def mine(self, path: str) -> Path:
        """Write a precious file in the project."""
        words = self.words()
        self.precious.add(words)
        (self.root / path).write_bytes(words)
        return self.root / path

    def mine_anew(self) -> Path:
        """Write one that nobody else knows of."""
        return self.mine(f"mine-{self.words().decode()}")

    def clean(self, *more: tuple[str, Content]) -> list[str]:
        """Clean what is offered, and return what was removed."""
        files = [*self.outputs.items(), *more]
        self.random.shuffle(files)
        order = RemoveFiles(1, tuple(files), dry_run=False)
        return list(remove_files(order, str(self.root)).removed)

    def check(self) -> None:
        """Assert that nothing is lost."""
        there = b"\n".join(
            Path(folder, name).read_bytes()
            for folder, _, names in os.walk(self.folder)
            for name in names
            if not Path(folder, name).is_symlink()
        )
        for words in self.precious:
            assert words in there, "a file of the user's is lost"
        for path, words in self.outer.items():
            assert path.read_bytes() == words


# --- what is done before ----------------------------------------------------------------------------


def edited(project: Project, path: Path) -> None:
    words = project.words()
    project.precious.add(words)
    path.write_bytes(words)


def edited_and_made_as_old_as_it_was(project: Project, path: Path) -> None:
    before = path.stat()
    edited(project, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_a_link(project: Project, path: Path) -> None:
    path.unlink()
    # To a file with just the content that is to be removed.
    path.symlink_to(project.outside / path.relative_to(project.root))


def replaced_by_another_name(project: Project, path: Path) -> None:
    path.unlink()
    os.link(project.mine_anew(), path)


def replaced_by_a_folder(project: Project, path: Path) -> None:
    path.unlink()
    path.mkdir()
    project.mine(f"{path.relative_to(project.root)}/mine")


def reached_by_a_link(project: Project, path: Path) -> None:
    folder = path.parent
    if folder == project.root:
        return
    kept = folder.with_name(f"kept-{project.words().decode()}")
    folder.rename(kept)
    folder.symlink_to(project.outside / folder.relative_to(project.root))
    for name in project.outputs:
        if (project.root / name).is_relative_to(folder):
            project.touched.add(name)


DEEDS: tuple[Callable[[Project, Path], None], ...] = (
    edited,
    edited_and_made_as_old_as_it_was,
    replaced_by_a_link,
    replaced_by_another_name,
    replaced_by_a_folder,
    reached_by_a_link,
)


# --- what is done meanwhile -------------------------------------------------------------------------


_exchange = ctypes.CDLL(None, use_errno=True).renameat2


def exchange(one: Path, other: Path) -> None:
    """Let two files change places in one moment, if both are there."""
    here, flag = -100, 2
    _exchange(here, os.fsencode(one), here, os.fsencode(other), flag)


def give(name: Path, new: Path) -> None:
    """Give a file another name, unless somebody has that."""
    os.link(name, new, follow_symlinks=False)
    name.unlink()


def swap(project: Project, path: Path) -> Iterator[None]:
    """Let a precious file and the output change places, again and again."""
    mine = project.mine_anew()
    while True:
        exchange(mine, path)
        yield


def save(project: Project, path: Path) -> Iterator[None]:
    """Save one's work under the name of the output, as editors do, as soon as it is free."""
    for _ in range(MANY):
        new = project.mine_anew()
        with contextlib.suppress(OSError):
            give(new, path)
        yield
    while True:
        yield


def write(project: Project, path: Path) -> Iterator[None]:
    """Open the output, if it is there, and write into it a while later."""
    while True:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError:
            yield
            continue
        yield
        words = project.words()
        os.write(fd, words)
        project.precious.add(words)
        yield
        os.close(fd)


def lead_elsewhere(project: Project, path: Path) -> Iterator[None]:
    """Let the output's folder and a link to one outside change places."""
    folder = path.parent if path.parent != project.root else project.root / "other"
    link = folder.with_name("link")
    link.symlink_to(project.outside / folder.relative_to(project.root))
    while True:
        exchange(folder, link)
        yield


def put_folders(project: Project, path: Path) -> Iterator[None]:
    """Let a folder with something in it and the output change places."""
    full = path.with_name(f"full-{project.words().decode()}")
    full.mkdir()
    project.mine(f"{full.relative_to(project.root)}/mine")
    while True:
        exchange(full, path)
        yield


RACES = (swap, save, write, lead_elsewhere, put_folders)


@contextlib.contextmanager
def racing(project: Project, doing: Iterator[None]) -> Iterator[None]:
    """Do something again and again in another process, which tells in the end what it wrote."""
    stopped, stop = os.pipe()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(stop)
            end = select.poll()
            end.register(stopped)
            next(doing)
            os.write(tell, b"\n")
            while not end.poll(0):
                next(doing)
            os.write(tell, b"".join(project.precious))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    for fd in (stopped, tell):
        os.close(fd)
    with open(told, "rb", buffering=0) as file:
        try:
            file.read(1)
            yield
        finally:
            os.close(stop)
            words = file.read()
            _, status = os.waitpid(child, 0)
    assert status == 0
    project.precious.update(words[at : at + WORD] for at in range(0, len(words), WORD))


# --- rounds -----------------------------------------------------------------------------------------

FORGED = (
    "../home/{0}",
    "{1}/home/{0}",
    "out/../../home/{0}",
    "./../home/{0}",
    "//{1}/home/{0}",
    "{0}/../{0}",
)


def test_in_hundreds_of_rounds_of_attacks_nothing_is_lost_that_is_not_ours(tmp_path):
    random = Random(31)
    removed = quiet = 0
    for number in range(rounds(150, 500)):
        project = Project(tmp_path / f"{number}", random)
        names = list(project.outputs)
        for name in random.sample(names, random.randrange(4)):
            if (project.root / name).is_file() and name not in project.touched:
                project.touched.add(name)
                random.choice(DEEDS)(project, project.root / name)
        forged = []
        for name in names:
            form = random.choice(FORGED).format(name, project.folder)
            forged.append((form, project.outputs[name]))
            forged.append((f"{name}/", random.choice((project.outputs[name], FOLDER.content))))
        with contextlib.ExitStack() as races:
            if random.random() < 0.7:
                calm = [name for name in names if name not in project.touched]
                name = random.choice(calm or names)
                folder = (project.root / name).parent
                project.touched.update(
                    other for other in names if (project.root / other).is_relative_to(folder)
                )
                doing = random.choice(RACES)(project, project.root / name)
                again = [(name, project.outputs[name])] * 20
                races.enter_context(racing(project, doing))
            else:
                again = []
                quiet += 1
            found = project.clean(*forged, *again)
        # All that nobody did anything to is gone: to keep everything would be no art.
        assert set(names).difference(project.touched) <= set(found)
        removed += len(found)
        project.check()
        assert not set(found).difference(names, (f"{name}/" for name in FOLDERS))
    assert quiet
    assert removed > rounds(150, 500)


# --- a database that somebody else wrote ------------------------------------------------------------


def forge(notebook: Notebook, files: Mapping[str, Content], where: str) -> None:
    """Let the result of a step that is gone name these files, as outputs, by-products or what failed jobs left."""
    named = sorted(files.items())
    with contextlib.closing(sqlite3.connect(notebook.place.database)) as db, db:
        ((step, words),) = db.execute("SELECT step, record FROM result")
        form = json.loads(words)
        if where == "made":
            form = {"record": None, "made": named}
        else:
            form["record"][{"outputs": 2, "volatiles": 6}[where]] = named
        db.execute("UPDATE result SET record = ? WHERE step = ?", (json.dumps(form), step))


@pytest.mark.parametrize("where", ["outputs", "volatiles", "made"])
@pytest.mark.parametrize("whose", ["mine", "another's"])
def test_what_a_forged_database_names_is_not_removed(notebook, tmp_path, monkeypatch, where, whose):
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine").write_text("known to everybody")
    mine = notebook.write("mine", "known to everybody")
    notebook.write("in/mine", "known to everybody")
    (notebook.folder / "link").symlink_to(home)
    if whose != "mine":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another's"))
    session = notebook.begin()
    with cell(session, "a"):
        session.declare("runsh", "echo 1 > ours", out="ours")
    check(session.wait())
    with cell(session, "a"):
        pass
    session.close()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    outside = ("../home/mine", str(home / "mine"), "link/mine", "in/../../home/mine", f"/{home}/mine", "")
    content = content_of(mine)
    forge(notebook, dict.fromkeys(("mine", "in/mine", *outside), content), where)
    session = notebook.begin()
    assert session.clean() == {"removed": [], "kept": []}
    session.close()
    # Whoever believes such a database loses nothing outside of the project.
    forge(notebook, dict.fromkeys(outside, content), where)
    session = notebook.begin()
    assert len(session.trust()) == 1
    report = session.clean()
    assert set(report["removed"]) <= {"ours"}
    assert {row["path"] for row in report["kept"]} == set(outside)
    assert {path.read_text() for path in (mine, notebook.folder / "in/mine", home / "mine")} == {
        "known to everybody"
    }


@pytest.mark.parametrize("whose", ["mine", "another's"])
def test_what_an_unforged_database_names_is_removed_if_it_is_ones_own(notebook, tmp_path, monkeypatch, whose):
    if whose != "mine":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another's"))
    session = notebook.begin()
    with cell(session, "a"):
        session.declare("runsh", "echo 1 > ours", out="ours")
    check(session.wait())
    with cell(session, "a"):
        pass
    session.close()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    session = notebook.begin()
    assert session.clean()["removed"] == (["ours"] if whose == "mine" else [])
    assert (notebook.folder / "ours").exists() is (whose != "mine")
