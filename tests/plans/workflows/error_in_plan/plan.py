#!/usr/bin/env python3
from stepup.core.api import *
raise ValueError("my own words")
