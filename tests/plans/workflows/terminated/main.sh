#!/usr/bin/env bash
# SIGTERM ends the session and all its steps (StepUp 3.0 leaves some).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
kill -TERM $PID

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 143 ]] || exit 1
