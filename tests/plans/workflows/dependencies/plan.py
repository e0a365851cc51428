#!/usr/bin/env python3
from stepup.core.api import *
runsh("cat b.txt > c.txt; echo c >> c.txt", inp="b.txt", out="c.txt")
runsh("cat a.txt > b.txt; echo b >> b.txt", inp=["a.txt"], out=["b.txt"])
runsh("echo a > ${out}", out="a.txt")
