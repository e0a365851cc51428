"""``stepup.core.script``: what a script that is planned by `script` ends with."""

from stepup_nb.plan.script import driver

__all__ = ["driver"]
