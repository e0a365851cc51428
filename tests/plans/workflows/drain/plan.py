#!/usr/bin/env python3
from stepup.core.api import *
runsh("touch started; while [ ! -e go ]; do sleep 0.05; done; echo 0 > n0.txt", out="n0.txt")
for i in range(20):
    runsh(f"sleep 0.1; cat n{i}.txt > n{i + 1}.txt", inp=f"n{i}.txt", out=f"n{i + 1}.txt")
