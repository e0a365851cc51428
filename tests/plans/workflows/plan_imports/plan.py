#!/usr/bin/env python3
from stepup.core.api import *
from names import NAMES
static("names.py")
for name in NAMES:
    runsh(f"echo {name} > {name}.txt", out=f"{name}.txt")
