#!/usr/bin/env python3
from stepup.core.api import *
static("t.txt.j2")
render_jinja("t.txt.j2", "../vars.json", "../t.txt")
script("tool.py", workdir="../")
