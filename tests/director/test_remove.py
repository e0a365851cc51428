"""Only outdated outputs are removed, and only if they are still what was recorded."""

import os
import threading
import time

import pytest

from stepup_nb.core.messages import RemoveFiles
from stepup_nb.core.model import FOLDER
from stepup_nb.director import remove
from stepup_nb.director.hashing import look
from stepup_nb.director.remove import remove_files


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def content_of(path):
    return look(str(path)).content


def put(root, name, words="content"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words)
    return name, content_of(path)


def clean(root, *files, dry_run=False):
    report = remove_files(RemoveFiles(5, files, dry_run), str(root))
    assert report.token == 5
    return report


def test_outdated_outputs_are_removed_and_nothing_else(root):
    files = [put(root, name) for name in ("a", "sub/b", "sub/deep/c", "./sub//d")]
    put(root, "keep")
    report = clean(root, *files)
    assert report.removed == ("a", "sub/b", "sub/deep/c", "./sub//d")
    assert report.kept == ()
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["keep"]


def test_a_dry_run_says_the_same_and_removes_nothing(root):
    files = [put(root, "a"), ("missing", put(root, "b")[1])]
    dry = clean(root, *files, dry_run=True)
    assert (root / "a").exists()
    assert clean(root, *files) == dry
    assert not (root / "a").exists()


def test_a_file_that_was_changed_is_kept_and_the_reason_given(root):
    one, two, three = put(root, "one"), put(root, "two"), put(root, "three")
    (root / "one").write_text("CONTENT")
    (root / "two").write_text("longer content")
    (root / "three").chmod(0o755)
    report = clean(root, one, two, three, ("gone", one[1]))
    assert report.removed == ()
    assert report.kept == (
        ("one", "was changed after stepup_nb wrote it"),
        ("two", "was changed after stepup_nb wrote it"),
        ("three", "got other permissions after stepup_nb wrote it"),
    )
    assert report.gone == ("gone",)
    assert len(list(root.iterdir())) == 3


def test_what_is_no_regular_file_now_is_kept_and_never_waited_for(root, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("content")
    made = content_of(outside)
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to(outside)
    report = clean(root, ("folder", made), ("pipe", made), ("link", made))
    assert report.kept == (
        ("folder", "is no regular file now"),
        ("pipe", "is no regular file now"),
        ("link", "is a symbolic link now"),
    )
    assert outside.read_text() == "content"
    assert (root / "link").is_symlink()


def test_nothing_is_removed_through_a_symbolic_link(root, tmp_path):
    # What a database from elsewhere could say: an output below a folder that is a link to the home folder.
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    for name in ("bashrc", "sub/b"):
        (home / name).write_text("content")
    (root / "out").symlink_to(home)
    (root / "deep").mkdir()
    (root / "deep/er").symlink_to("../out")
    made = content_of(home / "bashrc")
    report = clean(root, *((name, made) for name in ("out/bashrc", "out/sub/b", "deep/er/bashrc")))
    assert report.removed == ()
    assert {why for _, why in report.kept} == {
        "is reached through a symbolic link, or its folder is none now"
    }
    assert (home / "bashrc").exists()
    assert (home / "sub/b").exists()


@pytest.mark.parametrize("form", ["../outside", "sub/../../outside", "{0}", "", ".", "..", "sub/", "sub/.."])
def test_nothing_outside_the_root_is_removed(root, tmp_path, form):
    outside = tmp_path / "outside"
    outside.write_text("content")
    (root / "sub").mkdir()
    report = clean(root, (form.format(outside), content_of(outside)))
    assert [why for _, why in report.kept] == ["is not inside the project's folder"]
    assert outside.exists()


def test_a_root_that_is_reached_through_a_link_is_no_reason_to_keep(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert clean(tmp_path / "link", put(root, "a")).removed == ("a",)


def test_a_name_that_cannot_be_one_is_kept(root):
    made = put(root, "a")[1]
    report = clean(root, ("nul\0", made), ("x" * 300, made), ("a/below", made), ("lone \ud800", made))
    assert [path for path, _ in report.kept] == ["nul\0", "x" * 300, "a/below", "lone \ud800"]
    assert (root / "a").exists()


def test_another_name_of_the_same_file_stays(root):
    file = put(root, "a")
    os.link(root / "a", root / "b")
    assert clean(root, file).removed == ("a",)
    assert (root / "b").read_text() == "content"


def test_a_file_that_is_exchanged_while_it_is_read_is_kept(root, monkeypatch):
    file = put(root, "a")
    real = remove.digest_of

    def late(fd, size):
        digest = real(fd, size)
        (root / "new").write_text("precious")
        (root / "new").rename(root / "a")
        return digest

    monkeypatch.setattr(remove, "digest_of", late)
    assert clean(root, file).kept == (("a", "is being changed"),)
    assert (root / "a").read_text() == "precious"


def test_what_nobody_knows_the_maker_of_is_named_and_kept(root, tmp_path):
    began = time.time()
    (tmp_path / "outside").write_text("")
    (root / "sub").mkdir()
    (root / "out").symlink_to(tmp_path)
    for name in ("young", "sub/young", "old"):
        (root / name).write_text("")
    later = os.stat(root / "old").st_ctime + 2
    names = (
        "young",
        "sub/young",
        "gone",
        "gone/too",
        "out/outside",
        "../outside",
        str(tmp_path / "outside"),
        "nul\0",
    )
    order = RemoveFiles(5, (), False, (*((name, began) for name in names), ("old", later)))
    report = remove_files(order, str(root))
    words = "may be half of an output of a job that was interrupted, or your own"
    assert report.kept == (("young", words), ("sub/young", words))
    assert report.removed == report.gone == ()


@pytest.fixture
def at_the_last_moment(root, monkeypatch):
    """Do something when all is compared, and only the removal is to come."""
    real = os.rename

    def use(deed):
        def rename(*args, **options):
            monkeypatch.setattr(os, "rename", real)
            deed()
            return real(*args, **options)

        monkeypatch.setattr(os, "rename", rename)

    return use


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_what_is_put_in_its_place_at_the_last_moment_is_given_back(root, at_the_last_moment, kind):
    # There was a window of some microseconds in which a user's file went instead.
    file = put(root, "a")

    def exchange():
        (root / "a").rename(root / "ours")
        if kind == "file":
            (root / "a").write_text("precious")
        elif kind == "folder":
            put(root, "a/precious")
        elif kind == "link":
            (root / "a").symlink_to("precious")
        else:
            os.mkfifo(root / "a")

    at_the_last_moment(exchange)
    assert clean(root, file).kept == (("a", "is being changed"),)
    assert sorted(path.name for path in root.iterdir()) == ["a", "ours"]
    if kind == "file":
        assert (root / "a").read_text() == "precious"
    elif kind == "folder":
        assert (root / "a/precious").read_text() == "content"
    elif kind == "link":
        assert (root / "a").readlink().name == "precious"
    else:
        assert (root / "a").is_fifo()


def test_what_was_taken_for_ours_stays_where_its_name_is_taken_meanwhile(
    root, at_the_last_moment, monkeypatch
):
    file = put(root, "a")
    real = os.link

    def late(*args, **options):
        (root / "a").write_text("another")
        return real(*args, **options)

    def exchange():
        (root / "a").unlink()
        (root / "a").write_text("precious")
        monkeypatch.setattr(os, "link", late)

    at_the_last_moment(exchange)
    ((_, why),) = clean(root, file).kept
    (aside,) = (path for path in root.iterdir() if path.name != "a")
    assert f"'{aside.name}'" in why
    assert (aside.read_text(), (root / "a").read_text()) == ("precious", "another")


def test_a_file_that_somebody_has_open_to_write_is_kept(root):
    # What an editor, or a program that a step left running, wrote a moment later was lost.
    file, read = put(root, "a"), put(root, "b")
    with (root / "a").open("a") as writing, (root / "b").open():
        assert clean(root, file, read, dry_run=True) == clean(root, file, read)
        assert (root / "a").exists() and not (root / "b").exists()
        writing.write("more")
    assert (root / "a").read_text() == "contentmore"


def test_a_file_that_is_opened_to_write_at_the_last_moment_is_kept(root, at_the_last_moment):
    file = put(root, "a")
    opened = []
    at_the_last_moment(lambda: opened.append((root / "a").open("a")))
    report = clean(root, file)
    assert report.kept == (("a", "is open in a program that may write it"),)
    with opened[0] as writing:
        writing.write("more")
    assert (root / "a").read_text() == "contentmore"


def test_a_folder_that_is_exchanged_for_a_link_meanwhile_leads_nowhere_else(root, tmp_path):
    """Swap a folder with a link to one outside as fast as possible: nothing outside may ever go."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("content")
    file = put(root, "sub/a")
    (root / "link").symlink_to(outside)
    ended = threading.Event()

    def swap():
        while not ended.is_set():
            os.rename(root / "sub", root / "was")
            os.rename(root / "link", root / "sub")
            os.rename(root / "sub", root / "link")
            os.rename(root / "was", root / "sub")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        removed = 0
        for _ in range(2000):
            removed += len(clean(root, file).removed)
            assert (outside / "a").exists()
            # Put it back by a way that does not depend on which of both is there.
            for folder in ("sub", "was"):
                try:
                    fd = os.open(root / folder, os.O_DIRECTORY | os.O_NOFOLLOW)
                except OSError:
                    continue
                with os.fdopen(os.open("a", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd), "w") as again:
                    again.write("content")
                os.close(fd)
    finally:
        ended.set()
        swapper.join()
    assert (outside / "a").read_text() == "content"
    assert removed


# --- folders that steps made ------------------------------------------------------------------------


def test_an_empty_folder_that_a_step_made_is_removed_and_no_other(root):
    for name in ("empty", "full", "real"):
        (root / name).mkdir()
    (root / "full" / "a").write_text("")
    (root / "link").symlink_to("real")
    (root / "file").write_text("")
    order = RemoveFiles(
        1,
        tuple((f"{name}/", FOLDER.content) for name in ("empty", "full", "link", "file", "../x", "gone")),
        False,
    )
    report = remove_files(order, str(root))
    assert report.removed == ("empty/",)
    assert dict(report.kept) == {
        "full/": "is not empty",
        "link/": "is no folder now",
        "file/": "is no folder now",
        "../x/": "is not inside the project's folder",
    }
    assert report.gone == ("gone/",)
    assert (root / "full" / "a").exists()
