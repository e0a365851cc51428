#!/usr/bin/env bash
# The boot itself is killed; nothing is left (StepUp 3.0 leaves its workers), and the next session goes on.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
kill -9 $PID
set +e
wait $PID
set -e
touch go
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f one.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
