#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo out; echo err >&2; echo part > part.txt; exit 7", out="part.txt")
runsh("cat part.txt > next.txt", inp="part.txt", out="next.txt")
runsh("echo fine > fine.txt", out="fine.txt")
