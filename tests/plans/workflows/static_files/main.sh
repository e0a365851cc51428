#!/usr/bin/env bash
# Static files in a folder, in nested lists.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat all.txt)" == $'top\none\ntwo' ]] || exit 1
grep -q one copy.txt
grep -A2 "^file:sub/one.txt" current_graph.txt | grep -q STATIC

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
