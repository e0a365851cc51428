#!/usr/bin/env python3
from stepup.core.api import *
static("work.py")
call("work.py", prefix="case", z=1 + 2j, out=True)
call("work.py", prefix="json", fmt="json", inp=True, out=False, z=3)
