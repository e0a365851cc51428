#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo one > out.txt", out="out.txt")
runsh("cat out.txt > end.txt", inp="out.txt", out="end.txt")
