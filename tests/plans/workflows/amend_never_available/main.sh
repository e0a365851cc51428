#!/usr/bin/env bash
# An amended input that nobody builds.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q RESCHEDULE .stepup/warning.log
grep -q never.txt .stepup/warning.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 3 ]] || exit 1
