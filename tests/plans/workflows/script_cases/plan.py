#!/usr/bin/env python3
from stepup.core.api import *
static("work.py")
script("work.py")
