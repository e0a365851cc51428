#!/usr/bin/env python3
from stepup.core.api import *
static("letter.md.j2", "vars.json", "more.py")
render_jinja("letter.md.j2", "vars.json", "more.py", {"sign": "me"}, "letter.md")
