#!/usr/bin/env bash
# A log level stands before the verb.
set -e
unset STEPUP_ROOT

stepup -l INFO boot -n 1 -w -e &
PID=$!
stepup wait
stepup -l DEBUG graph current_graph
stepup join
[[ -f one.txt ]] || exit 1
[[ -f .stepup/director.log ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
