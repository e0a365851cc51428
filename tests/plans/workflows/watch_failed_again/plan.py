#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo x >> runs; test -e ok")
