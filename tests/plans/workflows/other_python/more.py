#!/usr/bin/env python3
import sys
from stepup.core.api import *
name = "again" if sys.argv[1:] else "once"
runsh(f"echo {name} > {name}.txt", out=f"{name}.txt")
