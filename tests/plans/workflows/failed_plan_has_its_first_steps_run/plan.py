#!/usr/bin/env python3
from stepup.core.api import *
static("a.txt")
copy("a.txt", "b.txt")
copy("b.txt", "c.txt")
raise SystemExit(1)
