#!/usr/bin/env python3
from stepup.core.api import *
static("more.py")
runsh("./more.py argument", inp="more.py")
