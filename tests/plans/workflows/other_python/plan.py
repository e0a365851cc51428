#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
from stepup.core.api import runpy
static("more.py", "work.py", "tool")
runsh("./more.py", inp="more.py")
runsh("./work.py", inp="work.py", out="work.txt")
call("tool", value=[1, 2], out="tool.json")
runpy("./more.py again", inp="more.py")
