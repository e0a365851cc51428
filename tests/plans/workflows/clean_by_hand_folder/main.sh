#!/usr/bin/env bash
# By hand: a folder, from inside and from outside.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
stepup clean out/
[[ -f src/a.txt ]] || exit 1
[[ ! -f out/a.txt ]] || exit 1
[[ ! -f out/b.txt ]] || exit 1
[[ ! -f final.txt ]] || exit 1
[[ -f other.txt ]] || exit 1
stepup boot -n 1
[[ -f final.txt ]] || exit 1
stepup clean .
[[ ! -f out/a.txt ]] || exit 1
[[ ! -f final.txt ]] || exit 1
[[ ! -f other.txt ]] || exit 1
[[ -f src/a.txt ]] || exit 1
[[ -f plan.py ]] || exit 1
stepup boot -n 1
[[ -f final.txt ]] || exit 1
