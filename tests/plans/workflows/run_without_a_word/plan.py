#!/usr/bin/env python3
from stepup.core.api import *
static("a.txt")
copy("a.txt", "b.txt")
for path in glob("x*.dat"):
    copy(path, path[:-4] + ".out")
