#!/usr/bin/env python3
from stepup.core.api import runsh
runsh("echo First StepUp Example > hello.txt", out="hello.txt")
