#!/usr/bin/env bash
# Ctrl-C ends the session and all its steps (StepUp 3.0 hangs).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
kill -INT $PID

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 130 ]] || exit 1
