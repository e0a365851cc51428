#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo v > v.txt", vol="v.txt")
runsh("cat v.txt", inp="v.txt")
