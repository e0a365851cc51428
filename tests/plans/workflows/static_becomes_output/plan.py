#!/usr/bin/env python3
from stepup.core.api import *
static("a.txt")
copy("a.txt", "b.txt")
runsh("echo c > c.txt", out="c.txt")
copy("c.txt", "d.txt")
