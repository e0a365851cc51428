#!/usr/bin/env bash
# An action that nobody knows.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f .stepup/fail.log ]] || exit 1
grep -q dance .stepup/fail.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
