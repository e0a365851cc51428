#!/usr/bin/env bash
# A script amends other outputs than the last time; the old ones go.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ -f a.out ]] || exit 1
echo "b c" > names.txt
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ ! -f a.out ]] || exit 1
[[ -f b.out ]] || exit 1
[[ -f c.out ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
