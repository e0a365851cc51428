"""Which variables a step never gets to see, and what an environment is called."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

_DENIED = re.compile(
    r"JUPYTER\w*TOKEN(_FILE)?|JUPYTERHUB_\w*|JPY_\w*|\w*_API_TOKEN|CONFIGPROXY_\w*"
    r"|JUPYTER_GATEWAY_(HTTP_PWD|HEADERS)|[EK]G_AUTH_TOKEN"
    r"|STEPUP_NB_(TOKEN|JOB|RUN|NOTEBOOK|WORKERS)"
)
"""Tokens of servers, hubs, gateways; marks of ours that each job gets anew, and what was said to this kernel alone."""


def is_denied(name: str) -> bool:
    """Tell whether a variable is kept from all steps unless a step asks for it by name."""
    return _DENIED.fullmatch(name) is not None


def name_of(environment: Mapping[str, str]) -> str:
    """Return the name under which an environment is interned: equal environments have equal names."""
    words = json.dumps(sorted(environment.items()))
    return hashlib.blake2b(words.encode("ascii"), digest_size=16).hexdigest()
