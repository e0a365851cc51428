"""What all tests share: how hypothesis searches."""

import os

from hypothesis import HealthCheck, settings

# No deadline, no complaint of slowness: how long an example takes tells of the machine, not of the code.
settings.register_profile(
    "local", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# In CI the same examples every time: a red run is then the change's doing.
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
