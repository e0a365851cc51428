#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo x >> runs; echo a > a.txt", out="a.txt", optional=False)
