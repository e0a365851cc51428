#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
from stepup.core.api import runpy
static("common.py", "sub/", "sub/work.py")
runpy("./work.py", inp="work.py", out="work.out", workdir="sub/")
