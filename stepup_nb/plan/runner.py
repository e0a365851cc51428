"""Runs a Python script for a ``runpy`` step, and tells the director which local modules it loaded.

``python runner.py SCRIPT ARGS...`` or ``python runner.py -c CODE ARGS...``. A program of its own, started
for every such step and perhaps by an interpreter that knows no stepup_nb: it imports nothing that Python
has not loaded already, and leaves no trace of itself in what the script sees, nor in its tracebacks.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # that of typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

DEFAULT_FILTER = "-venv"
"""What ``STEPUP_PATH_FILTER`` is when it is not set (StepUp 3.0)."""

_CLIENT = "stepup_nb.client.job"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_sockets: Any = None
"""`_socket`, where this process has it without its being imported."""
_ending: Any = None
"""What knows how this process may end, where it was forked; see `stepup_nb.plan.ending`."""


def main(argv: list[str]) -> int:
    """Run the script and return the exit code; raise SystemExit where the script does."""
    if argv[:1] == ["--wait-for-steps"]:
        argv = _awaited(argv)
    root = os.environ.get("STEPUP_ROOT") or os.getcwd()
    script = None
    if not argv:
        print("usage: runner.py SCRIPT [ARGS...] | -c CODE [ARGS...]", file=sys.stderr)
        return 64
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # our own folder
    if argv[0] == "-c" and len(argv) > 1:
        code, sys.argv = argv[1], ["-c", *argv[2:]]
        sys.path.insert(0, "")
    else:
        script = argv[0]
        if not has_shebang(script):
            print(f"Script does not start with a shebang: {script} (wd={os.getcwd()})", file=sys.stderr)
            return 1
        code, sys.argv = "", list(argv)
        folder = os.path.dirname(os.path.abspath(script))
        # StepUp pipes scripts into `python -`: they find the modules of the working directory as well.
        sys.path[:0] = [folder] if os.path.realpath(folder) == os.path.realpath(".") else [folder, ""]
    try:
        done = _run(code, script)
    except SystemExit as end:
        if _amend(root, script) and end.code in (None, 0):
            # It ended well, but without an input that it has read.
            return 1
        raise
    except BaseException:
        _amend(root, script)
        raise
    return _amend(root, script) or done


def _awaited(argv: list[str]) -> list[str]:
    """Wait for a step, and return its words; see `stepup_nb.plan.warm`, which lies beside this file."""
    global _sockets, _ending
    from warm import wait  # type: ignore[import-not-found]

    words: list[str]
    words, _sockets, _ending = wait(argv, _practise)
    return words


def _practise() -> None:
    """Do what each step does, to no effect."""
    exec(compile("", "<string>", "exec", dont_inherit=True), {})
    has_shebang(__file__)
    try:
        local_modules(_PACKAGE)
    except ValueError:
        # Each step will say what is wrong with the filter.
        pass


def _amend(root: str, script: str | None) -> int:
    try:
        amend_modules(root, script)
    except Exception as error:
        # The text alone helps: that nobody has declared a module static, for instance.
        sys.stdout.flush()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def has_shebang(script: str) -> bool:
    """Return whether a file may be run as a script. What does not exist passes: Python has a good error for that."""
    if not os.path.isfile(script):
        return True
    if not os.access(script, os.X_OK):
        return False
    try:
        with open(script, "rb") as file:
            return file.read(3) == b"#!/"
    except OSError:
        return True


def _run(code: str, script: str | None) -> int:
    module = type(sys)("__main__")
    names = module.__dict__
    names["__builtins__"] = __builtins__
    if script is not None:
        names["__file__"] = script
        names["__cached__"] = None
    # Kept alive by this frame: our own functions live in the module that it takes the place of.
    sys.modules["__main__"] = module
    try:
        if script is not None:
            with open(script, "rb") as file:
                # As bytes: the file says itself in which encoding it is.
                source: str | bytes = file.read()
        else:
            source = code
        exec(compile(source, script or "<string>", "exec", dont_inherit=True), names)
    except SystemExit:
        raise
    except BaseException as error:
        _show(error)
        if isinstance(error, KeyboardInterrupt):
            # Python ends as the signal would have ended it, once this one is not caught.
            sys.excepthook = lambda *_: None
            raise
        return 1
    return 0


def _show(error: BaseException) -> None:
    """Show an exception as Python does for a script that it runs itself: without the frames of this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error.__traceback__ = trace
    sys.stdout.flush()
    sys.excepthook(type(error), error, trace)


def amend_modules(root: str, script: str | None = None) -> None:
    """Have the step depend on the local modules that this process has loaded.

    Parameters
    ----------
    root
        Absolute path that the rules of ``STEPUP_PATH_FILTER`` are relative to.
    script
        What was run, as the command line has it; the director is told of it even if nothing else was loaded.
    """
    if not os.environ.get("STEPUP_DIRECTOR_SOCKET"):
        return
    modules = local_modules(root)
    if _CLIENT not in sys.modules and _say_read(modules, script):
        return
    search = list(sys.path)
    if "stepup_nb" not in sys.modules:
        sys.path.append(os.path.dirname(_PACKAGE))
    try:
        from stepup_nb.client.job import amend_read
    except ImportError:
        return
    finally:
        sys.path[:] = search
    amend_read(modules, script)


def _say_read(modules: list[str], script: str | None) -> bool:
    """Do what `stepup_nb.client.job.amend_read` does, without importing it; return whether the director has agreed.

    The client takes longer to import than Python to start. Where anything is out of the ordinary, it is to try itself.
    """
    variables = os.environ
    job = variables.get("STEPUP_NB_JOB", "")
    if not (job.isascii() and job.isdigit()):
        return False
    top = (variables.get("STEPUP_ROOT") or os.getcwd()).rstrip("/") + "/"
    own = []
    if not modules and not script:
        return True
    if script:
        place = os.path.join(top, variables.get("HERE") or ".", script)
        own.append(os.path.normpath(place).removeprefix(top))

    token = variables.get("STEPUP_NB_TOKEN", "")
    inp = [path.removeprefix(top) for path in modules]
    if not all(
        word.isascii() and word.isprintable() and not {'"', "\\"} & set(word) for word in (token, *inp, *own)
    ):
        return False
    paths, optional = (",".join(f'"{word}"' for word in words) for words in (inp, own))
    bodies = (
        f'{{"id":1,"op":"hello","hello":"{token}","job":{int(job)}}}',
        f'{{"id":2,"op":"Amend","inp":[{paths}],"optional":[{optional}],"is_read":true}}',
    )
    sockets = _sockets
    if sockets is None:
        # C, and quick to load. Not earlier: a script is to find nothing loaded that it has not asked for.
        import _socket as sockets
    sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        sock.connect(variables["STEPUP_DIRECTOR_SOCKET"])
        for body in bodies:
            sock.sendall(len(body).to_bytes(4, "big") + body.encode("ascii"))
        heard = b""
        for begin in (b'{"id":1,"ok":', b'{"id":2,"ok":'):
            while len(heard) < 4 or len(heard) < 4 + int.from_bytes(heard[:4], "big"):
                piece = sock.recv(1 << 16)
                if not piece:
                    return False
                heard += piece
            if not heard.startswith(begin, 4):
                return False
            heard = heard[4 + int.from_bytes(heard[:4], "big") :]
        return True
    except OSError:
        return False
    finally:
        sock.close()


def local_modules(root: str) -> list[str]:
    """Return the absolute paths of all loaded modules that belong to the project, sorted.

    Which these are is said by ``STEPUP_PATH_FILTER``: rules with colons between, ``+PREFIX`` or
    ``-PREFIX``, relative to the root; the first that is a prefix of the path decides; ``+.`` and ``-/``
    come last. Unlike in StepUp 3.0 a virtual environment of any name in the root is no part of the project,
    nor is a folder beside the root whose name begins as the root's.

    Raises
    ------
    ValueError
        A rule begins with neither sign.
    """
    real = os.path.realpath(root)
    rules = []
    for rule in os.environ.get("STEPUP_PATH_FILTER", DEFAULT_FILTER).split(":"):
        if rule and rule[0] not in "+-":
            raise ValueError(f"Invalid filter item: {rule}")
        if rule:
            # The last slash is part of the prefix; without one, '-venv' also means 'venv2'.
            end = "/" if rule.endswith("/") else ""
            rules.append((os.path.normpath(os.path.join(real, rule[1:])).rstrip("/") + end, rule[0] == "+"))
    top = real.rstrip("/") + "/"
    for folder in {_PACKAGE, sys.prefix, sys.base_prefix, sys.exec_prefix}:
        if os.path.realpath(folder).startswith(top):
            rules.append((os.path.realpath(folder) + "/", False))
    rules += [(top, True), ("/", False)]
    found = set()
    for name, module in list(sys.modules.items()):
        if name == "__main__":
            continue  # the script; StepUp 3.0 leaves it to inp=, too
        try:
            # Not by the module's own ways: one that is loaded lazily would be loaded then.
            path = object.__getattribute__(module, "__dict__").get("__file__")
        except AttributeError:
            continue
        if not isinstance(path, str) or not path:
            continue
        path = os.path.abspath(path)
        # Of a root that is reached by a link, modules may be known by the one name or the other.
        seen = real + path[len(root) :] if path.startswith(root.rstrip("/") + "/") else path
        if next(is_in for prefix, is_in in rules if seen.startswith(prefix)) and os.path.isfile(path):
            found.add(root.rstrip("/") + seen[len(real) :] if seen.startswith(top) else path)
    return sorted(found)


def _leave(code: object) -> None:
    """Stop at once with this exit code, where this process was forked and nobody can tell that from Python's end."""
    # Also asked where nothing depends on it: who traces, profiles or monitors sees the same in every step.
    is_watched = sys.gettrace() is not None or sys.getprofile() is not None or _is_monitored()
    status = 0 if code is None else code
    if _ending is not None and not is_watched and type(status) is int and 0 <= status < 256:
        _ending.leave(status)


def _is_monitored() -> bool:
    monitoring = getattr(sys, "monitoring", None)  # since Python 3.12
    return monitoring is not None and any(monitoring.get_tool(number) is not None for number in range(6))


if __name__ == "__main__":
    try:
        _code = main(sys.argv[1:])
    except SystemExit as _end:
        if type(_end) is SystemExit:
            _leave(_end.code)
        raise
    _leave(_code)
    sys.exit(_code)
