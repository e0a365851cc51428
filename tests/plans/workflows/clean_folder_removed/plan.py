#!/usr/bin/env python3
from stepup.core.api import *
mkdir("sub/")
mkdir("sub/deep/")
runsh("echo x > sub/deep/x.txt", out="sub/deep/x.txt")
mkdir("mine/")
runsh("echo y > mine/y.txt", out="mine/y.txt")
