#!/usr/bin/env python3
from stepup.core.api import *
amend(inp="sorted.txt")
for name in open("sorted.txt").read().split():
    runsh(f"echo {name} > {name}.out", out=f"{name}.out")
