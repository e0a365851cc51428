#!/usr/bin/env python3
from stepup.core.api import *
static("a.txt")
runsh("echo more >> a.txt; echo b > b.txt", inp="a.txt", out="b.txt")
