#!/usr/bin/env bash
# By hand: a built file, and what was made of it.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
stepup clean out/b.txt
[[ -f src/a.txt ]] || exit 1
[[ -f out/a.txt ]] || exit 1
[[ ! -f out/b.txt ]] || exit 1
[[ ! -f final.txt ]] || exit 1
[[ -f other.txt ]] || exit 1
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f out/b.txt ]] || exit 1
[[ -f final.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
