#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo mode=${WF_MODE} > mode.txt", env="WF_MODE", out="mode.txt")
runsh("echo same > same.txt", out="same.txt")
