#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo before > before.txt", out="before.txt")
glob("*.missing", _required=True)
runsh("echo after > after.txt", out="after.txt")
