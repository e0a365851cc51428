#!/usr/bin/env python3
from stepup.core.api import amend
names = open("names.txt").read().split()
amend(out=[f"{name}.out" for name in names])
for name in names:
    open(f"{name}.out", "w").write(name)
