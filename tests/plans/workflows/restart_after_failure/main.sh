#!/usr/bin/env bash
# What failed runs again in the next session, and only that.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!
stepup wait
stepup join
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
touch ok
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ $(wc -l < runs1) -eq 1 ]] || exit 1
[[ $(wc -l < runs2) -eq 2 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
