#!/usr/bin/env python3
from stepup.core.api import *
static("ch1/", "ch2/")
mkdir("public/")
for match in glob("ch${*ch}/sec${*ch}_${*sec}_${*name}.txt", ch="[0-9]", sec="[0-9]"):
    path = match.single
    copy(path, path[:-4] + ".md")
for ch in "12":
    runsh("cat ${inp} > ${out}", inp=f"ch{ch}/sec{ch}_1_x.md", out=f"public/ch{ch}.md")
