"""Tells whether an interpreter may just stop, because nobody could tell that from being taken apart.

Python ends by letting go of all that it has. In a process that was forked this copies each page of what the parent had
loaded, which costs more than a small script does. What a script can see of that end is what happens to its own objects:
files are written out, `__del__`, callbacks and ``finally`` run. Where none of its objects has anything of the kind, the
process may leave at once. In doubt the answer is no.

Beside `warm` and as that: imports nothing that Python has not loaded at its start or has built in.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # that of typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

_QUIET = frozenset(
    "_abc _ast _bisect _blake2 _bz2 _codecs _collections _contextvars _csv _datetime _decimal _functools _hashlib "
    "_heapq _imp _io _json _locale _lzma _md5 _opcode _operator _pickle _posixsubprocess _queue _random _sha1 _sha2 "
    "_sha256 _sha3 _sha512 _signal _socket _sre _stat _statistics _string _struct _symtable _thread _tokenize "
    "_tracemalloc _typing _uuid _warnings _weakref _zoneinfo array atexit binascii builtins cmath decimal errno "
    "fcntl gc grp itertools marshal math posix pwd pyexpat resource select sys termios time unicodedata zlib".split()
)
"""Modules in C whose objects end without a trace, unless they have a `__del__`, as files and sockets do."""

_HAS_GC = 1 << 14
"""Py_TPFLAGS_HAVE_GC: the collector knows the instances of such a class."""

_mro: Any = type.__dict__["__mro__"].__get__  # not as attributes: a metaclass may do anything then
_names: Any = type.__dict__["__dict__"].__get__


def _generator() -> Any:
    yield


class Ending:
    """Is made before forking; answers in the child.

    Call `begin` when all that was there before has been frozen (`gc.freeze`): what the collector knows later is the
    script's.
    """

    def __init__(self) -> None:
        import _io
        import _thread
        import _weakref
        import atexit
        import gc

        self._gc = gc
        self._threads: Any = _thread._count
        self._callbacks: Any = atexit._ncallbacks
        self._files = (
            _io.FileIO,
            _io.BufferedReader,
            _io.BufferedWriter,
            _io.BufferedRandom,
            _io.TextIOWrapper,
        )
        self._in_memory = (_io.BytesIO, _io.StringIO)
        self._reference = _weakref.ReferenceType
        library = os.path.dirname(os.__file__)
        self._forgetful = (f"{library}/weakref.py", f"{library}/_weakrefset.py")
        self._generator = type(_generator())
        self._module = type(sys)
        self._streams = (sys.stdout, sys.stderr)
        self._frozen = 0

    def begin(self) -> None:
        """Take what is there now for what nobody will miss."""
        self._frozen = self._gc.get_freeze_count()

    def is_unseen(self) -> bool:
        """Write out the streams; return whether to stop now is the same as to be taken apart."""
        try:
            return self._is_all_quiet() and self._write_out()
        except Exception:
            # A script that has changed what Python leans on gets the end that Python has for it.
            return False

    def _is_all_quiet(self) -> bool:
        gc = self._gc
        if (
            self._threads()
            or self._callbacks()
            or gc.callbacks
            or gc.garbage
            or gc.get_debug()
            # Somebody else has frozen what we then do not see.
            or gc.get_freeze_count() > self._frozen
            or sys.gettrace() is not None
            or sys.getprofile() is not None
            or sys.stdout is not self._streams[0]
            or sys.stderr is not self._streams[1]
        ):
            return False
        seen: dict[int, bool] = {}
        for thing in gc.get_objects():
            kind = type(thing)
            is_odd = seen.get(id(kind))
            if is_odd is None:
                is_odd = seen[id(kind)] = self._is_odd(kind)
            if is_odd and not self._is_quiet(thing, kind):
                return False
        return True

    def _write_out(self) -> bool:
        # Where that fails, Python has words and an exit status for it.
        for stream in self._streams:
            stream.flush()
        return True

    def _is_odd(self, kind: type) -> bool:
        """Whether each object of a class has to be looked at."""
        return issubclass(kind, type | self._module | self._reference) or _has_del(kind)

    def _is_quiet(self, thing: Any, kind: type) -> bool:
        """Whether it can be let go without a trace."""
        if issubclass(kind, type):
            # Instances that the collector does not know are not seen here.
            return not _has_del(kind) and ("__del__" not in _names(thing) or bool(thing.__flags__ & _HAS_GC))
        if _has_del(kind):
            if kind in self._files:
                return bool(thing.closed)
            if kind is self._generator:
                return thing.gi_frame is None
            return kind in self._in_memory
        if issubclass(kind, self._reference):
            return self._is_harmless(thing.__callback__)
        name, file = thing.__dict__.get("__name__"), thing.__dict__.get("__file__")
        is_in_python = isinstance(file, str) and file.endswith((".py", ".pyc"))
        is_in_c = not is_in_python and (isinstance(file, str) or name in sys.builtin_module_names)
        return name == "__main__" or not is_in_c or name in _QUIET

    def _is_harmless(self, callback: Any) -> bool:
        """Whether a weak reference's callback does no more than forget it."""
        if type(callback) is type(_has_del):
            return callback.__code__.co_filename in self._forgetful
        # The other one is that of abstract base classes.
        return callback is None or (type(callback) is type(len) and callback.__name__ == "_destroy")


def _has_del(kind: type) -> bool:
    return any("__del__" in _names(base) for base in _mro(kind))
