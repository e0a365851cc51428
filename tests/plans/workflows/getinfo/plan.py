#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
static("work.py", "inp.txt")
info = runpy("./work.py", inp=["work.py", "inp.txt"], out=["out1.txt", "out2.txt"], vol=["log.txt"], env=["WF_X"])
assert list(info.filter_out("out*.txt")) == ["out1.txt", "out2.txt"]
assert info.action == "runpy ./work.py", info.action
