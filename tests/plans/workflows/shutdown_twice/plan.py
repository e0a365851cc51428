#!/usr/bin/env python3
from stepup.core.api import *
runsh("touch started; exec sleep 300", out="one.txt")
