#!/usr/bin/env python3
from stepup.core.api import *
static("a.sh")
runsh("echo x >> runs; cat a.sh > b.txt", inp="a.sh", out="b.txt")
