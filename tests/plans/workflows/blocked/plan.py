#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo a > a.txt", out="a.txt", block=True)
runsh("cat a.txt > b.txt", inp="a.txt", out="b.txt")
runsh("echo c > c.txt", out="c.txt")
