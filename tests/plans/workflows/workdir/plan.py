#!/usr/bin/env python3
from stepup.core.api import *
static("work/", "work/inp.txt", "work/do.sh")
runsh("./do.sh", inp=["do.sh", "inp.txt"], out=["out.txt"], workdir="work")
runsh("pwd > here.txt", out="here.txt", workdir="work/")
