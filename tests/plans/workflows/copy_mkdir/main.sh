#!/usr/bin/env bash
# Folders that are made, folders in folders, and copies into them.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q original sub/original.txt
grep -q original sub/deep/other.txt
grep -q here sub/deep/x.txt
[[ ! -f .stepup/warning.log ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
