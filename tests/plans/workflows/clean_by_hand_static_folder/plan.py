#!/usr/bin/env python3
from stepup.core.api import *
static("src/", "src/a.txt")
mkdir("out/")
mkdir("out/deep/")
copy("src/a.txt", "out/deep/a.txt")
runsh("echo w > w.txt", out="w.txt")
