#!/usr/bin/env python3
from stepup.core.api import *
static("a.txt")
runsh("grep good a.txt > b.txt", inp="a.txt", out="b.txt")
runsh("cat b.txt > c.txt", inp="b.txt", out="c.txt")
