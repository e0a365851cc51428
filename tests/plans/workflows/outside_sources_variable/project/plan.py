#!/usr/bin/env python3
from stepup.core.api import *
static("${WF_SOURCES}/", "${WF_SOURCES}/a.txt")
copy("${WF_SOURCES}/a.txt", "a.txt")
