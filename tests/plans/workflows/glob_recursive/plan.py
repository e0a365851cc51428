#!/usr/bin/env python3
from stepup.core.api import *
glob("data/**/")
for path in glob("data/**/*.txt"):
    runsh(f"cat {path}", inp=path)
runsh("cat ${inp} > all.txt", inp=sorted(glob("data/**/*.dat").files()), out="all.txt")
