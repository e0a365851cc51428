"""Rendering templates: the step that is declared, and what it does."""

import pytest

from stepup_nb.plan.jinja import main, render_jinja


@pytest.mark.parametrize(
    ("args", "options", "line"),
    [
        (("a.txt", "v.json", "o.txt"), {}, "a.txt v.json o.txt inp=['a.txt', 'v.json'] out=['o.txt']"),
        (
            ("d/a.txt", {"a": 1}, "o/"),
            {},
            "d/a.txt o/a.txt --json='{\"a\": 1}' inp=['d/a.txt'] out=['o/a.txt']",
        ),
        (
            ("a.txt", {"a": 1}, "v.json", {"b": "it's"}, {"a": 3}, "v.py", "./q/../o.txt"),
            {"mode": "latex", "optional": True},
            'a.txt v.json v.py o.txt --mode=latex --json=\'{"a": 3, "b": "it\'"\'"\'s"}\''
            " inp=['a.txt', 'v.json', 'v.py'] out=['o.txt'] optional=True",
        ),
        (("a b.txt", "v.json", {}, "o"), {}, "'a b.txt' v.json o inp=['a b.txt', 'v.json'] out=['o']"),
    ],
)
def test_the_step_is_the_one_that_stepup_declares(calls, args, options, line):
    render_jinja(*args, **options)
    assert calls == [f"step render-jinja {line}"]


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        (("a.txt", "o.txt"), ValueError, "At least three positional arguments must be given"),
        (("a.txt", {}, "o.txt"), ValueError, "At least one file with variable definitions needed"),
        (("a.txt", {"a": 1}, "a.txt"), ValueError, "The output path cannot equal the input path"),
        (("a.txt", 3, "o"), TypeError, "must be strings .paths. or dictionaries"),
        (({}, "v.json", "o"), TypeError, "The template argument must be a string"),
        (("a.txt", "v.json", {}), TypeError, "The destination argument must be a string"),
        (("a.txt", {"a": {1}}, "o"), TypeError, "not JSON serializable"),
    ],
)
def test_wrong_arguments_are_refused_in_the_words_of_stepup(calls, args, kind, words):
    with pytest.raises(kind, match=words):
        render_jinja(*args)
    with pytest.raises(ValueError, match="Unsupported mode 'foo'"):
        render_jinja("a.txt", {"a": 1}, "o", mode="foo")
    assert calls == []


@pytest.fixture
def template(calls, tmp_path):
    pytest.importorskip("jinja2")
    path = tmp_path / "t.txt"
    path.write_text(
        "{{ a }} <<a>> {# c #}<# d #>\n{% if b %}\nyes\n{% endif %}\n<% if b %>\nYES\n<% endif %>\nend\n"
    )
    path.chmod(0o750)
    (tmp_path / "v.json").write_text('{"a": 1, "b": true}')
    return path


PLAIN = "1 <<a>> <# d #>\nyes\n<% if b %>\nYES\n<% endif %>\nend\n"
LATEX = "{{ a }} 1 {# c #}{% if b %}\nyes\n{% endif %}\nYES\nend\n"


@pytest.mark.parametrize(
    ("output", "options", "text"),
    [
        ("o.txt", [], PLAIN),
        ("o.tex", [], LATEX),
        ("o.txt", ["--mode=latex"], LATEX),
        ("o.tex", ["--mode=plain"], PLAIN),
    ],
)
def test_delimiters_follow_the_mode_or_the_name_of_the_output(template, tmp_path, output, options, text):
    assert main(["t.txt", "v.json", output, *options]) == 0
    assert (tmp_path / output).read_text() == text


def test_the_output_may_be_executed_if_the_template_may(template, tmp_path):
    main(["t.txt", "v.json", "o.txt"])
    assert (tmp_path / "o.txt").stat().st_mode & 0o777 == 0o750


def test_variables_on_the_command_line_win(template, tmp_path):
    main(["t.txt", "v.json", "o.txt", '--json={"a": "over"}'])
    assert (tmp_path / "o.txt").read_text().startswith("over <<a>>")


def test_a_variable_that_is_not_defined_is_an_error(template, tmp_path):
    jinja2 = pytest.importorskip("jinja2")
    with pytest.raises(jinja2.UndefinedError, match="'b' is undefined"):
        main(["t.txt", "o.txt", '--json={"a": 1}'])
    assert not (tmp_path / "o.txt").exists()


def test_what_was_rendered_read_only_is_rendered_again(template, tmp_path):
    template.chmod(0o440)
    for value in ("1", "2"):
        main(["t.txt", "v.json", "o.txt", f'--json={{"a": {value}}}'])
    assert (tmp_path / "o.txt").read_text().startswith("2 ")


def test_paths_of_python_variables_are_relative_to_the_output(template, tmp_path):
    pytest.importorskip("path")
    (tmp_path / "o").mkdir()
    (tmp_path / "v.py").write_text("from path import Path\nimg = Path('img.png')\n")
    (tmp_path / "p.txt").write_text("{{ img }}")
    main(["p.txt", "v.py", "o/p.txt"])
    assert (tmp_path / "o" / "p.txt").read_text() == "../img.png"
