#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo some words", out=[])
runsh("test -e ok")
