#!/usr/bin/env python3
from stepup.core.api import *
runsh("touch started; while [ ! -e go ]; do sleep 0.05; done")
