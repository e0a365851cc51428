"""Loading into a shell, unloading, reloading: a shell has one extension, however often it is asked for."""

from __future__ import annotations

from typing import Any

from stepup_nb.notebook.completion import StepUpMatcher
from stepup_nb.notebook.extension import Extension
from stepup_nb.notebook.magics import StepUpMagics

_KEPT = "_stepup_nb"
"""Attribute of the shell that holds the extension: it outlives a reload of our modules."""


def load(ip: Any) -> None:
    """Bring hooks, magics, completion and settings to the shell."""
    if getattr(ip, _KEPT, None) is not None:
        return
    extension = Extension(ip)
    extension.install()
    ip.register_magics(StepUpMagics(extension))
    matcher = StepUpMatcher(extension)
    if ip.Completer is not None:
        ip.Completer.custom_matchers.append(matcher.match)
    if extension.config not in ip.configurables:
        ip.configurables.append(extension.config)
    object.__setattr__(ip, _KEPT, (extension, matcher))


def unload(ip: Any, *, is_reload: bool) -> None:
    """Take everything away and end the session; a reload keeps it."""
    kept = getattr(ip, _KEPT, None)
    if kept is None or is_reload:
        return
    extension, matcher = kept
    object.__setattr__(ip, _KEPT, None)
    if ip.Completer is not None and matcher.match in ip.Completer.custom_matchers:
        ip.Completer.custom_matchers.remove(matcher.match)
    if extension.config in ip.configurables:
        ip.configurables.remove(extension.config)
    for kind, names in StepUpMagics.magics.items():
        for name in names:
            ip.magics_manager.magics[kind].pop(name, None)
    extension.uninstall()


def loaded() -> Extension | None:
    """Return the extension of this process' shell, if it has one."""
    from IPython.core.getipython import get_ipython

    kept = getattr(get_ipython(), _KEPT, None)
    return kept[0] if kept is not None else None
