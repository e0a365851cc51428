#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
static("work.py", "use.py")
call("work.py", name="ann", numbers=[1, 2, 3], out="work_out.json")
runpy("./use.py", inp=["use.py", "work_out.json"], out="use.txt")
