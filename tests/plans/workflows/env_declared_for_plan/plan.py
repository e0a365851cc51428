#!/usr/bin/env python3
from stepup.core.api import *
n = int(getenv("WF_N", "1"))
for i in range(n):
    runsh(f"echo {i} > n{i}.txt", out=f"n{i}.txt")
