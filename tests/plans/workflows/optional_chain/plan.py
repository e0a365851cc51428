#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo 1 > a.txt", out="a.txt", optional=True)
runsh("cat a.txt > b.txt", inp="a.txt", out="b.txt", optional=True)
runsh("cat b.txt > c.txt", inp="b.txt", out="c.txt", optional=True)
runsh("cat b.txt > used.txt", inp="b.txt", out="used.txt")
