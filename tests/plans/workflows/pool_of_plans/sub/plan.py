#!/usr/bin/env python3
from stepup.core.api import *
for i in range(3):
    runsh(f"echo {i} > o{i}.txt", out=f"o{i}.txt", pool="p")
