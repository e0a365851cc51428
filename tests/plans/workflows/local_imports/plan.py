#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
static("work.py", "helper.py", "pkg/", "pkg/__init__.py", "pkg/inner.py")
runpy("./work.py", inp="work.py", out="work.out")
