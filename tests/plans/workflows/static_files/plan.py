#!/usr/bin/env python3
from stepup.core.api import *
static("top.txt", ["sub/", "sub/one.txt"], ("sub/two.txt",))
runsh("cat ${inp} > ${out}", inp=["top.txt", "sub/one.txt", "sub/two.txt"], out="all.txt")
copy("sub/one.txt", "copy.txt")
