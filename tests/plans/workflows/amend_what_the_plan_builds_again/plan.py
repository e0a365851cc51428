#!/usr/bin/env python3
from stepup.core.api import *
static("a.txt")
copy("a.txt", "names.txt")
amend(inp="names.txt")
for name in open("names.txt").read().split():
    runsh(f"echo {name} > {name}.out", out=f"{name}.out")
