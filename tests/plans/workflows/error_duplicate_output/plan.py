#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo 1 > a.txt", out="a.txt")
runsh("echo 2 > a.txt", out="a.txt")
