#!/usr/bin/env python3
from stepup.core.api import *
copy("../lib/one.txt", "./")
