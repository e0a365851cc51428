"""Every log line comes once, in order, with what the step printed, however late or slowly one reads."""

import time

import pytest
from client.helpers_session import session_in, until

from stepup_nb.client import lines
from stepup_nb.client.connection import DirectorGone
from stepup_nb.client.lines import Follower, LineReader, Page


@pytest.fixture
def session(tmp_path):
    found = session_in(tmp_path)
    yield found
    found.close()


@pytest.fixture
def reader(session):
    connection = session.connect()
    yield LineReader(connection)
    connection.close()


def all_lines(reader):
    return [line for batch in iter(reader.read, []) for line in batch]


def run(session, command, **options):
    handle = session.declare("runsh", command, **options)
    session.wait()
    return handle


def story(found):
    return [f"{line.tag} {line.text}" for line in found]


def pages(found, tag):
    return [page for line in found if line.tag == tag for page in line.pages]


# --- what happened, as lines ------------------------------------------------------------------------


def test_a_step_starts_and_succeeds(session, reader):
    run(session, "echo A")
    found = all_lines(reader)
    assert story(found) == ["START runsh echo A", "SUCCESS runsh echo A"]
    assert [(line.done, line.total) for line in found] == [(0, 1), (1, 1)]


def test_what_it_printed_is_on_pages_under_its_end(session, reader):
    run(session, "echo out; echo err >&2")
    found = all_lines(reader)
    assert pages(found, "START") == []
    assert pages(found, "SUCCESS") == [Page("Standard output", "out"), Page("Standard error", "err")]


def test_a_step_that_printed_nothing_has_no_page(session, reader):
    run(session, "echo; echo ' '")
    assert pages(all_lines(reader), "SUCCESS") == []


def test_a_failed_step_says_what_was_run_and_how_it_ended(session, reader):
    run(session, "echo out; exit 7")
    found = all_lines(reader)
    assert story(found) == ["START runsh echo out; exit 7", "FAIL runsh echo out; exit 7"]
    assert pages(found, "FAIL") == [
        Page("Step info", "Command               echo out; exit 7\nReturn code           7"),
        Page("Standard output", "out"),
    ]
    assert (found[-1].done, found[-1].total) == (0, 0)


def test_a_failed_step_elsewhere_says_where(session, reader, tmp_path):
    (tmp_path / "sub").mkdir()
    run(session, "false", workdir="sub")
    assert pages(all_lines(reader), "FAIL")[0].text.startswith("Command               (cd sub/ && false)\n")


def test_a_step_that_did_not_make_its_output_says_so(session, reader):
    run(session, "true", out="b.txt")
    about, missing = pages(all_lines(reader), "FAIL")
    assert "Return code           0" in about.text
    assert "did not create 'b.txt'" in about.text
    assert (missing.title, missing.text) == ("Expected outputs not created", "b.txt")


def test_a_script_of_several_lines_cannot_add_facts_of_its_own(session, reader):
    run(session, "true\nReturn code           0\nexit 3")
    (page, *_) = pages(all_lines(reader), "FAIL")
    assert page.text.splitlines() == [
        "Command               true",
        "                      Return code           0",
        "                      exit 3",
        "Return code           3",
    ]


def test_what_a_step_left_running_is_noted(session, reader):
    run(session, "sleep 60 & true")
    (page,) = pages(all_lines(reader), "SUCCESS")
    assert page.text == "Note                  left 1 process behind: sleep; killed"


def test_a_step_that_is_up_to_date_is_skipped(tmp_path):
    first = session_in(tmp_path)
    run(first, "echo A > a.txt", out="a.txt")
    first.close()
    second = session_in(tmp_path)
    reader = LineReader(second.connect())
    run(second, "echo A > a.txt", out="a.txt")
    found = all_lines(reader)
    assert story(found) == ["SKIP runsh echo A > a.txt"]
    assert found[0].pages == []
    second.close()


def test_a_step_whose_input_changed_meanwhile_is_rescheduled(session, reader, tmp_path):
    (tmp_path / "in.txt").write_text("0")
    run(session, "test -e once || { touch once; echo 1 > in.txt; }", inp="in.txt", vol="once")
    found = all_lines(reader)
    assert [line.tag for line in found] == ["START", "RESCHEDULE", "START", "SUCCESS"]
    assert "in.txt" in pages(found, "RESCHEDULE")[0].text


def test_each_attempt_has_the_output_of_its_own_job(session, reader):
    run(session, "test -e once && echo good || { touch once; echo bad; exit 1; }", retry=1)
    found = all_lines(reader)
    assert [line.tag for line in found] == ["START", "FAIL", "START", "SUCCESS"]
    assert pages(found, "FAIL")[1] == Page("Standard output", "bad")
    assert pages(found, "SUCCESS") == [Page("Standard output", "good")]


def test_of_a_long_output_the_end_is_shown_and_where_the_rest_is(session, reader, monkeypatch):
    monkeypatch.setattr(lines, "PAGE", 100)
    run(session, "seq 1000")
    (page,) = pages(all_lines(reader), "SUCCESS")
    first, *rest = page.text.splitlines()
    assert first.startswith("(the beginning is left out; all of it is in ")
    assert first.endswith("1.out)")
    assert rest[-1] == "1000"
    assert all(number.isdecimal() and len(number) >= 3 for number in rest), "no number is cut in two"


def test_bytes_that_are_no_text_do_no_harm(session, reader):
    run(session, r"printf 'a\377b'")
    assert pages(all_lines(reader), "SUCCESS") == [Page("Standard output", "a�b")]


# --- late and slow readers ----------------------------------------------------------------------------


def test_who_comes_late_gets_every_line(session):
    for letter in "ABC":
        session.declare("runsh", f"echo {letter}")
    session.wait()
    reader = LineReader(session.connect())
    assert sorted(line.text for line in all_lines(reader) if line.tag == "SUCCESS") == [
        "runsh echo A",
        "runsh echo B",
        "runsh echo C",
    ]


def test_who_comes_again_gets_what_is_new(session, reader):
    run(session, "echo A")
    all_lines(reader)
    again = LineReader(session.connect(), since=reader.last)
    run(session, "echo B")
    assert story(all_lines(again)) == ["START runsh echo B", "SUCCESS runsh echo B"]


def test_lines_beyond_one_answer_come_in_the_next(session, reader):
    for number in range(150):
        session.declare("runsh", f"true {number}")
    session.wait()
    found = all_lines(reader)
    assert len(found) == 300
    assert found[-1].done == 150


def test_a_reader_waits_for_news_and_no_longer(session, reader):
    session.declare("runsh", "sleep 60")
    until(lambda: [line.tag for line in reader.read(0.05)] == ["START"])
    begin = time.monotonic()
    assert reader.read(0.05) == []
    assert time.monotonic() - begin < 5.0
    session.cancel(all=True)
    until(lambda: [line.tag for line in reader.read(1.0)] == ["FAIL"])


def test_the_end_of_the_director_is_told(session, reader):
    run(session, "true")
    all_lines(reader)
    session.close()
    with pytest.raises(DirectorGone):
        reader.read(10.0)


class Forgetful:
    """A director that has kept only the lines from number 8 on."""

    def request(self, op, since=0, **_):
        kept = [{"number": n, "tag": "SKIP", "label": f"s{n}", "done": n, "total": 9} for n in (8, 9)]
        found = [line for line in kept if line["number"] > since]
        return {"lines": found, "missed": max(0, 8 - since - 1), "phase": "", "ending": []}


def test_lines_that_are_no_longer_kept_are_missed_aloud():
    assert story(all_lines(LineReader(Forgetful()))) == [
        "WARNING 7 lines came too fast to be shown",
        "SKIP s8",
        "SKIP s9",
    ]


# --- following ------------------------------------------------------------------------------------------


def follow(session, shown, started=0.0):
    return Follower(session.place.database, started, shown.append)


def test_a_follower_shows_lines_from_the_first_one_on(session):
    shown = []
    follower = follow(session, shown)
    run(session, "echo A")
    follower.finish()
    assert story(shown) == ["START runsh echo A", "SUCCESS runsh echo A"]


def test_a_follower_that_finishes_at_once_still_shows_all(session):
    run(session, "echo A")
    shown = []
    follow(session, shown).finish()
    assert story(shown) == ["START runsh echo A", "SUCCESS runsh echo A"]


def test_a_follower_shows_lines_while_the_steps_run(session):
    shown = []
    follower = follow(session, shown)
    session.declare("runsh", "sleep 60")
    until(lambda: [line.tag for line in shown] == ["START"])
    session.cancel(all=True)
    follower.finish()


def test_a_follower_without_a_director_finishes(session):
    shown = []
    follow(session, shown).finish()
    assert shown == []


def test_a_director_of_before_is_not_followed(session):
    run(session, "echo A")
    shown = []
    follow(session, shown, started=time.time() + 60).finish()
    assert shown == []


def test_the_next_director_is_followed_too(tmp_path):
    shown = []
    first = session_in(tmp_path)
    follower = follow(first, shown)
    run(first, "echo A")
    until(lambda: len(shown) == 2)
    first.close()
    second = session_in(tmp_path)
    run(second, "echo B")
    follower.finish()
    second.close()
    assert [text for text in story(shown) if "echo B" in text] == [
        "START runsh echo B",
        "SUCCESS runsh echo B",
    ]
    assert len(shown) == 4
