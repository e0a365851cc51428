#!/usr/bin/env python3
from stepup.core.api import *
static("old.txt")
copy("old.txt", "copy.txt")
