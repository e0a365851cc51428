#!/usr/bin/env python3
from stepup.core.api import *
static("data/")
glob("data/*.txt", _defer=True)
copy("data/a.txt", "a.out")
