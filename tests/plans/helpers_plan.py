"""A folder with a plan, and what ``stepup-nb boot`` says and does there: real directors, real processes."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

LONG = 60.0
"""Seconds after which a program counts as never ending."""

HEAD = "#!/usr/bin/env python3\nfrom stepup.core.api import *\n"
"""How a plan of StepUp's begins."""

PLAN = "runpy ./plan.py"
"""The step that runs the plan."""

LAYOUT = re.compile(r"(?: *(?P<done>\d+)/(?P<total>\d+) \| )? *(?P<tag>[A-Z]+) │ (?P<text>.*)")
RULE = re.compile(r"─+ (?P<title>[^─]+) ─+")


class Page(NamedTuple):
    """Text under a line."""

    tag: str
    """Of the line."""
    title: str
    text: str


class Result:
    """What a boot printed, read back, and how it ended."""

    def __init__(self, code: int, stdout: str, stderr: str = "") -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr
        self.lines: list[tuple[str, str]] = []
        """Tag and text."""
        self.pages: list[Page] = []
        title, body = "", []
        for line in stdout.splitlines():
            is_rule = line.startswith("─")
            if title and is_rule:
                self.pages.append(Page(self.lines[-1][0], title, "\n".join(body)))
                title = ""
            if is_rule:
                match = RULE.fullmatch(line)
                title, body = (match["title"], []) if match else ("", [])
            elif title:
                body.append(line)
            else:
                match = LAYOUT.fullmatch(line)
                assert match, f"no line of a log: {line!r}"
                self.lines.append((match["tag"], match["text"]))

    def texts(self, *tags: str) -> list[str]:
        """The texts of the lines with these tags, in order."""
        return [text for tag, text in self.lines if tag in tags]

    @property
    def ran(self) -> list[str]:
        """What was started, in order."""
        return self.texts("START")

    def page(self, title: str) -> str:
        """The text of the only page with this title."""
        (text,) = [page.text for page in self.pages if page.title == title]
        return text

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.stdout}{self.stderr}"


class Running:
    """A boot that goes on beside the test."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._said: list[str] = []

    def until(self, tag: str, text: str) -> None:
        """Wait for a line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.append(line)
            match = LAYOUT.fullmatch(line.rstrip("\n"))
            if match and (match["tag"], match["text"]) == (tag, text):
                return
        raise AssertionError(f"it ended without saying {tag} {text}:\n{''.join(self._said)}")

    def result(self) -> Result:
        """Wait for its end."""
        rest, _ = self.process.communicate(timeout=LONG)
        return Result(self.process.returncode, "".join(self._said) + rest)


class Project:
    """A folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("STEPUP_") and name not in ("HERE", "ROOT", "COLUMNS", "PYTHONPATH")
        }
        """Variables that the programs get."""
        self._running: list[Running] = []

    def write_plan(self, text: str, folder: str = ".") -> None:
        """Write a plan, or another one in its place; its first two lines come by themselves."""
        self.write_script(f"{folder}/plan.py", text)

    def write_script(self, path: str, text: str) -> None:
        """Write a script that may be run, with the first two lines of a plan."""
        self.write(path, HEAD + textwrap.dedent(text)).chmod(0o755)

    def write(self, path: str, text: str = "") -> Path:
        """Write a file; its folders are made."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def read(self, path: str) -> str:
        """The text of a file."""
        return (self.root / path).read_text()

    def has(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / path).exists()

    def boot(self, *arguments: str, code: int | None = 0) -> Result:
        """Boot with two workers, or what the arguments say; the exit code is asserted."""
        result = self.start(*arguments).result()
        assert code is None or result.code == code, result
        assert not result.stderr, result
        return result

    def start(self, *arguments: str) -> Running:
        """Begin to boot, and go on."""
        words = () if "-n" in arguments else ("-n", "2")
        running = Running(self._popen("boot", *words, *arguments, stderr=subprocess.STDOUT))
        self._running.append(running)
        return running

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another verb to its end."""
        process = self.begin(*arguments)
        stdout, stderr = process.communicate(timeout=LONG)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        """Begin another verb; whoever does waits for its end."""
        return self._popen(*arguments, stderr=subprocess.PIPE)

    def _popen(self, *arguments: str, stderr: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "stepup_nb", *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def close(self) -> None:
        """End what a failed test left."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.terminate()
                running.process.communicate(timeout=LONG)
