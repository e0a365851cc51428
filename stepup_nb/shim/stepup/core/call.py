"""``stepup.core.call``: what a script that is called by `call` ends with."""

from stepup_nb.plan.call import driver

__all__ = ["driver"]
