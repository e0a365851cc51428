"""The errors that StepUp's plan scripts know by name, as errors of ours.

::

    UsageError
    ├── PathError (ValueError)       a path argument cannot be used
    ├── ArgumentError (ValueError)   another argument cannot be used
    ├── InputNotFoundError           an amended input is not there yet: the step runs again when it is
    ├── DeferredNotConfirmedError    a path matches a deferred glob, but is not on the disk
    └── RPCError                     whatever the director refuses
        └── GraphError               the graph would not stay consistent
            └── CyclicError          a step would wait for itself

StepUp 3.0 shows a plan only `RPCError`, and the other two as text in it. Here they are kinds of it.
"""

from __future__ import annotations

from stepup_nb.core.errors import StepUpError, UsageError


class PathError(UsageError, ValueError):
    """A path argument cannot be used: SNB-133 for variables in it, SNB-134 for what is on the disk."""


class ArgumentError(UsageError, ValueError):
    """An argument of `call`, `script`, `render_jinja` or `loadns` cannot be used (SNB-135)."""


class InputNotFoundError(UsageError):
    """An amended input is not available yet; the step is run again as soon as it is (SNB-132)."""

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__("SNB-132", what, why, fix)


class DeferredNotConfirmedError(UsageError):
    """A path matches a deferred glob, but there is no such file."""


class RPCError(UsageError):
    """The director refused a call; nothing changed."""


class GraphError(RPCError):
    """The graph would not stay consistent."""


class CyclicError(GraphError):
    """A step would wait for itself."""


_KINDS: dict[str, tuple[type[RPCError], str]] = {
    "SNB-401": (GraphError, "Node (file:{}) already exists and is not orphan."),
    "SNB-402": (GraphError, "Node (file:{}) already exists and is not orphan."),
    "SNB-403": (GraphError, "Node (step:{}) already exists and is not orphan."),
    "SNB-404": (CyclicError, "New relation introduces a cyclic dependency."),
    "SNB-405": (GraphError, "Input is volatile: {}."),
    "SNB-406": (CyclicError, "New relation introduces a cyclic dependency."),
    "SNB-407": (GraphError, "Node (step:{}) already exists and is not orphan."),
}


def refused(error: StepUpError) -> RPCError:
    """Return what a plan script gets for a refusal of the director: StepUp's words first, then ours.

    What StepUp names there is taken to be what ``error.what`` quotes first.
    """
    kind, words = _KINDS.get(error.code, (RPCError, ""))
    quoted = error.what.split("'")
    what = f"{words.format(quoted[1] if len(quoted) > 1 else '?')} {error.what}" if words else error.what
    return kind(error.code, what, error.why, error.fix)
