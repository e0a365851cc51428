"""A file is replaced whole, and what is no file stays what it is."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from stepup_nb.client.replacing import replace_file


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    replace_file(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        replace_file(tmp_path / "a.txt", "new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_of_a_link_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "link").symlink_to("a.txt")
    replace_file(tmp_path / "link", "new")
    assert ((tmp_path / "a.txt").read_text(), (tmp_path / "link").read_text()) == ("old", "new")
    assert not (tmp_path / "link").is_symlink()


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(path.read_text()))
    reader.start()
    replace_file(path, "new")
    reader.join()
    assert heard == ["new"]
    assert path.is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: needs root")
def test_a_device_stays_a_device(tmp_path: Path) -> None:
    # What a user saw: 'stepup-nb execute a.ipynb -o /dev/null' as root, and the system had no /dev/null any more.
    path = tmp_path / "null"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("not run: needs the right to make devices")
    before = path.stat().st_rdev
    try:
        replace_file(path, "new")
    except OSError:
        pass  # a file system on which devices cannot be opened
    assert path.stat().st_rdev == before
    assert path.is_char_device()


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        replace_file(tmp_path / "folder", "new")
    with pytest.raises(OSError):
        replace_file(tmp_path / "gone" / "a.txt", "new")
    assert os.listdir(tmp_path) == ["folder"]
