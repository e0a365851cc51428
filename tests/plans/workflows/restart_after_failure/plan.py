#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo x >> runs1; echo 1 > one.txt", out="one.txt")
runsh("echo x >> runs2; test -e ok", inp="one.txt")
