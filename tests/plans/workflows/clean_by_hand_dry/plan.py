#!/usr/bin/env python3
from stepup.core.api import *
static("src/", "src/a.txt")
mkdir("out/")
copy("src/a.txt", "out/a.txt")
runsh("cat out/a.txt > out/b.txt", inp="out/a.txt", out="out/b.txt")
runsh("cat out/b.txt > final.txt", inp="out/b.txt", out="final.txt")
runsh("echo other > other.txt", out="other.txt")
