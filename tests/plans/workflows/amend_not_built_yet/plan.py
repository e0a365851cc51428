#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
static("work.py", "sources.txt")
runpy("./work.py", inp=["work.py", "sources.txt"], out="work.out")
runsh("echo one > one.txt", out="one.txt")
runsh("echo two > two.txt", out="two.txt")
