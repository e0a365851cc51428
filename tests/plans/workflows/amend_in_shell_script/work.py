#!/usr/bin/env python3
from stepup.core.api import amend
amend(inp="late.txt", out="done.txt", env="WF_SOME")
open("done.txt", "w").write(open("late.txt").read())
