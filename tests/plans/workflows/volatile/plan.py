#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo out > out.txt; date > log.txt", out="out.txt", vol="log.txt")
