"""The same notebooks and sessions as for the director's tests."""

from director.conftest import notebook, session  # noqa: F401
