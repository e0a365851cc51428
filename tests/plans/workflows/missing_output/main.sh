#!/usr/bin/env bash
# A step that does not make what it declares.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q "Expected outputs not created" .stepup/fail.log
grep -q "^wanted.txt$" .stepup/fail.log
grep -q "^Return code           0$" .stepup/fail.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
