#!/usr/bin/env python3
from stepup.core.api import *
for path in glob("*_part/"):
    static(f"{path}plan.py")
    plan(path)
