#!/usr/bin/env bash
# What steps print comes whole, under their lines, in order.
set -e
unset STEPUP_ROOT

stepup boot -n 1 > output.txt
tr '\n' ' ' < output.txt > flat.txt
grep -q "SUCCESS │ runpy ./talk.py .*Standard output .*first second .*Standard error .*to stderr" flat.txt
[[ "$(tail -1 output.txt)" == *"See you!"* ]] || exit 1
