#!/usr/bin/env python3
from stepup.core.api import *
from stepup.core.api import runpy
static("talk.py")
runpy("./talk.py", inp="talk.py")
