#!/usr/bin/env python3
from stepup.core.api import *
static("work.py")
runsh("./work.py", inp="work.py")
runsh("echo late > late.txt", out="late.txt")
