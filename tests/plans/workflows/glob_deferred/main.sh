#!/usr/bin/env bash
# A deferred glob makes static what is used.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q a a.out
grep -A3 "^file:data/a.txt" current_graph.txt | grep -q STATIC
! grep -q "file:data/b.txt" current_graph.txt

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
