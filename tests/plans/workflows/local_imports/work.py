#!/usr/bin/env python3
import helper
from pkg.inner import other
open("work.out", "w").write(f"{helper.value + other}\n")
