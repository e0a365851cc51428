#!/usr/bin/env python3
import sys
print("first")
print("to stderr", file=sys.stderr)
print("second")
