#!/usr/bin/env bash
# It runs by itself when something changes.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -W &
PID=$!
stepup wait
grep -q one b.txt
echo two > a.txt
until grep -q two b.txt; do sleep 0.1; done
stepup wait
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
