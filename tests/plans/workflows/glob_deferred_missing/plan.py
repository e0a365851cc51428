#!/usr/bin/env python3
from stepup.core.api import *
static("data/")
glob("data/*.txt", _defer=True)
copy("data/nope.txt", "nope.out")
