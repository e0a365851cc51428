#!/usr/bin/env python3
from stepup.core.api import *
copy("${WF_NOT_SET_AT_ALL}.txt", "out.txt")
