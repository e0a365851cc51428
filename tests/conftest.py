"""What all tests share: how hypothesis searches, and whose children orphans become."""

import ctypes
import os

import pytest
from hypothesis import HealthCheck, settings

# No deadline, no complaint of slowness: how long an example takes tells of the machine, not of the code.
settings.register_profile(
    "local", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# In CI the same examples every time: a red run is then the change's doing.
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="module", autouse=True)
def adopt_no_longer():
    """Leave orphans to the system again after a file whose executors have had this process adopt them.

    Else the directors whose kernels a later file kills would stay as children that nobody reaps, and be taken for
    something that a test has left behind.
    """
    yield
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
