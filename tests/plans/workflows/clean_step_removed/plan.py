#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo a > a.txt", out="a.txt")
runsh("echo b > b.txt", out="b.txt")
runsh("cat b.txt > c.txt", inp="b.txt", out="c.txt")
