"""Waits as a started interpreter for Python steps, and becomes them by forking.

Run by `director.warm` as ``python runner.py --wait-for-steps FD`` with the variables of the steps. What it waits with
is out of the interpreter again before anybody's code sees it; what a script can still tell from a fresh start stands
in ARCHITECTURE.md, "Warm Python steps".

    director ──how many──▶ server ──forks──▶ middle ──forks──▶ spares; the middle one ends, they fall to the director
    director ◀──number and socket of each spare── server
    director ──words, variables, stdout, stderr, folder──▶ a spare, which returns into the runner and is that step

A spare that got no message has run nothing, and ends when the other end of its socket does. The director alone has
that end, and uses it once: a step is started once, or not at all.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # that of typing, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LIMIT = 1 << 17
"""Bytes of one message; the director sends no longer ones."""

_PRACTICE = 20
"""Times that what a step does is done before: Python sets things up once, and finds its short ways after some."""

_NAME = b"stepup-warm"
_PR_SET_NAME, _PR_SET_MM, _PR_SET_MM_MAP = 15, 35, 14

_HARMLESS = frozenset(
    "__future__ __main__ _abc _codecs _collections_abc _distutils_hack _frozen_importlib _frozen_importlib_external "
    "_imp _io _locale _signal _sitebuiltins _stat _thread _warnings _weakref abc builtins codecs encodings "
    "genericpath io marshal os os.path posix posixpath pwd site stat sys time warnings zipimport "
    # What finders of editable packages lean on.
    "_collections _functools _operator _sre collections collections.abc contextlib copyreg enum errno fnmatch "
    "functools importlib importlib._abc importlib._bootstrap importlib._bootstrap_external importlib.abc "
    "importlib.machinery importlib.util ipaddress itertools keyword ntpath operator pathlib re re._casefix "
    "re._compiler re._constants re._parser reprlib types urllib urllib.parse".split()
)
"""Modules that keep nothing that is another one's in each process: no moment, number, descriptor or random seed."""

_KNOWN = frozenset(
    "PYTHONBREAKPOINT PYTHONCOERCECLOCALE PYTHONDONTWRITEBYTECODE PYTHONHASHSEED PYTHONIOENCODING PYTHONNOUSERSITE "
    "PYTHONOPTIMIZE PYTHONPATH PYTHONPYCACHEPREFIX PYTHONSTARTUP PYTHONUNBUFFERED PYTHONUSERBASE PYTHONUTF8 "
    "PYTHONWARNINGS".split()
)
"""Variables of Python's own whose work is done when an interpreter has started, or which it asks for later."""


class Unfit(Exception):
    """Steps have to be started afresh; the words say why."""


def wait(words: list[str], practise: Callable[[], None]) -> tuple[list[str], Any, Any]:
    """Serve until this process is a step's; return the words after the runner's name, `_socket` and an `Ending`.

    Where nobody asks for a server, the words are those of a script. In a server this does not return. `practise` does
    what each step will do: what Python sets up for that, each step has then, and does not copy by changing it.
    """
    before, places = set(sys.modules), set(sys.path_importer_cache)
    import _socket
    import gc

    from ending import Ending  # type: ignore[import-not-found]

    try:
        control = _socket.socket(fileno=int(words[1]))
        control.getpeername()
    except (IndexError, ValueError, OSError):
        return words, None, None
    try:
        _check(before)
        process, ending = _Process(), Ending()
        origins = _origins(before - {__name__})
    except (Unfit, OSError, ImportError, AttributeError) as error:
        control.send(b"unfit\0" + str(error).encode(errors="replace"))
        os._exit(0)
    for name in set(sys.modules) - before | {__name__}:
        del sys.modules[name]
    for place in set(sys.path_importer_cache) - places:
        del sys.path_importer_cache[place]
    process.call(_NAME)
    control.send(b"\0\0".join((b"ready", *(b"\0".join(map(os.fsencode, paths)) for paths in origins))))
    gc.collect()
    # A child that collects does not touch, and so copy, every object that was there before.
    gc.freeze()
    ending.begin()
    for _ in range(_PRACTICE):
        practise()
        ending.is_unseen()
    gc.freeze()
    ending.begin()
    while order := control.recv(16):
        spare = _fork(_socket, control, int(order))
        if spare is not None:
            for folder in origins[1]:
                # What is in them now, and not what was.
                finder: Any = sys.path_importer_cache.get(folder)
                if finder is not None:
                    finder.invalidate_caches()
            return _become(_socket, spare, process), _socket, ending
    os._exit(0)


def _check(modules: set[str]) -> None:
    """Raise `Unfit` where a fork of this interpreter would not be what a fresh one is."""
    for name in os.environ:
        if (name.startswith("PYTHON") and name not in _KNOWN) or name in ("LD_PRELOAD", "LD_AUDIT"):
            raise Unfit(f"{name} is set")
    if not all(map(os.path.isabs, os.environ.get("PYTHONPATH", "/").split(os.pathsep))):
        raise Unfit("PYTHONPATH depends on the folder")
    odd = {
        name
        for name in modules - _HARMLESS - {__name__}
        if not name.startswith(("encodings.", "__editable__"))
    }
    if odd:
        raise Unfit(f"more than Python itself is loaded at its start: {', '.join(sorted(odd))}")
    if len(os.listdir("/proc/self/task")) > 1:
        raise Unfit("something has started threads")
    if any(_is_opened_here(int(name)) for name in os.listdir("/proc/self/fd") if int(name) > 3):
        raise Unfit("something has opened files")


def _is_opened_here(fd: int) -> bool:
    try:
        # What was inherited can be inherited again; what Python opens cannot.
        return not os.get_inheritable(fd)
    except OSError:
        # It was that of the listing.
        return False


def _origins(modules: set[str]) -> tuple[list[str], list[str], list[str]]:
    """Return what a fresh start depends on, where it loads these modules.

    Returns
    -------
    paths
        What must stay as it is, or not there.
    folders
        Of which modules are imported, and in which anything else may come and go.
    names
        In each of them, what may not.
    """
    bin = os.path.dirname(sys.executable)
    library = os.path.dirname(os.__file__)
    found = {"/etc/localtime", sys.executable, library, os.path.join(bin, "pyvenv.cfg")}
    found.add(os.path.join(os.path.dirname(bin), "pyvenv.cfg"))
    site: Any = sys.modules.get("site")
    if site is not None:
        for folder in (*site.getsitepackages(), site.USER_SITE):
            # Where it is not there, it counts once it is.
            if folder is not None:
                found.add(folder)
                names = os.listdir(folder) if os.path.isdir(folder) else ()
                found.update(os.path.join(folder, name) for name in names if name.endswith(".pth"))
    loaded = {"sitecustomize", "usercustomize"}
    for name in modules:
        module = sys.modules[name]
        path = getattr(module, "__file__", None)
        if getattr(getattr(module, "__spec__", None), "origin", "frozen") not in ("built-in", "frozen"):
            loaded.add(name.partition(".")[0])
            if isinstance(path, str) and not path.startswith(library):
                found.add(path)
    import _imp

    endings = ("", ".py", ".pyc", *_imp.extension_suffixes())
    # The first is the runner's own folder.
    folders = [path for path in sys.path[1:] if path not in found and os.path.isdir(path)]
    found.update(path for path in sys.path[1:] if path not in folders)
    own = os.path.dirname(__file__)
    found.update(os.path.join(own, name) for name in ("runner.py", "warm.py", "ending.py"))
    return sorted(found), folders, [name + ending for name in sorted(loaded) for ending in endings]


def _fork(_socket: Any, control: Any, number: int) -> Any:
    """Have spares; return the socket of one of them in its own process, None in the server."""
    pairs = [_socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET) for _ in range(number)]
    heard, told = os.pipe()
    try:
        middle = os.fork()
    except OSError:
        # No room: there are none then.
        middle = -1
    if middle == 0:
        for place, (_, end) in enumerate(pairs):
            try:
                pid = os.fork()
            except OSError:
                # No room: there are fewer then.
                break
            if pid == 0:
                os.setsid()
                # Only now may anybody know it: who is to be killed is killed by its group.
                os.write(told, b"%d %d\0" % (place, os.getpid()))
                os.close(heard)
                os.close(told)
                for other in (control, *(one for pair in pairs for one in pair if one is not end)):
                    other.close()
                return end
        os._exit(0)
    os.close(told)
    if middle > 0:
        os.waitpid(middle, 0)
    # To the end: until each of them has said its number, or has died.
    words = b""
    while piece := os.read(heard, 4096):
        words += piece
    os.close(heard)
    for word in words.split(b"\0")[:-1]:
        at, _, number_of_it = word.partition(b" ")
        fd = pairs[int(at)][0].fileno().to_bytes(4, sys.byteorder)
        control.sendmsg([b"spare\0" + number_of_it], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd)])
    for pair in pairs:
        for one in pair:
            one.close()
    control.send(b"done")
    return None


def _become(_socket: Any, spare: Any, process: _Process) -> list[str]:
    """Await one message, and be what it says."""
    text, more, _, _ = spare.recvmsg(_LIMIT, _socket.CMSG_SPACE(12))
    if not text:
        os._exit(0)
    spare.close()
    given = more[0][2]
    stdout, stderr, folder = (int.from_bytes(given[i : i + 4], sys.byteorder) for i in (0, 4, 8))
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.fchdir(folder)
    for fd in (stdout, stderr, folder):
        os.close(fd)
    count, _, rest = text.partition(b"\0")
    fields = rest.split(b"\0")
    words, variables = fields[: int(count)], fields[int(count) :]
    process.show(words, process.take_on(variables))
    arguments = [os.fsdecode(word) for word in words]
    sys.orig_argv[2:] = arguments
    return arguments


class _Process:
    """What the system shows of this process, and how to have it show that of a step."""

    def __init__(self) -> None:
        # Not ctypes: it makes callbacks, and on some systems these lie in memory that forks share.
        import _ctypes as c

        Long = type("Long", (c._SimpleCData,), {"_type_": "l"})
        Call = type("Call", (c.CFuncPtr,), {"_flags_": c.FUNCFLAG_CDECL, "_restype_": Long})
        whole: Any = None
        library = c.dlopen(whole, os.RTLD_NOW)
        self._prctl = Call(c.dlsym(library, "prctl"))
        self._sbrk = Call(c.dlsym(library, "sbrk"))
        self._long: Any = Long
        self._keep = c.Py_INCREF
        self._words = _read("/proc/self/cmdline").split(b"\0")[:2]
        given = _read("/proc/self/environ").split(b"\0")[:-1]
        # The last one is in place of a step's own.
        self._shared = given[:-1]
        self._now = dict(os.environb)
        # Python itself may set some at its start, of the locale.
        self._by_python = {
            name: value for name, value in self._now.items() if b"%s=%s" % (name, value) not in given
        }
        self._own_name = _read("/proc/self/comm").rstrip(b"\n")
        # From "man proc_pid_stat", less the two before the name's bracket and the first.
        fields = [int(word) for word in _read("/proc/self/stat").rpartition(b") ")[2].split()[1:]]
        self._code, self._stack, self._data, self._brk = fields[22:24], fields[24], fields[41:43], fields[43]
        if not all(self._code) or not self._map(*fields[44:48]):
            raise Unfit("the system does not let a process say what its words are")

    def call(self, name: bytes) -> None:
        """Set the name that tools like top show."""
        self._prctl(self._long(_PR_SET_NAME), name, self._long(0), self._long(0), self._long(0))

    def take_on(self, own: list[bytes]) -> list[bytes]:
        """Have the variables of a step, in the order in which a fresh start would have them; return them.

        Parameters
        ----------
        own
            The step's own, each after its place among all and a colon.
        """
        shown = self._shared.copy()
        for variable in own:
            place, _, text = variable.partition(b":")
            shown.insert(int(place), text)
        wanted = dict(text.partition(b"=")[::2] for text in shown) | self._by_python
        same = 0
        for before, after in zip(self._now.items(), wanted.items(), strict=False):
            if before != after:
                break
            same += 1
        for name in list(self._now)[same:]:
            del os.environb[name]
        for name in list(wanted)[same:]:
            os.environb[name] = wanted[name]
        return shown

    def show(self, words: list[bytes], variables: list[bytes]) -> None:
        """Show the words and variables of a step, as if it had been started with them."""
        self.call(self._own_name)
        first = b"\0".join([*self._words, *words, b""])
        block = first + b"\0".join([*variables, b""])
        # Whoever looks at this process reads that memory: it is never given back.
        self._keep(block)
        begin = id(block) + bytes.__basicsize__ - 1
        self._map(begin, begin + len(first), begin + len(first), begin + len(block))

    def _map(self, *places: int) -> bool:
        """Tell the system where words and variables are (PR_SET_MM_MAP); the rest stays as it is."""
        numbers = [*self._code, *self._data, self._brk, self._sbrk(self._long(0)), self._stack, *places, 0]
        form = b"".join(number.to_bytes(8, sys.byteorder) for number in numbers)
        form += (0).to_bytes(4, sys.byteorder) + b"\xff" * 4
        long = self._long
        return not self._prctl(long(_PR_SET_MM), long(_PR_SET_MM_MAP), form, long(len(form)), long(0))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
