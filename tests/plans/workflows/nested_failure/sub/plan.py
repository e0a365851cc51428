#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo before > before.txt", out="before.txt")
raise SystemExit(5)
