#!/usr/bin/env python3
from stepup.core.api import amend
from stepup.core.exceptions import InputNotFoundError
try:
    amend(inp="late.txt", out="work.out")
except InputNotFoundError:
    raise SystemExit(0)
open("work.out", "w").write(open("late.txt").read())
