"""Whatever befalls the state file: nothing that was told is lost, nothing is believed wrongly, everybody goes on.

What the file alone goes through is in `director/test_store.py`; here are its place, its loss, and what users see.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from director import helpers_store as stores
from director.helpers_store import steps_of
from director.helpers_world import (
    KernelProcess,
    Notebook,
    ran,
    until,
    with_processes,
)
from faults.helpers_rounds import rounds
from notebook.helpers_kernel import Kernel

from stepup_nb import cli
from stepup_nb.core.errors import UsageError
from stepup_nb.director import mounts, schema
from stepup_nb.director.store import Store

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="not run: needs root")


@pytest.fixture(autouse=True)
def _own_key(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "x.stepup.db"


def integrity(path):
    """Return what SQLite says of a file, whoever wrote it."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0]


def results_in(path):
    """Return the steps whose results a file holds."""
    store = Store.open(path, read_only=True)
    found = {key for key, step in steps_of(store).items() if step.record is not None}
    store.close()
    return found


# --- where it lies: a network file system (row 51) --------------------------------------------------


def listed(path, kind, device=None, place=None):
    """Return a list of mounts that says of what kind the file system below a folder is."""
    number = path.stat().st_dev
    device = device or f"{os.major(number)}:{os.minor(number)}"
    place = os.fspath(place or path).replace(" ", r"\040")
    return (
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        "27 1 99:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
        f"36 27 {device} /export {place} rw,relatime shared:2 master:3 - {kind} server:/export rw,vers=4.2\n"
        "37 27 99:7 / /mnt/other rw - nfs other:/ rw\n"
    )


@pytest.fixture
def mountinfo(tmp_path, monkeypatch):
    """Says what stands in the place of Linux' list of mounts."""
    file = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "_LIST", str(file))
    return file.write_text


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "9p", "ceph", "fuse.sshfs", "fuse.s3fs"]
)
def test_a_network_file_system_is_known_by_its_device(tmp_path, mountinfo, kind):
    mountinfo(listed(tmp_path, kind))
    assert mounts.kind_of(str(tmp_path)) == kind
    assert mounts.is_network(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "fuse.bindfs", "zfs", ""]
)
def test_a_disk_of_this_machine_is_none(kind):
    assert not mounts.is_network(kind)


def test_where_no_list_has_the_device_the_place_tells_the_kind(tmp_path, mountinfo):
    # As of a subvolume of btrfs.
    folder = tmp_path / "a folder"
    (folder / "deep").mkdir(parents=True)
    mountinfo(listed(folder, "nfs4", device="0:4095"))
    assert mounts.kind_of(str(folder / "deep")) == "nfs4"
    assert mounts.kind_of(str(folder)) == "nfs4"
    # One whose name only begins alike.
    (tmp_path / "a folder2").mkdir()
    assert mounts.kind_of(str(tmp_path / "a folder2")) == "ext4"


def test_a_link_is_where_it_leads_and_what_nobody_lists_is_unknown(tmp_path, mountinfo):
    (tmp_path / "link").symlink_to("/proc")
    mountinfo(listed(tmp_path, "nfs4", device="0:4095"))
    assert mounts.kind_of(str(tmp_path / "link")) == "proc"
    assert mounts.kind_of(str(tmp_path / "nothing")) == ""
    mountinfo("nonsense\n")
    assert mounts.kind_of(str(tmp_path)) == ""


def test_what_linux_lists_here_is_understood():
    assert mounts.kind_of("/proc/self/status") == "proc"
    assert mounts.kind_of("/") not in ("", "proc")


def test_on_a_network_file_system_the_one_file_holds_everything_at_every_moment(path, mountinfo, tmp_path):
    mountinfo(listed(path.parent, "nfs4"))
    store = Store.open(path)
    (note,) = store.notes
    assert note.startswith("SNB-317 'x.stepup.db' lies on a network file system (nfs4)")
    for number in range(1, 4):
        made = stores.step(number)
        stores.run(store, made, number)
        assert not Path(f"{path}-wal").exists()
        # Another machine would see just this.
        copy = tmp_path / f"copy{number}.db"
        shutil.copy(path, copy)
        assert made.key in results_in(copy)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    store.checkpoint()
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["x.stepup.db"]
    assert integrity(path) == "ok"


def test_a_file_that_comes_from_a_local_disk_with_its_log_is_used_on_a_network(path, mountinfo, tmp_path):
    store = Store.open(path)
    made = stores.step(1)
    stores.run(store, made, 1)
    copy = stores.image(store, tmp_path / "server")
    store.close()
    assert Path(f"{copy}-wal").exists()
    mountinfo(listed(copy.parent, "cifs"))
    store = Store.open(copy)
    assert [note[:7] for note in store.notes] == ["SNB-317"]
    assert made.key in steps_of(store)
    stores.run(store, stores.step(2), 2)
    assert not Path(f"{copy}-wal").exists()
    store.close()
    assert len(results_in(copy)) == 2


WRITER = """
import sys
sys.path[:0] = {paths!r}
from stepup_nb.director import faults, mounts
mounts._LIST = {mountinfo!r}
faults.arm("writing:{number}")
from director import helpers_store as stores
store = stores.Store.open({path!r})
for number in range({first}, 1000):
    made = stores.step(number)
    stores.run(store, made, number)
    print(made.key, flush=True)
"""


def test_a_director_killed_in_the_middle_of_a_change_on_a_network_loses_nothing_that_it_told(
    path, mountinfo, tmp_path
):
    mountinfo(listed(path.parent, "nfs4"))
    told, first = set(), 1
    for round_ in range(rounds(4, 100)):
        words = {
            "paths": [str(Path(__file__).parents[1]), *sys.path],
            "mountinfo": str(tmp_path / "mountinfo"),
            "path": str(path),
            "first": first,
            # The first transaction takes over what the killed one left.
            "number": 4 + round_ % 5,
        }
        done = subprocess.run([sys.executable, "-c", WRITER.format(**words)], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        # It is all there, half a change: that one is taken back.
        assert Path(f"{path}-journal").stat().st_size > 0
        told |= set(done.stdout.split("\n")) - {""}
        store = Store.open(path)
        loaded = store.load()
        assert {step.key for step in loaded.restored.steps if step.record is not None} == told
        assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        first = loaded.restored.next_job
        store.close()
    assert len(told) >= round_


# --- its loss while it is in use (rows 8, 52, 55) ---------------------------------------------------


def move(path, tmp_path):
    path.rename(tmp_path / "elsewhere.db")


def remove(path, tmp_path):
    path.unlink()


def check_out(path, tmp_path):
    """Replace it as `git checkout` does, by one of another time that others may write."""
    older = tmp_path / "older.db"
    stores.filled(older, steps=2)
    older.chmod(0o664)
    os.replace(older, path)


LOSSES = pytest.mark.parametrize("lose", [move, remove, check_out])


@LOSSES
def test_what_is_written_down_after_the_loss_is_where_the_next_session_looks(path, tmp_path, lose):
    store = Store.open(path)
    first, second = stores.step(11), stores.step(12)
    stores.run(store, first, 1, tails=lambda job: (b"said", b""))
    lose(path, tmp_path)
    stores.run(store, second, 2)
    # As if everything were killed now.
    copy = stores.image(store, tmp_path / "after")
    (note,) = store.notes
    assert note.startswith(
        "SNB-305 the state file 'x.stepup.db' was moved or replaced while in use. A new one"
    )
    store.close()
    store = Store.open(copy)
    assert {first.key, second.key} == set(steps_of(store))
    assert all(step.record is not None for step in steps_of(store).values())
    assert [row["outcome"] for row in store.history()] == ["succeeded", "succeeded"]
    assert store.tails([1]) == {1: (b"said", b"")}
    store.close()


def test_a_file_that_is_moved_away_keeps_all_that_was_told_before(path, tmp_path):
    store = Store.open(path)
    first, second = stores.step(11), stores.step(12)
    stores.run(store, first, 1)
    move(path, tmp_path)
    stores.run(store, second, 2)
    store.close()
    assert results_in(tmp_path / "elsewhere.db") == {first.key}
    assert results_in(path) == {first.key, second.key}


@LOSSES
def test_a_session_that_ends_right_after_the_loss_takes_nothing_with_it(path, tmp_path, lose):
    store = Store.open(path)
    made = stores.step(11)
    stores.run(store, made, 1)
    lose(path, tmp_path)
    store.close()
    assert results_in(path) == {made.key}


def test_a_file_that_is_removed_while_nothing_goes_on_is_not_made_again_at_the_end(path):
    store = Store.open(path)
    stores.run(store, stores.step(11), 1)
    store.checkpoint()
    path.unlink()
    store.close()
    assert not path.exists()


def test_what_was_put_in_its_place_is_kept_beside_it(path, tmp_path):
    store = Store.open(path)
    stores.run(store, stores.step(11), 1)
    check_out(path, tmp_path)
    content = path.read_bytes()
    stores.run(store, stores.step(12), 2)
    store.close()
    (aside,) = path.parent.glob("*.bad-*")
    assert aside.read_bytes() == content
    assert f"what was there is '{aside.name}' now" in store.notes[0]


def make_fifo(path):
    os.mkfifo(path)


def make_folder(path):
    path.mkdir()


def make_link(path):
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("make", [make_fifo, make_folder, make_link])
def test_while_something_odd_stands_in_its_place_the_session_goes_on_and_moves_in_again_later(
    path, tmp_path, make
):
    # The next change that was to be written down ended the director.
    store = Store.open(path)
    made = [stores.step(number) for number in range(1, 5)]
    stores.run(store, made[0], 1)
    move(path, tmp_path)
    make(path)
    stores.run(store, made[1], 2)
    assert store.is_homeless
    (note,) = store.notes
    assert (
        "SNB-305" in note
        and "No new one can be written" in note
        and "until then nothing is remembered" in note
    )
    store.rescue()
    stores.run(store, made[2], 3)
    assert store.is_homeless and len(store.notes) == 1
    assert [row["job"] for row in store.history()] == [1, 2, 3]
    path.rename(tmp_path / "odd")
    store.rescue()
    assert not store.is_homeless and not store.is_in_memory
    assert "A new one was written" in store.notes[-1]
    stores.run(store, made[3], 4)
    store.close()
    assert results_in(path) == {step.key for step in made}
    assert integrity(path) == "ok"


def test_a_folder_that_is_moved_away_and_back_is_found_again(path, tmp_path):
    store = Store.open(path)
    made = [stores.step(number) for number in range(1, 4)]
    stores.run(store, made[0], 1)
    path.parent.rename(tmp_path / "away")
    stores.run(store, made[1], 2)
    assert store.is_homeless
    (tmp_path / "away").rename(path.parent)
    store.close()
    assert results_in(path) == {made[0].key, made[1].key}


def test_a_place_that_cannot_be_looked_at_is_not_taken_for_a_loss(path, tmp_path):
    # As of a server that does not answer for a moment.
    store = Store.open(path)
    made = stores.step(1)
    path.parent.rename(tmp_path / "away")
    path.parent.symlink_to(path.parent.name)
    stores.run(store, made, 1)
    assert store.notes == [] and not store.is_in_memory
    path.parent.unlink()
    (tmp_path / "away").rename(path.parent)
    store.close()
    assert results_in(path) == {made.key}


@NEEDS_ROOT
def test_on_a_full_disk_a_lost_file_is_written_again_when_there_is_room(path):
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=400k", "none", path.parent])
    try:
        store = Store.open(path)
        made = stores.step(1)
        stores.run(store, made, 1)
        ballast = path.parent / "ballast"
        path.rename(path.with_name("elsewhere.db"))
        with ballast.open("wb", buffering=0) as file:
            stores.write_until_full(file)
        stores.run(store, stores.step(2), 2)
        assert store.is_homeless
        store.rescue()
        assert store.is_homeless
        # What did not fit is not left lying about.
        assert {file.name for file in path.parent.iterdir()} == {"ballast", "elsewhere.db"}
        ballast.unlink()
        store.rescue()
        assert not store.is_homeless
        stores.run(store, stores.step(3), 3)
        store.close()
        assert len(results_in(path)) == 3
    finally:
        subprocess.check_call(["umount", "-l", path.parent])


BUSY = """
    import json, sys
    session.set_workers(4)
    session.declare("runsh", "echo A > a.txt", name="a", out="a.txt").wait()
    session.declare("runsh", "touch runs; until [ -e go ]; do sleep 0.02; done", name="long")
    print("before", flush=True)
    sys.stdin.readline()
    if {and_more}:
        session.declare("runsh", "echo B > b.txt", name="b", out="b.txt").wait()
        print("after", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def kernels():
    """Starts kernels, and ends them after the test."""
    begun = []

    def start(*args, **options):
        begun.append(KernelProcess(*args, **options))
        return begun[-1]

    yield start
    for kernel in begun:
        kernel.close()


def removed_from(notebook, tmp_path):
    os.unlink(notebook.place.database)


def moved_from(notebook, tmp_path):
    os.rename(notebook.place.database, tmp_path / "elsewhere.db")


@with_processes
@pytest.mark.parametrize(("lose", "and_more"), [(moved_from, True), (removed_from, False)])
def test_nothing_that_was_told_is_lost_when_the_file_goes_during_a_long_run_and_everything_is_killed_then(
    notebook: Notebook, kernels, tmp_path, lose, and_more
):
    # Only when nothing ran any more it was looked whether the file was still there.
    kernel = kernels(notebook, BUSY.format(and_more=and_more))
    assert kernel.says() == "before"
    until(lambda: (notebook.folder / "runs").exists())
    lose(notebook, tmp_path)
    kernel.go_on()
    if and_more:
        assert kernel.says() == "after"
    else:
        # Nothing is written down for as long as nothing happens, and still it is noticed.
        until(lambda: os.path.exists(notebook.place.database))
    kernel.kill()
    session = notebook.begin()
    for name, file in (("a", "A"), ("b", "B"))[: 1 + and_more]:
        session.declare("runsh", f"echo {file} > {name}.txt", name=name, out=f"{name}.txt").wait()
    assert ran(session).count("a") == 1
    assert ran(session).count("b") == and_more
    assert [row["outcome"] for row in session.history() if row["step"] == "long"] == ["interrupted"]
    assert integrity_of(session, notebook) == "ok"


def integrity_of(session, notebook):
    session.close()
    return integrity(notebook.place.database)


def test_the_loss_is_told_to_who_looks_at_the_session_and_to_who_reads_its_lines(notebook: Notebook, session):
    session.declare("runsh", "true", name="a").wait()
    asking = session.connect()
    os.unlink(notebook.place.database)
    session.declare("runsh", "true", name="b").wait()
    assert any("SNB-305" in note for note in asking.request("status")["notes"])
    lines = asking.request("lines", since=0)["lines"]
    assert [line["tag"] for line in lines if "SNB-305" in line["label"]] == ["WARNING"]
    asking.close()


@pytest.mark.kernel
def test_the_loss_is_told_under_a_cell_and_in_a_terminal_once(tmp_path, capsys):
    kernel = Kernel(Path(sys.executable), tmp_path / "nb")
    try:
        kernel.load()
        kernel.run_ok("%runsh --wait --name a -- true", cell="a")
        (kernel.folder / "nb.stepup.db").unlink()
        cells = [kernel.run_ok("%runsh --wait --name b -- true", cell="b")]
        kernel.until(
            lambda: (
                cells.append(kernel.run_ok("pass", cell="c")) or "SNB-305" in cells[-1].text + cells[0].text
            )
        )
        told = "".join(each.text for each in [*cells, kernel.run_ok("%runsh --wait -- echo", cell="d")])
        assert told.count("stepup_nb: SNB-305 the state file 'nb.stepup.db' was moved or replaced") == 1
        assert cli.main(["--root", str(kernel.folder), "status"]) == 0
        assert "SNB-305 the state file 'nb.stepup.db'" in capsys.readouterr().out
    finally:
        kernel.close()


# --- what users see of a spoilt one (rows 40, 42, 43, 48) --------------------------------------------


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def flip(content, chance):
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def overwrite(content, chance):
    place = chance.randrange(len(content))
    noise = chance.randbytes(chance.choice((2, 40, 3000)))
    return (content[:place] + noise + content[place + len(noise) :])[: len(content)]


def garble(content, chance):
    return chance.randbytes(chance.choice((0, 10, 100, 5000)))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The content of a database with a dozen results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
        path = tmp_path_factory.mktemp("sound") / "x.stepup.db"
        stores.filled(path, steps=12)
        return path.read_bytes()


def say_status(folder, capsys):
    """Return the exit code of `stepup-nb status`, and what it says on standard error."""
    capsys.readouterr()
    code = cli.main(["--root", str(folder), "status"])
    return code, capsys.readouterr().err


def test_a_session_begins_whatever_the_file_is_and_keeps_what_it_cannot_use(
    notebook: Notebook, sound, capsys
):
    chance = random.Random(11)
    path = Path(notebook.place.database)
    for number in range(rounds(10, 300)):
        spoilt = chance.choice((cut, flip, overwrite, garble))(sound, chance)
        path.write_bytes(spoilt)
        path.chmod(0o600)
        code, said = say_status(notebook.folder, capsys)
        assert path.read_bytes() == spoilt
        session = notebook.begin()
        made = session.declare("runsh", f"echo {number}", name="s", force=True)
        assert made.wait().state == "SUCCEEDED"
        asides = [
            file for file in notebook.folder.glob("*.bad-*") if not file.name.endswith(("-wal", "-journal"))
        ]
        assert len(asides) == len(session.notes) <= 1 or "recorded elsewhere" in session.notes[0]
        if asides:
            assert asides[0].read_bytes() == spoilt
            assert session.notes[0].startswith("SNB-310 'a.stepup.db' is not a usable state file (")
            # Who only looked has come to the same judgement.
            assert (code, "(SNB-310)" in said) == (1, True)
        else:
            assert (code, said) == (0, "")
        session.close()
        assert integrity(path) == "ok"
        log = Path(notebook.place.state) / "director.log"
        assert not log.exists() or "Traceback" not in log.read_text()
        for file in (path, *asides):
            file.unlink()


@with_processes
def test_a_director_process_begins_on_a_file_that_was_cut(notebook: Notebook, sound):
    path = Path(notebook.place.database)
    path.write_bytes(sound[: 5 * 97])
    path.chmod(0o600)
    session = notebook.begin()
    assert session.declare("runsh", "echo", name="s").wait().state == "SUCCEEDED"
    assert "SNB-310" in session.notes[0]
    session.close()
    assert (Path(notebook.place.state) / "director.log").read_text() == ""
    (aside,) = notebook.folder.glob("*.bad-*")
    assert aside.read_bytes() == sound[: 5 * 97]


def newer(path, sound):
    path.write_bytes(sound)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def foreign(path, sound):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (x)")
        db.commit()


def hostile(path, sound):
    path.write_bytes(sound)
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TRIGGER t AFTER UPDATE ON setting BEGIN UPDATE result SET state = 'SUCCEEDED'; END"
        )
        db.commit()


def empty(path, sound):
    path.write_bytes(b"")


def cut_short(path, sound):
    path.write_bytes(sound[:-97])


def huge(path, sound):
    """Write a value that no memory should be wasted on."""
    path.write_bytes(sound)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE setting SET value = CAST(zeroblob(70 << 20) AS TEXT) WHERE name = 'hash'")
        db.commit()


def deep(path, sound):
    path.write_bytes(sound)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE step SET spec = ?", ("[" * 200_000,))
        db.commit()


def lone_pipe(path, sound):
    os.mkfifo(path)


def folder_there(path, sound):
    path.mkdir()


def socket_there(path, sound):
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.getcwd()
        os.chdir(path.parent)
        listener.bind(path.name)
        os.chdir(before)


def link_there(path, sound):
    path.with_name("target").write_bytes(sound)
    path.symlink_to("target")


def writable_by_others(path, sound):
    path.write_bytes(sound)
    path.chmod(0o666)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (newer, "SNB-312"),
        (foreign, "SNB-310"),
        (hostile, "SNB-310"),
        (empty, "SNB-310"),
        (cut_short, "SNB-310"),
        (huge, "SNB-310"),
        (deep, "SNB-310"),
        (lone_pipe, "SNB-311"),
        (folder_there, "SNB-311"),
        (socket_there, "SNB-311"),
        (link_there, "SNB-311"),
        (writable_by_others, "SNB-313"),
    ],
)
def test_who_only_looks_is_told_in_words_and_changes_nothing(notebook: Notebook, sound, capsys, make, code):
    path = Path(notebook.place.database)
    make(path, sound)
    if make is not writable_by_others and path.is_file() and not path.is_symlink():
        path.chmod(0o600)
    before = {file.name: file.read_bytes() for file in notebook.folder.iterdir() if file.is_file()}
    names = sorted(file.name for file in notebook.folder.iterdir())
    exit_code, said = say_status(notebook.folder, capsys)
    assert exit_code == 1
    assert f"({code})" in said and "Traceback" not in said
    assert "'a.stepup.db'" in said and "fix: " in said
    assert sorted(file.name for file in notebook.folder.iterdir()) == names
    assert {file.name: file.read_bytes() for file in notebook.folder.iterdir() if file.is_file()} == before
    session = notebook.begin()
    if code == "SNB-310":
        # A session moves it aside; all others are refused, and the user decides.
        assert session.declare("runsh", "true").wait().state == "SUCCEEDED"
        (aside,) = notebook.folder.glob("*.bad-*")
        assert aside.read_bytes() == before["a.stepup.db"]
    else:
        with pytest.raises(UsageError, match=code):
            session.declare("runsh", "true")
        assert {
            file.name: file.read_bytes() for file in notebook.folder.iterdir() if file.is_file()
        } == before
    session.close()


def test_another_program_that_reads_the_file_keeps_nobody_waiting_and_is_kept_out(
    notebook: Notebook, session
):
    session.declare("runsh", "echo A > a.txt", out="a.txt").wait()
    with closing(sqlite3.connect(notebook.place.database, timeout=0.0)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT count(*) FROM step").fetchone()
        assert session.declare("runsh", "echo B > b.txt", out="b.txt").wait().state == "SUCCEEDED"
    session = notebook.again(session)
    session.close()
    with closing(sqlite3.connect(notebook.place.database)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM step").fetchone() == (2,)
        with pytest.raises(UsageError, match="SNB-314"):
            notebook.begin().declare("runsh", "true")


# --- its size (row 54) -----------------------------------------------------------------------------


def test_the_start_reads_what_it_needs_of_a_long_history_and_no_more(path, monkeypatch):
    stores.filled(path, steps=5)
    monkeypatch.setattr(schema, "_LONG_HISTORY", 100)
    number = rounds(30_000, 1_000_000)
    with closing(sqlite3.connect(path)) as db:
        columns = (
            "run, pool, slots, worker, queued, started, ended, outcome, returncode, why, leftovers, notes"
        )
        db.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            f" INSERT INTO job (id, step, {columns}) SELECT i, i % 5 + 1, {columns} FROM n, job WHERE id = 1",
            (number + 9,),
        )
        db.commit()
    size = path.stat().st_size
    assert size > 60 * number

    def read():
        """Return the bytes that this thread has read so far."""
        words = Path("/proc/thread-self/io").read_text().split()
        return int(words[words.index("rchar:") + 1])

    before = read()
    store = Store.open(path)
    assert store.load().restored.next_job == number + 10
    assert read() - before < size / 10
    dropped = 0
    while some := store.prune():
        dropped += len(some)
    assert dropped == number + 5 - 5 * 30
    assert len(store.history()) == 5 * 30
    store.close()
    assert integrity(path) == "ok"


# --- who forks (row 47) ------------------------------------------------------------------------------
