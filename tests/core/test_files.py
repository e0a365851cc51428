"""Files that change at any moment, and what is cleaned (SPEC 4.3 to 4.6, 4.8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sim import Script, Sim

from stepup_nb.core.looking import PUT_BACKS
from stepup_nb.core.messages import FilesLooked, Forget, LookAt, Rerun, Run, Wait
from stepup_nb.core.model import FileHash, FileProblem, FileState


def test_an_input_that_changes_while_its_step_is_in_line_is_what_the_job_gets() -> None:
    sim = Sim(files={"a": "1"}, pools={"p": 0})
    sim.step("use", inp="a", out="x", pool="p")
    sim.run()
    sim.write("a", "2").pool("p", 1)
    assert sim.wait() == "done"
    assert sim.files["x"] == "use(2)"
    assert sim.started == ["use"]


def test_what_was_made_just_now_is_not_looked_at_a_second_time_for_its_readers() -> None:
    sim = Sim(takes_look=2.0)
    sim.step("make", out=("x",), takes=1.0)
    sim.step("use", inp=("x",), takes=1.0)
    sim.run()
    assert sim.story("running") == ["0 make running", "3 use running"]


def test_who_stood_in_line_need_not_look_at_what_was_looked_at_when_the_slot_became_free() -> None:
    sim = Sim(takes_look=2.0, workers=1)
    sim.write("given", "x")
    for name in ("first", "second"):
        sim.step(name, inp=("given",), takes=1.0)
    sim.run()
    assert sim.story("running") == ["2 first running", "5 second running"]


def test_an_input_that_vanishes_while_its_step_is_in_line_calls_it_back() -> None:
    sim = Sim(files={"a": "1"}, pools={"p": 0})
    sim.step("use", inp="a", pool="p")
    sim.run()
    sim.remove("a").pool("p", 1)
    assert sim.wait() == "stuck"
    assert sim.started == []
    assert sim.scheduler.pools.pools["p"].used == 0
    assert sim.reason("use") == "input 'a' is missing, and no step builds it"


def test_an_edit_that_is_noticed_while_a_step_is_in_line_has_it_checked_again() -> None:
    sim = Sim(files={"a": "1"}, pools={"p": 1})
    sim.step("use", inp="a", out="x", pool="p")
    sim.wait()
    sim.pool("p", 0).write("a", "2")
    sim.wait()
    assert sim.state("use") == "QUEUED"
    sim.write("a", "1")
    assert sim.wait() == "done"
    assert sim.started == ["use"], "it proved up to date after all"


def test_an_input_that_vanishes_during_the_job_puts_it_back() -> None:
    sim = Sim(files={"a": "1"})
    sim.step("use", inp="a", out="x", touches=lambda sim: sim.remove("a"))
    assert sim.wait() == "stuck"
    assert sim.reason("use") == "input 'a' is missing, and no step builds it"
    assert sim.history[0].notes == ("input 'a' changed while it ran; result not recorded",)
    sim.commands["use"].touches = None
    sim.write("a", "1")
    assert sim.wait() == "done"


@pytest.mark.parametrize("is_seen", [False, True])
@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_step_that_changes_its_own_built_input_is_put_back_and_then_fails(
    is_made_anew: bool, is_seen: bool
) -> None:
    # Each time its supplier made the input again, which put it back, and so on for ever. So it was once more where
    # somebody else looked at the input while the step ran: its supplier was put back then, and it with it, uncounted.
    def spoil(sim: Sim) -> None:
        sim.write("x", f"spoilt at {sim.now}")
        if is_seen:
            sim.look_again("x")

    def vary(sim: Sim) -> None:
        sim.commands["make"].writes = {"x": f"{sim.now}"}

    sim = Sim()
    sim.step("make", out="x", touches=vary if is_made_anew else None)
    sim.step("use", inp="x", out="y", touches=spoil)
    sim.wait()
    assert sim.started.count("use") == PUT_BACKS + 1
    assert sim["use"].reason == "input 'x' changed while it ran, 3 times"
    assert [line.step for line in sim.log if line.tag == "FAIL"] == ["runsh use"]
    outcomes = [str(job.outcome) for job in sim.history if job.step == "runsh use"]
    assert outcomes == ["cancelled"] * PUT_BACKS + ["failed"]
    assert sim.state("make") == "SUCCEEDED"


def test_attempts_do_not_help_a_step_that_changes_its_own_input() -> None:
    sim = Sim(files={"a": "1"})
    sim.step("use", inp="a", retry=3, touches=lambda sim: sim.write("a", f"{sim.now}"))
    sim.wait()
    assert sim.started == ["use"] * (PUT_BACKS + 1)


def test_a_failed_step_runs_again_when_its_input_changes_and_not_when_it_comes_out_the_same() -> None:
    sim = Sim(files={"a": "1"})
    sim.step("make", inp="a", out="x", writes={"x": "same"})
    sim.step("bad", inp="x", returncode=1)
    sim.wait()
    sim.do(Rerun(("make",)))
    sim.wait()
    assert sim.started == ["make", "bad", "make"]
    sim.commands["make"].writes = {"x": "other"}
    sim.do(Rerun(("make",)))
    sim.wait()
    assert sim.started[3:] == ["make", "bad"]


def test_a_job_that_is_put_back_is_dead_before_its_supplier_starts_and_leaves_no_result() -> None:
    sim = Sim(files={"a": "1"})
    sim.step("make", inp="a", out="x")
    sim.step("use", inp="x", out="y", takes=10, dies_after=3, leaves_half=True)
    sim.run(until=2)
    sim.write("a", "2")
    assert sim.wait() == "done"
    assert sim.story("running") == ["0 make running", "1 use running", "5 make running", "6 use running"]
    assert sim.files["y"] == "use(make(2))"


def test_an_output_edited_while_its_consumer_runs_is_noticed_when_that_ends() -> None:
    sim = Sim()
    sim.step("make", out="x")
    sim.step("use", inp="x", out="y", takes=4)
    sim.run(until=2)
    sim.write("x", "mine")
    assert sim.wait() == "done"
    assert sim.files["y"] == "use(make())"
    assert sim.started == ["make", "use", "make", "use"]


def test_permissions_are_part_of_a_file() -> None:
    class Modes(Sim):
        mode = 0o100644

        def _look(self, path: str) -> FileHash | None:
            look = super()._look(path)
            return look._replace(mode=self.mode) if isinstance(look, FileHash) else None

    sim = Modes(files={"a": "1"}, pools={"p": 1})
    sim.step("use", inp="a", pool="p")
    sim.wait()
    sim.pool("p", 0)
    sim.mode = 0o100755
    sim.wait()
    assert sim["use"].why == ("input 'a' has other permissions",)


def test_a_path_that_is_no_regular_file_is_no_input_and_no_output() -> None:
    class Folders(Sim):
        def _look(self, path: str) -> FileHash | FileProblem | None:  # type: ignore[override]
            return FileProblem("is a directory") if path.endswith("folder") else super()._look(path)  # type: ignore[return-value]

    sim = Folders()
    sim.step("use", inp="folder")
    sim.step("make", out="new folder")
    assert sim.wait() == "stuck"
    assert sim.reason("use") == "input 'folder' is a directory"
    assert sim["make"].reason == "ended with 0 but 'new folder' is a directory"


def test_an_output_that_was_there_and_was_not_written_is_remarked() -> None:
    sim = Sim()
    sim.step("make", out="x")
    sim.wait()
    sim.commands["make"].writes = {}
    sim.do(Rerun(("make",)))
    sim.wait()
    sim.commands["make"].writes = None
    sim.do(Rerun(("make",)))
    sim.wait()
    assert [job.notes for job in sim.history] == [
        (),
        ("output 'x' was there before and was not written",),
        (),
    ]


@pytest.mark.parametrize("what", ["step", "pending step"])
def test_a_declaration_looks_again_at_an_input_that_was_missing(what: str) -> None:
    # The file had appeared since, but the step waited as if nobody could know.
    sim = Sim()
    sim.step("use", inp="a")
    sim.run()
    sim.write("a", "1")
    sim.step("use too" if what == "step" else "use", inp="a", env_hashes=(("E", "1"),))
    sim.run()
    assert set(sim.states().values()) == {"SUCCEEDED"}


def test_a_declaration_looks_again_at_what_a_finished_step_read_and_made() -> None:
    sim = Sim(files={"a": "1"})
    sim.cell("A").step("make", inp="a", out="x")
    sim.end_cell().wait()
    sim.write("a", "2")
    sim.cell("A").step("make", inp="a", out="x")
    sim.end_cell().run()
    assert sim.started == ["make", "make"]


def test_a_failed_step_runs_again_when_a_file_of_the_user_changes() -> None:
    sim = Sim(files={"a": "1"})
    sim.step("bad", inp="a", returncode=1)
    sim.wait()
    sim.wait()
    assert sim.started == ["bad"]
    sim.write("a", "2")
    sim.wait()
    assert sim.started == ["bad", "bad"]


def test_a_wait_for_one_step_looks_at_all_that_it_is_made_from() -> None:
    sim = Sim(files={"a": "1"})
    sim.step("make", inp="a", out="x")
    sim.step("use", inp="x", out="y")
    sim.wait()
    sim.write("a", "2")
    assert sim.wait("use") == "done"
    assert sim.files["y"] == "use(make(2))"


def test_two_readers_of_one_file_do_not_wait_for_each_other_to_die() -> None:
    sim = Sim(files={"a": "1"})
    sim.step("one", inp="a", takes=50, dies_after=9)
    sim.run(until=1)
    sim.cancel("one")
    sim.step("two", inp="a")
    assert sim.state("two") == "RUNNING"


# --- looks that are late ---


def a_late_look(content: str | None, edited: str | None = None) -> tuple[Sim, LookAt]:
    """Return a world where a consumer runs, and a look at its input that began before that was made."""
    sim = Sim(files={"x": "old"})
    sim.step("other", inp="x", takes=0.0)
    sim.run()
    decision = sim.scheduler.handle(Wait(7, None), sim.now)
    (late,) = decision.instructions
    assert isinstance(late, LookAt)
    sim.step("make", out="x")
    sim.step("use", inp="x", out="y", takes=10)
    sim.run(until=3)
    assert sim.states()["use"] == "RUNNING"
    if edited is not None:
        sim.write("x", edited)
    look = None if content is None else sim._look("x")._replace(digest=content)  # type: ignore[union-attr]
    sim.do(FilesLooked(late.token, {"x": look}))  # type: ignore[arg-type]
    return sim, late


@pytest.mark.parametrize("content", ["sim:old", None])
def test_a_look_that_began_before_a_file_was_made_does_not_disturb_its_consumers(content: str | None) -> None:
    # The hashing of many files reported what had been there before: the consumer was killed for it.
    sim, _ = a_late_look(content)
    sim.run()
    assert sim.started.count("use") == 1
    assert set(sim.states().values()) == {"SUCCEEDED"}


def test_a_late_look_that_tells_of_an_edit_is_followed_by_another() -> None:
    # It began before the file was made, but came to it after the edit: only one more look can tell.
    sim, _ = a_late_look("sim:mine", "mine")
    sim.run()
    assert (sim.started.count("make"), sim.started.count("use")) == (2, 2)
    assert sim.files["y"] == "use(make())"


def test_a_look_that_nobody_asked_for_is_dropped() -> None:
    sim = Sim(files={"x": "1"})
    sim.step("use", inp="x")
    sim.wait()
    sim.do(FilesLooked(999, {"x": None}))  # type: ignore[arg-type]
    assert sim.state("use") == "SUCCEEDED"


# --- cleaning ---


def test_only_outputs_of_steps_that_are_gone_are_cleaned() -> None:
    sim = Sim()
    sim.cell("A").step("make", out=("kept", "gone"), vol="log", writes={"kept": "1", "gone": "2", "log": "3"})
    sim.end_cell().wait()
    assert sim.clean() == []
    sim.cell("A").step("make otherwise", out="kept")
    sim.end_cell().wait()
    assert sim.clean(dry_run=True) == ["gone"]
    assert "gone" in sim.files
    assert sim.clean() == ["gone"]
    assert set(sim.files) == {"kept"}
    assert sim.clean() == []


def test_what_the_user_changed_is_kept_and_named() -> None:
    sim = Sim()
    sim.cell("A").step("make", out="x")
    sim.end_cell().wait()
    sim.cell("A").end_cell()
    sim.write("x", "mine")
    assert sim.clean() == []
    assert sim.removed is not None
    assert sim.removed.kept == (("x", "it was changed"),)


def test_what_somebody_still_reads_or_calls_static_is_kept() -> None:
    sim = Sim()
    sim.cell("A").step("make", out=("read", "static", "neither"))
    sim.cell("B").step("use", inp="read")
    sim.end_cell().wait()
    sim.cell("A").end_cell()
    sim.cell("C").static("static")
    sim.end_cell()
    assert sim.clean() == ["neither"]
    assert sim.state("use") == "SUCCEEDED"


def test_what_a_dormant_step_reads_or_makes_is_kept() -> None:
    # After a restart its cell was not executed yet, and nobody seemed to need the files.
    sim = Sim()
    sim.cell("A").step("old", out=("x", "y", "z"))
    sim.end_cell().wait()
    sim.cell("A").step("new", out="x", writes={"x": "old()"})
    sim.cell("B").step("use", inp="y")
    sim.end_cell().wait()
    sim = sim.restart()
    assert sim.clean() == ["z"]


def test_a_step_all_of_whose_files_were_cleaned_is_gone() -> None:
    sim = Sim()
    sim.cell("A").step("make", out="x")
    sim.end_cell().wait()
    sim.cell("A").end_cell()
    sim.clean()
    assert sim.scheduler.graph.steps == {}
    assert "x" not in sim.scheduler.graph.files


def test_an_output_that_the_user_removed_himself_is_not_offered_again_and_again() -> None:
    # After a director that was killed while it cleaned, what it had removed was reported as kept for ever.
    sim = Sim()
    sim.cell("A").step("make", out="x")
    sim.end_cell().wait()
    sim.cell("A").end_cell()
    sim.remove("x")
    assert sim.clean() == []
    assert sim.scheduler.graph.steps == {}


def test_a_gone_step_without_files_is_not_forgotten_by_cleaning() -> None:
    sim = Sim()
    sim.cell("A").step("look")
    sim.step("make", out="x")
    sim.end_cell().wait()
    sim.cell("A").end_cell()
    assert sim.clean() == ["x"]
    assert list(sim.scheduler.graph.steps) == ["runsh look"]


def test_what_a_step_that_was_stopped_half_way_wrote_is_cleaned_when_it_is_gone() -> None:
    sim = Sim()
    sim.cell("A").step("make", out="x", takes=10, leaves_half=True)
    sim.end_cell().run(until=2)
    sim.cell("A").end_cell()
    sim.run()
    assert sim.files["x"] == "half"
    assert sim.clean() == ["x"]


def test_a_step_that_is_forgotten_while_one_looks_what_it_left_stays_forgotten() -> None:
    sim = Sim(takes_look=1.0)
    sim.step("make", out="x", returncode=1, leaves_half=True)
    sim.run(until=1)
    sim.do(Forget(("make",)))
    sim.step("make", out="y")
    sim.run()
    assert sim["make"].spec.out == ("y",)
    assert sim.saved["runsh make"].declared["spec"].out == ("y",)


def test_what_an_interrupted_job_may_have_left_is_named_and_kept() -> None:
    # Nothing was said of it: it stayed for ever, and looked like a file of the user's.
    sim = Sim(files={"z": "the user's"})
    sim.run(until=1)
    sim.cell("A").step("make", out=("x", "y", "z"), vol="v", takes=10, leaves_half=True)
    sim.end_cell().run(until=2)
    sim = sim.restart()
    sim.write("z", "the user's")
    sim.run(until=3)
    assert sim.clean() == []
    assert sim.removed is not None
    assert sim.removed.kept == ()
    sim.cell("A").end_cell()
    sim.cell("B").static("z").end_cell()
    for _ in range(2):
        assert sim.clean() == []
        assert [path for path, _ in sim.removed.kept] == ["x", "y"]
    sim.remove("x")
    sim.cell("C").step("make otherwise", out="y")
    sim.end_cell().wait()
    assert sim.clean() == []
    assert sim.removed.kept == ()


def test_what_was_there_before_a_step_failed_without_writing_it_is_not_cleaned() -> None:
    sim = Sim(files={"x": "the user's"})
    sim.run(until=1)
    sim.cell("A").step("make", out="x", returncode=1)
    sim.end_cell().wait()
    sim.run()
    sim.cell("A").end_cell()
    assert sim.clean() == []
    assert sim.files["x"] == "the user's"


@pytest.mark.parametrize("kind", ["out", "vol"])
def test_what_was_there_before_a_step_that_did_not_write_it_is_not_cleaned(kind: str) -> None:
    # A step that only makes a file where there is none: what the user had there went when the step was gone.
    sim = Sim(files={"x": "the user's"})
    sim.run(until=1)
    sim.cell("A").step("make", writes={}, **{kind: "x"})
    sim.end_cell().wait()
    assert sim.state("make") == "SUCCEEDED"
    if kind == "out":
        assert sim["make"].last.notes == ("output 'x' is older than this run, which did not write it",)
    sim.cell("A").end_cell()
    assert sim.clean() == []
    # Nor after it ran again, or was interrupted while it did.
    for seconds in (9, 0.5):
        sim.cell("A").step("make", writes={}, force=True, **{kind: "x"})
        sim.end_cell().run(until=sim.now + seconds)
        sim = sim.restart()
        sim.cell("A").end_cell()
        assert sim.clean() == []
    assert sim.files["x"] == "the user's"


def test_what_a_step_wrote_once_is_cleaned_although_it_did_not_write_it_again() -> None:
    sim = Sim()
    sim.cell("A").step("make", out="x")
    sim.end_cell().wait()
    sim.run(until=5)
    sim.cell("A").step("make", out="x", writes={}, force=True)
    sim.end_cell().wait()
    assert sim["make"].last.notes == ("output 'x' was there before and was not written",)
    sim.cell("A").end_cell()
    assert sim.clean() == ["x"]


def test_what_the_user_made_of_an_output_is_his_although_its_step_found_nothing_to_do() -> None:
    sim = Sim()
    sim.cell("A").step("make", out="x")
    sim.end_cell().wait()
    sim.write("x", "the user's")
    sim.run(until=5)
    sim.cell("A").step("make", out="x", writes={})
    sim.end_cell().wait()
    assert sim.state("make") == "SUCCEEDED"
    sim.cell("A").end_cell()
    assert sim.clean() == []
    assert sim.files["x"] == "the user's"


def test_what_files_say_of_their_time_is_compared_with_the_clock_on_the_wall() -> None:
    # A machine had slept, or its clock was set: what the user had just written was taken for a failed step's.
    sim = Sim(files={"x": "the user's"})
    sim._written["x"] = int(100 * 1e9)
    sim.scheduler.use_wall(int(101 * 1e9))
    sim.cell("A").step("make", out="x", returncode=1)
    sim.end_cell().wait()
    sim.run()
    sim.cell("A").end_cell()
    assert sim.clean() == []


def test_what_was_read_before_it_was_amended_has_not_changed_because_the_machine_had_slept() -> None:
    # A module that was edited in the morning after was taken for one that changed during the job, three times.
    def imports(script: Script) -> Iterator[object]:
        yield script.amend("module", is_read=True)

    sim = Sim(files={"module": "1"})
    sim._written["module"] = int(100 * 1e9)
    sim.scheduler.use_wall(int(101 * 1e9))
    sim.step("use", plan=imports)
    sim.wait()
    assert (sim.state("use"), sim.ran()) == ("SUCCEEDED", ["use"])


# --- states of files ---


def test_the_states_of_a_file_on_its_way() -> None:
    sim = Sim(files={"a": "1"})
    states = []

    def note() -> None:
        states.append([str(sim.scheduler.graph.files[path].state) for path in ("a", "x", "log", "nowhere")])

    sim.cell("A").step("make", inp="a", out="x", vol="log")
    sim.step("use", inp="nowhere")
    note()
    sim.wait()
    note()
    sim.write("a", "2")
    sim.do(Run())
    note()
    sim.wait()
    sim.remove("x").remove("a")
    sim.wait()
    note()
    assert states == [
        ["STATIC", "AWAITED", "VOLATILE", "MISSING"],
        ["STATIC", "BUILT", "VOLATILE", "MISSING"],
        ["STATIC", "OUTDATED", "VOLATILE", "MISSING"],
        ["MISSING", "AWAITED", "VOLATILE", "MISSING"],
    ]


def test_an_output_counts_as_built_after_its_step_is_gone_as_long_as_it_is_as_recorded() -> None:
    sim = Sim(files={"a": "1"})
    sim.cell("A").step("make", inp="a", out="x")
    sim.end_cell().wait()
    sim.remove("a")
    sim.wait()
    assert sim.state("make") == "PENDING"
    sim.cell("A").end_cell()
    assert sim.scheduler.graph.files["x"].state is FileState.BUILT
    sim.step("use", inp="x")
    assert sim.wait() == "done"


def test_what_waits_for_a_step_that_is_retired_takes_what_that_had_made() -> None:
    sim = Sim(files={"a": "1"})
    sim.cell("A").step("make", inp="a", out="x")
    sim.end_cell().wait()
    sim.remove("a")
    sim.wait()
    sim.step("use", inp="x")
    assert sim.wait() == "stuck"
    sim.cell("A").end_cell()
    assert sim.wait() == "done"


def test_a_change_of_one_of_many_inputs_is_named() -> None:
    names = tuple(f"a{k}" for k in range(50))
    sim = Sim(files=dict.fromkeys(names, "1"), pools={"p": 1})
    sim.step("sum", inp=names, pool="p")
    sim.wait()
    sim.pool("p", 0).write("a7", "2").remove("a8")
    sim.wait()
    assert sim.reason("sum") == "input 'a8' is missing, and no step builds it"
    sim.write("a8", "1")
    sim.wait()
    assert sim["sum"].why == ("input 'a7' changed",)
