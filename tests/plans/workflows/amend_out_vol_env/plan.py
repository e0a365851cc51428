#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
static("work.py")
runpy("./work.py", inp="work.py")
runsh("cat made.txt > second.txt", inp="made.txt", out="second.txt")
