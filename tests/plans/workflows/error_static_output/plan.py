#!/usr/bin/env python3
from stepup.core.api import *
static("s.txt")
runsh("echo 1 > s.txt", out="s.txt")
