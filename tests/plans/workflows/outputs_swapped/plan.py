#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo 1 > ${out}", out="a.txt")
runsh("echo 2 > ${out}", out="b.txt")
runsh("cat a.txt b.txt > c.txt", inp=["a.txt", "b.txt"], out="c.txt")
