#!/usr/bin/env python3
from stepup.core.api import *
static("folder")
