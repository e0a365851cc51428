"""Renders a Jinja template: the call that declares the step, and the program that the step runs.

``python -m stepup_nb.plan.jinja TEMPLATE [VARIABLES...] OUTPUT [--mode=MODE] [--json=TEXT]``, with what
follows ``render-jinja`` in the action string as its arguments.
"""

from __future__ import annotations

import json
import os
import posixpath
import shlex
import sys
from typing import Any

from stepup_nb.core.errors import UsageError
from stepup_nb.plan.exceptions import ArgumentError
from stepup_nb.plan.paths import normalise
from stepup_nb.plan.variables import subs_env_vars

MODES = ("auto", "plain", "latex")

LATEX = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}
"""Delimiters that do not mean anything to LaTeX already (StepUp 3.0)."""


def render_jinja(
    *args: str | dict[str, Any],
    mode: str = "auto",
    optional: bool = False,
    block: bool = False,
    **options: Any,
) -> Any:
    """Declare a step that renders a template.

    Parameters
    ----------
    args
        The template; one or more files with variables (see `loadns`) or dictionaries of them; and the
        output, where a slash at its end keeps the template's name. Dictionaries win over files, and later
        ones over earlier ones.
    mode
        ``plain`` has Jinja's own delimiters, ``latex`` those of `LATEX`, ``auto`` chooses by the output:
        ``latex`` for ``.tex``.
    optional, block, options
        As in `stepup_nb.api.step`.

    Returns
    -------
    StepInfo

    Raises
    ------
    ArgumentError
        SNB-135: there are fewer than three arguments, no variables, or there is no such mode.
    TypeError
        An argument is neither path nor dictionary, or JSON cannot hold the variables.
    """
    from stepup_nb import api

    if len(args) < 3:
        raise ArgumentError(
            "SNB-135",
            "At least three positional arguments must be given: the template, at least one file or dict with "
            f"variables, and the destination. There {'is 1' if len(args) == 1 else f'are {len(args)}'}.",
            "",
            "render_jinja('a.txt.j2', {'name': 'value'}, 'a.txt')",
        )
    if mode not in MODES:
        raise ArgumentError(
            "SNB-135",
            f"Unsupported mode '{mode}'. Must be one of 'auto', 'plain', 'latex'",
            "",
            "use one of them",
        )
    template, *given, destination = args
    if not isinstance(template, str | os.PathLike):
        raise TypeError("The template argument must be a string.")
    if not isinstance(destination, str | os.PathLike):
        raise TypeError("The destination argument must be a string.")
    variables: dict[str, Any] = {}
    files: list[str | os.PathLike[str]] = []
    for one in given:
        if isinstance(one, dict):
            variables.update(one)
        elif isinstance(one, str | os.PathLike):
            files.append(one)
        else:
            raise TypeError("The variables arguments must be strings (paths) or dictionaries.")
    if not files and not variables:
        raise ArgumentError(
            "SNB-135",
            "At least one file with variable definitions needed.",
            "the dictionaries are empty",
            "give variables, or copy() the file",
        )
    with subs_env_vars() as subs:
        inp = [subs(path) for path in (template, *files)]
        out = subs(destination)
        if str(out).endswith("/"):
            out = subs(posixpath.join(out, posixpath.basename(inp[0])))
    if out == inp[0]:
        raise ArgumentError(
            "SNB-135",
            f"The output path cannot equal the input path: {out}",
            "the template would be overwritten",
            "choose another destination",
        )
    words = ["render-jinja", *(shlex.quote(path) for path in (*inp, out))]
    if mode != "auto":
        words.append(f"--mode={mode}")
    if variables:
        words.append(f"--json={shlex.quote(json.dumps(variables))}")
    return api.step(" ".join(words), inp=inp, out=[out], optional=optional, block=block, **options)


def render(template: str, variables: dict[str, Any], output: str, mode: str = "auto") -> None:
    """Render a template into a file, which gets the mode bits of the template.

    Parameters
    ----------
    mode
        As in `render_jinja`.

    Raises
    ------
    UsageError
        SNB-136: Jinja is not installed.
    jinja2.TemplateError
        The template is wrong, or uses a variable that is not defined.
    """
    try:
        import jinja2
    except ImportError:
        raise UsageError(
            "SNB-136", f"'{template}' cannot be rendered.", "Jinja is not installed", "pip install jinja2"
        ) from None
    if mode == "auto":
        mode = "latex" if output.endswith(".tex") else "plain"
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        **(LATEX if mode == "latex" else {}),  # type: ignore[arg-type]
    )
    with open(template, encoding="utf-8") as file:
        source = file.read()
    # Compiled under its own name, so that a traceback shows the line of the template.
    code = environment.compile(source, filename=template)
    text = jinja2.Template.from_code(environment, code, environment.make_globals(None)).render(**variables)
    if os.path.exists(output) and not os.access(output, os.W_OK):
        # What an earlier run made of a template that is read-only.
        os.unlink(output)
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(output, os.stat(template).st_mode & 0o7777)


def main(argv: list[str] | None = None) -> int:
    """Render as the arguments say, and have the step depend on the local modules that Python variables imported."""
    import argparse

    parser = argparse.ArgumentParser(prog="render-jinja", description="Render a template with Jinja.")
    parser.add_argument("path_in", help="the template")
    parser.add_argument("paths_variables", nargs="*", help="files with variables; later ones win")
    parser.add_argument("path_out", help="the output")
    parser.add_argument("--mode", choices=MODES, default="auto", help="the style of the delimiters")
    parser.add_argument("--json", help="more variables, which win over those of the files")
    args = parser.parse_args(argv)

    from stepup_nb.plan.namespaces import loadns
    from stepup_nb.plan.paths import root
    from stepup_nb.plan.runner import amend_modules

    top = root()
    folder = posixpath.dirname(normalise(args.path_out)) or "."
    try:
        variables = vars(loadns(*args.paths_variables, dir_out=folder, do_amend=False))
        variables.update(json.loads(args.json or "{}"))
        render(args.path_in, variables, args.path_out, args.mode)
    except UsageError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        if any(path.endswith(".py") for path in args.paths_variables):
            amend_modules(top)
    return 0


if __name__ == "__main__":
    sys.exit(main())
