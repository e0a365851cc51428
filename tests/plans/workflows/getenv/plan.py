#!/usr/bin/env python3
from stepup.core.api import *
static("sub/", "sub/plan.py", "a.txt", "b.txt")
plan("sub")
