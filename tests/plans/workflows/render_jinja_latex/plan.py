#!/usr/bin/env python3
from stepup.core.api import *
static("doc.tmpl.tex", "vars.yaml")
mkdir("out/")
render_jinja("doc.tmpl.tex", "vars.yaml", "out/doc.tex")
render_jinja("doc.tmpl.tex", {"title": "Other"}, "other.txt", mode="latex")
