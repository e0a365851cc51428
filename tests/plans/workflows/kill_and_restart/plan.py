#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo x >> runs1; echo 1 > one.txt", out="one.txt")
runsh("echo x >> runs2; touch started; while [ ! -e go ]; do sleep 0.05; done; cat one.txt > two.txt", inp="one.txt", out="two.txt")
