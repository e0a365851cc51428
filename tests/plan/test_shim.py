"""Plans that import from ``stepup.core`` get ours, whatever interpreter runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

import stepup_nb

PACKAGE = Path(stepup_nb.__file__).parent
SHIM = PACKAGE / "shim"


@pytest.fixture
def python(tmp_path):
    """Return a function that runs code where the shim is on the path, and stepup_nb is installed or not."""

    def python(code, *, knows_us=False, folders=()):
        search = [str(SHIM), *map(str, folders), *([str(PACKAGE.parent)] if knows_us else [])]
        done = subprocess.run(
            # Isolated and without site: a bare interpreter, as of another environment.
            [sys.executable, "-S", "-c", f"import sys; sys.path[:1] = {search!r}\n{code}"],
            cwd=tmp_path,
            env={},
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        return done.stdout

    return python


@pytest.mark.parametrize("knows_us", [True, False])
def test_a_plan_finds_us_in_any_interpreter(python, knows_us):
    code = """
from stepup.core.api import InputNotFoundError, StepInfo, getenv, loadns, render_jinja, runsh, step, subs_env_vars
from stepup.core.api import call, script, static
from stepup.core.call import driver
from stepup.core.script import driver as other
from stepup.core.exceptions import CyclicError, DeferredNotConfirmedError, GraphError, RPCError
from stepup.core.nglob import NGlobMulti
from stepup.core.stepinfo import StepInfo, dump_step_info, load_step_info
from stepup.core.utils import string_to_list
import stepup_nb
print(driver.__module__, other.__module__, step.__module__, issubclass(CyclicError, RPCError), stepup_nb.__file__)
print(*sys.path, sep=":")
"""
    said = python(code, knows_us=knows_us).splitlines()
    assert said[0].endswith(f"True {PACKAGE / '__init__.py'}")
    assert said[0].startswith("stepup_nb.plan.call stepup_nb.plan.script stepup_nb.api")
    # What lies beside us in our environment is not offered to another one.
    assert said[1].split(":").count(str(PACKAGE.parent)) == knows_us


def test_runpy_comes_with_a_star(python):
    # StepUp 3.0.0 forgot it there.
    said = python("import stepup.core.api\nprint(*stepup.core.api.__all__)").split()
    assert {"runpy", "runsh", "subs_env_vars", "loadns", "call"} <= set(said)


def test_a_name_that_is_none_is_an_import_error(python):
    said = python("""
try:
    from stepup.core.api import nonsense
except ImportError as error:
    print(error.name, 'nonsense' in str(error))
""")
    assert said == "stepup.core.api True\n"


def test_other_modules_of_an_installed_stepup_stay_importable(python, tmp_path):
    core = tmp_path / "site" / "stepup" / "core"
    core.mkdir(parents=True)
    (core / "extra.py").write_text("x = 1\n")
    (core / "api.py").write_text("raise RuntimeError('theirs')\n")
    (tmp_path / "site" / "stepup" / "reprep.py").write_text("x = 2\n")
    code = "import stepup.core.api, stepup.core.extra, stepup.reprep\nprint(stepup.core.extra.x + stepup.reprep.x)"
    assert python(code, folders=[tmp_path / "site"]) == "3\n"


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("myparent('a/b/c/')", "a/b/"), ("myparent('../a')", "../"), ("myparent('./')", "None"),
        ("myparent('/a')", "/"), ("myrelpath('a/', 'sub')", "../a/"),
        ("myabsolute('/a', True)", "/a/"), ("mynormpath('a/../b/')", "b/"),
        ("string_to_bool('No')", "False"), ("make_path_out('d/a.txt', None, '.pdf')", "d/a.pdf"),
        ("make_path_out('a.txt', 'o/', None)", "o/a.txt"), ("translate('a', 'w/')", "w/a"),
        ("format_command('a b')", "'./a b'"), ("translate_back('a', 'w')", "../a"),
    ],
)  # fmt: skip
def test_the_helpers_for_paths_answer_as_those_of_stepup(python, call, answer):
    assert python(f"from stepup.core.utils import *\nprint({call})") == f"{answer}\n"
