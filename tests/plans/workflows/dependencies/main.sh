#!/usr/bin/env bash
# Three steps declared in the wrong order run in the right one.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(tr -d '\n' < c.txt)" == "abc" ]] || exit 1
grep -A99 "^step:runsh cat b.txt" current_graph.txt | grep -q "consumes   file:b.txt"

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
