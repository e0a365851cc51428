"""``stepup.core.exceptions``: what the calls may raise."""

from stepup_nb.plan.exceptions import (
    CyclicError,
    DeferredNotConfirmedError,
    GraphError,
    InputNotFoundError,
    RPCError,
)

__all__ = ["CyclicError", "DeferredNotConfirmedError", "GraphError", "InputNotFoundError", "RPCError"]
