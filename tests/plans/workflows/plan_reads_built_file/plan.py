#!/usr/bin/env python3
from stepup.core.api import *
static("sub/", "sub/plan.py", "names.txt")
runsh("sort names.txt > sub/sorted.txt", inp="names.txt", out="sub/sorted.txt")
plan("sub")
