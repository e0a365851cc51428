#!/usr/bin/env python3
import os
from stepup.core.api import *
root, here = getenv("ROOT"), getenv("HERE")
assert os.path.normpath(root) == "..", root
assert os.path.normpath(here) == "sub", here
assert os.path.samefile(os.environ["STEPUP_ROOT"], "..")
copy("${ROOT}/top.txt", "local.txt")
runsh("echo $HERE $ROOT > where.txt", out="where.txt")
