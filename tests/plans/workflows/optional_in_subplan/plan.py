#!/usr/bin/env python3
from stepup.core.api import *
static("lib/", "lib/plan.py", "app/", "app/plan.py")
plan("lib")
plan("app")
