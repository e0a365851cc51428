#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo x >> runs; echo 1 > one.txt", out="one.txt")
