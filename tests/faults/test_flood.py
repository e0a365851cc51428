"""What steps print: much of it, in one line, over and over, hostile. It is bounded everywhere, and stays text.

One real kernel that shows records and a panel takes the floods; what may never get through is tried on every surface.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from client.helpers_session import session_in
from director.helpers_output import Writer
from director.helpers_world import Notebook, cell, until
from faults.helpers_rounds import rounds
from hypothesis import assume, given
from hypothesis import strategies as st
from notebook.helpers_kernel import Kernel, environment

from stepup_nb.core import words
from stepup_nb.core.errors import StepsFailed, UsageError
from stepup_nb.core.model import ScopeKind
from stepup_nb.director import output
from stepup_nb.director.output import CAP, END, LogFolder, stored
from stepup_nb.notebook import ansi
from stepup_nb.notebook.panel.logs import KEPT, LINES

MIB = 1 << 20

# --- floods in a real kernel (rows 69, 70, 73) -------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(tmp_path_factory) -> Iterator[Kernel]:
    kernel = Kernel(Path(sys.executable), tmp_path_factory.mktemp("flood") / "nb")
    kernel.load()
    kernel.run_ok("%stepup panel", cell="panel")
    kernel.run_ok("%runsh --name warm -- echo warm", cell="warm")
    kernel.run_ok("%stepup wait", cell="wait")
    yield kernel
    kernel.close()


def panel_of(kernel: Kernel) -> str:
    opened = (
        each for each in kernel.comms if each["data"].get("state", {}).get("_model_module") == "anywidget"
    )
    return str(next(opened)["comm_id"])


class Memory:
    """How much more a process has held at once since this was made, in bytes."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        # Forgets the peak so far.
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = self._read("VmRSS")

    def grown(self) -> int:
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        (line,) = re.findall(rf"{name}:\s+(\d+) kB", self._status.read_text())
        return int(line) * 1024


class Flood:
    """A step that prints much, followed in the panel and shown in a record, from its beginning to its end."""

    def __init__(self, kernel: Kernel, name: str, command: str) -> None:
        panel = panel_of(kernel)
        kernel.say(panel, {"kind": "hello"})
        kernel.say(panel, {"kind": "follow", "view": "v", "step": name, "job": None})
        memory, director = Memory(kernel.process.pid), Memory(kernel.status()["director_pid"])
        before = len(kernel.said(panel))
        cell = kernel.run_ok(f"%%runsh --name {name}\n{command}", cell=name)
        kernel.run_ok("%stepup wait", cell=f"wait for {name}")
        self.messages = lambda: kernel.said(panel)[before:]
        self.logs = lambda: [
            log for message in self.messages() for log in message.get("logs", ()) if log["step"] == name
        ]
        kernel.until(lambda: any(log["final"] for log in self.logs()))
        self.grown, self.director_grown = memory.grown(), director.grown()
        self.record = cell.record
        (self.row,) = [row for row in kernel.status()["steps"] if row["name"] == name]
        (self.job,) = {log["job"] for log in self.logs()}

    @property
    def shown(self) -> list[str]:
        """The lines that a browser has in the end."""
        first, lines = 0, []
        for log in self.logs():
            if not first <= log["from"] <= first + len(lines):
                first, lines = log["from"], []
            lines[log["from"] - first :] = log["lines"]
            gone = max(0, log["first"] - first)
            first, lines = first + gone, lines[gone:]
        return ["".join(span[0] for span in spans) for _, spans in lines]

    def log(self, kernel: Kernel) -> Path:
        return kernel.folder / ".stepup" / "nb" / "logs" / f"{self.job}.out"


FLOODS = {
    "gigabyte": (
        f"(yes 0123456789abcdef0123456789abcdef || true) | head -c {10**9}; echo; echo the end",
        "the end",
    ),
    "line": (f"head -c {3 * 10**8} /dev/zero | tr '\\0' x; echo; echo the end", "the end"),
    "bar": (
        "awk 'BEGIN { for (i = 1; i <= 1000000; i++) printf \"\\r%7d of 1000000 \\033[32mOK\\033[0m\", i }'",
        "1000000 of 1000000 OK",
    ),
    "errors": ("((yes 'all is lost' || true) | head -c 100000000; echo; echo the end) >&2", "the end"),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_costs_the_kernel_and_the_director_little_and_its_end_is_shown(kernel: Kernel, name: str):
    command, end = FLOODS[name]
    flood = Flood(kernel, name, command)
    assert flood.row["state"] == "SUCCEEDED"
    assert flood.grown <= 64 * MIB
    assert flood.director_grown <= 64 * MIB
    # What the browser gets, keeps, and what is saved.
    assert max(len(json.dumps(message)) for message in flood.messages()) <= 256 * 1024
    assert len(flood.shown) <= LINES + 2 and sum(map(len, flood.shown)) <= KEPT
    assert flood.shown[-1].strip() == end
    assert len(flood.record["text/html"]) + len(flood.record["text/plain"]) <= 64 * 1024
    assert end in flood.record["text/plain"]
    assert len(flood.row["stdout_tail"] + flood.row["stderr_tail"]) <= 16 * 1024


@pytest.mark.kernel
def test_of_a_flood_the_log_keeps_the_beginning_and_the_end_and_says_what_it_left_out(kernel: Kernel):
    flood = Flood(kernel, "big", "echo begin; (yes 0123456789abcde || true) | head -c 200000000; echo end")
    log = flood.log(kernel)
    assert CAP < log.stat().st_size < CAP + END + 100
    with log.open("rb") as file:
        assert file.readline() == b"begin\n"
        file.seek(-END - 100, os.SEEK_END)
        end = file.read()
    assert re.search(rb"\n\[\xe2\x80\xa6 133 MB left out \xe2\x80\xa6\]\n", end)
    assert end.endswith(b"0123456789abcde\nend\n")
    said = kernel.run_ok("%stepup log big").text
    assert said.startswith("── stdout of big (the first ") and said.endswith("end\n")
    assert str(log) in said and len(said) < MIB


@pytest.mark.kernel
def test_many_floods_at_once_share_one_small_budget_of_messages(kernel: Kernel):
    panel = panel_of(kernel)
    memory = Memory(kernel.process.pid)
    before, updates = len(kernel.comms), len(kernel.updates)
    declare = "".join(
        f"runsh('yes {n} | head -c {rounds(50, 1000)}000000', name='many{n}')\n" for n in range(8)
    )
    kernel.run_ok(
        "from stepup_nb.api import runsh\nfrom stepup_nb.client import current\n"
        f"current.session().set_workers(8)\n{declare}"
    )
    for number in range(8):
        kernel.say(panel, {"kind": "follow", "view": f"v{number}", "step": f"many{number}", "job": None})
    kernel.run_ok("%stepup wait", cell="wait")
    assert memory.grown() <= 64 * MIB
    rows = [row for row in kernel.history() if row["step"].startswith("many")]
    seconds = max(row["ended"] for row in rows) - min(row["started"] for row in rows)
    # Ten a second, and some to begin and to end with.
    assert len(kernel.comms) - before + len(kernel.updates) - updates <= 10 * seconds + 20
    assert sum(len(json.dumps(each)) for each in kernel.comms[before:]) <= (seconds + 2) * MIB


def follow(look: Any, place: tuple[int, int], most: int) -> tuple[bytes, tuple[int, int]]:
    """Return what comes after a place on standard output, piece by piece, and the place reached."""
    seen = b""
    for _ in range(10_000):
        found = look(place, most, is_last=False)
        seen += b"".join(piece for which, piece in found.pieces if which == 0)
        place = found.place
        if not found.is_more:
            return seen, place
    raise AssertionError("there was always more")


@given(
    cap=st.integers(0, 40),
    pieces=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=12),
    seen=st.integers(0, 12),
    most=st.integers(1, 60),
    end=st.integers(8, 20),
)
def test_whoever_follows_a_stream_beyond_its_cap_gets_its_end_when_it_has_ended(
    tmp_path_factory, cap, pieces, seen, most, end
):
    # The panel asked the log for what came after a gigabyte, and never got it.
    folder = LogFolder(str(tmp_path_factory.mktemp("logs")), cap)
    whole = b"".join(pieces)
    # What says that something is left out is shorter than that, but for a few bytes that hardly ever are it.
    assume(not 0 < len(whole) - cap - end < 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "TAIL", 8)
        patch.setattr(output, "END", end)
        writer = Writer(folder)
        for piece in pieces[:seen]:
            writer.write(0, piece)
        _, place = follow(writer.output.after, (0, 0), most)
        for piece in pieces[seen:]:
            writer.write(0, piece)
        writer.end()
        sums = writer.output.sums
        ended = partial(stored, folder, 1, sums=sums)
        rest, after = follow(ended, place, most)
        everything, last = follow(ended, (0, 0), most)
    assert after == last == (len(whole), 0) == sums.totals
    assert everything == folder.read("1.out", 0, 1 << 20)
    missed = whole[place[0] :]
    assert rest == missed if len(missed) <= end or len(whole) <= cap else rest.endswith(whole[-end:])
    folder.close()


# --- hostile text on all surfaces (rows 71, 72, 74, 75) ----------------------------------------------

HOSTILE = (
    "\x1b]0;title\x07"  # sets the window's title
    "\x1b]52;c;ZXZpbA==\x1b\\"  # fills the clipboard
    "\x1b]8;;http://evil/\x1b\\link\x1b]8;;\x1b\\"  # a link
    "\x1b[2J\x1b[1;1H\x1b[6n\x1b[?1049h\x1bc\x9b31m"  # erases, moves, asks back, switches, resets; C1
    "\x1bP+q544e\x1b\\\x1b_app\x1b\\\x05\x08\x7f\x00"
    "<img src=x onerror=alert(1)><script>alert(1)</script>&lt;"
    "\u202edrow\u2066\u200b\u061c\ufeff"
)
"""What would take over a terminal, a page, or the order of what is read."""

SGR = re.compile(r"\x1b\[[0-9;]*m")


def assert_text(shown: str, *, is_colour_allowed: bool = False) -> None:
    """Check that nothing in a text commands, hides or reorders."""
    if is_colour_allowed:
        shown = SGR.sub("", shown)
    assert words.visible(shown) == shown, ascii(shown)


def assert_markup(html: str) -> None:
    """Check that markup has elements of ours only, and nothing that acts."""
    assert "<img" not in html and "<script" not in html and "onerror=" not in re.sub(r">[^<]*<", "><", html)
    assert "<a " not in html and "href" not in html
    assert_text(html)


def hostile_step(session: Any, **options: Any) -> Any:
    """Declare a step that prints what is hostile on both streams, and is called so."""
    path = Path(session.place.root) / "hostile"
    path.write_bytes(HOSTILE.encode("utf-8", "surrogateescape") + b"\xff\xfe\n")
    return session.declare(
        "runsh", f"cat hostile; cat hostile >&2; : {HOSTILE.replace(chr(0), '')!r}", **options
    )


def program(*arguments: str, cwd: Path) -> str:
    """Return what `stepup-nb` says on both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "stepup_nb", *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        timeout=100,
    )
    return (done.stdout + done.stderr).decode()


def test_what_a_step_prints_and_is_called_is_text_in_every_verb_of_the_terminal(tmp_path: Path):
    session = session_in(tmp_path)
    name = "n" + HOSTILE.replace("\x00", "")
    step = hostile_step(session, name=name, out=f"{name.replace('/', '_')[:40]}.txt")
    until(lambda: step.state == "FAILED")
    assert "<img src=x" in step.stdout
    for arguments in (["status"], ["log", "n"], ["why", "n"], ["clean", "--dry-run"], ["rerun", name + "x"]):
        said = program(*arguments, cwd=tmp_path)
        assert said
        assert_text(said)
    assert "onerror=alert(1)>" in program("log", "n", cwd=tmp_path)
    # As data it is all there, for programs.
    (row,) = json.loads(program("status", "--json", cwd=tmp_path))["steps"]
    assert row["name"] == name and "\x1b]52;c;ZXZpbA==\x1b\\" in row["stdout_tail"]
    session.close()
    assert_text(program("status", cwd=tmp_path))


def test_an_error_that_quotes_names_and_output_is_text_for_whoever_prints_it(tmp_path: Path):
    session = session_in(tmp_path)
    name = "n" + HOSTILE.replace("\x00", "")
    with cell(session, "A"):
        step = hostile_step(session, name=name, out="x")
    with pytest.raises(StepsFailed) as failed:
        step.wait()
    session.open_scope("cell:B", ScopeKind.CELL, "cell B")
    for declare in (
        lambda: session.declare("runsh", "true", out="x", name="other", scope="cell:B"),
        lambda: session.declare("runsh", "true", pool=name),
        lambda: session.declare("runsh", "true", inp=f"{name.replace('/', '_')}*"),
        lambda: session.declare("runsh", "true", inp="y\x1b[2J", out="y\x1b[2J"),
        lambda: session.cancel(name + "x"),
    ):
        with pytest.raises(UsageError) as refused:
            declare()
        for error in (refused.value, failed.value):
            assert_text(str(error))
            assert_text("\n".join(error._render_traceback_()))
    assert_text(repr(step))
    session.close()


def test_what_a_step_prints_is_text_among_the_log_lines_and_in_the_logs_of_a_plan(tmp_path: Path):
    (tmp_path / "hostile").write_bytes(HOSTILE.encode() + b"\xff\n")
    command = f"cat hostile; cat hostile >&2; : '{HOSTILE.replace(chr(0), '')}'"
    (tmp_path / "plan.py").write_text(
        "#!/usr/bin/env python3\nfrom stepup.core.api import runsh\n"
        f"runsh({command!r}, out='made')\nprint({HOSTILE!r})\n"
    )
    (tmp_path / "plan.py").chmod(0o755)
    said = program("boot", cwd=tmp_path)
    assert "FAIL │ " in said and "onerror=alert(1)" in said
    assert_text(said)
    for name in ("success", "fail", "warning"):
        assert_text((tmp_path / ".stepup" / f"{name}.log").read_text())


@pytest.mark.kernel
def test_what_a_step_prints_and_is_called_is_text_in_a_notebook(kernel: Kernel):
    panel = panel_of(kernel)
    before = len(kernel.said(panel))
    kernel.say(panel, {"kind": "hello"})
    name = "evil" + HOSTILE.replace("\x00", "")
    (kernel.folder / "hostile").write_bytes(HOSTILE.encode() + b"\xff\n")
    declare = f"""
from stepup_nb.api import runsh, pool
name = {name!r}
pool("q", 2, tokens=[name, "b"])
handle = runsh("cat hostile; cat hostile >&2; exit 3 # " + name, name=name, pool="q")
handle
"""
    cell = kernel.run_ok(declare, cell="evil")
    failed = kernel.run("%stepup wait evil", cell="evil wait")
    assert "StepsFailed" in failed.error
    assert_text(failed.error)
    # A step is known by its name, and by a digest of one that is no plain text.
    kernel.until(
        lambda: any("evil" in s["label"] for m in kernel.said(panel)[before:] for s in m.get("steps", ()))
    )
    (key,) = {
        s["name"] for m in kernel.said(panel)[before:] for s in m.get("steps", ()) if "evil" in s["label"]
    }
    kernel.say(panel, {"kind": "follow", "view": "e", "step": key, "job": None})
    kernel.until(lambda: any(log["step"] == key for m in kernel.said(panel) for log in m.get("logs", ())))
    kernel.until(
        lambda: any(each["step"] == key for m in kernel.said(panel) for each in m.get("details", ()))
    )

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for each in value.values():
                yield from texts(each)
        elif isinstance(value, list):
            for each in value:
                yield from texts(each)

    for message in kernel.said(panel)[before:]:
        for text in texts(message):
            assert_text(text)
    assert_markup(cell.record["text/html"])
    assert_text(cell.record["text/plain"])
    for line in (
        "%stepup status",
        "%stepup log evil",
        "%stepup why evil",
        "%stepup history",
        "%stepup graph --text",
        "%stepup graph --dot",
        "%stepup graph",
        "%pool",
        "%pool q",
        "%stepup clean --dry-run",
        "%stepup freeze",
        "print(repr(handle))",
        "%stepup cancel 'evil\\x1b]0;x\\x07'",
        "%runsh --name '\x1b]0;x\x07' -p '\x1b[2J' -- true",
        "%runsh --inp '\x1b]0;x\x07*' -- true",
    ):
        shown = kernel.run(line, cell="evil again")
        assert_text(shown.text)
        assert_text(shown.error, is_colour_allowed="print" in line)
        for data in shown.displays + shown.results:
            assert_text(data.get("text/plain", "") + data.get("text/markdown", ""))
            assert_markup(data.get("text/html", ""))
    assert "\x1b" in kernel.value("handle.stdout")


def test_what_is_no_text_is_shown_by_its_code_and_kept_as_it_is(notebook: Notebook, session):
    raw = bytes(range(256)) * 4
    (notebook.folder / "raw").write_bytes(raw)
    step = session.declare("runsh", "cat raw", name="raw")
    step.wait()
    assert session.log("raw") == raw
    row = session.rows(["raw"])[0]
    assert "\x00" in row["stdout_tail"] and "�" in row["stdout_tail"]
    shown = ansi.to_text(row["stdout_tail"])
    assert "\\x00" in shown and "\\x0e" in shown
    assert_text(shown)


def test_a_character_that_comes_in_pieces_is_one_wherever_it_is_cut(notebook: Notebook, session):
    # Each of its bytes is a write of its own, and the director has read one before the next is written.
    code = "import os, sys\nfor byte in 'é€😀\\n'.encode():\n    os.write(1, bytes([byte])); sys.stdin.readline()"
    (notebook.folder / "pieces.py").write_text(code)
    os.mkfifo(notebook.folder / "gate")
    step = session.declare("runsh", f"exec {sys.executable} pieces.py < gate", name="s")
    gate = os.open(notebook.folder / "gate", os.O_RDWR)
    whole = "é€😀\n".encode()
    for number in range(1, len(whole) + 1):
        until(lambda number=number: len(session.log("s")) == number)
        tail = session.rows(["s"])[0]["stdout_tail"]
        assert tail == whole[:number].decode("utf-8", "ignore")
        os.write(gate, b"\n")
    os.close(gate)
    assert step.wait().stdout == "é€😀\n"


@pytest.mark.kernel
def test_no_process_of_the_floods_is_left(kernel: Kernel):
    assert psutil.Process(kernel.status()["director_pid"]).children(recursive=True) == []
