#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
static("work.py", "sub.py")
script("work.py", step_info="work.json")
runpy("./sub.py", inp=["sub.py", "work.json"])
