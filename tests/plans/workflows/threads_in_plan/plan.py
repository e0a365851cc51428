#!/usr/bin/env python3
from stepup.core.api import *
from concurrent.futures import ThreadPoolExecutor
def declare(i):
    runsh(f"echo {i} > o{i}.txt", out=f"o{i}.txt")
with ThreadPoolExecutor(4) as pool:
    list(pool.map(declare, range(12)))
