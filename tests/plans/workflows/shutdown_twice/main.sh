#!/usr/bin/env bash
# Said twice, the running step is stopped (StepUp 3.0 interrupts it, which it may ignore).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
stepup shutdown
stepup shutdown

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
