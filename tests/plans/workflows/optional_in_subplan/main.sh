#!/usr/bin/env bash
# An optional step of one plan, needed by another.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f app/one.txt ]] || exit 1
[[ -f lib/one.txt ]] || exit 1
[[ ! -f lib/two.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
