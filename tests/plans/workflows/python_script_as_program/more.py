#!/usr/bin/env python3
import sys
from stepup.core.api import *
assert sys.argv[1:] == ["argument"]
runsh("echo made > made.txt", out="made.txt")
