#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
from stepup.core.api import runpy
static("work.py", "data/", "data/x.txt")
runpy("./work.py", inp="work.py")
