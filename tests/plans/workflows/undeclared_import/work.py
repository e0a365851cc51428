#!/usr/bin/env python3
import helper
open("work.out", "w").write(f"{helper.value}\n")
