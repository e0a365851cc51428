#!/usr/bin/env bash
# Scripts say what they would declare when they are run by hand.
set -e
unset STEPUP_ROOT

stepup boot -n 1
PYTHONPATH="$WF_SHIM" python3 plan.py > said.txt
grep -q "a.txt" said.txt
grep -q "copy a.txt b.txt" said.txt
