#!/usr/bin/env python3
from stepup.core.api import *
runsh("mkdir d", vol="d/")
