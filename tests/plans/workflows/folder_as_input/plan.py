#!/usr/bin/env python3
from stepup.core.api import *
runsh("ls sub > list.txt", inp=["sub/", "sub/x.txt"], out="list.txt")
mkdir("sub/")
runsh("echo x > sub/x.txt", out="sub/x.txt", inp="sub/")
