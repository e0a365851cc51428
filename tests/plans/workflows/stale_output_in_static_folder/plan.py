#!/usr/bin/env python3
from stepup.core.api import *
static("data/")
runsh("cat data/a.txt > b.txt; echo x >> runs", inp="data/a.txt", out="b.txt")
runsh("echo new > data/a.txt", out="data/a.txt")
