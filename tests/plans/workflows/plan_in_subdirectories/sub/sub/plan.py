#!/usr/bin/env python3
from stepup.core.api import *
runsh("cat ../local.txt > deep.txt", inp="../local.txt", out="deep.txt")
runsh("cp deep.txt ../../up.txt", inp="deep.txt", out="../../up.txt")
