#!/usr/bin/env python3
from stepup.core.api import *
pool("single", 1)
for i in range(3):
    runsh(f"mkdir lock && echo {i} > p{i}.txt && rmdir lock", out=f"p{i}.txt", pool="single")
