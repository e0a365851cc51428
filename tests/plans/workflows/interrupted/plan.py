#!/usr/bin/env python3
from stepup.core.api import *
runsh("touch started; sleep 300")
