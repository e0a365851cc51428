#!/usr/bin/env python3
from stepup.core.api import *
static("../source/")
for path in glob("../source/*.txt"):
    name = path.split("/")[-1]
    runsh(f"cat {path} > {name}", inp=path, out=name)
