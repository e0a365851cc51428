"""A shell that would only become the program is left out, and nobody can tell but by the time it takes."""

import os
import signal
import subprocess

import pytest
from director.helpers_processes import World

from stepup_nb.director import spawn
from stepup_nb.director.direct import direct

PATH = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def programs(monkeypatch):
    """Collects what is started, and how it ended."""
    started = []
    posix_spawn = os.posix_spawn

    def start(program, *rest, **options):
        started.append(program)
        return posix_spawn(program, *rest, **options)

    monkeypatch.setattr(spawn.os, "posix_spawn", start)
    return started


def by_a_shell(command: str, env: dict[str, str] = PATH) -> tuple[str, list[str]] | None:
    return direct(("/bin/sh", "-c", command), env)


def test_plain_words_are_given_to_the_program_that_the_path_leads_to():
    program, words = by_a_shell("cp  -p\ta=b.txt ../c_1:2,3@4+5%6")
    assert os.path.basename(program) == "cp"
    assert words == ["cp", "-p", "a=b.txt", "../c_1:2,3@4+5%6"]


def test_the_first_folder_of_the_path_that_has_it_counts(tmp_path):
    for name in ("a", "b"):
        program = tmp_path / name / "tool"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    assert by_a_shell("tool", {"PATH": f"{tmp_path}/none:{tmp_path}/b:{tmp_path}/a"}) == (
        f"{tmp_path}/b/tool",
        ["tool"],
    )


@pytest.mark.parametrize(
    "command",
    [
        "",
        " ls",
        "ls ",
        "ls; ls",
        "ls | cat",
        "ls > f",
        "ls &",
        "ls $HOME",
        "ls ~",
        "ls *",
        "ls a?",
        "ls [a]",
        "ls {a,b}",
        "ls 'a'",
        'ls "a"',
        "ls `pwd`",
        "ls a\\ b",
        "ls # words",
        "ls\nls",
        "! ls",
        "A=1 ls",
        "A=1",
        "ls é",
        "%1",
        "true",
        "cd /",
        "exec ls",
        "echo a",
        "if",
        ". f",
        ": f",
        "kill 1",
        "no-such-program",
    ],
)
def test_whatever_a_shell_may_have_a_part_in_is_left_to_it(command):
    assert by_a_shell(command) is None


def test_other_shells_and_other_words_are_left_alone():
    assert direct(("bash", "-c", "ls"), PATH) is None
    assert direct(("/bin/sh", "-ec", "ls"), PATH) is None
    assert direct(("/bin/sh", "-c", "ls", "more"), PATH) is None
    assert direct(("/bin/sh", "f"), PATH) is None


def test_where_a_shell_would_look_is_its_own_matter_without_a_path():
    assert by_a_shell("ls", {}) is None


def test_a_function_that_bash_hands_down_counts():
    assert by_a_shell("ls", {**PATH, "BASH_FUNC_ls%%": "() { echo mine; }"}) is None


COMMANDS = [
    "env",
    "printenv PWD",
    "ls -a tools",
    "ls -l no/such/file",
    "sh -x none",
    "cat",
    "tools/fine a b=c",
    "tools/without-first-line a",
    "tools/not-executable",
    "tools/no-interpreter",
    "tools",
    "no-such-program a",
    "sleep 0",
]


@pytest.mark.parametrize("place", [".", "sub", "link"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_and_does_what_it_does_below_a_shell(world, tmp_path, command, place):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("sub")
    for folder in (tmp_path / "tools", tmp_path / "sub" / "tools"):
        folder.mkdir()
        for name, text, mode in (
            ("fine", '#!/bin/sh\necho "$0 $*" >&2; exit 3\n', 0o755),
            ("without-first-line", 'echo "$0 $*"; exit 4\n', 0o755),
            ("not-executable", "#!/bin/sh\n", 0o644),
            ("no-interpreter", "#!/no/such/program\n", 0o755),
        ):
            (folder / name).write_text(text)
            (folder / name).chmod(mode)
    cwd = str(tmp_path / place)
    env = {**PATH, "PWD": str(tmp_path), "OF_THE_STEP": "1"}
    job = world.start("/bin/sh", "-c", command, cwd=cwd, env=env)
    ended = world.wait(job)
    shell = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    said = world.executor.tail(job)
    own = [line for line in said.stdout.splitlines() if not line.startswith("STEPUP_NB_")]
    assert sorted(own) == sorted(shell.stdout.decode().splitlines())
    assert said.stderr == shell.stderr.decode()
    assert ended.returncode == shell.returncode


def test_a_program_that_is_killed_is_told_by_its_signal_and_not_by_what_a_shell_makes_of_that(
    world, tmp_path
):
    program = tmp_path / "killed"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    job = world.start("/bin/sh", "-c", "./killed")
    assert world.wait(job).returncode == -signal.SIGKILL
    assert world.executor.tail(job).stderr == ""


def test_what_begins_a_session_of_its_own_is_not_the_first_of_one_already(world):
    assert by_a_shell("setsid sleep 0") is None


def test_one_program_is_started_where_a_shell_would_be_a_second_one(world, programs):
    world.run("cp -p /dev/null copy")
    assert [os.path.basename(program) for program in programs] == ["cp"]
    world.run("cp -p /dev/null copy; true")
    assert [os.path.basename(program) for program in programs] == ["cp", "sh"]
