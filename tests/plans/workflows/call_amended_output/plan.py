#!/usr/bin/env python3
from stepup.core.api import *
static("work.py")
call("work.py", prefix="yes", value=1)
call("work.py", prefix="no", value=None)
copy("yes_out.json", "result.json")
