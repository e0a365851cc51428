#!/usr/bin/env python3
from stepup.core.api import *
static("names.txt")
amend(inp="names.txt")
for name in open("names.txt").read().split():
    runsh(f"echo {name} > {name}.txt", out=f"{name}.txt")
