#!/usr/bin/env bash
# A script with a step for each of its cases.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat ann1.out)" == "ann 1" ]] || exit 1
[[ "$(cat bob2.out)" == "bob 2" ]] || exit 1
grep -q "runpy ./work.py run ann_n1" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
