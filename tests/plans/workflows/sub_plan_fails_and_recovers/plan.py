#!/usr/bin/env python3
from stepup.core.api import *
static("sub/", "sub/plan.py")
plan("sub")
