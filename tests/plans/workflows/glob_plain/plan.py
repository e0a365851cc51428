#!/usr/bin/env python3
from stepup.core.api import *
static("src/")
for path in glob("src/*.txt"):
    copy(path, f"{path.stem}.out" if hasattr(path, "stem") else path[4:-4] + ".out")
assert not glob("nothing*.txt")
