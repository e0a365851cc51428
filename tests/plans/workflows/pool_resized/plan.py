#!/usr/bin/env python3
from stepup.core.api import *
pool("some", 1)
runsh("echo a > a.txt", out="a.txt", pool="some")
