#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo x >> $HOME_RUNS; echo 1 > one.txt", out="one.txt", env="HOME_RUNS")
