#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo a > a.txt", out="a.txt")
