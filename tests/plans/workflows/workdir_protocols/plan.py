#!/usr/bin/env python3
from stepup.core.api import *
static("sub/", "sub/work.py", "sub/plan.py", "vars.json", "tool.py")
call("work.py", workdir="sub/", n=3, out="work.json")
plan("sub")
