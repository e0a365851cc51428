#!/usr/bin/env python3
from stepup.core.api import *
if glob("config.txt"):
    copy("config.txt", "used.txt")
else:
    runsh("echo default > used.txt", out="used.txt")
