"""How long the long ones are: a sample in every run, the whole figure by `make torture`."""

from __future__ import annotations

import os


def rounds(sample: int, whole: int) -> int:
    """Return how often to try: `sample`, or `whole` where ``TORTURE`` is set, as `make torture` does."""
    return whole if os.environ.get("TORTURE") else sample
