#!/usr/bin/env bash
# wait with a session that does not watch (StepUp 3.0 does not wait).
set -e
unset STEPUP_ROOT

stepup boot -n 1 &
PID=$!
stepup wait
[[ -f one.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
