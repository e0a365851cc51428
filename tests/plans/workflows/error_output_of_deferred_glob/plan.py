#!/usr/bin/env python3
from stepup.core.api import *
glob("*.txt", _defer=True)
runsh("echo > x.txt", out="x.txt")
