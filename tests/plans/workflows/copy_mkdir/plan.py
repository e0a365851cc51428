#!/usr/bin/env python3
from stepup.core.api import *
static("original.txt")
mkdir("sub")
mkdir("sub/deep/")
copy("original.txt", "sub/")
copy("sub/original.txt", "sub/deep/other.txt")
runsh("echo here > x.txt", workdir="sub/deep/", out="x.txt")
