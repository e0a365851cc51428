#!/usr/bin/env bash
# Edited, and run at once: nobody said what had changed (StepUp 3.0 may not have seen it yet).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
echo 2 > a.txt
echo > x1.dat
stepup run
stepup wait
grep -q 2 b.txt
[[ -f x1.out ]] || exit 1
rm x1.dat b.txt
stepup run
stepup wait
[[ -f b.txt ]] || exit 1
[[ ! -f x1.out ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
