#!/usr/bin/env python3
from stepup.core.api import *
static("lab/", "meas/")
for match in glob("lab/${*subject}.txt", "meas/${*subject}_${*n}.dat", subject="[a-z]??", n="[0-9]"):
    name, n = match.subject, match.n
    label, data = match.files
    runsh(f"cat {label} {data} > {name}{n}.out", inp=[label, data], out=f"{name}{n}.out")
