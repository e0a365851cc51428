#!/usr/bin/env python3
from stepup.core.api import *
static("link.txt", "linked/", "linked/x.txt")
copy("link.txt", "a.out")
copy("linked/x.txt", "x.out")
