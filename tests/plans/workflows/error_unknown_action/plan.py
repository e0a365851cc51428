#!/usr/bin/env python3
from stepup.core.api import *
step("dance the tango")
