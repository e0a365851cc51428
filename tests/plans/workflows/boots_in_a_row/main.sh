#!/usr/bin/env bash
# Three sessions, one right after the other.
set -e
unset STEPUP_ROOT

stepup boot -n 1
echo b > a.txt
stepup boot -n 1
grep -q b b.txt
echo c > a.txt
stepup boot -n 1 &
PID=$!
wait $PID
grep -q c b.txt
