#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo hello > old.txt", out="old.txt")
