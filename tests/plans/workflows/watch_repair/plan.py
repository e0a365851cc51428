#!/usr/bin/env python3
from stepup.core.api import *
static("work.sh")
runsh("./work.sh > work.out", inp="work.sh", out="work.out")
runsh("cat work.out > final.out", inp="work.out", out="final.out")
