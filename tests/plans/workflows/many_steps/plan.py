#!/usr/bin/env python3
from stepup.core.api import *
outs = [f"o{i}.txt" for i in range(100)]
for i, out in enumerate(outs):
    runsh(f"echo {i} > {out}", out=out)
runsh("cat ${inp} > all.txt", inp=outs, out="all.txt")
