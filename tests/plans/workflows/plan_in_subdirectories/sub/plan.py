#!/usr/bin/env python3
from stepup.core.api import *
static("sub/", "sub/plan.py")
copy("../common.txt", "local.txt")
plan("sub/")
