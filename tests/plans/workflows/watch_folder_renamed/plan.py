#!/usr/bin/env python3
from stepup.core.api import *
for folder in glob("src*/"):
    for path in glob(f"{folder}*.txt"):
        name = path.split("/")[-1]
        copy(path, f"{folder[:-1]}_{name}")
