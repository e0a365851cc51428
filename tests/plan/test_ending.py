"""When an interpreter may leave at once: only where no object of the script has an end that anybody could see."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stepup_nb.plan import ending

PROGRAM = """
import gc, os, sys
sys.path.insert(0, sys.argv[1])
from ending import Ending
ending = Ending()
gc.collect()
gc.freeze()
ending.begin()
script = sys.modules["__main__"] = type(sys)("__main__")
exec(compile(sys.argv[2], "script", "exec"), script.__dict__)
def say(words, exit=os._exit):
    os.write(getattr(script, "out", 1), words)
    exit(0)
ending._exit = lambda status: say(b"at once")
ending.leave(0)
say(b"as Python does")
"""


def end_of(code: str, folder: Path) -> str:
    """Run a script in an interpreter that has been frozen before; return how it may end."""
    words = [sys.executable, "-c", PROGRAM, str(Path(ending.__file__).parent), textwrap.dedent(code)]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=True, env=variables)
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "",
        "x = [1, {'a': (2, 'b')}, {3}, b'c', 1.5]; f = lambda: x; x.append(x)",
        "class A:\n    __slots__ = ('b',)\n    def f(self): return 1\na = A(); a.b = a; g = a.f",
        "with open('there', 'w') as file: file.write('x')",
        "import io; b, s = io.BytesIO(b'x'), io.StringIO('x')",
        "import json, re, math, datetime, decimal, collections; d = json.loads('{}'), re.compile('a+').match('aa')",
        "import dataclasses, enum, functools, pathlib, hashlib, random, struct, csv, argparse, textwrap, shutil",
        "import abc, typing, contextlib, itertools; g = itertools.count(); n = iter([1]); list(x for x in 'ab')",
        "g = (x for x in 'ab'); list(g)",
        "try: 1 / 0\nexcept ZeroDivisionError as e: error = e",
        "import subprocess; subprocess.run(['true'])",
        "import weakref, collections.abc; s = weakref.WeakSet(); k = type('K', (), {}); s.add(k); r = weakref.ref(k)",
        # One that has been joined may be there for a moment yet.
        "import os, threading; t = threading.Thread(target=int); t.start(); t.join()\n"
        "while len(os.listdir('/proc/self/task')) > 1: pass",
        "import threading; t = threading.local(); t.x = 1",
        "import weakref\nclass A: pass\na = A(); d = weakref.WeakValueDictionary(a=a)",
    ],
)
def test_a_script_that_leaves_nothing_open_may_stop_at_once(code, tmp_path):
    assert end_of(code, tmp_path) == "at once"


@pytest.mark.parametrize(
    "code",
    [
        "file = open('there', 'w'); file.write('x')",
        "file = open('/dev/null', 'rb', buffering=0)",
        "import gzip; file = gzip.open('there', 'w'); file.write(b'x')",
        "import tempfile; file = tempfile.NamedTemporaryFile()",
        "import tempfile; folder = tempfile.TemporaryDirectory()",
        "class A:\n    def __del__(self): print('end')\na = A()",
        "class A:\n    def __del__(self): print('end')\nclass B(A): pass\nb = [B()]; b.append(b); del b",
        "class A:\n    __slots__ = ()\n    def __del__(self): print('end')\na = A()",
        "class A:\n    def __del__(self): print('end')\nimport sys; sys.hidden = A()",
        "class A:\n    def __del__(self): print('end')\ndef f(a=A()): pass",
        "class M(type):\n    def __del__(cls): print('end')\nclass A(metaclass=M): pass",
        "def f():\n    try: yield\n    finally: print('end')\ng = f(); next(g)",
        "async def f(): pass\nc = f()",
        "import contextlib\n@contextlib.contextmanager\ndef f(): yield\nf().__enter__()\nc = f(); c.__enter__()",
        "import weakref\nclass A: pass\na = A(); r = weakref.ref(a, lambda r: print('end'))",
        "import weakref\nclass A: pass\na = A(); r = weakref.ref(a, print)",
        "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'end')",
        "import atexit; atexit.register(print, 'end')",
        "import logging; logging.basicConfig(filename='there')",
        "import threading, time; threading.Thread(target=time.sleep, args=(0.1,)).start()",
        "import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "import multiprocessing.pool",
        "import asyncio",
        "import sqlite3",
        "import ctypes",
        "import gc; gc.callbacks.append(print)",
        "import gc; gc.set_debug(gc.DEBUG_STATS)",
        "import gc; class_ = type('A', (), {'__del__': print}); a = class_(); gc.collect(); gc.freeze()",
        "import gc; gc.unfreeze()",
        "import gc, sys; sys.path_importer_cache.clear(); f = open('there', 'w'); gc.freeze()",
        "import weakref\nclass A: pass\na = A(); p = weakref.proxy(a)",
        "import weakref\nclass A:\n    def f(self): pass\na = A(); m = weakref.WeakMethod(a.f, print)",
        "import threading; threading._register_atexit(print, 'end')",
        "import io\nclass R(io.RawIOBase):\n    def writable(self): return True\n"
        "t = io.TextIOWrapper(io.BufferedWriter(R()))",
        "x = [[] for _ in range(200_000)]",
        "import sys; sys.stdout.flush = lambda: None",
        "import sys\ndef hook(name, args):\n    if name == 'gc.get_objects': sys.exit(7)\nsys.addaudithook(hook)",
        "import sys, io; sys.stdout = io.TextIOWrapper(io.BytesIO())",
        "import sys; sys.stdout.close(); sys.stdout = sys.__stdout__ = open('/dev/full', 'w')",
        "import socket; s = socket.socket()",
    ],
)
def test_a_script_with_an_end_that_somebody_could_see_ends_as_python_does(code, tmp_path):
    assert end_of(code, tmp_path) == "as Python does"


def test_an_output_that_takes_nothing_more_is_told_by_python(tmp_path):
    code = "import os; out = os.dup(1); os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('x')"
    assert end_of(code, tmp_path) == "as Python does"
