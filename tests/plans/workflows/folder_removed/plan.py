#!/usr/bin/env python3
from stepup.core.api import *
static("src/", "src/a.txt")
copy("src/a.txt", "a.out")
