#!/usr/bin/env bash
# Two steps swap their outputs (StepUp 3.0 does not run what reads them).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
sed -i -e 's/out="a.txt"/out="tmp"/' -e 's/out="b.txt"/out="a.txt"/' -e 's/out="tmp"/out="b.txt"/' plan.py
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat c.txt)" == $'2\n1' ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
