"""What is seen at a glance is what a look would have told; all else is left to a look."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepup_nb.core.model import FileHash
from stepup_nb.director import mounts
from stepup_nb.director.glance import Glance
from stepup_nb.director.hashing import look

pytestmark = pytest.mark.skipif(
    not Glance(tempfile.gettempdir(), 0).is_able, reason="not run: needs Linux 5.12 and a local file system"
)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c"):
        (tmp_path / name).write_text(name)
    return tmp_path


def known(root: Path, path: str) -> FileHash:
    """Return what a look tells of a file, as if it had been there for long."""
    found = look(str(root / path))
    assert isinstance(found, FileHash)
    return found._replace(looked_ns=found.looked_ns + 10**10)


def sees(root: Path, *paths: str) -> bool:
    files = [(path, known(root, path)) for path in paths]
    return Glance(str(root), 0).sees(files) == dict(files)


def test_files_that_nobody_has_touched_are_seen_to_be_as_they_were(root):
    assert sees(root, "a")
    assert sees(root, "a", "b", "sub/c", "./sub/../b")
    assert Glance(str(root), 0).sees(()) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.write_text("x"),
        lambda a: a.write_text("a"),
        lambda a: a.touch(),
        lambda a: a.chmod(0o600),
        lambda a: a.unlink(),
        lambda a: (a.unlink(), a.write_text("a")),
        lambda a: (a.rename(a.with_name("d")), a.symlink_to("d")),
        lambda a: (a.unlink(), a.mkdir()),
        lambda a: (a.unlink(), os.mkfifo(a)),
        lambda a: (a.parent.rename(a.parent.with_name("away")), a.parent.mkdir(), a.write_text("a")),
    ],
    ids=[
        "written",
        "written the same",
        "touched",
        "another mode",
        "gone",
        "made anew",
        "now a link to it",
        "a folder",
        "a pipe",
        "another root",
    ],
)
def test_what_was_touched_in_any_way_is_left_to_a_look(root, change):
    files = [("b", known(root, "b")), ("a", known(root, "a"))]
    glance = Glance(str(root), 0)
    assert glance.sees(files) is not None
    change(root / "a")
    assert glance.sees(files) is None


def test_what_was_read_too_soon_after_it_was_written_proves_nothing(root):
    found = known(root, "a")
    files = [("a", found._replace(looked_ns=found.ctime_ns + 5))]
    assert Glance(str(root), 10).sees(files) is None
    assert Glance(str(root), 4).sees(files) is not None


def test_links_other_file_systems_and_paths_from_the_top_are_left_to_a_look(root):
    (root / "linked").symlink_to("sub")
    (root / "link").symlink_to("a")
    elsewhere = os.path.relpath("/proc/version", root)
    assert stat.S_ISREG(os.stat("/proc/version").st_mode)
    for path in ("linked/c", "link", str(root / "a"), elsewhere):
        assert not sees(root, path), path


def test_of_what_nothing_is_known_nothing_is_seen(root):
    glance = Glance(str(root), 0)
    assert glance.sees([("a", None)]) is None
    assert glance.sees([("sub/", look(str(root / "sub") + "/"))]) is None
    assert not sees(root, *["a"] * 65)


def test_on_a_file_system_of_another_machine_nothing_is_seen(root, monkeypatch):
    assert sees(root, "a")
    monkeypatch.setattr(mounts, "kind_of", lambda path: "nfs4")
    assert not sees(root, "a")


def test_a_glance_leaves_no_descriptor(root):
    before = os.listdir("/proc/self/fd")
    assert sees(root, "a", "b")
    assert not sees(root, str(root / "a"))
    assert os.listdir("/proc/self/fd") == before


@settings(max_examples=200)
@given(
    edits=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["write", "touch", "swap", "mode", "back"]))
    )
)
def test_no_glance_tells_what_a_look_would_not(tmp_path_factory, edits):
    root = tmp_path_factory.mktemp("glance")
    for name in "ab":
        (root / name).write_text("0")
    before = [(name, known(root, name)._replace(looked_ns=look(str(root / name)).looked_ns)) for name in "ab"]
    for name, edit in edits:
        path = root / name
        if edit == "write":
            path.write_text("1")
        elif edit == "touch":
            os.utime(path, ns=(0, 0))
        elif edit == "mode":
            path.chmod(0o600)
        elif edit == "swap":
            other = root / ("a" if name == "b" else "b")
            path.rename(root / "c")
            other.rename(path)
            (root / "c").rename(other)
        else:
            path.chmod(0o644)
            path.write_text("0")
    seen = Glance(str(root), 0).sees(before)
    looked = {name: look(str(root / name), was, 0) for name, was in before}
    assert seen == (looked if looked == dict(before) else None)
