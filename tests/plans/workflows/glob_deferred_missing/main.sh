#!/usr/bin/env bash
# A deferred glob and a path that matches and is not there.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ ! -f nope.out ]] || exit 1
