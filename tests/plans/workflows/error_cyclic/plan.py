#!/usr/bin/env python3
from stepup.core.api import *
copy("a.txt", "b.txt")
copy("b.txt", "a.txt")
