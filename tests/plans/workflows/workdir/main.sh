#!/usr/bin/env bash
# A step runs where it is told to, and its paths start from there.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat work/out.txt)" == $'input\nwork ..' || "$(cat work/out.txt)" == $'input\nwork/ ../' ]] || exit 1
grep -q "/work$" work/here.txt
[[ ! -f out.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
