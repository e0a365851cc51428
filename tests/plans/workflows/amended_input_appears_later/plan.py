#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
from stepup.core.api import runpy
static("work.py")
runpy("./work.py", inp="work.py", out="work.out")
