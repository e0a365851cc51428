#!/usr/bin/env python3
from stepup.core.api import *
info = runsh("touch a.aux a.pdf a.log", out=["a.pdf", "a.aux"], vol="a.log")
copy(info.filter_out("*.pdf").single(), "final.pdf")
assert [str(p) for p in info.filter_vol("*.log").files()] == ["a.log"]
for match in info.filter_out("${*stem}.aux"):
    assert match.stem == "a"
