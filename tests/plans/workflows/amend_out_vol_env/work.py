#!/usr/bin/env python3
import os
from stepup.core.api import amend
amend(out=["made.txt"], vol=["made.log"], env=["WF_MODE"])
open("made.txt", "w").write(os.environ.get("WF_MODE", "unset") + "\n")
open("made.log", "w").write("log\n")
