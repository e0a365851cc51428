"""The database remembers what was decided, survives what befalls files, and believes no stranger."""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from director.helpers_store import (
    CELL,
    LOOK,
    decision,
    filled,
    finish,
    image,
    no_tails,
    run,
    start,
    step,
    steps_of,
    write_until_full,
)
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.core.errors import UsageError
from stepup_nb.core.messages import Decision
from stepup_nb.core.model import (
    File,
    Outcome,
    Pool,
    PoolRequest,
    Scope,
    ScopeKind,
    Step,
    StepSpec,
    StepState,
)
from stepup_nb.director import schema, state_file
from stepup_nb.director.rows import from_blob, to_blob
from stepup_nb.director.store import KEPT_JOBS, Store, StoreFull
from stepup_nb.director.tables import TAIL

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(autouse=True)
def _own_key(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "x.stepup.db"


def refusal(path, **options):
    with pytest.raises(UsageError) as caught:
        Store.open(path, **options).close()
    return caught.value


def files_in(folder):
    return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file()}


# --- what is saved is there again ------------------------------------------------------------------


def test_a_new_database_remembers_nothing(path):
    store = Store.open(path)
    loaded = store.load()
    assert store.notes == []
    assert loaded.restored.steps == loaded.restored.files == loaded.restored.pools == []
    assert loaded.restored.next_job == 1
    assert loaded.settings["hash"] == "blake3"
    store.close()


def test_a_step_its_result_its_files_and_its_job_are_there_after_a_restart(path):
    store = Store.open(path)
    made = step(1, pool=(PoolRequest("test", 1),), priority=3)
    store.save(
        decision(made, File("a1", look=LOOK), Pool("test", 2, True, ("x", "y"), scope="In [1]")), no_tails
    )
    run(store, made, 1)
    store.save(Decision(), no_tails, settings={"workers": 3})
    store.close()

    store = Store.open(path)
    loaded = store.load()
    (found,) = loaded.restored.steps
    assert (found.key, found.spec, found.seq, found.cell) == (made.key, made.spec, 1, CELL.title)
    assert (found.state, found.reason, found.record) == (StepState.SUCCEEDED, "job 1", made.record)
    assert not found.is_live
    assert found.scope is None
    assert (found.last.id, found.last.outcome, found.last.slots) == (1, Outcome.SUCCEEDED, {"test": (0,)})
    assert loaded.restored.scopes == {made.key: "cell-1"}
    assert {file.path: file.look for file in loaded.restored.files} == {"a1": LOOK, "b1": LOOK}
    (pool,) = loaded.restored.pools
    assert (pool.name, pool.size, pool.tokens, pool.is_defined, pool.scope) == (
        "test",
        2,
        ("x", "y"),
        True,
        "In [1]",
    )
    assert loaded.restored.workers == 3
    assert loaded.restored.next_job == 2
    assert loaded.strangers == loaded.interrupted == ()
    store.close()


def test_steps_come_back_in_the_order_of_their_declaration(path):
    store = Store.open(path)
    for number in (3, 1, 2):
        store.save(decision(step(number)), no_tails)
    store.close()
    store = Store.open(path)
    assert [found.seq for found in store.load().restored.steps] == [1, 2, 3]
    store.close()


def test_what_only_waits_costs_no_write(path):
    store = Store.open(path)
    made = step(1)
    run(store, made, 1)
    before = store._db.total_changes
    for state in (StepState.PENDING, StepState.CHECKING, StepState.SUCCEEDED):
        made.state = state
        made.reason = "job 1" if state is StepState.SUCCEEDED else "its files are being looked at"
        store.save(decision(made, File("b1", look=LOOK)), no_tails)
    assert store._db.total_changes == before
    store.close()


def declared_again(made, title="In [9]: for x in range(3)", scope="cell-1", kind=ScopeKind.CELL):
    made.scope = Scope(scope, kind, title)
    return decision(made)


@pytest.mark.parametrize("end", ["a quiet moment", "another step", "the end"])
def test_that_a_cell_was_run_again_is_written_when_something_else_is_or_nothing_else_is_to_be_done(
    path, tmp_path, end
):
    store = Store.open(path)
    made, other = step(1), step(2)
    run(store, made, 1)
    before = store._db.total_changes
    store.save(declared_again(made), no_tails)
    assert store._db.total_changes == before
    if end == "a quiet moment":
        store.checkpoint()
    elif end == "another step":
        start(store, other, 2)
    else:
        store.close()
    with closing(sqlite3.connect(path)) if end == "the end" else nullcontext(store._db) as db:
        assert db.execute("SELECT cell FROM step WHERE id = 1").fetchone() == (b"In [9]: for x in range(3)",)
    store.close()


def test_what_a_later_session_would_miss_is_written_at_once(path):
    store = Store.open(path)
    made = step(1)
    run(store, made, 1)
    for change in (
        lambda: declared_again(made, scope="cell-2"),
        lambda: declared_again(made, scope="run:1", kind=ScopeKind.RUN),
        lambda: setattr(made, "is_retired", True) or decision(made),
    ):
        before = store._db.total_changes
        store.save(change(), no_tails)
        assert store._db.total_changes > before
    before = store._db.total_changes
    store.save(declared_again(made, scope="run:2", kind=ScopeKind.RUN), no_tails)
    assert store._db.total_changes == before
    store.close()


def test_what_waits_does_not_pile_up(path):
    store = Store.open(path)
    made = step(1)
    run(store, made, 1)
    before = store._db.total_changes
    for number in range(1000):
        assert store._db.total_changes == before
        store.save(declared_again(made, title=f"In [{number}]"), no_tails)
    assert store._db.total_changes > before
    store.close()


def test_what_waits_is_not_lost_on_a_full_disk(mounted):
    place = mounted("size=400k")
    store = Store.open(place / "x.stepup.db")
    made = step(1)
    run(store, made, 1)
    store.checkpoint()
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        write_until_full(file)
    store.save(declared_again(made, title="In [9]: " + "x" * 20_000), no_tails)
    with pytest.raises(StoreFull):
        store.checkpoint()
    ballast.unlink()
    store.checkpoint()
    store.close()
    store = Store.open(place / "x.stepup.db")
    assert steps_of(store)[made.key].cell.startswith("In [9]")
    store.close()


def test_a_result_that_is_taken_back_is_gone(path):
    store = Store.open(path)
    made = step(1)
    run(store, made, 1)
    made.state, made.record = StepState.PENDING, None
    store.save(decision(made), no_tails)
    store.close()
    store = Store.open(path)
    assert steps_of(store)[made.key].record is None
    store.close()


def test_an_edited_step_keeps_its_result_and_it_is_still_believed(path):
    store = Store.open(path)
    made = step(1)
    run(store, made, 1)
    made.spec = StepSpec(action="runsh", command=made.spec.command, inp=("a1", "c"), out=("b1",))
    made.state = StepState.PENDING
    store.save(decision(made), no_tails)
    store.close()
    store = Store.open(path)
    assert store.is_trusted
    found = steps_of(store)[made.key]
    assert (found.spec, found.record) == (made.spec, made.record)
    store.close()


def test_a_forgotten_step_leaves_its_place_in_the_history_and_nothing_it_printed(path):
    store = Store.open(path)
    made = step(1)
    run(store, made, 1, tails=lambda job: (b"secret", b""))
    made.is_live = False
    store.save(decision(made), no_tails, forgotten={made.key})
    assert store.tails([1]) == {}
    store.close()
    store = Store.open(path)
    assert steps_of(store) == {}
    assert [row["step"] for row in store.history()] == [made.key]
    again = step(1)
    run(store, again, 2)
    assert [job.id for job in store.jobs_of(made.key)] == [1, 2]
    store.close()


def test_a_file_that_is_gone_is_forgotten(path):
    store = Store.open(path)
    store.save(decision(File("a", look=LOOK), File("b", look=LOOK)), no_tails)
    store.save(decision(File("a", look=None)), no_tails)
    store.close()
    store = Store.open(path)
    assert [file.path for file in store.load().restored.files] == ["b"]
    store.close()


def test_a_time_that_no_integer_holds_only_costs_another_reading(path):
    store = Store.open(path)
    store.save(decision(File("a", look=LOOK._replace(mtime_ns=2**63)), File("b", look=LOOK)), no_tails)
    store.close()
    store = Store.open(path)
    assert [file.path for file in store.load().restored.files] == ["b"]
    store.close()


def test_a_dropped_pool_is_gone_and_one_without_limit_stays(path):
    store = Store.open(path)
    store.save(decision(Pool("a", 1, True), Pool("b", None, True), Pool("asked for", 0, False)), no_tails)
    store.save(decision(Pool("a", 1, False)), no_tails)
    store.close()
    store = Store.open(path)
    assert [(pool.name, pool.size) for pool in store.load().restored.pools] == [("b", None)]
    store.close()


texts = st.text(st.characters(exclude_categories=()), max_size=12)


@given(texts)
def test_every_text_comes_back_as_it_was(text):
    assert from_blob(to_blob(text)) == text


@given(st.binary(max_size=20).filter(lambda name: b"\0" not in name))
def test_a_path_is_stored_as_its_bytes_on_disk(name):
    assert to_blob(name.decode("utf-8", "surrogateescape")) == name


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "-rf",
        "quote'\"",
        "new\nline",
        "\u202ebidi",
        "<img onerror=x>",
        "raw \udcff\udc80",
        "lone \ud800",
    ],
)
def test_names_that_are_no_nice_text_come_back(path, name):
    store = Store.open(path)
    spec = StepSpec(action="runsh", command=f"cat {name}", name=name, inp=(name,), out=(name + "2",))
    made = Step(spec.base, spec, 1, scope=Scope(name, ScopeKind.CELL, name), cell=name, is_live=True)
    run(store, made, 1, outcome=Outcome.FAILED)
    made.last.why, made.last.notes, made.last.leftovers, made.reason = name, (name,), (name,), name
    store.save(decision(made, made.last, File(name, look=LOOK)), no_tails)
    store.close()
    store = Store.open(path)
    loaded = store.load()
    (found,) = loaded.restored.steps
    assert (found.key, found.spec, found.cell, found.reason) == (name, spec, name, name)
    assert (found.last.why, found.last.notes, found.last.leftovers) == (name, (name,), (name,))
    assert name in {file.path for file in loaded.restored.files}
    assert store.history()[0]["step"] == name
    store.close()


# --- jobs ------------------------------------------------------------------------------------------


def test_the_history_has_a_row_per_job_newest_last(path):
    store = Store.open(path)
    one, two = step(1), step(2)
    run(store, one, 1, outcome=Outcome.FAILED)
    start(store, two, 2)
    failed, running = store.history()
    assert failed == {
        "job": 1,
        "step": one.key,
        "outcome": "failed",
        "returncode": 3,
        "queued": 99.0,
        "started": 101.0,
        "ended": 201.0,
        "pool": {"test": 1},
        "slots": {"test": [0]},
        "worker": 1,
        "machine": "",
        "peak_rss": None,
        "cpu": None,
    }
    assert (running["step"], running["outcome"], running["ended"]) == (two.key, None, None)
    json.dumps(store.history())
    store.close()


def test_a_start_that_was_taken_back_was_no_job(path):
    store = Store.open(path)
    made = step(1)
    job = start(store, made, 1)
    made.job, made.state = None, StepState.PENDING
    taken_back = decision(made)
    taken_back.dropped_jobs = {job.id, 99}
    store.save(taken_back, no_tails)
    assert store.history() == []
    start(store, made, 2)
    assert [row["job"] for row in store.history()] == [2]
    store.close()


def test_of_what_a_job_printed_the_last_bytes_are_kept(path):
    store = Store.open(path)
    run(store, step(1), 1, tails=lambda job: (b"x" * TAIL + b"end", b"\0\xff"))
    run(store, step(2), 2)
    store.close()
    store = Store.open(path)
    assert store.tails([1, 2]) == {1: ((b"x" * TAIL + b"end")[-TAIL:], b"\0\xff")}
    store.close()


def test_a_job_that_ran_when_everything_was_killed_is_interrupted_and_its_step_has_no_result(path, tmp_path):
    store = Store.open(path)
    made, other = step(1), step(2)
    run(store, made, 1)
    run(store, other, 2)
    start(store, made, 3)
    copy = image(store, tmp_path / "after")
    store.close()

    for options in ({"read_only": True}, {}, {"read_only": True}):
        store = Store.open(copy, **options)
        loaded = store.load()
        steps = {found.key: found for found in loaded.restored.steps}
        assert steps[made.key].state is StepState.PENDING
        assert steps[made.key].record is None
        assert (steps[made.key].last.id, steps[made.key].last.outcome) == (3, Outcome.INTERRUPTED)
        assert steps[other.key].record == other.record
        assert [row["outcome"] for row in store.history()] == ["succeeded", "succeeded", "interrupted"]
        assert loaded.restored.next_job == 4
        store.close()


def test_the_interrupted_steps_are_named_once(path, tmp_path):
    store = Store.open(path)
    made = step(1)
    store.save(decision(made), no_tails)
    start(store, made, 1)
    copy = image(store, tmp_path / "after")
    store.close()
    told = []
    for _ in range(2):
        store = Store.open(copy)
        told.append(store.load().interrupted)
        store.close()
    assert told == [(made.key,), ()]


def test_a_job_that_ended_but_was_not_verified_is_interrupted_too(path, tmp_path):
    store = Store.open(path)
    made = step(1)
    job = start(store, made, 1)
    job.ended, job.returncode = 150.0, 0
    store.save(decision(made, job), no_tails)
    copy = image(store, tmp_path / "after")
    store.close()
    store = Store.open(copy)
    assert steps_of(store)[made.key].last.outcome is Outcome.INTERRUPTED
    store.close()


def test_the_history_keeps_the_newest_jobs_of_each_step(path):
    store = Store.open(path)
    busy, lazy = step(1), step(2)
    run(store, lazy, 1, tails=lambda job: (b"kept", b""))
    for number in range(2, 42):
        run(store, busy, number, tails=lambda job: (b"%d" % job, b""))
    assert store.prune() == list(range(11, 1, -1))
    assert [row["job"] for row in store.history()] == [1, *range(12, 42)]
    assert list(store.tails(range(1, 42))) == [1, *range(12, 42)]
    run(store, busy, 42)
    assert store.prune() == [12]
    assert store.prune() == []
    assert len(store.jobs_of(busy.key)) == KEPT_JOBS
    store.close()
    store = Store.open(path)
    assert steps_of(store)[busy.key].last.id == 42
    store.close()


WRITER = """
import sys
sys.path[:0] = {paths!r}
import test_store as t
store = t.Store.open({path!r})
store.load()
for number in range({first}, 1_000_000):
    made = t.step(number % 7 + 1)
    job = t.start(store, made, number)
    print("started", number, made.key, flush=True)
    t.finish(store, made)
    print("ended", number, made.key, flush=True)
"""


def test_a_director_killed_at_any_moment_loses_nothing_that_it_told(path, tmp_path):
    # Everything told after its commit is there, and what ran has no result, however often it is killed.
    chance = random.Random(7)
    results, first = {}, 1
    paths = [str(Path(__file__).parent), *sys.path]
    for _ in range(6):
        code = WRITER.format(paths=paths, path=str(path), first=first)
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
            lines = [writer.stdout.readline() for _ in range(chance.randrange(1, 60))]
            writer.kill()
            lines += writer.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                what, number, key = line.rstrip().split(" ", 2)
                results[key] = int(number) if what == "ended" else None
        store = Store.open(path)
        assert store.notes == []
        loaded = store.load()
        jobs = {row["job"]: row["outcome"] for row in store.history()}
        last = max(jobs)
        for found in loaded.restored.steps:
            told = results.get(found.key)
            made = None if found.record is None else found.record.job
            # Only of the very last job it may know more than was told.
            assert made == told or last in (made, found.last.id)
            assert (made is None) == (jobs[found.last.id] == "interrupted")
            results[found.key] = made
        first = loaded.restored.next_job
        store.close()
    assert first > 20


# --- the file --------------------------------------------------------------------------------------


def test_only_the_owner_can_read_it_whatever_the_umask_is(path):
    before = os.umask(0)
    try:
        store = Store.open(path)
        store.save(decision(step(1)), no_tails)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert modes == {"x.stepup.db": 0o600, "x.stepup.db-wal": 0o600}


def test_a_file_that_others_could_read_is_closed_to_them(path):
    filled(path)
    path.chmod(0o644)
    Store.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_after_a_checkpoint_the_one_file_holds_everything(path, tmp_path):
    store = Store.open(path)
    made = step(1)
    run(store, made, 1)
    store.checkpoint()
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    store.close()
    store = Store.open(copy)
    assert steps_of(store)[made.key].record == made.record
    store.close()


def test_a_closed_database_is_one_file(path):
    filled(path)
    assert list(files_in(path.parent)) == ["x.stepup.db"]


def test_after_a_copy_or_a_reboot_no_mark_of_a_file_is_believed(path, tmp_path, monkeypatch):
    filled(path)
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    for _ in range(2):
        store = Store.open(copy)
        assert {file.look for file in store.load().restored.files} == {LOOK._replace(looked_ns=0)}
        store.close()
    monkeypatch.setattr("stepup_nb.director.state_file.boot", lambda: "another")
    store = Store.open(path)
    assert {file.look for file in store.load().restored.files} == {LOOK._replace(looked_ns=0)}
    store.close()


def test_a_copy_does_not_take_the_processes_of_the_original_for_its_own(path, tmp_path):
    filled(path)
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    markers = []
    for file in (path, copy, path, copy):
        store = Store.open(file)
        assert store.is_trusted
        markers.append(store.load().settings["marker"])
        store.close()
    assert markers[:2] == markers[2:]
    assert markers[0] != markers[1]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "its tables are missing"),
        (b"hello\n" * 1000, "file is not a database"),
        (os.urandom(10_000), "file is not a database"),
        (b"SQLite format 3\0" + bytes(4080), "file is not a database"),
    ],
    ids=["empty", "text", "noise", "header"],
)
def test_what_is_no_database_is_moved_aside_with_a_note(path, content, why):
    path.write_bytes(content)
    store = Store.open(path)
    day = time.strftime("%Y%m%d")
    assert store.notes == [
        f"SNB-310 'x.stepup.db' is not a usable state file ({why}). "
        f"Moved to 'x.stepup.db.bad-{day}-1'. Everything will be checked again."
    ]
    assert (path.parent / f"x.stepup.db.bad-{day}-1").read_bytes() == content
    run(store, step(1), 1)
    store.close()
    path.write_bytes(content)
    store = Store.open(path)
    assert f"'x.stepup.db.bad-{day}-2'" in store.notes[0]
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON job BEGIN UPDATE result SET state = 'SUCCEEDED'; END",
        "CREATE VIEW v AS SELECT * FROM step",
        "CREATE TABLE more (x)",
        "CREATE INDEX i ON job (step)",
        "DROP TABLE tail",
        "ALTER TABLE pool ADD COLUMN x TEXT",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 0",
    ],
)
def test_a_schema_that_is_not_ours_to_the_letter_is_moved_aside(path, statement):
    filled(path)
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()
    store = Store.open(path)
    assert store.notes[0].startswith("SNB-310")
    assert steps_of(store) == {}
    store.close()


def test_the_database_of_another_program_is_moved_aside_whole(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()
    before = path.read_bytes()
    store = Store.open(path)
    assert "another program made it" in store.notes[0]
    store.close()
    (aside,) = path.parent.glob("*.bad-*")
    assert aside.read_bytes() == before


def test_a_newer_schema_is_refused_and_not_a_byte_is_changed(path):
    filled(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.execute("""UPDATE setting SET value = '"2.3"' WHERE name = 'release'""")
    db.commit()
    db.close()
    before = files_in(path.parent)
    for options in ({}, {"read_only": True}):
        error = refusal(path, **options)
        assert error.code == "SNB-312"
        assert "written by stepup_nb 2.3 (schema 99)" in error.what
        assert f"(schema {len(schema.MIGRATIONS)})" in error.what
        assert error.fix
        assert files_in(path.parent) == before


def test_a_newer_schema_that_is_still_in_the_log_is_refused_too(path, tmp_path):
    filled(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA user_version = 99")
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", tmp_path / f"y.db{end}")
    db.close()
    for end in ("", "-wal"):
        (tmp_path / f"y.db{end}").chmod(0o600)
    before = files_in(tmp_path)
    assert refusal(tmp_path / "y.db").code == "SNB-312"
    assert files_in(tmp_path) == before


def test_the_stored_database_of_every_release_opens(tmp_path, monkeypatch):
    stored = sorted(DATA.glob("schema-*.db"))
    assert len(stored) == len(schema.MIGRATIONS), "store one database of each released schema in tests/data/"
    monkeypatch.setattr("stepup_nb.director.secret.key", lambda: b"k" * 32)
    for file in stored:
        copy = tmp_path / file.name
        shutil.copy(file, copy)
        copy.chmod(0o600)
        store = Store.open(copy)
        assert store.notes == []
        found = steps_of(store)["runsh cp a1 b1"]
        assert (found.state, found.record.job, found.last.outcome) == (
            StepState.SUCCEEDED,
            1,
            Outcome.SUCCEEDED,
        )
        assert store.tails([1]) == {1: (b"out 1", b"")}
        store.close()


def test_an_older_schema_is_brought_up_to_date_and_a_copy_of_it_kept(path, monkeypatch):
    filled(path)
    migrations = (*schema.MIGRATIONS, lambda db: db.execute("CREATE TABLE more (x TEXT) STRICT"))
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    store = Store.open(path)
    assert store.notes == []
    assert len(steps_of(store)) == 3
    assert store._db.execute("SELECT count(*) FROM more").fetchone() == (0,)
    store.close()
    copy = path.with_name(f"x.stepup.db.schema-{len(migrations) - 1}")
    assert copy.stat().st_mode & 0o777 == 0o600
    monkeypatch.undo()
    store = Store.open(copy, read_only=True)
    assert len(store.history()) == 3
    store.close()


def test_a_migration_that_fails_leaves_the_old_schema(path, monkeypatch):
    filled(path)

    def fails(db):
        db.execute("CREATE TABLE more (x TEXT) STRICT")
        raise RuntimeError("half way")

    before = path.read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, fails))
    with pytest.raises(RuntimeError):
        Store.open(path)
    monkeypatch.undo()
    store = Store.open(path)
    assert len(steps_of(store)) == 3
    assert len(before) == path.stat().st_size
    store.close()


def _fifo(path):
    os.mkfifo(path)


def _directory(path):
    path.mkdir()


def _symlink(path):
    path.symlink_to("elsewhere.db")


def _socket(path):
    folder = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_fifo, "a named pipe"),
        (_directory, "a directory"),
        (_symlink, "a symbolic link"),
        (_socket, "a socket"),
    ],
)
@pytest.mark.parametrize("end", ["", "-wal", "-journal"])
def test_what_is_no_regular_file_is_refused_and_never_opened(path, make, words, end):
    make(path.with_name(path.name + end))
    error = refusal(path)
    assert error.code == "SNB-311"
    assert f"is {words}, not a state file" in error.what
    assert [file.name for file in path.parent.iterdir()] == [path.name + end]


def test_a_file_that_others_may_write_is_refused(path):
    filled(path)
    for mode in (0o660, 0o602):
        path.chmod(mode)
        for options in ({}, {"read_only": True}):
            error = refusal(path, **options)
            assert error.code == "SNB-313"
            assert "chmod 600" in error.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: needs root")
def test_a_file_of_another_user_is_refused(path):
    filled(path)
    os.chown(path, 65534, 65534)
    error = refusal(path)
    assert error.code == "SNB-313"
    assert "uid 65534" in error.why


def test_a_log_without_its_database_is_not_taken_for_the_new_ones(path):
    store = Store.open(path)
    run(store, step(1), 1)
    log = path.with_name("x.stepup.db-wal")
    orphan = log.read_bytes()
    store.close()
    path.unlink()
    log.write_bytes(orphan)
    log.chmod(0o600)
    store = Store.open(path)
    assert steps_of(store) == {}
    store.close()
    assert [file.read_bytes() for file in path.parent.glob("*.bad-*")] == [orphan]


# --- cut and changed files --------------------------------------------------------------------------


def _survives(path):
    """Open whatever is there; it must work, and have been kept as it was if it could not be used."""
    content = path.read_bytes()
    store = Store.open(path)
    try:
        loaded = store.load()
        made = step(9)
        number = loaded.restored.next_job
        run(store, made, number)
        store.history()
        store.tails(range(5))
        store.prune()
        store.checkpoint()
        assert steps_of(store)[made.key].record == made.record
        if store.notes:
            assert store.notes[0].startswith("SNB-310")
    finally:
        store.close()
    store = Store.open(path)
    assert store.notes == []
    assert made.key in steps_of(store)
    store.close()
    asides = [aside for aside in path.parent.glob("*.bad-*") if not aside.name.endswith(("-wal", "-shm"))]
    if asides:
        (aside,) = asides
        assert aside.read_bytes() == content
    return bool(asides), content


@pytest.fixture
def folder(tmp_path):
    """A folder for hundreds of databases: in memory if possible, as each is made with care for the disk."""
    place = Path("/dev/shm")
    if not os.access(place, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
    path = tmp_path_factory.mktemp("sound") / "x.stepup.db"
    filled(path, steps=12)
    content = path.read_bytes()
    patch.undo()
    return content


def _spoil(folder, number, content):
    path = folder / str(number) / "x.stepup.db"
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_file_cut_at_any_place_is_used_or_moved_aside(sound, folder):
    moved = [_survives(_spoil(folder, length, sound[:length]))[0] for length in range(0, len(sound), 97)]
    assert all(moved)


def test_a_file_with_any_byte_flipped_is_used_or_moved_aside(sound, folder):
    for place in range(0, len(sound), 97):
        spoilt = bytearray(sound)
        spoilt[place] ^= 0xFF
        _survives(_spoil(folder, place, bytes(spoilt)))


def test_200_random_corruptions_are_survived(sound, folder):
    chance = random.Random(7)
    for number in range(200):
        spoilt = bytearray(sound)
        for _ in range(chance.choice((1, 1, 3, 20))):
            place, length = chance.randrange(len(spoilt)), chance.choice((1, 2, 40, 3000))
            spoilt[place : place + length] = chance.randbytes(len(spoilt[place : place + length]))
        _survives(_spoil(folder, number, bytes(spoilt)))


def test_a_log_cut_or_flipped_anywhere_loses_at_most_its_tail(path, folder):
    store = Store.open(path)
    made = [step(number) for number in range(1, 9)]
    for number, one in enumerate(made, start=1):
        run(store, one, number)
    copy = image(store, folder / "crash")
    store.close()
    content, log = copy.read_bytes(), Path(f"{copy}-wal").read_bytes()
    spoilt = [log[:length] for length in range(0, len(log), 1999)]
    for place in range(0, len(log), 1999):
        flipped = bytearray(log)
        flipped[place] ^= 0xFF
        spoilt.append(bytes(flipped))
    for number, words in enumerate(spoilt):
        one = _spoil(folder, number, content)
        Path(f"{one}-wal").write_bytes(words)
        Path(f"{one}-wal").chmod(0o600)
        store = Store.open(one)
        assert store.notes == []
        # Results are stored in order: what is there is a prefix, and each is whole.
        found = [one for one in store.load().restored.steps if one.record is not None]
        assert [one.record for one in found] == [one.record for one in made[: len(found)]]
        store.close()


def test_a_row_that_cannot_be_understood_makes_the_file_unusable(path):
    for table, value in (
        ("setting", "value = '{'"),
        ("step", "spec = '[]'"),
        ("step", "spec = '{\"action\": 1}'"),
        ("step", "spec = '" + "[" * 5000 + "'"),
        ("file", "inode = 'x'"),
        ("pool", "tokens = '[1]'"),
        ("job", "slots = '[]'"),
    ):
        path.unlink(missing_ok=True)
        filled(path)
        db = sqlite3.connect(path)
        db.execute(f"UPDATE {table} SET {value}")
        db.commit()
        db.close()
        assert refusal(path, read_only=True).code == "SNB-310"
        store = Store.open(path)
        assert "a row of it cannot be understood" in store.notes[0]
        store.close()


def test_a_file_that_breaks_while_it_is_open_is_replaced_by_what_is_known(path):
    filled(path, steps=40)
    store = Store.open(path)
    before = steps_of(store)
    made = step(50)
    start(store, made, 41)
    store.checkpoint()
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    store._db.execute("PRAGMA shrink_memory")
    for number in range(60, 80):
        store.save(decision(step(number)), no_tails)
        store.history()
    assert "broke while it was in use" in store.notes[0]
    finish(store, made)
    store.close()
    store = Store.open(path)
    after = steps_of(store)
    assert {key: after[key].record for key in before} == {key: one.record for key, one in before.items()}
    assert after[made.key].record == made.record
    assert len(after) == 61
    store.close()


# --- places that cannot be written, or are full -----------------------------------------------------


def test_where_nothing_can_be_written_the_session_works_in_memory_and_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store.open(tmp_path / "file" / "x.stepup.db")
    assert store.is_in_memory
    (note,) = store.notes
    assert note.startswith("SNB-316 'x.stepup.db' cannot be written (not a directory).")
    assert "nothing will be remembered" in note
    made = step(1)
    run(store, made, 1)
    assert steps_of(store)[made.key].record == made.record
    assert not store.moved()
    store.checkpoint()
    store.close()


@pytest.fixture
def mounted(tmp_path):
    """Mount small file systems in memory, and take them away again."""
    places = []

    def mount(options):
        place = tmp_path / f"mount{len(places)}"
        place.mkdir()
        if os.geteuid() != 0 or subprocess.call(
            ["mount", "-t", "tmpfs", "-o", options, "none", place], stderr=subprocess.DEVNULL
        ):
            pytest.skip("not run: needs root")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.check_call(["umount", "-l", place])


def test_on_a_read_only_file_system_what_is_there_is_known(mounted):
    place = mounted("size=4m")
    filled(place / "x.stepup.db")
    subprocess.check_call(["mount", "-o", "remount,ro", place])
    before = files_in(place)
    for options in ({}, {"read_only": True}):
        store = Store.open(place / "x.stepup.db", **options)
        assert store.is_in_memory
        assert len(steps_of(store)) == 3
        run(store, step(9), 4)
        store.close()
        assert files_in(place) == before
    assert Store.open(place / "new.db").is_in_memory


def _run_until_full(store, made):
    while True:
        made.append(step(len(made) + 1))
        run(store, made[-1], len(made))


def test_a_full_disk_stops_a_save_whole_and_the_same_save_works_when_there_is_room(mounted):
    place = mounted("size=400k")
    path = place / "x.stepup.db"
    store = Store.open(path)
    made = [step(1)]
    run(store, made[0], 1)
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        write_until_full(file)
    with pytest.raises(StoreFull) as caught:
        _run_until_full(store, made)
    assert "SNB-320 no space left for the state file" in str(caught.value)
    assert caught.value.__cause__.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
    with pytest.raises(StoreFull):
        store.save(decision(*(step(other) for other in range(100, 130))), no_tails)
    ballast.unlink()
    last = made[-1]
    if last.job is not None:
        store.save(decision(last, last.job), no_tails)
        finish(store, last)
    else:
        store.save(decision(last, last.last), no_tails)
    store.close()
    store = Store.open(path)
    assert store.notes == []
    assert {key: one.record for key, one in steps_of(store).items()} == {one.key: one.record for one in made}
    assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


# --- others -----------------------------------------------------------------------------------------

HOLDER = """
import sys
sys.path[:0] = {paths!r}
from stepup_nb.director.store import Store
store = Store.open({path!r})
store.set("workers", 7)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Start processes that have a database open, and end them."""
    started = []

    def hold(path):
        code = HOLDER.format(paths=sys.path, path=str(path))
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def waits(monkeypatch):
    """The seconds for which SQLite is to wait for others, of each file that is opened."""
    asked = []

    def connect(path, timeout=5.0, **options):
        if path != ":memory:":
            asked.append(timeout)
        return sqlite3.Connection(path, timeout=timeout, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    return asked


def test_a_database_that_a_director_has_open_is_refused_at_once(path, holder, waits):
    holder(path)
    for options in ({}, {"read_only": True}):
        assert refusal(path, **options).code == "SNB-314"
    assert not any(waits)


def test_after_a_killed_director_it_can_be_read_and_nothing_is_changed(path, holder):
    process = holder(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = files_in(path.parent)
    assert set(before) == {"x.stepup.db", "x.stepup.db-wal"}
    store = Store.open(path, read_only=True)
    assert store.load().restored.workers == 7
    store.set("workers", 8)
    store.close()
    assert files_in(path.parent) == before
    store = Store.open(path)
    assert store.load().restored.workers == 7
    store.close()


def test_another_program_that_reads_it_is_waited_for_a_moment_only(path, waits):
    filled(path)
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM step").fetchone()
    waits.clear()
    assert refusal(path).code == "SNB-314"
    assert max(waits) == state_file.PATIENCE < 2
    reader.close()
    Store.open(path).close()


def test_one_process_does_not_open_it_twice(path):
    store = Store.open(path)
    assert refusal(path).code == refusal(path, read_only=True).code == "SNB-314"
    store.set("workers", 2)
    other = sqlite3.connect(path, timeout=0.0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM step")
    other.close()
    store.close()
    Store.open(path).close()


def test_read_only_there_must_be_something_to_read(path):
    error = refusal(path, read_only=True)
    assert error.code == "SNB-315"
    assert "'x.stepup.db'" in error.what
    path.write_bytes(b"text")
    path.chmod(0o600)
    assert refusal(path, read_only=True).code == "SNB-310"
    assert files_in(path.parent) == {"x.stepup.db": b"text"}


def test_a_file_that_is_moved_away_while_open_is_complete_and_a_new_one_takes_its_place(path, tmp_path):
    store = Store.open(path)
    made = step(1)
    run(store, made, 1, tails=lambda job: (b"words", b""))
    assert not store.moved()
    away = tmp_path / "away.db"
    path.rename(away)
    assert store.moved()
    store.rescue()
    assert not store.moved()
    start(store, made, 2)
    (note,) = store.notes
    assert note.startswith("SNB-305 the state file 'x.stepup.db' was moved or replaced while in use")
    assert [row["outcome"] for row in store.history()] == ["succeeded", None]
    assert store.tails([1]) == {1: (b"words", b"")}
    finish(store, made)
    store.close()
    for file, jobs in ((away, 1), (path, 2)):
        store = Store.open(file)
        assert len(store.history()) == jobs
        assert list(steps_of(store)) == [made.key]
        store.close()


def test_a_file_that_is_replaced_while_open_makes_room(path, tmp_path):
    other = tmp_path / "other.db"
    filled(other, steps=1)
    store = Store.open(path)
    made = step(5)
    run(store, made, 1)
    os.replace(other, path)
    assert store.moved()
    store.rescue()
    assert "what was there is 'x.stepup.db.bad-" in store.notes[0]
    store.close()
    store = Store.open(path)
    assert list(steps_of(store)) == [made.key]
    store.close()


# --- trust -------------------------------------------------------------------------------------------


def become_another_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another home"))


def test_results_of_a_stranger_authorise_nothing_until_they_are_trusted(path, tmp_path, monkeypatch):
    filled(path)
    become_another_user(monkeypatch, tmp_path)
    store = Store.open(path)
    loaded = store.load()
    assert loaded.strangers == ("runsh cp a1 b1", "runsh cp a2 b2", "runsh cp a3 b3")
    assert not store.is_trusted
    assert {(one.state, one.record) for one in loaded.restored.steps} == {(StepState.PENDING, None)}
    assert {file.look.looked_ns for file in loaded.restored.files} == {LOOK.looked_ns}
    believed = store.trust()
    assert store.is_trusted
    assert {key: kept.record.outputs for key, kept in believed.items() if kept.record} == {
        f"runsh cp a{number} b{number}": ((f"b{number}", LOOK.content),) for number in (1, 2, 3)
    }
    store.close()
    store = Store.open(path)
    assert store.load().strangers == ()
    assert steps_of(store)["runsh cp a2 b2"].record == believed["runsh cp a2 b2"].record
    store.close()


def test_own_results_in_a_strangers_database_are_believed(path, tmp_path, monkeypatch):
    filled(path)
    become_another_user(monkeypatch, tmp_path)
    store = Store.open(path)
    steps = steps_of(store)
    mine, waiting = steps["runsh cp a1 b1"], steps["runsh cp a2 b2"]
    mine.scope = waiting.scope = CELL
    waiting.state = StepState.CHECKING
    store.save(decision(waiting), no_tails)
    run(store, mine, 4)
    store.close()
    store = Store.open(path)
    loaded = store.load()
    assert loaded.strangers == ("runsh cp a2 b2", "runsh cp a3 b3")
    assert {one.key: one.record for one in loaded.restored.steps}["runsh cp a1 b1"] == mine.record
    store.close()


def test_a_strangers_result_is_gone_once_its_step_runs(path, tmp_path, monkeypatch):
    filled(path, steps=1)
    become_another_user(monkeypatch, tmp_path)
    store = Store.open(path)
    made = steps_of(store)["runsh cp a1 b1"]
    start(store, made, 2)
    assert store.trust() == {}
    store.close()


def test_a_failure_of_ones_own_takes_the_strangers_result_away(path, tmp_path, monkeypatch):
    filled(path, steps=1)
    become_another_user(monkeypatch, tmp_path)
    store = Store.open(path)
    made = steps_of(store)["runsh cp a1 b1"]
    run(store, made, 2, outcome=Outcome.FAILED)
    assert store.trust() == {}
    store.close()
    store = Store.open(path)
    assert steps_of(store)["runsh cp a1 b1"].record is None
    store.close()


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE result SET record = replace(record, 'abab', 'cdcd') WHERE step = 1",
        "UPDATE step SET spec = replace(spec, 'b1', 'b7') WHERE id = 1",
        "UPDATE name SET key = x'72756e' WHERE id = 1",
        "UPDATE result SET record = (SELECT record FROM result WHERE step = 2),"
        " seal = (SELECT seal FROM result WHERE step = 2) WHERE step = 1",
        """UPDATE setting SET value = '"ffff"' WHERE name = 'database'""",
        "UPDATE result SET seal = zeroblob(16) WHERE step = 1",
    ],
)
def test_a_forged_result_is_not_believed(path, forgery):
    filled(path)
    db = sqlite3.connect(path)
    db.execute(forgery)
    db.commit()
    db.close()
    store = Store.open(path)
    loaded = store.load()
    first = min(loaded.restored.steps, key=lambda one: one.seq)
    assert first.key in loaded.strangers
    assert first.record is None
    store.close()


def test_a_strangers_record_that_makes_no_sense_is_never_believed(path):
    filled(path, steps=1)
    db = sqlite3.connect(path)
    db.execute("UPDATE result SET record = '{}'")
    db.commit()
    db.close()
    store = Store.open(path)
    assert store.trust() == {}
    assert not store.is_trusted
    store.close()
