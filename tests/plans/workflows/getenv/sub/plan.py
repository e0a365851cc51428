#!/usr/bin/env python3
from stepup.core.api import *
assert getenv("WF_TEXT") == "some text"
assert getenv("WF_NONE", "fallback") == "fallback"
assert getenv("WF_PATH", path=True) == "x/y.txt", getenv("WF_PATH", path=True)
back = getenv("WF_ROOTED", back=True)
assert back == "../a.txt", back
many = getenv("WF_MANY", back=True, multi=True)
assert many == ["../a.txt", "../b.txt"], many
runsh("cat ${inp} > out.txt", inp=many, out="out.txt")
