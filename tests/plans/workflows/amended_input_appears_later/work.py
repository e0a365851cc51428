#!/usr/bin/env python3
from stepup.core.api import amend
amend(inp="late.txt")
open("work.out", "w").write(open("late.txt").read())
