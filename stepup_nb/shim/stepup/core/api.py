"""``stepup.core.api``: the calls of a plan, those of StepUp 3.0 and whatever else `stepup_nb.api` has.

StepUp's ``__all__`` leaves `runpy` out, by mistake; ``RPC_CLIENT`` and ``get_rpc_client``, its own
plumbing, are left out here.
"""

# ruff: noqa: F822
# The names are looked up when they are asked for.

from importlib import import_module

__all__ = [
    "amend", "call", "copy", "getenv", "getinfo", "glob", "graph", "loadns", "mkdir", "plan", "pool",
    "render_jinja", "runpy", "runsh", "script", "static", "step", "subs_env_vars",
]  # fmt: skip

_ELSEWHERE = {
    "call": "call",
    "getenv": "variables",
    "loadns": "namespaces",
    "render_jinja": "jinja",
    "script": "script",
    "subs_env_vars": "variables",
    "DeferredNotConfirmedError": "exceptions",
    "InputNotFoundError": "exceptions",
    "StepInfo": "stepinfo",
}


def __getattr__(name: str) -> object:
    # Only what is asked for is imported: a step that calls amend() alone starts the sooner.
    if name.startswith("__"):
        raise AttributeError(name)
    module = f"stepup_nb.plan.{_ELSEWHERE[name]}" if name in _ELSEWHERE else "stepup_nb.api"
    try:
        return getattr(import_module(module), name)
    except AttributeError:
        raise AttributeError(f"module 'stepup.core.api' has no attribute '{name}'") from None
