#!/usr/bin/env python3
from stepup.core.api import *
static("src/")
for match in glob("src/${*name}_${*n}.txt", n="?"):
    copy(match.files[0] if isinstance(match.files, (list, tuple)) else match.files, f"{match.name}{match.n}.out")
