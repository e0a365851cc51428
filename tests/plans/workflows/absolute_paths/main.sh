#!/usr/bin/env bash
# Absolute paths, of inputs and outputs.
set -e
unset STEPUP_ROOT

export WF_OUTSIDE="$(mktemp -d)"
echo data > "$WF_OUTSIDE/data.txt"
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat b.txt)" == $'data\na' ]] || exit 1
[[ -f "$WF_OUTSIDE/c.txt" ]] || exit 1
wait $PID
rm -r "$WF_OUTSIDE"
