#!/usr/bin/env bash
# A blocked step and what depends on it.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ ! -f a.txt ]] || exit 1
[[ ! -f b.txt ]] || exit 1
[[ -f c.txt ]] || exit 1
grep -q "2 step(s) remained pending due to blocked steps" .stepup/warning.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 3 ]] || exit 1
