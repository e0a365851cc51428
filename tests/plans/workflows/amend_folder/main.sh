#!/usr/bin/env bash
# A folder is an amended input.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q x.txt list.txt

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
