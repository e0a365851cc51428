"""The session of this process, if it has one: what `stepup_nb.api` declares to, and who shows its remarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stepup_nb.core.errors import UsageError

if TYPE_CHECKING:
    from stepup_nb.client.session import Session

_session: Session | None = None
_remark: Callable[[str], None] | None = None


def set_session(session: Session | None) -> None:
    """Make a session the one of this process, or say that there is none any more."""
    global _session
    _session = session


def set_remark(remark: Callable[[str], None] | None) -> None:
    """Say who shows the user a sentence that is no error; None: nobody."""
    global _remark
    _remark = remark


def remark(words: str) -> None:
    """Show the user a sentence, where somebody can."""
    if _remark is not None:
        _remark(words)


def has_session() -> bool:
    """Tell whether this process has one."""
    return _session is not None


def session() -> Session:
    """Return the session.

    Raises
    ------
    UsageError
        SNB-201: nobody loaded the extension.
    """
    if _session is None:
        raise UsageError(
            "SNB-201",
            "There is no session in this process.",
            "steps are declared to the director of a notebook",
            "run '%load_ext stepup_nb' in the notebook first",
        )
    return _session
