#!/usr/bin/env python3
from stepup.core.api import *
glob("data/**", _defer=True)
copy("data/a.txt", "a.out")
