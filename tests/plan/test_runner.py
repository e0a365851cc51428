"""The program that runs scripts: what a script sees, what its reader sees, and which modules the director hears of."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import stepup_nb
from stepup_nb.plan import runner

PROGRAM = runner.__file__
PACKAGES = str(Path(stepup_nb.__file__).parents[1])


@dataclass
class Folder:
    """A project, and a stand-in for the client: its `amend_read` prints what it is told."""

    path: Path
    env: dict[str, str] = field(default_factory=dict)

    def write(self, name, text, mode=0o755):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        path.chmod(mode)
        return path

    def run(self, *arguments, cwd=".", program=PROGRAM):
        return subprocess.run(
            # Without what is installed: the package that the runner lies in is to be found by itself.
            [sys.executable, "-S", program, *arguments],
            cwd=self.path / cwd,
            env={"PATH": os.environ["PATH"], **self.env},
            capture_output=True,
            text=True,
        )

    def listen(self):
        """Have a director, so that modules are reported: to a copy of the package that prints them."""
        package = self.path.parent / "elsewhere" / "stepup_nb"
        (package / "client").mkdir(parents=True)
        (package / "plan").mkdir()
        (package / "plan" / "runner.py").write_text(Path(PROGRAM).read_text())
        for name in ("__init__.py", "client/__init__.py"):
            (package / name).write_text("")
        (package / "client" / "job.py").write_text(
            "import os\n"
            "def amend_read(modules, script):\n"
            "    print('READ', *[os.path.relpath(path, os.environ['STEPUP_ROOT']) for path in modules], 'BY', script)\n"
            "    if os.environ.get('REFUSE'): raise ValueError('not there yet')\n"
        )
        self.env |= {"STEPUP_DIRECTOR_SOCKET": "/nowhere", "STEPUP_ROOT": str(self.path)}
        return str(package / "plan" / "runner.py")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "project").mkdir()
    return Folder(tmp_path / "project")


def test_a_script_sees_itself_as_main(folder):
    folder.write(
        "sub/w.py",
        """\
        #!/usr/bin/env python3
        '''doc'''
        import os, sys
        print(sys.argv, __name__, __file__, __doc__, sys.modules["__main__"].__file__)
        print([os.path.relpath(p) if p else p for p in sys.path[:2]], sorted(n for n in globals() if n[0] != "_"))
        """,
    )
    assert folder.run("sub/w.py", "a", "b c").stdout == (
        "['sub/w.py', 'a', 'b c'] __main__ sub/w.py doc sub/w.py\n['sub', ''] ['os', 'sys']\n"
    )
    assert folder.run("./w.py", cwd="sub").stdout.splitlines()[1].startswith("['.', '")


def test_code_can_be_given_instead(folder):
    done = folder.run("-c", "import sys; print(sys.argv, repr(sys.path[0]), '__file__' in globals())", "q")
    assert done.stdout == "['-c', 'q'] '' False\n"


def test_a_script_finds_modules_beside_it_and_in_the_working_directory(folder):
    folder.write("here.py", "x = 1")
    folder.write("sub/there.py", "x = 2")
    folder.write("sub/w.py", "#!/usr/bin/env python3\nimport here, there\nprint(here.x + there.x)\n")
    assert folder.run("sub/w.py").stdout == "3\n"


def test_our_own_modules_are_not_in_the_way_of_a_script(folder):
    # The runner lies in a folder with modules of such common names.
    folder.write("w.py", "#!/usr/bin/env python3\nimport paths\n")
    assert "No module named 'paths'" in folder.run("./w.py").stderr
    folder.env |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": "/kept"}
    folder.write("v.py", "#!/usr/bin/env python3\nimport sys\nprint(sys.path[1])\n")
    assert folder.run("./v.py").stdout == "/kept\n"


def test_a_traceback_begins_in_the_script(folder):
    folder.write("w.py", "#!/usr/bin/env python3\ndef f():\n    raise ValueError('boo')\nf()\n")
    done = folder.run("./w.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert [line for line in done.stderr.splitlines() if line[2:6] == "File" or line[0] != " "] == [
        "Traceback (most recent call last):",
        '  File "./w.py", line 4, in <module>',
        '  File "./w.py", line 3, in f',
        "ValueError: boo",
    ]


def test_a_syntax_error_shows_its_line_alone(folder):
    folder.write("w.py", "#!/usr/bin/env python3\nx = (\n")
    assert folder.run("./w.py").stderr.startswith('  File "./w.py", line 2\n')


def test_a_hook_for_exceptions_that_the_script_sets_is_used(folder):
    folder.write(
        "w.py", "#!/usr/bin/env python3\nimport sys\nsys.excepthook = lambda *e: print('mine', e[1])\n1 / 0\n"
    )
    done = folder.run("./w.py")
    assert (done.returncode, done.stdout, done.stderr) == (1, "mine division by zero\n", "")


@pytest.mark.parametrize(
    ("code", "returncode", "stderr"),
    [("5", 5, ""), ("None", 0, ""), ("'message'", 1, "message\n"), ("300", 44, "")],
)
def test_exit_codes_are_kept(folder, code, returncode, stderr):
    folder.write("w.py", f"#!/usr/bin/env python3\nimport sys\nsys.exit({code})\n")
    done = folder.run("./w.py")
    assert (done.returncode, done.stderr) == (returncode, stderr)


def test_an_interrupted_script_ends_as_the_signal_would_have_ended_it(folder):
    folder.write("w.py", "#!/usr/bin/env python3\nraise KeyboardInterrupt\n")
    done = folder.run("./w.py")
    assert done.returncode == -signal.SIGINT
    assert done.stderr.count("KeyboardInterrupt") == 2  # the line of the script and its own


def test_the_end_of_a_script_is_the_end_of_python(folder):
    folder.write(
        "w.py", "#!/usr/bin/env python3\nimport atexit\natexit.register(print, 'bye')\nx = 'still here'\n"
        "atexit.register(lambda: print(x))\n",
    )  # fmt: skip
    assert folder.run("./w.py").stdout == "still here\nbye\n"


@pytest.mark.parametrize(
    ("text", "mode"), [("print(1)\n", 0o755), ("#! /usr/bin/python\n", 0o755), ("#!/bin/sh\n", 0o644)]
)
def test_what_is_no_script_is_refused_in_the_words_of_stepup(folder, text, mode):
    folder.write("w.py", text, mode)
    done = folder.run("./w.py")
    assert (done.returncode, done.stdout) == (1, "")
    if mode == 0o755 or os.geteuid() != 0 or not os.access(folder.path / "w.py", os.X_OK):
        assert done.stderr == f"Script does not start with a shebang: ./w.py (wd={folder.path})\n"


def test_a_script_that_is_not_there_is_said_to_be_missing(folder):
    done = folder.run("./no/w.py")
    assert done.returncode == 1
    assert done.stderr == "FileNotFoundError: [Errno 2] No such file or directory: './no/w.py'\n"


def test_the_director_hears_of_all_local_modules(folder):
    program = folder.listen()
    folder.write("lib.py", "import pkg.m")
    folder.write("pkg/__init__.py", "")
    folder.write("pkg/m.py", "")
    folder.write("sub/w.py", "#!/usr/bin/env python3\nimport lib, json\nprint('done')\n")
    assert folder.run("sub/w.py", program=program).stdout == (
        "done\nREAD lib.py pkg/__init__.py pkg/m.py BY sub/w.py\n"
    )


def test_the_director_hears_of_a_script_that_loads_nothing_and_of_one_that_fails(folder):
    program = folder.listen()
    folder.write("lib.py", "raise SystemExit(3)")
    folder.write("w.py", "#!/usr/bin/env python3\nimport lib\n")
    folder.write("pkg.py", "")
    folder.write("v.py", "#!/usr/bin/env python3\nimport pkg\n1 / 0\n")
    done = folder.run("./w.py", program=program)
    assert (done.returncode, done.stdout) == (3, "READ BY ./w.py\n")
    done = folder.run("./v.py", program=program)
    assert (done.returncode, done.stdout) == (1, "READ pkg.py BY ./v.py\n")
    assert folder.run("-c", "import pkg", program=program).stdout == "READ pkg.py BY None\n"


def test_to_tell_what_was_loaded_loads_nothing(folder):
    program = folder.listen()
    folder.write("lazy.py", "raise SystemExit(9)")
    folder.write(
        "w.py",
        "#!/usr/bin/env python3\n"
        "import importlib.util, sys\n"
        "spec = importlib.util.find_spec('lazy')\n"
        "loader = spec.loader = importlib.util.LazyLoader(spec.loader)\n"
        "sys.modules['lazy'] = importlib.util.module_from_spec(spec)\n"
        "loader.exec_module(sys.modules['lazy'])\n",
    )
    done = folder.run("./w.py", program=program)
    # It is named all the same: a step that has run has at worst one input too many.
    assert (done.returncode, done.stdout) == (0, "READ lazy.py BY ./w.py\n")


def test_a_module_that_is_not_declared_fails_the_step_with_a_text(folder):
    program = folder.listen()
    folder.env["REFUSE"] = "1"
    folder.write("w.py", "#!/usr/bin/env python3\n")
    done = folder.run("./w.py", program=program)
    assert (done.returncode, done.stderr) == (1, "ValueError: not there yet\n")


def test_modules_are_known_by_their_place_however_the_root_is_reached(folder):
    program = folder.listen()
    (folder.path.parent / "link").symlink_to(folder.path)
    folder.env["STEPUP_ROOT"] = str(folder.path.parent / "link")
    folder.write("lib.py", "")
    folder.write("w.py", "#!/usr/bin/env python3\nimport lib, os\nos.chdir('/')\n")
    assert folder.run("./w.py", program=program).stdout == "READ lib.py BY ./w.py\n"


@pytest.fixture
def loaded(monkeypatch, folder):
    """Return a function that tells which of these files, loaded as modules, are local under a filter."""
    for place in ("venv/a.py", "venv2/b.py", ".venv/c.py", "sub/d.py", "e.py", "../project2/f.py"):
        folder.write(place, "")
        module = type(sys)(f"loaded_{Path(place).stem}")
        module.__file__ = str((folder.path / place).resolve())
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def loaded(rules=None):
        if rules is not None:
            monkeypatch.setenv("STEPUP_PATH_FILTER", rules)
        root = str(folder.path.resolve())
        return [Path(path).stem for path in runner.local_modules(root)]

    monkeypatch.delenv("STEPUP_PATH_FILTER", raising=False)
    return loaded


@pytest.mark.parametrize(
    ("rules", "local"),
    [
        (None, "c e d"),
        ("-sub", "c e a b"),
        ("", "c e d a b"),
        ("+sub:-.", "d"),
        ("-venv/", "c e d b"),
        ("+/", None),
    ],
)
def test_rules_say_which_modules_are_local(loaded, rules, local):
    # The letters are the files' names; they come in the order of their paths.
    found = loaded(rules)
    assert set(found) >= set("abcdef") if local is None else found == local.split()


def test_a_rule_without_a_sign_is_refused(loaded):
    with pytest.raises(ValueError, match="Invalid filter item: sub"):
        loaded("sub")


def test_an_environment_in_the_root_is_not_local_whatever_its_name(loaded, folder, monkeypatch):
    # In StepUp 3.0.0 only 'venv' is left out, and a step with '.venv' waits for all of its packages.
    monkeypatch.setattr(sys, "prefix", str(folder.path / ".venv"))
    assert "c" not in loaded()


def test_a_step_starts_hardly_later_than_python_itself():
    before = set(sys.stdlib_module_names)
    text = "import sys; print(*sorted(m for m in sys.modules))"
    plain = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True).stdout.split()
    ours = subprocess.run(
        [sys.executable, PROGRAM, "-c", text], capture_output=True, text=True
    ).stdout.split()
    assert set(ours) & before <= set(plain) | {"__future__"}


@pytest.mark.parametrize(("code", "expected"), [("0", 1), ("None", 1), ("3", 3)])
def test_a_script_that_exits_well_without_an_input_it_has_read_has_not_ended_well(folder, code, expected):
    runner = folder.listen()
    folder.write("w.py", f"#!/usr/bin/env python3\nimport sys\nsys.exit({code})\n")
    folder.env["REFUSE"] = "1"
    done = folder.run("./w.py", program=runner)
    assert done.returncode == expected
    assert "not there yet" in done.stderr
