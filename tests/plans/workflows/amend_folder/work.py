#!/usr/bin/env python3
import os
from stepup.core.api import amend
amend(inp=["data/", "data/x.txt"], out="list.txt")
open("list.txt", "w").write(" ".join(os.listdir("data")))
