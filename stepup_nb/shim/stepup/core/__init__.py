"""Stands in for StepUp in the processes of steps: ``from stepup.core.api import ...`` brings the calls of stepup_nb.

The folder ``shim`` comes first on the ``PYTHONPATH`` of steps, and of nothing else. Modules of an installed
StepUp that have no stand-in here stay importable.
"""

import os
import sys

# What pkgutil.extend_path does, without the 15 ms of its import.
for _folder in sys.modules["stepup"].__path__:
    _folder = os.path.join(_folder, "core")
    if _folder not in __path__ and os.path.isdir(_folder):
        __path__.append(_folder)

try:
    import stepup_nb
except ImportError:
    # The step's interpreter is not the kernel's. We are pure Python and will do; what lies beside us may not.
    sys.path.append(os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4)))
    try:
        import stepup_nb  # noqa: F401
    finally:
        sys.path.pop()
