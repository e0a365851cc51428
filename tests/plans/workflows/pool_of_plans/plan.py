#!/usr/bin/env python3
from stepup.core.api import *
pool("p", 1)
static("sub/", "sub/plan.py")
plan("sub/", pool="p")
