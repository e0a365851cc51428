#!/usr/bin/env python3
from stepup.core.api import *
static("bare.sh", "norights.sh")
runsh("./bare.sh", inp="bare.sh")
runsh("./norights.sh", inp="norights.sh")
runsh("no-such-command-at-all")
runsh("exit 300")
runsh("sh -c 'kill -9 $PPID'")
