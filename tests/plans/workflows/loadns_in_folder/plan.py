#!/usr/bin/env python3
from stepup.core.api import *
static("conf/", "conf/v.py", "conf/helper.py")
ns = loadns("conf/v.py")
runsh(f"echo {ns.value} > v.txt", out="v.txt")

