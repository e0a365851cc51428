#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo hello > other.txt", out=["wanted.txt", "other.txt"])
