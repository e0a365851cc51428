#!/usr/bin/env python3
from stepup.core.api import amend
print("asking")
amend(inp="never.txt")
