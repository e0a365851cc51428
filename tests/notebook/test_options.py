"""What a magic's line means: options, words, and ``{expr}``."""

from __future__ import annotations

import pytest

from stepup_nb.core.declare import OPTIONS, Option, make_spec
from stepup_nb.core.errors import UsageError
from stepup_nb.core.model import PoolRequest
from stepup_nb.notebook.options import expand, is_silenced, parse, parse_words, without_silencer

COUNT = Option(("-n", "--count"), "N", "how often")
WORDS = (COUNT, Option(("--all",), "", "all of them"))


def read(text: str) -> tuple[dict[str, object], str]:
    line = parse(text, OPTIONS, magic="%runsh")
    return line.options, line.rest


def refusal(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(text, OPTIONS, magic="%runsh")
    assert caught.value.code == "SNB-107"
    return caught.value


# --- options first, then the command --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("--name cut", {"name": "cut"}),
        ("-p test", {"pool": ["test"]}),
        ("--pool test --pool mem:4", {"pool": ["test", "mem:4"]}),
        ("--resources gpu:1,mem:4", {"resources": "gpu:1,mem:4"}),
        ("-i a b", {"inp": ["a", "b"]}),
        ("--inp a --inp b c", {"inp": ["a", "b", "c"]}),
        ("-o a", {"out": ["a"]}),
        ("--out a b", {"out": ["a", "b"]}),
        ("--vol log", {"vol": ["log"]}),
        ("--env MODE LANG", {"env": ["MODE", "LANG"]}),
        ("-C sub", {"workdir": "sub"}),
        ("--workdir sub", {"workdir": "sub"}),
        ("--after cut 'runsh echo A'", {"after": ["cut", "runsh echo A"]}),
        ("--optional", {"optional": True}),
        ("--block", {"block": True}),
        ("--priority 3", {"priority": "3"}),
        ("--duration 2.5", {"duration": "2.5"}),
        ("--timeout 60", {"timeout": "60"}),
        ("--retry 2", {"retry": "2"}),
        ("--shell 'bash -eu'", {"shell": "bash -eu"}),
        ("--force", {"force": True}),
    ],
)
def test_every_option_of_a_step_is_understood(text: str, options: dict[str, object]) -> None:
    assert read(f"{text} -- echo A") == (options, "echo A")


def test_every_option_in_the_table_is_in_the_test_above() -> None:
    tested = test_every_option_of_a_step_is_understood.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {flag for option in OPTIONS for flag in option.flags} <= {
        word for text, _ in tested for word in text.split() if word.startswith("-")
    }


def test_what_is_read_can_be_declared() -> None:
    options, command = read("-p mem:4 -i a.txt -o b.txt --priority -1 -- sort ${inp} > ${out}")
    spec = make_spec("runsh", command, options, root="/work")
    assert spec.command == "sort a.txt > b.txt"
    assert (spec.pool, spec.priority) == ((PoolRequest("mem", 4),), -1)


def test_the_command_begins_where_the_options_end_and_is_kept_as_written() -> None:
    command = "echo  'a  b' \"$HOME\" --out x; ls | wc"
    assert read(f"-p test   {command}  ") == ({"pool": ["test"]}, command)


def test_two_dashes_end_the_options() -> None:
    assert read("--out a -- --version") == ({"out": ["a"]}, "--version")
    assert read("--") == ({}, "")
    assert read("-- -- a") == ({}, "-- a")


def test_an_option_with_several_words_takes_all_words_up_to_the_next_option() -> None:
    assert read("-i a b -o c -- d") == ({"inp": ["a", "b"], "out": ["c"]}, "d")


def test_an_equals_sign_may_stand_before_a_value() -> None:
    assert read("--name=cut --out=a=b.txt echo") == ({"name": "cut", "out": ["a=b.txt"]}, "echo")
    assert read("--name='my step' echo") == ({"name": "my step"}, "echo")


def test_quotes_and_backslashes_make_one_word_of_several() -> None:
    assert read(r"""--out 'a b' "c d" e\ f -- g""") == ({"out": ["a b", "c d", "e f"]}, "g")


def test_a_number_may_be_negative() -> None:
    assert read("--priority -1 echo") == ({"priority": "-1"}, "echo")


def test_a_lone_dash_begins_the_command() -> None:
    assert read("- x") == ({}, "- x")


def test_an_option_may_span_lines_of_a_text() -> None:
    assert read("--out a\n b\n --force") == ({"out": ["a", "b"], "force": True}, "")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("--poll", "--pool"), ("--ouput", "--out"), ("--time", "--timeout"), ("-inp", "--inp")],
)
def test_an_unknown_option_is_refused_with_the_one_that_may_be_meant(given: str, meant: str) -> None:
    error = refusal(f"{given} x echo")
    assert error.what == f"'%runsh' has no option '{given}'; did you mean '{meant}'?"
    assert error.fix.startswith("'%runsh?' lists all options")


def test_an_option_like_no_other_is_refused_without_a_guess() -> None:
    assert refusal("--bogus x").what == "'%runsh' has no option '--bogus'."


@pytest.mark.parametrize("text", ["--name", "--out", "--out -- echo", "--name -- echo", "-i -o a"])
def test_an_option_without_its_value_is_refused(text: str) -> None:
    assert refusal(text).what.endswith("has no value.")


def test_a_switch_takes_no_value() -> None:
    assert refusal("--force=yes echo").what == "'--force' of '%runsh' takes no value."


def test_what_can_be_given_once_is_not_given_twice() -> None:
    assert refusal("--name a --name b echo").what == "'--name' of '%runsh' is given twice."


@pytest.mark.parametrize(
    "text", ["--name 'cut echo", '--name "cut', "'echo", "--out a'b -- x", "--name cut\\"]
)
def test_a_quote_that_is_not_closed_is_refused(text: str) -> None:
    assert refusal(text).what == "A quote in the line of '%runsh' is not closed."


def test_a_quote_in_the_command_is_the_shells_matter() -> None:
    assert read("--force echo don't") == ({"force": True}, "echo don't")


# --- words and options in any order ---------------------------------------------------------------


def test_words_and_options_may_come_in_any_order() -> None:
    line = parse_words("'a b' --count 3 c --all d", WORDS, magic="%stepup wait")
    assert (line.words, line.options) == (("a b", "c", "d"), {"count": "3", "all": True})


def test_after_two_dashes_everything_is_a_word() -> None:
    assert parse_words("a -- --all -n", WORDS, magic="%stepup wait").words == ("a", "--all", "-n")


def test_an_empty_line_has_no_words() -> None:
    assert parse_words("  ", WORDS, magic="%stepup wait").words == ()


def test_an_empty_word_is_a_word() -> None:
    assert parse_words("'' a", WORDS, magic="%stepup wait").words == ("", "a")


def test_an_unknown_option_among_words_is_refused() -> None:
    with pytest.raises(UsageError, match="has no option '--al'; did you mean '--all'"):
        parse_words("a --al", WORDS, magic="%stepup wait")


# --- the semicolon --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "bare"),
    [
        ("echo A;", "echo A"),
        (" echo A ; ", "echo A"),
        ("echo A", "echo A"),
        ("find . -exec ls {} \\;", "find . -exec ls {} \\;"),
        ("find . -exec ls {} \\; ;", "find . -exec ls {} \\;"),
        ("echo 'A;'", "echo 'A;'"),
    ],
)
def test_the_semicolon_that_silences_a_value_is_no_part_of_the_line(line: str, bare: str) -> None:
    assert without_silencer(line) == bare
    assert is_silenced(line) == (bare != line.strip())


# --- {expr} ---------------------------------------------------------------------------------------

NAMES = {"x": 7, "name": "a b", "d": {"k": "v", "}": "brace"}, "parts": ["p", "q"]}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("echo {x}", "echo 7"),
        ("echo { x }", "echo 7"),
        ("{x}{x}-{name}", "77-a b"),
        ("echo {d['k']} {x + 1}", "echo v 8"),
        ("echo {d['}']}", "echo brace"),
        ("echo {{x}}", "echo {x}"),
        ("awk '{{print ${x}}}' f", "awk '{print ${x}}' f"),
        ("awk '{{print $1, {x}}}' f", "awk '{print $1, 7}' f"),
        ("{f'{x:03}'}", "007"),
        ("{ {'a': x}['a'] }", "7"),
        ("{len(parts)} {[p + name for p in parts][1]}", "2 qa b"),
    ],
)
def test_an_expression_in_braces_becomes_its_value(text: str, expanded: str) -> None:
    assert expand(text, NAMES, magic="%runsh") == expanded


@pytest.mark.parametrize(
    "text",
    [
        "sort ${inp} > ${out}",
        "echo ${x} ${undefined}",
        "echo ${a:-${b}} ${#list[@]}",
        "echo ${a:-{x}}",
        "find . -exec ls {} \\;",
        "xargs -I{} echo {}",
        "echo { x",
        "echo } x",
        "echo $HOME $(ls) $$",
        "",
    ],
)
def test_what_belongs_to_the_shell_is_left_alone(text: str) -> None:
    assert expand(text, NAMES, magic="%runsh") == text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("echo {y}", "'{y}' in '%runsh' has no value."),
        ("echo {x} {y + 1}", "'{y + 1}' in '%runsh' has no value."),
        ("echo {d['absent']}", "'{d['absent']}' in '%runsh' has no value."),
        ("awk '{print $1}' f", "'{print $1}' in '%runsh' is no Python expression."),
        ("awk '{print}' f", "'{print}' in '%runsh' is a function, and no text."),
        ("cp a.{1..3} b", "'{1..3}' in '%runsh' is no Python expression."),
    ],
)
def test_braces_without_a_value_are_refused_and_say_how_to_write_braces(text: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        expand(text, NAMES, magic="%runsh")
    assert (caught.value.code, caught.value.what) == ("SNB-108", what)
    assert "'{{' and '}}'" in caught.value.fix


def test_an_undefined_name_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        expand("echo {folder}", NAMES, magic="%runsh")
    assert caught.value.why == "name 'folder' is not defined"


def test_an_expression_leaves_the_names_alone() -> None:
    names = dict(NAMES)
    expand("{(z := x)}", names, magic="%runsh")
    assert names == NAMES


def test_a_long_text_full_of_braces_is_read_in_a_moment() -> None:
    """A body with --expand may be a program in another language."""
    with pytest.raises(UsageError, match="is no Python expression"):
        expand("int f() { return 1; }\n" * 20_000, {}, magic="%%runsh")
    assert expand("{{ return {x}; }}\n" * 20_000, NAMES, magic="%%runsh") == "{ return 7; }\n" * 20_000
