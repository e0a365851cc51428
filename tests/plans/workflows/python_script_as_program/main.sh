#!/usr/bin/env bash
# A script that the shell runs declares steps of its own.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f made.txt ]] || exit 1
grep -A20 "^step:runsh ./more.py argument" current_graph.txt | grep -q "creates   step:runsh echo made > made.txt"

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
