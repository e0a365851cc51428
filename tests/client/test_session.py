"""What a session promises: begun late, declared at once, waited for to the end, never in the way."""

import asyncio
import os
import signal
import threading
import time
from itertools import pairwise

import pytest
from client.helpers_session import is_asleep
from director.helpers_world import (
    alive,
    cell,
    director_of,
    on_both_hosts,
    overlap,
    ran,
    state_of,
    until,
    with_processes,
)

from stepup_nb.client.session import check
from stepup_nb.core.errors import StepsFailed, UsageError
from stepup_nb.core.model import ScopeKind
from stepup_nb.director import hashing
from stepup_nb.director.glance import Glance


def refusal(call, *args, **options):
    with pytest.raises(UsageError) as caught:
        call(*args, **options)
    return caught.value


def waiting_threads():
    """Return how many threads wait for steps."""
    return sum(thread.name == "stepup-wait" for thread in threading.enumerate())


# --- the beginning ---------------------------------------------------------------------------------


@on_both_hosts
def test_the_first_step_starts_a_director_and_nothing_before_does(notebook):
    session = notebook.begin()
    with cell(session, "a"), cell(session, "b"), session.hold():
        pass
    with pytest.raises(UsageError):
        session.declare("runsh", "")
    assert not session.is_started
    assert list(notebook.folder.iterdir()) == []
    session.declare("runsh", "true")
    assert session.is_started
    assert os.path.exists(notebook.place.database)


def test_a_pool_starts_a_director_too(session):
    session.pool("test", 2)
    assert session.is_started


def test_the_session_says_when_a_director_has_started(session):
    started = []
    session.on_started = started.append
    session.pool("test", 2)
    session.pool("test", 3)
    assert started == [session]


def test_a_declaration_returns_at_once_and_its_handle_tells_all(session, notebook):
    notebook.write("a.txt", "A")
    begin = time.monotonic()
    handle = session.declare(
        "runsh", "sleep 0.3; cat ${inp} >&2; cp ${inp} b.txt; echo x > v.log; echo $A", name="two\tparts",
        inp="a.txt", out=["b.txt"], vol="v.log", env="A", pool="p:2",
    )  # fmt: skip
    assert handle.notes == ("pool 'p' is not defined",)
    session.pool("p", 2)
    assert time.monotonic() - begin < 2
    assert handle.returncode is None
    assert handle.duration is None
    assert handle.wait() is handle
    assert (handle.name, handle.state, handle.returncode) == ("two\tparts", "SUCCEEDED", 0)
    assert (handle.inp, handle.out, handle.vol, handle.env) == (["a.txt"], ["b.txt"], ["v.log"], ["A"])
    assert handle.pool == {"p": 2}
    assert 0.3 <= handle.duration < 5
    assert (handle.stdout, handle.stderr) == ("\n", "A")
    assert handle.job == 1
    assert handle.why() == ["never ran"]


# --- results last ----------------------------------------------------------------------------------


@on_both_hosts
def test_after_a_restart_nothing_that_is_done_runs_again_and_its_output_is_shown(notebook):
    def declare(session):
        with cell(session, "a"):
            for number in range(200):
                session.declare("runsh", f"echo {number}; echo err >&2; : > o{number}", out=f"o{number}")

    session = notebook.begin(workers=4)
    declare(session)
    check(session.wait())
    assert len(session.history()) == 200
    session = notebook.again(session)
    declare(session)
    report = session.wait()
    check(report)
    assert (report["awaited"], report["skipped"]) == (200, 200)
    assert len(session.history()) == 200
    rows = session.status()["steps"]
    assert [(row["stdout_tail"], row["stderr_tail"]) for row in rows] == [
        (f"{n}\n", "err\n") for n in range(200)
    ]
    assert all(row["skipped"] and not row["dormant"] for row in rows)


def test_a_step_that_declares_no_files_does_not_run_again_either(notebook, session):
    session.declare("runsh", "echo once")
    session.wait()
    session = notebook.again(session)
    handle = session.declare("runsh", "echo once")
    assert session.wait()["skipped"] == 1
    assert handle.stdout == "once\n"
    assert ran(session) == ["echo once"]


def test_another_pool_size_runs_nothing_again(notebook, session):
    def declare(session, size):
        session.pool("p", size)
        for name in "abc":
            session.declare("runsh", f"echo > {name}", out=name, pool="p")
        check(session.wait())

    declare(session, 1)
    declare(session, 3)
    session = notebook.again(session)
    declare(session, "none")
    assert len(session.history()) == 3


def test_without_its_database_everything_runs_again(notebook, session):
    session.declare("runsh", "echo > a", out="a")
    check(session.wait())
    session.close()
    os.unlink(notebook.place.database)
    session = notebook.begin()
    session.declare("runsh", "echo > a", out="a")
    check(session.wait())
    assert [row["job"] for row in session.history()] == [1]


def test_an_edited_input_runs_exactly_what_depends_on_it(notebook, session):
    notebook.write("a", "1")
    notebook.write("b", "1")

    def declare(session):
        for name in "ab":
            session.declare("runsh", f"cp {name} {name}1", inp=name, out=f"{name}1")
            session.declare("runsh", f"cp {name}1 {name}2", inp=f"{name}1", out=f"{name}2")
        check(session.wait())

    declare(session)
    notebook.write("a", "22")
    declare(session)
    assert ran(session, 4) == ["cp a a1", "cp a1 a2"]
    session = notebook.again(session)
    notebook.write("b", "333")
    declare(session)
    assert ran(session, 6) == ["cp b b1", "cp b1 b2"]
    assert notebook.read("b2") == "333"


def test_who_writes_the_same_again_runs_no_consumer(notebook, session):
    notebook.write("a", "1")

    def declare():
        session.declare("runsh", "tr -d 0-9 < a > b", inp="a", out="b")
        session.declare("runsh", "cp b c", inp="b", out="c")
        check(session.wait())

    declare()
    notebook.write("a", "2")
    declare()
    assert ran(session) == ["tr -d 0-9 < a > b", "cp b c", "tr -d 0-9 < a > b"]


def test_a_touched_input_runs_nothing(notebook, session):
    path = notebook.write("a", "1")
    for _ in range(2):
        session.declare("runsh", "cp a b", inp="a", out="b")
        check(session.wait())
        os.utime(path, ns=(1, 1))
    assert len(session.history()) == 1


# --- cells -----------------------------------------------------------------------------------------


@on_both_hosts
def test_an_edited_cell_starts_nothing_before_what_it_ran_is_dead(notebook):
    session = notebook.begin(workers=4)
    old = f"31{os.getpid()}"
    with cell(session, "a"):
        session.declare(
            "runsh",
            f"trap 'sleep 0.5; exit' TERM; sleep {old} & echo $$ > pid; wait; echo old >> out",
            out="out",
        )
    until(lambda: alive(old) and notebook.read("pid"))
    with cell(session, "a"):
        handle = session.declare("runsh", f"pgrep -fx 'sleep {old}'; echo new >> out", out="out")
    handle.wait()
    assert handle.stdout == ""
    assert notebook.read("out") == "new\n"
    assert alive(old) == []
    assert [row["outcome"] for row in session.history()] == ["cancelled", "succeeded"]


def test_a_cell_that_is_run_again_adopts_what_still_runs(session):
    for _ in range(3):
        with cell(session, "a"):
            handle = session.declare("runsh", "sleep 0.3; echo done")
    handle.wait()
    assert len(session.history()) == 1


def test_what_a_cell_declares_no_more_is_stopped_when_it_ends(session):
    with cell(session, "a"):
        session.declare("runsh", "sleep 60", name="long")
        session.declare("runsh", "true", name="short")
    until(lambda: state_of(session, "long") == "RUNNING")
    with cell(session, "a"):
        session.declare("runsh", "true", name="short")
        assert state_of(session, "long") == "RUNNING"
    until(lambda: session.history()[0]["outcome"] == "cancelled")
    assert session.rows(["long"])[0]["dormant"]


def test_a_cell_that_raises_stops_nothing(session):
    with cell(session, "a"):
        session.declare("runsh", "sleep 0.3", name="long")
    with cell(session, "a", is_ok=False):
        session.declare("runsh", "true", name="other")
    check(session.wait())
    assert session.status()["counts"] == {"SUCCEEDED": 2}


def test_two_cells_that_write_one_file_are_told_of_each_other(session):
    with cell(session, "a"):
        session.declare("runsh", "echo a > x", out="x")
    with cell(session, "b"):
        error = refusal(session.declare, "runsh", "echo b > x", out="x")
    assert error.code == "SNB-401"
    assert "cell 'cell:a'" in error.why
    assert "cell 'cell:b'" in error.why


def test_cells_that_overlap_keep_their_steps_apart(session):
    # Of two cells that ran at once, as in subshells, one lost its title and never retired anything.
    session.open_scope("cell:a", ScopeKind.CELL, "cell A")
    session.open_scope("cell:b", ScopeKind.CELL, "cell B")
    with session.scope("cell:a"):
        session.declare("runsh", "true", name="a")
    with session.scope("cell:b"):
        session.declare("runsh", "true", name="b")
    session.close_scope("cell:a", is_ok=True)
    session.close_scope("cell:b", is_ok=True)
    assert [row["cell"] for row in session.rows(["a", "b"])] == ["cell A", "cell B"]


def test_a_deleted_cell_retires_its_steps_after_the_next_one(session):
    with cell(session, "gone"):
        session.declare("runsh", "sleep 60", name="long")
    session.open_scope("cell:next", ScopeKind.CELL, "next", deleted=["cell:gone"])
    session.close_scope("cell:next", is_ok=True)
    until(lambda: session.rows(["long"])[0]["dormant"])


def test_outside_all_cells_nothing_is_retired(session):
    thread = threading.Thread(target=lambda: session.declare("runsh", "true", name="by a thread"))
    with cell(session, "a"):
        thread.start()
        thread.join()
    with cell(session, "a"):
        pass
    check(session.wait())
    assert session.rows(["by a thread"])[0]["cell"] == ""


# --- pools, order, holds ---------------------------------------------------------------------------


@on_both_hosts
def test_a_pool_of_two_runs_two_at_a_time_whatever_the_workers(notebook):
    session = notebook.begin(workers=8)
    session.pool("p", 2)
    for number in range(20):
        session.declare("runsh", f"sleep 0.1; echo {number}", pool="p")
    check(session.wait())
    rows = session.history()
    assert overlap(rows) == 2
    assert {tuple(row["slots"]["p"]) for row in rows} == {(0,), (1,)}


def test_the_workers_limit_all_steps_together(notebook):
    session = notebook.begin(workers=3)
    for number in range(9):
        session.declare("runsh", f"sleep 0.1; echo {number}")
    check(session.wait())
    assert overlap(session.history()) == 3


def test_a_pool_that_grows_starts_what_waits_and_one_that_shrinks_kills_nothing(notebook):
    session = notebook.begin(workers=8)
    session.pool("p", 0)
    for number in range(4):
        session.declare("runsh", f"until [ -e go ]; do sleep 0.01; done; echo {number}", pool="p")
    assert session.history() == []
    session.pool("p", 3)
    until(lambda: session.status()["pools"][0]["used"] == 3)
    session.pool("p", 1)
    notebook.write("go", "")
    check(session.wait())
    rows = session.history()
    assert overlap(rows[:3]) == 3
    assert rows[3]["started"] >= max(row["ended"] for row in rows[:3])
    assert {row["outcome"] for row in rows} == {"succeeded"}


def test_slots_and_tokens_are_in_the_environment_of_the_steps(notebook, session):
    session.pool("my.gpu-1", 2, tokens=["7", "9"])
    session.pool("mem", 4)
    command = "echo $STEPUP_POOL_MY_GPU_1,$STEPUP_POOL_MEM; until [ -e go ]; do sleep 0.01; done"
    handles = [
        session.declare("runsh", f"{command} # {number}", pool=["my.gpu-1", "mem:2"]) for number in range(2)
    ]
    until(lambda: {handle.state for handle in handles} == {"RUNNING"})
    notebook.write("go", "")
    check(session.wait())
    assert sorted(handle.stdout for handle in handles) == ["7,0,1\n", "9,2,3\n"]


def test_priority_orders_then_the_longest_way_to_the_end_then_declaration(notebook):
    session = notebook.begin(workers=1)
    with session.hold():
        session.declare("runsh", "sleep 0.3", name="plain")
        session.declare("runsh", "true", name="later")
        session.declare("runsh", ": > a", name="long way", out="a", duration=2)
        session.declare("runsh", "true", name="after it", inp="a", duration=9)
        session.declare("runsh", "true", name="urgent", priority=1)
    check(session.wait())
    assert ran(session) == ["urgent", "long way", "after it", "plain", "later"]


def test_after_orders_without_a_file(notebook):
    session = notebook.begin(workers=4)
    first = session.declare("runsh", "sleep 0.2", name="first")
    session.declare("runsh", "true", name="second", after=first)
    session.declare("runsh", "true", name="third", after=["first", "second"])
    check(session.wait())
    rows = session.history()
    assert [row["step"] for row in rows] == ["first", "second", "third"]
    assert all(a["ended"] <= b["started"] for a, b in pairwise(rows))


def test_what_a_hold_declares_starts_when_it_ends(session):
    with session.hold():
        handles = [session.declare("runsh", f"echo {number}") for number in range(3)]
        free = threading.Thread(target=lambda: session.declare("runsh", "true", name="free").wait())
        free.start()
        free.join()
        assert "held" in handles[0].reason
    check(session.wait())
    assert ran(session)[0] == "free"


def test_a_hold_ends_with_an_exception_too(session):
    def fail():
        with session.hold():
            session.declare("runsh", "true")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    check(session.wait())


def test_of_two_holds_one_within_the_other_the_outer_one_counts(session):
    # The inner one's end started what the outer one still held.
    with session.hold():
        with session.hold():
            handle = session.declare("runsh", "true")
        assert handle.state == "PENDING"
    check(session.wait())


@on_both_hosts
def test_a_hold_ends_with_the_death_of_whoever_holds(notebook):
    session = notebook.begin()
    session.pool("p", 1)
    other = session.connect()
    other.request("Hold", hold="his")
    spec = {"action": "runsh", "command": "true", "name": "held"}
    session.connect().request("Declare", spec=spec, scope="x", hold="his")
    assert session.wait(["held"])["how"] == "stuck"
    other.close()
    check(session.wait())


def test_retries_are_counted_and_the_last_word_counts(notebook, session):
    handle = session.declare("runsh", "echo x >> tries; test $(wc -l < tries) = 3", retry=2)
    assert handle.wait().returncode == 0
    assert [row["outcome"] for row in session.history()] == ["failed", "failed", "succeeded"]
    gives_up = session.declare("runsh", "exit 3", retry=1)
    with pytest.raises(StepsFailed):
        gives_up.wait()
    assert [row["returncode"] for row in session.history()[3:]] == [3, 3]


def test_a_step_that_takes_too_long_is_stopped(session):
    handle = session.declare("runsh", "sleep 60", timeout=0.2)
    with pytest.raises(StepsFailed, match=r"time-out of 0\.2 s"):
        handle.wait()
    (row,) = session.history()
    assert row["outcome"] == "timed out"
    assert 0.2 <= row["ended"] - row["started"] < 5


def test_a_time_out_of_years_harms_nobody(session):
    handle = session.declare("runsh", "sleep 0.1", timeout=900_000_000)
    handle.wait(timeout=900_000_000)


# --- what steps see --------------------------------------------------------------------------------


def test_steps_run_in_the_notebooks_folder_wherever_the_kernel_is(notebook, session, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (notebook.folder / "sub").mkdir()
    here = session.declare("runsh", "pwd")
    below = session.declare("runsh", "pwd; echo $HERE $ROOT; cd $ROOT; pwd", workdir="sub")
    check(session.wait())
    assert here.stdout == f"{notebook.folder}\n"
    assert below.stdout == f"{notebook.folder}/sub\nsub ..\n{notebook.folder}\n"


@on_both_hosts
def test_tokens_of_servers_never_reach_a_step(notebook, monkeypatch):
    secrets = [
        "JUPYTER_TOKEN",
        "JUPYTERHUB_API_TOKEN",
        "JPY_PARENT_PID",
        "MY_API_TOKEN",
        "CONFIGPROXY_AUTH_TOKEN",
    ]
    for name in secrets:
        monkeypatch.setenv(name, "s3cret-value")
    monkeypatch.setenv("HARMLESS", "seen")
    session = notebook.begin()
    everything = session.declare("runsh", "env; cat /proc/$$/environ")
    asked = session.declare("runsh", "echo ${#MY_API_TOKEN}", env="MY_API_TOKEN")
    check(session.wait())
    assert "HARMLESS=seen" in everything.stdout
    assert "s3cret" not in everything.stdout
    assert asked.stdout == "12\n"
    session.close()
    files = [path for path in notebook.folder.rglob("*") if path.is_file()]
    assert b"s3cret" not in b"".join(path.read_bytes() for path in files)


def test_the_environment_is_that_of_the_moment_of_declaration(session, monkeypatch):
    monkeypatch.setenv("MODE", "1")
    session.pool("p", 0)
    first = session.declare("runsh", "echo $MODE # 1", pool="p")
    monkeypatch.setenv("MODE", "2")
    second = session.declare("runsh", "echo $MODE # 2", pool="p")
    monkeypatch.delenv("MODE")
    third = session.declare("runsh", "echo ${MODE-unset} # 3", pool="p")
    session.pool("p", 1)
    check(session.wait())
    assert [handle.stdout for handle in (first, second, third)] == ["1\n", "2\n", "unset\n"]


def test_a_declared_variable_that_changes_runs_its_step_again(session, monkeypatch):
    for value, number in (("a", 1), ("a", 1), ("b", 2), (None, 3)):
        if value is None:
            monkeypatch.delenv("MODE")
        else:
            monkeypatch.setenv("MODE", value)
        monkeypatch.setenv("OTHER", str(number))
        handle = session.declare("runsh", "echo $MODE", name="s", env="MODE")
        check(session.wait())
        assert len(session.history()) == number
    assert handle.why() == ["environment variable MODE changed"]


def test_steps_read_nothing_and_know_where_they_are(session, notebook):
    handle = session.declare("runsh", "cat; echo $STEPUP_ROOT $PYTHONUNBUFFERED")
    assert handle.wait().stdout == f"{notebook.folder} 1\n"


def test_a_copy_keeps_mode_and_time(notebook, session):
    path = notebook.write("a b.txt", "A")
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18))
    session.declare("copy", "'a b.txt' out/c.txt", inp="a b.txt", out="out/c.txt").wait()
    copied = (notebook.folder / "out/c.txt").stat()
    assert (copied.st_mode & 0o777, copied.st_mtime_ns) == (0o640, 10**18)


def test_lists_are_put_into_the_command_and_folders_of_outputs_are_made(notebook, session):
    notebook.write("in 1.txt", "1")
    notebook.write("in 2.txt", "2")
    session.declare("runsh", "cat ${inp} > ${out}", inp="in *.txt", out="deep/er/o").wait()
    assert notebook.read("deep/er/o") == "12"


def test_a_pattern_without_a_match_is_refused_and_nothing_changes(session):
    assert refusal(session.declare, "runsh", "true", inp="*.nothing").code == "SNB-105"
    assert not session.is_started


def test_a_folder_that_cannot_be_made_fails_the_step_in_words(notebook, session):
    notebook.write("file", "")
    with pytest.raises(StepsFailed, match="cannot make the folder of an output"):
        session.declare("runsh", "true", out="file/o").wait()
    session.declare("runsh", "true").wait()


def test_static_files_are_nobodys_output(notebook, session):
    notebook.write("a.txt", "")
    notebook.write("sub/b.txt", "")
    with cell(session, "a"):
        assert session.static("*.txt", ["sub/b.txt", "sub"]) == ["a.txt", "sub/b.txt"]
    with cell(session, "b"):
        assert refusal(session.declare, "runsh", "true", out="a.txt").code == "SNB-402"
    assert refusal(session.static, "not there").code == "SNB-106"
    assert refusal(session.static, 5).code == "SNB-102"


@on_both_hosts
def test_output_comes_back_byte_by_byte(notebook):
    session = notebook.begin()
    write = (
        "import os, sys; w = sys.stdout.buffer; n = 3_000_000; w.write(bytes(range(32, 127)) * (n // 95 + 1))"
    )
    handle = session.declare(
        "runsh",
        f"""python3 -c '{write}' | head -c 3000000 & python3 -c '{write}' | head -c 3000001 >&2 & wait""",
    )
    handle.wait(timeout=60)
    expected = bytes(range(32, 127)) * 31600
    assert handle.stdout.encode() == expected[:3_000_000]
    assert handle.stderr.encode() == expected[:3_000_001]


def test_bytes_that_are_no_text_are_kept(session):
    handle = session.declare("runsh", r"printf '\377\000\303\274\303'")
    handle.wait()
    assert session.log(handle.name) == b"\xff\0\xc3\xbc\xc3"
    assert handle.stdout == "\ufffd\0ü\ufffd"


# --- waiting ---------------------------------------------------------------------------------------


def test_a_wait_that_cannot_end_well_says_why(session):
    session.declare("runsh", "exit 3", name="bad")
    session.declare("runsh", "true", name="consumer", after="bad")
    session.declare("runsh", "true", name="hungry", inp="never")
    session.declare("runsh", "true", name="blocked", block=True)
    session.declare("runsh", "true", name="lost", pool="tset")
    session.pool("test", 1)
    report = session.wait()
    assert report["how"] == "stuck"
    assert [row["name"] for row in report["failed"]] == ["bad"]
    causes = {row["steps"][0]: row["cause"] for row in report["stuck"]}
    assert "exit code 3" in causes["consumer"]
    assert "'never' is missing" in causes["hungry"]
    assert "blocked" in causes["blocked"]
    assert "did you mean 'test'" in causes["lost"]
    with pytest.raises(StepsFailed) as caught:
        check(report)
    assert caught.value.code == "SNB-601"


def test_a_wait_ends_when_its_time_is_over_and_the_steps_go_on(notebook, session):
    handle = session.declare("runsh", "until [ -e go ]; do sleep 0.01; done")
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        handle.wait(timeout=0.1)
    assert time.monotonic() - begin >= 0.1
    assert session.wait(timeout=0)["how"] == "timeout"
    notebook.write("go", "")
    handle.wait()


@pytest.mark.parametrize("timeout", ["soon", float("nan"), -1, [1], True])
def test_a_time_that_is_none_is_refused(session, timeout):
    assert refusal(session.wait, timeout=timeout).code == "SNB-113"


def test_a_wait_for_a_step_that_nobody_knows_is_refused(session):
    session.declare("runsh", "true", name="fit")
    error = refusal(session.wait, ["fti"])
    assert error.code == "SNB-120"
    assert "did you mean 'fit'" in error.what


def test_a_wait_is_for_the_steps_that_it_names(session):
    session.declare("runsh", "sleep 60", name="long")
    session.declare("runsh", "true", name="short")
    assert session.wait(["short"])["how"] == "done"
    session.cancel("long")


def test_a_wait_that_is_given_up_ends_and_no_step_with_it(notebook, session):
    handle = session.declare("runsh", "until [ -e go ]; do sleep 0.01; done")
    waiting = session.begin_wait()
    assert waiting_threads() == 1
    assert waiting.cancel()
    until(lambda: waiting_threads() == 0)
    notebook.write("go", "")
    handle.wait()


def test_an_interrupted_wait_stops_no_step(notebook, session):
    waiting = threading.get_native_id()

    def interrupt():
        until(lambda: waiting_threads() == 1 and handle.state == "RUNNING" and is_asleep(waiting))
        os.kill(os.getpid(), signal.SIGINT)

    handle = session.declare("runsh", "until test -e go; do sleep 0.05; done")
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        session.wait()
    thread.join()
    until(lambda: waiting_threads() == 0)
    assert handle.state == "RUNNING"
    notebook.write("go", "")
    handle.wait()


def test_a_handle_can_be_awaited_and_whoever_stops_awaiting_stops_no_step(notebook, session):
    async def wait_for(handle):
        await handle

    async def work():
        handle = session.declare("runsh", "until [ -e go ]; do sleep 0.01; done; echo x")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait_for(handle), 0.1)
        notebook.write("go", "")
        assert await handle is handle
        failing = session.declare("runsh", "exit 1")
        with pytest.raises(StepsFailed):
            await failing
        return handle.stdout

    assert asyncio.run(work()) == "x\n"
    until(lambda: waiting_threads() == 0)


# --- steering --------------------------------------------------------------------------------------


def test_cancelled_steps_are_gone_with_all_they_started(session):
    word = f"32{os.getpid()}"
    session.declare("runsh", f"sleep {word} & setsid sleep {word} & wait", name="a")
    session.declare("runsh", f"sleep {word}; sleep {word}", name="b")
    session.declare("runsh", "true", name="c", after="a")
    until(lambda: len(alive(word)) >= 3)
    assert session.cancel("a") == ["a"]
    until(lambda: state_of(session, "a") == "CANCELLED")
    assert len(alive(word)) == 1
    assert sorted(session.cancel(all=True)) == ["b", "c"]
    assert session.wait()["how"] in ("done", "stuck")
    assert alive(word) == []


def test_a_start_that_is_taken_back_was_no_job(session, notebook, monkeypatch):
    # It stayed in the history as one that runs for ever, and its step ran again after the next restart.
    notebook.write("a", "1")
    session.pool("p", 1)
    session.declare("runsh", "sleep 60", name="first", pool="p")
    session.declare("runsh", "cat a", name="second", pool="p", inp="a")
    until(lambda: state_of(session, "second") == "QUEUED")
    looking, go_on = threading.Event(), threading.Event()
    look = hashing.look

    def slow(*args):
        looking.set()
        go_on.wait()
        return look(*args)

    monkeypatch.setattr(hashing, "look", slow)
    monkeypatch.setattr(Glance, "sees", lambda *args: None)
    session.cancel("first")
    # Its slot is the second one's, whose input is looked at once more.
    looking.wait()
    until(lambda: len(session.history()) == 2)
    session.cancel("second")
    go_on.set()
    until(lambda: state_of(session, "second") == "CANCELLED")
    assert ran(session) == ["first"]
    session = notebook.again(session)
    session.pool("p", 1)
    assert [row["outcome"] for row in session.history()] == ["cancelled"]


def test_rerun_runs_what_is_up_to_date(session):
    session.declare("runsh", "true", name="good")
    session.declare("runsh", "exit 1", name="bad")
    session.wait()
    assert session.rerun(failed=True) == ["bad"]
    session.wait()
    assert session.rerun("good") == ["good"]
    session.wait()
    assert session.rerun(all=True) == ["good", "bad"]
    session.wait()
    assert sorted(ran(session)) == ["bad", "bad", "bad", "good", "good", "good"]


def test_nothing_starts_while_paused_and_everything_goes_on_after(session):
    session.pause()
    handle = session.declare("runsh", "true")
    until(lambda: handle.state == "QUEUED")
    assert handle.reason == "paused"
    session.resume()
    handle.wait()


def test_a_drain_lets_run_what_runs_and_starts_nothing(notebook, session):
    first = session.declare("runsh", "until [ -e go ]; do sleep 0.01; done")
    until(lambda: first.state == "RUNNING")
    session.drain()
    second = session.declare("runsh", "true")
    notebook.write("go", "")
    assert session.wait()["how"] == "stuck"
    assert (first.state, second.state) == ("SUCCEEDED", "QUEUED")
    session.run()
    second.wait()


def test_clean_removes_what_nobody_makes_any_more_and_nothing_else(notebook, session):
    with cell(session, "a"):
        session.declare("runsh", "echo 1 > old; echo 2 > changed", out=["old", "changed"])
        session.declare("runsh", "echo 3 > new", out="new")
    check(session.wait())
    with cell(session, "a"):
        session.declare("runsh", "echo 3 > new", out="new")
    notebook.write("changed", "by the user")
    assert session.clean(dry_run=True)["removed"] == ["old"]
    assert notebook.read("old")
    done = session.clean()
    assert done["removed"] == ["old"]
    assert done["kept"] == [{"path": "changed", "why": "was changed after stepup_nb wrote it"}]
    assert (notebook.read("old"), notebook.read("changed"), notebook.read("new")) == (
        "",
        "by the user",
        "3\n",
    )


def test_what_steps_write_at_once_before_they_fail_is_offered_to_be_cleaned(session):
    # Files are stamped by a clock that advances in steps: such a file counted as older than the job that wrote it.
    names = [f"half{number:02}" for number in range(20)]
    with cell(session, "a"):
        for name in names:
            session.declare("runsh", f": > {name}; exit 1", out=name)
        session.wait()
    with cell(session, "a"):
        pass
    until(lambda: sorted(session.clean(dry_run=True)["removed"]) == names)


@pytest.mark.parametrize("number", [0, -1, 1.5, "x", None, True])
def test_a_number_of_workers_that_is_none_is_refused(session, number):
    assert refusal(session.set_workers, number).code == "SNB-112"
    session.pool("p", 1)
    assert session.status()["workers"] == 2


def test_workers_and_pools_are_remembered_and_a_pause_is_not(notebook, session):
    session.set_workers(5)
    session.pool("p", 3, tokens=["a", "b", "c"])
    session.pool("q", None)
    session.pool("dropped", 1)
    session.drop_pool("dropped")
    session.pause()
    session = notebook.again(session)
    session.declare("runsh", "true").wait()
    status = session.status()
    assert (status["workers"], status["paused"]) == (5, False)
    assert [(pool["name"], pool["size"], pool["tokens"]) for pool in status["pools"]] == [
        ("p", 3, ["a", "b", "c"]),
        ("q", None, []),
    ]


def test_a_forgotten_step_leaves_no_trace_but_its_history(notebook, session):
    session.declare("runsh", "echo > a", out="a", name="s")
    check(session.wait())
    assert session.forget("s") == ["s"]
    assert session.status()["steps"] == []
    session = notebook.again(session)
    session.pool("p", 1)
    assert session.status()["steps"] == []
    assert len(session.history()) == 1


# --- threads, forks, ends --------------------------------------------------------------------------


@on_both_hosts
def test_sixteen_threads_may_declare_cancel_resize_and_look(notebook):
    session = notebook.begin(workers=4)
    session.pool("p", 2)
    errors = []

    def work(number):
        try:
            for count in range(12):
                name = f"{number}-{count}"
                handle = session.declare("runsh", "true", name=name, pool="p")
                if count % 4 == 0:
                    session.pool("p", 1 + number % 3)
                elif count % 4 == 1:
                    session.cancel(name)
                elif count % 4 == 2:
                    assert handle.state
                    assert session.status()["pools"]
                else:
                    session.rerun(name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    session.pool("p", 4)
    report = session.wait(timeout=60)
    assert report["awaited"] == 16 * 12
    assert set(report["counts"]) <= {"SUCCEEDED", "CANCELLED"}
    assert overlap(row for row in session.history() if row["outcome"] == "succeeded") <= 4


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("is_started", [True, False])
@with_processes
def test_a_forked_child_is_refused_at_once_and_the_parent_notices_nothing(notebook, is_started):
    session = notebook.begin()
    if is_started:
        session.pool("p", 1)
    # A thread that holds the session's lock for ever is what the child gets a copy of.
    held, over = threading.Event(), threading.Event()

    def hold_it():
        with session._lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold_it)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        codes = []
        for call in (lambda: session.declare("runsh", "true"), session.status, session.connect, session.wait):
            try:
                call()
            except UsageError as error:
                codes.append(error.code)
        session.close()
        os._exit(0 if codes == ["SNB-206"] * 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    over.set()
    thread.join()
    session.declare("runsh", "true").wait()


def test_a_closed_session_refuses_everything_in_words(session):
    handle = session.declare("runsh", "true")
    session.close()
    session.close()
    for call in (handle.wait, handle.cancel, session.status, lambda: session.declare("runsh", "true")):
        assert refusal(call).code == "SNB-207"
    with cell(session, "a"):
        pass
    assert repr(handle) == "<step 'runsh true'>"


def test_a_session_that_was_never_used_is_closed_without_a_trace(notebook, session):
    session.close()
    assert list(notebook.folder.iterdir()) == []


def test_who_waits_when_the_session_is_closed_is_told(session):
    session.declare("runsh", "sleep 60")
    waiting = session.begin_wait()
    until(lambda: len(session.history()) == 1)
    session.close()
    with pytest.raises(UsageError, match="SNB-207"):
        waiting.result(timeout=10)


@with_processes
def test_closing_asks_no_step_first_and_ends_them_all_whatever_they_do(notebook):
    session = notebook.begin(workers=4)
    word = f"33{os.getpid()}"
    for number in range(4):
        session.declare(
            "runsh",
            f"trap '' TERM INT HUP; setsid sleep {word} & sleep {word} & "
            f"trap 'echo asked >> asked' TERM; echo set > set{number}; wait",
        )
    until(lambda: len(alive(word)) == 8 and all(notebook.read(f"set{number}") for number in range(4)))
    session.close()
    assert alive(word) == []
    # Whoever is asked has five seconds to end.
    assert notebook.read("asked") == ""


def test_a_command_that_is_too_long_is_refused_before_it_is_sent(session):
    assert refusal(session.declare, "runsh", "echo " + "x" * 200_000).code == "SNB-101"
    assert not session.is_started


def test_the_status_of_many_steps_fits(session):
    # With ten thousand steps it was longer than a request may be, and refused.
    session.pool("p", 0)
    connection = session.connect()
    script = "echo " + "x" * 100_000
    for number in range(60):
        spec = {"action": "runsh", "command": f"{script} # {number}", "pool": [["p", 1]]}
        connection.request("Declare", spec=spec, scope="x")
    connection.close()
    status = session.status()
    assert len(status["steps"]) == 60
    assert set(status) == {
        "notebook", "database", "workers", "paused", "director_pid", "pools", "counts", "steps",
    }  # fmt: skip
    assert director_of(session) == os.getpid()
