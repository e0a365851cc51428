#!/usr/bin/env bash
# A hundred steps, and one that needs them all.
set -e
unset STEPUP_ROOT

stepup boot -n 2 -w -e &
PID=$!
stepup wait
stepup join
[[ $(wc -l < all.txt) -eq 100 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
