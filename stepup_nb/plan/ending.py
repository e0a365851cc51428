"""Ends an interpreter that was forked without taking it apart, where nobody could tell.

Python ends by letting go of all that it has. In a process that was forked this copies each page of what the parent had
loaded, which costs more than a small script does. What a script can see of that end is what happens to its own objects:
files are written out, `__del__`, callbacks and ``finally`` run. Where none of its objects has anything of the kind, the
process may stop at once. In doubt it ends as Python does.

Nothing here runs what a script may have put in the place of something else: attributes of its objects are read by the
getters of the types in C, and what is called was looked up before. Beside `warm` and as that: imports nothing that
Python has not loaded at its start or has built in.
"""

from __future__ import annotations

import os
import sys
from builtins import BaseException, id, issubclass, len, type

TYPE_CHECKING = False  # that of typing, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Question = Callable[[Any], bool]
    """Asks whether an object can be let go without a trace."""

_QUIET = frozenset(
    "_abc _ast _bisect _blake2 _bz2 _codecs _collections _contextvars _csv _datetime _decimal _functools _hashlib "
    "_heapq _imp _io _json _locale _lzma _md5 _opcode _operator _pickle _posixsubprocess _queue _random _sha1 _sha2 "
    "_sha256 _sha3 _sha512 _signal _socket _sre _stat _statistics _string _struct _suggestions _symtable _sysconfig "
    "_thread _tokenize _tracemalloc _types _typing _uuid _warnings _weakref _zoneinfo array atexit binascii builtins "
    "cmath decimal errno fcntl gc grp itertools marshal math posix pwd pyexpat resource select sys termios time "
    "unicodedata zlib".split()
)
"""Modules in C whose objects end without a trace, unless they have a `__del__`, as files and sockets do."""

_FORGETFUL = frozenset({"_destroy", "_localdummy_destroyed", "clear_locals"})
"""Callbacks in C of weak references that do no more than forget: for abstract classes, and what is local to threads."""

_MOST = 100_000
"""Blocks of memory that a script may have and still be looked through; beyond that Python's end costs less."""

_ALONE = 3
"""Links of ``/proc/self/task`` where there is one thread; also one that is about to end has its own."""

_HAS_GC = 1 << 14
"""Py_TPFLAGS_HAVE_GC: the collector knows the instances of such a class."""

_mro: Any = type.__dict__["__mro__"].__get__
_names: Any = type.__dict__["__dict__"].__get__
_flags: Any = type.__dict__["__flags__"].__get__
_module: Any = type(sys)
_names_of_module: Any = _module.__dict__["__dict__"].__get__
_function, _in_c = type(lambda: None), type(len)


def _generator() -> Any:
    yield


class Ending:
    """Is made before forking, and used in the child.

    Call `begin` when all that is there has been frozen (`gc.freeze`): what the collector knows later is the script's.
    """

    def __init__(self) -> None:
        import _io
        import _signal  # type: ignore[import-not-found]
        import _thread
        import _weakref
        import atexit
        import gc

        self._exit, self._stat = os._exit, os.stat
        self._signal, self._handler, self._no_handler = _signal.signal, _signal.getsignal, _signal.SIG_DFL
        self._interrupt, self._on_interrupt = _signal.SIGINT, _signal.default_int_handler
        self._counts: tuple[Callable[[], int], ...] = (_thread._count, atexit._ncallbacks, gc.get_debug)
        self._lists: tuple[list[Any], ...] = (gc.callbacks, gc.garbage)
        self._objects, self._blocks = gc.get_objects, sys.getallocatedblocks
        self._streams = (sys.stdout, sys.stderr)
        self._builtin = frozenset(sys.builtin_module_names)
        self._raw, self._text = _io.FileIO, _io.TextIOWrapper
        self._buffered = (_io.BufferedReader, _io.BufferedWriter, _io.BufferedRandom)
        self._proxies = (_weakref.ProxyType, _weakref.CallableProxyType)
        self._reference = _weakref.ReferenceType
        self._callback: Any = _weakref.ReferenceType.__dict__["__callback__"].__get__
        library = os.path.dirname(os.__file__)
        self._weak = (f"{library}/weakref.py", f"{library}/_weakrefset.py")
        # By number: the class of a script may say itself what it is equal to.
        self._with_del: dict[int, Question | None] = {
            id(_io.BytesIO): None,
            id(_io.StringIO): None,
            id(type(_generator())): lambda thing: thing.gi_frame is None,
            id(self._raw): lambda thing: thing.closed,
            **{id(kind): self._is_buffer_closed for kind in self._buffered},
            id(self._text): lambda thing: self._is_buffer_closed(thing.buffer),
        }
        self._witness: list[None] = []
        self._before = 0

    def begin(self) -> None:
        """Take what is there now for what nobody will miss."""
        # If anybody freezes what we then do not see, we do not see this one either.
        self._witness = []
        self._before = self._blocks()

    def leave(self, status: int) -> None:
        """Stop at once with this exit status, where nobody can tell that from Python's end; else return."""
        # An interrupt from now on ends the process without a word, as it does during Python's end.
        is_ours = self._handler(self._interrupt) is self._on_interrupt
        if is_ours:
            self._signal(self._interrupt, self._no_handler)
        try:
            if self.is_unseen():
                for stream in self._streams:
                    stream.flush()
                self._exit(status)
        except BaseException:
            # An output that takes nothing, a hook that refuses what we do: Python has its own words for that.
            pass
        finally:
            if is_ours:
                self._signal(self._interrupt, self._on_interrupt)

    def is_unseen(self) -> bool:
        """Return whether nobody will miss what Python would do at the end, apart from writing out the streams."""
        if self._blocks() - self._before > _MOST or self._stat("/proc/self/task").st_nlink != _ALONE:
            return False
        for count in self._counts:
            if count():
                return False
        for some in self._lists:
            if some:
                return False
        for now, then in zip((sys.stdout, sys.stderr), self._streams, strict=True):
            if now is not then or "flush" in now.__dict__:
                return False
        threading: Any = sys.modules.get("threading")
        if threading is not None and _names_of_module(threading).get("_threading_atexits"):
            return False
        return self._are_quiet()

    def _are_quiet(self) -> bool:
        questions: dict[int, Question | None] = {}
        has_witness = False
        for thing in self._objects():
            kind = type(thing)
            number = id(kind)
            if number not in questions:
                questions[number] = self._question(kind)
            question = questions[number]
            if question is not None and not question(thing):
                return False
            has_witness = has_witness or thing is self._witness
        return has_witness

    def _question(self, kind: type) -> Question | None:
        """Return what to ask of each object of a class; None: all of them end without a trace."""
        if issubclass(kind, self._proxies):
            # They do not tell whether they have a callback.
            return _no
        for base in _mro(kind):
            if "__del__" in _names(base):
                return self._with_del.get(id(kind), _no)
        if issubclass(kind, type):
            return _is_class_quiet
        if issubclass(kind, self._reference):
            return self._is_reference_quiet
        if issubclass(kind, _module):
            return self._is_module_quiet
        return None

    def _is_buffer_closed(self, buffer: Any) -> bool:
        # One of Python's own over another one is asked by C alone.
        return type(buffer) in self._buffered and type(buffer.raw) is self._raw and buffer.raw.closed

    def _is_reference_quiet(self, reference: Any) -> bool:
        callback = self._callback(reference)
        if type(callback) is _function:
            code = callback.__code__
            return code.co_name in ("remove", "_remove") and code.co_filename in self._weak
        return callback is None or (type(callback) is _in_c and callback.__name__ in _FORGETFUL)

    def _is_module_quiet(self, module: Any) -> bool:
        names = _names_of_module(module)
        name, file = names.get("__name__"), names.get("__file__")
        if type(name) is not str:
            return False
        if type(file) is str:
            return name in _QUIET or name == "__main__" or file.endswith((".py", ".pyc"))
        return name in _QUIET or name not in self._builtin


def _no(thing: Any) -> bool:
    return False


def _is_class_quiet(kind: type) -> bool:
    # Instances that the collector does not know are not met.
    return "__del__" not in _names(kind) or bool(_flags(kind) & _HAS_GC)
