#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo sub > sub.txt", out="sub.txt")
