#!/usr/bin/env bash
# By hand: only say what would go; what was edited stays.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
stepup clean -d src/a.txt > said.txt
grep -q out/a.txt said.txt
grep -q final.txt said.txt
[[ -f out/a.txt ]] || exit 1
[[ -f final.txt ]] || exit 1
echo edited > final.txt
stepup clean src/a.txt
[[ ! -f out/a.txt ]] || exit 1
[[ "$(cat final.txt)" == edited ]] || exit 1
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat final.txt)" == a ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
