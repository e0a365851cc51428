#!/usr/bin/env python3
from stepup.core.api import getinfo
info = getinfo()
assert info.inp == ["inp.txt", "work.py"], info.inp
assert info.env == ["WF_X"]
assert info.vol == ["log.txt"]
for path in info.out:
    open(path, "w").write("made\n")
