#!/usr/bin/env python3
from stepup.core.api import *
runsh("cat a.txt > a.txt", inp="a.txt", out="a.txt")
