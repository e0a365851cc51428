#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo 1 > one.txt", out="one.txt", optional=True)
runsh("echo 2 > two.txt", out="two.txt", optional=True)
