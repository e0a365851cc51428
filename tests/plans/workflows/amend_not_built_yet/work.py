#!/usr/bin/env python3
from stepup.core.api import amend
with open("sources.txt") as f:
    paths = f.read().split()
amend(inp=paths)
with open("work.out", "w") as out:
    for path in paths:
        with open(path) as f:
            out.write(f.read())
