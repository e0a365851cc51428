"""Options in, a spec out; and for every mistake a code, the user's thing in quotes, and what to do."""

import posixpath
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepup_nb.core.declare import (
    MOST,
    OPTIONS,
    SCRIPT_SHELL,
    argv,
    make_spec,
    path_in,
    pool_name,
    pool_requests,
    pool_size,
    seconds,
    whole_number,
)
from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import MOST_SLOTS, StepSpec

ROOT = "/home/me/project"
ROOM = 128 * 1024 - 1


def spec(command="true", action="runsh", **options):
    return make_spec(action, command, options, root=ROOT)


def refusal(call, *args, **options):
    with pytest.raises(UsageError) as caught:
        call(*args, **options)
    return caught.value


def test_a_plain_command_has_only_defaults():
    assert spec("echo hi") == StepSpec(action="runsh", command="echo hi")


def test_every_option_ends_in_the_spec():
    found = spec(
        "x ${inp}",
        name=" fit ",
        pool=["mem:4", "lic"],
        resources="gpu:1,mem:1",
        inp=["b.txt", PurePosixPath("a.txt")],
        out="sub/../o.txt",
        vol=("log",),
        env=["B", "A", "B"],
        workdir="work/",
        after=["s2", "s1", "s2"],
        optional=True,
        block=True,
        priority="-3",
        duration=0,
        timeout="2.5",
        retry="2",
        shell="bash -eu",
        force=True,
    )
    assert found == StepSpec(
        action="runsh",
        command="x b.txt a.txt",
        workdir="work",
        shell=("bash", "-eu", "-c"),
        name="fit",
        inp=("work/a.txt", "work/b.txt"),
        out=("work/o.txt",),
        vol=("work/log",),
        env=("A", "B"),
        after=("s2", "s1"),
        pool=(("gpu", 1), ("lic", 1), ("mem", 5)),
        optional=True,
        block=True,
        priority=-3,
        duration=0.0,
        timeout=2.5,
        retry=2,
        force=True,
    )


@pytest.mark.parametrize("option", [option.dest for option in OPTIONS])
def test_none_means_that_an_option_is_not_given(option):
    assert spec(**{option: None}) == spec()


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("SNB-101", {"command": ""}),
        ("SNB-101", {"command": " \n "}),
        ("SNB-101", {"command": "a\0b"}),
        ("SNB-101", {"command": None}),
        ("SNB-101", {"command": b"true"}),
        ("SNB-101", {"command": ["true"]}),
        ("SNB-101", {"command": "x" * (ROOM + 1)}),
        ("SNB-101", {"command": "ü" * (ROOM // 2 + 1)}),
        ("SNB-101", {"command": "a 'b", "action": "copy"}),
        ("SNB-101", {"command": "a", "action": "copy"}),
        ("SNB-101", {"command": "a b c", "action": "copy"}),
        ("SNB-102", {"inp": ""}),
        ("SNB-102", {"inp": " "}),
        ("SNB-102", {"inp": "a\0b"}),
        ("SNB-102", {"inp": 5}),
        ("SNB-102", {"out": [None, 5]}),
        ("SNB-102", {"out": b"a"}),
        ("SNB-102", {"out": ...}),
        ("SNB-102", {"out": "~/a"}),
        ("SNB-102", {"out": "~"}),
        ("SNB-102", {"vol": "x" * 5000}),
        ("SNB-102", {"workdir": "a\0"}),
        ("SNB-102", {"workdir": 3}),
        ("SNB-102", {"workdir": "~"}),
        ("SNB-103", {"out": "../a"}),
        ("SNB-103", {"out": "/etc/passwd"}),
        ("SNB-103", {"vol": "sub/../../a"}),
        ("SNB-103", {"out": "a", "workdir": ".."}),
        ("SNB-103", {"out": "/home/me/project2/a"}),
        ("SNB-104", {"inp": "sub/"}),
        ("SNB-104", {"inp": "."}),
        ("SNB-104", {"inp": ".."}),
        ("SNB-104", {"out": "sub/."}),
        ("SNB-104", {"out": "sub/.."}),
        ("SNB-104", {"out": "/"}),
        ("SNB-104", {"out": ROOT}),
        ("SNB-110", {"pool": ""}),
        ("SNB-110", {"pool": "a b"}),
        ("SNB-110", {"pool": ":4"}),
        ("SNB-110", {"pool": "a:b:4"}),
        ("SNB-110", {"pool": {5: 1}}),
        ("SNB-110", {"pool": "größe"}),
        ("SNB-110", {"resources": "gpu:1,"}),
        ("SNB-112", {"pool": "mem:0"}),
        ("SNB-112", {"pool": "mem:-1"}),
        ("SNB-112", {"pool": "mem:1.5"}),
        ("SNB-112", {"pool": "mem:x"}),
        ("SNB-112", {"pool": "mem:"}),
        ("SNB-112", {"pool": {"mem": None}}),
        ("SNB-112", {"pool": {"mem": True}}),
        ("SNB-112", {"pool": {"mem": 1.5}}),
        ("SNB-112", {"pool": 5}),
        ("SNB-112", {"pool": b"mem"}),
        ("SNB-112", {"pool": f"mem:{MOST_SLOTS + 1}"}),
        ("SNB-112", {"pool": [f"mem:{MOST_SLOTS}", "mem"]}),
        ("SNB-112", {"pool": "mem:" + "9" * 5000}),
        ("SNB-112", {"resources": 5}),
        ("SNB-112", {"priority": "high"}),
        ("SNB-112", {"priority": 1.5}),
        ("SNB-112", {"priority": True}),
        ("SNB-112", {"priority": 10**30}),
        ("SNB-112", {"retry": -1}),
        ("SNB-112", {"retry": "x"}),
        ("SNB-112", {"retry": True}),
        ("SNB-113", {"timeout": 0}),
        ("SNB-113", {"timeout": -1}),
        ("SNB-113", {"timeout": "soon"}),
        ("SNB-113", {"timeout": float("nan")}),
        ("SNB-113", {"timeout": float("inf")}),
        ("SNB-113", {"timeout": 10**400}),
        ("SNB-113", {"timeout": True}),
        ("SNB-113", {"timeout": [1]}),
        ("SNB-113", {"duration": -0.1}),
        ("SNB-114", {"env": "1A"}),
        ("SNB-114", {"env": "A=1"}),
        ("SNB-114", {"env": ""}),
        ("SNB-114", {"env": ["A", 5]}),
        ("SNB-115", {"name": ""}),
        ("SNB-115", {"name": " "}),
        ("SNB-115", {"name": "a\nb"}),
        ("SNB-115", {"name": "a\rb"}),
        ("SNB-115", {"name": "a\0b"}),
        ("SNB-115", {"name": ["a"]}),
        ("SNB-115", {"after": ""}),
        ("SNB-115", {"after": [...]}),
        ("SNB-116", {"shell": " "}),
        ("SNB-116", {"shell": "bash 'x"}),
        ("SNB-116", {"shell": ["bash", 5]}),
        ("SNB-116", {"shell": ("a\0",)}),
        ("SNB-116", {"shell": 5}),
        ("SNB-118", {"action": "run"}),
        ("SNB-118", {"action": ""}),
        ("SNB-119", {"pools": "test"}),
        ("SNB-119", {"input": "a"}),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:40],
)
def test_a_mistake_is_refused_with_its_code_and_a_fix(code, options):
    error = refusal(spec, **options)
    assert error.code == code
    assert error.fix
    assert all(len(words) < 400 and words.isprintable() for words in (error.what, error.why, error.fix))


def test_a_misspelt_option_gets_a_hint():
    assert "did you mean 'pool'?" in refusal(spec, pools="x").what
    assert "did you mean 'runsh'?" in refusal(spec, action="runsch").what


def test_what_cannot_be_shown_is_shown_escaped():
    error = refusal(spec, pool="a\x1b[2J\u202e\udcff")
    assert error.what == r"'a\x1b[2J\u202e\udcff' is no name for a pool."


def test_an_output_outside_is_allowed_where_the_user_says_so():
    found = make_spec("runsh", "true", {"out": ["../b", "/tmp/a"]}, root=ROOT, is_outside_allowed=True)
    assert found.out == ("/home/me/b", "/tmp/a")


def test_an_input_may_lie_anywhere():
    assert spec(inp=["../b", "/tmp/a"]).inp == ("/home/me/b", "/tmp/a")


@pytest.mark.parametrize(
    ("size", "slots"),
    [(None, None), ("none", None), (" None ", None), (0, 0), ("0", 0), (3, 3), (" 12 ", 12)],
)
def test_a_pool_has_a_whole_number_of_slots_or_no_limit(size, slots):
    assert pool_size(size) == slots


@pytest.mark.parametrize(
    "size", [-1, "-1", 1.5, "1.5", "x", "", True, [], "²", "1e3", 10**30, MOST + 1, "9" * 5000, float("nan")]
)
def test_any_other_size_is_refused(size):
    error = refusal(pool_size, size)
    assert error.code == "SNB-111"
    assert "no size for a pool" in error.what


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", None, 5, "a\n"])
def test_a_name_that_no_pool_can_have_is_refused(name):
    assert refusal(pool_name, name).code == "SNB-110"


@pytest.mark.parametrize(
    ("pool", "found"),
    [
        (None, {}),
        ([], {}),
        ("test", {"test": 1}),
        (" mem:4 ", {"mem": 4}),
        (["mem:4", {"lic": 2}, ["test"]], {"lic": 2, "mem": 4, "test": 1}),
        ({"mem": "3"}, {"mem": 3}),
        (["a", "a"], {"a": 2}),
    ],
)
def test_pools_are_asked_for_in_many_ways(pool, found):
    assert dict(pool_requests(pool)) == found


def test_resources_are_another_way_and_add_up_with_pools():
    assert dict(pool_requests("gpu", "gpu:1, mem:4")) == {"gpu": 2, "mem": 4}
    assert dict(pool_requests(None, {"gpu": 1})) == {"gpu": 1}


def test_the_number_of_slots_is_bounded_and_the_error_says_where():
    assert (
        refusal(pool_requests, f"mem:{MOST_SLOTS + 1}").fix == f"give a whole number from 1 to {MOST_SLOTS}"
    )


@pytest.mark.parametrize(("value", "number"), [(0, 0), ("+5", 5), ("-5", -5), (-7, -7)])
def test_whole_numbers_are_read(value, number):
    assert whole_number(value, "priority") == number


@pytest.mark.parametrize(("value", "number"), [(0, 0.0), ("1e-3", 0.001), (2, 2.0), ("7.5", 7.5)])
def test_times_are_read(value, number):
    assert seconds(value, "--timeout") == number


# --- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "options", "result"),
    [
        ("cat ${inp} > $out", {"inp": ["b c", "a"], "out": "o"}, "cat 'b c' a > o"),
        ("echo ${inp}", {}, "echo ${inp}"),
        ("echo ${inp} ${vol}", {"vol": "v"}, "echo ${inp} v"),
        ("echo $$ $${inp}", {"inp": "a"}, "echo $$ $${inp}"),
        ("echo $input ${inp:-x}", {"inp": "a"}, "echo $input ${inp:-x}"),
        ("cat ${inp}", {"inp": "x.txt", "workdir": "sub"}, "cat x.txt"),
        ("cat ${inp}", {"inp": "$(rm -rf x)'"}, """cat '$(rm -rf x)'"'"''"""),
        ("\n  a\n\tb\n\n", {}, "  a\n\tb"),
    ],
)
def test_lists_are_put_in_where_they_are_declared(command, options, result):
    assert spec(command, **options).command == result


def test_the_length_counts_after_the_lists_were_put_in():
    assert refusal(spec, "echo " + "${inp} " * 2000, inp="x" * 100).code == "SNB-101"


def test_a_command_runs_in_its_shell():
    assert argv(spec("a | b")) == ["/bin/sh", "-c", "a | b"]
    assert argv(spec("a | b", shell=SCRIPT_SHELL)) == ["bash", "-eo", "pipefail", "-c", "a | b"]
    assert argv(spec("x", shell="python -c")) == ["python", "-c", "x"]
    assert argv(spec("x", shell=["perl", "-e"])) == ["perl", "-e", "x"]


def test_a_copy_is_no_matter_of_a_shell():
    assert argv(spec("'a b' -c", action="copy")) == ["cp", "-p", "--", "a b", "-c"]


# --- paths -----------------------------------------------------------------------------------------

parts = st.sampled_from(
    ["", ".", "..", "a", "b.txt", "ü", " ", "~", "-rf", "a\nb", "\udcff", "...", "x" * 50]
)
paths = st.builds("/".join, st.lists(parts, min_size=1, max_size=6)) | st.text(st.characters(), max_size=20)


def taken(call, *args, **options):
    """Return what a call returns and no code, or None and the code of its refusal."""
    try:
        return call(*args, **options), ""
    except UsageError as error:
        return None, error.code


@given(paths, st.sampled_from([".", "sub", "../other", "/tmp", "a/../b"]))
@example("//home/me/project/a", ".")
@example("./ ", ".")
@example("/home/me/project/ ", ".")
@example("///home/me/project/a", ".")
def test_a_path_has_one_name(path, workdir):
    found, code = taken(path_in, ROOT, workdir, path)
    assert code in ("", "SNB-102")
    if found is not None and not found.startswith("~"):
        # Normalised once is normalised for ever, and however it is spelt.
        assert path_in(ROOT, ".", found) == found
        assert path_in(ROOT, ".", posixpath.join(ROOT, found)) == found
        assert path_in(ROOT, ".", "/" + posixpath.join(ROOT, found)) == found
        assert path_in(ROOT, "sub/deep", posixpath.join("../..", found)) == found


@given(paths)
def test_nothing_gets_out_of_the_root_unseen(path):
    found, _ = taken(path_in, ROOT, ".", path)
    if found is not None:
        assert found.startswith("/") or ".." not in found.split("/")
        assert found.startswith("/") == (not (posixpath.join(ROOT, found) + "/").startswith(ROOT + "/"))


@given(paths)
def test_an_output_is_below_the_root_or_refused(path):
    found, code = taken(spec, out=[path])
    if found is None:
        assert code in ("SNB-102", "SNB-103", "SNB-104")
    else:
        (output,) = found.out
        assert not output.startswith("/")
        assert ".." not in output.split("/")
        assert output not in ("", ".")


def test_the_root_may_be_given_in_any_spelling():
    for root in (ROOT, ROOT + "/", "/" + ROOT, "/home/me/../me/project"):
        assert path_in(root, ".", ROOT + "/a") == "a"
        assert path_in(root, ".", "a") == "a"
        assert path_in(root, ".", "../a") == "/home/me/a"
    assert path_in("/", ".", "/a/b") == "a/b"
