#!/usr/bin/env python3
from stepup.core.api import *
step("runsh echo x >> runs")
