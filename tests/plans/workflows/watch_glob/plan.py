#!/usr/bin/env python3
from stepup.core.api import *
static("src/")
for path in glob("src/*.txt"):
    copy(path, path[4:-4] + ".out")
