#!/usr/bin/env bash
# An amended input that another step has yet to build.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat work.out)" == $'one\ntwo' ]] || exit 1
grep -q "RESCHEDULE │ runpy ./work.py" .stepup/warning.log
grep -q "Rescheduling due to unavailable amended inputs" .stepup/warning.log
grep -q "^one.txt" .stepup/warning.log
grep -A40 "^step:runpy ./work.py" current_graph.txt | grep -q "file:one.txt"

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
