#!/usr/bin/env bash
# A plan in a pool declares steps of the same pool.
set -e
unset STEPUP_ROOT

stepup boot -n 2 -w -e &
PID=$!
stepup wait
stepup join
[[ -f sub/o2.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
