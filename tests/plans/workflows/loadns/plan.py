#!/usr/bin/env python3
from stepup.core.api import *
static("a.json", "b.toml", "c.yaml", "d.py")
ns = loadns("a.json", "b.toml", "c.yaml", "d.py")
runsh(f"echo {ns.one} {ns.two} {ns.three} {ns.four} > ns.txt", out="ns.txt")
