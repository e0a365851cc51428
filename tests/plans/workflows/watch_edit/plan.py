#!/usr/bin/env python3
from stepup.core.api import *
static("a.txt", "b.txt")
copy("a.txt", "a.out")
copy("b.txt", "b.out")
runsh("cat a.out b.out > all.out", inp=["a.out", "b.out"], out="all.out")
