#!/usr/bin/env python3
from stepup.core.api import *
static("tool", "data.txt")
call("./tool", inp=[None, "data.txt"], out=[False, "tool.out"], word="hello")
