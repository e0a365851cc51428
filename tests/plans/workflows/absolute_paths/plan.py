#!/usr/bin/env python3
import os
from stepup.core.api import *
here = os.getcwd()
static("a.txt")
outside = os.environ["WF_OUTSIDE"]
static(os.path.dirname(outside) + "/", f"{outside}/", f"{outside}/data.txt")
runsh("cat ${inp} > ${out}", inp=[f"{outside}/data.txt", "a.txt"], out="b.txt")
runsh("cat b.txt > ${out}", inp="b.txt", out=f"{outside}/c.txt")
