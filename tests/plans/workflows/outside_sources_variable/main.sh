#!/usr/bin/env bash
# Sources elsewhere, by a variable.
set -e
unset STEPUP_ROOT

export WF_SOURCES="../source"
cd project
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q a a.txt

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
