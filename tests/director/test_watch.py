"""Whoever follows folders is called when something changed in them: by events, or else by the clock."""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from itertools import count

import pytest
from director.helpers_processes import until

from stepup_nb.director import watch
from stepup_nb.director.reactor import Reactor
from stepup_nb.director.watch import EVERYTHING, Watcher

DEBOUNCE = 0.02
POLL_EVERY = 0.05
NEVER = 1000.0


class World:
    """A folder, a reactor, and what was told of the folder."""

    def __init__(self, root):
        self.root = root
        self.reactor = Reactor()
        self.calls = []
        self.moments = []
        self.callers = set()
        self.watchers = []
        self.marks = count()

    def on_change(self, paths):
        self.calls.append(paths)
        self.moments.append(self.watchers[-1]._told)
        self.callers.add(threading.current_thread())

    def watcher(self, use, **options):
        # Where events must do it, no tick may help.
        options = {"debounce": DEBOUNCE, "poll_every": POLL_EVERY if use == "scan" else NEVER} | options
        made = Watcher(self.reactor, self.on_change, str(self.root), use=use, **options)
        self.watchers.append(made)
        return made

    def following(self, use, *names, **options):
        """Return a watcher that is watching by now."""
        made = self.watcher(use, **options)
        made.follow([self.path(name) for name in names or ("",)])
        self.until(lambda: self.calls)
        assert made.kind == use
        self.quiet(names[0] if names else "")
        return made

    def path(self, name):
        return os.path.normpath(self.root / name)

    def until(self, condition):
        until(condition, lambda: self.reactor.turn(0.01))

    def until_told(self, name):
        """Wait until somebody who was told would look at the path: by itself, by its folder, or by all."""
        self.until(lambda: any(not paths or self.path(name) in paths for paths in self.calls))

    def quiet(self, folder):
        """Wait until a followed folder is told of by its paths, and all before that has been told, too."""
        if self.watchers[-1].kind == "events":
            marks = []
            # To make a folder is one event; to write a file is two, of which the second may be told later.
            self.until(lambda: marks.append(self.mark(folder)) or self.has_told(*marks))
            mark = self.mark(folder)
            self.until(lambda: self.has_told(mark))
        self.calls.clear()
        self.moments.clear()

    def mark(self, folder):
        mark = self.path(os.path.join(folder, f"mark{next(self.marks)}"))
        os.mkdir(mark)
        self.reactor.turn(0.01)
        return mark

    def has_told(self, *paths):
        return any(path in call for path in paths for call in self.calls)


@pytest.fixture
def world(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    made = World(root)
    yield made
    for watcher in made.watchers:
        watcher.close()
    made.reactor.close()
    until(lambda: not threads())


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "stepup-watch"]


by_both = pytest.mark.parametrize("use", ["events", "scan"])


# --- what is told ----------------------------------------------------------------------------------


@by_both
def test_a_new_file_is_told(world, use):
    world.following(use)
    (world.root / "a").write_text("content")
    world.until_told("a")
    assert world.callers == {threading.current_thread()}


@by_both
def test_a_file_that_is_written_is_told(world, use):
    (world.root / "a").write_text("old")
    world.following(use)
    (world.root / "a").write_text("new")
    world.until_told("a")


@by_both
def test_a_file_replaced_by_another_as_editors_do_is_told(world, use):
    (world.root / "a").write_text("old")
    world.following(use)
    (world.root / ".a.swp").write_text("new")
    (world.root / ".a.swp").rename(world.root / "a")
    world.until_told("a")


@by_both
def test_a_file_that_is_removed_or_moved_away_is_told(world, use, tmp_path):
    for name in ("a", "b"):
        (world.root / name).write_text("content")
    world.following(use)
    (world.root / "a").unlink()
    world.until_told("a")
    (world.root / "b").rename(tmp_path / "b")
    world.until_told("b")


@by_both
def test_other_permissions_are_told(world, use):
    (world.root / "a").write_text("content")
    world.following(use)
    (world.root / "a").chmod(0o755)
    world.until_told("a")


def test_events_are_told_as_paths_the_clock_as_everything(world):
    world.following("events")
    (world.root / "a").write_text("content")
    world.until(lambda: frozenset({world.path("a")}) in world.calls)
    assert EVERYTHING not in world.calls
    world.calls.clear()
    world.following("scan")
    world.until(lambda: len(world.calls) > 1)
    assert set(world.calls) == {EVERYTHING}


def test_what_is_in_a_folder_of_a_followed_folder_is_not_told_unless_it_is_followed_too(world):
    for name in ("b", "c"):
        (world.root / name).mkdir()
    world.following("events", "", "c")
    (world.root / "b" / "unseen").write_text("content")
    (world.root / "c" / "seen").write_text("content")
    world.until_told("c/seen")
    assert not any("unseen" in path for paths in world.calls for path in paths)


def test_reading_a_file_or_listing_a_folder_is_no_change(world):
    (world.root / "a").write_text("content")
    world.following("events")
    (world.root / "a").read_text()
    os.listdir(world.root)
    (world.root / "b").write_text("content")
    world.until_told("b")
    assert set(world.calls) == {frozenset({world.path("b")})}


def test_a_folder_followed_by_two_names_is_told_by_both(world):
    (world.root / "real").mkdir()
    (world.root / "other").symlink_to("real")
    world.following("events", "", "real", "other")
    (world.root / "real" / "a").write_text("content")
    world.until_told("real/a")
    world.until_told("other/a")
    (world.root / "other" / "b").write_text("content")
    world.until_told("real/b")
    world.until_told("other/b")


HIDDEN = [
    ".stepup/analysis/lock",
    "analysis.stepup.db",
    "analysis.stepup.db-wal",
    "analysis.stepup.db-shm",
    ".git/index",
    "__pycache__/a.pyc",
    ".ipynb_checkpoints/a.ipynb",
]


def test_what_only_tools_write_is_not_told(world):
    folders = sorted({os.path.dirname(name) for name in HIDDEN})
    watcher = world.following("events", *folders)
    for name in HIDDEN:
        (world.root / name).parent.mkdir(parents=True, exist_ok=True)
        (world.root / name).write_text("content")
        (world.root / name).unlink()
    (world.root / "a").write_text("content")
    world.until_told("a")
    assert set().union(*world.calls) == {world.path("a")}
    assert EVERYTHING not in world.calls
    assert watcher.kind == "events"


def test_a_project_in_a_folder_of_such_a_name_is_followed(world):
    inner = world.root / ".git" / "project"
    inner.mkdir(parents=True)
    watcher = Watcher(world.reactor, world.on_change, str(inner), debounce=DEBOUNCE, use="events")
    world.watchers.append(watcher)
    watcher.follow([str(inner)])
    world.until(lambda: world.calls)
    (inner / "a").write_text("content")
    world.until(lambda: frozenset({str(inner / "a")}) in world.calls)


# --- folders that come and go ----------------------------------------------------------------------


@by_both
@pytest.mark.parametrize("name", ["later", "later/and/deep"])
def test_a_folder_that_is_made_later_is_followed_from_then_on(world, use, name):
    watcher = world.following(use, "", name)
    (world.root / name).mkdir(parents=True)
    world.until(lambda: EVERYTHING in world.calls)
    world.quiet(name)
    (world.root / name / "a").write_text("content")
    world.until_told(f"{name}/a")
    assert watcher.kind == use


@by_both
def test_a_folder_that_is_removed_and_made_again_is_followed(world, use):
    (world.root / "b").mkdir()
    world.following(use, "", "b")
    for _ in range(3):
        world.calls.clear()
        shutil.rmtree(world.root / "b")
        world.until(lambda: EVERYTHING in world.calls)
        world.calls.clear()
        (world.root / "b").mkdir()
        world.until(lambda: EVERYTHING in world.calls)
        world.quiet("b")
        (world.root / "b" / "a").write_text("content")
        world.until_told("b/a")


@by_both
def test_a_folder_that_is_replaced_at_once_is_followed(world, use):
    (world.root / "b").mkdir()
    world.following(use, "", "b")
    (world.root / "b").rmdir()
    (world.root / "b").mkdir()
    world.until(lambda: EVERYTHING in world.calls)
    world.quiet("b")
    (world.root / "b" / "a").write_text("content")
    world.until_told("b/a")


@by_both
def test_a_folder_is_followed_when_one_above_it_is_moved_away_and_made_again(world, use):
    (world.root / "b" / "c" / "d").mkdir(parents=True)
    world.following(use, "", "b/c/d")
    (world.root / "b" / "c").rename(world.root / "b" / "c.old")
    (world.root / "b" / "c" / "d").mkdir(parents=True)
    world.until(lambda: EVERYTHING in world.calls)
    world.quiet("b/c/d")
    (world.root / "b" / "c" / "d" / "a").write_text("content")
    world.until_told("b/c/d/a")


@by_both
def test_a_link_to_a_folder_that_leads_elsewhere_now_is_followed_there(world, use, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (world.root / "link").symlink_to(tmp_path / "one")
    world.following(use, "", "link")
    (world.root / "new").symlink_to(tmp_path / "two")
    (world.root / "new").rename(world.root / "link")
    world.until(lambda: EVERYTHING in world.calls)
    world.quiet("link")
    (tmp_path / "two" / "a").write_text("content")
    world.until_told("link/a")


@by_both
def test_folders_outside_of_the_project_are_followed(world, use, tmp_path):
    (tmp_path / "far").mkdir()
    world.following(use, "", "../far", "../missing/deep")
    (tmp_path / "far" / "a").write_text("content")
    world.until_told("../far/a")
    (tmp_path / "missing" / "deep").mkdir(parents=True)
    world.until(lambda: EVERYTHING in world.calls)
    world.quiet("../missing/deep")
    (tmp_path / "missing" / "deep" / "a").write_text("content")
    world.until_told("../missing/deep/a")


def test_a_folder_that_comes_while_the_watches_are_set_is_followed(world, monkeypatch):
    from watchfiles import _rust_notify

    real = _rust_notify.RustNotify

    def late(*arguments):
        (world.root / "later").mkdir(exist_ok=True)
        return real(*arguments)

    monkeypatch.setattr(_rust_notify, "RustNotify", late)
    world.following("events", "later")


def test_a_move_that_no_event_tells_is_made_good_by_the_look_at_everything(world, tmp_path, monkeypatch):
    # Of what is above a folder outside of the project there are no events.
    monkeypatch.setattr(watch, "RARELY", 1)
    (tmp_path / "far" / "deep").mkdir(parents=True)
    world.following("events", "../far/deep", poll_every=0.2)
    (tmp_path / "far").rename(tmp_path / "old")
    (tmp_path / "far" / "deep").mkdir(parents=True)
    world.quiet("../far/deep")


@by_both
def test_a_file_where_a_folder_is_expected_harms_nobody(world, use):
    (world.root / "b").write_text("content")
    watcher = world.following(use, "", "b")
    (world.root / "b").unlink()
    (world.root / "b").mkdir()
    world.until(lambda: EVERYTHING in world.calls)
    world.quiet("b")
    (world.root / "b" / "a").write_text("content")
    world.until_told("b/a")
    assert watcher.kind == use


# --- what is followed ------------------------------------------------------------------------------


@by_both
def test_nothing_is_told_before_folders_are_followed_nor_when_none_is(world, use):
    watcher = world.watcher(use, poll_every=0.001)
    turn_past_ticks(world)
    assert world.calls == []
    assert not threads()
    watcher.follow([str(world.root)])
    world.until(lambda: world.calls)
    watcher.follow([])
    world.calls.clear()
    (world.root / "a").write_text("content")
    until(lambda: not threads())
    turn_past_ticks(world)
    assert world.calls == []


@by_both
def test_other_folders_are_followed_by_a_look_at_everything_and_the_same_ones_by_none(world, use):
    (world.root / "b").mkdir()
    watcher = world.following(use, poll_every=NEVER)
    watcher.follow([str(world.root)])
    asked = watcher._asked
    world.reactor.turn(0)
    assert world.calls == []
    watcher.follow([str(world.root), world.path("b")])
    world.until(lambda: EVERYTHING in world.calls)
    assert watcher._asked == asked + (use == "events")


def test_a_folder_that_is_not_followed_any_more_is_not_told(world):
    (world.root / "b").mkdir()
    watcher = world.following("events", "", "b")
    watcher.follow([str(world.root)])
    world.until(lambda: EVERYTHING in world.calls)
    world.calls.clear()
    (world.root / "b" / "unseen").write_text("content")
    (world.root / "a").write_text("content")
    world.until_told("a")
    assert set().union(*world.calls) == {world.path("a")}


def test_what_is_watched_to_see_folders_come_and_go_is_not_told(world):
    (world.root / "b" / "c").mkdir(parents=True)
    world.following("events", "b/c")
    (world.root / "unseen").write_text("content")
    (world.root / "b" / "unseen").write_text("content")
    (world.root / "b" / "c" / "a").write_text("content")
    world.until_told("b/c/a")
    assert set().union(*world.calls) == {world.path("b/c/a")}
    assert EVERYTHING not in world.calls


def test_news_of_what_was_followed_before_is_dropped(world):
    watcher = world.following("events")
    watcher._report(watcher._events, watcher._asked - 1, frozenset({"old"}))
    (world.root / "a").write_text("content")
    world.until_told("a")
    assert frozenset({"old"}) not in world.calls


def test_no_change_is_lost_while_the_folders_change(world):
    # A look at everything comes after each change of the set: a file that was there by then is found by it.
    folders = [f"folder{number}" for number in range(40)]
    for name in folders:
        (world.root / name).mkdir()
    watcher = world.following("events")
    seen = set()

    def look(paths):
        for path in paths or [world.path(f"{name}/a") for name in folders]:
            if path.endswith("/a") and os.path.exists(path):
                seen.add(path)

    watcher._on_change = look
    for number, name in enumerate(folders):
        watcher.follow([world.path(other) for other in folders[: number + 1]])
        (world.root / name / "a").write_text("content")
        world.reactor.turn(0)
    world.until(lambda: len(seen) == len(folders))


def test_many_changes_of_the_folders_need_one_thread(world):
    watcher = world.following("events")
    for number in range(200):
        watcher.follow([str(world.root), world.path(f"later{number}")])
        assert len(threads()) == 1
    world.until(lambda: EVERYTHING in world.calls)
    (world.root / "a").write_text("content")
    world.until_told("a")


# --- not too often ---------------------------------------------------------------------------------


@by_both
def test_a_flood_of_changes_is_a_few_calls(world, use):
    world.following(use)
    begin = time.monotonic()
    for number in range(10_000):
        (world.root / f"a{number % 5000}").write_text("content")
        if number % 100 == 0:
            world.reactor.turn(0)
    (world.root / "last").write_text("content")
    world.until_told("last")
    every = DEBOUNCE if use == "events" else POLL_EVERY
    assert len(world.calls) <= (time.monotonic() - begin) / every + 2
    pauses = [later - sooner for sooner, later in zip(world.moments, world.moments[1:], strict=False)]
    assert all(pause > 0.99 * DEBOUNCE for pause in pauses)


def test_many_paths_at_once_are_told_as_everything(world, monkeypatch):
    world.following("events", debounce=0.5)
    monkeypatch.setattr(watch, "_MANY", 10)
    for number in range(50):
        (world.root / f"a{number}").write_text("content")
    world.until(lambda: EVERYTHING in world.calls)


def test_what_changes_between_two_calls_is_told_in_one(world):
    watcher = world.watcher("scan", debounce=0.2, poll_every=NEVER)
    watcher.follow([str(world.root)])
    world.until(lambda: world.calls)
    for name in "abc":
        watcher._tell(frozenset({name}))
    world.until(lambda: len(world.calls) > 1)
    assert world.calls == [EVERYTHING, frozenset("abc")]
    assert world.moments[1] - world.moments[0] > 0.19


# --- when events do not come -----------------------------------------------------------------------


def test_without_the_package_it_looks_by_the_clock_and_without_a_thread(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    watcher = world.watcher("auto", poll_every=0.001)
    watcher.follow([str(world.root)])
    world.until(lambda: "watchfiles" in watcher.why)
    assert watcher.kind == "scan"
    until(lambda: not threads())
    world.calls.clear()
    world.until(lambda: len(world.calls) > 3)
    assert set(world.calls) == {EVERYTHING}
    # It is not asked for again.
    for _ in range(2 * watch.RARELY):
        watcher._tick()
    assert watcher._events is None


def test_who_asks_for_events_is_told_why_there_are_none(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    watcher = world.watcher("events")
    watcher.follow([str(world.root)])
    with pytest.raises(ImportError):
        world.until(lambda: False)
    assert watcher.kind == "scan"


def test_when_the_system_gives_no_more_watches_it_looks_by_the_clock_and_asks_again_later(world):
    world.following("events").close()
    world.calls.clear()
    watcher = world.watcher("auto", poll_every=0.001)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    until(lambda: not threads())
    taken = []
    try:
        # As many descriptors as there may be: the next one is one too many (EMFILE).
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 8, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        watcher.follow([str(world.root)])
        world.until(lambda: "os error 24" in watcher.why)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert EVERYTHING in world.calls or watcher._is_everything
    world.until(lambda: watcher.kind == "events")
    assert watcher.why == ""


def test_when_watching_fails_on_the_way_it_looks_by_the_clock_until_it_works_again(world):
    # watchfiles gives up when it meets the name of a file that is no text.
    watcher = world.watcher("auto", poll_every=0.001)
    watcher.follow([str(world.root)])
    world.until(lambda: watcher.kind == "events")
    name = os.fsencode(world.root) + b"/\xff"
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    world.until(lambda: "Unable to decode path" in watcher.why)
    world.until(lambda: watcher.kind == "events")
    world.calls.clear()
    (world.root / "a").write_text("content")
    world.until_told("a")


def test_a_folder_whose_name_is_no_text_is_looked_at_by_the_clock(world):
    name = os.fsdecode(os.fsencode(world.root) + b"/\xff")
    os.mkdir(name)
    watcher = world.watcher("auto", poll_every=0.01)
    watcher.follow([name])
    world.until(lambda: "surrogates" in watcher.why)
    world.calls.clear()
    world.until(lambda: EVERYTHING in world.calls)
    assert watcher.kind == "scan"


@pytest.mark.skipif(os.geteuid() == 0, reason="not run: root may read everything")
def test_a_folder_that_may_not_be_read_is_looked_at_by_the_clock(world):
    (world.root / "b").mkdir(mode=0o300)
    watcher = world.watcher("auto", poll_every=0.01)
    watcher.follow([world.path("b")])
    world.until(lambda: "denied" in watcher.why)
    assert watcher.kind == "scan"


def test_although_events_come_everything_is_looked_at_now_and_then(world, monkeypatch):
    # An event that the system dropped is told by nobody.
    monkeypatch.setattr(watch, "RARELY", 1)
    watcher = world.following("events", poll_every=0.2)
    for _ in range(3):
        world.calls.clear()
        world.until(lambda: EVERYTHING in world.calls)
    world.until(lambda: watcher.kind == "events")


def test_a_disk_that_hangs_holds_up_neither_the_loop_nor_other_folders(world, monkeypatch):
    hangs = threading.Event()
    real = os.stat

    def stat(path, **options):
        if "hung" in str(path):
            hangs.wait(60)
        return real(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    watcher = world.watcher("auto", poll_every=0.01)
    watcher.follow([str(world.root), world.path("hung")])
    world.until(lambda: watcher.why)
    assert watcher.kind == "scan"
    world.calls.clear()
    world.until(lambda: len(world.calls) > 2 * watch.RARELY)
    assert len(threads()) == 1
    hangs.set()
    world.until(lambda: watcher.kind == "events")
    assert watcher.why == ""


# --- the end ---------------------------------------------------------------------------------------


@by_both
def test_after_its_end_nothing_is_told(world, use):
    watcher = world.following(use)
    events = watcher._events
    (world.root / "a").write_text("content")
    watcher.close()
    world.calls.clear()
    if events is not None:
        watcher._report(events, watcher._asked, frozenset({"late"}))
        watcher._fail(events, OSError("late"))
    (world.root / "b").write_text("content")
    watcher.follow([world.path("b")])
    until(lambda: not threads())
    turn_past_ticks(world)
    assert world.calls == []
    watcher.close()


def test_what_was_about_to_be_told_at_the_end_is_not(world):
    watcher = world.watcher("scan", poll_every=NEVER)
    watcher.follow([str(world.root)])
    watcher.close()
    turn_past_ticks(world)
    assert world.calls == []


def test_it_may_be_closed_by_whoever_it_calls(world):
    watcher = world.watcher("scan", poll_every=0.001)
    watcher._on_change = lambda paths: (world.calls.append(paths), watcher.close())
    watcher.follow([str(world.root)])
    world.until(lambda: world.calls)
    turn_past_ticks(world)
    assert len(world.calls) == 1


def test_closing_does_not_wait_and_the_thread_ends_by_itself(world, monkeypatch):
    watcher = world.following("events")
    ended = threading.Event()
    stop = watch._Events._stop_watching
    monkeypatch.setattr(watch._Events, "_stop_watching", lambda events: (ended.wait(), stop(events)))
    joined = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", lambda *args: joined.append(args))
        watcher.close()
    assert threads()
    assert joined == []
    ended.set()
    until(lambda: not threads())


@by_both
def test_fifty_watchers_leave_no_thread_and_no_descriptor_behind(world, use):
    world.following(use).close()
    until(lambda: not threads())
    reactors = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        watcher = world.watcher(use)
        watcher.follow([str(world.root)])
        if number % 2:
            world.calls.clear()
            world.until(lambda: world.calls)
        watcher.close()
    # The system takes a moment to end the thread of watchfiles itself.
    until(lambda: not threads() and len(os.listdir("/proc/self/fd")) <= reactors)


def test_a_process_ends_while_it_watches(tmp_path):
    code = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from stepup_nb.director.reactor import Reactor
        from stepup_nb.director.watch import Watcher
        assert "watchfiles" not in sys.modules and "anyio" not in sys.modules
        reactor, calls = Reactor(), []
        watcher = Watcher(reactor, calls.append, {str(tmp_path)!r}, use="events")
        watcher.follow([{str(tmp_path)!r}])
        while not calls:
            reactor.turn()
        print(watcher.kind)
        """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "events\n", "")


def turn_past_ticks(world):
    """Turn the reactor until every tick and call that was due by now has been made."""
    done = []
    world.reactor.call_after(2 * max(DEBOUNCE, POLL_EVERY), lambda: done.append(True))
    world.until(lambda: done)
