#!/usr/bin/env bash
# By hand: what was made from the files of a folder, and a folder that was made.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
stepup clean src/
[[ -f src/a.txt ]] || exit 1
[[ ! -f out/deep/a.txt ]] || exit 1
[[ -d out/deep ]] || exit 1
stepup clean out
[[ ! -e out ]] || exit 1
stepup clean nothing-of-that-name
[[ -f w.txt ]] || exit 1
stepup boot -n 1
[[ -f out/deep/a.txt ]] || exit 1
