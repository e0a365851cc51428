#!/usr/bin/env python3
from stepup.core.api import *
info = getinfo()
amend(inp="once.txt", vol="work.log")
open("work.log", "w").write("log")
open(info.out[0], "w").write(open("once.txt").read())
