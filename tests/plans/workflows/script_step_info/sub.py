#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.stepinfo import load_step_info
outs = sorted(path for info in load_step_info("work.json") for path in info.out)
runsh("cat ${inp} > all.out", inp=outs, out="all.out")
